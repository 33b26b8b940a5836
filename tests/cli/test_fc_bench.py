#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-bench on the CPU device: its command line, its table and JSON, the comparison of two results, starts, and Ctrl-C. Times
are whatever they are; what is held is that they are there, that results are checked, and what the exit code says."""
import copy
import glob
import json
import os
import signal
import statistics
import subprocess
import sys
import unittest

import cli
from cli import BAD_INPUT, FAILED, INTERRUPTED, NO_DEVICE, USAGE, Case

FC_BENCH, SHAPES = os.environ["FC_BENCH"], os.environ["SHAPES"]
SUMMARIZE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../benchmarks/summarize_results.py")
TINY = "tiny,1,2,2,33,33,16,fp16,none"
RUN = ["--device", "cpu", "--shape", TINY, "--samples", "8", "--warmup", "1"]


class BenchTest(cli.ToolTest):
    def bench(self, *arguments, **expected):
        return self.run_tool(FC_BENCH, *arguments, **expected)

    def load(self, name):
        return json.loads(self.read(name))

    def save(self, name, content):
        return self.write(name, json.dumps(content).encode())


class CommandLine(BenchTest):
    def test_help_fits_a_page(self):
        done = self.bench("--help", out=[r"--shapes NAME\|FILE", r"--compare FILE", r"Exit codes"])
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)
        self.assertNotIn("startup-child", done.stdout)

    def test_version_names_the_commit(self):
        self.bench("--version", out=[r"fc-bench of flashcore \d+\.\d+\.\d+", r"  commit         ([0-9a-f]{40}(-dirty)?|unknown)\n"])

    def test_every_shapes_file_is_read(self):
        names = sorted(os.path.basename(path)[:-4] for path in glob.glob(os.path.join(SHAPES, "*.txt")))
        self.assertEqual(names, ["decode", "long", "mission", "short", "sweep", "tune", "verify"])
        for name in names:
            done = self.bench("--list", "--shapes", name)
            with open(os.path.join(SHAPES, f"{name}.txt"), encoding="utf-8") as file:
                lines = [line for line in file if not line.startswith("#")]
            self.assertEqual(len(done.stdout.splitlines()), len(lines), done.stdout)
            self.assertEqual(done.stderr, "", "no shape stands in the file twice")
        self.bench("--list", out=[r"^  mission +1 x 8 heads, 512 x 512, d 64, fp16\n$"])

    def test_shapes_come_with_the_tool(self):
        """Beside the binary, so that a copied folder still works, and also when called from elsewhere."""
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(FC_BENCH), "shapes/mission.txt")))

    def test_shapes_of_a_file(self):
        self.write("mine.txt", b"# mine\none 1 1 1 4 4 8 bf16 top-left\n")
        self.bench("--list", "--shapes", self.path("mine.txt"), out=[r"^  one +1 x 1 heads, 4 x 4, d 8, bf16, causal top-left\n$"])

    def test_same_problem_is_measured_once(self):
        done = self.bench("--list", "--shape", "a 1 1 1 4 4 8 fp16 none", "--shape", "b 1 1 1 4 4 8 fp16 none", err=[r"note: b is the same problem as a"])
        self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_a_bad_line_is_found_by_its_number(self):
        self.write("bad.txt", b"one 1 1 1 4 4 8 fp16 none\ntwo 1 1 1 4 4 8 fp64 none\n")
        self.bench("--list", "--shapes", self.path("bad.txt"), code=BAD_INPUT, err=[r"bad\.txt:2: dtype is \"fp64\", but must be fp16 or bf16"])


cli.add_cases(CommandLine, FC_BENCH, [
    Case("unknown shapes", "--shapes nowhere", USAGE, err=[r"--shapes is \"nowhere\", but must be .*decode, long, mission, short, sweep", r"looked in .*/shapes"]),
    Case("missing shapes file", "--shapes {no.txt}", BAD_INPUT, err=[r"no\.txt cannot be read"]),
    Case("shapes file without shapes", "--shapes /dev/null", BAD_INPUT, err=[r"/dev/null cannot be read, or holds nothing"]),
    Case("bad shape", "--shape 1,8", USAGE, err=[r"option --shape: \"1,8\" has 2 fields, but must have 8 or 9: \[name\] batch"]),
    Case("unknown kernel", "--kernel fastest", USAGE, err=[r"--kernel is \"fastest\", but must be all, auto, cpu .*, a kernel or a module: .*sm80_fwd_mma"]),
    Case("malformed module", "--kernel sm80_fwd_mma-fp16-d64-64-w4", USAGE, err=[r"has \"64\" where TILE_QxTILE_KV must stand"]),
    Case("module that its kernel does not allow", "--kernel sm80_fwd_mma-fp16-d64-64x8-w4", USAGE,
         err=[r"whose tile_kv is 8; sm80_fwd_mma allows: "]),
    Case("no kernel left", "--no-auto", USAGE, err=[r"--no-auto leaves no kernel"]),
    Case("unknown mode", "--mode hot", USAGE, err=[r"--mode is \"hot\", but must be all or some of: graph,warm,cold"]),
    Case("graph on the cpu", "--device cpu --mode graph", USAGE, err=[r"the CPU device has no graphs; allowed there: warm, cold"]),
    Case("no samples", "--samples 0", USAGE, err=[r"--samples is \"0\", but must be a whole number from 1 to"]),
    Case("bad device", "--device cuda:x", USAGE, err=[r"--device is \"cuda:x\", but must be one of: auto, cpu, cuda, cuda:0"]),
    Case("bad threshold", "--threshold -1", USAGE, err=[r"--threshold is \"-1\", but must be 0 or more"]),
    Case("load without compare", "--load a.json", USAGE, err=[r"--load goes with --compare"]),
    Case("two actions", "--startup --host-cost", USAGE, err=[r"exclude each other"]),
    Case("compare starts", "--startup --compare a.json", USAGE, err=[r"does not go with --startup"]),
    Case("start of many shapes", "--startup --shapes short", USAGE, err=[r"--startup takes one shape"]),
    Case("unknown option", "--sampels 3", USAGE, err=[r"did you mean --samples\?"]),
    Case("unwritable json", "--json /nonexistent/a.json", BAD_INPUT, err=[r"option --json: the folder of /nonexistent/a\.json"]),
    Case("no gpu", "--device cuda", NO_DEVICE, err=[r"cannot open the device: .*libcuda.*NO_DRIVER"]),
    Case("start without gpu", "--startup", NO_DEVICE, err=[r"option --startup starts processes on a GPU: .*libcuda.*NO_DRIVER"]),
    Case("host cost without gpu", "--host-cost", NO_DEVICE, err=[r"--host-cost needs a GPU, and this is the CPU device \(no usable GPU: "]),
])


class Measuring(BenchTest):
    def test_table(self):
        done = self.bench(*RUN, "--mode", "warm,cold", out=[
            r"device +CPU \(\d+ threads?\)", r"because +the CPU was asked for", r"commit +\S", r"inputs +random normal, seed 1", r"clock +host",
            r"\ntiny: 1 x 2 heads, 33 x 33, d 16, fp16\n", r"auto: cpu +warm +8( +[\d.]+){3} .* ok\n", r"auto: cpu +cold +8 .* ok\n"])
        self.assertEqual(done.stderr, "")
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)

    def test_json(self):
        content = self.json_of(self.bench(*RUN, "--shape", "gqa 2 4 2 17 40 24 bf16 bottom-right", "--json", "-", "--seed", 5), "flashcore.bench/1")
        self.assertEqual((content["action"], content["interrupted"], content["seed"], content["device"]["kind"]), ("measure", False, 5, "cpu"))
        self.assertRegex(content["commit"], r"^([0-9a-f]{40}(-dirty)?|unknown)$")
        self.assertRegex(content["date_utc"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIsNone(content["vendor_peak"])
        tiny, gqa = content["results"]
        self.assertEqual((tiny["shape"]["name"], tiny["kernel_asked"], tiny["kernel"], tiny["mode"], tiny["status"], tiny["clock"]),
                         ("tiny", "auto", "cpu", "warm", "ok", "host"))
        self.assertEqual((len(tiny["samples_us"]), tiny["warmup"], tiny["sets"], tiny["calls_per_sample"]), (8, 1, 1, 1))
        self.assertIsNone(tiny["host_us"])
        ordered = sorted(tiny["samples_us"])
        self.assertAlmostEqual(tiny["time_us"]["p50"], (ordered[3] + ordered[4]) / 2)
        self.assertEqual(tiny["flop"], 4 * 2 * 33 * 33 * 16)
        self.assertEqual(tiny["bytes"], 2 * 4 * 33 * 2 * 16)
        self.assertAlmostEqual(tiny["tflops_per_second"] * tiny["time_us"]["p50"] * 1e6, tiny["flop"])
        for row in (tiny, gqa):
            self.assertTrue(row["check"]["passed"], row)
            self.assertGreater(row["check"]["rows_compared"], 0)
            self.assertGreater(row["check"]["allowed_max_error"], row["check"]["max_error"])
        self.assertEqual(gqa["flop"], 4 * 2 * 4 * 24 * sum(min(40, i + 1 + 40 - 17) for i in range(17)))

    def test_json_to_a_file_beside_the_table(self):
        self.bench(*RUN, "--json", self.path("a.json"), out=[r"auto: cpu"])
        self.assertEqual(len(self.load("a.json")["results"]), 1)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.json"])

    def test_rotating_sets(self):
        content = self.json_of(self.bench(*RUN, "--sets", 3, "--json", "-"), "flashcore.bench/1")
        self.assertEqual(content["results"][0]["sets"], 3)
        self.assertTrue(content["results"][0]["check"]["passed"])

    def test_refused_kernels_say_why_and_the_rest_goes_on(self):
        done = self.bench(*RUN, "--kernel", "all", "--kernel", "cpu", out=[r"auto: cpu +warm .* ok\n  cpu +warm .* ok\n", r"\nrefused\n",
                                                                        r"  tiny, sm80_fwd_mma +kernel is \"sm80_fwd_mma\", which runs on a GPU"])
        self.assertNotIn("failed", done.stdout)

    def test_nothing_but_refusals_is_no_success(self):
        self.bench(*RUN, "--no-auto", "--kernel", "sm80_fwd_mma", code=FAILED, out=[r"\nrefused\n  tiny, sm80_fwd_mma +kernel is"])
        content = self.json_of(self.bench(*RUN, "--no-auto", "--kernel", "sm80_fwd_mma", "--json", "-", code=FAILED), "flashcore.bench/1")
        row = content["results"][0]
        self.assertEqual((row["status"], row["mode"], row["kernel"]), ("refused", "", "sm80_fwd_mma"))
        self.assertIn("runs on a GPU", row["reason"])

    def test_auto_without_a_gpu_measures_the_cpu_and_says_so(self):
        self.bench("--shape", TINY, "--samples", 5, out=[r"because +no usable GPU: .*/nonexistent/libcuda"])

    def test_start_on_the_cpu(self):
        self.bench("--startup", "--device", "cpu", "--shape", TINY, "--samples", 2, out=[r"\n  cpu +2 +"])
        content = self.json_of(self.bench("--startup", "--device", "cpu", "--shape", TINY, "--samples", 3, "--json", "-"), "flashcore.bench/1")
        self.assertEqual(content["action"], "startup")
        start = content["startup"][0]
        self.assertEqual((start["case"], start["problem"], len(start["runs"])), ("cpu", "", 3))
        for run in start["runs"]:
            parts = [run[name] for name in ("process_start_us", "context_create_us", "buffers_us", "first_call_us")]
            self.assertTrue(all(part > 0 for part in parts), run)
            self.assertAlmostEqual(sum(parts), run["first_result_us"], places=3)

    def test_ctrl_c_keeps_what_is_done(self):
        slow = "slow,1,8,8,256,256,64,fp16,none"
        process = subprocess.Popen([FC_BENCH, "--device", "cpu", "--shape", TINY, "--shape", slow, "--samples", "20000", "--warmup", "0",
                                    "--json", self.path("a.json")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.environment, text=True)
        try:
            for line in process.stderr:  # the progress
                if "1 of 2" in line:
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        self.assertEqual(process.returncode, INTERRUPTED, out + err)
        self.assertRegex(out, r"interrupted +what follows is what was done until then")
        self.assertRegex(out, r"auto: cpu +warm +20000 ")
        content = self.load("a.json")
        self.assertIs(content["interrupted"], True)
        self.assertEqual([row["shape"]["name"] for row in content["results"]], ["tiny"])


class Comparing(BenchTest):
    """Results with made-up samples, compared without measuring, and one that is measured."""

    def setUp(self):
        super().setUp()
        self.bench(*RUN, "--shape", "other 1 1 1 8 8 8 fp16 none", "--json", self.path("base.json"))
        self.base = self.load("base.json")
        for row in self.base["results"]:
            row["samples_us"] = [100 + 0.01 * i for i in range(20)]
        self.save("base.json", self.base)

    def compare(self, newer, *arguments, **expected):
        self.save("newer.json", newer)
        return self.bench("--compare", self.path("base.json"), "--load", self.path("newer.json"), *arguments, **expected)

    def scaled(self, factor, row=0):
        newer = copy.deepcopy(self.base)
        newer["results"][row]["samples_us"] = [factor * value for value in newer["results"][row]["samples_us"]]
        return newer

    def test_same(self):
        self.compare(self.base, out=[r"tiny +auto: cpu +warm +100\.\d+ +100\.\d+ +1\.000 +\S+ +same\n", r"2 rows compared, 0 slower"])

    def test_slower(self):
        self.compare(self.scaled(1.1), code=FAILED, out=[r"tiny .* 1\.100 +\S+ +SLOWER\n", r"other .* same\n", r"2 rows compared, 1 slower"])

    def test_faster(self):
        self.compare(self.scaled(0.5), out=[r"tiny .* 0\.500 +\S+ +faster\n"])

    def test_threshold(self):
        self.compare(self.scaled(1.02), out=[r"tiny .* 1\.020 .* same\n"])
        self.compare(self.scaled(1.02), "--threshold", 1, code=FAILED, out=[r"SLOWER"])
        self.compare(self.scaled(1.1), "--threshold", 20, out=[r"0 slower"])

    def test_noise(self):
        older, newer = copy.deepcopy(self.base), copy.deepcopy(self.base)
        older["results"][0]["samples_us"] = [50 + 10 * i for i in range(20)]
        newer["results"][0]["samples_us"] = [60 + 10 * i for i in range(20)]
        self.save("base.json", older)
        self.compare(newer, out=[r"tiny .* 1\.069 .* same\n"])

    def test_too_few_samples(self):
        newer = self.scaled(2)
        newer["results"][0]["samples_us"] = newer["results"][0]["samples_us"][:3]
        self.compare(newer, out=[r"tiny .* too few samples\n", r"0 slower"])

    def test_rows_of_one_side(self):
        newer = copy.deepcopy(self.base)
        newer["results"][1]["kernel_asked"] = "cpu"
        self.compare(newer, out=[r"other +auto +warm +only in the older\n", r"other +cpu +warm +only in the newer\n", r"1 rows compared"])

    def test_another_device_is_pointed_out(self):
        newer = copy.deepcopy(self.base)
        newer["device"]["name"] = "Some GPU"
        self.compare(newer, out=[r"careful +the devices differ"])

    def test_measured_and_compared(self):
        for row in self.base["results"]:
            row["samples_us"] = [1e-3] * 20
        self.save("base.json", self.base)
        self.bench(*RUN, "--compare", self.path("base.json"), code=FAILED, out=[r"auto: cpu +warm +8 .* ok\n", r"SLOWER", r"only in the older", r"1 rows compared, 1 slower"])

    def test_damaged_files(self):
        cases = [(b"", "holds nothing"), (b"{", "it is not JSON"), (b"[]", "\"schema\" is not there"), (b"{\"schema\": 1}", "\"schema\" is not there or is not text"),
                 (b"{\"schema\": \"other/1\"}", "its schema is \"other/1\"")]
        for field, value, complaint in (("action", "startup", "it holds no rows"), ("results", 3, "\"results\" is not there or is not a list"), ("device", None, "\"device\" is not there"),
                                        ("results", [{}], "\"shape\" is not there"), ("results", [3], "is not there")):
            cases.append((json.dumps({**self.base, field: value}).encode(), complaint))
        for field, value, complaint in (("samples_us", [], "no samples"), ("samples_us", ["x"], "holds something that is no number"), ("kernel", 3, "\"kernel\" is not there or is not text")):
            cases.append((json.dumps({**self.base, "results": [{**self.base["results"][0], field: value}]}).encode(), complaint))
        for content, complaint in cases:
            self.write("damaged.json", content)
            done = self.bench("--compare", self.path("damaged.json"), "--load", self.path("base.json"), code=BAD_INPUT, err=[r"damaged\.json"])
            self.assertIn(complaint, done.stderr)
        self.bench("--compare", self.path("gone.json"), code=BAD_INPUT, err=[r"gone\.json cannot be read"])


class Summaries(BenchTest):
    """benchmarks/summarize_results.py on what fc-bench writes."""

    def summarize(self, *names):
        return subprocess.run([sys.executable, SUMMARIZE, *map(self.path, names)], capture_output=True, text=True, check=False, timeout=60)

    def summary_of(self, name):
        done = self.summarize(name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return self.load(name)

    def test_rows_keep_everything_but_their_samples(self):
        self.bench(*RUN, "--kernel", "all", "--json", self.path("a.json"))
        full, short = self.load("a.json"), self.summary_of("a.json")
        self.assertEqual({**full, "schema": 0, "results": 0}.keys(), short.keys())
        self.assertEqual((short["schema"], short["commit"], short["device"]), ("flashcore.bench.summary/1", full["commit"], full["device"]))
        self.assertEqual(len(short["results"]), len(full["results"]))
        samples, row = full["results"][0]["samples_us"], short["results"][0]
        self.assertEqual((row["status"], row["time_us"]["n"], row["host_us"], row["flop"]), ("ok", 8, None, full["results"][0]["flop"]))
        self.assertEqual((row["time_us"]["p50"], row["time_us"]["min"]), tuple(float(f"{us:.6g}") for us in (statistics.median(samples), min(samples))))
        self.assertNotIn("samples", self.read("a.json").decode())
        refused = [row for row in short["results"] if row["status"] == "refused"]
        self.assertEqual(refused, [row for row in full["results"] if row["status"] == "refused"])
        self.assertTrue(refused)

    def test_starts_and_a_row_per_line(self):
        self.bench("--startup", "--device", "cpu", "--shape", TINY, "--samples", 3, "--json", self.path("a.json"))
        runs, start = self.load("a.json")["startup"][0]["runs"], self.summary_of("a.json")["startup"][0]
        times = [run["first_call_us"] for run in runs]
        self.assertEqual((start["n"], start["first_call_us"]), (3, {"min": float(f"{min(times):.6g}"), "p50": float(f"{statistics.median(times):.6g}"),
                                                                    "max": float(f"{max(times):.6g}")}))
        self.assertIn('\n "startup": [\n  {"case": "cpu", ', self.read("a.json").decode())
        once = self.read("a.json")
        self.summary_of("a.json")
        self.assertEqual(self.read("a.json"), once, "a summary of a summary has other bytes")

    def test_other_files_are_refused(self):
        for content, complaint in ((b"{", "Expecting property name"), (b'{"schema": "other/1"}', "schema is 'other/1', but must be one of: flashcore.bench/1"),
                                   (b'{"results": []}', "schema is None")):
            self.write("a.json", content)
            done = self.summarize("a.json")
            self.assertEqual((done.returncode, self.read("a.json")), (1, content))
            self.assertIn(complaint, done.stderr)
            self.assertEqual(os.listdir(self.folder), ["a.json"])
        self.assertNotEqual(subprocess.run([sys.executable, SUMMARIZE], capture_output=True, check=False).returncode, 0)

    def test_a_summary_is_compared_with_nothing(self):
        self.bench(*RUN, "--json", self.path("full.json"))
        self.write("summary.json", self.read("full.json"))
        self.summary_of("summary.json")
        for older, newer in (("summary.json", "full.json"), ("full.json", "summary.json")):
            self.bench("--compare", self.path(older), "--load", self.path(newer), code=BAD_INPUT,
                       err=[r"summary\.json is no result of fc-bench: it is a summary without samples, which the rank test needs; compare what --json has written"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
