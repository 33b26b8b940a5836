# SPDX-License-Identifier: Apache-2.0
"""What flashcore.torch takes from inside PyTorch because the public way costs microseconds. Each is looked for and tried out
when it is first needed; where it is missing or behaves otherwise, the public way does the same, only slower."""
from __future__ import annotations

from typing import Any, Callable, Optional

import torch

_guards: Any = getattr(getattr(torch._C, "_dynamo", None), "guards", None)


def _guard(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Callable[..., bool]:
    """check(query, key, value): is everything but the contents as it is now? (type, device, dtype, sizes, strides, gradients, and
    the modes of PyTorch that stand between a tensor and its kernels)"""
    tensors = (query, key, value)
    guards = _guards.TensorGuards(*tensors, dynamic_dims_sizes=[list(t.shape) for t in tensors],
                                  dynamic_dims_strides=[list(t.stride()) for t in tensors])
    return guards.check


def _guard_is_trusted() -> bool:
    """Does it tell apart all that it must? Tried on small tensors, once."""
    def tensor(*size: int, **more: Any) -> torch.Tensor:
        return torch.empty(size, **{"dtype": torch.float16, **more})
    a, b, c = tensor(2, 3, 4, 8), tensor(2, 5, 4, 8), tensor(2, 5, 4, 8)
    try:
        check = _guard(a, b, c)
        same = check(a, b, c) and check(tensor(2, 3, 4, 8), tensor(2, 5, 4, 8), tensor(2, 5, 4, 8))
        others = [tensor(2, 6, 4, 8), tensor(2, 4, 5, 8).transpose(1, 2), tensor(2, 5, 4, 8, dtype=torch.bfloat16),
                  tensor(2, 5, 4, 8, device="meta"), tensor(2, 5, 4, 8, requires_grad=True), tensor(2, 5, 32)]
        return same is True and not any(check(a, b, other) or check(a, other, c) or check(other, b, c) for other in others)
    except (AttributeError, TypeError, ValueError, RuntimeError, SystemError):  # another PyTorch, with another TensorGuards
        return False


_trusted: Optional[bool] = None


def make_guard(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Optional[Callable[..., bool]]:
    """A quick test whether later tensors are like these; None where PyTorch has none, and for tensors that require gradients,
    for which it depends on the moment whether they are refused."""
    global _trusted
    if _trusted is None:
        _trusted = _guard_is_trusted()
    if not _trusted or query.requires_grad or key.requires_grad or value.requires_grad:
        return None
    return _guard(query, key, value)


_is_wrapped: Callable[[torch.Tensor], bool] = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", lambda _: False)


def needs_dispatch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Must PyTorch's dispatcher see the call? Tensors that are more than memory (fake ones, subclasses, vmap's), and active modes."""
    plain = (torch.Tensor, torch.nn.Parameter)
    return (any(type(tensor) not in plain or _is_wrapped(tensor) for tensor in (query, key, value))
            or torch._C._len_torch_dispatch_stack() > 0)


def _no_stream(_ordinal: int) -> int:
    return 0


def _current_stream(ordinal: int) -> int:
    return torch.cuda.current_stream(ordinal).cuda_stream


def makers(device: torch.device) -> tuple[Callable[..., torch.Tensor], Callable[[int], int]]:
    """(new(size, stride, dtype): an output on the device; the device's current stream as a number, by ordinal)"""
    raw_stream: Callable[[int], int] = _no_stream
    new: Any = getattr(_guards, f"_empty_strided_{device.type}", None)
    if device.type == "cuda":
        raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", _current_stream)
        if torch.cuda.device_count() != 1:  # it allocates on the current device, which may be another
            new = None
    if new is None:
        def new(size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            return torch.empty_strided(size, stride, dtype=dtype, device=device)
    return new, raw_stream


def operator_tags() -> tuple[Any, ...]:
    """Strides reach the operator as the program made them: the last one must be 1."""
    return tuple(getattr(torch.Tag, name) for name in ("pt2_compliant_tag", "needs_fixed_stride_order") if hasattr(torch.Tag, name))
