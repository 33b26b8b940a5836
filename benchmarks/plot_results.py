#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of README.md and docs/LADDER.md from committed measurements.

usage: plot_results.py --compare RESULTS.json [RESULTS.json ...] --ladder LADDER.json --out DIR

Every picture says which device and which run it shows; nothing is measured here.
"""
import argparse
import json
import os

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

NAMES = {"flashcore": "flashcore", "flash2": "FlashAttention-2 (PyTorch)", "flash4": "FlashAttention-4", "cudnn": "cuDNN (PyTorch)",
         "efficient": "efficient (PyTorch)"}
COLORS = {"flashcore": "#c0392b", "flash2": "#2c7fb8", "flash4": "#7b3294", "cudnn": "#4d9221", "efficient": "#999999"}
plt.rcParams.update({"font.size": 9, "svg.hashsalt": "flashcore", "axes.spines.top": False, "axes.spines.right": False})


def load(paths):
    rows, caption = [], ""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        rows += report["rows"]
        caption = f"{report['device']}, PyTorch {report['torch']}, cuDNN {report['cudnn']}, commit {report['commit']}"
    return rows, caption


def save(figure, path):
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def throughput(rows, caption, path):
    """TFLOP/s over sequence length, a panel per head dimension and mask, and microseconds for the small shapes."""
    large = [r for r in rows if r["dtype"] == "float16" and r["heads_q"] == r["heads_kv"] and r["seqlen_q"] == r["seqlen_kv"]
             and r["batch"] * r["seqlen_q"] == 16384 and "us" in r["candidates"].get("flashcore", {})]
    small = [r for r in rows if r["dtype"] == "float16" and r["batch"] == 1 and r["heads_q"] == 8 and r["head_dim"] == 64
             and r["seqlen_q"] == r["seqlen_kv"] and not r["causal"]]
    panels = sorted({(r["head_dim"], r["causal"]) for r in large})
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(3.1 * (len(panels) + 1), 2.9))
    for axis, (head_dim, causal) in zip(axes, panels):
        chosen = sorted((r for r in large if (r["head_dim"], r["causal"]) == (head_dim, causal)), key=lambda r: r["seqlen_q"])
        for name in NAMES:
            points = [(r["seqlen_q"], r["candidates"][name]["tflops"]) for r in chosen if "tflops" in r["candidates"].get(name, {})]
            if points:
                axis.plot(*zip(*points), marker="o", markersize=3, color=COLORS[name], label=NAMES[name])
        axis.set_xscale("log", base=2)
        axis.set_xticks([r["seqlen_q"] for r in chosen], [f"{r['seqlen_q'] // 1024}k" if r["seqlen_q"] >= 1024 else str(r["seqlen_q"]) for r in chosen])
        axis.set_ylim(bottom=0)
        axis.set_title(f"head_dim {head_dim}{', causal' if causal else ''}")
        axis.set_xlabel("sequence length (16k tokens)")
    axes[0].set_ylabel("TFLOP/s")
    axis, width = axes[-1], 0.16
    for i, name in enumerate(NAMES):
        points = [(k + (i - 2) * width, r["candidates"][name]["us"]) for k, r in enumerate(small) if "us" in r["candidates"].get(name, {})]
        axis.bar(*zip(*points), width=width, color=COLORS[name])
    axis.set_xticks(range(len(small)), [str(r["seqlen_q"]) for r in small])
    axis.set_title("batch 1, 8 heads, head_dim 64")
    axis.set_xlabel("sequence length")
    axis.set_ylabel("microseconds (lower is better)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncol=len(NAMES), bbox_to_anchor=(0.5, 1.1), frameon=False)
    figure.text(0.5, -0.09, "float16 forward; " + caption, ha="center", fontsize=7, color="#555555")
    figure.tight_layout()
    save(figure, path)


def decode(rows, caption, path):
    """How long one query over many keys takes, in times of flashcore; its microseconds under each group."""
    rows = [r for r in rows if r["dtype"] == "float16" and r["seqlen_q"] == 1 and "us" in r["candidates"].get("flashcore", {})]
    figure, axis = plt.subplots(figsize=(12.5, 2.9))
    width, names = 0.27, ("flashcore", "flash2", "cudnn")
    for i, name in enumerate(names):
        points = [(k + (i - 1) * width, r["candidates"][name]["us"] / r["candidates"]["flashcore"]["us"]) for k, r in enumerate(rows)
                  if "us" in r["candidates"].get(name, {})]
        axis.bar(*zip(*points), width=width, color=COLORS[name], label=NAMES[name])
    axis.set_xticks(range(len(rows)), [f"B={r['batch']} {r['heads_q']}/{r['heads_kv']}\n{r['seqlen_kv']} keys\nD={r['head_dim']}\n"
                                       f"{r['candidates']['flashcore']['us']:.1f} us" for r in rows], fontsize=7)
    axis.set_ylabel("time, flashcore = 1")
    axis.legend(loc="upper center", ncol=len(names), bbox_to_anchor=(0.5, 1.18), frameon=False)
    figure.text(0.5, -0.22, "float16, one query; batch, query heads / key heads; " + caption, ha="center", fontsize=7, color="#555555")
    save(figure, path)


def ladder(rows, caption, path):
    """Microseconds of every rung at the mission shape, on a logarithmic scale."""
    row = next(r for r in rows if (r["batch"], r["heads_q"], r["seqlen_q"], r["head_dim"], r["causal"]) == (1, 8, 512, 64, False))
    order = ["fwd_scalar", "fwd_wmma_32x32", "fwd_wmma_64x64", "fwd_wmma_64x64_async", "sm80_fwd_mma", "sm80_fwd_small"]
    bars = [(name, row["candidates"]["flashcore:" + name]["us"], COLORS["flashcore"]) for name in order]
    bars += [(NAMES[name], row["candidates"][name]["us"], COLORS[name]) for name in ("flash2", "cudnn")]
    figure, axis = plt.subplots(figsize=(7.5, 2.8))
    positions = range(len(bars))[::-1]
    axis.barh(positions, [b[1] for b in bars], color=[b[2] for b in bars])
    for position, (_, us, _) in zip(positions, bars):
        axis.text(us * 1.05, position, f"{us:.1f} us", va="center")
    axis.set_yticks(positions, [b[0] for b in bars])
    axis.set_xscale("log")
    axis.set_xlim(left=1)
    axis.set_xlabel("microseconds, B=1 H=8 S=512 D=64 float16 (log scale)")
    figure.text(0.5, -0.08, caption, ha="center", fontsize=7, color="#555555")
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--compare", nargs="+", required=True)
    parser.add_argument("--ladder", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    compared = load(options.compare)
    throughput(*compared, os.path.join(options.out, "throughput.svg"))
    decode(*compared, os.path.join(options.out, "decode.svg"))
    ladder(*load([options.ladder]), os.path.join(options.out, "ladder.svg"))


main()
