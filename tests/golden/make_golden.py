# SPDX-License-Identifier: Apache-2.0
#
# Makes tests/golden/vectors; needs NumPy and PyTorch, which the tests themselves do not. PROVENANCE.md has the story.
"""Golden vectors for scaled-dot-product attention, computed in float64 with PyTorch, independent of the project's code.

usage: make_golden.py OUT_DIR [SEED [CASE ...]]

Every case is a folder of .npy files beside a row in OUT_DIR/cases.json. Inputs are the 16-bit values a kernel
receives: float16 as '<f2', bfloat16 as its bit pattern in '<u2' (its name ends in _bf16bits).
    q [b, sq, hq, d]   k [b, sk, hk, d]   v [b, sk, hk, dv]   contiguous
    o [b, sq, hq, dv]  lse [b, hq, sq]    expected, float64 arithmetic stored as float32
Contract: s = scale * q.k ; softcap c > 0: s = c * tanh(s / c) ; + alibi or bias ; then masks ; softmax ; p.v
    causal "bottom_right": key j is visible to query i when j <= i + sk - sq ; "top_left": j <= i
    chunk c > 0: visible when j // c == (i + off) // c, rounded down
    window (l, r), -1 = open: visible when i + off - l <= j <= i + off + r, off = sk - sq (bottom right)
    alibi: s += -slope[h] * |i + sk - sq - j| ; bias [hq, sq, sk] is added to s, and -inf in it hides a key, as 0 in mask [b, hq, sq, sk] does
    sink [hq]: one more logit in the softmax's denominator, with no value ; lse includes it
    a row that sees no key (and has no sink): o = 0, lse = -inf ; lse is the natural logarithm
"""
import json
import math
import os
import sys
import numpy as np
import torch

def case(name, b=1, hq=2, hk=2, sq=64, sk=64, d=64, dv=None, dtype="float16", causal="none", window=(-1, -1), chunk=0, softcap=0.0,
         alibi=False, sink=False, bias=False, bias_inf=False, mask=False, scale=None, std=1.0):
    return dict(name=name, b=b, hq=hq, hk=hk, sq=sq, sk=sk, d=d, dv=dv or d, dtype=dtype, causal=causal, window=list(window), chunk=chunk, softcap=softcap,
                alibi=alibi, sink=sink, bias=bias, bias_inf=bias_inf, mask=mask, scale=scale or 1 / math.sqrt(d), std=std)

CASES = [
    case("square", sq=128, sk=128), case("square_bf16", sq=128, sk=128, dtype="bfloat16"), case("ragged", sq=113, sk=203),
    case("ragged_bottom_right", sq=113, sk=203, causal="bottom_right"), case("ragged_top_left", sq=113, sk=203, causal="top_left"),
    case("more_queries_bottom_right", sq=203, sk=113, causal="bottom_right"), case("more_queries_top_left", sq=203, sk=113, causal="top_left"),
    case("causal_square", sq=127, sk=127, causal="bottom_right"), case("gqa_bf16", b=2, hq=4, hk=2, sq=65, sk=193, d=128, dtype="bfloat16", causal="bottom_right"),
    case("mqa_decode", hq=8, hk=1, sq=1, sk=257, d=128), case("gqa_decode_bf16", b=2, hq=8, hk=2, sq=1, sk=339, d=64, dtype="bfloat16"),
    case("peaky", sq=96, sk=160, std=3.0), case("peaky_bf16", sq=96, sk=160, std=3.0, dtype="bfloat16"), case("large_logits", sq=64, sk=129, std=6.0),
    case("window_left", sq=130, sk=130, causal="bottom_right", window=(31, 0)), case("window_both", sq=97, sk=161, window=(16, 8)),
    case("softcap", sq=64, sk=130, softcap=30.0, std=3.0), case("alibi", hq=4, hk=4, sq=80, sk=112, causal="bottom_right", alibi=True),
    case("sink", hq=4, hk=2, sq=70, sk=90, causal="bottom_right", sink=True), case("sink_empty_rows", sq=40, sk=24, causal="bottom_right", sink=True),
    case("bias", sq=50, sk=66, bias=True), case("everything_bf16", b=2, hq=4, hk=2, sq=70, sk=150, d=128, dtype="bfloat16", causal="bottom_right", window=(64, 0), softcap=20.0, sink=True),
    case("d32", d=32, sq=65, sk=65), case("d40", d=40, sq=65, sk=65), case("d72", d=72, sq=33, sk=65), case("d80", d=80, sq=65, sk=65),
    case("d96", d=96, sq=65, sk=65, causal="bottom_right"), case("d192_v128", d=192, dv=128, sq=40, sk=65), case("d256", d=256, sq=40, sk=65, causal="bottom_right"),
    case("one_key", sq=5, sk=1), case("one_by_one", hq=1, hk=1, sq=1, sk=1), case("custom_scale", sq=33, sk=47, scale=0.31),
    case("chunk", sq=70, sk=70, causal="bottom_right", chunk=16), case("window_both_bf16", sk=90, window=(9, 7), dtype="bfloat16"),
    case("all_scores_bf16", b=2, hq=4, hk=2, sq=45, sk=83, dtype="bfloat16", causal="bottom_right", window=(40, -1), softcap=20.0, alibi=True, sink=True),
    case("mask", b=2, hq=4, hk=2, sq=50, sk=91, mask=True), case("bias_hides", hq=4, hk=2, sq=37, sk=75, causal="bottom_right", bias=True, bias_inf=True),
    case("all_tensors_bf16", b=2, hq=4, hk=2, sq=45, sk=83, dtype="bfloat16", causal="bottom_right", softcap=20.0, alibi=True, sink=True, bias=True, mask=True),
]

