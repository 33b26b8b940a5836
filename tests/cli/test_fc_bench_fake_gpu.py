#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-bench's way through a GPU, on the stand-in driver of tests/fake_driver. Its kernels do nothing, so every output stays as
fc-bench poisoned it and every check must fail; graphs, events, bare launches and starts go through all the same."""
import os
import unittest

import cli
from cli import FAILED, NO_DEVICE, USAGE

FC_BENCH = os.environ["FC_BENCH"]
SHAPE = ["--shape", "small 1 2 2 64 64 64 fp16 none"]
RUN = [*SHAPE, "--samples", "5", "--warmup", "0"]
NVIDIA_SMI = """#!/bin/sh
case "$*" in
*clocks_event_reasons*) echo 'Field "clocks_event_reasons.active" is not a valid field to query.'; exit 2;;
*clocks_throttle_reasons*) echo "Stand-in, 580.1, P0, 1980 MHz, 3201 MHz, 1980 MHz, 120.50 W, 700.00 W, 41, 0x0000000000000000";;
esac
"""


class FakeGpu(cli.ToolTest):
    def setUp(self):
        super().setUp()
        if not cli.STAMPS:
            self.skipTest("no modules are shipped with this build")
        self.environment.update(FLASHCORE_LIBCUDA=cli.FAKE_LIBCUDA, FLASHCORE_MODULE_PATH=cli.MODULES, FLASHCORE_JIT="off", PATH="/usr/bin:/bin")

    def fake(self, *arguments, fake="", **expected):
        return self.run_tool(FC_BENCH, *arguments, env={"FAKE_CUDA": f"arch=89;report={self.path('report.txt')};{fake}"}, **expected)

    def report(self):
        rows = [line.split() for line in self.read("report.txt").decode().splitlines()]
        return {row[-2]: int(row[-1]) for row in rows}

    def results(self, *arguments, code=FAILED, **more):
        return self.json_of(self.fake(*RUN, *arguments, "--json", "-", code=code, **more), "flashcore.bench/1")

    def test_all_modes_are_measured_and_the_check_fails(self):
        done = self.fake(*RUN, "--mode", "all", code=FAILED, out=[
            r"device +Stand-in GPU 0 \(cuda:0, sm_89, \d+ SMs\)", r"vendor peak +not known for this device", r"two of them with nothing between are 250\.00 us apart",
            r"auto: \w+ +graph +5 .* FAILED\n", r"auto: \w+ +warm +5 .* FAILED\n", r"auto: \w+ +cold +5 .* FAILED\n",
            r"\nfailed\n  small, auto: \w+ \(graph, warm, cold\) +check failed: error [\s\S]*NaN"])
        self.assertEqual(done.stderr, "")

    def test_everything_is_given_back(self):
        self.fake(*RUN, "--mode", "all", code=FAILED)
        report = self.report()
        for kind in ("device_memory", "host_memory", "modules", "streams", "events", "primary_contexts", "misuses"):
            self.assertEqual(report[kind], 0, report)
        self.assertEqual((report["cuGraphDestroy"], report["cuGraphExecDestroy"]), (1, 1), report)

    def test_graph_replays_hold_every_set_as_often(self):
        content = self.results("--mode", "graph", "--sets", 3)
        row = content["results"][0]
        self.assertEqual((row["mode"], row["sets"], row["calls_per_sample"] % 3, len(row["samples_us"]), row["clock"]), ("graph", 3, 0, 5, "gpu events"))
        self.assertAlmostEqual(row["time_us"]["p50"], 250 / row["calls_per_sample"], places=3)
        self.assertGreater(len(row["host_samples_us"]), 0)
        self.assertEqual(content["event_pair_us"], 250)

    def test_cold_flushes_and_warm_calls_before(self):
        """Launches: one checked, three to estimate, each behind another; the host's cost; then the samples."""
        calls = {}
        for mode in ("warm", "cold"):
            self.results("--mode", mode, "--sets", 1)
            calls[mode] = self.report()
        self.assertEqual(calls["warm"]["cuLaunchKernel"] - calls["cold"]["cuLaunchKernel"], 5)
        self.assertEqual(calls["warm"]["cuMemsetD8Async"], calls["cold"]["cuMemsetD8Async"])

    def test_kernel_by_name_and_refusal(self):
        content = self.results("--mode", "cold", "--kernel", "all", "--shape", "wide 1 2 2 64 64 40 fp16 none")
        by_shape = {}
        for row in content["results"]:
            by_shape.setdefault(row["shape"]["name"], []).append(row)
        self.assertGreater(len(by_shape["small"]), 1)
        too_new = [row for row in by_shape["small"] if row["kernel"].startswith("sm90_")]
        self.assertGreater(len(too_new), 1)
        self.assertEqual({(row["status"], row["reason"][:28]) for row in too_new}, {("refused", "needs compute capability 9.0")})
        self.assertTrue(all(row["status"] == "ok" and row["check"]["passed"] is False for row in by_shape["small"] if row not in too_new))
        refused = [row for row in by_shape["wide"] if row["kernel"] == "fwd_wmma_64x64"]
        self.assertEqual([(row["status"], row["reason"]) for row in refused], [("refused", "head_dim must be 64")])

    def test_a_failing_graph_leaves_the_other_modes(self):
        for function, name in (("cuStreamBeginCapture", "cuStreamBeginCapture"), ("cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags"), ("cuGraphLaunch", "cuGraphLaunch")):
            content = self.results(fake=f"fail={function}:1:801")
            by_mode = {row["mode"]: row for row in content["results"]}
            self.assertEqual(by_mode["graph"]["status"], "failed")
            self.assertRegex(by_mode["graph"]["reason"], rf"^{name} of the CUDA driver failed: .*\(801\)$")
            self.assertEqual(by_mode["cold"]["status"], "ok")
            self.assertEqual(self.report()["misuses"], 0)

    def test_a_shape_without_memory_leaves_the_next(self):
        content = self.results("--mode", "cold", "--shape", "next 1 2 2 64 64 64 bf16 none", fake="fail=cuMemAlloc:4:2")
        self.assertEqual([(row["shape"]["name"], row["status"]) for row in content["results"]], [("small", "failed"), ("next", "ok")])
        self.assertRegex(content["results"][0]["reason"], r"no inputs: cannot get .* of device memory: .*OUT_OF_DEVICE_MEMORY")

    def test_a_lost_device_ends_the_run_with_its_rows(self):
        """The first shape waits for the stream 51 times; the second finds the device dead, and the others are not tried."""
        content = self.results("--mode", "cold", "--sets", 1, "--shapes", "short", fake="fail=cuStreamSynchronize:60:700:sticky")
        self.assertEqual([row["status"] for row in content["results"]], ["ok", "failed"])
        self.assertRegex(content["stopped"], r"^the device stopped working: .*ILLEGAL_ADDRESS")

    def test_nvidia_smi_is_asked_by_bus_id(self):
        os.mkdir(self.path("bin"))
        self.write("bin/nvidia-smi", NVIDIA_SMI.replace("#!/bin/sh\n", f"#!/bin/sh\necho \"$*\" >> {self.path('asked')}\n").encode())
        os.chmod(self.path("bin/nvidia-smi"), 0o755)
        self.environment["PATH"] = self.path("bin") + ":/usr/bin:/bin"
        content = self.results("--mode", "cold")
        self.assertEqual((content["gpu_before"]["clocks.sm"], content["gpu_after"]["power.draw"], content["gpu_before"]["driver_version"]), ("1980 MHz", "120.50 W", "580.1"))
        self.assertEqual(content["gpu_before"]["clocks_throttle_reasons.active"], "0x0000000000000000")
        for line in self.read("asked").decode().splitlines():
            self.assertRegex(line, r"^--id=0000:01:00\.0 --query-gpu=\S+ --format=csv,noheader$")

    def test_without_nvidia_smi(self):
        content = self.results("--mode", "cold")
        self.assertRegex(content["gpu_before"]["unavailable"], r"nvidia-smi cannot be started")

    def test_host_cost(self):
        content = self.json_of(self.fake("--host-cost", *SHAPE, "--samples", 4, "--json", "-"), "flashcore.bench/1")
        row = content["host_cost"][0]
        self.assertEqual((content["action"], row["status"], len(row["call_samples_us"]), len(row["bare_launch_samples_us"])), ("host-cost", "ok", 80, 80))
        self.assertAlmostEqual(row["difference_of_medians_us"], row["call_us"]["p50"] - row["bare_launch_us"]["p50"])
        self.assertEqual(self.report()["misuses"], 0)
        self.fake("--host-cost", *SHAPE, "--samples", 4, out=[r"small +auto: \w+ +80( +\d+\.\d{3}){4} +[+-]\d+\.\d{3}\n"])

    def test_host_cost_of_a_kernel_whose_launch_says_how_large_a_cluster_is(self):
        """Without it the bare launch would be other work: blocks that wait for those that are not there."""
        split = "sm90_fwd_wgmma-fp16-d64-128x128-split"
        self.fake("--host-cost", "--shape", "split 1 2 2 128 1024 64 fp16 none", "--kernel", split, "--no-auto", "--samples", 4, fake="arch=90")
        report = self.report()
        self.assertEqual(report["misuses"], 0)
        self.assertNotIn("cuLaunchKernel", {name for name, calls in report.items() if calls})
        self.assertGreater(report["cuLaunchKernelEx"], 160)

    def test_host_cost_without_the_kernel_s_parameters(self):
        content = self.json_of(self.fake("--host-cost", *SHAPE, "--json", "-", fake="fail=cuGraphKernelNodeGetParams:1:1", code=FAILED), "flashcore.bench/1")
        self.assertRegex(content["host_cost"][0]["reason"], r"^cuGraphKernelNodeGetParams of the CUDA driver failed: ")

    def test_starts_are_served_by_the_layer_that_is_left(self):
        self.environment.update(FLASHCORE_CACHE="off", FLASHCORE_LIBNVRTC=cli.NVRTC)  # what the caller set must not decide
        content = self.json_of(self.fake("--startup", *SHAPE, "--samples", 1, "--module-path", cli.MODULES, "--json", "-", code=FAILED), "flashcore.bench/1")
        served = {start["case"]: start["served_by"] for start in content["startup"]}
        self.assertEqual(list(served), ["compile", "user-cache", "shipped", "driver-alone"])
        self.assertEqual(served["shipped"], "shipped")
        if cli.NVRTC:
            self.assertEqual((served["compile"], served["user-cache"]), ("compiled", "user cache"))
        for start in content["startup"]:
            expected = r"^$" if start["case"] == "driver-alone" else r"the result is wrong"
            if cli.NVRTC or start["case"] in ("shipped", "driver-alone"):
                self.assertRegex(start["problem"], expected)
        self.assertEqual(content["device"]["name"], "Stand-in GPU 0")

    def test_start_without_shipped_modules_says_so(self):
        os.mkdir(self.path("empty"))
        content = self.json_of(self.fake("--startup", *SHAPE, "--samples", 1, "--module-path", self.path("empty"), "--json", "-", code=FAILED), "flashcore.bench/1")
        problem = {start["case"]: start["problem"] for start in content["startup"]}["shipped"]
        self.assertRegex(problem, r"no module folder and no cache holds .*COMPILER_UNAVAILABLE")

    def test_driver_without_device(self):
        self.fake("--device", "cuda", fake="devices=0", code=NO_DEVICE, err=[r"NO_DEVICE"])
        self.fake("--startup", fake="devices=0", code=NO_DEVICE, err=[r"NO_DEVICE"])
        self.fake("--device", "cuda:3", code=USAGE, err=[r"device_ordinal"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
