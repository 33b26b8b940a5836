#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-tune from its command line: refusals, the search by the model alone, and, on the stand-in driver, whole runs. There launches
compute attention on the host and take the less time the more blocks there are, so that small tiles win and every result is right;
a launch that leaves nothing behind (the stand-in's usual way) is a wrong result, and nothing is timed.
"""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

import cli
from cli import BAD_INPUT, FAILED, INTERRUPTED, NO_DEVICE, USAGE, Case

FC_TUNE = os.environ["FC_TUNE"]
SHAPE = "small 1 4 4 256 256 64 fp16 none"
HEADER = "dtype\thead_dim\thead_dim_v\tcausal\tbatch_heads\tseqlen_q\tseqlen_kv\tmodule\tmeasured_us\tdefault_us"


class CommandLine(cli.ToolTest):
    def test_help(self):
        self.run_tool(FC_TUNE, "--help", out=[r"--budget TIME", r"--verify", r"--arch ARCH", r"Exit codes: "])

    def test_without_a_gpu(self):
        self.run_tool(FC_TUNE, code=NO_DEVICE, err=[r"cannot open the device: .*--|NO_DEVICE|DRIVER"])


cli.add_cases(CommandLine, FC_TUNE, [
    Case("bad budget", "--budget 10", USAGE, (), [r'option --budget is "10", but must be a time above 0 with its unit']),
    Case("bad device", "--device cpu", USAGE, (), [r'option --device is "cpu", but must be cuda, or cuda:0']),
    Case("bad jobs", "--jobs 0", USAGE, (), [r"--jobs"]),
    Case("bad threshold", "--threshold -1", USAGE, (), [r'option --threshold is "-1"']),
    Case("bad shape", "--shape 1", USAGE, (), [r"option --shape: \"1\" has 1 fields"]),
    Case("unknown shapes", "--shapes nothing", USAGE, (), [r'option --shapes is "nothing"']),
    Case("verify with shapes", "--verify --shapes short", USAGE, (), [r"--verify times the rows' own problems"]),
    Case("verify with arch", "--verify --arch sm_89", USAGE, (), [r"--verify and --arch exclude each other"]),
    Case("static search with output", "--arch sm_89 --output {t.tsv}", USAGE, (), [r"a static search \(--arch\) writes none"]),
    Case("unknown arch", "--arch sm_12", USAGE, (), [r'architecture "sm_12" has no GPU that stands for it; allowed: sm_80, sm_86, sm_89']),
])


@unittest.skipUnless(cli.NVRTC, "no NVRTC")
class Search(cli.ToolTest):
    @classmethod
    def setUpClass(cls):
        cls.cache = tempfile.TemporaryDirectory()  # one for all: a module takes a second to compile
        cls.addClassCleanup(cls.cache.cleanup)

    def setUp(self):
        super().setUp()
        self.environment["FLASHCORE_LIBNVRTC"] = cli.NVRTC
        self.environment["FLASHCORE_CACHE_DIR"] = self.cache.name

    def tune(self, *arguments, fake="attend=1", **expected):
        self.environment.update(FLASHCORE_LIBCUDA=cli.FAKE_LIBCUDA, FAKE_CUDA=f"arch=89;{fake}")
        return self.run_tool(FC_TUNE, *arguments, **expected)

    def search(self, *arguments, **expected):
        return self.tune("--shape", SHAPE, "--population", 3, "--patience", 1, "--budget", "6s", "--output", self.path("t.tsv"),
                         "--state", self.path("s.json"), *arguments, **expected)

    def state(self):
        content = json.loads(self.read("s.json"))
        self.assertEqual(content["schema"], "flashcore.tune/1")
        return content

    def candidates(self):
        return {one["module"]: one for one in self.state()["shapes"][0]["candidates"]}

    def rows(self):
        lines = self.read("t.tsv").decode().splitlines()
        self.assertEqual(lines[1], HEADER)
        return [dict(zip(HEADER.split("\t"), line.split("\t"))) for line in lines[2:]]

    def test_by_the_model_alone(self):
        done = self.run_tool(FC_TUNE, "--arch", "sm_89", "--shapes", "mission", "--population", 3, "--budget", "2s", "--state", self.path("s.json"),
                             out=[r"by the model alone, for NVIDIA L4 \(sm_89\)", r"mission +\d+ +\d+ +\d+\.\d+ +\d+\.\d+ +sm80_fwd_\w+-fp16-d64-"],
                             err=[r"no GPU is used: .*a prediction there; nothing is measured and no row is written"])
        self.assertNotIn("FAILED", done.stdout)
        self.assertTrue(self.state()["static"])
        self.assertTrue(self.candidates())
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".tsv")], [])

    def test_a_run_a_resumed_one_and_its_verification(self):
        self.search(out=[r"fc-tune on Stand-in GPU 0 \(sm_89\)", r"small +\d+ +\d+ "])
        first = self.candidates()
        timed = {module: one["us"] for module, one in first.items() if "us" in one}
        self.assertGreater(len(timed), 1)
        # What a passport allows compiles.
        self.assertNotIn("COMPILE_FAILED", json.dumps(first))
        # The stand-in's times: 5 us, and 20 us among the blocks.
        for module, us in timed.items():
            tile_q = int(module.split("-")[3].split("x")[0])
            self.assertAlmostEqual(us, 5 + 20 / (4 * -(-256 // tile_q)), delta=0.02, msg=module)
        row, = self.rows()
        best = min(timed.values())
        self.assertAlmostEqual(float(row["measured_us"]), best, delta=0.02)
        self.assertEqual(timed[row["module"]], best)
        self.assertGreater(float(row["default_us"]), best)
        self.assertEqual((row["dtype"], row["causal"], row["head_dim"], row["seqlen_q"]), ("fp16", "none", "64", "182-362"))
        # Resumed: nothing is lost, and nothing is looked at again.
        self.search()
        again = self.candidates()
        self.assertLessEqual(set(first), set(again))
        self.assertEqual({module: again[module] for module in first}, first)
        # The row is faster than the default, and says so; a row that is slower is found.
        self.tune("--verify", "--output", self.path("t.tsv"), out=[r"1 of 1 rows verified: 1 faster than without them, 0 slower, 0 failed"])
        row, = self.rows()  # of several that are equally fast the resumed search may have taken another
        text = self.read("t.tsv").decode().replace(row["module"], "sm80_fwd_mma-fp16-d64-128x64-w4-qreg")
        self.write("slow.tsv", text.encode())
        self.tune("--verify", "--output", self.path("slow.tsv"), code=FAILED, out=[r"SLOWER", r"0 faster than without them, 1 slower"])

    def test_wrong_results_are_never_timed(self):
        self.search(fake="", code=FAILED, out=[r"no candidate could be timed; sm80_fwd_\S+: wrong: error "])
        reasons = [one.get("pruned", "") for one in self.candidates().values()]
        self.assertTrue(all(reasons), reasons)
        self.assertIn("wrong: ", "".join(reasons))
        self.assertFalse(os.path.exists(self.path("t.tsv")))

    def test_a_state_of_another_device_is_refused(self):
        self.search()
        self.tune("--shape", SHAPE, "--state", self.path("s.json"), "--output", self.path("t.tsv"), fake="attend=1;arch=86", code=BAD_INPUT,
                  err=[r"option --state: .*s\.json is of a timed search on .* \(sm_89\), this is a timed search on .* \(sm_86\)"])

    def test_damaged_files(self):
        self.write("s.json", b"{}")
        self.search(code=BAD_INPUT, err=[r's\.json: "schema" is missing'])
        os.remove(self.path("s.json"))
        self.write("t.tsv", HEADER.encode() + b"\nfp16\t64\n")
        self.search(code=BAD_INPUT, err=[r"t\.tsv:2: 2 columns, but 10 are expected"])
        self.tune("--verify", "--output", self.path("t.tsv"), code=BAD_INPUT, err=[r"t\.tsv:2: 2 columns"])
        self.tune("--verify", "--output", self.path("none.tsv"), code=BAD_INPUT, err=[r"there is no table .*none\.tsv"])
        self.tune("--output", self.path("nowhere/t.tsv"), "--state", "none", code=BAD_INPUT, err=[r"option --output: the folder"])

    def test_ctrl_c_keeps_what_was_found(self):
        self.environment.update(FLASHCORE_LIBCUDA=cli.FAKE_LIBCUDA, FAKE_CUDA="arch=89;attend=1")
        with subprocess.Popen([FC_TUNE, "--shape", SHAPE, "--population", "4", "--patience", "1000", "--budget", "1h", "--state", self.path("s.json"),
                               "--output", self.path("t.tsv")], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None:
                if os.path.exists(self.path("s.json")) and self.state()["shapes"] and self.candidates():
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, INTERRUPTED, out + err)
        self.assertTrue(self.candidates())


if __name__ == "__main__":
    unittest.main(verbosity=2)
