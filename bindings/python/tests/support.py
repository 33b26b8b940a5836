# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python binding share. FLASHCORE_LIBRARY names the library under test. Run one file, or all:

    python3 bindings/python/tests/run.py [unittest's options]
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
ROOT = os.path.dirname(os.path.dirname(PACKAGE))
GOLDEN = os.path.join(ROOT, "tests", "golden", "vectors")
sys.path.insert(0, PACKAGE)

try:
    import numpy as np
except ImportError:
    np = None
try:
    import torch
except ImportError:
    torch = None

import flashcore

needs_numpy = unittest.skipIf(np is None, "NumPy is not installed")
needs_torch = unittest.skipIf(torch is None, "PyTorch is not installed")
TORCH_DEVICES = ["cpu"] + (["cuda"] if torch is not None and torch.cuda.is_available() else [])


def reference(query, key, value, causal="none", scale=None):
    """(output, lse) in float64, from [batch, seqlen, heads, head_dim] arrays of any float type."""
    query, key, value = (np.asarray(array, np.float64) for array in (query, key, value))
    groups = query.shape[2] // key.shape[2]
    key, value = np.repeat(key, groups, 2), np.repeat(value, groups, 2)
    scores = np.einsum("bihd,bjhd->bhij", query, key) * (query.shape[3] ** -0.5 if scale is None else scale)
    i, j = np.arange(query.shape[1])[:, None], np.arange(key.shape[1])
    offset = {"none": key.shape[1], "top_left": 0, "bottom_right": key.shape[1] - query.shape[1]}[causal]
    scores = np.where(j <= i + offset, scores, -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.maximum(scores.max(-1, initial=-np.inf, keepdims=True), -1e300)
        weights = np.exp(scores - largest)
        total = weights.sum(-1, keepdims=True)
        lse = (np.log(total) + largest)[..., 0]
        weights = np.where(total > 0, weights / total, 0)
    return np.einsum("bhij,bjhd->bihd", weights, value), np.where(total[..., 0] > 0, lse, -np.inf)


def random_inputs(seed=1, batch=2, seqlen_q=5, seqlen_kv=9, heads_q=4, heads_kv=2, head_dim=64, dtype="float16"):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal((batch, seqlen, heads, head_dim)).astype(dtype)
                 for seqlen, heads in ((seqlen_q, heads_q), (seqlen_kv, heads_kv), (seqlen_kv, heads_kv)))


def bfloat16_bits(array):
    """The nearest bfloat16 of float32 values, as uint16."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def bfloat16_values(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class ContextTest(unittest.TestCase):
    """A test with a CPU context."""

    def setUp(self):
        self.context = flashcore.Context("cpu")
        self.addCleanup(self.context.close)

    def refused(self, kind, field, words, call):
        """call() raises exactly this class, for this field, with these words in its message."""
        with self.assertRaises(flashcore.FlashcoreError) as caught:
            call()
        error = caught.exception
        self.assertIs(type(error), kind, error)
        self.assertEqual(error.field, field, error)
        self.assertIn(words, error.message)
        return error


def main():
    unittest.main(verbosity=2)
