# SPDX-License-Identifier: Apache-2.0
"""States merged on the CPU device, and on a GPU where there is one: the shards of a sequence against the whole, types, layouts, results in
place of state 0, and what is refused."""
import support
from support import np

import flashcore


def merged(outputs, lses):
    """In float64."""
    lses = np.asarray(lses, np.float64)
    largest = lses.max(0)
    weights = np.exp(lses - largest)
    total = weights.sum(0)
    weights = np.moveaxis(weights / total, -2, -1)[..., None]  # [states, batch, seqlen, heads, 1]
    return (weights * np.asarray(outputs, np.float64)).sum(0), np.log(total) + largest


def states(dtype="float16", count=3, seed=3):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 2, 5, 4, 24)).astype(dtype), 3 * generator.standard_normal((count, 2, 4, 5)).astype("float32")


@support.needs_numpy
class TestMergeStates(support.ContextTest):
    def test_shards_of_keys(self):
        query, key, value = support.random_inputs(seqlen_kv=40)
        whole, whole_lse = self.context.attention(query, key, value, return_lse=True)
        parts = [self.context.attention(query, key[:, begin:end], value[:, begin:end], return_lse=True)
                 for begin, end in ((0, 7), (7, 7), (7, 30), (30, 40))]
        output, lse = self.context.merge_states(np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts]))
        self.assertEqual((output.dtype, output.shape, lse.dtype), (np.float16, whole.shape, np.float32))
        self.assertLess(np.abs(output.astype(np.float32) - whole.astype(np.float32)).max(), 4e-3)
        self.assertLess(np.abs(lse - whole_lse).max(), 1e-5)

    def test_types(self):
        for dtype, tolerance in (("float16", 2e-3), ("float32", 1e-6)):
            outputs, lses = states(dtype)
            expected, expected_lse = merged(outputs, lses)
            for out_dtype in ("float16", "float32", None):
                output, lse = self.context.merge_states(outputs, lses, out_dtype=out_dtype)
                self.assertEqual(output.dtype, np.dtype(out_dtype or dtype))
                self.assertLess(np.abs(output - expected).max(), 2e-3 if output.dtype == np.float16 else tolerance)
                self.assertLess(np.abs(lse - expected_lse).max(), 1e-5)
        outputs, lses = states("float32")
        bits = support.bfloat16_bits(outputs)
        expected, _ = merged(support.bfloat16_values(bits), lses)
        output, _ = self.context.merge_states(bits, lses, dtype="bfloat16")
        self.assertEqual(output.dtype, np.uint16)
        self.assertLess(np.abs(support.bfloat16_values(output) - expected).max(), 2e-2)
        self.refused(flashcore.InvalidArgumentError, "out", "pass one",
                     lambda: self.context.merge_states(outputs, lses, out_dtype="bfloat16"))
        given = np.zeros(outputs.shape[1:], np.uint16)
        output, _ = self.context.merge_states(outputs, lses, out=given, out_dtype="bfloat16")
        self.assertIs(output, given)
        self.assertLess(np.abs(support.bfloat16_values(given) - merged(outputs, lses)[0]).max(), 2e-2)

    def test_layout_and_base(self):
        outputs, lses = states("float32")
        expected, expected_lse = merged(outputs, lses)
        output, lse = self.context.merge_states(outputs.swapaxes(2, 3), lses / np.float32(np.log(2)), layout="bhsd", lse_base="base2")
        self.assertLess(np.abs(output.swapaxes(1, 2) - expected).max(), 1e-6)
        self.assertLess(np.abs(lse * np.log(2) - expected_lse).max(), 1e-5)

    def test_in_place_of_state_0(self):
        outputs, lses = states("float32")
        expected, expected_lse = merged(outputs, lses)
        output, lse = self.context.merge_states(outputs, lses, out=outputs[0], lse=lses[0])
        self.assertLess(np.abs(outputs[0] - expected).max(), 1e-6)
        self.assertLess(np.abs(lses[0] - expected_lse).max(), 1e-5)
        self.assertTrue(np.shares_memory(output, outputs) and np.shares_memory(lse, lses))
        self.refused(flashcore.InvalidArgumentError, "output.data", "state 0 itself",
                     lambda: self.context.merge_states(outputs, lses, out=outputs[1]))

    def test_states_that_saw_nothing(self):
        outputs, lses = states("float32")
        expected, _ = merged(outputs[:1], lses[:1])
        outputs[1:], lses[1:] = np.nan, -np.inf
        output, lse = self.context.merge_states(outputs, lses)
        self.assertTrue(np.array_equal(output, expected.astype(np.float32)) and np.array_equal(lse, lses[0]))

    def test_refused(self):
        outputs, lses = states()
        merge, invalid = self.context.merge_states, flashcore.InvalidArgumentError
        self.refused(invalid, "output_states", "5, states and", lambda: merge(outputs[0], lses[0]))
        self.refused(invalid, "lse_states", "[states, batch, heads, seqlen]", lambda: merge(outputs, lses[1:]))
        self.refused(invalid, "lse_states.dtype", "float32", lambda: merge(outputs, lses.astype("float64")))
        self.refused(flashcore.UnsupportedError, "output_states.dtype", "float16, bfloat16, float32", lambda: merge(outputs.astype("int32"), lses))
        self.refused(invalid, "out_dtype", "'float16', 'bfloat16', 'float32'", lambda: merge(outputs, lses, out_dtype="float64"))
        self.refused(invalid, "output.dtype", "allowed: float16", lambda: merge(outputs, lses, out=np.zeros(outputs.shape[1:], "float32")))
        self.refused(invalid, "output", "that of a state", lambda: merge(outputs, lses, out=np.zeros((2, 5, 4, 23), "float16")))
        self.refused(invalid, "state_count", "1 to", lambda: merge(outputs[:0], lses[:0]))
        self.refused(invalid, "output_states.stride[3]", "Make it contiguous", lambda: merge(outputs[..., ::2], lses))
        self.refused(invalid, "output_state_stride", "1 or more", lambda: merge(outputs[::-1], lses))
        self.refused(invalid, "lse_base", "'base2'", lambda: merge(outputs, lses, lse_base="10"))

    def test_on_gpu(self):
        if not flashcore.device_count():
            self.skipTest("no GPU")
        outputs, lses = states()
        expected, expected_lse = merged(outputs, lses)
        with flashcore.Context("cuda") as context:
            output, lse = context.merge_states(context.to_device(outputs), context.to_device(lses), out_dtype="float32")
            self.assertLess(np.abs(output.to_numpy() - expected).max(), 1e-5)
            self.assertLess(np.abs(lse.to_numpy() - expected_lse).max(), 1e-5)


@support.needs_torch
class TestTorch(support.ContextTest):
    def test_merged_tensors(self):
        torch = support.torch
        from flashcore.torch import merge_states
        for device in support.TORCH_DEVICES:
            outputs = torch.randn(3, 2, 5, 4, 24, device=device)
            lses = 3 * torch.randn(3, 2, 4, 5, device=device)
            weights = torch.softmax(lses, 0).swapaxes(-2, -1)[..., None]
            output, lse = merge_states(outputs, lses)
            torch.testing.assert_close(output, (weights * outputs).sum(0), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(lse, torch.logsumexp(lses, 0), rtol=1e-5, atol=1e-5)
            half, _ = merge_states(outputs, lses, out_dtype=torch.bfloat16)
            self.assertIs(half.dtype, torch.bfloat16)
            given = torch.empty_like(outputs[0])
            self.assertIs(merge_states(outputs, lses, out=given)[0], given)
            self.refused(flashcore.UnsupportedError, "output_states", "requires gradients",
                         lambda: merge_states(outputs.clone().requires_grad_(), lses))


if __name__ == "__main__":
    support.main()
