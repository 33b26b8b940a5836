#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What windows, softcap, ALiBi, sinks, biases and mask tensors cost beside plain causal attention, and beside PyTorch's FlexAttention.

One process, the same tensors, replays of all candidates in turns: figures are ratios within one run. Each output is checked against
float64. Needs PyTorch and a GPU; FLASHCORE_LIBRARY names libflashcore.so.1. Modules that no cache holds are compiled before anything is timed.
"""
import argparse
import math

import compare_torch
import summarize_results
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import flashcore

SHAPES = [(1, 2048 // d, 2048 // d, 16384, 16384, d, True) for d in (64, 128)]
WINDOW = 1024  # keys: a query's own and those before it
SOFTCAP = 30.0
DOCUMENT = 2048  # tokens: a mask hides the keys of other documents


def features(heads, seqlen):
    """name -> arguments of Context.attention, beside causal="top_left". A bias is the same for all heads, as the mask is."""
    slopes = torch.tensor([2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)], device="cuda")
    sinks = torch.randn(heads, device="cuda")
    window = dict(window=(WINDOW - 1, None))
    bias = torch.randn(seqlen, seqlen, device="cuda")
    document = torch.arange(seqlen, device="cuda") // DOCUMENT
    mask = document[:, None] == document
    return {"causal": {}, "window": window, "softcap": dict(softcap=SOFTCAP), "alibi": dict(alibi_slopes=slopes), "sinks": dict(sinks=sinks),
            "bias": dict(bias=bias.bfloat16()), "bias32": dict(bias=bias), "mask": dict(mask=torch.ones_like(mask)), "documents": dict(mask=mask),
            "all": dict(softcap=SOFTCAP, alibi_slopes=slopes, sinks=sinks, **window)}


def exact(shape, inputs, arguments):
    """In float64: the last 256 rows of the first batch entry's first head."""
    rows = slice(shape[3] - 256, shape[3])
    q, k, v = inputs[0][0, 0, rows].double(), inputs[1][0, 0].double(), inputs[2][0, 0].double()
    scores = q @ k.T / math.sqrt(shape[5])
    i, j = torch.arange(shape[3], device="cuda")[rows, None], torch.arange(shape[4], device="cuda")[None]
    if "softcap" in arguments:
        scores = arguments["softcap"] * torch.tanh(scores / arguments["softcap"])
    if "alibi_slopes" in arguments:
        scores = scores - arguments["alibi_slopes"][0].double() * (i - j).abs()
    if "bias" in arguments:
        scores = scores + arguments["bias"][rows].double()
    hidden = j > i
    if "mask" in arguments:
        hidden = hidden | ~arguments["mask"][rows]
    if "window" in arguments:
        hidden = hidden | (j < i - arguments["window"][0])
    scores = scores.masked_fill(hidden, -math.inf)
    total = torch.logsumexp(scores, -1, keepdim=True)
    if "sinks" in arguments:
        total = torch.logaddexp(total, arguments["sinks"][0].double())
    return torch.exp(scores - total) @ v


def flex(shape, arguments):
    """A call of FlexAttention that does the same; None: it takes no sinks."""
    if "sinks" in arguments:
        return None
    left = arguments["window"][0] if "window" in arguments else shape[4]
    tensor, bias = arguments.get("mask"), arguments.get("bias")

    def mask_mod(b, h, i, j):
        seen = (j <= i) & (j >= i - left)
        return seen if tensor is None else seen & tensor[i, j]
    mask = create_block_mask(mask_mod, None, None, shape[3], shape[4], device="cuda")
    slopes, cap = arguments.get("alibi_slopes"), arguments.get("softcap")

    def score_mod(score, b, h, i, j):
        if cap is not None:
            score = cap * torch.tanh(score / cap)
        if slopes is not None:
            score = score - slopes[h] * (i - j).abs()
        return score if bias is None else score + bias[i, j]

    compiled = torch.compile(flex_attention, dynamic=False)
    changes = dict(score_mod=score_mod) if any(one is not None for one in (cap, slopes, bias)) else {}
    return lambda inputs: compiled(*inputs, block_mask=mask, **changes)


def measure(context, shape, dtype):
    inputs, work = compare_torch.make_inputs(shape, dtype), compare_torch.flop(shape)
    calls = 4 if work > 1e12 else 8 if work > 2e11 else 32
    row = dict(dtype=str(dtype)[6:], batch=shape[0], heads_q=shape[1], heads_kv=shape[2], seqlen_q=shape[3], seqlen_kv=shape[4],
               head_dim=shape[5], candidates={})
    graphs, held = {}, []  # what graphs read must outlive them
    for name, arguments in features(shape[1], shape[3]).items():
        def ours(one, arguments=arguments):
            return context.attention(*one, causal="top_left", layout="bhsd", **arguments)
        candidates = {f"flashcore:{name}": ours, f"flex:{name}": flex(shape, arguments)}
        held.append(candidates)
        for candidate, call in candidates.items():
            if call is None:
                continue
            entry = row["candidates"][candidate] = {}
            try:
                output = call(inputs[0])[0, 0, -256:].double()
                entry["max_error"] = (output - exact(shape, inputs[0], arguments)).abs().max().item()
                graphs[candidate] = compare_torch.graph_of(call, inputs, calls)
            except RuntimeError as refusal:
                entry["refused"] = str(refusal).split("\n")[0][:300]
        entry = row["candidates"][f"flashcore:{name}"]
        entry["module"] = context.explain(*inputs[0], causal="top_left", layout="bhsd", **arguments).module
    for name, found in compare_torch.times_of(graphs, calls).items():
        row["candidates"][name].update(found)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    options = parser.parse_args()
    context = flashcore.Context("cuda:0")
    report = dict(compare_torch.environment(context), schema="flashcore.compare_features/1", window=WINDOW, softcap=SOFTCAP, rows=[])
    for shape in SHAPES:
        row = measure(context, shape, torch.bfloat16)
        report["rows"].append(row)
        plain_us = row["candidates"]["flashcore:causal"]["us"]
        for name, entry in row["candidates"].items():
            figures = f"{entry['us']:9.1f} us, {entry['us'] / plain_us:5.2f} of causal, error {entry['max_error']:.1e}" if "us" in entry \
                else f"refused: {entry['refused']}"
            print(f"{shape[0]} x {shape[1]} heads, {shape[3]}, D {shape[5]:3} {name:20} {figures}", flush=True)
    summarize_results.write(options.out, report)


if __name__ == "__main__":
    main()
