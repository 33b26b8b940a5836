# SPDX-License-Identifier: Apache-2.0
"""flashcore.flash_attn: signatures as programs use them, results against attention of each sequence by PyTorch in float64, caches, pages,
log-sum-exps; and what is refused. On the CPU device and, where there is one, the GPU."""
import inspect

import support
from support import torch

from flashcore import InvalidArgumentError, UnsupportedError

if torch is not None:
    from flashcore import flash_attn as fa

OPTIONS = ["dropout_p", "softmax_scale", "causal", "window_size", "softcap", "alibi_slopes", "deterministic", "return_attn_probs"]
BOUNDS = ["cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k"]
SIGNATURES = {
    "flash_attn_func": ["q", "k", "v", *OPTIONS],
    "flash_attn_qkvpacked_func": ["qkv", *OPTIONS],
    "flash_attn_kvpacked_func": ["q", "kv", *OPTIONS],
    "flash_attn_varlen_func": ["q", "k", "v", *BOUNDS, *OPTIONS, "block_table"],
    "flash_attn_varlen_qkvpacked_func": ["qkv", "cu_seqlens", "max_seqlen", *OPTIONS],
    "flash_attn_varlen_kvpacked_func": ["q", "kv", *BOUNDS, *OPTIONS],
    "flash_attn_with_kvcache": ["q", "k_cache", "v_cache", "k", "v", "rotary_cos", "rotary_sin", "cache_seqlens", "cache_batch_idx",
                                "cache_leftpad", "block_table", "softmax_scale", "causal", "window_size", "softcap", "rotary_interleaved",
                                "alibi_slopes", "num_splits", "return_softmax_lse"],
}
DEFAULTS = {"dropout_p": 0.0, "softmax_scale": None, "causal": False, "window_size": (-1, -1), "softcap": 0.0, "alibi_slopes": None,
            "deterministic": False, "return_attn_probs": False, "block_table": None, "k": None, "v": None, "rotary_cos": None, "rotary_sin": None,
            "cache_seqlens": None, "cache_batch_idx": None, "cache_leftpad": None, "rotary_interleaved": True, "num_splits": 0,
            "return_softmax_lse": False}
HEADS, HEADS_K, DIM = 4, 2, 64


