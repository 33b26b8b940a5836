#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-run: its manners on the command line, its exit codes, and the files that it writes or does not write."""
import math
import os
import pty
import signal
import stat
import subprocess
import time
import unittest

import cli
from cli import BAD_INPUT, FAILED, INTERRUPTED, NO_DEVICE, OK, USAGE, Case

SMALL = "--random 1 --heads 2 --seqlen 33 --head-dim 16 --device cpu"
FILES = "--query {q.npy} --key {k.npy} --value {v.npy}"


class CommandLine(cli.ToolTest):
    """Everything that needs no file."""

    def test_help_fits_a_page(self):
        done = self.fc_run("--help", out=[r"--query FILE", r"--causal WHERE", r"Exit codes"])
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)
        examples = done.stdout.split("Examples\n")[1].split("\n\n")[0].splitlines()
        self.assertEqual(len(examples), 2)
        self.assertTrue(all(line.strip().startswith("fc-run ") for line in examples))

    def test_first_example_of_the_help_works(self):
        text = self.fc_run("--help").stdout.split("Examples\n")[1].splitlines()[0].split()[1:]
        self.fc_run(*text, out=[r"check +passed"])

    def test_report_says_what_is_real(self):
        done = self.fc_run(*SMALL.replace("--device cpu", "").split(), "--check", "--repeat", 3,
                           out=[r"device +CPU \(\d+ threads?\)", r"because +no usable GPU: .*/nonexistent/libcuda", r"kernel +cpu",
                                r"module +none; the CPU device", r"random normal numbers, seed 1", r"2 heads, 33 queries x 33 keys, head dimension 16, fp16",
                                r"time .* median of 3 calls", r"TFLOP/s", r"check +passed: error against float64 max \S+ \(allowed",
                                r"output +not kept"])
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)
        self.assertEqual(done.stderr, "")

    def test_json(self):
        done = self.fc_run(*SMALL.split(), "--check", "--repeat", 4, "--causal", "top-left", "--json")
        content = self.json_of(done, "flashcore.run/1")
        self.assertEqual(content["device"]["kind"], "cpu")
        self.assertEqual(content["problem"]["causal"], "top-left")
        self.assertEqual(len(content["times_us"]), 4)
        self.assertTrue(content["check"]["passed"])
        self.assertEqual(content["flops"], 2 * 2 * (33 * 34 // 2) * (16 + 16))
        self.assertIsNone(content["output"])

    def test_json_has_no_colours(self):
        done = self.fc_run(*SMALL.split(), "--json", "--color", "always")
        self.assertNotIn("\x1b", done.stdout)

    def test_colours_when_asked(self):
        self.assertIn("\x1b[", self.fc_run(*SMALL.split(), "--color", "always").stdout)
        self.assertIn("\x1b[", self.fc_run("--random", "x", "--color=always", code=USAGE).stderr.replace("error", "\x1b["))

    def test_no_colours_in_a_pipe(self):
        self.assertNotIn("\x1b", self.fc_run(*SMALL.split()).stdout)

    def on_terminal(self, **environment):
        """stdout of a small run on a pseudo terminal."""
        try:
            master, slave = pty.openpty()
        except OSError as reason:  # a container without /dev/pts
            self.skipTest(f"no pseudo terminal: {reason}")
        try:
            process = subprocess.Popen([cli.FC_RUN, *SMALL.split()], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE,
                                       env={**self.environment, "TERM": "xterm", **environment})
            os.close(slave)
            text = b""
            try:
                while block := os.read(master, 65536):
                    text += block
            except OSError:  # the other end is closed
                pass
            _, complaint = process.communicate(timeout=60)
            self.assertEqual(process.returncode, OK, complaint)
            return text
        finally:
            os.close(master)

    def test_colours_on_a_terminal(self):
        self.assertIn(b"\x1b[", self.on_terminal())

    def test_no_color_on_a_terminal(self):
        self.assertNotIn(b"\x1b", self.on_terminal(NO_COLOR="1"))

    def test_dumb_terminal(self):
        self.assertNotIn(b"\x1b", self.on_terminal(TERM="dumb"))

    def test_full_standard_output(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([cli.FC_RUN, *SMALL.split()], stdout=full, stderr=subprocess.PIPE, env=self.environment, text=True, check=False)
        self.assertEqual(done.returncode, FAILED)
        self.assertIn("standard output could not be written", done.stderr)

    def test_ctrl_c_leaves_nothing(self):
        process = subprocess.Popen([cli.FC_RUN, *SMALL.split(), "--repeat", "1000000", "--output", self.path("o.npy")], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (INTERRUPTED, b""))
        self.assertEqual(os.listdir(self.folder), [])

    def test_progress_of_a_long_run_goes_to_stderr(self):
        arguments = ["--random", "1", "--heads", "1", "--seqlen", "16", "--head-dim", "16", "--device", "cpu", "--repeat", "1000000"]
        process = subprocess.Popen([cli.FC_RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, text=True)
        line = process.stderr.readline()  # comes after two seconds, or at the end if a million calls are faster
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertRegex(line, r"^computing: [2-9] s, \d+ of 1000000, about \d+ s left")
        self.assertEqual(out, "")


cli.add_cases(CommandLine, cli.FC_RUN, [
    Case("version", "--version", OK, [r"^fc-run of flashcore \d+\.\d+\.\d+", r"library +\d+\.\d+\.\d+, /", r"driver +none; .*nonexistent", r"compiler +"]),
    Case("unknown option", "--random 1 --casual none", USAGE, (), [r"fc-run: error: unknown option --casual; did you mean --causal\?"]),
    Case("unknown option without a neighbour", "--frobnicate", USAGE, (), [r"unknown option --frobnicate; --help"]),
    Case("abbreviated option", "--rand 1", USAGE, (), [r"unknown option --rand\b"]),
    Case("option without value", "--random 1 --batch", USAGE, (), [r"option --batch needs a value"]),
    Case("option twice", "--random 1 --batch 1 --batch 2", USAGE, (), [r"option --batch was given more than once"]),
    Case("flag with value", "--random 1 --check=yes", USAGE, (), [r"option --check takes no value"]),
    Case("stray word", "--random 1 stray", USAGE, (), [r'the word "stray" belongs to no option; --help']),
    Case("stray word that is nearly an option", "--random 1 explian", USAGE, (), [r'the word "explian" belongs to no option; did you mean --explain\?']),
    Case("word that is nearly allowed", "--random 1 --causal top-lift", USAGE, (), [r'--causal is "top-lift", .*; did you mean top-left\?']),
    Case("device by another name", "--random 1 --device gpu", USAGE, (), [r'--device is "gpu", .*; did you mean cuda\?']),
    Case("kernel that is nearly one", "--random 1 --kernel sm80_fwd_mna", USAGE, (), [r'kernel is "sm80_fwd_mna".*; did you mean sm80_fwd_mma\?']),
    Case("option with an empty value", "--random 1 --output=", USAGE, (), [r"option --output needs a value"]),
    Case("value that begins with a dash", "--random 1 --device cpu --output=--strange.npy --explain", OK),
    Case("scale beyond float32", "--random 1 --scale 1e39", USAGE, (), [r'--scale is "1e39", but must lie between -3\.402823e\+38 and']),
    Case("softcap beyond float32", "--random 1 --softcap -1e39", USAGE, (), [r'--softcap is "-1e39", but must lie between']),
    Case("explain of what this machine cannot hold", "--random 1 --seqlen 2000000000 --device cpu --explain", OK, [r"kernel +cpu"]),
    Case("sizes that cannot be counted", "--random 1 --batch 0 --seqlen 2147483647 --heads 2147483647 --head-dim 2147483647 --explain", USAGE, (),
         [r"the query would be \[0, 2147483647, 2147483647, 2147483647\] numbers, more than"]),
    Case("nothing to compute", "--device cpu", USAGE, (), [r"option --query is missing: give --query, --key and --value, or --random"]),
    Case("key missing", "--query {q.npy} --value {v.npy} --check", USAGE, (), [r"option --key is missing"]),
    Case("files and random", "--random 1 --query {q.npy}", USAGE, (), [r"--query and --random exclude each other"]),
    Case("sizes with files", FILES + " --check --batch 2", USAGE, (), [r"option --batch goes with --random"]),
    Case("result not wanted", FILES, USAGE, (), [r"nothing would be left of the result: give --output"]),
    Case("bad dtype", "--random 1 --dtype fp64", USAGE, (), [r'option --dtype is "fp64", but must be one of: fp16, bf16']),
    Case("bad layout", "--random 1 --layout sbhd", USAGE, (), [r'--layout is "sbhd", but must be one of: bshd, bhsd']),
    Case("bad causal", "--random 1 --causal yes", USAGE, (), [r'--causal is "yes", but must be one of: none, top-left, bottom-right']),
    Case("bad lse base", "--random 1 --lse-base 10", USAGE, (), [r'--lse-base is "10", but must be one of: natural, 2']),
    Case("bad color", "--random 1 --color blue", USAGE, (), [r'--color is "blue", but must be one of: auto, always, never']),
    Case("bad cache mode", "--random 1 --cache on", USAGE, (), [r'--cache is "on", but must be one of: rw, ro, off']),
    Case("bad jit mode", "--random 1 --jit maybe", USAGE, (), [r'--jit is "maybe", but must be one of: on, off']),
    Case("seed that is no number", "--random one", USAGE, (), [r'--random is "one", but must be a whole number from 0 to']),
    Case("negative batch", "--random 1 --batch -1", USAGE, (), [r'--batch is "-1", but must be a whole number from 0 to 2147483647']),
    Case("number with a tail", "--random 1 --heads 8x", USAGE, (), [r'--heads is "8x", but must be a whole number']),
    Case("number too large", "--random 1 --seqlen 99999999999999999999", USAGE, (), [r"--seqlen is .* from 0 to 2147483647"]),
    Case("zero repeats", "--random 1 --repeat 0", USAGE, (), [r'--repeat is "0", but must be a whole number from 1 to 1000000']),
    Case("scale not finite", "--random 1 --scale inf", USAGE, (), [r'--scale is "inf", but must be a finite number']),
    Case("heads that do not divide", "--random 1 --heads 6 --heads-kv 4", USAGE, (), [r"--heads-kv is 4, but must divide --heads, 6"]),
    Case("more than the machine holds", "--random 1 --batch 2000000 --seqlen 2000000 --heads 64", USAGE, (),
         [r"the query would be \[2000000, 2000000, 64, 64\] numbers, more than this machine's"]),
    Case("bad device", "--random 1 --device tpu", USAGE, (), [r'--device is "tpu", but must be one of: auto, cpu, cuda, cuda:N']),
    Case("bad ordinal", "--random 1 --device cuda:one", USAGE, (), [r"the number after cuda: must be 0 to 9999"]),
    Case("GPU asked for without driver", "--random 1 --device cuda", NO_DEVICE, (), [r"cannot open the device: .*/nonexistent/libcuda.*NO_DRIVER"]),
    Case("second GPU asked for without driver", "--random 1 --device cuda:1", NO_DEVICE, (), [r"NO_DRIVER"]),
    Case("unknown kernel", SMALL + " --kernel fwd_magic", USAGE, (), [r"fwd_magic", r"field kernel"]),
    Case("relative cache folder is made absolute", SMALL + " --cache-dir cache", OK),
    Case("path too long for its field", SMALL + " --nvrtc /" + "x" * 1024, USAGE, (), [r"option --nvrtc has 1025 characters, but at most 1023"]),
    Case("output into a folder that is not there", SMALL + " --output {nowhere}/o.npy", BAD_INPUT, (), [r"--output: the folder of .* cannot be written"]),
    Case("output onto a folder", SMALL + " --output /tmp", USAGE, (), [r"--output: /tmp exists and is not a regular file"]),
    Case("output and lse the same", SMALL + " --output {o.npy} --lse {o.npy}", USAGE, (), [r"options --output and --lse are both"]),
    Case("explain", SMALL + " --explain", OK, [r"nothing was computed", r"kernel +cpu", r"reasons +cpu: chosen"]),
    Case("explain what cannot be done", SMALL + " --explain --kernel sm80_fwd_mma", FAILED, [r"kernel +none can do it", r"which runs on a GPU"]),
    Case("no rows", "--random 1 --seqlen-q 0 --seqlen-kv 5 --device cpu --check", OK, [r"check +passed"]),
    Case("no keys", "--random 1 --seqlen-q 5 --seqlen-kv 0 --device cpu --check", OK, [r"check +passed"]),
    Case("no batch", "--random 1 --batch 0 --device cpu --check", OK, [r"check +passed"]),
    Case("two threads", SMALL + " --threads 2 --check", OK, [r"CPU \(2 threads\)", r"check +passed"]),
    Case("bfloat16, gqa, other value dimension", "--random 7 --batch 2 --heads 6 --heads-kv 2 --seqlen-q 17 --seqlen-kv 70 --head-dim 40 --head-dim-v 24 "
         "--dtype bf16 --causal bottom-right --scale 0.2 --lse-base 2 --layout bhsd --device cpu --check", OK, [r"6 heads \(2 of keys\)", r"check +passed"]),
    Case("negative scale", SMALL + " --scale -0.5 --check", OK, [r"check +passed"]),
    Case("window", "--random 3 --seqlen-q 40 --seqlen-kv 90 --device cpu --window-left 20 --window-right 5 --check", OK, [r"check +passed"]),
    Case("chunk and softcap", "--random 3 --seqlen-q 40 --seqlen-kv 90 --device cpu --attention-chunk 16 --softcap 2 --check", OK, [r"check +passed"]),
    Case("pieces of keys", "--random 3 --seqlen-q 3 --seqlen-kv 300 --device cpu --split-count 3 --check", OK, [r"check +passed"]),
    Case("pieces of so many keys", "--random 3 --seqlen-q 3 --seqlen-kv 300 --device cpu --split-tokens 70 --check", OK, [r"check +passed"]),
    Case("pieces said twice", SMALL + " --split-tokens 70 --split-count 2", USAGE, (), [r"INVALID_ARGUMENT, field split_count", r"split_tokens"]),
    Case("batch invariance and a limit", SMALL + " --batch-invariant --multiprocessor-limit 1 --check", OK, [r"check +passed"]),
    Case("a shard of keys", "--random 3 --seqlen-q 20 --seqlen-kv 90 --device cpu --causal bottom-right --query-position 150 --key-position 100 --check", OK,
         [r"check +passed"]),
    Case("a shard under the other corner", SMALL + " --causal top-left --query-position 3", USAGE, (), [r"INVALID_ARGUMENT, field causal"]),
    Case("negative softcap", SMALL + " --softcap -2", USAGE, (), [r"INVALID_ARGUMENT, field softcap"]),
])

# Option and the field that the library names when it refuses it. What a build learns to do moves from here to the tests above.
REFUSED_NUMBERS = [
]
cli.add_cases(CommandLine, cli.FC_RUN, [
    Case(f"refused {option}", f"{SMALL} --{option} {value}", USAGE, (), [rf"UNSUPPORTED, field (flags|{field})\b", field.split("_")[0]])
    for option, value, field in REFUSED_NUMBERS])
cli.add_cases(CommandLine, cli.FC_RUN, [
    Case(f"{option} without a page table", f"{SMALL} --{option} 3", USAGE, (), [rf"INVALID_ARGUMENT, field {option.replace('-', '_')}\b", "page_table"])
    for option in ("page-size", "page-count")])
cli.add_cases(CommandLine, cli.FC_RUN, [
    Case("rotary-interleaved without a rotary-dim", SMALL + " --rotary-interleaved", USAGE, (),
         [r"INVALID_ARGUMENT, field flags", r"ROTARY_INTERLEAVED"]),
    Case("rotary-dim without positions", SMALL + " --rotary-dim 8", USAGE, (), [r"INVALID_ARGUMENT, field rotary_positions"]),
])


class Files(cli.ToolTest):
    """Inputs from files, outputs into files."""

    def setUp(self):
        super().setUp()
        self.write_array("q.npy", "<f2", (1, 5, 4, 8))
        self.write_array("k.npy", "<f2", (1, 7, 2, 8))
        self.write_array("v.npy", "<f2", (1, 7, 2, 6))
        self.inputs = ["--query", self.path("q.npy"), "--key", self.path("k.npy"), "--value", self.path("v.npy"), "--device", "cpu"]
        self.outputs = ["--output", self.path("o.npy"), "--lse", self.path("lse.npy")]

    def assert_no_output(self):
        self.assertEqual(sorted(set(os.listdir(self.folder)) & {"o.npy", "lse.npy"}), [])
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith((".part", ".tmp"))], [])

    def refuse(self, *patterns, more=(), code=BAD_INPUT):
        self.fc_run(*self.inputs, *self.outputs, *more, code=code, err=patterns)
        self.assert_no_output()

    def test_output_and_lse(self):
        self.fc_run(*self.inputs, *self.outputs, "--check", out=[r"check +passed", r"output +\S+o\.npy, LSE in \S+lse\.npy"])
        self.assertEqual(cli.read_npy(self.path("o.npy"))[:2], ("<f2", (1, 5, 4, 6)))
        self.assertEqual(cli.read_npy(self.path("lse.npy"))[:2], ("<f4", (1, 4, 5)))
        self.assertEqual(stat.S_IMODE(os.stat(self.path("o.npy")).st_mode) & 0o111, 0)
        self.assertEqual(len(os.listdir(self.folder)), 5)

    def test_missing_file(self):
        os.remove(self.path("k.npy"))
        self.refuse(r"cannot read .*k\.npy: No such file")

    def test_truncated_file(self):
        self.write("k.npy", self.read("k.npy")[:-1])
        self.refuse(r"k\.npy is no usable \.npy file: .*the file holds")

    def test_file_cut_in_the_header(self):
        self.write("q.npy", self.read("q.npy")[:20])
        self.refuse(r"q\.npy is no usable \.npy file")

    def test_empty_file(self):
        self.write("v.npy", b"")
        self.refuse(r"v\.npy is no usable \.npy file: it has only 0 bytes")

    def test_text_file(self):
        self.write("v.npy", b"not an array, though long enough to look like one" * 3)
        self.refuse(r"it does not begin with")

    def test_folder_as_input(self):
        os.remove(self.path("q.npy"))
        os.mkdir(self.path("q.npy"))
        self.refuse(r"q\.npy")

    def test_fortran_order(self):
        self.write("q.npy", cli.npy_bytes("<f2", (1, 5, 4, 8), fortran_order=True))
        self.refuse(r"Fortran order")

    def test_wrong_type(self):
        self.write_array("q.npy", "<i4", (1, 5, 4, 8))
        self.refuse(r"--query is int32 \[1, 5, 4, 8\], but with --dtype fp16 it must be float16 or float32")

    def test_bfloat16_bits_without_dtype(self):
        self.write_array("q.npy", "<u2", (1, 5, 4, 8))
        self.refuse(r"--query is uint16 .*--dtype bf16 takes it as bits of bfloat16")

    def test_float16_with_bfloat16(self):
        self.refuse(r"--query is float16 .* but with --dtype bf16 it must be uint16", r"--key is float16", r"--value is float16", more=["--dtype", "bf16"])

    def test_wrong_rank(self):
        self.write_array("k.npy", "<f2", (7, 2, 8))
        self.refuse(r"--key is float16 \[7, 2, 8\], but must have four dimensions: \[batch, sequence, head, dimension\]")

    def test_every_mismatch_is_reported_at_once(self):
        self.write_array("k.npy", "<f2", (2, 7, 3, 9))
        self.write_array("v.npy", "<f2", (1, 6, 2, 6))
        self.refuse(r"do not fit together", r"batch differs: 1 in --query .*, 2 in --key", r"head dimension differs: 8 in --query .*, 9 in --key",
                    r"sequence length differs: 7 in --key .*, 6 in --value", r"number of heads differs: 3 in --key .*, 2 in --value",
                    r"--key has 3 heads, but their number must divide the 4 heads of --query")

    def test_layout_changes_what_the_shape_means(self):
        self.refuse(r"head dimension differs|sequence length differs|number of heads|divide", more=["--layout", "bhsd"])

    def test_refused_request_writes_nothing(self):
        self.refuse(r"UNSUPPORTED, field kernel", more=["--kernel", "sm80_fwd_mma"], code=USAGE)

    def test_biases_and_masks(self):
        for option, descr, shape in (("bias", "<f4", (4, 5, 7)), ("bias", "<f2", (1, 1, 5, 7)), ("bias", "<u2", (1, 7)), ("mask", "|b1", (5, 7)),
                                     ("mask", "|u1", (1, 4, 5, 7))):
            numbers = [n * 5 % 7 % 2 if option == "mask" else 0x3f80 if descr == "<u2" else n % 3 for n in range(math.prod(shape))]
            self.write_array("extra.npy", descr, shape, numbers)
            self.fc_run(*self.inputs, *self.outputs, f"--{option}", self.path("extra.npy"), "--check", out=[r"check +passed"])
            os.remove(self.path("o.npy"))
            os.remove(self.path("lse.npy"))

    def test_slopes_and_sinks(self):
        self.write_array("alibi.npy", "<f4", (1, 4), [0.5, 0.25, 0.125, 2])
        self.write_array("sinks.npy", "<f4", (4,), [0, 1, -1, 9])
        self.fc_run(*self.inputs, *self.outputs, "--alibi", self.path("alibi.npy"), "--sinks", self.path("sinks.npy"), "--check",
                    code=OK, out=[r"check +passed"])

    def fail_the_check(self, **expected):
        """An infinite value of a key whose probability is below the smallest float32, in which every kernel computes, and above that of
        the reference: 0 times infinity is NaN."""
        self.write_array("v.npy", "<f2", (1, 7, 2, 6), [float("inf") if n < 12 else 1.0 for n in range(7 * 2 * 6)])
        self.fc_run(*self.inputs, *self.outputs, "--scale", "20", "--check", code=FAILED, **expected)

    def test_failed_check_writes_nothing(self):
        self.fail_the_check(out=[r"check +FAILED", r"are NaN or infinite and should not be", r"output +not written, because the check failed"])
        self.assert_no_output()

    def test_failed_run_keeps_the_older_file(self):
        self.write("o.npy", b"older")
        self.fail_the_check()
        self.assertEqual(self.read("o.npy"), b"older")

    def test_older_file_is_replaced_and_a_link_followed(self):
        self.write("real.npy", b"older")
        os.symlink(self.path("real.npy"), self.path("o.npy"))
        self.fc_run(*self.inputs, "--output", self.path("o.npy"))
        self.assertTrue(os.path.islink(self.path("o.npy")))
        self.assertEqual(cli.read_npy(self.path("real.npy"))[0], "<f2")

    def test_float32_is_rounded_with_a_note(self):
        values = [1 + i / 4096 for i in range(160)]
        self.write_array("q.npy", "<f4", (1, 5, 4, 8), values)
        self.fc_run(*self.inputs, *self.outputs, "--check", out=[r"check +passed"], err=[r"fc-run: note: --query is float32 and was rounded to fp16\n"])
        expected = self.read("o.npy")
        rounded = [round(value * 1024) / 1024 if value < 2 else value for value in values]  # float16 has 10 bits behind the 1, ties go to even
        self.write_array("q.npy", "<f2", (1, 5, 4, 8), rounded)
        done = self.fc_run(*self.inputs, *self.outputs)
        self.assertEqual((self.read("o.npy"), done.stderr), (expected, ""))

    def test_overflow_of_float32_is_said(self):
        self.write_array("q.npy", "<f4", (1, 5, 4, 8), [1e6] + [0.0] * 159)
        self.fc_run(*self.inputs, "--explain", err=[r"1 of 160 numbers became infinite"])

    def test_quiet_has_no_notes(self):
        self.write_array("q.npy", "<f4", (1, 5, 4, 8))
        self.assertEqual(self.fc_run(*self.inputs, *self.outputs, "--quiet").stderr, "")

    def test_layouts_agree(self):
        self.fc_run("--random", 3, "--heads", 3, "--seqlen-q", 5, "--seqlen-kv", 9, "--head-dim", 8, "--device", "cpu", "--explain")
        for name, (seqlen, heads, dimension) in {"q": (5, 4, 8), "k": (7, 2, 8), "v": (7, 2, 6)}.items():
            values = [((17 * i) % 23 - 11) / 8 for i in range(seqlen * heads * dimension)]
            self.write_array(f"{name}.npy", "<f2", (1, seqlen, heads, dimension), values)
            turned = [values[(s * heads + h) * dimension + d] for h in range(heads) for s in range(seqlen) for d in range(dimension)]
            self.write_array(f"{name}t.npy", "<f2", (1, heads, seqlen, dimension), turned)
        self.fc_run(*self.inputs, *self.outputs)
        self.fc_run("--query", "qt.npy", "--key", "kt.npy", "--value", "vt.npy", "--layout", "bhsd", "--device", "cpu", "--output", "ot.npy", "--lse", "lset.npy")
        _, shape, values = cli.read_npy(self.path("o.npy"))
        _, turned_shape, turned = cli.read_npy(self.path("ot.npy"))
        self.assertEqual((shape, turned_shape), ((1, 5, 4, 6), (1, 4, 5, 6)))
        self.assertEqual(turned, [values[(s * 4 + h) * 6 + d] for h in range(4) for s in range(5) for d in range(6)])
        self.assertEqual(self.read("lse.npy"), self.read("lset.npy"))

    def test_lse_base(self):
        self.fc_run(*self.inputs, *self.outputs)
        natural = cli.read_npy(self.path("lse.npy"))[2]
        self.fc_run(*self.inputs, *self.outputs, "--lse-base", "2")
        base2 = cli.read_npy(self.path("lse.npy"))[2]
        for a, b in zip(natural, base2):
            self.assertAlmostEqual(a / math.log(2), b, delta=1e-5 * abs(b) + 1e-5)

    def test_rows_that_see_no_key(self):
        self.write_array("q.npy", "<f2", (1, 9, 4, 8))
        self.fc_run(*self.inputs, *self.outputs, "--causal", "bottom-right", "--check", out=[r"check +passed"])
        self.assertEqual(set(cli.read_npy(self.path("o.npy"))[2][:2 * 4 * 6]), {0.0})
        self.assertEqual(cli.read_npy(self.path("lse.npy"))[2][:2], [-math.inf, -math.inf])

    def test_appended_rows_are_those_of_the_cache(self):
        rows = {name: [((17 * i) % 23 - 11) / 8 for i in range(7 * 2 * dimension)] for name, dimension in (("k", 8), ("v", 6))}
        for name, dimension in (("k", 8), ("v", 6)):
            self.write_array(f"{name}.npy", "<f2", (1, 7, 2, dimension), rows[name])
        self.fc_run(*self.inputs, *self.outputs)
        expected = self.read("o.npy")
        for name, dimension in (("k", 8), ("v", 6)):
            values, first = rows[name], 4 * 2 * dimension
            self.write_array(f"{name}.npy", "<f2", (1, 7, 2, dimension), values[:first] + [math.nan] * (len(values) - first))
            self.write_array(f"{name}new.npy", "<f2", (1, 3, 2, dimension), values[first:])
        append = ["--new-key", self.path("knew.npy"), "--new-value", self.path("vnew.npy")]
        self.fc_run(*self.inputs, *self.outputs, *append)
        self.assertEqual(self.read("o.npy"), expected)
        # By an angle of 0 and by one of pi: the first leaves all as it is.
        self.write_array("cos.npy", "<f2", (2, 4), [1] * 4 + [-1] * 4)
        self.write_array("sin.npy", "<f2", (2, 4), [0] * 8)
        self.write_array("at.npy", "<i4", (1,), [0])
        rotary = ["--rotary-dim", "8", "--rotary-cos", self.path("cos.npy"), "--rotary-sin", self.path("sin.npy"), "--rotary-positions", self.path("at.npy")]
        self.write_array("k.npy", "<f2", (1, 7, 2, 8), rows["k"])
        self.write_array("v.npy", "<f2", (1, 7, 2, 6), rows["v"])
        self.fc_run(*self.inputs, *self.outputs, *rotary)
        self.assertEqual(self.read("o.npy"), expected)
        self.write_array("at.npy", "<i4", (1,), [1])
        self.fc_run(*self.inputs, *self.outputs, *rotary)
        self.assertNotEqual(self.read("o.npy"), expected)
        self.fc_run(*self.inputs, *self.outputs, *append, "--check", code=USAGE, err=[r"--check has no reference for --new-key"])
        rotary[1] = "4"
        self.fc_run(*self.inputs, *self.outputs, *rotary, code=BAD_INPUT, err=[r"--rotary-cos is .* must have the shape \[positions, rotary dimension / 2\]"])

    def test_seeds(self):
        outputs = []
        for seed in (1, 1, 2):
            self.fc_run(*SMALL.replace("--random 1", f"--random {seed}").split(), "--output", self.path("o.npy"))
            outputs.append(self.read("o.npy"))
        self.assertEqual(outputs[0], outputs[1])
        self.assertNotEqual(outputs[0], outputs[2])

    def test_random_numbers_are_normal(self):
        # With one key the output is the value row itself: 8 x 64 x 256 numbers of the generator.
        self.fc_run("--random", 5, "--batch", 256, "--heads", 8, "--seqlen-q", 1, "--seqlen-kv", 1, "--device", "cpu", "--output", self.path("o.npy"))
        values = cli.read_npy(self.path("o.npy"))[2]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        within_one = sum(abs(value) < 1 for value in values) / len(values)
        self.assertAlmostEqual(mean, 0, delta=0.015)
        self.assertAlmostEqual(variance, 1, delta=0.02)
        self.assertAlmostEqual(within_one, 0.6827, delta=0.01)


# Option, type, shape for the inputs of Files, field that the library names.
REFUSED_ARRAYS = [
    ("sinks", "<f2", (4,), "sinks.dtype"),
    ("query-descale", "<f4", (1, 2), "query_descale"),
    ("key-descale", "<f4", (1, 2), "key_descale"), ("value-descale", "<f4", (1, 2), "value_descale"),
]


def refused_array_test(option, descr, shape, field):
    def run(self):
        self.write_array("extra.npy", descr, shape)
        self.refuse(rf"UNSUPPORTED, field {field}", more=[f"--{option}", self.path("extra.npy")], code=USAGE)
    return run


for number, row in enumerate(REFUSED_ARRAYS):
    setattr(Files, f"test_refused_array_{number:02}_{row[0].replace('-', '_')}", refused_array_test(*row))

# Option, type, shape, and what fc-run itself says before it asks the library.
UNFIT_ARRAYS = [
    ("alibi", "<f2", (4,), r"--alibi is float16 \[4\], but must be float32"), ("alibi", "<f4", (5,), r"--alibi is .* must have the shape \[4\] or \[1, 4\]"),
    ("sinks", "<f4", (2,), r"must have the shape \[4\]"), ("bias", "<f4", (4, 7, 5), r"--bias is .* must have the shape \[1, 4, 5, 7\]"),
    ("mask", "<i4", (5, 7), r"--mask is int32 .* must be bool"), ("cu-seqlens-q", "<i4", (3,), r"must have the shape \[2\]"),
    ("page-table", "<i8", (1, 3), r"must be int32"), ("new-key", "<f2", (1, 2, 3, 8), r"must have the shape \[1, new keys, 2, 8\]"),
    ("new-value", "<f2", (1, 2, 2, 8), r"must have the shape \[1, new keys, 2, 6\]"),
]


def unfit_array_test(option, descr, shape, pattern):
    def run(self):
        self.write_array("extra.npy", descr, shape)
        self.refuse(pattern, more=[f"--{option}", self.path("extra.npy")])
    return run


for number, row in enumerate(UNFIT_ARRAYS):
    setattr(Files, f"test_unfit_array_{number:02}_{row[0].replace('-', '_')}", unfit_array_test(*row))

if __name__ == "__main__":
    unittest.main(verbosity=2)
