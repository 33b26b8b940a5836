# SPDX-License-Identifier: Apache-2.0
"""flashcore.torch on the CPU device and, where there is one, the GPU: against float32, the quick path's reuse, threads, streams,
graphs, modes, gradients, torch.compile."""
import gc
import importlib.util
import threading
import unittest

import support
from support import torch

import flashcore
from flashcore import InvalidArgumentError, UnsupportedError

if torch is not None:
    import flashcore.torch as on_torch
    from flashcore import _torch_fast
    F = torch.nn.functional


def tensors(device, batch=2, heads_q=4, heads_kv=2, seqlen_q=37, seqlen_kv=61, head_dim=64, dtype=None, seed=1):
    """[batch, heads, seqlen, head_dim]"""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, heads, seqlen, head_dim, generator=generator).to(device, dtype or torch.float16)
                 for heads, seqlen in ((heads_q, seqlen_q), (heads_kv, seqlen_kv), (heads_kv, seqlen_kv)))


def expected_of(query, key, value, causal="none", scale=None):
    query, key, value = (tensor.cpu().double() for tensor in (query, key, value))
    i, j = torch.arange(query.shape[2])[:, None], torch.arange(key.shape[2])
    offset = {"none": key.shape[2], "top_left": 0, "bottom_right": key.shape[2] - query.shape[2]}[causal]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=j <= i + offset, scale=scale, enable_gqa=True)


