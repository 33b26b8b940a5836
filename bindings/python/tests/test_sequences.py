# SPDX-License-Identifier: Apache-2.0
"""Ragged batches and paged keys through Context.attention: every way to say where rows are against one dense call for each sequence, with
all that dense calls have; NumPy, foreign arrays and PyTorch; and what is refused, by name."""
import unittest
import warnings

import support
from support import np, torch

import flashcore
from flashcore import InvalidArgumentError, Sequences, UnsupportedError

if torch is not None:
    import flashcore.torch as on_torch

HEADS_Q, HEADS_KV, HEAD_DIM = 4, 2, 64
QUERIES, KEYS = (5, 1, 0, 9), (12, 40, 7, 0)


def sums(lengths):
    return np.concatenate([[0], np.cumsum(lengths)])


class Ragged:
    """Sequences with random rows, and their placements; whatever belongs to no sequence is NaN."""

    def __init__(self, seed=1, queries=QUERIES, keys=KEYS):
        generator = np.random.default_rng(seed)
        self.generator, self.queries, self.keys, self.batch = generator, queries, keys, len(queries)
        rows = lambda lengths, heads: [generator.standard_normal((length, heads, HEAD_DIM)).astype(np.float16) for length in lengths]
        self.query, self.key, self.value = rows(queries, HEADS_Q), rows(keys, HEADS_KV), rows(keys, HEADS_KV)

    def in_line(self, rows, spare=2):
        """(all rows, bounds): one behind the other, and some of nobody."""
        none = np.full((spare, *rows[0].shape[1:]), np.nan, np.float16)
        return np.concatenate([*rows, none]), sums([len(one) for one in rows])

    def in_entries(self, rows, most, padding=None, places=None, entries=None):
        made = np.full((entries or self.batch, most, *rows[0].shape[1:]), np.nan, np.float16)
        for b, one in enumerate(rows):
            first = 0 if padding is None else padding[b]
            made[b if places is None else places[b], first:first + len(one)] = one
        return made

    def in_pages(self, rows, page_size, columns, padding):
        """(pages, table): in any order; what no key needs leads nowhere."""
        needed = [(padding[b] + len(one) + page_size - 1) // page_size for b, one in enumerate(rows)]
        count = sum(needed) + 3
        order = list(self.generator.permutation(count))
        pages = np.full((count, page_size, *rows[0].shape[1:]), np.nan, np.float16)
        table = np.full((self.batch, columns), -1, np.int32)
        for b, one in enumerate(rows):
            for page in range(needed[b]):
                table[b, page] = order.pop()
            for j, row in enumerate(one):
                at = padding[b] + j
                pages[table[b, at // page_size], at % page_size] = row
        return pages, table

    def alone(self, context, b, alibi_slopes=None, **options):
        """(output, lse) of a dense call on sequence b."""
        slopes = alibi_slopes if alibi_slopes is None or alibi_slopes.ndim == 1 else alibi_slopes[b]
        return context.attention(self.query[b][None], self.key[b][None], self.value[b][None], alibi_slopes=slopes, return_lse=True, **options)


def every_option():
    generator = np.random.default_rng(9)
    slopes, sinks = (0.1 * generator.random((4, HEADS_Q))).astype(np.float32), generator.standard_normal(HEADS_Q).astype(np.float32)
    return [{}, {"causal": "bottom_right"}, {"causal": "top_left", "scale": 0.3}, {"window": (6, 2)}, {"chunk": 5}, {"softcap": 2.0},
            {"alibi_slopes": slopes}, {"alibi_slopes": slopes[0], "causal": "bottom_right"}, {"sinks": sinks},
            {"causal": "bottom_right", "scale": 0.2, "window": (9, None), "softcap": 3.0, "alibi_slopes": slopes, "sinks": sinks}]


@support.needs_numpy
class TestSequences(support.ContextTest):
    def same(self, ragged, b, output, lse, **options):
        """output [queries, heads, head_dim] and lse [heads, queries] are those of sequence b alone."""
        expected, expected_lse = ragged.alone(self.context, b, **options)
        self.assertLess(np.abs(output.astype(np.float64) - expected[0]).max(initial=0), 2e-3)
        with np.errstate(invalid="ignore"):
            self.assertTrue(np.allclose(lse, expected_lse[0], atol=1e-4))

    def test_sequences_that_follow_one_another(self):
        for number, options in enumerate(every_option()):
            ragged = Ragged(seed=number)
            (query, bounds_q), (key, bounds_kv), (value, _) = (ragged.in_line(rows) for rows in (ragged.query, ragged.key, ragged.value))
            index = np.int64 if number % 2 else np.int32
            output, lse = self.context.varlen_attention(query, key, value, bounds_q.astype(index), bounds_kv.astype(index), max(QUERIES), max(KEYS),
                                                        return_lse=True, **options)
            self.assertEqual((output.shape, lse.shape), (query.shape, (HEADS_Q, len(query))))
            for b in range(ragged.batch):
                first, end = bounds_q[b:b + 2]
                self.same(ragged, b, output[first:end], lse[:, first:end], **options)

    def test_caches(self):
        """Lengths, left padding, entries of a larger cache, and pages; queries in a batch, all in use or some."""
        for number, options in enumerate(every_option()):
            for kind in ("entries", "index", "pages", "two tables"):
                ragged = Ragged(seed=100 + number, queries=(3, 3, 3, 3) if number % 3 else (3, 1, 0, 2))
                padding = ragged.generator.integers(0, 6, ragged.batch) if number % 2 else np.zeros(ragged.batch, int)
                arrays = {"seqused_kv": np.asarray(KEYS) + padding}
                if number % 2:
                    arrays["leftpad_kv"] = padding
                if number % 3 == 0:
                    arrays["seqused_q"] = np.asarray(ragged.queries)
                rows = (ragged.key, ragged.value)
                if kind == "entries":
                    key, value = (ragged.in_entries(of, 50, padding) for of in rows)
                elif kind == "index":
                    arrays["kv_batch_index"] = places = np.array([6, 0, 3, 2])
                    key, value = (ragged.in_entries(of, 50, padding, places, 7) for of in rows)
                else:
                    key, arrays["page_table"] = ragged.in_pages(rows[0], 16, 5, padding)
                    value, second = ragged.in_pages(rows[1], 16, 5, padding)
                    if kind == "two tables":
                        arrays["page_table_value"] = second
                    else:
                        value = self.like(ragged, key, arrays["page_table"], padding)
                index = np.int64 if number % 4 < 2 else np.int32
                arrays = {name: array if "table" in name else array.astype(index) for name, array in arrays.items()}
                output, lse = self.context.attention(ragged.in_entries(ragged.query, 3), key, value, sequences=Sequences(**arrays), return_lse=True,
                                                     out=np.zeros((4, 3, HEADS_Q, HEAD_DIM), np.float16), **options)
                self.assertEqual(lse.shape, (4, HEADS_Q, 3))
                for b, count in enumerate(ragged.queries):
                    self.same(ragged, b, output[b, :count], lse[b, :, :count], **options)
                    self.assertFalse(output[b, count:].any())

    def like(self, ragged, key, table, padding):
        """Pages of values by the table of keys."""
        value = np.full_like(key, np.nan)
        for b, one in enumerate(ragged.value):
            for j, row in enumerate(one):
                at = padding[b] + j
                value[table[b, at // 16], at % 16] = row
        return value

    def test_convenience_and_layouts(self):
        """attention_with_kv_cache and layout="bhsd" say the same as Sequences; a most of keys leaves out what is past it."""
        ragged = Ragged(queries=(2, 2, 2, 2))
        query, key, value = (ragged.in_entries(rows, most) for rows, most in ((ragged.query, 2), (ragged.key, 45), (ragged.value, 45)))
        used = np.array(KEYS, np.int32)
        expected = self.context.attention_with_kv_cache(query, key, value, used, causal="bottom_right")
        given = [array.transpose(0, 2, 1, 3) for array in (query, key, value)]
        turned, lse = self.context.attention(*given, sequences=Sequences(seqused_kv=used), causal="bottom_right", layout="bhsd", return_lse=True)
        self.assertTrue(np.array_equal(turned.transpose(0, 2, 1, 3), expected))
        self.assertEqual(lse.shape, (4, HEADS_Q, 2))
        fitting = self.context.attention_with_kv_cache(query, key, value, used, max_seqlen_kv=np.int64(40), causal="bottom_right")
        self.assertTrue(np.array_equal(fitting, expected))
        fewer = self.context.attention_with_kv_cache(query, key, value, used, max_seqlen_kv=7)
        self.assertTrue(np.array_equal(fewer, self.context.attention_with_kv_cache(query, key, value, np.minimum(used, 7))))
        rows, bounds = ragged.in_line(ragged.query, 0)
        packed, by_head = (self.context.attention(
            array, *given[1:], layout="bhsd", causal="bottom_right", sequences=Sequences(bounds.astype(np.int32), max_seqlen_q=2, seqused_kv=used))
            for array in (np.ascontiguousarray(rows.transpose(1, 0, 2)), rows.transpose(1, 0, 2)))
        self.assertEqual(packed.shape, (HEADS_Q, 8, HEAD_DIM))
        self.assertTrue(np.array_equal(packed.transpose(1, 0, 2).reshape(expected.shape), expected))
        self.assertTrue(np.array_equal(packed, by_head))

    def test_what_follows_no_sequence_is_not_written(self):
        ragged = Ragged()
        (query, bounds_q), (key, bounds_kv), (value, _) = (ragged.in_line(rows) for rows in (ragged.query, ragged.key, ragged.value))
        out, lse = np.full(query.shape, 7, np.float16), np.full((HEADS_Q, len(query)), 7, np.float32)
        made = self.context.varlen_attention(query, key, value, bounds_q.astype(np.int32), bounds_kv.astype(np.int32), 9, 40, out=out, lse=lse)
        self.assertIs(made, out)
        self.assertTrue((out[15:] == 7).all() and (lse[:, 15:] == 7).all() and (lse[:, :15] != 7).all())

    def test_prepare_and_explain(self):
        ragged = Ragged(queries=(1, 1, 1, 1))
        key, table = ragged.in_pages(ragged.key, 16, 3, [0] * 4)
        query, used = ragged.in_entries(ragged.query, 1), np.array(KEYS, np.int32)
        sequences = Sequences(seqused_kv=used, page_table=table)
        self.context.prepare(query, key, key, sequences=sequences)
        self.assertEqual(self.context.explain(query, key, key, sequences=sequences).kernel, "cpu")
        rows, bounds = ragged.in_line(ragged.query)
        in_line = sequences._replace(cu_seqlens_q=bounds, seqused_kv=None, max_seqlen_q=1)
        self.assertTrue(self.context.explain(rows, key, key, sequences=in_line).supported)

    def test_foreign_arrays(self):
        """Index arrays by DLPack, and in memory of the library's own."""
        class OnlyDlpack:
            def __init__(self, array):
                self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__
        ragged = Ragged(queries=(2, 2, 2, 2))
        query, key, value = (ragged.in_entries(rows, most) for rows, most in ((ragged.query, 2), (ragged.key, 45), (ragged.value, 45)))
        used = np.array(KEYS, np.int64)
        expected = self.context.attention_with_kv_cache(query, key, value, used)
        for foreign in (OnlyDlpack(used), self.context.to_device(used)):
            self.assertTrue(np.array_equal(self.context.attention_with_kv_cache(query, key, value, foreign), expected))
        on_device = [self.context.to_device(array) for array in (query, key, value, used)]
        self.assertTrue(np.array_equal(self.context.attention_with_kv_cache(*on_device).to_numpy(), expected))

    def test_nothing_to_compute(self):
        """A batch of no sequences, pages for none, caches without rows: empty outputs, or rows that see no key. As NumPy arrays and tensors."""
        rows = lambda *shape: np.ones((*shape, HEADS_KV, HEAD_DIM), np.float16)
        numbers = lambda *shape: np.zeros(shape, np.int32)
        pages, none = rows(4, 16), numbers(0)
        for query, key, arrays in ((rows(0, 1), pages, {"seqused_kv": none, "page_table": numbers(0, 3)}),
                                   (rows(0, 1), pages, {"seqused_kv": none, "kv_batch_index": none}),
                                   (rows(2, 1), pages, {"seqused_kv": numbers(2), "page_table": numbers(2, 0)}),
                                   (rows(2, 1), rows(2, 0), {"seqused_kv": numbers(2)})):
            for _ in range(2):
                output = self.context.attention(query, key, key, sequences=Sequences(**arrays))
                self.assertEqual((output.shape, output.any()), (query.shape, False))
                if torch is not None:
                    given = [torch.from_numpy(array) for array in (query, key, key)]
                    sequences = {name: torch.from_numpy(one) if isinstance(one, np.ndarray) else one for name, one in arrays.items()}
                    output = on_torch.attention(*given, sequences=Sequences(**sequences))
                    self.assertEqual((output.shape, bool(output.any())), (query.shape, False))

    def test_refusals_name_the_array(self):
        ragged = Ragged(queries=(2, 2, 2, 2))
        (rows, bounds_q), (key, bounds_kv), (value, _) = (ragged.in_line(rows) for rows in (ragged.query, ragged.key, ragged.value))
        bounds_q, bounds_kv = bounds_q.astype(np.int32), bounds_kv.astype(np.int32)
        query, cache = ragged.in_entries(ragged.query, 2), ragged.in_entries(ragged.key, 45)
        pages, table = ragged.in_pages(ragged.key, 16, 3, [0] * 4)
        used, attend = np.array(KEYS, np.int32), self.context.attention
        by_bounds = Sequences(bounds_q, bounds_kv, 2, 40)
        for field, words, given, sequences in (
                ("cu_seqlens_q", "float16; allowed: int32, int64", (rows, key, value), by_bounds._replace(cu_seqlens_q=rows[:5, 0, 0])),
                ("cu_seqlens_q", "shape [5, 1]; allowed: [batch + 1]", (rows, key, value), by_bounds._replace(cu_seqlens_q=bounds_q[:, None])),
                ("cu_seqlens_q", "shape [0]", (rows, key, value), by_bounds._replace(cu_seqlens_q=bounds_q[:0])),
                ("cu_seqlens_q", "stride of 2", (rows, key, value), by_bounds._replace(cu_seqlens_q=np.repeat(bounds_q, 2)[::2])),
                ("cu_seqlens_kv", "int64; allowed: int32, the type of cu_seqlens_q", (rows, key, value),
                 by_bounds._replace(cu_seqlens_kv=bounds_kv.astype(np.int64))),
                ("cu_seqlens_kv", "shape [4]; allowed: [5]", (rows, key, value), by_bounds._replace(cu_seqlens_kv=bounds_kv[:4])),
                ("query", "allowed: 3, [total, heads, head_dim], because cu_seqlens_q", (query, key, value), by_bounds),
                ("key", "4 dimensions", (rows, cache, cache), by_bounds),
                ("key", "3 dimensions", (rows, key, value), by_bounds._replace(cu_seqlens_kv=None)),
                ("max_seqlen_q", "None; allowed: a number of the host, which is needed", (rows, key, value), by_bounds._replace(max_seqlen_q=None)),
                ("max_seqlen_kv", "allowed: a number", (rows, key, value), by_bounds._replace(max_seqlen_kv=np.array([40]))),
                ("max_seqlen_kv", "-1; allowed: 0 to 2147483647", (rows, key, value), by_bounds._replace(max_seqlen_kv=-1)),
                ("max_seqlen_q", "1; allowed: 2, the rows of query", (query, cache, cache), Sequences(max_seqlen_q=1)),
                ("max_seqlen_q", "3; allowed: 0 to 2, what query has room for", (query, cache, cache), Sequences(max_seqlen_q=3)),
                ("max_seqlen_kv", "46; allowed: 0 to 45", (query, cache, cache), Sequences(seqused_kv=used, max_seqlen_kv=46)),
                ("seqused_kv", "shape [3]; allowed: [4], batch numbers", (query, cache, cache), Sequences(seqused_kv=used[:3])),
                ("key", "allowed: [4, 45, 2, 64]", (query, cache[:3], cache[:3]), Sequences(seqused_kv=used)),
                ("value", "allowed: [4, 45, 2, 64]", (query, cache, cache[:, :40]), Sequences(seqused_kv=used)),
                ("page_table", "int64; allowed: int32", (query, pages, pages), Sequences(page_table=table.astype(np.int64))),
                ("page_table", "shape [3, 3]; allowed: [4, pages]", (query, pages, pages), Sequences(page_table=table[:3])),
                ("page_table_stride", "sequences apart", (query, pages, pages), Sequences(page_table=np.broadcast_to(table[:1], (4, 3)))),
                ("page_table_stride", "side by side", (query, pages, pages), Sequences(page_table=table[:, ::2])),
                ("page_table_value", "those of page_table", (query, pages, pages), Sequences(page_table=table, page_table_value=table[:, :2])),
                ("page_table_value", "without page_table", (query, cache, cache), Sequences(page_table_value=table)),
                ("kv_batch_index", "0 with page_table", (query, pages, pages), Sequences(page_table=table, kv_batch_index=used)),
                ("sequences", "is a dict; allowed: flashcore.Sequences", (query, cache, cache), {"seqused_kv": used})):
            self.refused(InvalidArgumentError, field, words, lambda: attend(*given, sequences=sequences))
        self.refused(InvalidArgumentError, "lse", "allowed: [4, 10], [heads, rows of query]",
                     lambda: attend(rows, key, value, sequences=by_bounds, lse=np.zeros((1, 4, 10), np.float32)))
        self.refused(UnsupportedError, "query.dtype", "float32", lambda: attend(rows.astype("float32"), key, value, sequences=by_bounds))
        with self.assertRaisesRegex(TypeError, "seqused_kv is a list"):
            attend(query, cache, cache, sequences=Sequences(seqused_kv=[1, 2, 3, 4]))


@support.needs_torch
@support.needs_numpy
class TestTorchSequences(support.ContextTest):
    def tensors(self, *arrays):
        return [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]

    def on_every_device(self):
        for self.device in support.TORCH_DEVICES:
            yield self.device

    def test_as_numpy(self):
        """The same numbers from tensors, and the lse with them."""
        options = every_option()[-1]
        for _ in self.on_every_device():
            for number in range(2):
                ragged = Ragged(seed=number)
                (query, bounds_q), (key, bounds_kv), (value, _) = (ragged.in_line(rows) for rows in (ragged.query, ragged.key, ragged.value))
                index = np.int64 if number else np.int32
                given = [query, key, value, bounds_q.astype(index), bounds_kv.astype(index)]
                expected, expected_lse = self.context.varlen_attention(*given, 9, 40, return_lse=True, **options)
                scores = {name: self.tensors(of)[0] if isinstance(of, np.ndarray) else of for name, of in options.items()}
                output, lse = on_torch.varlen_attention(*self.tensors(*given), 9, 40, return_lse=True, **scores)
                self.close(output[:15], expected[:15])
                self.close(lse[:, :15], expected_lse[:, :15])
                ragged = Ragged(seed=number, queries=(1, 1, 1, 1))
                pages, table = ragged.in_pages(ragged.key, 16, 3, [0] * 4)
                given = [ragged.in_entries(ragged.query, 1), pages, pages, np.array(KEYS, index)]
                expected = self.context.attention_with_kv_cache(*given, page_table=table)
                paged = self.tensors(*given, table)
                self.close(on_torch.attention_with_kv_cache(*paged[:4], page_table=paged[4]), expected)
                with flashcore.Context(self.device) as context:
                    self.close(on_torch.attention_with_kv_cache(*paged[:4], page_table=paged[4], on=context), expected)
                    context.synchronize()

    def close(self, found, expected):
        found, expected = found.cpu().double().numpy(), expected.astype(np.float64)
        self.assertTrue(np.allclose(found, expected, atol=3e-3), np.abs(found - expected).max())

    def test_lse_of_dense_calls(self):
        for _ in self.on_every_device():
            arrays = support.random_inputs()
            expected, expected_lse = support.reference(*arrays, causal="bottom_right")
            output, lse = on_torch.attention(*self.tensors(*arrays), causal="bottom_right", return_lse=True)
            self.close(output, expected)
            self.close(lse, expected_lse)
            self.refused(UnsupportedError, "output_layout", "return_lse",
                         lambda: on_torch.attention(*self.tensors(*arrays), output_layout="bhsd", return_lse=True))

    def test_nothing_is_lost_in_silence(self):
        for device in self.on_every_device():
            ragged = Ragged(queries=(2, 2, 2, 2))
            query, key, value, used = self.tensors(*(ragged.in_entries(rows, 45) for rows in (ragged.query, ragged.key, ragged.value)),
                                                   np.array(KEYS, np.int32))
            attend = lambda *given, **options: on_torch.attention_with_kv_cache(*given, used, **options)
            self.refused(UnsupportedError, "key", "no backward", lambda: attend(query, key.clone().requires_grad_(), value))
            self.refused(UnsupportedError, "query", "a tangent", lambda: torch.func.jvp(lambda q: attend(q, key, value), (query,), (query,)))
            self.refused(InvalidArgumentError, "key", "sparse", lambda: attend(query, key.to_sparse(), value))
            with self.assertRaisesRegex(TypeError, "key is a ndarray; allowed: a PyTorch tensor"):
                attend(query, key.cpu().numpy(), value)
            with torch.autocast(device, dtype=torch.bfloat16):
                self.assertEqual(attend(query.float(), key.float(), value.float()).dtype, torch.bfloat16)
            if device == "cuda":
                self.refused(InvalidArgumentError, "seqused_kv", "seqused_kv is on cpu; allowed: the context's device, cuda:0",
                             lambda: on_torch.attention_with_kv_cache(query, key, value, used.cpu()))

    def without_holes(self, ragged):
        """query, caches and lengths, with 0 where no sequence is."""
        return self.tensors(*(np.nan_to_num(ragged.in_entries(rows, 45)) for rows in (ragged.query, ragged.key, ragged.value)),
                            np.array(KEYS, np.int32))

    def test_what_pytorch_sees(self):
        """Compiled without a graph break, by modes, by vmap, by tensors without memory: the operator."""
        from torch.utils._python_dispatch import TorchDispatchMode
        seen = []

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                seen.append(str(function))
                return function(*args, **(kwargs or {}))
        for device in self.on_every_device():
            query, key, value, used = self.without_holes(Ragged(queries=(2, 2, 2, 2)))
            slopes = torch.rand(HEADS_Q).to(device)

            def block(query, key, value, used):
                output, lse = on_torch.attention_with_kv_cache(query * 2, key, value, used, causal="bottom_right", alibi_slopes=slopes,
                                                               return_lse=True)
                bounds = torch.arange(5, dtype=torch.int32, device=device) * 45
                rows = on_torch.varlen_attention(output.flatten(0, 1), key, value, bounds, None, 45, 45, seqused_kv=used)
                return rows.sin(), lse.clamp(min=-9)
            expected = block(query, key, value, used)
            for dynamic in (False, True):
                torch._dynamo.reset()
                found = torch.compile(block, fullgraph=True, dynamic=dynamic, backend="aot_eager")(query, key, value, used)
                self.assertTrue(all(torch.equal(one, other) for one, other in zip(found, expected)))
            with Watch():
                block(query, key, value, used)
            self.assertEqual(seen.count("flashcore.attention_with_features_fwd.default"), 2)
            seen.clear()
            both = torch.stack((query, query * 3))
            attend = lambda query: on_torch.attention_with_kv_cache(query, key, value, used)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.assertTrue(torch.equal(torch.vmap(attend)(both), torch.stack([attend(one) for one in both])))
            if hasattr(torch.library, "opcheck"):
                arrays = tuple(used if name == "seqused_kv" else None for name in on_torch.features.NAMES[3:])
                options = (*arrays, "none", None, 0.0, None, None, 0, None, None, "bshd", True, "")
                torch.library.opcheck(torch.ops.flashcore.attention_with_features_fwd.default, (query, key, value, *options),
                                      test_utils=("test_schema", "test_faketensor"))

    def test_calls_are_prepared(self):
        """Calls in turns that differ in one property: each gives what a fresh context gives; lengths count by their memory alone."""
        for device in self.on_every_device():
            query, key, value, used = self.without_holes(Ragged(queries=(2, 2, 2, 2)))
            sinks = torch.randn(HEADS_Q).to(device)
            fewer = torch.clamp(used, max=9)
            variants = [(used, {}), (fewer, {}), (used.long(), {}), (None, {}), (used, {"causal": "bottom_right"}), (used, {"sinks": sinks}),
                        (used, {"sinks": -sinks}), (used, {"chunk": 3}), (used, {"return_lse": True}), (used, {"max_seqlen_kv": 5}),
                        (used, {"window": (3, None)})]
            fresh = []
            for lengths, options in variants:
                with flashcore.Context(device) as context:
                    fresh.append(context.attention_with_kv_cache(query, key, value, lengths, **options))
                    context.synchronize()
            with flashcore.Context(device) as context:
                for _ in range(3):
                    for (lengths, options), expected in zip(variants, fresh):
                        found = context.attention_with_kv_cache(query, key, value, lengths, **options)
                        both = zip(found, expected) if "return_lse" in options else [(found, expected)]
                        self.assertTrue(all(torch.equal(one, other) for one, other in both))
                self.assertEqual(len(context.feature_calls), len(variants) - 2)  # other lengths and sinks are no calls of their own
                context.synchronize()
            self.refused(flashcore.ClosedError, "context", "closed", lambda: context.attention_with_kv_cache(query, key, value, used))

    @unittest.skipIf(support.TORCH_DEVICES == ["cpu"], "no GPU")
    def test_a_graph_takes_other_lengths(self):
        """The host never reads lengths: what was captured works with those of its replay."""
        self.device = "cuda"
        ragged = Ragged(queries=(1, 1, 1, 1), keys=(40, 40, 40, 40))
        pages, table = ragged.in_pages(ragged.key, 16, 3, [0] * 4)
        query, pages, table, used = self.tensors(ragged.in_entries(ragged.query, 1), np.nan_to_num(pages), table, np.array(KEYS, np.int32))
        attend = lambda: on_torch.attention_with_kv_cache(query, pages, pages, used, page_table=table)
        attend()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = attend()
        for lengths in (KEYS, (40, 1, 0, 17)):
            used.copy_(torch.tensor(lengths))
            graph.replay()
            self.assertTrue(torch.equal(captured, attend()))


if __name__ == "__main__":
    support.main()
