# SPDX-License-Identifier: Apache-2.0
"""Attention for PyTorch tensors, on their device and PyTorch's current stream.

    from flashcore.torch import attention, attention_with_kv_cache, scaled_dot_product_attention, varlen_attention

Where PyTorch must see the call (torch.compile, torch.export, make_fx, torch.jit.trace, vmap, fake tensors, subclasses, modes), all are
the operator torch.ops.flashcore.attention_fwd, or attention_with_features_fwd for more tensors than query, key and value, and for the lse.
There is no backward yet: tensors that require gradients are refused, except under torch.no_grad(), and so are tangents of forward-mode
differentiation. Under torch.autocast all compute in its type.

An eager call is meant to cost little beside its launch: what a call of some shapes, strides and types needs is checked and filled
once, and kept as a prepared call (_torch_fast.py, _torch_features.py).
"""
from __future__ import annotations

import threading
from typing import Any, Callable, Optional

import torch

from . import _abi_table as abi
from . import _torch_checks as checks
from . import _torch_fast as fast
from . import _torch_features as features
from ._append import Append, check_append
from ._arrays import packed_strides, view_of
from ._context import Context
from ._errors import InternalError, InvalidArgumentError, UnsupportedError, check
from ._native import Native
from ._problem import Problem, Window, checked_window
from ._sequences import Sequences, check_sequences
from ._variant import Variant

_contexts: dict[int, Context] = {}  # by ordinal; -1 is the CPU
_contexts_lock = threading.Lock()
_NO_WINDOW: Window = (None, None)

why_portable: str = fast.why_portable
"""Why calls are prepared in Python, at several times the cost, and not by _flashcore_torch; empty where they are not."""
_is_compiling: Callable[[], bool] = getattr(torch.compiler, "is_dynamo_compiling", torch.compiler.is_compiling)


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
            _calls_of(made, made.native()).set_default()
            _contexts[index] = made
        return _contexts[index]


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str = "none", scale: Optional[float] = None,
              softcap: float = 0.0, window: Window = (None, None), layout: str = "bshd", output_layout: Optional[str] = None,
              kernel: str = "", on: Optional[Context] = None, chunk: int = 0, alibi_slopes: Optional[torch.Tensor] = None,
              sinks: Optional[torch.Tensor] = None, bias: Optional[torch.Tensor] = None, mask: Optional[torch.Tensor] = None,
              variant: Optional[Variant] = None, variant_params: Optional[torch.Tensor] = None, sequences: Optional[Sequences] = None,
              return_lse: bool = False, append: Optional[Append] = None) -> Any:
    """softmax(scale * query.key^T + mask) . value in a new tensor; (output, lse) with return_lse.

    query [batch, seqlen_q, heads_q, head_dim], key and value [batch, seqlen_kv, heads_kv, head_dim], or layout="bhsd" for heads before
    sequence; heads_kv divides heads_q. float16 or bfloat16, any strides but the last, which is 1.
    causal: "none", "top_left" (PyTorch's is_causal) or "bottom_right" (a cache: the last query sees every key).
    scale: 1/sqrt(head_dim) where None. softcap, window: as in Context.attention, and so are chunk, alibi_slopes, sinks, bias, mask,
    sequences and the lse, with which a call is prepared in Python: it costs the host a few times as much. With variant and variant_params
    it is not prepared, and a graph of torch.compile breaks there.
    append: new rows of key and value, and rotary embedding, as in Context.attention: key and value are written to. They are not converted
    under autocast, and a graph of torch.compile breaks there.
    The output is contiguous in output_layout, by default that of the inputs.
    on: a context of the caller's own instead of context(query.device); a graph of torch.compile breaks there.
    """
    if variant is not None or variant_params is not None:
        if output_layout not in (None, layout):
            raise UnsupportedError(f"output_layout is {output_layout!r}; allowed: the inputs' with a variant", "output_layout")
        return (on or context(query.device)).attention(query, key, value, causal=causal, scale=scale, softcap=softcap, window=window, chunk=chunk,
                                                       alibi_slopes=alibi_slopes, sinks=sinks, bias=bias, mask=mask, sequences=sequences,
                                                       append=append, layout=layout, variant=variant, variant_params=variant_params,
                                                       kernel=kernel, return_lse=return_lse)
    of_scores = (alibi_slopes, sinks, bias, mask)
    if chunk != 0 or sequences is not None or return_lse or append is not None or any(tensor is not None for tensor in of_scores):
        if output_layout not in (None, layout):
            raise UnsupportedError(f"output_layout is {output_layout!r}; allowed: the inputs' with chunk, alibi_slopes, sinks, bias, mask, "
                                   "sequences, append or return_lse", "output_layout")
        given = (query, key, value, causal, scale, softcap, window, layout, kernel, on, chunk, of_scores, sequences, return_lse)
        if append is not None:
            return checks.call_untraced(_with_append, append, *given)
        return checks.call_untraced(_with_features, *given) if _is_compiling() and on is not None else _with_features(*given)
    if _is_compiling():
        if on is not None:
            return checks.call_untraced(attention, query, key, value, causal, scale, softcap, window, layout, output_layout, kernel, on)
        return torch.ops.flashcore.attention_fwd(query, key, value, causal, scale, softcap, *window, layout, output_layout, kernel)
    if checks.any_autocast():
        query, key, value = checks.in_autocast_type(query, key, value)
    # Options may also be given by position: Python fills in what is missing of keyword-only ones one by one, for 0.4 us.
    calls = fast if on is None else on.prepared_calls
    if calls is not None:
        output = calls.run(query, key, value, causal, scale, softcap, window, layout, output_layout, kernel, True)
        if output is not None:
            return output
    return _prepare_and_run(on, query, key, value, (causal, scale, softcap, window, layout, output_layout, kernel, True))


