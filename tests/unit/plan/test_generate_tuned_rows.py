#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tuned rows' way into the build: good rows become C++ that compiles, each malformed one ends the build with file, line and
column, and what only a passport knows is a static_assert that says the same.

usage: test_generate_tuned_rows.py GENERATOR SOURCE_ROOT KERNELS [COMPILER...]
"""
import os
import subprocess
import sys
import tempfile
import unittest

GENERATOR, ROOT, KERNELS, *COMPILER = sys.argv[1:]
HEADER = "dtype\thead_dim\thead_dim_v\tcausal\tbatch_heads\tseqlen_q\tseqlen_kv\tmodule\tmeasured_us\tdefault_us"
GOOD = ["fp16", "64", "64", "none", "6-11", "363-724", "363-724", "sm80_fwd_mma-fp16-d64-32x80-w2-qreg", "3.9", "4.6"]
COLUMNS = HEADER.split("\t")


def changed(**changes):
    return [changes.get(column, value) for column, value in zip(COLUMNS, GOOD)]


MALFORMED = [
    ("too few columns", GOOD[:-1], "row: 9 columns, but 10 are expected"),
    ("dtype", changed(dtype="fp32"), 'dtype: "fp32" is none of: fp16, bf16'),
    ("causal", changed(causal="1"), 'causal: "1" is none of: none, causal'),
    ("head_dim", changed(head_dim="064"), 'head_dim: "064" is no whole number'),
    ("head_dim_v", changed(head_dim_v=""), 'head_dim_v: "" is no whole number'),
    ("batch_heads", changed(batch_heads="9-8"), 'batch_heads: "9-8" ends before it begins'),
    ("seqlen_q", changed(seqlen_q="1-"), 'seqlen_q: "" is no whole number'),
    ("seqlen_kv", changed(seqlen_kv="1-4294967296"), 'seqlen_kv: "4294967296" is no whole number'),
    ("module", changed(module='sm80_fwd_mma-"'), 'module: "sm80_fwd_mma-"" is no name of a module'),
    ("kernel", changed(module="fwd_magic-fp16-d64-32x80-w2"), 'module: "fwd_magic" is none of: sm80_fwd_mma'),
    ("measured_us", changed(measured_us="0"), 'measured_us: "0" is no time above 0'),
    ("default_us", changed(default_us="fast"), 'default_us: "fast" is no time above 0'),
]


class Generate(unittest.TestCase):
    def generate(self, *rows, name="sm_89.tsv", header=HEADER):
        with tempfile.TemporaryDirectory() as folder:
            table, output = os.path.join(folder, name), os.path.join(folder, "tuned_rows.cpp")
            with open(table, "w", encoding="utf-8") as file:
                file.write("# comment\n" + "".join(line + "\n" for line in [header, *("\t".join(row) for row in rows)]))
            done = subprocess.run([sys.executable, GENERATOR, "--output", output, "--kernels", KERNELS, table], stderr=subprocess.PIPE, text=True, check=False)
            compiled = None
            if done.returncode == 0 and COMPILER:
                compiled = subprocess.run([*COMPILER, "-std=c++20", "-fsyntax-only", "-I", os.path.join(ROOT, "src"), "-I", os.path.join(ROOT, "kernels"), "-I", os.path.join(ROOT, "include"), output],
                                          stderr=subprocess.PIPE, text=True, check=False)
            return done, compiled, table

    def test_good_rows_compile(self):
        done, compiled, _ = self.generate(GOOD, changed(seqlen_q="725"), changed(dtype="bf16", module=GOOD[7].replace("fp16", "bf16")))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual((compiled.returncode, compiled.stderr), (0, ""))

    def test_no_rows_compile(self):
        done, compiled, _ = self.generate()
        self.assertEqual((done.returncode, compiled.returncode, compiled.stderr), (0, 0, ""))

    def test_malformed_rows_name_file_line_and_column(self):
        for name, row, expected in MALFORMED:
            with self.subTest(name):
                done, _, table = self.generate(changed(seqlen_q="9999"), row)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"{table}:4: {expected}" if not expected.startswith("is ") else expected, done.stderr)

    def test_overlapping_rows(self):
        done, _, table = self.generate(GOOD, changed(batch_heads="11-20", seqlen_q="1-363"))
        self.assertIn(f"{table}:4: row: its problems are partly those of sm_89.tsv:3", done.stderr)

    def test_header_and_name(self):
        self.assertIn("header: the first line must name the columns", self.generate(GOOD, header=HEADER.replace("dtype", "type"))[0].stderr)
        self.assertIn("the name is no architecture", self.generate(GOOD, name="ada.tsv")[0].stderr)

    def refused(self, expected, **changes):
        done, compiled, table = self.generate(changed(**changes))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"{table}:3: module: {expected}", compiled.stderr)

    def test_what_is_no_name_of_a_module(self):
        for module in ("sm80_fwd_mma-fp16-d64-32x80", "sm80_fwd_mma-fp16-d64-32x80-w2-s1", "sm80_fwd_mma-fp16-d64v64-32x80-w2", "sm80_fwd_mma-fp16-d64-32x80-w2-c2"):
            with self.subTest(module):
                self.refused(f"{module} is no name of a module of sm80_fwd_mma", module=module)

    def test_what_the_passport_does_not_allow(self):
        self.refused("sm80_fwd_mma does not allow it", module="sm80_fwd_mma-fp16-d64-32x81-w2-qreg")
        self.refused("sm80_fwd_mma does not allow it", module="sm80_fwd_mma-fp16-d64-32x80-w2-s3-qreg")

    def test_what_the_module_does_not_serve(self):
        self.refused("it does not serve fp16, head_dim 128, head_dim_v 128, causal none", head_dim="128", head_dim_v="128")
        self.refused("it does not serve bf16, ", dtype="bf16")
        self.refused("it does not serve fp16, head_dim 64, head_dim_v 64, causal causal", causal="causal")
        self.refused("it does not serve fp16, ", module=GOOD[7] + "-unaligned")

    def test_a_module_that_applies_every_mask_serves_rows_of_either_kind(self):
        decode = {"module": "sm80_fwd_decode-fp16-d64-8x16-w4", "seqlen_q": "1-4"}
        done, compiled, _ = self.generate(changed(**decode), changed(causal="causal", **decode))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual((compiled.returncode, compiled.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
