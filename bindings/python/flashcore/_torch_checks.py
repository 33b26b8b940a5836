# SPDX-License-Identifier: Apache-2.0
"""What PyTorch knows of a tensor or of a call and an address does not tell: gradients, tangents, transforms, modes, memory that is not
what the tensor holds. Whoever takes an address asks here first, so that nothing of it is lost in silence."""
from __future__ import annotations

import functools
from typing import Any, Callable, Optional

import torch
from torch.autograd import forward_ad

from ._errors import InvalidArgumentError, UnsupportedError

FORWARD_AD = forward_ad
PLAIN = (torch.Tensor, torch.nn.Parameter)
dispatch_depth: Callable[[], int] = torch._C._len_torch_dispatch_stack
is_tracing: Callable[[], bool] = torch._C._is_tracing  # by torch.jit.trace
# What else watches calls, besides modes of the dispatcher.
OTHER_MODES: tuple[Callable[[], bool], ...] = (getattr(torch._C, "_is_torch_function_mode_enabled", lambda: False), is_tracing)
# Methods: does the memory hold something else? (Conjugates are complex, which nothing here takes.)
ODD_MEMORY = ("is_neg",)
is_wrapped: Callable[[torch.Tensor], bool] = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", lambda _: False)
_NO_DISPATCH = torch.Tensor.__torch_dispatch__


_frames: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with torch.compile kept out of it and of all that it calls: a graph breaks there. torch.compiler.disable does that
    too, but it imports the compiler, which takes seconds."""
    if _frames is None:
        return function

    @functools.wraps(function)
    def call(*given: Any) -> Any:
        before = _frames.set_eval_frame(None)
        try:
            return function(*given)
        finally:
            _frames.set_eval_frame(before)
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    code: Any = getattr(call, "__code__")
    if hasattr(_frames, "skip_code"):
        _frames.skip_code(code)
    elif hasattr(_frames, "set_code_exec_strategy"):  # since PyTorch 2.7
        _frames.set_code_exec_strategy(code, _frames._FrameExecStrategy(_frames._FrameAction.SKIP, _frames._FrameAction.DEFAULT))
    return call


@untraced
def call_untraced(function: Callable[..., Any], *given: Any) -> Any:
    return function(*given)


def is_watched() -> bool:
    """Is a mode active that PyTorch has to show the call?"""
    return dispatch_depth() > 0 or any(mode() for mode in OTHER_MODES)


def may_carry_tangents() -> bool:
    return bool(forward_ad._current_level >= 0)


def is_more_than_memory(tensor: torch.Tensor) -> bool:
    """Must PyTorch's dispatcher see it? Fake tensors, subclasses, vmap's; views whose negation is still to come; zeros without memory."""
    return type(tensor) not in PLAIN or is_wrapped(tensor) or tensor.is_neg() or tensor._is_zerotensor()


def refuse_layouts(name: str, tensor: torch.Tensor) -> None:
    """Before anybody asks for a shape, which nested tensors do not have."""
    if tensor.is_nested:
        raise UnsupportedError(f"{name} is a nested tensor; allowed: a strided one, which torch.nested.to_padded_tensor makes, or its values() and "
                               "offsets() with flashcore.torch.varlen_attention", name)
    if tensor.layout != torch.strided:
        raise InvalidArgumentError(f"{name} is a {tensor.layout} tensor on {tensor.device}; allowed: strided tensors on cpu or cuda", name)


def refuse_gradients(name: str, tensor: torch.Tensor) -> None:
    """A derivative that would be missing without a word."""
    if tensor.requires_grad and torch.is_grad_enabled():
        raise UnsupportedError(f"{name} requires gradients, and there is no backward yet; call it under torch.no_grad() or detach {name}", name)
    if may_carry_tangents() and forward_ad.unpack_dual(tensor).tangent is not None:
        raise UnsupportedError(f"{name} carries a tangent (torch.func.jvp, torch.autograd.forward_ad), and there is no derivative yet; "
                               f"detach {name}", name)


def refuse_without_memory(name: str, tensor: torch.Tensor) -> None:
    """Tensors whose address is none, or is that of something else."""
    if is_wrapped(tensor):
        raise UnsupportedError(f"{name} belongs to a transform of torch.func (vmap, grad, functionalize), which has no memory of its own; "
                               "allowed there: flashcore.torch.attention", name)
    if type(tensor).__torch_dispatch__ is not _NO_DISPATCH:
        raise UnsupportedError(f"{name} is a {type(tensor).__name__}, whose memory only its own __torch_dispatch__ knows; allowed: plain "
                               "tensors, or flashcore.torch.attention, which it sees as torch.ops.flashcore.attention_fwd", name)
    if tensor.is_neg() or tensor.is_conj() or tensor._is_zerotensor():
        raise UnsupportedError(f"{name} is a view whose values are not in memory (a negation, a conjugate, zeros); allowed: "
                               f"{name}.resolve_neg(), .resolve_conj() or .clone()", name)


def refuse_unseen(options: dict[str, bool]) -> None:
    """For calls that PyTorch does not see, because of those of the options that are given, or of arrays that are not its own. Modes over
    functions see no more of others' functions."""
    if dispatch_depth() > 0 or is_tracing():
        field = next((name for name, is_given in options.items() if is_given), "query")
        what = field if options.get(field) else "arrays of others"
        raise UnsupportedError(f"a call with {what} is not seen by PyTorch, and a mode is active that has to see it (torch.jit.trace, make_fx, "
                               f"torch.export, fake tensors); allowed: one outside of the mode, or with tensors alone, without {', '.join(options)}",
                               field)


any_autocast: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)
if hasattr(torch, "get_autocast_dtype"):
    def _autocast_type(device: str) -> Optional[torch.dtype]:
        """None where autocast is off on such devices."""
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
else:  # before PyTorch 2.4
    def _autocast_type(device: str) -> Optional[torch.dtype]:
        if device == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def in_autocast_type(*tensors: Any) -> list[Any]:
    """As PyTorch's own attention takes them: floating-point tensors in autocast's type, but for float64."""
    made = []
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.device.type in ("cpu", "cuda"):
            wanted = _autocast_type(tensor.device.type)
            if wanted is not None and tensor.is_floating_point() and tensor.dtype != torch.float64:
                tensor = tensor.to(wanted)
        made.append(tensor)
    return made


def has_changed(tensor: Any) -> None:
    """For tensors that were written through their address: autograd finds that what it had saved of them is gone."""
    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)
