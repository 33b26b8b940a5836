# SPDX-License-Identifier: Apache-2.0
"""The functions that programs import from flash_attn (version 2), computed by this library: forward only.

    from flashcore.flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache

Names, order and defaults of the arguments are those of that package, shapes too: [batch, seqlen, heads, head_dim], or [total, heads,
head_dim] with cu_seqlens. causal and windows count from the last query at the last key; a side of window_size below 0 is open.
alibi_slopes: float32 [heads] or [batch, heads]. The log-sum-exp is float32, natural, [batch, heads, seqlen], or [heads, total] with
cu_seqlens; a row that sees no key has output 0 and -inf there. With return_attn_probs a call returns (output, lse, None): probabilities
are never built. deterministic changes nothing: the same call gives the same bits. num_splits may be 0 or 1: how keys are split is the
library's choice. What is not served is refused by name: dropout and gradients.

Pages may have any size. Index tensors are int32 or int64 (block_table int32) and are read on the device alone. Tensors whose last
dimension has a stride are copied. A call is made on the current stream of the tensors' device.
"""
from __future__ import annotations

from typing import Any, Optional, Union

import torch

from ._append import Append
from ._errors import InvalidArgumentError, UnsupportedError
from ._sequences import Sequences
from .torch import attention

WindowSize = tuple[int, int]
_Tensor = torch.Tensor
_OPEN: WindowSize = (-1, -1)


def flash_attn_func(q: _Tensor, k: _Tensor, v: _Tensor, dropout_p: float = 0.0, softmax_scale: Optional[float] = None, causal: bool = False,
                    window_size: WindowSize = _OPEN, softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None, deterministic: bool = False,
                    return_attn_probs: bool = False) -> Any:
    """Attention of q [batch, seqlen_q, heads_q, head_dim] on k and v [batch, seqlen_k, heads_k, head_dim]."""
    _refuse_dropout(dropout_p)
    return _attend(q, k, v, None, softmax_scale, causal, window_size, softcap, alibi_slopes, return_attn_probs)


def flash_attn_qkvpacked_func(qkv: _Tensor, dropout_p: float = 0.0, softmax_scale: Optional[float] = None, causal: bool = False,
                              window_size: WindowSize = _OPEN, softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None,
                              deterministic: bool = False, return_attn_probs: bool = False) -> Any:
    """flash_attn_func of qkv [batch, seqlen, 3, heads, head_dim]."""
    q, k, v = _unpack("qkv", qkv, 3, 5)
    return flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic,
                           return_attn_probs)


def flash_attn_kvpacked_func(q: _Tensor, kv: _Tensor, dropout_p: float = 0.0, softmax_scale: Optional[float] = None, causal: bool = False,
                             window_size: WindowSize = _OPEN, softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None,
                             deterministic: bool = False, return_attn_probs: bool = False) -> Any:
    """flash_attn_func of q and kv [batch, seqlen_k, 2, heads_k, head_dim]."""
    k, v = _unpack("kv", kv, 2, 5)
    return flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic,
                           return_attn_probs)


