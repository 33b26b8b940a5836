# SPDX-License-Identifier: Apache-2.0
"""From the arrays of a call to the library's argument struct. What the C interface cannot see, because it gets addresses only, is
checked here: types, shapes that belong together, the last stride (the device: _arrays.py). All else is the library's to judge."""
from __future__ import annotations

import math
import numbers
from typing import Any, Optional

from . import _abi_table as abi
from ._arrays import BITS16, DTYPE_NAMES, View
from ._errors import InvalidArgumentError, UnsupportedError
from ._execution import Execution, checked
from ._native import Native
from ._variant import Variant, block_bytes

CAUSAL = {"none": abi.CAUSAL_NONE, "top_left": abi.CAUSAL_TOP_LEFT, "bottom_right": abi.CAUSAL_BOTTOM_RIGHT}
# Types of query, key, value and output that the library of this version computes.
COMPUTED = {name: DTYPE_NAMES[name] for name in ("float16", "bfloat16")}
BIAS_TYPES = ("float16", "bfloat16", "float32")
# Arguments that are arrays beside query, key, value and the results.
SCORE_TENSORS = ("alibi_slopes", "sinks", "bias", "mask")
LSE_BASES = {"natural": abi.LSE_NATURAL, "base2": abi.LSE_BASE2}
# Where batch, sequence, head and head dimension stand in an array's shape.
LAYOUTS = {"bshd": (0, 1, 2, 3), "bhsd": (0, 2, 1, 3)}
LAYOUT_WORDS = {"bshd": "[batch, seqlen, heads, head_dim]", "bhsd": "[batch, heads, seqlen, head_dim]"}
Shape = tuple[int, int, int, int]
Window = tuple[Optional[int], Optional[int]]  # keys to the left and to the right of the query's own; None: all


def pick(field: str, value: Any, table: dict[str, Any]) -> Any:
    """table[value], or an error that lists what is allowed."""
    if isinstance(value, str) and value in table:
        return table[value]
    raise InvalidArgumentError(f"{field} is {value!r}; allowed: {', '.join(map(repr, table))}", field)


def in_order(values: tuple[int, ...], layout: str) -> Shape:
    """(batch, seqlen, heads, head_dim) of a shape or of strides; the same step leads back."""
    b, s, h, d = LAYOUTS[layout]
    return values[b], values[s], values[h], values[d]


def _check_layout(name: str, view: View, layout: str) -> None:
    if len(view.shape) != 4:
        raise InvalidArgumentError(f"{name} has {len(view.shape)} dimensions, {view.shape}; allowed: 4, {LAYOUT_WORDS[layout]}", name)
    if view.strides[3] != 1 and view.shape[3] > 1 and 0 not in view.shape:
        raise InvalidArgumentError(f"{name} has a stride of {view.strides[3]} elements in its last dimension; allowed: 1. "
                                   "Make it contiguous.", f"{name}.stride[3]")


def check_shape(name: str, shape: Shape, expected: Shape, layout: str) -> None:
    if shape != expected:
        raise InvalidArgumentError(f"{name} has shape {list(in_order(shape, layout))}; allowed: {list(in_order(expected, layout))}, "
                                   "which follows from the other arrays", name)


def _check_shapes(query: Shape, key: Shape, value: Shape, layout: str) -> None:
    batch, _, _, head_dim = query
    _, seqlen_kv, heads_kv, _ = key
    check_shape("key", key, (batch, seqlen_kv, heads_kv, head_dim), layout)
    check_shape("value", value, (batch, seqlen_kv, heads_kv, value[3]), layout)
    check_heads(query[2], heads_kv, head_dim, value[3])


def check_heads(heads_q: int, heads_kv: int, head_dim: int, head_dim_v: int) -> None:
    if heads_kv == 0 or heads_q % heads_kv:
        raise InvalidArgumentError(f"key has {heads_kv} heads; allowed: a divisor of query's {heads_q}", "heads_kv")
    # Zero would ask the library for head_dim, and ctypes cuts numbers off that do not fit.
    for field, size in (("heads_q", heads_q), ("head_dim", head_dim), ("head_dim_v", head_dim_v)):
        if not 1 <= size < 2**31:
            raise InvalidArgumentError(f"{field} is {size}; allowed: 1 to 2147483647", field)


