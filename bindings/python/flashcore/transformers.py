# SPDX-License-Identifier: Apache-2.0
"""Attention for Hugging Face Transformers, under the name "flashcore".

    import flashcore.transformers
    flashcore.transformers.register()
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="flashcore", dtype=torch.bfloat16)

Prefill, decoding with a cache, cross attention, grouped heads, padded batches, packed sequences and continuous batching work, each in one
launch; rows of padding come out as 0. Softcap, sinks and sliding windows are handed to the library. Other mask tensors, dropout and attention
weights are refused here. Every refusal is an UnsupportedError that names what is missing.
"""
from __future__ import annotations

import functools
from typing import Any, Callable, NoReturn, Optional

import torch
from transformers import AttentionInterface, masking_utils, modeling_utils
from transformers.masking_utils import AttentionMaskInterface

from . import _torch_checks as checks
from ._errors import UnsupportedError
from ._sequences import Sequences
from .torch import attention, context

NAME = "flashcore"
Spans = tuple[tuple[int, int], ...]

# What models hand to every attention function and what does not change attention itself.
_HARMLESS = frozenset((
    "cache_position", "deterministic", "inputs_embeds", "labels", "logits_to_keep", "max_seqlen",
    "num_items_in_batch", "output_hidden_states", "output_router_logits", "past_key_value", "past_key_values", "position_embeddings",
    "position_ids", "return_dict", "return_legacy_cache", "use_cache"))
_MISSING = {
    "position_bias": "flashcore.transformers adds no bias to the scores",
    "bias": "flashcore.transformers adds no bias to the scores",
    "head_mask": "this build has no mask over heads",
    "cache": "a paged cache is for continuous batching, whose function has a name that begins with \"paged|\"",
    "cu_seqlens": "packed sequences are taken as cu_seq_lens_q, cu_seq_lens_k, max_length_q and max_length_k",
    "seq_idx": "packed sequences are taken as cu_seq_lens_q, cu_seq_lens_k, max_length_q and max_length_k",
    "indices": "this build has no sparse attention",
    "block_indices": "this build has no sparse attention",
    "output_attentions": "attention weights are never built; use attn_implementation=\"eager\" to see them",
}


def _refuse(field: str, why: str) -> NoReturn:
    raise UnsupportedError(why, field)


class AttentionPattern:
    """Which keys a model's queries see; what mask_function() hands to attention_function() through the model.

    causal: the last query sees every key in use, each one before it one key less. key_count: keys in use, from the first.
    spans: by sequence of the batch, the keys (first, end) that are no padding; None where nothing is padded.
    window: keys that a query sees with its own, where that is less than all; None: all.
    packed: sequences that follow one another in all rows of the batch, which see nothing of each other; None: each row is one.
    """

    __slots__ = ("causal", "key_count", "spans", "window", "packed", "_padded")
    # generate() with a static cache makes the mask itself and hands it to the model, which asks whether it is still one of padding
    # ([batch, keys]); like a mask of [batch, heads, queries, keys] it is not, and mask_function() gives it back as it is.
    ndim = 4

    def __init__(self, causal: bool, key_count: int, spans: Optional[Spans] = None, window: Optional[int] = None,
                 packed: Optional[Sequences] = None) -> None:
        self.causal, self.key_count, self.spans, self.window, self.packed = causal, key_count, spans, window, packed
        self._padded: Optional[tuple[Any, Sequences]] = None

    def __repr__(self) -> str:
        return (f"AttentionPattern(causal={self.causal}, key_count={self.key_count}, spans={self.spans}, window={self.window}, "
                f"packed={self.packed is not None})")

    def padded(self, spans: Spans, queries: int, keys: int, device: torch.device) -> Sequences:
        """Where the tokens of each sequence are; made once for all layers of a model."""
        known = (queries, keys, device)
        if self._padded is None or self._padded[0] != known:
            # Causal: query i is the token of key i + keys - queries, so those behind the last key are padding; those ahead of the first
            # one see no key.
            used_q = [min(max(end - (keys - queries), 0), queries) if self.causal else queries for _, end in spans]
            leftpad, used_kv, in_use = torch.tensor([[first for first, _ in spans], [end for _, end in spans], used_q], dtype=torch.int32,
                                                    device=device)
            all_used = all(count == queries for count in used_q)
            self._padded = known, Sequences(seqused_q=None if all_used else in_use, seqused_kv=used_kv, leftpad_kv=leftpad)
        return self._padded[1]


def _compiling() -> bool:
    return torch.compiler.is_compiling()


