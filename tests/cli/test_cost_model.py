#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cost model against what was measured on the H200 that it was fitted on (benchmarks/results), and README's prediction for a
GPU that nobody measured against what the model says today. No GPU is needed.
"""
import glob
import json
import os
import re
import statistics
import subprocess
import unittest

import cli

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
WORST_RATIO, WORST_MEDIAN, WORST_CHOICE = 1.5, 1.15, 1.12
DTYPES = {"float16": "fp16", "bfloat16": "bf16", "fp16": "fp16", "bf16": "bf16"}
H200 = "sm_90a"
MISSION = "1 8 8 512 512 64 fp16 none"


def model(shape, arch, kernel=None):
    """The model's JSON, or None where what was measured says nothing of it: a kernel or a shape of another version, and where keys are split over
    the grid, because the committed results are older than that.
    """
    words = [cli.FC_INSPECT, "show", *([kernel] if kernel else []), "--model", arch, "--shape", shape, "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=cli.clean_environment("/nonexistent"), text=True, check=False)
    said = json.loads(done.stdout) if done.returncode == 0 else None
    return None if said is None or said["merge_us"] > 0 else said


def results(pattern):
    for path in sorted(glob.glob(os.path.join(ROOT, "benchmarks/results", pattern))):
        with open(path, encoding="utf-8") as file:
            yield os.path.basename(path), json.load(file)


def compared_rows(pattern):
    """(name, shape, module, us) of the library's own choice in the comparisons with others."""
    for name, content in results(pattern):
        for row in content["rows"]:
            ours = row["candidates"].get("flashcore", {})
            if ours.get("us"):
                shape = (f"{row['batch']} {row['heads_q']} {row['heads_kv']} {row['seqlen_q']} {row['seqlen_kv']} {row['head_dim']} "
                         f"{DTYPES[row['dtype']]} {'top-left' if row['causal'] else 'none'}")
                yield f"{name} {shape}", shape, ours["module"], ours["us"]


def benched_rows():
    """(shape, module, us) of fc-bench's graph mode on the H200, without the ladder's kernels, and of the Hopper kernel beside others."""
    yield from ((shape, module, us) for _, shape, module, us in compared_rows("compare-h200-*.json") if module.startswith("sm90_fwd_wgmma"))
    for _, content in results("*.json"):
        if content["schema"] != "flashcore.bench.summary/1" or "H200" not in content["device"]["name"]:
            continue
        for row in content.get("results", []):
            if row.get("mode") == "graph" and row.get("status") == "ok" and row["kernel"].startswith("sm"):
                shape = " ".join(str(value) for key, value in row["shape"].items() if key != "name")
                yield shape, row["module"], row["time_us"]["p50"]


class CostModel(unittest.TestCase):
    def test_the_librarys_choices_take_what_the_model_says(self):
        ratios = []
        for name, shape, _, us in compared_rows("compare-h200-*.json"):
            said = model(shape, H200)
            if said is None:
                continue
            ratios.append(us / said["total_us"])
            with self.subTest(name):
                self.assertLess(max(ratios[-1], 1 / ratios[-1]), WORST_RATIO, f"measured {us:.2f} us, model {said['total_us']:.2f} us, {said['module']}")
        self.assertGreater(len(ratios), 20)
        middle = statistics.median(ratios)
        self.assertLess(max(middle, 1 / middle), WORST_MEDIAN, f"the median of measured by model is {middle:.3f}")

    def test_modules_take_what_the_model_says(self):
        checked = 0
        for shape, module, us in benched_rows():
            said = model(shape, H200, module)
            if said is None:
                continue
            checked += 1
            with self.subTest(f"{module} {shape}"):
                self.assertLess(max(us / said["total_us"], said["total_us"] / us), WORST_RATIO, f"measured {us:.2f} us, model {said['total_us']:.2f} us")
        self.assertGreater(checked, 0)

    def test_the_choice_is_near_the_best_that_was_measured(self):
        measured = {}
        for shape, module, us in benched_rows():
            if model(shape, H200, module) is not None:
                measured.setdefault(shape, {})[module] = us
        compared = 0
        for shape, modules in measured.items():
            said = model(shape, H200)
            if said is None or len(modules) < 2 or said["module"] not in modules:
                continue
            chosen = said["module"]
            compared += 1
            self.assertLess(modules[chosen] / min(modules.values()), WORST_CHOICE, f"{shape}: the model chooses {chosen}, measured were {modules}")
        self.assertGreater(compared, 0)

    def test_bounds_add_up(self):
        for arch in ("sm_80", "sm_86", "sm_89", "sm_90a", "sm_120"):
            said = model(MISSION, arch)
            units = [said[f"{unit}_us"] for unit in ("tensor", "mufu", "issue", "shared", "l2")]
            self.assertGreaterEqual(said["throughput_us"], max(units) * 0.999)
            self.assertLessEqual(said["throughput_us"], sum(units) + said["latency_us"])
            self.assertAlmostEqual(said["total_us"], said["launch_us"] + max(said["throughput_us"], said["latency_us"]))

    def test_readme_says_what_the_model_predicts(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            text = file.read()
        found = re.search(r"predicts ([\d.]+) us .*?\bL4\b.*?([\d.]+) us\s+on\s+the\s+tensor\s+cores", text, re.DOTALL)
        self.assertTrue(found, "README.md has no prediction for the L4")
        said = model(MISSION, "sm_89")
        self.assertEqual((found[1], found[2]), (f"{said['total_us']:.1f}", f"{said['tensor_us']:.1f}"), said["module"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
