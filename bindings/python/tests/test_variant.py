# SPDX-License-Identifier: Apache-2.0
"""Variants: what a text makes of scores is held to float64, and what cannot be is refused by name."""
import unittest

import support
from support import flashcore, needs_numpy, needs_torch, np, torch

WINDOW = flashcore.Variant("bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const int32_t *params) {\n"
                           "  return key > query - params[head] && key <= query;\n}\n")
TEMPERATURE = flashcore.Variant("float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {\n"
                                "  return score * params[head];\n}\n")


def needs_compiler(test):
    """The CPU device compiles texts where the machine has a compiler."""
    def run(self):
        try:
            test(self)
        except flashcore.UnsupportedError as error:
            if "C++ compiler" not in str(error):
                raise
            self.skipTest(str(error))
    return run


def expected(query, key, value, change):
    """change(scores [batch, heads, i, j]) in float64; keys with a score of -infinity are hidden."""
    query, key, value = (np.asarray(array, np.float64) for array in (query, key, value))
    groups = query.shape[2] // key.shape[2]
    key, value = np.repeat(key, groups, 2), np.repeat(value, groups, 2)
    scores = change(np.einsum("bihd,bjhd->bhij", query, key) * query.shape[3] ** -0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhij,bjhd->bihd", weights / weights.sum(-1, keepdims=True), value)


@needs_numpy
class Variants(unittest.TestCase):
    def setUp(self):
        self.context = flashcore.Context("cpu")
        self.addCleanup(self.context.close)
        self.inputs = support.random_inputs(seqlen_q=20, seqlen_kv=20)

    @needs_compiler
    def test_a_text_hides_keys_and_changes_scores(self):
        widths, factors = np.array([1, 2, 5, 20], np.int32), np.array([0.5, 1, 2, 3], np.float32)
        i, j = np.arange(20)[:, None], np.arange(20)
        seen = (j > i - widths[:, None, None]) & (j <= i)
        for variant, params, change in ((WINDOW, widths, lambda scores: np.where(seen, scores, -np.inf)),
                                        (TEMPERATURE, factors, lambda scores: scores * factors[:, None, None])):
            output = self.context.attention(*self.inputs, variant=variant, variant_params=params)
            np.testing.assert_allclose(output.astype(np.float64), expected(*self.inputs, change), atol=3e-3)

    @needs_compiler
    def test_prepare_and_explain_take_it(self):
        params = np.ones(4, np.float32)
        self.context.prepare(*self.inputs, variant=TEMPERATURE, variant_params=params)
        self.assertTrue(self.context.explain(*self.inputs, variant=TEMPERATURE, variant_params=params).supported)

    @needs_compiler
    def test_a_compiler_names_the_line(self):
        wrong = flashcore.Variant("\nfloat score(float s, int32_t b, int32_t h, int32_t q, int32_t k, const void *p) {\n  return t;\n}\n")
        with self.assertRaises(flashcore.CompileFailedError) as raised:
            self.context.attention(*self.inputs, variant=wrong)
        self.assertEqual(raised.exception.field, "variant")
        self.assertIn("variant:3:", raised.exception.message)

    def refuse(self, kind, field, words, **options):
        with self.assertRaises(kind) as raised:
            self.context.attention(*self.inputs, **options)
        self.assertEqual(raised.exception.field, field)
        self.assertIn(words, raised.exception.message)

    def test_what_cannot_be_is_refused(self):
        refused = flashcore.InvalidArgumentError
        self.refuse(refused, "text", "line 2", variant=flashcore.Variant("bool visible() {\n]"))
        self.refuse(refused, "variant_params", "without a variant", variant_params=np.ones(2, np.float32))
        self.refuse(refused, "variant_params", "4 bytes", variant=WINDOW, variant_params=np.ones(1, np.int32))
        self.refuse(refused, "variant_params", "contiguous", variant=WINDOW, variant_params=np.ones(8, np.int32)[::2])
        for wrong in (lambda: flashcore.Variant(b"x"), lambda: self.context.attention(*self.inputs, variant="float score")):
            with self.assertRaises(TypeError):
                wrong()
        with self.assertRaises(refused):
            flashcore.Variant("")


@needs_torch
class TorchVariants(unittest.TestCase):
    @needs_compiler
    def test_tensors_on_each_device(self):
        import flashcore.torch
        for device in support.TORCH_DEVICES:
            query, key, value = (torch.from_numpy(array).to(device) for array in support.random_inputs(seqlen_q=20, seqlen_kv=20))
            factors = torch.tensor([0.5, 1, 2, 3], device=device)
            output = flashcore.torch.attention(query, key, value, variant=TEMPERATURE, variant_params=factors)
            right = expected(*(array.cpu().numpy() for array in (query, key, value)),
                             lambda scores: scores * factors.cpu().numpy()[:, None, None])
            np.testing.assert_allclose(output.cpu().numpy().astype(np.float64), right, atol=3e-3)


if __name__ == "__main__":
    unittest.main()