def _refuse_tracing() -> None:
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        _refuse("torch.jit.trace", "the lengths and masks of the traced call would be kept as constants; allowed: torch.compile, torch.export, or "
                "flashcore.torch.attention in a model of your own")


def _runs(valid: torch.Tensor, field: str) -> Spans:
    """(first, end) of the one run of true values in each row of a 2-D boolean tensor; (0, 0) where there is none. Waits for the device."""
    columns = torch.arange(valid.shape[1], device=valid.device)
    first = torch.where(valid, columns, valid.shape[1]).amin(1)
    end = torch.where(valid, columns + 1, 0).amax(1)
    spans = []
    for count, start, stop in torch.stack((valid.sum(1), first, end), 1).tolist():
        if count and count != stop - start:
            _refuse(field, "a sequence has padding between its tokens; allowed: padding before or after them")
        spans.append((start, stop) if count else (0, 0))
    return tuple(spans)


def _without_padding(spans: Spans, key_count: int) -> Optional[Spans]:
    return None if all(span == (0, key_count) for span in spans) else spans


def _pattern_of_padding(causal: bool, padding: Optional[torch.Tensor], kv_offset: int, key_count: int) -> AttentionPattern:
    """padding: boolean [batch, all keys so far], true for tokens."""
    if padding is None:
        return AttentionPattern(causal, key_count)
    if _compiling():
        _refuse("attention_mask", "what it holds cannot be looked at while the model is compiled; leave attention_mask out when nothing is "
                "padded (where the padding of a batch is, is looked at once on the host)")
    padding = padding[:, kv_offset:kv_offset + key_count].to(torch.bool)
    if padding.shape[1] < key_count:
        _refuse("attention_mask", f"it covers {padding.shape[1]} of {key_count} keys")
    return AttentionPattern(causal, key_count, _without_padding(_runs(padding, "attention_mask"), key_count))


def _pattern_of_visible(visible: torch.Tensor, field: str, why: str, key_count: int, window: Optional[int] = None) -> AttentionPattern:
    """visible: boolean [batch, queries, keys]. Refused, because of `why`, when it is neither full nor causal within runs of keys, nor
    causal in a window of that many keys. key_count: keys up to that of the last query."""
    if _compiling():
        _refuse(field, f"{why}, and a mask cannot be looked at while the model is compiled")
    queries = visible.shape[1]
    visible, rest = visible[:, :, :key_count], visible[:, :, key_count:]
    if bool(rest.any()):
        _refuse(field, why)
    spans = _runs(visible.any(1), field)
    column = torch.arange(key_count, device=visible.device)
    last = torch.arange(queries, device=visible.device)[:, None] + key_count - queries  # key of the query itself
    first, end = (torch.tensor(numbers, device=visible.device)[:, None, None] for numbers in zip(*spans))
    # Rows of padding may see nothing: their results mean nothing either.
    full = (column >= first) & (column < end) & visible.any(2, keepdim=True)
    if torch.equal(visible, full):
        return AttentionPattern(False, key_count, _without_padding(spans, key_count))
    if torch.equal(visible, full & (column <= last)):
        return AttentionPattern(True, key_count, _without_padding(spans, key_count))
    if window is not None and torch.equal(visible, full & (column <= last) & (column > last - window)):
        return AttentionPattern(True, key_count, _without_padding(spans, key_count), window)
    packed = _pattern_of_packed(visible, window) if queries == key_count else None
    return packed or _refuse(field, why)


def _pattern_of_packed(visible: torch.Tensor, window: Optional[int]) -> Optional[AttentionPattern]:
    """visible: boolean [batch, tokens, tokens]. Each row one or more sequences that follow one another, causal in themselves, or None."""
    batch, count, _ = visible.shape
    begins = torch.ones(batch, count, dtype=torch.bool, device=visible.device)
    begins[:, 1:] = ~visible.diagonal(-1, 1, 2)  # a sequence's first token does not see the one ahead of it
    number, column = begins.cumsum(1), torch.arange(count, device=visible.device)
    ahead = column[:, None] - column
    seen = (number[:, :, None] == number[:, None]) & (ahead >= 0)
    kept = next((size for size in (None, window) if torch.equal(visible, seen if size is None else seen & (ahead < size))), False)
    if kept is False:
        return None
    bounds = torch.cat((begins.flatten().nonzero()[:, 0], torch.tensor([batch * count], device=visible.device))).to(torch.int32)
    longest = int(bounds.diff().amax())
    return AttentionPattern(True, count, None, kept, Sequences(bounds, bounds, longest, longest))


