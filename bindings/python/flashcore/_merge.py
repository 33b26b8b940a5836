# SPDX-License-Identifier: Apache-2.0
"""From arrays of states to the argument struct of flashcore_merge_states: types and shapes that belong together; all else is the
library's to judge."""
from __future__ import annotations

from typing import Optional

from . import _abi_table as abi
from ._arrays import BITS16, DTYPE_NAMES, View
from ._errors import InvalidArgumentError, UnsupportedError
from ._problem import LAYOUT_WORDS, LAYOUTS, LSE_BASES, Shape, in_order, pick

MERGED = {name: DTYPE_NAMES[name] for name in ("float16", "bfloat16", "float32")}


class MergeProblem:
    """The argument struct of one call: the states first, then where the results go."""

    def __init__(self, layout: str, lse_base: str) -> None:
        pick("layout", layout, LAYOUTS)
        self.layout, self.args = layout, abi.MergeStatesArgs(lse_base=pick("lse_base", lse_base, LSE_BASES))

    def set_states(self, outputs: View, lse: View, dtype: Optional[str], out_dtype: Optional[str]) -> None:
        """dtype: what the call says that 16-bit integers are; None where it says nothing."""
        args = self.args
        if dtype is not None:
            pick("dtype", dtype, MERGED)
        self.dtype = _type_of("output_states", outputs, dtype)
        self.out_dtype = self.dtype if out_dtype is None else out_dtype
        pick("out_dtype", self.out_dtype, MERGED)
        if len(outputs.shape) != 5:
            raise InvalidArgumentError(f"output_states has {len(outputs.shape)} dimensions, {outputs.shape}; allowed: 5, states and "
                                       f"{LAYOUT_WORDS[self.layout]}", "output_states")
        batch, seqlen, heads, head_dim_v = in_order(outputs.shape[1:], self.layout)
        for field, size in (("state_count", outputs.shape[0]), ("heads_q", heads), ("head_dim_v", head_dim_v)):
            if not 1 <= size < 2**31:  # ctypes cuts numbers off that do not fit
                raise InvalidArgumentError(f"{field} is {size}; allowed: 1 to 2147483647", field)
        args.state_count, args.batch, args.seqlen_q, args.heads_q, args.head_dim_v = outputs.shape[0], batch, seqlen, heads, head_dim_v
        _fill(args.output_states, "output_states", outputs, in_order(outputs.strides[1:], self.layout), self.output_shape(), self.dtype)
        args.output_state_stride = _state_stride("output_state_stride", outputs)
        _check_lse("lse_states", lse, (args.state_count, *self.lse_shape()))
        _fill_lse(args.lse_states, "lse_states", lse, lse.strides[1:], self.lse_shape())
        args.lse_state_stride = _state_stride("lse_state_stride", lse)

    def set_output(self, output: View) -> None:
        if output.read_only:
            raise InvalidArgumentError("out is read-only", "output")
        given = _type_of("out", output, self.out_dtype if output.dtype == BITS16 else None)
        if given != self.out_dtype:
            raise InvalidArgumentError(f"out is {given}; allowed: {self.out_dtype}, out_dtype or else the type of output_states", "output.dtype")
        expected = in_order(self.output_shape(), self.layout)
        if output.shape != expected:
            raise InvalidArgumentError(f"out has shape {list(output.shape)}; allowed: {list(expected)}, that of a state", "output")
        _fill(self.args.output, "out", output, in_order(output.strides, self.layout), self.output_shape(), self.out_dtype)

    def set_lse(self, lse: View) -> None:
        if lse.read_only:
            raise InvalidArgumentError("lse is read-only", "lse")
        _check_lse("lse", lse, self.lse_shape())
        _fill_lse(self.args.lse, "lse", lse, lse.strides, self.lse_shape())

    def output_shape(self) -> Shape:
        """[batch, seqlen, heads, head_dim]; the array's is in the order of the layout."""
        args = self.args
        return args.batch, args.seqlen_q, args.heads_q, args.head_dim_v

    def lse_shape(self) -> tuple[int, int, int]:
        return self.args.batch, self.args.heads_q, self.args.seqlen_q


def _type_of(name: str, view: View, dtype: Optional[str]) -> str:
    given = dtype if view.dtype == BITS16 and dtype in ("bfloat16", "float16") else view.dtype
    if given == BITS16:
        raise InvalidArgumentError(f"{name} holds {BITS16} without a meaning; say dtype=\"bfloat16\" if they are that", f"{name}.dtype")
    if given not in MERGED:
        raise UnsupportedError(f"{name} is {given}; allowed: {', '.join(MERGED)}", f"{name}.dtype")
    if dtype is not None and given != dtype:
        raise InvalidArgumentError(f"{name} is {given}; allowed: {dtype}, as the call says", f"{name}.dtype")
    return given


def _check_lse(name: str, view: View, expected: tuple[int, ...]) -> None:
    if view.dtype != "float32":
        raise InvalidArgumentError(f"{name} is {view.dtype}; allowed: float32", f"{name}.dtype")
    if view.shape != expected:
        raise InvalidArgumentError(f"{name} has shape {list(view.shape)}; allowed: {list(expected)}, "
                                   f"{'[states, ' if len(expected) == 4 else '['}batch, heads, seqlen] of output_states", name)


def _check_strides(name: str, sizes: tuple[int, ...], strides: tuple[int, ...]) -> None:
    for size, stride in zip(sizes, strides):
        if size > 1 and stride < 0:
            raise InvalidArgumentError(f"{name} has a stride of {stride} elements; allowed: 0 or more", f"{name}.stride")


def _fill(tensor: abi.Tensor, name: str, view: View, strides: Shape, sizes: Shape, dtype: str) -> None:
    if strides[3] != 1 and sizes[3] > 1 and 0 not in sizes:
        raise InvalidArgumentError(f"{name} has a stride of {strides[3]} elements in its last dimension; allowed: 1. Make it contiguous.",
                                   f"{name}.stride[3]")
    _check_strides(name, sizes, strides)
    tensor.data, tensor.dtype = view.address, DTYPE_NAMES[dtype]
    # The stride of a dimension with one element means nothing, and in an array without elements none does.
    if 0 not in sizes:
        tensor.stride[:] = (*(0 if size == 1 else stride for size, stride in zip(sizes[:3], strides[:3])), 1)


def _fill_lse(tensor: abi.Tensor, name: str, view: View, strides: tuple[int, ...], sizes: tuple[int, int, int]) -> None:
    _check_strides(name, sizes, strides)
    tensor.data, tensor.dtype = view.address, abi.DTYPE_FLOAT32
    if 0 not in sizes:
        batch, head, row = (0 if size == 1 else stride for size, stride in zip(sizes, strides))
        tensor.stride[:] = (batch, row, head, 1)


def _state_stride(field: str, view: View) -> int:
    if view.shape[0] == 1 or 0 in view.shape:
        return 0
    if view.strides[0] < 1:
        raise InvalidArgumentError(f"{field} is {view.strides[0]}; allowed: 1 or more", field)
    return view.strides[0]
