#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-run's way through a GPU, on the stand-in driver of tests/fake_driver. Its kernels do nothing, so every number stays as
fc-run poisoned it: the check must see that, and a run that is believed without --check must still give everything back.
"""
import os
import unittest

import cli
from cli import FAILED, NO_DEVICE, OK, USAGE

RUN = ["--random", "1", "--heads", "2", "--seqlen", "64", "--head-dim", "64"]


class FakeGpu(cli.ToolTest):
    def setUp(self):
        super().setUp()
        self.environment["FLASHCORE_LIBCUDA"] = cli.FAKE_LIBCUDA
        if not cli.STAMPS:
            self.skipTest("no modules are shipped with this build")
        self.environment["FLASHCORE_MODULE_PATH"] = cli.MODULES
        self.environment["FLASHCORE_JIT"] = "off"

    def fake(self, *arguments, fake="", **expected):
        return self.fc_run(*RUN, *arguments, env={"FAKE_CUDA": f"arch=89;report={self.path('report.txt')};{fake}"}, **expected)

    def report(self):
        """{function or kind: number} of the stand-in's report at exit."""
        rows = [line.split() for line in self.read("report.txt").decode().splitlines()]
        return {row[-2]: int(row[-1]) for row in rows if row[-1].lstrip("-").isdigit()}

    def test_report(self):
        done = self.fake("--repeat", 3, out=[r"device +.*\(cuda:0, sm_89, \d+ SMs\)", r"because +the first usable GPU", r"kernel +\w+_fwd_\w+|kernel +fwd_\w+",
                                           r"module +\S+, a shipped module", r"prepare +", r"median of 3 calls.*GPU events"])
        self.assertEqual(done.stderr, "")

    def test_nothing_stays_open(self):
        self.fake("--check", "--kernel", "sm80_fwd_mma", code=FAILED)
        report = self.report()
        for kind in ("device_memory", "host_memory", "modules", "streams", "events", "primary_contexts"):
            self.assertEqual(report.get(kind, 0), 0, report)
        self.assertGreater(report["cuLaunchKernel"] if "cuLaunchKernel" in report else report.get("cuLaunchKernelEx", 0), 0, report)

    def test_kernel_that_writes_nothing_fails_the_check(self):
        self.fake("--check", "--output", self.path("o.npy"), code=FAILED, out=[r"check +FAILED", r"FAILED: 8192 of 8192 output numbers are NaN", r"at element 0: nan instead of ", r"LSE is over its gate", r"output +not written"])
        self.assertFalse(os.path.exists(self.path("o.npy")))

    def test_first_call_is_not_timed_when_there_are_more(self):
        self.fake("--repeat", 5)
        report = self.report()
        self.assertEqual(report.get("cuLaunchKernel", 0) + report.get("cuLaunchKernelEx", 0), 6, report)

    def test_json(self):
        content = self.json_of(self.fake("--json", "--device", "cuda:0"), "flashcore.run/1")
        self.assertEqual((content["device"]["kind"], content["device"]["arch"], content["module_origin"], content["clock"]), ("cuda", "sm_89", "shipped", "gpu events"))

    def test_explain(self):
        self.fake("--explain", out=[r"tile +\d+ queries x \d+ keys", r"grid +\d+ x \d+ x \d+ blocks of \d+ threads", r"estimate +", r"reasons +\S"])
        self.assertEqual(self.report().get("cuLaunchKernel", 0) + self.report().get("cuLaunchKernelEx", 0), 0)

    def test_kernel_by_name(self):
        self.fake("--kernel", "fwd_wmma_64x64", out=[r"kernel +fwd_wmma_64x64\n", r"module +fwd_wmma_64x64-fp16-d64-"])

    def test_module_that_nobody_has(self):
        os.mkdir(self.path("empty"))
        self.fake("--module-path", self.path("empty"), code=FAILED, err=[r"cannot prepare the attention: .*COMPILER_UNAVAILABLE"])

    def test_second_device(self):
        self.fake("--device", "cuda:7", code=USAGE, err=[r"cannot open the device: .*7"])

    def test_driver_without_device(self):
        self.fake("--device", "cuda", fake="devices=0", code=NO_DEVICE, err=[r"NO_DEVICE"])
        self.fake("--device", "cuda", fake="init=100", code=NO_DEVICE, err=[r"NO_DEVICE"])
        self.fake(fake="devices=0", code=OK, out=[r"device +CPU", r"because +no usable GPU: "])

    def test_driver_too_old(self):
        self.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # the stand-in is unloaded, and what it kept looks lost then
        self.fake("--device", "cuda", fake="version=11000", code=NO_DEVICE, err=[r"DRIVER_TOO_OLD"])

    def test_no_device_memory(self):
        self.fake(fake="fail=cuMemAlloc:1:2", code=FAILED, err=[r"cannot get .* of device memory: .*OUT_OF_DEVICE_MEMORY"])

    def test_launch_that_fails(self):
        for function in ("cuLaunchKernel", "cuLaunchKernelEx"):
            done = self.fake("--output", self.path("o.npy"), fake=f"fail={function}:1:1", code=None)
            if done.returncode != OK:
                self.assertEqual(done.returncode, FAILED)
                self.assertRegex(done.stderr, r"cannot compute the attention: .*CUDA_ERROR")
                self.assertFalse(os.path.exists(self.path("o.npy")))
                return
            os.remove(self.path("o.npy"))
        self.fail("neither launch function failed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