def _why(mask: Callable[..., Any], local_size: Optional[int]) -> str:
    if local_size is not None:
        return f"the mask has chunks, or a window of {local_size} that is not a plain causal one, and flashcore.transformers takes no mask tensor"
    return f"the mask {getattr(mask, '__qualname__', mask)} is neither full nor causal in each sequence (prefixes, blocks), and " \
           "flashcore.transformers takes no mask tensor"


def mask_function(batch_size: int, kv_length: int, q_length: Optional[int] = None, q_offset: Any = 0, kv_offset: int = 0,
                  mask_function: Optional[Callable[..., Any]] = None, attention_mask: Any = None,
                  local_size: Optional[int] = None, cache_position: Optional[torch.Tensor] = None, device: Any = "cpu",
                  use_vmap: bool = False, **_unused: Any) -> AttentionPattern:
    """For AttentionMaskInterface. Older versions of Transformers say cache_position where newer ones say q_length and q_offset.

    The rest of what they pass is about skipping and types of mask tensors, and none is made here.
    """
    _refuse_tracing()
    if isinstance(attention_mask, AttentionPattern):
        return attention_mask
    if cache_position is not None:
        q_length, q_offset, device = cache_position.shape[0], cache_position[0], cache_position.device
    assert q_length is not None
    if q_length == kv_length:
        q_offset = kv_offset  # no key came before the queries, so the device need not be asked
    if isinstance(q_offset, torch.Tensor):
        if _compiling():
            _refuse("past_key_values", "a static cache holds its length on the device, where it cannot be looked at while the model is compiled; "
                    "use the default cache, or do not compile")
        q_offset = int(q_offset)
    asked = mask_function or masking_utils.causal_mask_function
    if asked is getattr(masking_utils, "bidirectional_mask_function", None):
        return _pattern_of_padding(False, attention_mask, kv_offset, kv_length)
    # Of a cache that is larger than what it holds, keys past the last query are not in use.
    key_count = q_offset - kv_offset + q_length
    if not 0 < key_count <= kv_length:
        _refuse("past_key_values", f"queries end at key {key_count} of {kv_length}")
    if asked is masking_utils.causal_mask_function:
        return _pattern_of_padding(q_length > 1, attention_mask, kv_offset, key_count)
    why = _why(asked, local_size)
    if _compiling():
        _refuse("attention_mask", f"{why}; or it is, but cannot be looked at while the model is compiled")
    visible = masking_utils.sdpa_mask(
        batch_size=batch_size, kv_length=kv_length, kv_offset=kv_offset, mask_function=asked, attention_mask=attention_mask,
        allow_is_causal_skip=False, use_vmap=use_vmap, device=device,
        **({"cache_position": cache_position} if cache_position is not None else {"q_length": q_length, "q_offset": q_offset}))
    assert visible is not None  # nothing may be skipped
    return _pattern_of_visible(visible[:, 0], "attention_mask", why, key_count, local_size)


def _pattern_of_tensor(mask: torch.Tensor) -> AttentionPattern:
    """mask: [batch, queries, keys], boolean or added to the scores, as older models make it whatever is registered. Waits for the
    device in every layer."""
    why = "the mask is neither full nor causal, and flashcore.transformers takes no mask tensor"
    if _compiling():
        _refuse("attention_mask", f"{why}; or it is, but cannot be looked at while the model is compiled")
    visible = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and not bool((visible | (mask <= torch.finfo(mask.dtype).min / 2)).all()):
        _refuse("attention_mask", "it holds numbers between 0 and minus infinity, and flashcore.transformers adds no bias to the scores")
    keys = visible.shape[2]
    used = int(torch.where(visible.any(0).any(0), torch.arange(1, keys + 1, device=visible.device), 0).amax()) if keys else 0
    if used < keys:  # a cache that is larger than what it holds, or padding at the end of every sequence
        try:
            return _pattern_of_visible(visible, "attention_mask", why, used)
        except UnsupportedError:
            pass
    return _pattern_of_visible(visible, "attention_mask", why, keys)


