# SPDX-License-Identifier: Apache-2.0
"""flashcore.torch on the CPU device and, where there is one, the GPU: against float32, the quick path's reuse, threads, streams,
graphs, modes, gradients, torch.compile."""
import gc
import importlib.util
import threading
import unittest
import warnings

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
            self.refused(UnsupportedError, "attn_mask", "no mask tensor", lambda: refuse(query, key, value, torch.ones(37, 37, device=device)))
            self.refused(UnsupportedError, "dropout_p", "0.5", lambda: refuse(query, key, value, dropout_p=0.5))
            self.refused(InvalidArgumentError, "key", "enable_gqa=True", lambda: refuse(*few))

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
        act = lambda: context.close() or True  # noqa: E731
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

    def ways(self, layout="bhsd"):
        """Every way in: a name, a call of (query, key, value) that gives the output, and whether PyTorch sees it."""
        def with_out(*given):
            output = torch.empty_like(given[0])
            self.assertIs(self.context.attention(*given, layout=layout, out=output), output)
            return output
        lse = torch.empty(2, 4, 37)
        return (("attention", lambda *given: on_torch.attention(*given, layout=layout), True),
                ("scaled_dot_product_attention", lambda *given: on_torch.scaled_dot_product_attention(*given, enable_gqa=True), True),
                ("operator", lambda *given: torch_operator(*given, layout=layout), True),
                ("Context.attention", lambda *given: self.context.attention(*given, layout=layout), True),
                ("return_lse", lambda *given: self.context.attention(*given, layout=layout, return_lse=True)[0], False),
                ("lse", lambda *given: self.context.attention(*given, layout=layout, lse=lse), False),
                ("out", with_out, False),
                ("dtype", lambda *given: self.context.attention(*given, layout=layout, dtype="float16"), False),
                ("stream", lambda *given: self.context.attention(*given, layout=layout, stream=0), False))

    def test_no_way_in_drops_a_gradient(self):
        """Reverse and forward mode, of PyTorch and of torch.func, on each tensor, after the like of the call was prepared."""
        from torch.autograd import forward_ad
        given = tensors("cpu")
        for name, attend, _ in self.ways():
            expected = attend(*given)
            for index, field in enumerate(("query", "key", "value")):
                def of_one(one, attend=attend, index=index):
                    return attend(*given[:index], one, *given[index + 1:])
                tensor = given[index]
                with self.subTest(way=name, tensor=field):
                    needy = tensor.clone().requires_grad_()
                    self.refused(UnsupportedError, field, "no backward", lambda: of_one(needy))
                    with torch.no_grad():
                        self.assertTrue(torch.equal(of_one(needy), expected))
                    self.assertTrue(torch.equal(of_one(needy.detach()), expected))
                    for kind in (torch.func.grad, torch.func.jacrev):
                        self.refused(UnsupportedError, field, "no backward", lambda: kind(lambda one: of_one(one).float().sum())(tensor))
                    self.refused(UnsupportedError, field, "no backward", lambda: torch.func.vjp(of_one, tensor))
                    with forward_ad.dual_level():
                        dual = forward_ad.make_dual(tensor, tensor)
                        self.refused(UnsupportedError, field, "carries a tangent", lambda: of_one(dual))
                        with torch.no_grad():  # which is about the other mode
                            self.refused(UnsupportedError, field, "carries a tangent", lambda: of_one(dual))
                        self.assertTrue(torch.equal(of_one(dual.detach()), expected))
                    self.refused(UnsupportedError, field, "carries a tangent", lambda: torch.func.jvp(of_one, (tensor,), (tensor,)))
                    self.refused(UnsupportedError, field, "carries a tangent", lambda: torch.func.jacfwd(of_one)(tensor))
                    with self.assertRaisesRegex(UnsupportedError, "carries a tangent|not seen by PyTorch"):
                        torch.func.linearize(of_one, tensor)
                    checkpoint = torch.utils.checkpoint.checkpoint(of_one, tensor.clone().requires_grad_(), use_reentrant=True)  \
                        if index == 0 and name != "lse" else None
                    if checkpoint is not None:
                        self.refused(UnsupportedError, field, "no backward", lambda: checkpoint.float().sum().backward())

    def test_outputs_of_the_caller_and_autograd(self):
        """One that requires gradients is refused; one that autograd had saved counts as changed."""
        query, key, value = tensors("cpu", heads_kv=4)
        options = {"layout": "bhsd", "return_lse": True}
        self.refused(UnsupportedError, "output", "requires gradients",
                     lambda: self.context.attention(query, key, value, out=torch.empty_like(query).requires_grad_(), **options))
        self.refused(UnsupportedError, "lse", "requires gradients",
                     lambda: self.context.attention(query, key, value, lse=torch.empty(2, 4, 37).requires_grad_(), **options))
        output, lse = torch.zeros_like(query), torch.zeros(2, 4, 37)
        weight = torch.ones(()).requires_grad_()
        for saved in (output, lse):
            product = (weight * saved).sum()
            self.context.attention(query, key, value, out=output, lse=lse, **options)
            with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
                product.backward()
        with torch.inference_mode():
            self.context.attention(query, key, value, out=torch.empty_like(query), **options)

    def test_copies_to_a_device_take_no_gradients(self):
        tensor = torch.ones(3).requires_grad_()
        self.refused(UnsupportedError, "array", "requires gradients", lambda: self.context.to_device(tensor))
        with torch.no_grad():
            self.assertEqual(self.context.to_device(tensor).to_numpy().tolist(), [1, 1, 1])
        self.refused(InvalidArgumentError, "array.dtype", "array is float32; allowed: float16", lambda: self.context.to_device(tensor.detach(), "float16"))

    def test_to_prepare_and_explain_needs_no_values(self):
        query, key, value = (tensor.requires_grad_() for tensor in tensors("cpu"))
        self.assertIsNone(self.context.prepare(query, key, value, layout="bhsd"))
        self.assertTrue(self.context.explain(query, key, value, layout="bhsd").supported)

    def traced(self, trace):
        """trace(attend, tensors) makes a function of other tensors: it computes them, or the call is refused by name."""
        first, second = tensors("cpu", seed=1), tensors("cpu", seed=2)
        for name, attend, seen in self.ways():
            with self.subTest(way=name):
                expected = attend(*second)
                if seen:
                    self.assertTrue(torch.equal(trace(lambda *given: attend(*given), first)(*second), expected))
                else:
                    self.refused(UnsupportedError, "query" if name == "none" else name, "not seen by PyTorch",
                                 lambda: trace(lambda *given: attend(*given), first))

    def test_traces_hold_the_operator(self):
        from torch.fx.experimental.proxy_tensor import make_fx
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch would rather have torch.export
            self.traced(torch.jit.trace)
            few = torch.jit.trace(lambda *given: on_torch.attention(*given, layout="bhsd"), tensors("cpu"))
            other = tensors("cpu", batch=1, seqlen_q=5, seqlen_kv=9)
            self.assertTrue(torch.equal(few(*other), on_torch.attention(*other, layout="bhsd")))
        for mode in ("real", "fake", "symbolic"):
            def trace(attend, given):
                return make_fx(lambda query, key, value: attend(query, key, value), tracing_mode=mode)(*given)
            if mode == "real":
                self.traced(trace)
            else:  # fake tensors are refused by their name
                graph = trace(lambda *given: on_torch.attention(*given, layout="bhsd"), tensors("cpu"))
                self.assertTrue(torch.equal(graph(*tensors("cpu", seed=2)), on_torch.attention(*tensors("cpu", seed=2), layout="bhsd")))

    def test_exported_programs_hold_the_operator(self):
        class Model(torch.nn.Module):
            def __init__(self, attend):
                super().__init__()
                self.attend = attend

            def forward(self, query, key, value):
                return self.attend(query, key, value) * 1
        with torch.no_grad():
            self.traced(lambda attend, given: torch.export.export(Model(attend), given, strict=False).module())

    def test_compiled_ways_in(self):
        """Those that a graph cannot hold break it; none becomes a constant, and gradients are refused all the same."""
        if self.portable:
            self.skipTest("the compiler sees nothing of prepared calls")
        first, second = tensors("cpu", seed=1), tensors("cpu", seed=2)
        for name, attend, _ in self.ways():
            with self.subTest(way=name):
                torch._dynamo.reset()
                compiled = torch.compile(lambda *given: attend(*(one * 1 for one in given)) * 1, backend="aot_eager")
                with torch.no_grad():
                    for given in (first, second):
                        self.assertTrue(torch.equal(compiled(*given), attend(*given)))
                self.refused(UnsupportedError, "key", "no backward", lambda: compiled(first[0], first[1].clone().requires_grad_(), first[2]))
        torch._dynamo.reset()

    def test_scripted_functions_hold_the_operator(self):
        def scripted(query, key, value):
            return torch.ops.flashcore.attention_fwd(query, key, value, "none", None, 0.0, None, None, "bhsd", None, "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = torch.jit.script(scripted)
        given = tensors("cpu")
        self.assertTrue(torch.equal(function(*given), on_torch.attention(*given, layout="bhsd")))
        with self.assertRaisesRegex(RuntimeError, "query requires gradients, and there is no backward yet"):
            function(given[0].requires_grad_(), *given[1:])

    def test_subclasses(self):
        """A plain subclass stays what it is, as with PyTorch's own functions; one with memory of its own kind sees the operator."""
        class Plain(torch.Tensor):
            pass

        class Wrapper(torch.Tensor):
            @staticmethod
            def __new__(cls, tensor):
                made = torch.Tensor._make_wrapper_subclass(cls, tensor.shape, strides=tensor.stride(), dtype=tensor.dtype, device=tensor.device)
                made.inside = tensor
                return made

            @classmethod
            def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
                return cls(function(*(arg.inside if isinstance(arg, cls) else arg for arg in args), **(kwargs or {})))
        given = tensors("cpu")
        for name, attend, seen in self.ways():
            with self.subTest(way=name):
                expected = attend(*given)
                for some in (given[:1], given):
                    output = attend(*(one.as_subclass(Plain) for one in some), *given[len(some):])
                    self.assertIs(type(output), Plain if seen or name == "out" else torch.Tensor)
                    self.assertTrue(torch.equal(output.as_subclass(torch.Tensor), expected))
                    self.assertTrue(torch.equal(attend(*(torch.nn.Parameter(one, requires_grad=False) for one in given)), expected))
                needy = given[0].clone().requires_grad_().as_subclass(Plain)
                self.refused(UnsupportedError, "query", "no backward", lambda: attend(needy, *given[1:]))
                wrapped = [Wrapper(one) for one in given]
                if seen:
                    self.assertTrue(torch.equal(attend(*wrapped).inside, expected))
                elif name != "out":
                    self.refused(UnsupportedError, "query", "is a Wrapper", lambda: attend(*wrapped))

    def test_a_subclass_is_computed_by_the_callers_context(self):
        class Plain(torch.Tensor):
            pass
        closed = flashcore.Context("cpu")
        closed.close()
        query, key, value = (tensor.as_subclass(Plain) for tensor in tensors("cpu"))
        self.refused(flashcore.ClosedError, "context", "closed", lambda: closed.attention(query, key, value, layout="bhsd"))
        calls = self.context.prepared_calls
        self.context.attention(query, key, value, layout="bhsd")
        self.assertIsNot(self.context.prepared_calls, calls)

    def test_tensors_that_are_not_what_their_memory_holds(self):
        """Negated and conjugate views, zeros without memory, after a plain tensor of the same kind was prepared."""
        query, key, value = tensors("cpu")
        for name, attend, seen in self.ways():
            with self.subTest(way=name):
                for _ in range(2):
                    expected = attend(-query, key, value)
                for index, given in enumerate(((torch._neg_view(query), key, value), (-query, torch._neg_view(-key), value))):
                    if seen:
                        self.assertTrue(torch.equal(attend(*given), expected))
                    else:
                        self.refused(UnsupportedError, ("query", "key")[index], "not in memory", lambda: attend(*given))
                        self.assertTrue(torch.equal(attend(*(one.resolve_neg() for one in given)), expected))
                zeros = torch._efficientzerotensor(query.shape, dtype=query.dtype)
                with self.assertRaises(flashcore.FlashcoreError):
                    attend(zeros, key, value)

    def test_layouts_that_are_refused_by_name(self):
        given = tensors("cpu", heads_kv=4, seqlen_kv=37)
        query, key, value = given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nested = torch.nested.nested_tensor([query[0], query[1, :, :20]])
            jagged = torch.nested.nested_tensor([query[0].transpose(0, 1), query[1, :, :20].transpose(0, 1)], layout=torch.jagged)
            rows = query[0, 0].to_sparse_csr()
        quantized = torch.quantize_per_tensor(query.float(), 0.1, 0, torch.qint8)
        for name, attend, _ in self.ways():
            if name == "out":  # makes its output like query
                continue
            with self.subTest(way=name):
                for one in (nested, jagged):
                    self.refused(UnsupportedError, "query", "nested tensor; allowed: a strided one", lambda: attend(one, one, one))
                    self.refused(UnsupportedError, "value", "nested tensor; allowed: a strided one", lambda: attend(query, key, one))
                self.refused(InvalidArgumentError, "query", "torch.sparse_coo", lambda: attend(query.to_sparse(), key, value))
                self.refused(InvalidArgumentError, "query", "torch.sparse_csr", lambda: attend(rows, key, value))
                self.refused(InvalidArgumentError, "key", "torch._mkldnn", lambda: attend(query, key.float().to_mkldnn(), value))
                if name != "dtype":
                    self.refused(UnsupportedError, "query.dtype", "query is qint8; allowed: float16, bfloat16", lambda: attend(quantized, key, value))

    def test_modes_over_functions(self):
        from torch.overrides import TorchFunctionMode
        seen = []

        class Watch(TorchFunctionMode):
            def __torch_function__(self, function, types, args=(), kwargs=None):
                seen.append(str(function))
                return function(*args, **(kwargs or {}))
        given = tensors("cpu")
        for name, attend, is_seen in self.ways():
            with self.subTest(way=name):
                expected = attend(*given)
                seen.clear()
                with Watch():
                    output = attend(*given)
                self.assertTrue(torch.equal(output, expected))
                self.assertEqual(any("flashcore.attention_fwd" in function for function in seen), is_seen)
                with torch.device("cpu"):
                    self.assertTrue(torch.equal(attend(*given), expected))

    def test_functionalize(self):
        query, key, value = tensors("cpu")
        for name, attend, seen in self.ways():
            with self.subTest(way=name):
                def of_one(one):
                    return attend(one, key, value)
                if seen:
                    self.assertTrue(torch.equal(torch.func.functionalize(of_one)(query), of_one(query)))
                else:
                    self.refused(UnsupportedError, "query", "transform of torch.func", lambda: torch.func.functionalize(of_one)(query))
                    self.refused(UnsupportedError, "query", "transform of torch.func", lambda: torch.vmap(of_one)(query[None]))

    def test_autocast(self):
        """As PyTorch's own attention: in the autocast type, from float32 and from the other 16-bit type, prepared or not."""
        for device in support.TORCH_DEVICES:
            for wanted in (torch.bfloat16, torch.float16):
                for given_type in (torch.float32, torch.float16, torch.bfloat16):
                    given = tensors(device, heads_kv=4, dtype=given_type)
                    converted = [tensor.to(wanted) for tensor in given]
                    for name, attend, _ in self.ways():
                        if device != "cpu" and name in ("Context.attention", "return_lse", "lse", "out", "dtype", "stream"):
                            continue
                        if name in ("out", "dtype", "stream"):  # whose output has its type, or whose stream would not wait
                            continue
                        with self.subTest(way=name, given=given_type, wanted=wanted):
                            expected = attend(*converted)
                            with torch.autocast(device, dtype=wanted):
                                output = attend(*given)
                                own = F.scaled_dot_product_attention(*given)
                                with torch.autocast(device, enabled=False):
                                    self.assertTrue(torch.equal(attend(*converted), expected))
                            self.assertEqual((output.dtype, own.dtype), (wanted, wanted))
                            self.assertTrue(torch.equal(output, expected))
            given = [tensor.double() for tensor in given]
            with torch.autocast(device, dtype=torch.bfloat16):
                self.refused(UnsupportedError, "query.dtype", "query is float64; allowed: float16, bfloat16",
                             lambda: on_torch.scaled_dot_product_attention(*given))
            with torch.autocast(device, dtype=torch.bfloat16):
                needy = tensors(device, heads_kv=4, dtype=torch.float32)[0].requires_grad_()
                self.refused(UnsupportedError, "query", "no backward", lambda: on_torch.scaled_dot_product_attention(needy, *given[1:]))

    def test_autocast_in_a_graph(self):
        given = tensors("cpu", dtype=torch.float32)
        torch._dynamo.reset()
        compiled = torch.compile(lambda *given: on_torch.scaled_dot_product_attention(*given, enable_gqa=True), fullgraph=True, backend="aot_eager")
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            output = compiled(*given)
        self.assertTrue(torch.equal(output, on_torch.attention(*(tensor.bfloat16() for tensor in given), layout="bhsd")))

    def test_a_refusal_allows_nothing_that_is_refused_next(self):
        query, key, value = tensors("cpu")
        for name, attend, _ in self.ways():
            if name == "dtype":
                continue
            with self.subTest(way=name):
                for dtype in (torch.float32, torch.int32, torch.float64):
                    word = str(dtype)[len("torch."):]
                    self.refused(UnsupportedError, "query.dtype", f"query is {word}; allowed: float16, bfloat16",
                                 lambda: attend(query.to(dtype), key.to(dtype), value))
        for word in ("float32", "int32", "float8_e4m3fn"):
            self.refused(InvalidArgumentError, "dtype", f"dtype is '{word}'; allowed: 'float16', 'bfloat16'",
                         lambda: self.context.attention(query, key, value, layout="bhsd", dtype=word))

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


class TestTorchPortably(TestTorch):
    """The same with prepared calls in Python, as they are with an older PyTorch."""

    portable = True

    def setUp(self):
        super().setUp()
        for module, name, value in ((_torch_fast, "why_portable", "the test wants it"), (_torch_fast, "run", _torch_fast._run_portable),
                                    (_torch_fast, "_defaults", {}), (on_torch, "_contexts", {})):
            self.addCleanup(setattr, module, name, getattr(module, name))
            setattr(module, name, value)


def torch_operator(query, key, value, layout):
    return torch.ops.flashcore.attention_fwd(query, key, value, "none", None, 0.0, None, None, layout, None, "")


if __name__ == "__main__":
    support.main()
