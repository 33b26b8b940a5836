# SPDX-License-Identifier: Apache-2.0
"""flashcore.Execution: float32 output, pieces of keys, batch invariance, limits, and shards that merge to the whole."""
import unittest

import support
from support import np

import flashcore
from flashcore import Execution, InvalidArgumentError

QUERIES, KEYS, HEADS, HEAD_DIM = 6, 150, 4, 64


@unittest.skipIf(np is None, "needs NumPy")
class ExecutionTest(unittest.TestCase):
    def setUp(self):
        self.context = flashcore.Context("cpu")
        self.addCleanup(self.context.close)
        generator = np.random.default_rng(3)
        made = lambda rows: generator.standard_normal((1, rows, HEADS, HEAD_DIM)).astype(np.float16)
        self.query, self.key, self.value = made(QUERIES), made(KEYS), made(KEYS)

    def attend(self, keys=slice(None), **options):
        return self.context.attention(self.query, self.key[:, keys], self.value[:, keys], return_lse=True, **options)

    def test_the_output_is_not_rounded(self):
        rounded, _ = self.attend()
        output, _ = self.attend(execution=Execution(out_dtype="float32"))
        self.assertEqual(output.dtype, np.float32)
        self.assertTrue((output.astype(np.float16) == rounded).all())
        self.assertTrue((output != rounded).any())
        given = np.empty_like(output)
        self.context.attention(self.query, self.key, self.value, out=given, execution=Execution(out_dtype="float32"))
        self.assertTrue((given == output).all())

    def test_pieces_and_limits(self):
        expected, lse = self.attend(execution=Execution("float32"))
        for execution in (Execution("float32", split_count=3), Execution("float32", split_tokens=40), Execution("float32", batch_invariant=True),
                          Execution("float32", multiprocessor_limit=1)):
            output, merged = self.attend(execution=execution)
            np.testing.assert_allclose(output, expected, atol=2e-3)
            np.testing.assert_allclose(merged, lse, atol=1e-5)
            self.context.prepare(self.query, self.key, self.value, execution=execution)
            self.assertTrue(self.context.explain(self.query, self.key, self.value, execution=execution).supported)

    def test_shards_merge_to_the_whole(self):
        expected, lse = self.attend(causal="bottom_right", window=(90, None), execution=Execution("float32"))
        states = [self.attend(slice(first, end), causal="bottom_right", window=(90, None),
                              execution=Execution("float32", positions=(KEYS - QUERIES, first)))
                  for first, end in ((100, 150), (0, 40), (40, 40), (40, 100))]
        output, merged = self.context.merge_states(np.stack([one for one, _ in states]), np.stack([one for _, one in states]))
        np.testing.assert_allclose(output, expected, atol=2e-3)
        np.testing.assert_allclose(merged, lse, atol=1e-5)

    def test_bad_input_is_refused_by_name(self):
        for field, execution in (("output.dtype", Execution(out_dtype="float16")), ("split_count", Execution(split_count=-1)),
                                 ("split_count", Execution(split_count=2**31)), ("split_tokens", Execution(split_tokens=1.5)),
                                 ("multiprocessor_limit", Execution(multiprocessor_limit=-2)), ("query_position", Execution(positions=3)),
                                 ("key_position", Execution(positions=(0, -1))), ("execution", {"split_count": 2})):
            with self.subTest(field=field), self.assertRaises(InvalidArgumentError) as caught:
                self.attend(execution=execution)
            self.assertEqual(caught.exception.field, field)
        with self.assertRaises(InvalidArgumentError) as caught:
            self.context.attention(self.query, self.key, self.value, out=np.empty((1, QUERIES, HEADS, HEAD_DIM), np.float32))
        self.assertEqual(caught.exception.field, "output.dtype")


if __name__ == "__main__":
    support.main()
