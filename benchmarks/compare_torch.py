#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPU time of one forward call: flashcore beside PyTorch's scaled_dot_product_attention backends, and FlashAttention-4 (the package
flash-attn-4) where it is installed.

usage: compare_torch.py OUT.json [--shapes mission|small|decode|large|all] [--kernel NAME ...] [--dtype fp16 bf16]

One process, the same tensors, interleaved: each round replays one CUDA graph of many calls per candidate, the median over
the rounds counts, and every figure is a ratio within one run. Inputs are random normal and rotate so that they do not
stay in the L2 cache by accident; every candidate's result is checked against float64 before it is timed. A shape
that a candidate refuses is shown as "-", with the reason in the JSON.
"""
import argparse
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bindings/python"))
import flashcore
import summarize_results

try:
    from flash_attn.cute import flash_attn_func as flash_attention_4
except ImportError:
    flash_attention_4 = None

BACKENDS = {"flash2": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}
PEERS = list(BACKENDS) + (["flash4"] if flash_attention_4 else [])
ROUNDS = 15


def shapes(which):
    """(batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim, causal)"""
    mission = [(1, 8, 8, 512, 512, 64, False)]
    small = [(1, 8, 8, s, s, 64, c) for s in (256, 512, 1024) for c in (False, True)]
    small += [(4, 8, 8, 512, 512, 64, False)]
    decode = [(b, 32, kv, 1, s, 128, False) for b, kv, s in ((1, 8, 1024), (1, 8, 4096), (4, 8, 4096), (8, 8, 4096), (32, 8, 4096), (1, 8, 32768),
                                                             (1, 32, 4096), (16, 32, 2048))]
    decode += [(b, 32, 8, 1, 4096, d, False) for d in (64, 256) for b in (1, 8, 32)] + [(1, 8, 1, 1, 16384, 128, False)]
    verify = [(1, q, kv, rows, s, 128, False) for q, kv in ((64, 8), (32, 8), (8, 1)) for s in (4096, 32768, 131072)
              for rows in (1, 2, 4, 8, 16)]
    verify += [(1, heads, heads, 512, 32768, 128, False) for heads in (4, 8)] + [(1, 8, 1, 1, 16384, d, False) for d in (128, 256)]
    large = [(16384 // s, 2048 // d, 2048 // d, s, s, d, c) for d in (64, 128, 256) for s in (512, 1024, 2048, 4096, 8192, 16384)
             for c in (False, True)]
    large += [(2, 32, 8, 4096, 4096, 128, True)]
    return {"mission": mission, "small": small, "decode": decode, "verify": verify, "large": large, "all": small + decode + large}[which]


def flop(shape):
    batch, heads, _, seqlen_q, seqlen_kv, head_dim, causal = shape
    full = 4 * batch * heads * seqlen_q * seqlen_kv * head_dim
    return full // 2 if causal else full


def make_inputs(shape, dtype):
    batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim, _ = shape
    set_bytes = 2 * batch * head_dim * (2 * heads_q * seqlen_q + 2 * heads_kv * seqlen_kv)
    rand = lambda heads, seqlen: torch.randn(batch, heads, seqlen, head_dim, device="cuda", dtype=dtype)
    return [(rand(heads_q, seqlen_q), rand(heads_kv, seqlen_kv), rand(heads_kv, seqlen_kv))
            for _ in range(max(1, min(8, int(4e8 // set_bytes))))]


def max_error(shape, inputs, output):
    """Largest difference to float64, over the first batch entry and one query head per key head group."""
    _, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim, causal = shape
    rows = slice(max(0, seqlen_q - 512), seqlen_q)  # the last rows see the most keys
    q, k, v = inputs[0][0, :1, rows].double(), inputs[1][0, :1].double(), inputs[2][0, :1].double()
    scores = q @ k.transpose(-1, -2) / math.sqrt(head_dim)
    if causal:
        i, j = torch.arange(seqlen_q, device="cuda")[rows, None], torch.arange(seqlen_kv, device="cuda")[None]
        scores = scores.masked_fill(j > i, -math.inf)
    return (torch.softmax(scores, -1) @ v - output[0, :1, rows].double()).abs().max().item()


def graph_of(call, inputs, calls):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for one in inputs:
            call(one)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for i in range(calls):
            call(inputs[i % len(inputs)])
    return graph


def replay_us(graph, calls):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e3 / calls


def host_us(call, inputs, bursts):
    """Host time of one eager call, in short bursts so that the launch queue never fills."""
    samples = []
    for _ in range(bursts):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for i in range(20):
            call(inputs[i % len(inputs)])
        samples.append((time.perf_counter() - start) / 20 * 1e6)
    torch.cuda.synchronize()
    return statistics.median(samples)


def candidates(context, shape, kernels):
    """name -> call(inputs) -> output [batch, heads, seqlen, head_dim]"""
    _, heads_q, heads_kv, _, _, _, causal = shape
    calls = {}
    for kernel in kernels:
        def ours(inputs, kernel=kernel):
            return context.attention(*inputs, causal="top_left" if causal else "none", layout="bhsd", kernel=kernel)
        calls["flashcore" + (":" + kernel if kernel else "")] = ours
    for name, backend in BACKENDS.items():
        def peer(inputs, backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(*inputs, is_causal=causal, enable_gqa=heads_q != heads_kv)
        calls[name] = peer
    # It does not split the keys of few queries, and compiles for each kind of shape, for seconds: rows of decoding are left out.
    if flash_attention_4 and shape[3] > 1:
        def flash4(inputs):
            output = flash_attention_4(*(tensor.transpose(1, 2) for tensor in inputs), causal=causal)
            return (output[0] if isinstance(output, tuple) else output).transpose(1, 2)
        calls["flash4"] = flash4
    return calls


def times_of(graphs, calls_per_graph):
    """us per call of each graph by its name, in turns, so that clocks that change meet all of them: median, count and tenths."""
    samples = {name: [] for name in graphs}
    for turn in range(3 + ROUNDS):  # the first three warm up
        for name, graph in graphs.items():
            elapsed_us = replay_us(graph, calls_per_graph)
            if turn >= 3:
                samples[name].append(elapsed_us)
    times = {}
    for name, values in samples.items():
        found = summarize_results.summary(values)
        times[name] = {"us": round(found["p50"], 3), "n": found["n"], "p10_us": round(found["p10"], 3), "p90_us": round(found["p90"], 3)}
    return times


def measure(context, shape, dtype, kernels):
    inputs, work = make_inputs(shape, dtype), flop(shape)
    calls_per_graph = 4 if work > 1e12 else 8 if work > 2e11 else 32 if work > 2e10 else 128
    row = dict(dtype=str(dtype)[6:], batch=shape[0], heads_q=shape[1], heads_kv=shape[2], seqlen_q=shape[3], seqlen_kv=shape[4],
               head_dim=shape[5], causal=shape[6], candidates={})
    graphs = {}
    for name, call in candidates(context, shape, kernels).items():
        entry = row["candidates"][name] = {}
        try:
            entry["max_error"] = max_error(shape, inputs[0], call(inputs[0]))
            if name.startswith("flashcore"):
                kernel = name.partition(":")[2]
                entry["module"] = context.explain(*inputs[0], causal="top_left" if shape[6] else "none", layout="bhsd", kernel=kernel).module
            graphs[name] = graph_of(call, inputs, calls_per_graph)
            entry["host_us"] = round(host_us(call, inputs, 10 if work < 2e10 else 2), 2)
        except (RuntimeError, NotImplementedError, AssertionError) as refusal:
            entry["refused"] = str(refusal).split("\n")[0][:300]
    for name, found in times_of(graphs, calls_per_graph).items():
        row["candidates"][name].update(found, tflops=round(work / found["us"] / 1e6, 1))
    return row


def environment(context):
    query = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw", "--format=csv,noheader"],
                           capture_output=True, text=True, check=False).stdout.strip()
    commit = os.environ.get("FLASHCORE_COMMIT") or subprocess.run(
        ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False).stdout.strip()
    return dict(schema="flashcore.compare_torch/2", commit=commit, gpu=query, torch=torch.__version__,
                cudnn=torch.backends.cudnn.version(), flash_attention_4=version("flash-attn-4") if flash_attention_4 else None,
                device=context.describe().device.name)


def cell(entry):
    return f"{entry['us']:9.1f} ({entry['tflops']:5.1f})" if "us" in entry else "        -        "


def main():
    # A backend that refuses a shape also warns why, once per process; the reason is in the exception already.
    warnings.filterwarnings("ignore", category=UserWarning, module=__name__)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--shapes", choices=("mission", "small", "decode", "verify", "large", "all"), default="all")
    parser.add_argument("--kernel", nargs="*", default=[""], help="kernel names; default: the library's choice")
    parser.add_argument("--dtype", nargs="*", choices=("fp16", "bf16"), default=["fp16"])
    options = parser.parse_args()
    context = flashcore.Context("cuda:0")
    report = dict(**environment(context), rows=[])
    ours = ["flashcore" + (":" + kernel if kernel else "") for kernel in options.kernel]
    print("dtype   B  Hq Hkv    Sq    Skv   D causal | " + "  ".join(f"{n:>17}" for n in ours + PEERS) + " | best peer / ours")
    ratios = []
    for dtype in (torch.float16 if d == "fp16" else torch.bfloat16 for d in options.dtype):
        for shape in shapes(options.shapes):
            row = measure(context, shape, dtype, options.kernel)
            report["rows"].append(row)
            entries = row["candidates"]
            mine = min((entries[n]["us"] for n in ours if "us" in entries[n]), default=None)
            best = min((entries[n]["us"] for n in PEERS if "us" in entries.get(n, {})), default=None)
            ratio = best / mine if mine and best else None
            if ratio:
                ratios.append(ratio)
            verdict = f"{ratio:5.2f}" if ratio else "-"
            print(f"{row['dtype'][:5]:5} {shape[0]:3} {shape[1]:3} {shape[2]:3} {shape[3]:6} {shape[4]:6} {shape[5]:3} "
                  f"{'yes' if shape[6] else 'no ':>6} | " + "  ".join(cell(entries.get(n, {})) for n in ours + PEERS)
                  + f" | {verdict}", flush=True)
            summarize_results.write(options.out, report)
    report["geometric_mean_best_peer_over_ours"] = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    report["clocks_after"] = environment(context)["gpu"]
    summarize_results.write(options.out, report)
    print(f"geometric mean of best peer / ours: {report['geometric_mean_best_peer_over_ours']:.3f}; quantiles in {options.out}")


if __name__ == "__main__":
    main()