class Problem:
    """The argument struct of one call: query, key and value first, then where the results go."""

    def __init__(self, layout: str) -> None:
        pick("layout", layout, LAYOUTS)
        self.args, self.layout = abi.AttentionArgs(), layout

    def set_inputs(self, query: View, key: View, value: View, dtype: Optional[str]) -> None:
        """dtype: what the call says that 16-bit integers are; None where it says nothing."""
        args = self.args
        self.check_types(query, key, value, dtype)
        value_shape = in_order(value.shape, self.layout)
        _check_shapes(in_order(query.shape, self.layout), in_order(key.shape, self.layout), value_shape, self.layout)
        args.batch, args.seqlen_q, args.heads_q, args.head_dim = in_order(query.shape, self.layout)
        _, args.seqlen_kv, args.heads_kv, args.head_dim_v = value_shape
        args.query, args.key, args.value = (self.tensor(view) for view in (query, key, value))

    def check_types(self, query: View, key: View, value: View, dtype: Optional[str]) -> None:
        """Types and layouts of the inputs, all of four dimensions."""
        if dtype is not None:
            pick("dtype", dtype, COMPUTED)
        self.dtype = self.out_dtype = self._check("query", query, dtype)
        self._check("key", key, self.dtype)
        self._check("value", value, self.dtype)

    def set_options(self, causal: str, scale: Optional[float], softcap: float, window: Window, lse_base: str, kernel: str) -> None:
        args = self.args
        args.causal, args.lse_base = pick("causal", causal, CAUSAL), pick("lse_base", lse_base, LSE_BASES)
        if scale is not None:
            args.flags |= abi.FLAG_SOFTMAX_SCALE
            args.softmax_scale = _checked_number("softmax_scale", scale)
        args.softcap = _checked_number("softcap", softcap)
        left, right = checked_window(window)
        if left is not None:
            args.flags, args.window_left = args.flags | abi.FLAG_WINDOW_LEFT, left
        if right is not None:
            args.flags, args.window_right = args.flags | abi.FLAG_WINDOW_RIGHT, right
        name = kernel.encode() if isinstance(kernel, str) else b"\0"
        if len(name) >= abi.NAME_BYTES or b"\0" in name:
            raise InvalidArgumentError(f"kernel is {kernel!r}; allowed: the name of a kernel or a module of up to {abi.NAME_BYTES - 1} bytes", "kernel")
        args.kernel = name

    def set_features(self, chunk: int, tensors: dict[str, View]) -> None:
        """After the inputs, whose sizes the tensors of SCORE_TENSORS follow."""
        args = self.args
        if isinstance(chunk, bool) or not isinstance(chunk, int) or not -2**63 <= chunk < 2**63:
            raise InvalidArgumentError(f"attention_chunk is {chunk!r}; allowed: a number of keys, 0 for no chunks", "attention_chunk")
        args.attention_chunk = chunk
        heads, alibi_slopes, sinks = args.heads_q, tensors.get("alibi_slopes"), tensors.get("sinks")
        if alibi_slopes is not None:
            _check_numbers("alibi_slopes", alibi_slopes, ((heads,), (args.batch, heads)))
            if heads > 1 and alibi_slopes.strides[-1] != 1:
                raise InvalidArgumentError(f"alibi_slopes has a stride of {alibi_slopes.strides[-1]} elements between heads; allowed: 1. "
                                           "Make it contiguous.", "alibi_slopes")
            args.alibi_slopes = alibi_slopes.address
            args.alibi_batch_stride = alibi_slopes.strides[0] if len(alibi_slopes.shape) == 2 and args.batch > 1 else 0
        if sinks is not None:
            _check_numbers("sinks", sinks, ((heads,),))
            args.sinks.data, args.sinks.dtype = sinks.address, abi.DTYPE_FLOAT32
            args.sinks.stride[2] = sinks.strides[0] if heads > 1 else 0
        bias, mask = tensors.get("bias"), tensors.get("mask")
        if bias is not None:
            dtype = self.dtype if bias.dtype == BITS16 and self.dtype == "bfloat16" else bias.dtype
            if dtype not in BIAS_TYPES:
                raise UnsupportedError(f"bias is {bias.dtype}; allowed: {', '.join(BIAS_TYPES)}", "bias.dtype")
            args.bias.data, args.bias.dtype, args.bias.stride[:] = bias.address, DTYPE_NAMES[dtype], self._score_strides("bias", bias)
        if mask is not None:
            if mask.dtype not in ("bool", "uint8"):
                raise UnsupportedError(f"mask is {mask.dtype}; allowed: bool, uint8", "mask.dtype")
            args.mask.data, args.mask.stride[:] = mask.address, self._score_strides("mask", mask)

    def _score_strides(self, field: str, view: View) -> Shape:
        """Of an array whose shape is [batch, heads_q, seqlen_q, seqlen_kv], or 1 where it is the same for all, or without leading ones. The
        library reads four zeros as a contiguous array; what is of size 1 anyway has a stride of 1."""
        args = self.args
        sizes = (args.batch, args.heads_q, args.seqlen_q, args.seqlen_kv)
        missing = 4 - len(view.shape)
        shape, given = (1,) * missing + view.shape, (0,) * missing + view.strides
        if missing < 0 or any(size not in (1, whole) for size, whole in zip(shape, sizes)):
            raise InvalidArgumentError(f"{field} has shape {list(view.shape)}; allowed: what broadcasts to {list(sizes)}, [batch, heads, seqlen of "
                                       "query, seqlen of key]", field)
        batch, head, row, key = (1 if whole == 1 else 0 if size == 1 else stride for size, whole, stride in zip(shape, sizes, given))
        if not any((batch, head, row, key)) and 0 not in sizes:
            raise InvalidArgumentError(f"{field} has one number for all scores; allowed: one for each key at least", field)
        return batch, row, head, key

    def set_variant(self, native: Native, variant: Optional[Variant], params: Optional[View]) -> None:
        if variant is None and params is not None:
            raise InvalidArgumentError("variant_params is given without a variant", "variant_params")
        if variant is None:
            return
        if not isinstance(variant, Variant):
            raise TypeError(f"variant is a {type(variant).__name__}; allowed: flashcore.Variant")
        self.args.variant = variant.number(native, 0 if params is None else block_bytes(params))
        self.args.variant_params = 0 if params is None else params.address

    def set_execution(self, execution: Optional[Execution]) -> None:
        if execution is None:
            return
        given = checked(execution)
        given.set_in(self.args)
        self.out_dtype = given.out_dtype or self.dtype

    def set_output(self, output: View) -> None:
        args, layout = self.args, self.layout
        self._check("output", output, self.out_dtype)
        if output.read_only:
            raise InvalidArgumentError("output is read-only", "output")
        check_shape("output", in_order(output.shape, layout), (*self.rows_q(), args.heads_q, args.head_dim_v), layout)
        args.output = self.tensor(output)
        args.output.dtype = DTYPE_NAMES[self.out_dtype]

    def set_output_strides(self, strides: tuple[int, ...], layout: Optional[str] = None) -> None:
        """For an output of output_shape(layout) that is made later; its address is 0 until then. layout: None for the inputs'."""
        self.args.output.dtype = DTYPE_NAMES[self.out_dtype]
        if 0 not in strides:
            self.args.output.stride[:] = in_order(strides, layout or self.layout)

    def set_lse(self, lse: View) -> None:
        if lse.read_only:
            raise InvalidArgumentError("lse is read-only", "lse")
        if lse.shape != self.lse_shape():
            words = "[batch, heads, seqlen of query]" if len(self.lse_shape()) == 3 else "[heads, rows of query]"
            raise InvalidArgumentError(f"lse has shape {list(lse.shape)}; allowed: {list(self.lse_shape())}, {words}", "lse")
        if lse.dtype != "float32":
            raise InvalidArgumentError(f"lse is {lse.dtype}; allowed: float32", "lse.dtype")
        if 0 not in lse.shape and any(size > 1 and stride <= 0 for size, stride in zip(lse.shape, lse.strides)):
            raise InvalidArgumentError(f"lse has strides {list(lse.strides)}; allowed: every element in a place of its own",
                                       "lse.stride")
        steps = [0 if size == 1 or 0 in lse.shape else stride for size, stride in zip(lse.shape, lse.strides)]
        batch, head, row = steps if len(steps) == 3 else (0, *steps)
        self.args.lse.data, self.args.lse.dtype = lse.address, abi.DTYPE_FLOAT32
        self.args.lse.stride[:] = (batch, row, head, 1)

    def output_shape(self, layout: Optional[str] = None) -> tuple[int, ...]:
        pick("output_layout", layout or self.layout, LAYOUTS)
        return in_order((*self.rows_q(), self.args.heads_q, self.args.head_dim_v), layout or self.layout)

    def lse_shape(self) -> tuple[int, ...]:
        batch, rows = self.rows_q()
        return batch, self.args.heads_q, rows

    def rows_q(self) -> tuple[int, int]:
        """Batch and rows of query, output and lse as they lie in memory."""
        return self.args.batch, self.args.seqlen_q

    def check_tensor(self, name: str, view: View) -> None:
        """Of an array that goes with the inputs: their type, four dimensions."""
        self._check(name, view, self.dtype)

    def check_type(self, name: str, view: View) -> None:
        """Of any dimensions."""
        self._check_type(name, view, self.dtype)

    def _check(self, name: str, view: View, dtype: Optional[str]) -> str:
        """Type and layout of one array; returns its type."""
        given = self._check_type(name, view, dtype)
        _check_layout(name, view, self.layout)
        return given

    def _check_type(self, name: str, view: View, dtype: Optional[str]) -> str:
        given = view.dtype
        if given == BITS16:
            if dtype != "bfloat16":
                raise InvalidArgumentError(f"{name} holds {BITS16} without a meaning; say dtype=\"bfloat16\" if they are that",
                                           f"{name}.dtype")
            given = "bfloat16"
        if dtype is not None and given != dtype:
            of_query = dtype if name == "query" else self.dtype
            if of_query not in COMPUTED:  # the library would refuse it next, so the others must not be told to be like it
                raise UnsupportedError(f"query is {of_query}; allowed: {', '.join(COMPUTED)}", "query.dtype")
            allowed = "as the call says" if name == "query" or dtype == "float32" else "the type of query"
            raise InvalidArgumentError(f"{name} is {given}; allowed: {dtype}, {allowed}", f"{name}.dtype")
        if given not in DTYPE_NAMES:
            raise UnsupportedError(f"{name} is {given}; allowed: {', '.join(COMPUTED)}", f"{name}.dtype")
        return given

    def tensor(self, view: View) -> abi.Tensor:
        tensor = abi.Tensor(data=view.address, dtype=DTYPE_NAMES[self.dtype])
        sizes, strides = in_order(view.shape, self.layout), in_order(view.strides, self.layout)
        # The stride of a dimension with one element means nothing, and producers put anything there; in an array without
        # elements none means anything. The last is 1: four zeros mean "contiguous".
        if 0 not in sizes:
            tensor.stride[:] = (*(0 if size == 1 else stride for size, stride in zip(sizes[:3], strides[:3])), 1)
        return tensor


def _check_numbers(field: str, view: View, shapes: tuple[tuple[int, ...], ...]) -> None:
    if view.shape not in shapes:
        raise InvalidArgumentError(f"{field} has shape {list(view.shape)}; allowed: {' or '.join(str(list(one)) for one in shapes)}, "
                                   "by the heads of query", field)
    if view.dtype != "float32":
        raise UnsupportedError(f"{field} is {view.dtype}; allowed: float32", f"{field}.dtype" if field == "sinks" else field)


def _checked_number(field: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not math.isfinite(number):
        raise InvalidArgumentError(f"{field} is {number!r}; allowed: a finite number", field)
    return float(number)


def checked_window(window: Any) -> Window:
    sides = window if isinstance(window, tuple) else ()
    if len(sides) != 2 or any(side is not None and (isinstance(side, bool) or not isinstance(side, int)) for side in sides):
        raise InvalidArgumentError(f"window is {window!r}; allowed: (left, right), each a number of keys or None for all", "window")
    for field, side in zip(("window_left", "window_right"), sides):
        if side is not None and not -2**63 <= side < 2**63:
            raise InvalidArgumentError(f"{field} is {side}; allowed: a number of 64 bits", field)
    return sides[0], sides[1]