def _pattern_of(module: Any, query: torch.Tensor, key: torch.Tensor, mask: Any, is_causal: Optional[bool]) -> AttentionPattern:
    if isinstance(mask, AttentionPattern):
        return mask
    if mask is None:
        # A model without masks of its own: a decoder's last query sees all keys.
        causal = bool(is_causal if is_causal is not None else getattr(module, "is_causal", False))
        return AttentionPattern(causal and query.shape[2] > 1, key.shape[2])
    if isinstance(mask, torch.Tensor) and mask.dim() == 4 and mask.shape[1] == 1 and mask.shape[3] >= key.shape[2]:
        return _pattern_of_tensor(mask[:, 0, :, :key.shape[2]].expand(query.shape[0], query.shape[2], key.shape[2]))
    shape = f" of {mask.dtype} and shape {list(mask.shape)}" if isinstance(mask, torch.Tensor) else ""
    _refuse("attention_mask", f"it is a {type(mask).__name__}{shape}; flashcore.transformers takes no mask tensor, only the patterns that "
            "flashcore.transformers.register() has the model make")


def attention_function(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any = None,
                       scaling: Optional[float] = None, dropout: float = 0.0, is_causal: Optional[bool] = None,
                       sliding_window: Optional[int] = None, softcap: Optional[float] = None, s_aux: Optional[torch.Tensor] = None,
                       cu_seq_lens_q: Optional[torch.Tensor] = None, cu_seq_lens_k: Optional[torch.Tensor] = None,
                       max_length_q: Optional[int] = None, max_length_k: Optional[int] = None, **kwargs: Any) -> tuple[torch.Tensor, None]:
    """For AttentionInterface: tensors [batch, heads, seqlen, head_dim] to ([batch, seqlen, heads, head_dim], None). s_aux: sinks."""
    _refuse_tracing()
    for name, given in kwargs.items():
        if given is not None and given is not False and name not in _HARMLESS:
            _refuse(name, _MISSING.get(name, "it is not known here whether it changes the attention"))
    if dropout:
        _refuse("dropout", f"dropout is {dropout}; there is none. Call model.eval()")
    pattern = _pattern_of(module, query, key, attention_mask, is_causal)
    window = pattern.window
    if sliding_window is not None and attention_mask is None and key.shape[2] > sliding_window:
        if not pattern.causal and query.shape[2] > 1:
            _refuse("sliding_window", "it is not known here where the window of an attention without a causal mask ends")
        window = sliding_window
    if pattern.key_count > key.shape[2]:
        _refuse("attention_mask", f"it speaks of {pattern.key_count} keys, the layer has {key.shape[2]}")
    if pattern.key_count < key.shape[2]:
        key, value = key[:, :, :pattern.key_count], value[:, :, :pattern.key_count]
    options: dict[str, Any] = {"causal": "bottom_right" if pattern.causal else "none", "scale": scaling, "softcap": softcap or 0.0,
                               "window": (None if window is None else window - 1, None)}
    if s_aux is not None:
        options["sinks"] = s_aux.float()
    packed = _packed_by_caller(pattern, (cu_seq_lens_q, cu_seq_lens_k, max_length_q, max_length_k)) or pattern.packed
    if pattern.spans is None and packed is None and s_aux is None:
        return attention(query, key, value, layout="bhsd", output_layout="bshd", **options), None
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if pattern.spans is not None:
        return _padded(query, key, value, pattern, pattern.spans, options), None
    if packed is None:
        return attention(query, key, value, **options), None
    output = attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), sequences=packed, **options)
    return output.unflatten(0, query.shape[:2]), None


def _packed_by_caller(pattern: AttentionPattern, given: tuple[Any, ...]) -> Optional[Sequences]:
    """What a model was called with beside its inputs: bounds of queries and of keys, and the longest of each."""
    names = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    missing = [name for name, one in zip(names, given) if one is None]
    if given[0] is None and given[1] is None:
        return None
    if missing:
        _refuse(missing[0], f"it is missing, and packed sequences take all of {', '.join(names)}")
    if pattern.spans is not None:
        _refuse("cu_seq_lens_q", "the batch is packed and padded; allowed: one of both")
    return Sequences(given[0], given[1], int(given[2]), int(given[3]))


