# SPDX-License-Identifier: Apache-2.0
"""New rows of a cache and rotary embedding through Context.attention: the cache bit by bit, the output against a call that finds all of it
done; NumPy and PyTorch; and what is refused, by name."""
import numbers
import unittest

import support
from support import np, torch

import flashcore
from flashcore import Append, InvalidArgumentError, Sequences, UnsupportedError

if torch is not None:
    import flashcore.torch as on_torch

BATCH, ROOM, NEW, HEADS_Q, HEADS_KV, HEAD_DIM = 3, 24, 4, 4, 2, 32
USED = (0, 9, 20)


def rotated(rows, cos, sin, first, by_row, interleaved):
    """rows [rows, heads, head_dim], by float32."""
    made, dim = rows.astype(np.float32), 2 * cos.shape[1]
    pairs = (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (slice(0, dim // 2), slice(dim // 2, dim))
    x, y = (made[..., of].copy() for of in pairs)
    at = np.clip(first + (np.arange(len(rows)) if by_row else np.zeros(len(rows), int)), 0, len(cos) - 1)
    c, s = (table[at][:, None].astype(np.float32) for table in (cos, sin))
    made[..., pairs[0]], made[..., pairs[1]] = x * c - y * s, y * c + x * s
    return made.astype(np.float16)


class Cached:
    """Inputs, and by what the call comes to: the cache after it, and queries that are rotated already."""

    def __init__(self, causal, rotary_dim, interleaved, positions=None, queries=3, seed=1):
        generator = np.random.default_rng(seed)
        normal = lambda *shape: generator.standard_normal(shape).astype(np.float16)
        self.query, self.new_key, self.new_value = normal(BATCH, queries, HEADS_Q, HEAD_DIM), normal(BATCH, NEW, HEADS_KV, HEAD_DIM), normal(BATCH, NEW, HEADS_KV, HEAD_DIM)
        self.key, self.value = normal(BATCH, ROOM, HEADS_KV, HEAD_DIM), normal(BATCH, ROOM, HEADS_KV, HEAD_DIM)
        self.used = np.array(USED, np.int32)
        for b, used in enumerate(USED):
            self.key[b, used:], self.value[b, used:] = np.nan, np.nan
        self.causal, self.interleaved, self.positions = causal, interleaved, positions
        self.cos = generator.uniform(-1, 1, (30, rotary_dim // 2)).astype(np.float16) if rotary_dim else None
        self.sin = generator.uniform(-1, 1, (30, rotary_dim // 2)).astype(np.float16) if rotary_dim else None

    def options(self):
        given = {} if self.positions is None else {"rotary_positions": self.positions}
        if self.cos is not None:
            given.update(rotary_cos=self.cos, rotary_sin=self.sin, rotary_interleaved=self.interleaved)
        return {"new_key": self.new_key, "new_value": self.new_value, "causal": self.causal, **given}

    def expected(self, context, lengths=USED):
        """(output, lse, key cache, value cache)"""
        query, new_key, key, value = self.query.copy(), self.new_key.copy(), self.key.copy(), self.value.copy()
        for b, used in enumerate(lengths):
            if self.cos is not None:
                first = used if self.positions is None else int(self.positions[b])
                new_key[b] = rotated(new_key[b], self.cos, self.sin, first, True, self.interleaved)
                query[b] = rotated(query[b], self.cos, self.sin, first, self.causal != "none", self.interleaved)
            key[b, used:used + NEW], value[b, used:used + NEW] = new_key[b], self.new_value[b]
        output, lse = context.attention(query, key, value, causal=self.causal, return_lse=True,
                                        sequences=Sequences(seqused_kv=self.used + np.int32(NEW)))
        return output, lse, key, value


CASES = [("none", 0, False), ("bottom_right", 0, False), ("none", 32, False), ("bottom_right", 16, True), ("top_left", 20, False),
         ("none", 20, True), ("bottom_right", 32, True)]


@support.needs_numpy
class TestAppend(support.ContextTest):
    def same(self, found, expected):
        self.assertTrue(np.array_equal(np.asarray(found), expected, equal_nan=True))

    def test_arrays(self):
        for number, (causal, rotary_dim, interleaved) in enumerate(CASES):
            for positions in (None, np.array([3, -2, 40], np.int32)) if rotary_dim else (None,):
                case = Cached(causal, rotary_dim, interleaved, positions, seed=number)
                expected = case.expected(self.context)
                output, lse = self.context.attention_with_kv_cache(case.query, case.key, case.value, case.used, return_lse=True, **case.options())
                for found, wanted in zip((output, lse, case.key, case.value), expected):
                    self.same(found, wanted)
                self.same(case.used, USED)

    def test_one_length_for_all_and_no_arrays(self):
        case = Cached("bottom_right", 32, False)
        key, value = (np.ascontiguousarray(cache[:, :13]) for cache in (case.key, case.value))
        key[:, :9] = value[:, :9] = 1
        wanted = key.copy()
        for b in range(BATCH):
            wanted[b, 9:] = rotated(case.new_key[b], case.cos, case.sin, 9, True, False)
        append = Append(case.new_key, case.new_value, case.cos, case.sin)
        self.context.attention(case.query, key, value, append=append)
        self.same(key, wanted)
        self.same(value[:, 9:], case.new_value)

    def test_layouts_and_pages(self):
        case = Cached("bottom_right", 16, False)
        expected = case.expected(self.context)
        turned = lambda array: np.ascontiguousarray(array.swapaxes(1, 2))
        key, value, options = turned(case.key), turned(case.value), case.options()
        options.update(new_key=turned(case.new_key), new_value=turned(case.new_value))
        output = self.context.attention_with_kv_cache(turned(case.query), key, value, case.used, layout="bhsd", **options)
        self.same(turned(output), expected[0])
        self.same(turned(key), expected[2])
        pages = lambda cache: cache.reshape(BATCH * ROOM // 8, 8, HEADS_KV, HEAD_DIM)[::-1].copy()
        table = (BATCH * ROOM // 8 - 1 - np.arange(BATCH * ROOM // 8)).reshape(BATCH, ROOM // 8).astype(np.int32)
        key, value = pages(case.key), pages(case.value)
        output = self.context.attention_with_kv_cache(case.query, key, value, case.used, page_table=table, **case.options())
        self.same(output, expected[0])
        self.same(key, pages(expected[2]))

    def test_preparing_and_explaining_write_nothing(self):
        case = Cached("none", 32, False)
        append = Append(case.new_key, case.new_value, case.cos, case.sin)
        before = case.key.copy()
        self.context.prepare(case.query, case.key, case.value, sequences=Sequences(seqused_kv=case.used), append=append)
        self.assertTrue(self.context.explain(case.query, case.key, case.value, append=append).supported)
        self.same(case.key, before)

    def test_refusals(self):
        case = Cached("none", 32, False)
        new, tables = (case.new_key, case.new_value), (case.cos, case.sin)
        attend = lambda append, key=case.key: self.context.attention(case.query, key, case.value, append=append)
        fixed = case.key.copy()
        fixed.flags.writeable = False
        for field, words, call in (
                ("append", "flashcore.Append", lambda: attend(new)),
                ("new_value", "both new_key and new_value", lambda: attend(Append(new[0]))),
                ("new_key", "both new_key and new_value", lambda: attend(Append(new_value=new[1]))),
                ("rotary_sin", "both rotary_cos and rotary_sin", lambda: attend(Append(*new, tables[0]))),
                ("rotary_positions", "without rotary_cos", lambda: attend(Append(*new, rotary_positions=case.used))),
                ("rotary_interleaved", "without rotary_cos", lambda: attend(Append(*new, rotary_interleaved=True))),
                ("rotary_positions", "no new keys", lambda: attend(Append(None, None, *tables))),
                ("rotary_positions", "float32; allowed: int32, int64", lambda: attend(Append(*new, *tables, case.used.astype(np.float32)))),
                ("rotary_positions", "[2]; allowed: [3]", lambda: attend(Append(*new, *tables, case.used[:2]))),
                ("new_key", "[3, 4, 2, 16]; allowed: [3, 4, 2, 32]", lambda: attend(Append(new[0][..., :16], new[1]))),
                ("new_value", "[3, 3, 2, 32]; allowed: [3, 4, 2, 32]", lambda: attend(Append(new[0], new[1][:, :3]))),
                ("new_key.dtype", "float32; allowed: float16", lambda: attend(Append(new[0].astype(np.float32), new[1]))),
                ("seqlen_new", "25; allowed: 0 to seqlen_kv, 24", lambda: attend(Append(*[np.repeat(one, 7, 1)[:, :25] for one in new]))),
                ("seqlen_new", "0 rows", lambda: attend(Append(*[one[:, :0] for one in new]))),
                ("rotary_cos", "at most 16 columns", lambda: attend(Append(*new, *[np.repeat(table, 2, 1) for table in tables]))),
                ("rotary_sin", "as many in both", lambda: attend(Append(*new, tables[0], tables[1][:20]))),
                ("rotary_cos", "Make it contiguous", lambda: attend(Append(*new, *[table[:, ::2] for table in tables]))),
                ("rotary_cos.dtype", "float32; allowed: float16", lambda: attend(Append(*new, *[table.astype(np.float32) for table in tables]))),
                ("key", "read-only", lambda: attend(Append(*new), fixed))):
            self.refused(InvalidArgumentError, field, words, call)


@support.needs_torch
class TestAppendInTorch(support.ContextTest):
    def test_tensors(self):
        for device in support.TORCH_DEVICES:
            for number, (causal, rotary_dim, interleaved) in enumerate(CASES):
                case = Cached(causal, rotary_dim, interleaved, seed=number)
                expected = case.expected(self.context)
                tensor = lambda array: array if array is None or isinstance(array, (str, bool, numbers.Number)) else torch.tensor(array, device=device)
                options = {name: tensor(array) for name, array in case.options().items()}
                query, used = tensor(case.query), tensor(case.used)
                for _ in range(2):  # anew, and prepared
                    key, value = tensor(case.key), tensor(case.value)
                    versions = key._version, value._version
                    output, lse = on_torch.attention_with_kv_cache(query, key, value, used, return_lse=True, **options)
                    self.assertTrue(key._version > versions[0] and value._version > versions[1])
                    self.assertTrue(np.array_equal(key.cpu().numpy(), expected[2], equal_nan=True))
                    self.assertTrue(np.array_equal(value.cpu().numpy(), expected[3], equal_nan=True))
                    self.assertLess(np.abs(output.cpu().numpy().astype(np.float32) - expected[0].astype(np.float32)).max(), 3e-3)
                    self.assertLess(np.abs(lse.cpu().numpy() - expected[1]).max(), 1e-3)
                    if device == "cpu":
                        self.assertTrue(np.array_equal(output.numpy(), expected[0]))
                self.assertTrue(np.array_equal(query.cpu().numpy(), case.query))

    def test_a_context_of_ones_own(self):
        case = Cached("none", 16, True)
        expected = case.expected(self.context)
        key, value = torch.tensor(case.key), torch.tensor(case.value)
        options = {name: torch.tensor(array) if isinstance(array, np.ndarray) else array for name, array in case.options().items()}
        output = self.context.attention_with_kv_cache(torch.tensor(case.query), key, value, torch.tensor(case.used), **options)
        self.assertTrue(np.array_equal(output.numpy(), expected[0]) and np.array_equal(key.numpy(), expected[2], equal_nan=True))

    def test_compiled(self):
        case = Cached("bottom_right", 16, False)
        expected = case.expected(self.context)
        key, value = torch.tensor(case.key), torch.tensor(case.value)
        options = {name: torch.tensor(array) if isinstance(array, np.ndarray) else array for name, array in case.options().items()}
        used = torch.tensor(case.used)
        compiled = torch.compile(lambda query: on_torch.attention_with_kv_cache(query + 0, key, value, used, **options) + 0, backend="eager")
        self.assertTrue(np.array_equal(compiled(torch.tensor(case.query)).numpy(), expected[0]))
        self.assertTrue(np.array_equal(key.numpy(), expected[2], equal_nan=True))

    @unittest.skipUnless(torch is not None and torch.cuda.is_available(), "no GPU")
    def test_a_graph_appends_again(self):
        """What was captured writes the rows of its replay behind the lengths of its replay."""
        first, second = (Cached("bottom_right", 16, True, queries=1, seed=seed) for seed in (1, 2))
        on = lambda array: torch.tensor(array, device="cuda")
        query, key, value, used, new_key, new_value, cos, sin = (on(array) for array in (
            first.query, first.key, first.value, first.used, first.new_key, first.new_value, first.cos, first.sin))
        attend = lambda: on_torch.attention_with_kv_cache(query, key, value, used, new_key=new_key, new_value=new_value, rotary_cos=cos, rotary_sin=sin,
                                                          rotary_interleaved=True, causal="bottom_right")
        attend()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = attend()
        for case, lengths in ((first, USED), (second, (20, 3, 0))):
            case.used = np.array(lengths, np.int32)
            case.key[:], case.value[:] = 0.5, 0.25
            for tensor, array in ((query, case.query), (key, case.key), (value, case.value), (used, case.used), (new_key, case.new_key),
                                  (new_value, case.new_value), (cos, case.cos), (sin, case.sin)):
                tensor.copy_(on(array))
            expected = case.expected(self.context, lengths)
            graph.replay()
            torch.cuda.synchronize()
            self.assertTrue(np.array_equal(key.cpu().numpy(), expected[2]) and np.array_equal(value.cpu().numpy(), expected[3]))
            self.assertLess(np.abs(output.cpu().numpy().astype(np.float32) - expected[0].astype(np.float32)).max(), 3e-3)

    def test_refusals(self):
        case = Cached("none", 0, False)
        query, key, value, new = (torch.tensor(array) for array in (case.query, case.key, case.value, case.new_key))
        attend = lambda query, key, append: on_torch.attention(query, key, value, append=append)
        self.refused(UnsupportedError, "query", "no backward", lambda: attend(query.clone().requires_grad_(), key, Append(new, new)))
        self.refused(UnsupportedError, "new_key", "no backward", lambda: attend(query, key, Append(new.clone().requires_grad_(), new)))
        self.refused(InvalidArgumentError, "append", "flashcore.Append", lambda: attend(query, key, (new, new)))
        with self.assertRaisesRegex(TypeError, "new_key is a ndarray; allowed: a PyTorch tensor"):
            attend(query, key, Append(case.new_key, new))
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
            self.refused(UnsupportedError, "append", "is not seen by PyTorch", lambda: attend(query, key, Append(new, new)))


if __name__ == "__main__":
    support.main()
