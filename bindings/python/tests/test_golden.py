# SPDX-License-Identifier: Apache-2.0
"""The golden vectors (tests/golden) on the CPU device through NumPy arrays, and, where there is a GPU, on it."""
import json
import os

import support
from support import np

import flashcore


def cases():
    with open(os.path.join(support.GOLDEN, "cases.json"), encoding="utf-8") as file:
        return json.load(file)


def features(case):
    """Fields of what a build may refuse, and then must."""
    left, right = case["window"]
    named = {"softcap": case["softcap"], "window_left": left >= 0, "window_right": right >= 0, "attention_chunk": case["chunk"],
             "alibi_slopes": case["alibi"], "sinks": case["sink"], "bias": case["bias"], "mask": case["mask"]}
    return [field for field, is_used in named.items() if is_used]


def load(case, name):
    bits = "_bf16bits" if case["dtype"] == "bfloat16" and name in "qkv" else ""
    return np.load(os.path.join(support.GOLDEN, case["name"], f"{name}{bits}.npy"))


@support.needs_numpy
class TestGolden(support.ContextTest):
    def check(self, case, output, lse):
        expected, expected_lse = load(case, "o"), load(case, "lse")
        eps = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[case["dtype"]]
        # One rounding of the probabilities and one of the output, each relative to the largest value that takes part.
        values = load(case, "v")
        largest = np.abs(support.bfloat16_values(values) if case["dtype"] == "bfloat16" else values.astype(np.float32)).max()
        self.assertLess(np.abs(output - expected).max(), 3 * eps * largest)
        finite = np.isfinite(expected_lse)
        self.assertTrue(np.array_equal(finite, np.isfinite(lse)))
        self.assertTrue(np.allclose(lse[finite], expected_lse[finite], rtol=1e-5, atol=2e-5))

    def compute_and_check(self, context, case):
        try:
            output, lse = self.compute(context, case)
        except flashcore.UnsupportedError as refusal:
            self.assertIn(refusal.field, features(case))
        else:
            self.check(case, output, lse)

    def compute(self, context, case):
        arrays = [load(case, name) for name in "qkv"]
        window = tuple(side if side >= 0 else None for side in case["window"])
        options = dict(causal=case["causal"], scale=case["scale"], softcap=case["softcap"], window=window, chunk=case["chunk"],
                       return_lse=True)
        by_head = {option: load(case, name) for option, name in (("alibi_slopes", "alibi"), ("sinks", "sink"), ("bias", "bias"), ("mask", "mask"))
                   if case[name]}
        if context.device == "cuda":
            options.update({option: context.to_device(array) for option, array in by_head.items()})
            arrays = [context.to_device(array, dtype=case["dtype"]) for array in arrays]
            output, lse = (array.to_numpy() for array in context.attention(*arrays, **options))
        else:
            output, lse = context.attention(*arrays, dtype=case["dtype"], **options, **by_head)
        return (support.bfloat16_values(output) if case["dtype"] == "bfloat16" else output.astype(np.float32)), lse

    def on_gpu(self, case):
        if not flashcore.device_count():
            self.skipTest("no GPU")
        with flashcore.Context("cuda") as context:
            if not context.explain(*(context.to_device(load(case, name), dtype=case["dtype"]) for name in "qkv"),
                                   causal=case["causal"]).supported:
                self.skipTest(f"no kernel for head_dim {case['d']}")
            self.compute_and_check(context, case)


def add_tests():
    known = cases()
    assert sum(not features(case) for case in known) > 15, len(known)
    for case in known:
        setattr(TestGolden, f"test_{case['name']}", lambda self, case=case: self.compute_and_check(self.context, case))
        setattr(TestGolden, f"test_{case['name']}_on_gpu", lambda self, case=case: self.on_gpu(case))


add_tests()

if __name__ == "__main__":
    support.main()
