# SPDX-License-Identifier: Apache-2.0
"""Variant: attention with a few lines of C++ of the caller's own, compiled into the library's kernels."""
from __future__ import annotations

import ctypes

from . import _abi_table as abi
from ._arrays import BITS16, ELEMENT_BYTES, View, packed_strides
from ._errors import InvalidArgumentError, check
from ._native import Native


class Variant:
    """A text that changes scores and hides keys; flashcore.h (flashcore_variant_create) says what stands in it.

        nearest = flashcore.Variant("bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const void *params)"
                                    "{ return key <= query && query - key < 64; }")
        context.attention(query, key, value, variant=nearest)

    It belongs to no context: each makes its own of it on the first call, which compiles it, and keeps that until it is closed.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}; allowed: str")
        if not text:  # a size of 0 would ask the library for the end of the text
            raise InvalidArgumentError("text has 0 bytes; allowed: 1 to 65536", "text")
        self.text = text

    def __repr__(self) -> str:
        return f"<flashcore.Variant of {len(self.text)} characters>"

    def number(self, native: Native, params_bytes: int) -> int:
        """Its number in a context, for calls with a block of so many bytes."""
        key = (self.text, params_bytes)
        with native.variants_lock:
            known = native.variants.get(key)
            if known is None:
                text, options = self.text.encode(), abi.VariantOptions(params_bytes=params_bytes)
                number, error = ctypes.c_uint64(), abi.Error()
                check(native.library.flashcore_variant_create(native.handle, text, len(text), options, ctypes.byref(number), error), error)
                known = native.variants[key] = number.value
        return known


def block_bytes(view: View) -> int:
    """Of an array that a variant reads as bytes."""
    size = 2 if view.dtype == BITS16 else ELEMENT_BYTES.get(view.dtype, 0)
    if size == 0:
        raise InvalidArgumentError(f"variant_params is {view.dtype}; allowed: {', '.join(ELEMENT_BYTES)}", "variant_params")
    for count in view.shape:
        size *= count
    if size == 0 or size % 8 != 0:
        raise InvalidArgumentError(f"variant_params has {size} bytes; allowed: a multiple of 8, above 0", "variant_params")
    if any(count > 1 and given != packed for count, given, packed in zip(view.shape, view.strides, packed_strides(view.shape))):
        raise InvalidArgumentError("variant_params is not contiguous. Make it contiguous.", "variant_params")
    return size