def flash_attn_varlen_func(q: _Tensor, k: _Tensor, v: _Tensor, cu_seqlens_q: _Tensor, cu_seqlens_k: _Tensor, max_seqlen_q: int, max_seqlen_k: int,
                           dropout_p: float = 0.0, softmax_scale: Optional[float] = None, causal: bool = False, window_size: WindowSize = _OPEN,
                           softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None, deterministic: bool = False,
                           return_attn_probs: bool = False, block_table: Optional[_Tensor] = None) -> Any:
    """Attention of sequences one behind the other: q [total_q, heads_q, head_dim], k and v [total_k, heads_k, head_dim], or [pages, page
    size, heads_k, head_dim] with block_table [batch, pages of a sequence], of which cu_seqlens_k says how many keys there are."""
    _refuse_dropout(dropout_p)
    if block_table is None:
        sequences = Sequences(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    else:
        room = block_table.shape[1] * k.shape[1]  # programs may name the most that a model has
        sequences = Sequences(cu_seqlens_q, None, max_seqlen_q, min(max_seqlen_k, room), seqused_kv=cu_seqlens_k.diff(), page_table=block_table)
    return _attend(q, k, v, sequences, softmax_scale, causal, window_size, softcap, alibi_slopes, return_attn_probs)


def flash_attn_varlen_qkvpacked_func(qkv: _Tensor, cu_seqlens: _Tensor, max_seqlen: int, dropout_p: float = 0.0,
                                     softmax_scale: Optional[float] = None, causal: bool = False, window_size: WindowSize = _OPEN,
                                     softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None, deterministic: bool = False,
                                     return_attn_probs: bool = False) -> Any:
    """flash_attn_varlen_func of qkv [total, 3, heads, head_dim]."""
    q, k, v = _unpack("qkv", qkv, 3, 4)
    return flash_attn_varlen_func(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, dropout_p, softmax_scale, causal,
                                  window_size, softcap, alibi_slopes, deterministic, return_attn_probs)


def flash_attn_varlen_kvpacked_func(q: _Tensor, kv: _Tensor, cu_seqlens_q: _Tensor, cu_seqlens_k: _Tensor, max_seqlen_q: int, max_seqlen_k: int,
                                    dropout_p: float = 0.0, softmax_scale: Optional[float] = None, causal: bool = False,
                                    window_size: WindowSize = _OPEN, softcap: float = 0.0, alibi_slopes: Optional[_Tensor] = None,
                                    deterministic: bool = False, return_attn_probs: bool = False) -> Any:
    """flash_attn_varlen_func of q and kv [total_k, 2, heads_k, head_dim]."""
    k, v = _unpack("kv", kv, 2, 4)
    return flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p,
                                  softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)


def flash_attn_with_kvcache(q: _Tensor, k_cache: _Tensor, v_cache: _Tensor, k: Optional[_Tensor] = None, v: Optional[_Tensor] = None,
                            rotary_cos: Optional[_Tensor] = None, rotary_sin: Optional[_Tensor] = None,
                            cache_seqlens: Optional[Union[int, _Tensor]] = None, cache_batch_idx: Optional[_Tensor] = None,
                            cache_leftpad: Optional[_Tensor] = None, block_table: Optional[_Tensor] = None, softmax_scale: Optional[float] = None,
                            causal: bool = False, window_size: WindowSize = _OPEN, softcap: float = 0.0, rotary_interleaved: bool = True,
                            alibi_slopes: Optional[_Tensor] = None, num_splits: int = 0, return_softmax_lse: bool = False) -> Any:
    """Attention of q [batch, seqlen_q, heads_q, head_dim] on a cache [entries, seqlen, heads_k, head_dim], of which the first cache_seqlens
    rows are in use, a number or [batch], less cache_leftpad [batch] at their beginning; entry cache_batch_idx [batch] where given. With
    block_table [batch, pages of a sequence] the cache is [pages, page size, heads_k, head_dim]. (output, lse) with return_softmax_lse.

    k and v [batch, seqlen_new, heads_k, head_dim] are written to the cache, in place, behind the rows in use, and attended to. With
    rotary_cos and rotary_sin [positions, rotary_dim / 2] they are rotated at positions cache_seqlens, + 1 .., and so is q with causal or a
    window; else all of q is at position cache_seqlens. rotary_interleaved: pairs are neighbours, not halves."""
    if num_splits not in (0, 1):
        raise UnsupportedError(f"num_splits is {num_splits}; allowed: 0 or 1, how keys are split is the library's choice", "num_splits")
    append = _appended(k_cache, v_cache, k, v, rotary_cos, rotary_sin, rotary_interleaved, cache_seqlens)
    sequences = None
    if isinstance(cache_seqlens, int):
        rows = cache_seqlens + (0 if k is None else k.shape[1])
        if cache_batch_idx is None and cache_leftpad is None and block_table is None and 0 <= cache_seqlens and rows <= k_cache.shape[1]:
            # Of so many rows the last ones are the new ones.
            k_cache, v_cache, cache_seqlens = k_cache[:, :rows], v_cache[:, :rows], None
        else:
            # Of the type that the other arrays have: they are all of one.
            other = next((tensor for tensor in (cache_batch_idx, cache_leftpad) if tensor is not None), None)
            cache_seqlens = torch.full((q.shape[0],), cache_seqlens, dtype=torch.int32 if other is None else other.dtype, device=q.device)
    if any(tensor is not None for tensor in (cache_seqlens, cache_batch_idx, cache_leftpad, block_table)):
        sequences = Sequences(seqused_kv=cache_seqlens, leftpad_kv=cache_leftpad, kv_batch_index=cache_batch_idx, page_table=block_table)
    made = _attend(q, k_cache, v_cache, sequences, softmax_scale, causal, window_size, softcap, alibi_slopes, return_softmax_lse, append)
    return made[:2] if return_softmax_lse else made


