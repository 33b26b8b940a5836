# SPDX-License-Identifier: Apache-2.0
"""Calls of flashcore.torch with more tensors than query, key and value, or with the lse: ALiBi, sinks, chunks, sequences of their own.

What a call of some shapes, strides, types and options needs is checked and filled once, and kept by its context; only the addresses
change after that, and the stream. The numbers in tensors are never looked at."""
from __future__ import annotations

from struct import pack_into
from typing import Any, Optional

import torch

from . import _abi_table as abi
from . import _torch_checks as checks
from . import _torch_fast as fast
from ._append import ARRAYS as APPEND_ARRAYS
from ._append import Append, set_append
from ._arrays import packed_strides, view_of
from ._context import Context, problem_of
from ._errors import check
from ._problem import SCORE_TENSORS
from ._sequences import NOWHERE, Sequences

_ARRAYS = tuple(name for name in Sequences._fields if not name.startswith("max_"))
NAMES = ("query", "key", "value", *SCORE_TENSORS, *_ARRAYS)
NAMES_WITH_APPEND = (*NAMES, *APPEND_ARRAYS)
_ADDRESSES = [getattr(abi.AttentionArgs, name).offset for name in NAMES_WITH_APPEND]  # of a flashcore_tensor its first field
_OUTPUT, _LSE = abi.AttentionArgs.output.offset, abi.AttentionArgs.lse.offset
_MOST_CALLS = 1024  # as of other prepared calls
Tensors = tuple[Optional[torch.Tensor], ...]  # in the order of NAMES, or of NAMES_WITH_APPEND
Made = tuple[torch.Tensor, Optional[torch.Tensor]]  # output and lse


def tensors_of(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, of_scores: tuple[Optional[torch.Tensor], ...],
               sequences: Optional[Sequences], append: Optional[Append] = None) -> Tensors:
    of_append = () if append is None else tuple(getattr(append, name) for name in APPEND_ARRAYS)
    return (query, key, value, *of_scores, *(getattr(sequences, name, None) for name in _ARRAYS), *of_append)


def needs_dispatch(tensors: Tensors) -> bool:
    """Must PyTorch's dispatcher see the call?"""
    return checks.is_watched() or any(checks.is_more_than_memory(tensor) for tensor in tensors if tensor is not None)


def _signature(tensors: Tensors, options: tuple[Any, ...]) -> Any:
    """None where a prepared call would not do."""
    if checks.may_carry_tangents():
        return None
    recorded = torch.is_grad_enabled()
    made: list[Any] = [options]
    for tensor in tensors:
        if tensor is None:
            made.append(None)
        elif tensor.is_nested or tensor.layout != torch.strided or recorded and tensor.requires_grad:
            return None
        else:
            made.append((tensor.shape, tensor.stride(), tensor.dtype, tensor.device))
    return tuple(made)


def run_with_append(on: Context, tensors: Tensors, options: tuple[Any, ...], interleaved: bool) -> Made:
    """run() with the tensors of NAMES_WITH_APPEND. What it writes to key and value autograd is told of."""
    made = run(on, tensors, options, interleaved)
    given = dict(zip(NAMES_WITH_APPEND, tensors))
    if given["new_key"] is not None:
        checks.has_changed(given["key"])
        checks.has_changed(given["value"])
    return made


def run(on: Context, tensors: Tensors, options: tuple[Any, ...], interleaved: Optional[bool] = None) -> Made:
    """options: causal, scale, softcap, window, chunk, max_seqlen_q, max_seqlen_kv, layout, return_lse, kernel. interleaved: of a rotation; None
    where nothing is appended or rotated."""
    native = on.native()
    try:
        signature = _signature(tensors, options if interleaved is None else (*options, interleaved))
        prepared = on.feature_calls.get(signature)
    except TypeError:  # an option of a wrong kind, which the long way refuses by name
        signature = prepared = None
    if prepared is None:
        return _prepare_and_run(on, tensors, options, interleaved, signature)
    args, new_output, new_lse = bytearray(prepared[0]), prepared[1], prepared[2]
    for offset, tensor in zip(_ADDRESSES, tensors):
        if tensor is not None:
            pack_into("Q", args, offset, tensor.data_ptr() or NOWHERE)
    output, lse = new_output[0](*new_output[1]), None
    pack_into("Q", args, _OUTPUT, output.data_ptr())
    if new_lse is not None:
        lse = new_lse[0](*new_lse[1])
        pack_into("Q", args, _LSE, lse.data_ptr())
    stream, error = fast.current_stream(on.device, on.ordinal), abi.Error()
    check(native.library.flashcore_attention_fwd(native.handle, abi.AttentionArgs.from_buffer(args), stream, error), error)
    return output, lse


def _prepare_and_run(on: Context, tensors: Tensors, options: tuple[Any, ...], interleaved: Optional[bool], signature: Any) -> Made:
    causal, scale, softcap, window, chunk, max_seqlen_q, max_seqlen_kv, layout, return_lse, kernel = options
    native, given = on.native(), dict(zip(NAMES_WITH_APPEND, tensors))
    views = {name: view_of(name, tensor, on.place) for name, tensor in given.items() if tensor is not None}
    sequences = Sequences(max_seqlen_q=max_seqlen_q, max_seqlen_kv=max_seqlen_kv, **{name: given[name] for name in _ARRAYS})
    call = problem_of(views, sequences if any(one is not None for one in sequences) else None, layout, None)
    call.set_options(causal, scale, softcap, window, "natural", kernel)
    call.set_features(chunk, views)
    if interleaved is not None:
        set_append(call, Append(*(given[name] for name in APPEND_ARRAYS), interleaved), views)
    query = tensors[0]
    assert query is not None

    def maker(shape: tuple[int, ...], dtype: torch.dtype) -> Any:
        return fast.output_maker(query.device, shape, packed_strides(shape), dtype)
    new_output, new_lse, lse = maker(call.output_shape(), query.dtype), None, None
    output = new_output[0](*new_output[1])
    call.set_output(view_of("output", output, on.place))
    if return_lse:
        new_lse = maker(call.lse_shape(), torch.float32)
        lse = new_lse[0](*new_lse[1])
        call.set_lse(view_of("lse", lse, on.place))
    stream, error = fast.current_stream(on.device, on.ordinal), abi.Error()
    check(native.library.flashcore_attention_fwd(native.handle, call.args, stream, error), error)
    if signature is not None:
        if len(on.feature_calls) >= _MOST_CALLS:
            on.feature_calls.clear()
        on.feature_calls[signature] = bytes(call.args), new_output, new_lse
    return output, lse


def shapes(tensors: Tensors, layout: str, return_lse: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of output and lse, from tensors without memory."""
    query, value = tensors[0], tensors[2]
    assert query is not None and value is not None
    rows, heads = query.dim() - 3, query.dim() - 2
    if layout == "bhsd":
        rows, heads = heads, rows
    lse = (*query.shape[:query.dim() - 3], query.shape[heads], query.shape[rows]) if return_lse else (0,)
    return (*query.shape[:-1], value.shape[-1]), lse
