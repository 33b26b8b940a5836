#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What ragged batches and pages cost beside dense ones of the same work, and beside FlashAttention-2's sequences in PyTorch.

usage: compare_ragged.py OUT.json

One process, the same numbers in every layout, replays of all candidates in turns: figures are ratios within one run. Each output is held to
that of the dense call, which compare_torch.py holds to float64. Uneven batches are compared with even ones of the same work. Needs PyTorch
and a GPU; FLASHCORE_LIBRARY names libflashcore.so.1.
"""
import argparse
import math

import compare_torch
import summarize_results
import torch

import flashcore

DTYPE = torch.bfloat16
PREFILL = [(4, 4096, 16, 128), (32, 512, 16, 128), (4, 4096, 32, 64)]  # batch, seqlen, heads, head_dim
DECODE = [(32, 4096, 32, 8, 128), (64, 1024, 32, 8, 128), (8, 8192, 32, 8, 128), (1, 16384, 32, 8, 128), (16, 4096, 16, 16, 64)]
PAGE_SIZES = (256, 16, 1)


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=DTYPE)


def indices(numbers):
    return torch.tensor(numbers, device="cuda", dtype=torch.int32)


def bounds(lengths):
    return indices([0, *torch.tensor(lengths).cumsum(0).tolist()])


def paged(tensors, page_size):
    """Pools with the rows of [batch, seqlen, heads, head_dim] in pages, in random order, and the table of the pages."""
    batch, seqlen = tensors[0].shape[:2]
    count = batch * seqlen // page_size
    order = torch.randperm(count, device="cuda", dtype=torch.int32)
    pools = []
    for tensor in tensors:
        pages = tensor.reshape(count, page_size, *tensor.shape[2:])
        pools.append(torch.empty_like(pages))
        pools[-1][order.long()] = pages
    return *pools, order.view(batch, -1)


def flash2(q, k, v, starts, most, causal):
    """FlashAttention-2's sequences, as PyTorch calls them."""
    return torch.ops.aten._flash_attention_forward(q, k, v, starts, starts, most, most, 0.0, causal, False)[0]


def prefill(context, batch, seqlen, heads, head_dim, causal):
    q, k, v = (random(batch, seqlen, heads, head_dim) for _ in range(3))
    rows = [tensor.flatten(0, 1) for tensor in (q, k, v)]
    starts, mask = bounds([seqlen] * batch), "bottom_right" if causal else "none"
    calls = {"dense": lambda: context.attention(q, k, v, causal=mask),
             "ragged": lambda: context.varlen_attention(*rows, starts, starts, seqlen, seqlen, causal=mask),
             "flash2": lambda: flash2(*rows, starts, seqlen, causal)}
    keys, values, table = paged((k, v), 16)
    calls["paged 16"] = lambda: context.varlen_attention(rows[0], keys, values, starts, None, seqlen, seqlen, page_table=table, causal=mask)
    return dict(kind="prefill", batch=batch, seqlen_q=seqlen, seqlen_kv=seqlen, heads_q=heads, heads_kv=heads, head_dim=head_dim, causal=mask), calls


def decode(context, batch, seqlen, heads_q, heads_kv, head_dim):
    q, k, v = random(batch, 1, heads_q, head_dim), random(batch, seqlen, heads_kv, head_dim), random(batch, seqlen, heads_kv, head_dim)
    used = indices([seqlen] * batch)
    calls = {"dense": lambda: context.attention(q, k, v), "ragged": lambda: context.attention_with_kv_cache(q, k, v, used)}
    for page_size in PAGE_SIZES:
        keys, values, table = paged((k, v), page_size)
        calls[f"paged {page_size}"] = lambda keys=keys, values=values, table=table: context.attention_with_kv_cache(
            q, keys, values, used, page_table=table)
    return dict(kind="decode", batch=batch, seqlen_q=1, seqlen_kv=seqlen, heads_q=heads_q, heads_kv=heads_kv, head_dim=head_dim), calls


def uneven_decode(context):
    """255 sequences of 1024 keys and one of 131072, beside 256 of as many keys in all."""
    long = [131072] + [1024] * 255
    total = sum(long)
    even = [total // 256] * 256
    even[0] += total - sum(even)
    q, k, v = random(256, 1, 32, 128), random(total, 8, 128), random(total, 8, 128)
    calls = {}
    for name, lengths in (("even", even), ("long first", long), ("long last", long[::-1])):
        sequences = flashcore.Sequences(cu_seqlens_kv=bounds(lengths), max_seqlen_kv=max(lengths))
        calls[name] = lambda sequences=sequences: context.attention(q, k, v, sequences=sequences)
    return dict(kind="uneven decode", batch=256, heads_q=32, heads_kv=8, head_dim=128), calls


def uneven_prefill(context, causal):
    """255 sequences of 64 rows and one of 8192, beside 256 of as many products in all."""
    long, mask = [8192] + [64] * 255, "bottom_right" if causal else "none"
    even = [round(math.sqrt(sum(length * length for length in long) / 256))] * 256
    calls = {}
    for name, lengths in (("even", even), ("long first", long), ("long last", long[::-1])):
        q, k, v = (random(sum(lengths), 16, 128) for _ in range(3))
        starts, most = bounds(lengths), max(lengths)
        calls[name] = lambda q=q, k=k, v=v, starts=starts, most=most: context.varlen_attention(q, k, v, starts, starts, most, most, causal=mask)
    return dict(kind="uneven prefill", batch=256, heads_q=16, heads_kv=16, head_dim=128, causal=mask), calls


def measure(row, calls):
    row["candidates"] = {}
    graphs, first, repeats = {}, None, 4 if "prefill" in row["kind"] else 10
    for name, call in calls.items():
        entry = row["candidates"][name] = {}
        try:
            output = call().flatten().float()
            if not row["kind"].startswith("uneven"):
                first = output if first is None else first
                entry["largest_difference"] = (output - first).abs().max().item()
            graphs[name] = compare_torch.graph_of(lambda _, call=call: call(), [None], repeats)
        except RuntimeError as refusal:
            entry["refused"] = str(refusal).split("\n")[0][:300]
    for name, found in compare_torch.times_of(graphs, repeats).items():
        row["candidates"][name].update(found)
    base_us = next(iter(row["candidates"].values()))["us"]
    print(" ".join(str(value) for name, value in row.items() if name != "candidates"))
    for name, entry in row["candidates"].items():
        print(f"   {name:12} " + (f"{entry['us']:9.1f} us  {entry['us'] / base_us:5.2f}" if "us" in entry else f"refused: {entry['refused']}"), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    options = parser.parse_args()
    context = flashcore.Context("cuda:0")
    report = dict(compare_torch.environment(context), schema="flashcore.compare_ragged/1", rows=[])
    rows = report["rows"]
    for shape in PREFILL:
        for causal in (False, True):
            rows.append(measure(*prefill(context, *shape, causal)))
    for shape in DECODE:
        rows.append(measure(*decode(context, *shape)))
    rows.append(measure(*uneven_decode(context)))
    for causal in (False, True):
        rows.append(measure(*uneven_prefill(context, causal)))
    summarize_results.write(options.out, report)


if __name__ == "__main__":
    main()