def varlen_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens_q: torch.Tensor, cu_seqlens_kv: Optional[torch.Tensor],
                     max_seqlen_q: int, max_seqlen_kv: Optional[int], *, seqused_q: Optional[torch.Tensor] = None,
                     seqused_kv: Optional[torch.Tensor] = None, leftpad_kv: Optional[torch.Tensor] = None,
                     kv_batch_index: Optional[torch.Tensor] = None, page_table: Optional[torch.Tensor] = None,
                     page_table_value: Optional[torch.Tensor] = None, **options: Any) -> Any:
    """attention() on sequences that follow one another: query [total_q, heads_q, head_dim], key and value [total_kv, heads_kv, head_dim], the
    output like query; (output, lse [heads_q, total_q]) with return_lse=True. The others as in Context.varlen_attention; options as of
    attention()."""
    return attention(query, key, value, sequences=Sequences(
        cu_seqlens_q, cu_seqlens_kv, max_seqlen_q, max_seqlen_kv, seqused_q, seqused_kv, leftpad_kv, kv_batch_index, page_table, page_table_value),
        **options)


def attention_with_kv_cache(query: torch.Tensor, key_cache: torch.Tensor, value_cache: torch.Tensor, seqused_kv: Optional[torch.Tensor] = None, *,
                            leftpad_kv: Optional[torch.Tensor] = None, kv_batch_index: Optional[torch.Tensor] = None,
                            page_table: Optional[torch.Tensor] = None, page_table_value: Optional[torch.Tensor] = None,
                            max_seqlen_kv: Optional[int] = None, new_key: Optional[torch.Tensor] = None,
                            new_value: Optional[torch.Tensor] = None, rotary_cos: Optional[torch.Tensor] = None,
                            rotary_sin: Optional[torch.Tensor] = None, rotary_positions: Optional[torch.Tensor] = None,
                            rotary_interleaved: bool = False, **options: Any) -> Any:
    """attention() on what caches hold: query [batch, seqlen_q, heads_q, head_dim]; seqused_kv [batch] says how many rows of each are in use,
    kv_batch_index or page_table where they are; new_key and new_value are written there first, in place. As
    Context.attention_with_kv_cache; options as of attention()."""
    append = Append(new_key, new_value, rotary_cos, rotary_sin, rotary_positions, rotary_interleaved)
    return attention(query, key_cache, value_cache, append=append.if_any(), sequences=Sequences(
        None, None, None, max_seqlen_kv, None, seqused_kv, leftpad_kv, kv_batch_index, page_table, page_table_value), **options)


