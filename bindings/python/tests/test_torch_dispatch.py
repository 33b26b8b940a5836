# SPDX-License-Identifier: Apache-2.0
"""Every way into flashcore from PyTorch against everything that PyTorch may do with a call: record gradients, transform, trace, compile,
watch, cast, and hand over tensors that are more, or less, than their memory. What is not computed is refused by name."""
import warnings

import support
from support import torch

import flashcore
from flashcore import InvalidArgumentError, UnsupportedError

import test_torch

if torch is not None:
    import flashcore.torch as on_torch
    from test_torch import tensors, torch_operator
    F = torch.nn.functional


@support.needs_torch
class TestTorchDispatch(support.ContextTest):
    portable = False

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
                ("features", lambda *given: on_torch.attention(*given, layout=layout, chunk=1000), True),
                ("return_lse", lambda *given: self.context.attention(*given, layout=layout, return_lse=True)[0], True),
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
                made = function(*(arg.inside if isinstance(arg, cls) else arg for arg in args), **(kwargs or {}))
                return tuple(map(cls, made)) if isinstance(made, tuple) else cls(made)
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
                self.assertEqual(any("flashcore.attention_" in function for function in seen), is_seen)
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


class TestTorchDispatchPortably(test_torch.Portably, TestTorchDispatch):
    pass


if __name__ == "__main__":
    support.main()
