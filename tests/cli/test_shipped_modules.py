#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every shipped module, without a GPU: is it all there, do the figures that fc-inspect reads from the cubin agree with what
ptxas said when it was compiled, and do the kernels keep the limits that they were designed for?
"""
import hashlib
import json
import os
import re
import subprocess
import tempfile
import unittest

import cli

SPILL_FREE_ARCHS = ("sm_80", "sm_86", "sm_89", "sm_90a", "sm_120")
# kernel: (allowed dynamic shared bytes, most registers)
LADDER_DESIGN = {
    "fwd_wmma_32x32": (range(0, 48 * 1024 + 1), 96),
    "fwd_wmma_64x64": (range(88 * 1024, 92 * 1024 + 1), 110),  # "about 90 KB of dynamic shared memory"
}


def inspect(*arguments):
    with tempfile.TemporaryDirectory() as home:
        environment = {**cli.clean_environment(home), "FLASHCORE_MODULE_PATH": cli.MODULES, "FLASHCORE_CACHE": "off"}
        return json.loads(subprocess.run([cli.FC_INSPECT, *arguments, "--json"], stdout=subprocess.PIPE, env=environment, check=True).stdout)


def first_number(pattern, log, absent=0):
    match = re.search(pattern, log)
    return int(match.group(1)) if match else absent


def log_of_kernel(log, kernel):
    """What it said of this entry point of the module; all, where it names none."""
    parts = re.split(r"(?m)^.*Compiling entry function '(\w+)'.*$", log)
    return log if len(parts) == 1 else dict(zip(parts[1::2], parts[2::2]))[kernel]


def figures_of_log(log):
    """What `-Xptxas -v` said of one entry point. Lines that mention nothing mean 0, but "Used N registers" must be there."""
    used = re.search(r"Used (\d+) registers(.*)", log)
    if not used:
        raise ValueError(f"no line 'Used N registers' in: {log}")
    return {"registers": int(used.group(1)), "barriers": first_number(r"used (\d+) barriers", used.group(2)),
            "static_shared_bytes": first_number(r"(\d+) bytes smem", used.group(2)), "stack_bytes": first_number(r"(\d+) bytes stack frame", log),
            "spill_store_bytes": first_number(r"(\d+) bytes spill stores", log), "spill_load_bytes": first_number(r"(\d+) bytes spill loads", log),
            "constant_bytes": first_number(r"(\d+) bytes cmem\[0\]", used.group(2), absent=None)}


def given_up(log):
    """What ptxas did not do as the kernel asks for: products of warpgroups that wait for each other, registers that are not moved between
    warpgroups, waits that it added. tests/unit/cubin/test_cubin_nvrtc.cpp compiles programs of which it says so."""
    return [line for line in log.splitlines() if re.search(r"\(C75\d\d\)", line)]


class LogParser(unittest.TestCase):
    """The parser itself, on logs as ptxas writes them: a parser that finds nothing would agree with anything."""

    def test_plain(self):
        log = ("ptxas info    : Function properties for k\nptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
               "ptxas info    : Used 136 registers, used 1 barriers, 560 bytes cmem[0]\n")
        self.assertEqual(figures_of_log(log), {"registers": 136, "barriers": 1, "static_shared_bytes": 0, "stack_bytes": 0, "spill_store_bytes": 0,
                                               "spill_load_bytes": 0, "constant_bytes": 560})

    def test_spills(self):
        log = ("ptxas         .     288 bytes stack frame, 556 bytes spill stores, 564 bytes spill loads\n"
               "ptxas info    : Used 128 registers, used 2 barriers, 288 bytes cumulative stack size, 8208 bytes smem\n")
        self.assertEqual(figures_of_log(log), {"registers": 128, "barriers": 2, "static_shared_bytes": 8208, "stack_bytes": 288, "spill_store_bytes": 556,
                                               "spill_load_bytes": 564, "constant_bytes": None})

    def test_given_up(self):
        info = "ptxas info    : Used 168 registers, used 16 barriers, 200 bytes cumulative stack size"
        serialized = ("ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient register "
                      "resources for the wgmma pipeline in the function 'k'")
        ignored = "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry."
        self.assertEqual(given_up("\n".join([serialized, info, ignored])), [serialized, ignored])
        self.assertEqual(given_up(info), [])

    def test_entry_points_are_told_apart(self):
        log = "".join(f"ptxas info    : Compiling entry function '{kernel}' for 'sm_90a'\nptxas info    : Used {registers} registers, used 1 barriers\n"
                      for kernel, registers in (("k_merge", 64), ("k", 93)))
        self.assertEqual([figures_of_log(log_of_kernel(log, kernel))["registers"] for kernel in ("k", "k_merge")], [93, 64])
        self.assertRaises(KeyError, log_of_kernel, log, "other")

    def test_empty(self):
        self.assertRaises(ValueError, figures_of_log, "")


def read_stamp(path):
    """{file below the module folder: (SHA-256, module)}"""
    with open(path, encoding="utf-8") as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    return {name: (digest, module) for digest, name, module in rows}


def tuned_modules(arch):
    """Names in ptx_cache/tuned/<arch>.tsv."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../ptx_cache/tuned", f"{arch}.tsv")
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    column = rows[0].index("module")
    return {row[column] for row in rows[1:]}