def merge_states(output_states: torch.Tensor, lse_states: torch.Tensor, *, out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None,
                 out_dtype: Optional[torch.dtype] = None, lse_base: str = "natural", layout: str = "bshd",
                 on: Optional[Context] = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(output, lse) over all keys from attention over parts of them: Context.merge_states, on PyTorch's current stream of the
    tensors' device. A graph of torch.compile breaks there.

    Two results of attention become one with torch.stack((first, second)), torch.stack((first_lse, second_lse))."""
    if not isinstance(output_states, torch.Tensor):
        raise TypeError(f"output_states is a {type(output_states).__name__}; allowed: a PyTorch tensor")
    named = None if out_dtype is None else str(out_dtype)[len("torch."):]
    merged: tuple[torch.Tensor, torch.Tensor] = (on or context(output_states.device)).merge_states(
        output_states, lse_states, out=out, lse=lse, out_dtype=named, lse_base=lse_base, layout=layout)
    return merged


def scaled_dot_product_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Optional[torch.Tensor] = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: Optional[float] = None,
                                 enable_gqa: bool = False) -> torch.Tensor:
    """torch.nn.functional.scaled_dot_product_attention for [batch, heads, seqlen, head_dim]; refuses dropout. attn_mask: boolean, or of
    floating point and added to the scores, of a shape that broadcasts; queries that see no key get 0."""
    if dropout_p != 0.0:
        raise UnsupportedError(f"dropout_p is {dropout_p}; allowed: 0, there is no dropout", "dropout_p")
    if attn_mask is not None:
        return _masked(query, key, value, attn_mask, is_causal, scale, enable_gqa)
    causal = "top_left" if is_causal else "none"
    if _is_compiling():
        _check_heads(query, key, enable_gqa)
        return torch.ops.flashcore.attention_fwd(query, key, value, causal, scale, 0.0, None, None, "bhsd", None, "")
    if checks.any_autocast():
        query, key, value = checks.in_autocast_type(query, key, value)
    output = fast.run(query, key, value, causal, scale, 0.0, _NO_WINDOW, "bhsd", None, "", enable_gqa)
    if output is not None:
        return output
    return _prepare_and_run(None, query, key, value, (causal, scale, 0.0, _NO_WINDOW, "bhsd", None, "", enable_gqa))


def _masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor, is_causal: bool, scale: Optional[float],
            grouped: bool) -> torch.Tensor:
    if not isinstance(attn_mask, torch.Tensor):
        raise TypeError(f"attn_mask is a {type(attn_mask).__name__}; allowed: a PyTorch tensor")
    if is_causal:
        raise InvalidArgumentError("is_causal is True; allowed: False with attn_mask, as in PyTorch", "is_causal")
    _check_heads(query, key, grouped)
    if attn_mask.numel() == 1:  # one number for all scores, which the library does not take
        attn_mask = attn_mask.reshape(1).expand(key.shape[2]).contiguous()
    hides = attn_mask.dtype == torch.bool
    return attention(query, key, value, scale=scale, layout="bhsd", bias=None if hides else attn_mask, mask=attn_mask if hides else None)


def _with_features(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
                   window: Window, layout: str, kernel: str, on: Optional[Context], chunk: int, of_scores: tuple[Optional[torch.Tensor], ...],
                   sequences: Optional[Sequences], return_lse: bool) -> Any:
    """attention() with tensors beside query, key and value, with chunks or the lse."""
    check_sequences(sequences)
    tensors = features.tensors_of(query, key, value, of_scores, sequences)
    most = (None, None) if sequences is None else (sequences.max_seqlen_q, sequences.max_seqlen_kv)
    if _is_compiling():
        output, lse = torch.ops.flashcore.attention_with_features_fwd(*tensors, causal, scale, softcap, *window, chunk, *most, layout, return_lse,
                                                                      kernel)
        return (output, lse) if return_lse else output
    for name, tensor in zip(features.NAMES, tensors):
        if tensor is not None and not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; allowed: a PyTorch tensor")
    if checks.any_autocast():
        tensors = (*checks.in_autocast_type(*tensors[:3]), *tensors[3:])
    if on is not None:
        on.native()  # ClosedError comes before anything about the tensors
    if features.needs_dispatch(tensors):
        before, _chosen.context = _chosen.context, on
        try:
            made = torch.ops.flashcore.attention_with_features_fwd(*tensors, causal, scale, softcap, *checked_window(window), chunk, *most, layout,
                                                                   return_lse, kernel)
        finally:
            _chosen.context = before
    else:
        made = features.run(on or context(query.device), tensors, (causal, scale, softcap, window, chunk, *most, layout, return_lse, kernel))
    return tuple(made) if return_lse else made[0]


def _with_append(append: Append, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
                 window: Window, layout: str, kernel: str, on: Optional[Context], chunk: int, of_scores: tuple[Optional[torch.Tensor], ...],
                 sequences: Optional[Sequences], return_lse: bool) -> Any:
    """attention() that writes to key and value first. PyTorch does not see it, and tensors that it has to see are refused."""
    check_sequences(sequences)
    check_append(append)
    tensors = features.tensors_of(query, key, value, of_scores, sequences, append)
    for name, tensor in zip(features.NAMES_WITH_APPEND, tensors):
        if tensor is not None and not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; allowed: a PyTorch tensor")
    checks.refuse_unseen({"append": True})
    most = (None, None) if sequences is None else (sequences.max_seqlen_q, sequences.max_seqlen_kv)
    made = features.run_with_append(on or context(query.device), tensors, (causal, scale, softcap, window, chunk, *most, layout, return_lse, kernel),
                                    append.rotary_interleaved)
    return tuple(made) if return_lse else made[0]


def _check_heads(query: torch.Tensor, key: torch.Tensor, grouped: bool) -> None:
    if not grouped and query.shape[1:2] != key.shape[1:2]:
        raise InvalidArgumentError(f"key has {key.shape[1]} heads, query {query.shape[1]}; allowed: the same number, or enable_gqa=True", "key")


def _prepare_and_run(chosen: Optional[Context], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: Any) -> torch.Tensor:
    """The long way: check everything, compute, and prepare the next call of this kind."""
    if chosen is not None:
        chosen.native()  # ClosedError comes before anything about the tensors
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; allowed: a PyTorch tensor")
        checks.refuse_layouts(name, tensor)
    causal, scale, softcap, window, layout, output_layout, kernel, grouped = options
    _check_heads(query, key, grouped)
    if fast.needs_dispatch(query, key, value):
        before, _chosen.context = _chosen.context, chosen
        try:
            return torch.ops.flashcore.attention_fwd(query, key, value, causal, scale, softcap, *checked_window(window), layout, output_layout, kernel)
        finally:
            _chosen.context = before
    if query.device.type not in ("cpu", "cuda"):
        raise InvalidArgumentError(f"query is on {query.device}; allowed: cpu, cuda", "query")
    return _compute(chosen or context(query.device), query, key, value, options)


class _Chosen(threading.local):
    """The context of the caller's own for the operator, which takes none, while attention() calls it."""

    context: Optional[Context] = None


_chosen = _Chosen()


def _compute(on: Context, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: Any) -> torch.Tensor:
    causal, scale, softcap, window, layout, output_layout, kernel, _ = options
    native = on.native()
    problem = Problem(layout)
    problem.set_inputs(view_of("query", query, on.place), view_of("key", key, on.place), view_of("value", value, on.place), None)
    problem.set_options(causal, scale, softcap, window, "natural", kernel)
    size = problem.output_shape(output_layout)
    stride, args, error = packed_strides(size), problem.args, abi.Error()
    problem.set_output_strides(stride, output_layout)
    new, new_arguments = fast.output_maker(query.device, size, stride, query.dtype)
    output = new(*new_arguments)
    args.output.data = output.data_ptr()
    check(native.library.flashcore_attention_fwd(native.handle, args, fast.current_stream(on.device, on.ordinal), error), error)
    _calls_of(on, native).remember((query, key, value), options, bytes(args), new, new_arguments)
    return output


def _calls_of(on: Context, native: Native) -> Any:
    """Its prepared calls, made when they are first wanted."""
    calls = on.prepared_calls
    if calls is None:
        calls = on.prepared_calls = fast.make_calls(on.device, on.ordinal, native)
        if on.closed:  # meanwhile, by another thread, which may not have seen what was just put there
            calls.close()
            on.prepared_calls = None
    return calls


# --- The operator, for torch.compile and everything else that works on PyTorch's dispatcher ---------------------------

_OPERATOR = torch.library.Library("flashcore", "DEF")
_OPERATOR.define("attention_fwd(Tensor query, Tensor key, Tensor value, str causal, float? scale, float softcap, "
                 "int? window_left, int? window_right, str layout, str? output_layout, str kernel) -> Tensor", tags=fast.operator_tags())


@checks.untraced
def _operator(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
              window_left: Optional[int], window_right: Optional[int], layout: str, output_layout: Optional[str], kernel: str) -> torch.Tensor:
    """For tensors that are memory, or subclasses that PyTorch takes for it: nothing else has to see the call any more."""
    on = _chosen.context or context(query.device)
    options = (causal, scale, softcap, (window_left, window_right), layout, output_layout, kernel, True)
    calls = on.prepared_calls
    output = None if calls is None else calls.run(query, key, value, *options)
    return _compute(on, query, key, value, options) if output is None else output


@checks.untraced
def _operator_with_gradients(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *options: Any) -> torch.Tensor:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        checks.refuse_layouts(name, tensor)
        checks.refuse_gradients(name, tensor)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.flashcore.attention_fwd(query, key, value, *options)


@checks.untraced
def _operator_in_autocast(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *options: Any) -> torch.Tensor:
    query, key, value = checks.in_autocast_type(query, key, value)
    with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST_KEYS):
        return torch.ops.flashcore.attention_fwd(query, key, value, *options)