@support.needs_torch
class TestTorch(support.ContextTest):
    portable = False

    def close_to(self, output, expected, dtype=None):
        tolerance = 2e-2 if dtype == (torch and torch.bfloat16) else 3e-3
        self.assertLess((output.cpu().double() - expected).abs().max().item(), tolerance)

    def test_against_float64(self):
        for device in support.TORCH_DEVICES:
            for dtype in (torch.float16, torch.bfloat16):
                for causal in ("none", "top_left", "bottom_right"):
                    query, key, value = tensors(device, dtype=dtype)
                    output = on_torch.attention(query, key, value, causal=causal, layout="bhsd")
                    self.assertEqual((output.shape, output.dtype, output.device, output.is_contiguous()), (query.shape, dtype, query.device, True))
                    self.close_to(output, expected_of(query, key, value, causal), dtype)

    def test_layouts(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            expected = on_torch.attention(query, key, value, layout="bhsd")
            turned = [tensor.transpose(1, 2) for tensor in (query, key, value)]
            self.assertTrue(torch.equal(on_torch.attention(*turned), expected.transpose(1, 2)))
            self.assertTrue(torch.equal(on_torch.attention(*(tensor.contiguous() for tensor in turned)), expected.transpose(1, 2)))
            output = on_torch.attention(query, key, value, layout="bhsd", output_layout="bshd")
            self.assertTrue(output.is_contiguous() and torch.equal(output, expected.transpose(1, 2)))

    def test_as_torch_calls_it(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device, heads_kv=4, seqlen_kv=37)
            for options in ({}, {"is_causal": True}, {"scale": 0.2}):
                output = on_torch.scaled_dot_product_attention(query, key, value, **options)
                self.close_to(output, F.scaled_dot_product_attention(*(t.cpu().double() for t in (query, key, value)), **options))
            few = tensors(device)
            self.close_to(on_torch.scaled_dot_product_attention(*few, enable_gqa=True), expected_of(*few))
            refuse = on_torch.scaled_dot_product_attention
            shown = torch.ones(37, 37, device=device, dtype=torch.bool)
            self.refused(InvalidArgumentError, "is_causal", "with attn_mask", lambda: refuse(query, key, value, shown, is_causal=True))
            self.refused(InvalidArgumentError, "mask", "what broadcasts to", lambda: refuse(query, key, value, shown[:, :5]))
            self.refused(UnsupportedError, "bias.dtype", "float64", lambda: refuse(query, key, value, shown.double()))
            self.refused(UnsupportedError, "dropout_p", "0.5", lambda: refuse(query, key, value, dropout_p=0.5))
            self.refused(InvalidArgumentError, "key", "enable_gqa=True", lambda: refuse(*few))

    def test_masks_and_biases_as_torch_takes_them(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device, heads_kv=4)
            batch, heads, queries, keys = *query.shape[:3], key.shape[2]
            shapes = ((batch, heads, queries, keys), (heads, queries, keys), (queries, keys), (batch, 1, 1, keys), (1, heads, 1, keys),
                      (batch, 1, queries, 1), (queries, 1), (keys,), (1, 1))
            for n, shape in enumerate(shapes):
                generator = torch.Generator().manual_seed(n)
                shown = (torch.rand(*shape, generator=generator) < 0.6).to(device)
                shown[..., 0] = True  # PyTorch gives NaN, and newer ones 0, where a query sees nothing
                added = torch.randn(*shape, generator=generator).to(device)
                hidden = added.masked_fill(~shown, -torch.inf)
                masks = [shown, added, added.half(), added.bfloat16(), hidden]
                if len(shape) > 1:
                    masks.append(added.transpose(-1, -2).contiguous().transpose(-1, -2))
                for mask in masks:
                    double = [tensor.cpu().double() for tensor in (query, key, value)]
                    full = (mask if mask.dtype == torch.bool else mask.double()).cpu().expand(batch, heads, queries, keys)
                    expected = F.scaled_dot_product_attention(*double, attn_mask=full)
                    self.close_to(on_torch.scaled_dot_product_attention(query, key, value, mask), expected)
                    option = {"mask" if mask.dtype == torch.bool else "bias": mask}
                    if mask.numel() > 1:
                        self.close_to(on_torch.attention(query, key, value, layout="bhsd", **option), expected)
            nothing = torch.zeros(queries, keys, dtype=torch.bool, device=device)
            self.assertEqual(on_torch.scaled_dot_product_attention(query, key, value, nothing).count_nonzero().item(), 0)
            value[:, :, 5] = torch.nan
            nothing[:, :5] = True
            self.assertTrue(on_torch.scaled_dot_product_attention(query, key, value, nothing).isfinite().all().item())
            one = tensors(device, heads_kv=4, seqlen_kv=1)
            self.close_to(on_torch.scaled_dot_product_attention(*one, torch.tensor(True, device=device)), expected_of(*one))
            self.refused(InvalidArgumentError, "mask", "one number for all scores",
                         lambda: on_torch.attention(query, key, value, layout="bhsd", mask=torch.tensor(True, device=device)))
            needy = torch.zeros(queries, keys, device=device, requires_grad=True)
            self.refused(UnsupportedError, "bias", "no backward", lambda: on_torch.scaled_dot_product_attention(query, key, value, needy))

    def test_prepared_calls_are_reused_and_told_apart(self):
        """Calls that differ in one property only, in turns, on one context: each gives what a fresh context gives."""
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            variants = [(query, key, value), (query[:1], key[:1], value[:1]), (query, key[:, :, 1:], value[:, :, 1:]),
                        (query.transpose(1, 2).contiguous().transpose(1, 2), key, value), (query, key, value.flip(2)),
                        tuple(tensor.bfloat16() for tensor in (query, key, value)), (query[..., :32], key[..., :32], value),
                        (query, key, value[..., :32]), (query[:, :2], key, value), (query, key[:, :1], value[:, :1])]
            fresh = []
            for variant in variants:
                with flashcore.Context(device) as context:
                    try:
                        fresh.append(context.attention(*variant, layout="bhsd"))
                    except UnsupportedError as refusal:  # a head_dim that the GPU's kernels do not have
                        fresh.append(str(refusal))
                    if device == "cuda":
                        torch.cuda.synchronize()
            with flashcore.Context(device) as context:
                for _ in range(3):
                    for variant, expected in zip(variants, fresh):
                        if isinstance(expected, str):
                            with self.assertRaises(UnsupportedError):
                                context.attention(*variant, layout="bhsd")
                        else:
                            self.assertTrue(torch.equal(context.attention(*variant, layout="bhsd"), expected))
                kinds = sum(not isinstance(expected, str) for expected in fresh) - 1  # a flipped value is no kind of its own
                self.assertEqual(len(context.prepared_calls), kinds)
                torch.cuda.is_available() and torch.cuda.synchronize()

    def test_calls_are_made_where_they_should(self):
        """In C++ wherever that is possible, for those who built it."""
        names = ("flashcore._flashcore_torch", "_flashcore_torch")
        if self.portable or not any(importlib.util.find_spec(name) for name in names):
            self.assertNotEqual(_torch_fast.why_portable, "")
        elif hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
            self.assertEqual(on_torch.why_portable, "")
        on_torch.attention(*tensors("cpu"), layout="bhsd")
        calls = on_torch.context("cpu").prepared_calls
        self.assertEqual(isinstance(calls, _torch_fast.PortableCalls), _torch_fast.why_portable != "")

    def test_options_are_told_apart(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device, heads_q=4, heads_kv=4, seqlen_q=64, seqlen_kv=64)
            with flashcore.Context(device) as context:
                for scale in (None, 0.25, float("1.5")) * 2:
                    for causal in ("none", "top_left", "bottom_right"):
                        output = context.attention(query, key, value, layout="bhsd", causal=causal, scale=scale)
                        self.close_to(output, expected_of(query, key, value, causal, scale))
                self.assertEqual(len(context.prepared_calls), 9)
                torch.cuda.is_available() and torch.cuda.synchronize()

    def test_odd_options_do_no_harm(self):
        """Values whose comparison runs code: it fails, or closes the context in the middle of the look-up."""
        query, key, value = tensors("cpu")

        class Odd(float):
            def __eq__(self, other):
                return act()
            __hash__ = float.__hash__

        def fail():
            raise ZeroDivisionError("as the test wants")
        expected = self.context.attention(query, key, value, layout="bhsd", scale=0.125)
        act = fail
        with self.assertRaises(ZeroDivisionError):
            self.context.attention(query, key, value, layout="bhsd", scale=Odd(0.125))
        context = flashcore.Context("cpu")
        context.attention(query, key, value, layout="bhsd", scale=0.125)
        act = lambda: context.close() or True
        try:
            self.assertTrue(torch.equal(context.attention(query, key, value, layout="bhsd", scale=Odd(0.125)), expected))
        except flashcore.ClosedError:
            self.assertTrue(context.closed)
        self.refused(flashcore.ClosedError, "context", "closed", lambda: context.attention(query, key, value, layout="bhsd"))

    def test_empty_sizes(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            for given in ((query[:0], key[:0], value[:0]), (query[:, :, :0], key, value),
                          tuple(torch.from_numpy(support.np.zeros((2, 4, 0, 64), "float16")).to(device) for _ in range(3))):
                for _ in range(2):
                    self.assertEqual(on_torch.attention(*given, layout="bhsd").shape, given[0].shape)
            output = on_torch.attention(query, key[:, :, :0], value[:, :, :0], layout="bhsd")
            self.assertEqual(output.abs().max().item(), 0)

    def test_many_shapes_do_not_pile_up(self):
        query, key, value = tensors("cpu", batch=1, heads_q=1, heads_kv=1, seqlen_q=1, seqlen_kv=1100, head_dim=8)
        for keys in range(1, 1100):
            self.context.attention(query, key[:, :, :keys], value[:, :, :keys], layout="bhsd")
        self.assertLessEqual(len(self.context.prepared_calls), 1024)

    def test_threads_share_shapes(self):
        for device in support.TORCH_DEVICES:
            inputs = [tensors(device, seed=seed) for seed in range(6)]
            expected = [on_torch.attention(*one, layout="bhsd") for one in inputs]
            found = []

            def work(number):
                for _ in range(100):
                    found.append(torch.equal(on_torch.attention(*inputs[number], layout="bhsd"), expected[number]))
            threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(found, [True] * 600)

    def test_close_under_threads(self):
        query, key, value = tensors("cpu")
        context, ends, started = flashcore.Context("cpu"), [], threading.Barrier(4)

        def work():
            started.wait()
            try:
                while True:
                    context.attention(query, key, value, layout="bhsd")
            except flashcore.ClosedError:
                ends.append(1)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait()
        context.attention(query, key, value, layout="bhsd")
        context.close()
        for thread in threads:
            thread.join()
        self.assertEqual(ends, [1, 1, 1])
        self.refused(flashcore.ClosedError, "context", "closed", lambda: context.attention(query, key, value, layout="bhsd"))
        self.assertIsNone(context.prepared_calls)

    def test_an_error_leaves_the_prepared_call_in_order(self):
        query, key, value = tensors("cpu")
        expected = self.context.attention(query, key, value, layout="bhsd")
        bad = torch.empty(1, dtype=torch.float16).expand(query.shape)
        for _ in range(3):
            self.refused(InvalidArgumentError, "kernel", "nonsense",
                         lambda: self.context.attention(query, key, value, layout="bhsd", kernel="nonsense"))
            self.assertTrue(torch.equal(self.context.attention(query, key, value, layout="bhsd"), expected))
        self.refused(InvalidArgumentError, "query.stride[3]", "stride of 0", lambda: self.context.attention(bad, key, value, layout="bhsd"))

    def test_bad_input(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            attend = on_torch.attention
            self.refused(InvalidArgumentError, "key.stride[3]", "last dimension",
                         lambda: attend(query, key.transpose(2, 3).contiguous().transpose(2, 3), value, layout="bhsd"))
            self.refused(InvalidArgumentError, "value.dtype", "value is bfloat16; allowed: float16",
                         lambda: attend(query, key, value.bfloat16(), layout="bhsd"))
            self.refused(UnsupportedError, "query.dtype", "FLOAT32",
                         lambda: attend(query.float(), key.float(), value.float(), layout="bhsd"))
            self.refused(UnsupportedError, "query.dtype", "complex64", lambda: attend(query.to(torch.complex64), key, value, layout="bhsd"))
            self.refused(InvalidArgumentError, "key", "key has shape", lambda: attend(query, key[:1], value, layout="bhsd"))
            self.refused(InvalidArgumentError, "query", "3 dimensions", lambda: attend(query[0], key, value, layout="bhsd"))
            self.refused(InvalidArgumentError, "key", "key is a", lambda: attend(query, key.to("meta"), value, layout="bhsd"))
            self.refused(InvalidArgumentError, "query", "sparse", lambda: attend(query.to_sparse(), key, value, layout="bhsd"))
            on_torch.context("cpu")
            self.refused(InvalidArgumentError, "query", "on meta", lambda: attend(query.to("meta"), key, value, layout="bhsd"))
            for field, options in (("window", {"window": [1, 2]}), ("causal", {"causal": ["none"]}), ("causal", {"causal": True}),
                                   ("layout", {"layout": "sbhd"}), ("output_layout", {"output_layout": "x"}), ("kernel", {"kernel": None}),
                                   ("softmax_scale", {"scale": float("nan")}), ("softcap", {"softcap": "1"})):
                self.refused(InvalidArgumentError, field, "allowed", lambda: attend(query, key, value, **{"layout": "bhsd", **options}))
            with self.assertRaisesRegex(TypeError, "value is a ndarray; allowed: a PyTorch tensor"):
                attend(query, key, value.cpu().numpy(), layout="bhsd")

    def test_contexts_are_shared(self):
        self.assertIs(on_torch.context("cpu"), on_torch.context(torch.device("cpu")))
        self.assertEqual(on_torch.context().device, support.TORCH_DEVICES[-1])
        self.refused(InvalidArgumentError, "device", "meta", lambda: on_torch.context("meta"))

    @unittest.skipIf(support.TORCH_DEVICES == ["cpu"], "no GPU")
    def test_tensors_on_two_devices(self):
        query, key, value = tensors("cuda")
        self.refused(InvalidArgumentError, "key", "key is on cpu; allowed: the context's device, cuda:0",
                     lambda: on_torch.attention(query, key.cpu(), value, layout="bhsd"))
        self.refused(InvalidArgumentError, "query", "query is on cuda:0; allowed: the context's device, cpu",
                     lambda: self.context.attention(query, key, value, layout="bhsd"))

    def test_gradients_are_refused(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            for name, index in (("query", 0), ("key", 1), ("value", 2)):
                given = [query, key, value]
                given[index] = given[index].clone().requires_grad_()
                for call in (on_torch.attention, torch_operator):
                    self.refused(UnsupportedError, name, "no backward", lambda: call(*given, layout="bhsd"))
                    with torch.no_grad():
                        self.assertFalse(call(*given, layout="bhsd").requires_grad)
            with torch.inference_mode():
                self.close_to(on_torch.attention(*tensors(device), layout="bhsd"), expected_of(query, key, value))

    def test_modes_and_fake_tensors_see_the_operator(self):
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.utils._python_dispatch import TorchDispatchMode
        seen = []

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                seen.append(str(function))
                return function(*args, **(kwargs or {}))
        query, key, value = tensors("cpu")
        on_torch.attention(query, key, value, layout="bhsd")
        with Watch():
            on_torch.attention(query, key, value, layout="bhsd")
        self.assertIn("flashcore.attention_fwd.default", seen)
        with FakeTensorMode() as mode:
            fake = on_torch.attention(*(mode.from_tensor(tensor) for tensor in (query, key, value)), layout="bhsd", output_layout="bshd")
        self.assertEqual((fake.shape, fake.dtype, fake.is_contiguous()), ((2, 37, 4, 64), torch.float16, True))

    def test_vmap(self):
        query, key, value = (tensor[:, None] for tensor in tensors("cpu"))
        attend = lambda *given: on_torch.attention(*given, causal="bottom_right", layout="bhsd")
        expected = torch.stack([attend(*one) for one in zip(query, key, value)])
        self.assertTrue(torch.equal(torch.vmap(attend)(query, key, value), expected))

    def test_operator_check(self):
        """PyTorch's own test of an operator: schema, fake implementation against the real one, tracing."""
        if not hasattr(torch.library, "opcheck"):
            self.skipTest("this PyTorch has no torch.library.opcheck")
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)
            for options in (("none", None, 0.0, None, None, "bhsd", None, ""), ("bottom_right", 0.5, 0.0, None, None, "bhsd", "bshd", "")):
                torch.library.opcheck(torch.ops.flashcore.attention_fwd.default, (query, key, value, *options),
                                      test_utils=("test_schema", "test_faketensor"))

    def test_compile_without_a_graph_break(self):
        for device in support.TORCH_DEVICES:
            query, key, value = tensors(device)

            def block(query, key, value):
                hidden = on_torch.attention(query * 2, key, value, causal="bottom_right", layout="bhsd", output_layout="bshd")
                return hidden.flatten(2).sin()
            for dynamic in (False, True):
                torch._dynamo.reset()
                compiled = torch.compile(block, fullgraph=True, dynamic=dynamic, backend="aot_eager")
                for keys in (61, 47):
                    with torch.no_grad():
                        given = (query, key[:, :, :keys], value[:, :, :keys])
                        self.assertTrue(torch.equal(compiled(*given), block(*given)))

    @unittest.skipIf(support.TORCH_DEVICES == ["cpu"], "no GPU")
    def test_streams_and_graphs(self):
        query, key, value = tensors("cuda", seqlen_q=256, seqlen_kv=256)
        expected = on_torch.attention(query, key, value, layout="bhsd")
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            later = query * 0
            torch.cuda._sleep(20_000_000)  # the call must come behind this on the same stream
            later += query
            output = on_torch.attention(later, key, value, layout="bhsd")
        stream.synchronize()
        self.assertTrue(torch.equal(output, expected))
        graph = torch.cuda.CUDAGraph()
        static = query.clone()
        with torch.cuda.graph(graph):
            captured = on_torch.attention(static, key, value, layout="bhsd")
        static.copy_(-query)
        graph.replay()
        torch.cuda.synchronize()
        self.assertTrue(torch.equal(captured, on_torch.attention(-query, key, value, layout="bhsd")))

    @unittest.skipIf(support.TORCH_DEVICES == ["cpu"], "no GPU")
    def test_foreign_protocols_on_the_gpu(self):
        class OnlyInterface:
            def __init__(self, tensor):
                self.__cuda_array_interface__, self.tensor = tensor.__cuda_array_interface__, tensor

        class OnlyDlpack:
            def __init__(self, tensor):
                self.tensor, self.__dlpack__, self.__dlpack_device__ = tensor, tensor.__dlpack__, tensor.__dlpack_device__
        query, key, value = (tensor.transpose(1, 2) for tensor in tensors("cuda"))
        expected = on_torch.attention(query, key, value)
        with flashcore.Context("cuda") as context:
            for kind in (OnlyInterface, OnlyDlpack):
                output = torch.zeros_like(expected)
                context.attention(kind(query), kind(key), kind(value), out=kind(output))
                torch.cuda.synchronize()
                self.assertTrue(torch.equal(output, expected))
            copied = torch.as_tensor(context.to_device(query.contiguous().cpu().numpy()), device="cuda")
            self.assertTrue(torch.equal(copied, query))
        gc.collect()


class Portably:
    """Prepared calls in Python, as they are with an older PyTorch."""

    portable = True

    def setUp(self):
        super().setUp()
        for module, name, value in ((_torch_fast, "why_portable", "the test wants it"), (_torch_fast, "run", _torch_fast._run_portable),
                                    (_torch_fast, "_defaults", {}), (on_torch, "_contexts", {})):
            self.addCleanup(setattr, module, name, getattr(module, name))
            setattr(module, name, value)


class TestTorchPortably(Portably, TestTorch):
    pass


def torch_operator(query, key, value, layout):
    return torch.ops.flashcore.attention_fwd(query, key, value, "none", None, 0.0, None, None, layout, None, "")


if __name__ == "__main__":
    support.main()
