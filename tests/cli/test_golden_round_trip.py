#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-run on the golden vectors, from file to file: on the CPU device always, on a GPU where there is one."""
import json
import os
import unittest

import cli

with open(os.path.join(cli.GOLDEN, "cases.json"), encoding="utf-8") as file:
    CASES = json.load(file)

LARGEST_GPU_HEAD_DIM = 128

# Error allowed per unit of the largest output: a few roundings of the type. accuracy.hpp has the finer gates, fc-run --check
# uses them; this one is here to be independent of them.
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2}


def arguments_of(case):
    folder = os.path.join(cli.GOLDEN, case["name"])
    bits = "_bf16bits" if case["dtype"] == "bfloat16" else ""
    arguments = []
    for option, name in (("query", "q"), ("key", "k"), ("value", "v")):
        arguments += [f"--{option}", os.path.join(folder, f"{name}{bits}.npy")]
    arguments += ["--dtype", "bf16" if bits else "fp16", "--causal", case["causal"].replace("_", "-")]
    if case["name"] == "custom_scale":
        arguments += ["--scale", repr(case["scale"])]
    if case["softcap"]:
        arguments += ["--softcap", repr(case["softcap"])]
    for option, width in zip(("window-left", "window-right"), case["window"]):
        if width >= 0:
            arguments += [f"--{option}", str(width)]
    if case["chunk"]:
        arguments += ["--attention-chunk", str(case["chunk"])]
    for option, name in (("alibi", "alibi"), ("bias", "bias"), ("mask", "mask"), ("sinks", "sink")):
        if case[name]:
            arguments += [f"--{option}", os.path.join(folder, f"{name}.npy")]
    return arguments


class RoundTrip(cli.ToolTest):
    def compare(self, case, name, tolerance):
        expected_shape, expected = cli.numbers(os.path.join(cli.GOLDEN, case["name"], f"{name}.npy"))
        shape, actual = cli.numbers(self.path(f"{name}.npy"))
        self.assertEqual(shape, expected_shape)
        for i, (a, b) in enumerate(zip(actual, expected)):
            if not (a == b or abs(a - b) <= tolerance(b)):
                self.fail(f"{case['name']}: {name}[{i}] is {a}, but should be {b}")

    def round_trip(self, case, device):
        arguments = arguments_of(case) + ["--device", device, "--output", self.path("o.npy"), "--lse", self.path("lse.npy"), "--check"]
        if device != "cpu" and case["d"] > LARGEST_GPU_HEAD_DIM:
            self.fc_run(*arguments, code=cli.USAGE, err=[r"UNSUPPORTED, field head_dim", "head"])
            self.assertFalse(os.path.exists(self.path("o.npy")))
            return
        self.fc_run(*arguments, out=[r"check +passed"])
        largest = max(map(abs, cli.numbers(os.path.join(cli.GOLDEN, case["name"], "o.npy"))[1]))
        self.compare(case, "o", lambda _: TOLERANCE[case["dtype"]] * largest)
        self.compare(case, "lse", lambda value: 1e-4 + 2e-6 * abs(value))

    def test_every_case_on_a_gpu(self):
        self.environment = cli.clean_environment(self.folder, gpu=True)
        doctor = json.loads(self.fc_inspect("doctor", "--json").stdout)
        if not doctor["devices"]:
            self.skipTest("no GPU")
        for case in CASES:
            with self.subTest(case=case["name"]):
                self.round_trip(case, "cuda")
                for name in ("o.npy", "lse.npy"):
                    if os.path.exists(self.path(name)):
                        os.remove(self.path(name))


for row in CASES:
    setattr(RoundTrip, f"test_cpu_{row['name']}", lambda self, case=row: self.round_trip(case, "cpu"))

if __name__ == "__main__":
    unittest.main(verbosity=2)