@checks.untraced
def _operator_without_memory(*given: Any) -> Any:
    for name, tensor in zip(features.NAMES, given):
        if not isinstance(tensor, torch.Tensor):
            continue
        checks.refuse_layouts(name, tensor)
        if tensor.is_quantized:
            raise UnsupportedError(f"{name} is {str(tensor.dtype)[len('torch.'):]}; allowed: float16, bfloat16", f"{name}.dtype")
    raise InternalError("PyTorch took plain tensors for others")


def _operator_shape(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: str, scale: Optional[float], softcap: float,
                    window_left: Optional[int], window_right: Optional[int], layout: str, output_layout: Optional[str],
                    kernel: str) -> torch.Tensor:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != 4:
            raise InvalidArgumentError(f"{name} has {tensor.dim()} dimensions; allowed: 4", name)
    one, two = (1, 2) if layout == (output_layout or layout) else (2, 1)
    return query.new_empty((query.shape[0], query.shape[one], query.shape[two], value.shape[3]))


_OPERATOR.define("attention_with_features_fwd(Tensor query, Tensor key, Tensor value, "
                 + "".join(f"Tensor? {name}, " for name in features.NAMES[3:])
                 + "str causal, float? scale, float softcap, int? window_left, int? window_right, int chunk, SymInt? max_seqlen_q, "
                 "SymInt? max_seqlen_kv, str layout, bool return_lse, str kernel) -> (Tensor, Tensor)", tags=fast.operator_tags())