def run(c, out, gen):
    t = dict(float16=torch.float16, bfloat16=torch.bfloat16)[c["dtype"]]
    rnd = lambda *s: (torch.randn(*s, generator=gen, dtype=torch.float64) * c["std"]).to(t)
    b, hq, hk, sq, sk, d, dv = (c[x] for x in ("b", "hq", "hk", "sq", "sk", "d", "dv"))
    q, k, v = rnd(b, sq, hq, d), rnd(b, sk, hk, d), rnd(b, sk, hk, dv)
    extra = {}
    Q, K, V = (x.double().transpose(1, 2) for x in (q, k, v))
    K, V = K.repeat_interleave(hq // hk, 1), V.repeat_interleave(hq // hk, 1)
    s = Q @ K.transpose(-1, -2) * c["scale"]
    if c["softcap"]: s = c["softcap"] * torch.tanh(s / c["softcap"])
    i, j, off = torch.arange(sq)[:, None], torch.arange(sk)[None], sk - sq
    if c["alibi"]:
        extra["alibi"] = (2.0 ** (-8.0 * (torch.arange(hq) + 1) / hq)).float()
        s = s - extra["alibi"].double()[None, :, None, None] * (i + off - j).abs()
    if c["bias"]:
        extra["bias"] = torch.randn(hq, sq, sk, generator=gen).float()
        if c["bias_inf"]: extra["bias"][torch.rand(hq, sq, sk, generator=gen) < 0.4] = float("-inf"); extra["bias"][:, 7] = float("-inf")
        s = s + extra["bias"].double()[None]
    see = torch.ones(sq, sk, dtype=torch.bool)
    if c["causal"] == "bottom_right": see &= j <= i + off
    if c["causal"] == "top_left": see &= j <= i
    left, right = c["window"]
    if left >= 0: see &= j >= i + off - left
    if right >= 0: see &= j <= i + off + right
    if c["chunk"]: see &= torch.div(j, c["chunk"], rounding_mode="floor") == torch.div(i + off, c["chunk"], rounding_mode="floor")
    if c["mask"]:
        extra["mask"] = torch.rand(b, hq, sq, sk, generator=gen) < 0.5
        extra["mask"][:, :, 11] = False  # a row that sees nothing
        see = see & extra["mask"]
    s = s.masked_fill(~see, float("-inf"))
    z = s
    if c["sink"]:
        extra["sink"] = torch.randn(hq, generator=gen).float()
        z = torch.cat([s, extra["sink"].double()[None, :, None, None].expand(b, hq, sq, 1)], -1)
    lse = torch.logsumexp(z, -1)
    p = torch.where(torch.isinf(lse)[..., None], torch.zeros_like(s), torch.exp(s - lse[..., None]))
    o = (p @ V).transpose(1, 2)
    os.makedirs(f"{out}/{c['name']}", exist_ok=True)
    for n, x in dict(q=q, k=k, v=v).items():
        if t is torch.bfloat16: np.save(f"{out}/{c['name']}/{n}_bf16bits.npy", x.contiguous().view(torch.int16).numpy().view(np.uint16))
        else: np.save(f"{out}/{c['name']}/{n}.npy", x.contiguous().numpy())
    for n, x in dict(o=o.float(), lse=lse.float(), **extra).items(): np.save(f"{out}/{c['name']}/{n}.npy", x.contiguous().numpy())

if __name__ == "__main__":
    out, gen = sys.argv[1], torch.Generator().manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 20261120)
    for c in CASES:
        if not sys.argv[3:] or c["name"] in sys.argv[3:]: run(c, out, gen)
    json.dump(CASES, open(f"{out}/cases.json", "w"), indent=1)