def _appended(k_cache: _Tensor, v_cache: _Tensor, k: Optional[_Tensor], v: Optional[_Tensor], rotary_cos: Optional[_Tensor],
              rotary_sin: Optional[_Tensor], rotary_interleaved: bool, cache_seqlens: Any) -> Optional[Append]:
    """As flash_attn has it, new keys need lengths, and a rotation needs new keys."""
    if k is None:
        for name, given in (("v", v), ("rotary_cos", rotary_cos), ("rotary_sin", rotary_sin)):
            if given is not None:
                raise InvalidArgumentError(f"{name} is given without k", name)
        return None
    if v is None:
        raise InvalidArgumentError("v is missing; allowed: both k and v, or neither", "v")
    if cache_seqlens is None:
        raise InvalidArgumentError("cache_seqlens is missing; allowed: the rows in use, behind which k and v are written", "cache_seqlens")
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        if cache.stride(-1) != 1:  # a copy would be written to in its place
            raise InvalidArgumentError(f"{name} has a stride of {cache.stride(-1)} in its last dimension; allowed: 1, as k and v are written to it",
                                       name)
    tables = (table if table is None else table.contiguous() for table in (rotary_cos, rotary_sin))
    new = (tensor if tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (k, v))
    return Append(*new, *tables, rotary_interleaved=rotary_cos is not None and rotary_interleaved)


def _refuse_dropout(dropout_p: float) -> None:
    if dropout_p != 0.0:
        raise UnsupportedError(f"dropout_p is {dropout_p}; allowed: 0, there is no dropout", "dropout_p")


def _unpack(name: str, packed: _Tensor, count: int, dimensions: int) -> tuple[_Tensor, ...]:
    if packed.dim() != dimensions or packed.shape[-3] != count:
        raise InvalidArgumentError(f"{name} has shape {list(packed.shape)}; allowed: {dimensions} dimensions, the third last of {count}", name)
    return packed.unbind(-3)


def _side(size: int) -> Optional[int]:
    return None if size < 0 else size


def _attend(q: _Tensor, k: _Tensor, v: _Tensor, sequences: Optional[Sequences], scale: Optional[float], causal: bool, window_size: WindowSize,
            softcap: float, alibi_slopes: Optional[_Tensor], with_lse: bool, append: Optional[Append] = None) -> Any:
    """The output, or (output, lse, None)."""
    q, k, v = (tensor if tensor.dim() == 0 or tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (q, k, v))
    made = attention(q, k, v, "bottom_right" if causal else "none", scale, softcap, (_side(window_size[0]), _side(window_size[1])),
                     alibi_slopes=alibi_slopes, sequences=sequences, return_lse=with_lse, append=append)
    return (*made, None) if with_lse else made
