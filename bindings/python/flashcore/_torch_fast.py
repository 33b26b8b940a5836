# SPDX-License-Identifier: Apache-2.0
"""The prepared calls of flashcore.torch: what a call of some shapes, strides, types and options needs is checked and filled once, and
kept; only the four addresses and the stream change after that.

_flashcore_torch (native/torch_calls.cpp) does that where this Python can load it and PyTorch is 2.10 or newer. PortableCalls does the same
in Python, in several times the time."""
from __future__ import annotations

import ctypes
import functools
import importlib.util
from typing import Any, Callable, Optional

import torch

from . import _abi_table as abi
from . import _torch_checks as checks
from ._errors import check
from ._native import Native

_MOST_CALLS = 1024  # a growing key-value cache makes a new shape in every step
_Made = Callable[..., torch.Tensor]
_Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def needs_dispatch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Must PyTorch's dispatcher see the call? Tensors that are more than memory, and active modes."""
    return checks.is_watched() or any(checks.is_more_than_memory(tensor) for tensor in (query, key, value))


def _refuse(status: int, error: bytes) -> None:
    check(status, abi.Error.from_buffer_copy(error))


_native: Any = None
why_portable = ""  # why PortableCalls are in use; empty where they are not
try:
    _NAMES = (f"{__package__}._flashcore_torch", "_flashcore_torch")  # a wheel's; a build tree's, whose package has none
    _native = importlib.import_module(next(filter(importlib.util.find_spec, _NAMES), _NAMES[0]))
    _native.configure(getattr(torch.Tensor, "__dlpack_c_exchange_api__", None), *checks.PLAIN, torch.is_grad_enabled, checks.dispatch_depth,
                      _refuse, checks.OTHER_MODES, checks.FORWARD_AD, checks.ODD_MEMORY)
except ImportError as _reason:  # a wheel that was built without it, another kind of Python, an older or much newer PyTorch
    why_portable = str(_reason)


class PortableCalls:
    """Prepared calls by signature. Any thread may use them."""

    def __init__(self, native: Native, device: str, ordinal: int) -> None:
        self._native, self._place = native, (device, ordinal)
        self._prepared: dict[Any, tuple[bytes, _Made, tuple[Any, ...]]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._prepared)

    def set_default(self) -> None:
        _defaults[self._place] = self

    def close(self) -> None:
        """Forget all calls, and remember none any more."""
        self._closed = True
        self._prepared.clear()

    @staticmethod
    def _signature(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: tuple[Any, ...]) -> Any:
        """None where a prepared call would not do."""
        if checks.may_carry_tangents() or needs_dispatch(query, key, value):
            return None
        if any(t.is_nested or t.layout != torch.strided for t in (query, key, value)):  # no strides to tell apart by
            return None
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
            return None
        return (options, *((t.shape, t.stride(), t.dtype, t.device) for t in (query, key, value)))

    def run(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *options: Any) -> Optional[torch.Tensor]:
        """The output; None where no call is prepared for such tensors, or where PyTorch must see it."""
        try:
            prepared = self._prepared.get(self._signature(query, key, value, options))
        except TypeError:  # an option of a wrong kind, which the long way refuses by name
            return None
        if prepared is None:
            return None
        args, error = abi.AttentionArgs.from_buffer_copy(prepared[0]), abi.Error()
        output = prepared[1](*prepared[2])
        args.query.data, args.key.data, args.value.data = query.data_ptr(), key.data_ptr(), value.data_ptr()
        args.output.data = output.data_ptr()
        check(self._native.library.flashcore_attention_fwd(self._native.handle, args, current_stream(*self._place), error), error)
        return output

    def remember(self, tensors: _Tensors, options: tuple[Any, ...], args: bytes, new: _Made, new_arguments: tuple[Any, ...]) -> bool:
        """From now on run() does this for such tensors and options. False where it would not take the tensors."""
        signature = self._signature(*tensors, options)
        if signature is None or self._closed:
            return False
        if len(self._prepared) >= _MOST_CALLS:
            self._prepared.clear()
        self._prepared[signature] = args, new, new_arguments
        return True


_defaults: dict[tuple[str, int], PortableCalls] = {}


def _run_portable(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *options: Any) -> Optional[torch.Tensor]:
    device = query.device
    calls = _defaults.get((device.type, device.index or 0))
    return None if calls is None else calls.run(query, key, value, *options)


# run(query, key, value, *options): that of the calls that were made the default for the query's device.
run: Callable[..., Optional[torch.Tensor]] = _run_portable if why_portable else _native.run


def make_calls(device: str, ordinal: int, native: Native) -> Any:
    """An empty set of prepared calls for a context on "cpu" or "cuda"."""
    if why_portable:
        return PortableCalls(native, device, ordinal)
    function = ctypes.cast(native.library.flashcore_attention_fwd, ctypes.c_void_p).value
    return _native.Calls(native, function, native.handle, {"cpu": 1, "cuda": 2}[device], ordinal)  # as DLPack numbers devices


_raw_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream",
                                            lambda ordinal: torch.cuda.current_stream(ordinal).cuda_stream)


def current_stream(device: str, ordinal: int) -> int:
    """PyTorch's current stream on it as a number."""
    return 0 if device == "cpu" else _raw_stream(ordinal)


def output_maker(device: torch.device, size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> tuple[_Made, tuple[Any, ...]]:
    """(new, arguments): new(*arguments) is an output tensor. PyTorch's own compiled code allocates by a function that takes half as long
    as the public one; on machines with several GPUs it would allocate on the current one, which may be another."""
    quick: Any = getattr(getattr(getattr(torch._C, "_dynamo", None), "guards", None), f"_empty_strided_{device.type}", None)
    if quick is not None and (device.type == "cpu" or torch.cuda.device_count() == 1):
        return quick, (size, stride, dtype)
    return functools.partial(torch.empty_strided, dtype=dtype, device=device), (size, stride)


def operator_tags() -> tuple[Any, ...]:
    """Strides reach the operator as the program made them: the last one must be 1."""
    return tuple(getattr(torch.Tag, name) for name in ("pt2_compliant_tag", "needs_fixed_stride_order") if hasattr(torch.Tag, name))
