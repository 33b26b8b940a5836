# SPDX-License-Identifier: Apache-2.0
"""Attention for PyTorch tensors, on their device and PyTorch's current stream.

    from flashcore.torch import attention, scaled_dot_product_attention

Both are also traced by torch.compile, as the operator torch.ops.flashcore.attention_fwd. There is no backward yet: tensors that
require gradients are refused, except under torch.no_grad().

An eager call is meant to cost little beside its launch. What a call of some shapes, strides and types needs is checked
and filled once, and kept as a prepared call: the argument struct, in which only the four addresses change. PyTorch's own
compiled check of its compiled code (TensorGuards) says in one step whether a prepared call fits. A prepared call is taken
out of its list while it is in use, so threads and re-entered code never share one.
"""
from __future__ import annotations

import ctypes
import threading
from typing import Any, Callable, NamedTuple, Optional

import torch

from . import _abi_table as abi
from . import _torch_fast as fast
from ._abi import load_library
from ._arrays import packed_strides, view_of
from ._context import Context, Native
from ._errors import InvalidArgumentError, UnsupportedError, check
from ._problem import Problem, Window

_MOST_SHAPES = 1024  # prepared calls of a context; a growing key-value cache makes a new shape in every step
_MOST_RECENT = 6

_contexts: dict[int, Context] = {}  # by Tensor.get_device(): -1 is the CPU
_contexts_lock = threading.Lock()
_is_tracing: Callable[[], bool] = getattr(torch.compiler, "is_dynamo_compiling", torch.compiler.is_compiling)