def budgets():
    """{architecture: (most bytes, most modules)} of ptx_cache/manifest.txt"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../ptx_cache/manifest.txt")
    with open(path, encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {row[0]: (float(row[2]) * 2**20, int(row[3])) for row in rows}


def arch_of(stamp):
    return os.path.basename(stamp)[:-len(".txt")]


class Shipped:
    """The tests of one architecture; mixed into one class for each stamp."""
    stamp = arch = None

    @classmethod
    def setUpClass(cls):
        cls.modules = inspect("list", "--all", "--arch", cls.arch)["modules"]
        cls.records = {module["key"]: inspect("show", module["path"])["record"] for module in cls.modules}

    def test_stamp_lists_the_folder(self):
        listed = read_stamp(self.stamp)
        there = {f"{self.arch}/{name}" for name in os.listdir(os.path.join(cli.MODULES, self.arch))}
        self.assertEqual(there, set(listed))
        for name, (digest, module) in listed.items():
            with open(os.path.join(cli.MODULES, name), "rb") as file:
                self.assertEqual(hashlib.sha256(file.read()).hexdigest(), digest, f"{module}: {name}")

    def test_every_specialization_is_shipped(self):
        number = int(re.sub(r"\D", "", self.arch))
        expected = sum(kernel["specializations"] for kernel in inspect("doctor")["kernels"]
                       if kernel["minimum_arch"] <= number and (kernel["maximum_arch"] == 0 or number <= kernel["maximum_arch"]))
        names = [module["module"] for module in self.modules]
        self.assertEqual(len(set(names)), len(names))
        # The passports' lists, and what the tuned rows name beside them.
        tuned = tuned_modules(self.arch)
        self.assertLessEqual(tuned, set(names))
        self.assertLessEqual(len(set(names) - tuned), expected)
        self.assertLessEqual(expected, len(names))

    def test_they_keep_to_the_budget(self):
        most_bytes, most_modules = budgets()[self.arch]
        self.assertLessEqual(sum(module["file_bytes"] for module in self.modules), most_bytes)
        self.assertLessEqual(len(self.modules), most_modules)

    def test_all_are_good_and_current(self):
        for module in self.modules:
            self.assertEqual((module["status"], module["current"], module["origin"], module["arch"]), ("OK", True, "shipped", self.arch), module["path"])

    def test_figures_agree_with_ptxas(self):
        self.assertTrue(self.modules)
        for module in self.modules:
            with self.subTest(module=module["module"]):
                said = figures_of_log(log_of_kernel(self.records[module["key"]]["ptxas_log"], module["kernel"]))
                if said["constant_bytes"] is None:  # ptxas does not say it from sm_90 on
                    del said["constant_bytes"]
                self.assertEqual({key: module[key] for key in said}, said)

    def test_ptxas_gave_nothing_up(self):
        said = {module["module"]: lines for module in self.modules if (lines := given_up(self.records[module["key"]]["ptxas_log"]))}
        self.assertEqual(said, {})

    def test_shared_memory_fits_the_architecture(self):
        for module in self.modules:
            self.assertGreater(module["shared_limit_bytes"], 0)
            self.assertLessEqual(module["static_shared_bytes"] + module["dynamic_shared_bytes"], module["shared_limit_bytes"], module["module"])

    def test_threads_fit_the_registers(self):
        for module in self.modules:
            threads = module["max_threads_per_block"]
            self.assertGreater(threads, 0, module["module"])
            self.assertLessEqual(threads * -(-module["registers"] // 8) * 8, 65536, module["module"])

    def test_the_ladder_keeps_its_design(self):
        for kernel, (shared_bytes, registers) in LADDER_DESIGN.items():
            ladder = [module for module in self.modules if module["kernel"] == kernel]
            self.assertTrue(ladder, kernel)
            for module in ladder:
                self.assertIn(module["dynamic_shared_bytes"], shared_bytes, module["module"])
                self.assertLessEqual(module["registers"], registers, module["module"])


class SpillFree:
    """For the architectures that are held to it."""

    def test_no_spills(self):
        self.assertEqual([module["module"] for module in self.modules if module["spill_store_bytes"] or module["spill_load_bytes"]], [])


class TwoBlocks:
    """For Ampere's and Ada's small multiprocessors (100 KB of shared memory): with work for the whole GPU two blocks share one."""

    def test_two_blocks_are_resident(self):
        modules = {module["module"]: module for module in self.modules}
        for head_dim in (64, 128):
            for dtype in ("fp16", "bf16"):
                for causal in ("none", "top-left"):
                    for seqlen in (512, 4096, 16384):
                        shape = f"{16384 // seqlen} {2048 // head_dim} {2048 // head_dim} {seqlen} {seqlen} {head_dim} {dtype} {causal}"
                        module = modules[inspect("show", "--model", self.arch, "--shape", shape)["module"]]
                        registers = -(-module["registers"] // 8) * 8 * module["max_threads_per_block"]
                        shared_bytes = module["static_shared_bytes"] + module["dynamic_shared_bytes"] + 1024  # 1 KB is the system's
                        with self.subTest(shape=shape, module=module["module"]):
                            self.assertLessEqual(2 * registers, 65536)
                            self.assertLessEqual(2 * shared_bytes, 100 * 1024)


for path in cli.STAMPS:
    bases = (Shipped, *([SpillFree] if arch_of(path) in SPILL_FREE_ARCHS else []),
             *([TwoBlocks] if arch_of(path) in ("sm_86", "sm_89") else []), unittest.TestCase)
    globals()[f"Shipped_{arch_of(path)}"] = type(f"Shipped_{arch_of(path)}", bases, {"stamp": path, "arch": arch_of(path)})

if __name__ == "__main__":
    unittest.main(verbosity=2)
