#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Host time of one eager call from PyTorch: flashcore beside torch.nn.functional.scaled_dot_product_attention.

usage: host_cost_torch.py OUT.json [--device cuda|cpu] [--bursts N] [--limit-us X]       (_flashcore_torch on PYTHONPATH)

One process, the same tensors. A burst is 20 calls, after 3 that are not timed; the device is idle before it and is waited for
after it, so that the launch queue never fills and nothing but the host is measured. Candidates take turns, burst by burst, in an order
that is shuffled for each turn: whoever follows the largest one would find the processor's caches full of it. The median over the bursts counts.
With --limit-us, exit status 1 when flashcore.torch.attention needs more in a row of the table. FLASHCORE_LIBRARY names the library.

Candidates: the three ways into flashcore from PyTorch; the library's C call alone, with the struct and the output ready, which is the
floor under them; the output's allocation alone; PyTorch's own choice of backend, and each backend pinned beforehand.
"""
import argparse
import ctypes
import os
import random
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bindings/python"))
import flashcore
import flashcore.torch as on_torch
import summarize_results
from flashcore import _abi_table as abi, _torch_fast

CALLS = 20
# name, batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim, causal
SHAPES = [("mission", 1, 8, 8, 512, 512, 64, False), ("causal", 1, 8, 8, 512, 512, 64, True),
          ("decode", 1, 32, 8, 1, 1024, 128, False), ("one token", 1, 8, 8, 1, 1, 64, False)]
BACKENDS = {"flash2": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "math": SDPBackend.MATH}


def library_alone(context, query, key, value, causal):
    """The C call by ctypes with everything ready: no checks, no output, no look-up."""
    args, error, output = context._described(query, key, value, causal, None, 0.0, (None, None), "bhsd", "", None), abi.Error(), torch.empty_like(query)
    args.query.data, args.key.data, args.value.data, args.output.data = (t.data_ptr() for t in (query, key, value, output))
    function = context.native().library["flashcore_attention_fwd"]
    function.argtypes = [ctypes.c_void_p] * 4  # numbers are passed on faster than structs
    handle, stream = context.native().handle, _torch_fast.current_stream(context.device, context.ordinal)
    addresses = ctypes.addressof(args), ctypes.addressof(error)

    def alone(_kept=(args, output)):  # the call only knows addresses
        if function(handle, addresses[0], stream, addresses[1]):
            sys.exit(f"the call failed: {error.message.decode()}")
    return alone, output


def candidates(shape, device):
    """name -> (call, a context manager to stand in while it runs)"""
    _, batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim, causal = shape
    rand = lambda heads, seqlen: torch.randn(batch, heads, seqlen, head_dim, device=device, dtype=torch.float16)
    query, key, value = rand(heads_q, seqlen_q), rand(heads_kv, seqlen_kv), rand(heads_kv, seqlen_kv)
    word, gqa = "top_left" if causal else "none", heads_q != heads_kv
    context = on_torch.context(query.device)
    alone, output = library_alone(context, query, key, value, word)
    new, arguments = _torch_fast.output_maker(query.device, tuple(output.shape), tuple(output.stride()), output.dtype)
    calls = {
        "flashcore.torch.attention": lambda: on_torch.attention(query, key, value, causal=word, layout="bhsd"),
        "flashcore.torch.scaled_dot_product_attention":
            lambda: on_torch.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=gqa),
        "Context.attention": lambda: context.attention(query, key, value, causal=word, layout="bhsd"),
        "operator": lambda: torch.ops.flashcore.attention_fwd(query, key, value, word, None, 0.0, None, None, "bhsd", None, ""),
        "flashcore C call alone": alone,
        "output alone": lambda: new(*arguments),
        "F.sdpa": lambda: F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=gqa),
    }
    made = {name: (call, None) for name, call in calls.items()}
    if device == "cuda":
        made.update({f"F.sdpa {name}": (calls["F.sdpa"], backend) for name, backend in BACKENDS.items()})
    return made


class Pinned:
    """sdpa_kernel for a backend; nothing for None."""

    def __init__(self, backend):
        self.manager = sdpa_kernel(backend) if backend is not None else None

    def __enter__(self):
        if self.manager:
            self.manager.__enter__()

    def __exit__(self, *what):
        if self.manager:
            self.manager.__exit__(*what)


def burst_us(call, backend, wait):
    with Pinned(backend):
        for _ in range(3):
            call()
        wait()
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        spent = time.perf_counter_ns() - start
    wait()
    return spent / CALLS / 1000


def measure(shape, device, bursts):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    samples, refused = {}, {}
    made = candidates(shape, device)
    for name, (call, backend) in made.items():
        try:
            for _ in range(3):
                burst_us(call, backend, wait)
            samples[name] = []
        except RuntimeError as reason:
            refused[name] = str(reason).split("\n")[0][:200]
    for _ in range(bursts):
        turn = list(samples)
        random.shuffle(turn)
        for name in turn:
            samples[name].append(burst_us(*made[name], wait))
    row = {"shape": dict(zip(("name", "batch", "heads_q", "heads_kv", "seqlen_q", "seqlen_kv", "head_dim", "causal"), shape)), "host_us": {},
           "refused": refused}
    for name, values in samples.items():
        row["host_us"][name] = {word: round(value, 3) for word, value in summarize_results.summary(values).items()}
    return row


def environment(device):
    ask = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    gpu = ask("nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem", "--format=csv,noheader") if device == "cuda" else None
    commit = os.environ.get("FLASHCORE_COMMIT") or ask("git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty")
    return {"schema": "flashcore.host_cost_torch/3", "commit": commit, "python": sys.version.split()[0], "torch": torch.__version__,
            "host_cpu": cpu, "gpu": gpu, "device": on_torch.context(device).describe().device.name, "flashcore": flashcore.version(),
            "prepared_calls": f"in Python: {_torch_fast.why_portable}" if _torch_fast.why_portable else "native", "calls_per_burst": CALLS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--bursts", type=int, default=200)
    parser.add_argument("--limit-us", type=float)
    options = parser.parse_args()
    report = {**environment(options.device), "bursts": options.bursts, "rows": []}
    dearest = 0.0
    with torch.no_grad():
        for shape in SHAPES:
            row = measure(shape, options.device, options.bursts)
            report["rows"].append(row)
            dearest = max(dearest, row["host_us"]["flashcore.torch.attention"]["p50"])
            print(f"{shape[0]}: batch {shape[1]}, heads {shape[2]}/{shape[3]}, {shape[4]} x {shape[5]}, head_dim {shape[6]}")
            for name, values in row["host_us"].items():
                print(f"  {values['p50']:8.2f} us  ({values['p10']:.2f} to {values['p90']:.2f})  {name}")
            for name, reason in row["refused"].items():
                print(f"         -     {name}: {reason}")
    summarize_results.write(options.out, report)
    print(f"flashcore.torch.attention: at most {dearest:.2f} us; prepared calls {report['prepared_calls']}")
    if options.limit_us is not None and dearest > options.limit_us:
        sys.exit(f"that is more than {options.limit_us} us")


main()