_TENSORS = len(features.NAMES)


@checks.untraced
def _features_operator(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The second tensor is empty where no lse is asked for."""
    tensors, (causal, scale, softcap, left, right, *more) = given[:_TENSORS], given[_TENSORS:]
    output, lse = features.run(_chosen.context or context(tensors[0].device), tensors, (causal, scale, softcap, (left, right), *more))
    return output, output.new_empty((0,), dtype=torch.float32) if lse is None else lse


@checks.untraced
def _features_operator_with_gradients(*given: Any) -> Any:
    for name, tensor in zip(features.NAMES, given):
        if tensor is not None:
            checks.refuse_layouts(name, tensor)
            checks.refuse_gradients(name, tensor)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.flashcore.attention_with_features_fwd(*given)


@checks.untraced
def _features_operator_in_autocast(*given: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST_KEYS):
        return torch.ops.flashcore.attention_with_features_fwd(*checks.in_autocast_type(*given[:3]), *given[3:])


def _features_operator_shape(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    output, lse = features.shapes(given[:_TENSORS], given[-3], given[-2])
    return given[0].new_empty(output), given[0].new_empty(lse, dtype=torch.float32)


_OPERATOR.impl("attention_fwd", _operator, "CPU")
_OPERATOR.impl("attention_fwd", _operator, "CUDA")
_OPERATOR.impl("attention_fwd", _operator_with_gradients, "Autograd")
_AUTOCAST_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU) | torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
for _key in ("AutocastCPU", "AutocastCUDA"):
    _OPERATOR.impl("attention_fwd", _operator_in_autocast, _key)
for _key in ("SparseCPU", "SparseCUDA", "SparseCsrCPU", "SparseCsrCUDA", "QuantizedCPU", "QuantizedCUDA", "MkldnnCPU", "NestedTensorCPU",
             "NestedTensorCUDA"):
    _OPERATOR.impl("attention_fwd", _operator_without_memory, _key)
    _OPERATOR.impl("attention_with_features_fwd", _operator_without_memory, _key)
for _key in ("CPU", "CUDA"):
    _OPERATOR.impl("attention_with_features_fwd", _features_operator, _key)
_OPERATOR.impl("attention_with_features_fwd", _features_operator_with_gradients, "Autograd")
for _key in ("AutocastCPU", "AutocastCUDA"):
    _OPERATOR.impl("attention_with_features_fwd", _features_operator_in_autocast, _key)
_register_fake = getattr(torch.library, "register_fake", None) or torch.library.impl_abstract
_register_fake("flashcore::attention_fwd", _operator_shape)
_register_fake("flashcore::attention_with_features_fwd", _features_operator_shape)
