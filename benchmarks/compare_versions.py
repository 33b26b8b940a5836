#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPU time of one forward call: two builds of libflashcore.so.1 beside each other and beside FlashAttention-2 from PyTorch.

usage: compare_versions.py OUT.json BEFORE.so AFTER.so [--head-dim 64 128] [--dtype fp16 bf16] [--seqlen 512 ... 16384]
                           [--score-deviation 1]

For a change of a kernel: one process, the same random tensors of 16k tokens and 2048 columns in all (scores of a standard
deviation of 1, or what --score-deviation says: of trained models they are larger, and references move more often), one CUDA graph of many
calls per candidate, replayed in turns; medians. Machines and hours differ by more than most changes bring, turns do not.
FLASHCORE_COMMIT says which commits the builds are of.
"""
import argparse
import importlib
import itertools
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import summarize_results

PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bindings/python/flashcore")
ROUNDS = 7


def open_context(library, name, folder):
    """A context of this build. The package holds one library for the process, so each gets a copy of it under a name of its own."""
    shutil.copytree(PACKAGE, os.path.join(folder, name), ignore=shutil.ignore_patterns("*.so*", "__pycache__"))
    for file in os.listdir(os.path.join(folder, name)):
        if file.endswith(".py"):
            path = os.path.join(folder, name, file)
            with open(path, encoding="utf-8") as source:
                text = source.read()
            text = re.sub(r"^(\s*)(from|import) flashcore(?=[ .])", rf"\1\2 {name}", text, flags=re.M)
            for before, after in (("flashcore::", name + "::"), ("ops.flashcore", "ops." + name), ('Library("flashcore"', f'Library("{name}"')):
                text = text.replace(before, after)
            with open(path, "w", encoding="utf-8") as target:
                target.write(text)
    os.environ["FLASHCORE_LIBRARY"] = os.path.abspath(library)
    return importlib.import_module(name).Context("cuda:0")


def measure(contexts, dtype, seqlen, head_dim, causal, score_deviation):
    batch, heads = 16384 // seqlen, 2048 // head_dim
    inputs = [tuple(torch.randn(batch, heads, seqlen, head_dim, device="cuda", dtype=dtype) for _ in range(3)) for _ in range(2)]
    for query, _, _ in inputs:
        query *= score_deviation
    work = 4 * 16384 * seqlen * 2048 // (2 if causal else 1)
    calls = 4 if work > 2e11 else 16

    def flash2(one):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(*one, is_causal=causal)

    candidates = {name: lambda one, context=context: context.attention(*one, causal="top_left" if causal else "none", layout="bhsd")
                  for name, context in contexts.items()}
    candidates["flash2"] = flash2
    graphs = {}
    for name, call in candidates.items():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for one in inputs:
                call(one)
        torch.cuda.synchronize()
        graphs[name] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[name], stream=stream):
            for i in range(calls):
                call(inputs[i % len(inputs)])
        graphs[name].replay()
    samples = {name: [] for name in graphs}
    for _ in range(ROUNDS):
        for name, graph in graphs.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            samples[name].append(start.elapsed_time(end) * 1e3 / calls)
    return {name + "_us": round(statistics.median(values), 2) for name, values in samples.items()}


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def environment():
    ask = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    commit = os.environ.get("FLASHCORE_COMMIT") or ask("git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty")
    return {"schema": "flashcore.compare_versions/1", "commit": commit, "gpu": ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
            "device": torch.cuda.get_device_name(), "torch": torch.__version__, "rounds": ROUNDS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("out", "before", "after"):
        parser.add_argument(name)
    parser.add_argument("--head-dim", nargs="*", type=int, default=[64, 128])
    parser.add_argument("--dtype", nargs="*", choices=("fp16", "bf16"), default=["fp16", "bf16"])
    parser.add_argument("--seqlen", nargs="*", type=int, default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--score-deviation", nargs="*", type=float, default=[1.0])
    options = parser.parse_args()
    report = {**environment(), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        contexts = {"before": open_context(options.before, "flashcore_before", folder), "after": open_context(options.after, "flashcore_after", folder)}
        for dtype in options.dtype:
            for head_dim in options.head_dim:
                for seqlen in options.seqlen:
                    for causal, deviation in itertools.product((False, True), options.score_deviation):
                        times = measure(contexts, torch.float16 if dtype == "fp16" else torch.bfloat16, seqlen, head_dim, causal, deviation)
                        row = {"dtype": dtype, "seqlen": seqlen, "head_dim": head_dim, "causal": causal, "score_deviation": deviation, **times}
                        report["rows"].append(row)
                        print(row, flush=True)
                        summarize_results.write(options.out, report)
    for name, deviation in itertools.product(contexts, options.score_deviation):
        rows = [row for row in report["rows"] if row["score_deviation"] == deviation]
        mean = geometric_mean(row["flash2_us"] / row[name + "_us"] for row in rows)
        print(f"{name}: {mean:.3f} times as fast as FlashAttention-2, geometric mean of {len(rows)} rows, scores of deviation {deviation:g}")


if __name__ == "__main__":
    main()