def expected_of(q, k, v, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, slopes=None):
    """(output, lse [heads, queries]) of one sequence, [queries, heads, head_dim] in float64."""
    q, k, v = (tensor.cpu().double() for tensor in (q, k, v))
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    scores = torch.einsum("ihd,jhd->hij", q, k) * (q.shape[2] ** -0.5 if softmax_scale is None else softmax_scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    ahead = torch.arange(k.shape[0]) - (torch.arange(q.shape[0])[:, None] + k.shape[0] - q.shape[0])  # of a key before its query
    if slopes is not None:
        scores = scores - slopes.cpu().double()[:, None, None] * ahead.abs()
    left, right = window_size[0], 0 if causal else window_size[1]
    seen = torch.ones_like(ahead, dtype=torch.bool)
    if left >= 0:
        seen &= ahead >= -left
    if right >= 0:
        seen &= ahead <= right
    scores = scores.masked_fill(~seen, -torch.inf)
    lse = scores.logsumexp(-1)
    return torch.einsum("hij,jhd->ihd", torch.where(seen, (scores - lse[..., None]).exp(), 0).nan_to_num(0), v), lse


@support.needs_torch
class TestFlashAttn(support.ContextTest):
    def setUp(self):
        super().setUp()
        self.generator = torch.Generator().manual_seed(5)

    def random(self, *shape):
        return torch.randn(shape, generator=self.generator).to(self.device, torch.float16)

    def index(self, numbers, dtype=None):
        return torch.tensor(numbers, dtype=dtype or torch.int32, device=self.device)

    def on_every_device(self):
        for self.device in support.TORCH_DEVICES:
            yield self.device

    def same(self, found, lse, expected):
        self.assertLess((found.cpu().double() - expected[0]).abs().max().item() if found.numel() else 0, 3e-3)
        self.assertTrue(torch.allclose(lse.cpu().double(), expected[1], atol=1e-3))

    def alike(self, found, expected, exact=True):
        """Bit by bit on the CPU; a GPU may use another kernel for other strides."""
        if exact and self.device == "cpu":
            self.assertTrue(torch.equal(found, expected))
        self.assertLess((found - expected).abs().max().item(), 2e-3)

    def every_option(self):
        slopes = 0.1 * torch.rand(HEADS, generator=self.generator).to(self.device)
        return [{}, {"causal": True}, {"softmax_scale": 0.2}, {"window_size": (5, 3)}, {"causal": True, "window_size": (7, -1)}, {"softcap": 1.5},
                {"alibi_slopes": slopes}, {"causal": True, "window_size": (9, 0), "softcap": 4.0, "alibi_slopes": slopes, "softmax_scale": 0.3}]

    def alone(self, q, k, v, alibi_slopes=None, **options):
        return expected_of(q, k, v, slopes=alibi_slopes, **options)

    def test_signatures(self):
        for name, parameters in SIGNATURES.items():
            signature = inspect.signature(getattr(fa, name))
            self.assertEqual(list(signature.parameters), parameters)
            for parameter in parameters:
                default = signature.parameters[parameter].default
                # k and v have a default in the function for caches alone.
                if default is not inspect.Parameter.empty:
                    self.assertEqual(default, DEFAULTS[parameter], (name, parameter))

    def test_dense(self):
        for _ in self.on_every_device():
            for options in self.every_option():
                q, k, v = self.random(2, 13, HEADS, DIM), self.random(2, 21, HEADS_K, DIM), self.random(2, 21, HEADS_K, DIM)
                output, lse, nothing = fa.flash_attn_func(q, k, v, deterministic=True, return_attn_probs=True, **options)
                self.assertEqual((lse.shape, lse.dtype, nothing), ((2, HEADS, 13), torch.float32, None))
                for b in range(2):
                    self.same(output[b], lse[b], self.alone(q[b], k[b], v[b], **options))
                self.alike(fa.flash_attn_func(q, k, v, **options), output)
                self.alike(fa.flash_attn_kvpacked_func(q, torch.stack((k, v), 2), **options), output)
                strided = q.transpose(2, 3).contiguous().transpose(2, 3)  # the last dimension has a stride
                self.alike(fa.flash_attn_func(strided, k, v, **options), output)
                packed = self.random(2, 17, 3, HEADS, DIM)
                self.alike(fa.flash_attn_qkvpacked_func(packed, **options), fa.flash_attn_func(*packed.unbind(2), **options))

    def test_sequences_one_behind_the_other(self):
        bounds_q, bounds_k = [0, 4, 4, 15, 16], [0, 9, 12, 40, 40]
        for _ in self.on_every_device():
            for number, options in enumerate(self.every_option()):
                q, k, v = self.random(16, HEADS, DIM), self.random(40, HEADS_K, DIM), self.random(40, HEADS_K, DIM)
                dtype = torch.int64 if number % 2 else torch.int32
                given = (self.index(bounds_q, dtype), self.index(bounds_k, dtype), 11, 28)
                output, lse, _ = fa.flash_attn_varlen_func(q, k, v, *given, return_attn_probs=True, **options)
                self.assertEqual(lse.shape, (HEADS, 16))
                for b in range(4):
                    rows, keys = slice(*bounds_q[b:b + 2]), slice(*bounds_k[b:b + 2])
                    self.same(output[rows], lse[:, rows], self.alone(q[rows], k[keys], v[keys], **options))
                self.alike(fa.flash_attn_varlen_kvpacked_func(q, torch.stack((k, v), 1), *given, **options), output)
                packed = self.random(16, 3, HEADS, DIM)
                alike = fa.flash_attn_varlen_qkvpacked_func(packed, given[0], 11, **options)
                self.alike(alike, fa.flash_attn_varlen_func(*packed.unbind(1), given[0], given[0], 11, 11, **options))
                pages, table = self.pages([k[slice(*bounds_k[b:b + 2])] for b in range(4)], [v[slice(*bounds_k[b:b + 2])] for b in range(4)])
                found = fa.flash_attn_varlen_func(q, *pages, *given[:3], 1000, block_table=table, **options)
                self.alike(found, output, exact=False)

    def pages(self, keys, values, page_size=8):
        """((key pages, value pages), block table), every second page used; entries that no key needs are -1."""
        table, pages = [], ([], [])
        columns = max((len(one) + page_size - 1) // page_size for one in keys)
        for one in zip(keys, values):
            row = []
            for first in range(0, len(one[0]), page_size):
                row.append(2 * len(pages[0]))
                for of, page in zip(one, pages):
                    filled = torch.full((page_size, HEADS_K, DIM), torch.nan, dtype=torch.float16, device=self.device)
                    part = of[first:first + page_size]
                    filled[:len(part)] = part
                    page.append(filled)
            table.append(row + [-1] * (columns - len(row)))
        whole = [torch.stack([page for one in of for page in (one, one * torch.nan)]) for of in pages]
        return whole, self.index(table)

    def test_caches(self):
        lengths, places = [9, 0, 30, 17], [5, 1, 0, 3]
        for _ in self.on_every_device():
            for options in self.every_option():
                q, k_cache, v_cache = self.random(4, 2, HEADS, DIM), self.random(6, 32, HEADS_K, DIM), self.random(6, 32, HEADS_K, DIM)
                k, v = ([cache[places[b], :lengths[b]] for b in range(4)] for cache in (k_cache, v_cache))
                used = self.index(lengths)
                output, lse = fa.flash_attn_with_kvcache(q, k_cache, v_cache, cache_seqlens=used, cache_batch_idx=self.index(places),
                                                         return_softmax_lse=True, num_splits=1, **options)
                self.assertEqual(lse.shape, (4, HEADS, 2))
                for b in range(4):
                    self.same(output[b], lse[b], self.alone(q[b], k[b], v[b], **options))
                pages, table = self.pages(k, v)
                found = fa.flash_attn_with_kvcache(q, *pages, cache_seqlens=used, block_table=table, **options)
                self.alike(found, output, exact=False)
                padded = fa.flash_attn_with_kvcache(q, k_cache, v_cache, cache_seqlens=self.index([9, 5, 30, 17]), cache_batch_idx=self.index(places),
                                                    cache_leftpad=self.index([3, 5, 0, 1]), **options)
                for b, first in ((0, 3), (2, 0), (3, 1)):
                    self.assertLess((padded[b].cpu().double() - self.alone(q[b], k[b][first:], v[b][first:], **options)[0]).abs().max().item(), 3e-3)
                self.assertFalse(padded[1].any())

    def rotated(self, rows, cos, sin, first, by_row, interleaved):
        """rows [rows, heads, head_dim] of one sequence."""
        made, dim = rows.cpu().float(), 2 * cos.shape[1]
        one, two = (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (slice(0, dim // 2), slice(dim // 2, dim))
        x, y = made[..., one].clone(), made[..., two].clone()
        at = first + (torch.arange(len(rows)) if by_row else torch.zeros(len(rows), dtype=torch.int64))
        c, s = (table.cpu().float()[at][:, None] for table in (cos, sin))
        made[..., one], made[..., two] = x * c - y * s, y * c + x * s
        return made.to(rows.device, torch.float16)

    def test_new_keys(self):
        lengths, places = [9, 0, 30, 17], [5, 1, 0, 3]
        for _ in self.on_every_device():
            for number, options in enumerate(self.every_option()):
                q, k_cache, v_cache = self.random(4, 3, HEADS, DIM), self.random(6, 40, HEADS_K, DIM), self.random(6, 40, HEADS_K, DIM)
                k, v = self.random(4, 5, HEADS_K, DIM), self.random(4, 5, HEADS_K, DIM)
                rotary, interleaved = {}, number % 2 == 0
                cos, sin = (torch.rand(50, 16, generator=self.generator).to(self.device, torch.float16) for _ in range(2))
                if number % 3:
                    rotary = {"rotary_cos": cos, "rotary_sin": sin, "rotary_interleaved": interleaved}
                by_row = options.get("causal", False) or options.get("window_size", (-1, -1)) != (-1, -1)
                before = [[cache[places[b]].clone() for b in range(4)] for cache in (k_cache, v_cache)]
                output, lse = fa.flash_attn_with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens=self.index(lengths), return_softmax_lse=True,
                                                         cache_batch_idx=self.index(places), **rotary, **options)
                for b, used in enumerate(lengths):
                    turned = (lambda rows, each: self.rotated(rows, cos, sin, used, each, interleaved)) if rotary else lambda rows, each: rows
                    keys, values = before[0][b], before[1][b]
                    keys[used:used + 5], values[used:used + 5] = turned(k[b], True), v[b]
                    self.assertTrue(torch.equal(k_cache[places[b]], keys) and torch.equal(v_cache[places[b]], values))
                    self.same(output[b], lse[b], self.alone(turned(q[b], by_row), keys[:used + 5], values[:used + 5], **options))
                alike, values = k_cache.clone(), v_cache.clone()
                for b, used in enumerate(lengths):
                    alike[places[b], used:used + 5] = torch.nan
                pages, table = self.pages([alike[place] for place in places], [values[place] for place in places])
                found = fa.flash_attn_with_kvcache(q, *pages, k, v, cache_seqlens=self.index(lengths), block_table=table, **rotary, **options)
                self.alike(found, output, exact=False)
                # A number for all, with all rows of the cache and without.
                for used in (7, 35):
                    caches = [self.random(4, 40, HEADS_K, DIM) for _ in range(2)]
                    copies = [cache.clone() for cache in caches]
                    output = fa.flash_attn_with_kvcache(q, *caches, k, v, cache_seqlens=used, **rotary, **options)
                    found = fa.flash_attn_with_kvcache(q, *copies, k, v, cache_seqlens=self.index([used] * 4), **rotary, **options)
                    self.alike(found, output, exact=False)
                    self.assertTrue(all(torch.equal(*pair) for pair in zip(caches, copies)))

    def test_one_length_for_all(self):
        for _ in self.on_every_device():
            q, k, v = self.random(2, 1, HEADS, DIM), self.random(2, 32, HEADS_K, DIM), self.random(2, 32, HEADS_K, DIM)
            for count, options in ((11, {"cache_seqlens": 11}), (32, {}), (11, {"cache_seqlens": self.index([11, 11])})):
                output = fa.flash_attn_with_kvcache(q, k, v, causal=True, **options)
                self.alike(output, fa.flash_attn_func(q, k[:, :count], v[:, :count]), exact=False)
            output = fa.flash_attn_with_kvcache(q, k, v, cache_seqlens=11, cache_batch_idx=self.index([1, 0], torch.int64))
            self.alike(output, fa.flash_attn_func(q, k.flip(0)[:, :11], v.flip(0)[:, :11]), exact=False)
            pages, table = self.pages([k[0], k[1]], [v[0], v[1]])
            for count, options in ((11, {"cache_seqlens": 11}), (32, {})):
                output = fa.flash_attn_with_kvcache(q, *pages, block_table=table, **options)
                self.alike(output, fa.flash_attn_func(q, k[:, :count], v[:, :count]), exact=False)

    def test_refusals(self):
        for _ in self.on_every_device():
            q, k = self.random(2, 3, HEADS, DIM), self.random(2, 8, HEADS_K, DIM)
            bounds, packed = self.index([0, 3, 6]), q.flatten(0, 1)
            for field, words, call in (
                    ("dropout_p", "0.1; allowed: 0", lambda: fa.flash_attn_func(q, k, k, 0.1)),
                    ("dropout_p", "no dropout", lambda: fa.flash_attn_varlen_func(packed, packed, packed, bounds, bounds, 3, 3, 0.5)),
                    ("q", "no backward", lambda: fa.flash_attn_func(q.clone().requires_grad_(), k, k)),
                    ("num_splits", "2; allowed: 0 or 1", lambda: fa.flash_attn_with_kvcache(q, k, k, num_splits=2))):
                self.refused(UnsupportedError, "query" if field == "q" else field, words, call)
            for field, words, call in (
                    ("v", "both k and v", lambda: fa.flash_attn_with_kvcache(q, k, k.clone(), k=k, cache_seqlens=0)),
                    ("v", "without k", lambda: fa.flash_attn_with_kvcache(q, k, k, v=k)),
                    ("rotary_cos", "without k", lambda: fa.flash_attn_with_kvcache(q, k, k, rotary_cos=k)),
                    ("cache_seqlens", "is missing", lambda: fa.flash_attn_with_kvcache(q, k, k.clone(), k=k, v=k)),
                    ("k_cache", "allowed: 1", lambda: fa.flash_attn_with_kvcache(q, k[..., ::2], k.clone(), k=k, v=k, cache_seqlens=0)),
                    ("qkv", "third last of 3", lambda: fa.flash_attn_qkvpacked_func(q)),
                    ("kv", "[2, 8, 2, 64]; allowed: 5", lambda: fa.flash_attn_kvpacked_func(q, k)),
                    ("max_seqlen_q", "a number of the host", lambda: fa.flash_attn_varlen_func(packed, packed, packed, bounds, bounds, bounds[1], 3)),
                    ("seqused_kv", "allowed: [2]", lambda: fa.flash_attn_with_kvcache(q, k, k, cache_seqlens=self.index([1]))),
                    ("cu_seqlens_q", "float32", lambda: fa.flash_attn_varlen_func(packed, packed, packed, bounds.float(), bounds, 3, 3))):
                self.refused(InvalidArgumentError, field, words, call)


if __name__ == "__main__":
    support.main()