# Where the addresses stand, counted in 8-byte words.
_QUERY, _KEY, _VALUE, _OUTPUT = (getattr(abi.AttentionArgs, name).offset // 8 for name in ("query", "key", "value", "output"))


class PreparedCall(NamedTuple):
    """All that a call needs but its addresses and its stream."""

    words: memoryview  # of args
    new: Callable[..., torch.Tensor]  # makes the output from the next three
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    run: Callable[[int, int, int, int], int]  # flashcore_attention_fwd
    handle: int
    args_address: int
    raw_stream: Callable[[int], int]
    ordinal: int
    error_address: int
    error: abi.Error
    args: abi.AttentionArgs
    native: Native


class PreparedCalls:
    """The prepared calls of one context; lists of them that are not in use."""

    def __init__(self) -> None:
        self.recent: tuple[tuple[Any, Callable[..., bool], list[PreparedCall]], ...] = ()  # (options, guard, list), newest first
        self.by_signature: dict[Any, list[PreparedCall]] = {}

    def find(self, options: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> list[PreparedCall]:
        signature = (options, *((t.shape, t.stride(), t.dtype, t.device) for t in (query, key, value)))
        free = self.by_signature.get(signature)
        if free is None:
            if len(self.by_signature) >= _MOST_SHAPES:
                self.by_signature.clear()
                self.recent = ()
            free = self.by_signature.setdefault(signature, [])
        guard = fast.make_guard(query, key, value)
        if guard is not None:
            self.recent = ((options, guard, free), *self.recent[:_MOST_RECENT - 1])
        return free


def context(device: Any = None) -> Context:
    """The context that attention() uses for a device ("cpu", "cuda", "cuda:1", a torch.device; None: the current CUDA device, else
    the CPU). Made on first use and kept until the process ends; do not close it."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise InvalidArgumentError(f"device is {device}; allowed: cpu, cuda", "device")
    index = -1 if device.type == "cpu" else torch.cuda.current_device() if device.index is None else device.index
    with _contexts_lock:
        if index not in _contexts:
            made = Context("cpu" if index < 0 else f"cuda:{index}")
            made.native().kept = True
            _contexts[index] = made
        return _contexts[index]


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, causal: str = "none", scale: Optional[float] = None,
              softcap: float = 0.0, window: Window = (None, None), layout: str = "bshd", output_layout: Optional[str] = None,
              kernel: str = "", on: Optional[Context] = None) -> torch.Tensor:
    """softmax(scale * query.key^T + mask) . value in a new tensor.

    query [batch, seqlen_q, heads_q, head_dim], key and value [batch, seqlen_kv, heads_kv, head_dim], or layout="bhsd" for heads before
    sequence; heads_kv divides heads_q. float16 or bfloat16, any strides but the last, which is 1.
    causal: "none", "top_left" (PyTorch's is_causal) or "bottom_right" (a cache: the last query sees every key).
    scale: 1/sqrt(head_dim) where None. softcap, window: as in Context.attention.
    The output is contiguous in output_layout, by default that of the inputs.
    on: a context of the caller's own instead of context(query.device); not under torch.compile.
    """
    if _is_tracing():
        return torch.ops.flashcore.attention_fwd(query, key, value, causal, scale, softcap, *window, layout, output_layout, kernel)
    if on is None:
        on = _contexts.get(query.get_device()) or context(query.device)
    calls, options = on.prepared_calls, (causal, scale, softcap, window, layout, output_layout, kernel)
    free = None
    if calls is not None:
        for its_options, guard, its_list in calls.recent:
            if its_options == options and guard(query, key, value):
                free = its_list
                break
    if free is None:
        free = _look_up(on, query, key, value, options)
        if free is None:
            return torch.ops.flashcore.attention_fwd(query, key, value, causal, scale, softcap, *window, layout, output_layout, kernel)
    try:
        call = free.pop()
    except IndexError:  # the first call of its shape, or all others are in use by threads
        call = _prepare(on, query, key, value, *options)
    words, new, size, stride, dtype, run, handle, args_address, raw_stream, ordinal, error_address, error, _, _ = call
    try:
        output = new(size, stride, dtype)
        words[_QUERY] = query.data_ptr()
        words[_KEY] = key.data_ptr()
        words[_VALUE] = value.data_ptr()
        words[_OUTPUT] = output.data_ptr()
        status = run(handle, args_address, raw_stream(ordinal), error_address)
        if status:
            check(status, error)
    finally:
        free.append(call)
    return output


def scaled_dot_product_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Optional[torch.Tensor] = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: Optional[float] = None,
                                 enable_gqa: bool = False) -> torch.Tensor:
    """torch.nn.functional.scaled_dot_product_attention for [batch, heads, seqlen, head_dim]; refuses masks and dropout."""
    if attn_mask is not None:
        raise UnsupportedError("attn_mask is a tensor; this build takes no mask tensor. Use is_causal, or attention() with "
                               "causal=\"bottom_right\"", "attn_mask")
    if dropout_p != 0.0:
        raise UnsupportedError(f"dropout_p is {dropout_p}; allowed: 0, there is no dropout", "dropout_p")
    if not enable_gqa and query.shape[1:2] != key.shape[1:2]:
        raise InvalidArgumentError(f"key has {key.shape[1]} heads, query {query.shape[1]}; allowed: the same number, or enable_gqa=True", "key")
    return attention(query, key, value, causal="top_left" if is_causal else "none", scale=scale, layout="bhsd")


def _look_up(on: Context, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: Any) -> Optional[list[PreparedCall]]:
    """The list of prepared calls; None where PyTorch's dispatcher must see the call."""
    on.native()  # ClosedError comes before anything about the tensors
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; allowed: a PyTorch tensor, as query is")
    if fast.needs_dispatch(query, key, value):
        return None
    _refuse_gradients(query, key, value)
    try:
        hash(options)
    except TypeError:  # an option of a wrong kind, which is refused by name
        _prepare(on, query, key, value, *options)
    calls = on.prepared_calls
    if calls is None:
        calls = on.prepared_calls = PreparedCalls()
        if on.closed:  # meanwhile, by another thread, which may not see what was just put there
            on.prepared_calls = None
    return calls.find(options, query, key, value)


def _refuse_gradients(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
    if torch.is_grad_enabled():
        for name, tensor in (("query", query), ("key", key), ("value", value)):
            if tensor.requires_grad:
                raise UnsupportedError(f"{name} requires gradients, and there is no backward yet; call it under torch.no_grad() or detach "
                                       f"{name}", name)


def _prepare(on: Context, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float],
             softcap: float, window: Window, layout: str, output_layout: Optional[str], kernel: str) -> PreparedCall:
    """Check everything that the signature holds, and fill the struct. The addresses in it do not count."""
    native = on.native()
    problem = Problem(layout)
    problem.set_inputs(view_of("query", query, on.place), view_of("key", key, on.place), view_of("value", value, on.place), None)
    problem.set_options(causal, scale, softcap, window, "natural", kernel)
    size = problem.output_shape(output_layout)
    stride, args, error = packed_strides(size), problem.args, abi.Error()
    problem.set_output_strides(stride, output_layout)
    words = memoryview((ctypes.c_uint64 * (ctypes.sizeof(args) // 8)).from_buffer(args)).cast("B").cast("Q")
    new, raw_stream = fast.makers(query.device)
    return PreparedCall(words, new, size, stride, query.dtype, _run(), native.handle, ctypes.addressof(args), raw_stream, on.ordinal,
                        ctypes.addressof(error), error, args, native)


def _run() -> Callable[[int, int, int, int], int]:
    """flashcore_attention_fwd as a function of four numbers, which ctypes passes on faster than structs."""
    function: Any = load_library()["flashcore_attention_fwd"]
    function.argtypes, function.restype = [ctypes.c_void_p] * 4, ctypes.c_int32
    return function


# --- The operator, for torch.compile and everything else that works on PyTorch's dispatcher ---------------------------

_OPERATOR = torch.library.Library("flashcore", "DEF")
_OPERATOR.define("attention_fwd(Tensor query, Tensor key, Tensor value, str causal, float? scale, float softcap, "
                 "int? window_left, int? window_right, str layout, str? output_layout, str kernel) -> Tensor", tags=fast.operator_tags())


def _operator(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
              window_left: Optional[int], window_right: Optional[int], layout: str, output_layout: Optional[str], kernel: str) -> torch.Tensor:
    return attention(query, key, value, causal=causal, scale=scale, softcap=softcap, window=(window_left, window_right), layout=layout,
                     output_layout=output_layout, kernel=kernel, on=context(query.device))


def _operator_with_gradients(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *options: Any) -> torch.Tensor:
    _refuse_gradients(query, key, value)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.flashcore.attention_fwd(query, key, value, *options)


def _operator_shape(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
                    window_left: Optional[int], window_right: Optional[int], layout: str, output_layout: Optional[str],
                    kernel: str) -> torch.Tensor:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != 4:
            raise InvalidArgumentError(f"{name} has {tensor.dim()} dimensions; allowed: 4", name)
    one, two = (1, 2) if layout == (output_layout or layout) else (2, 1)
    return query.new_empty((query.shape[0], query.shape[one], query.shape[two], value.shape[3]))


_OPERATOR.impl("attention_fwd", _operator, "CPU")
_OPERATOR.impl("attention_fwd", _operator, "CUDA")
_OPERATOR.impl("attention_fwd", _operator_with_gradients, "Autograd")
getattr(torch.library, "register_fake", None or torch.library.impl_abstract)("flashcore::attention_fwd", _operator_shape)