def paged_attention_function(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any = None, cache: Any = None,
                             cu_seq_lens_q: Optional[torch.Tensor] = None, cu_seq_lens_k: Any = None, max_seqlen_q: int = 0, max_seqlen_k: Any = 0,
                             block_table: Any = None, read_index: Any = None, write_index: Any = None, scaling: Optional[float] = None,
                             dropout: float = 0.0, softcap: Optional[float] = None, s_aux: Optional[torch.Tensor] = None,
                             **kwargs: Any) -> tuple[torch.Tensor, None]:
    """For AttentionInterface as "paged|" with a name, continuous batching: the tokens of all requests in one row, [1, heads, tokens, head_dim].
    They are written to the cache, which hands over the rows of each request one behind the other. Dicts are by kind of layer."""
    for name, given in kwargs.items():
        if given is not None and given is not False and name in _MISSING:
            _refuse(name, _MISSING[name])
    if dropout:
        _refuse("dropout", f"dropout is {dropout}; there is none. Call model.eval()")
    if cache is None:
        _refuse("cache", "a \"paged|\" name is for continuous batching (generate_batch), which brings a paged cache; allowed: the name without it")
    if block_table is not None:
        _refuse("block_table", "Transformers makes it for FlashAttention alone, whose functions also write to the pages")
    window = getattr(module, "sliding_window", None)
    if isinstance(cu_seq_lens_k, dict):
        kind = "sliding_attention" if window else "full_attention"
        cu_seq_lens_k, max_seqlen_k = cu_seq_lens_k[kind], max_seqlen_k[kind]
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, read_index=read_index, write_index=write_index)
    output = attention(query[0].transpose(0, 1), key, value, causal="bottom_right", scale=scaling, softcap=softcap or 0.0,
                       window=(window - 1 if window else None, None), sinks=None if s_aux is None else s_aux.float(),
                       sequences=Sequences(cu_seq_lens_q, cu_seq_lens_k, int(max_seqlen_q), int(max_seqlen_k)))
    return output, None


def _padded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, pattern: AttentionPattern, spans: Spans,
            options: dict[str, Any]) -> torch.Tensor:
    """[batch, seqlen, heads, head_dim], on the keys that are no padding; 0 for queries that are."""
    if len(spans) != query.shape[0]:
        _refuse("attention_mask", f"it has {len(spans)} sequences, query {query.shape[0]}")
    if checks.any_autocast():
        query, key, value = checks.in_autocast_type(query, key, value)
    sequences = pattern.padded(spans, query.shape[1], key.shape[1], query.device)
    if sequences.seqused_q is None:
        return attention(query, key, value, sequences=sequences, **options)
    # Rows that no sequence has are not written.
    return context(query.device).attention(query, key, value, sequences=sequences, out=query.new_zeros((*query.shape[:3], value.shape[3])), **options)


def register(name: str = NAME) -> None:
    """Make attn_implementation=name known to Transformers (4.53 or newer). May be called again, also with another name.

    Transformers 5 takes every name with "flash" in it for a kind of FlashAttention: it then loads that package's functions, which
    is kept from happening here; models that list their FlashAttention versions would run one of them instead, which is refused. A name
    without "flash" in it, like register("fc"), avoids that. Continuous batching (generate_batch) puts "paged|" before the name.
    """
    AttentionInterface.register(name, attention_function)
    AttentionInterface.register(f"paged|{name}", paged_attention_function)
    AttentionMaskInterface.register(name, mask_function)
    _registered.add(name)
    check = getattr(modeling_utils.PreTrainedModel, "_check_and_adjust_attn_implementation", None)
    if check is not None and not hasattr(check, "asks_flashcore"):
        setattr(modeling_utils.PreTrainedModel, "_check_and_adjust_attn_implementation", _refusing_names(check))
    load = getattr(modeling_utils, "lazy_import_flash_attention", None)
    if load is not None and not isinstance(load, _LoadOthers):
        setattr(modeling_utils, "lazy_import_flash_attention", _LoadOthers(load))


_registered: set[str] = set()


def _refusing_names(check: Callable[..., Any]) -> Callable[..., Any]:
    """A model's check of attn_implementation, which says of names that are registered here what they lack."""
    @functools.wraps(check)
    def asking(model: Any, attn_implementation: Optional[str], *arguments: Any, **named: Any) -> Any:
        name = attn_implementation or ""
        others = getattr(model, "_compatible_flash_implementations", None)
        if name in _registered and "flash" in name and others and name not in others:
            _refuse("attn_implementation", f"it is {name!r}, and of names with \"flash\" in them Transformers lets this model have {', '.join(others)} "
                    "alone; allowed: a name without, flashcore.transformers.register(\"fc\") and attn_implementation=\"fc\"")
        return check(model, attn_implementation, *arguments, **named)
    setattr(asking, "asks_flashcore", True)
    return asking


class _LoadOthers:
    """Transformers' loader of FlashAttention's functions, except for names that are registered here: they need none."""

    def __init__(self, load: Callable[..., Any]) -> None:
        self.load = load

    def __call__(self, implementation: Optional[str], *arguments: Any, **named: Any) -> Any:
        name = (implementation or "").removeprefix("paged|")
        return None if name in _registered else self.load(implementation, *arguments, **named)
