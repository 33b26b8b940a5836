#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/03_graph_capture.c on the stand-in driver of tests/fake_driver, whose kernels do nothing: the order of its calls is
right, nothing stays open, and the numbers that nobody computed are seen. GRAPH_EXAMPLE is the program.
"""
import os
import re
import unittest

import cli

PROGRAM = os.environ["GRAPH_EXAMPLE"]


class GraphExample(cli.ToolTest):
    def setUp(self):
        super().setUp()
        self.environment.update(FLASHCORE_LIBCUDA=cli.FAKE_LIBCUDA, FAKE_CUDA=f"arch=89;report={self.path('report.txt')}")
        if cli.STAMPS:
            self.environment.update(FLASHCORE_MODULE_PATH=cli.MODULES, FLASHCORE_JIT="off")
        elif cli.NVRTC:
            self.environment["FLASHCORE_LIBNVRTC"] = cli.NVRTC
        else:
            self.skipTest("no modules are shipped with this build and there is no NVRTC")

    def test_captured_once_and_replayed(self):
        self.run_tool(PROGRAM, code=1, out=[r"^one graph, 3 replays: 196608 of 196608 elements are wrong\n$"])
        report = dict(re.findall(r"^(?:open )?(\w+) (-?\d+)$", self.read("report.txt").decode(), re.MULTILINE))
        expected = {"cuStreamBeginCapture": "1", "cuStreamEndCapture": "1", "cuGraphInstantiateWithFlags": "1", "cuLaunchKernel": "1", "cuGraphLaunch": "3",
                    "cuGraphExecDestroy": "1", "cuGraphDestroy": "1", "misuses": "0", "device_memory": "0", "streams": "0", "modules": "0",
                    "primary_contexts": "0"}
        self.assertEqual({name: report.get(name) for name in expected}, expected)

    def test_a_failing_replay_is_told(self):
        self.environment["FAKE_CUDA"] += ";fail=cuGraphLaunch:2:700"
        self.run_tool(PROGRAM, code=1, err=[r"cuGraphLaunch failed with 700"])

    def test_no_gpu_is_told(self):
        self.environment["FAKE_CUDA"] = "devices=0"
        self.run_tool(PROGRAM, code=77, err=[r"^no GPU to capture on: \S"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
