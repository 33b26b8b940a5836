# SPDX-License-Identifier: Apache-2.0
"""New rows of a key and value cache, and rotary embedding: which arrays say what is written and rotated ahead of attention, and the fields
of the argument struct that say so. The numbers in them are read on the device alone, by the library."""
from __future__ import annotations

from typing import Any, NamedTuple, Optional

from . import _abi_table as abi
from ._arrays import View
from ._errors import InvalidArgumentError
from ._problem import Problem, check_shape, in_order
from ._sequences import INDEX_TYPES, NOWHERE

_PAIRS = (("new_key", "new_value"), ("rotary_cos", "rotary_sin"))


class Append(NamedTuple):
    """What is done ahead of attention in the same call: fields as in flashcore_attention_args.

    new_key, new_value [batch, seqlen_new, heads_kv, head_dim], or as the call's layout says: rows that are written to key and value, in
    place, and attended to. They go behind the rows in use: with Sequences.seqused_kv, sequence b has seqused_kv[b] before the call and
    seqused_kv[b] + seqlen_new after it (the array stays as it is); without, the last rows of key and value are the new ones. Rows for which
    there is no room are left out.
    rotary_cos, rotary_sin [positions, rotary_dim / 2], of query's type and contiguous: new keys and queries are rotated in their first
    rotary_dim dimensions, whose pairs are halves apart, or neighbours with rotary_interleaved. query itself stays as it is.
    rotary_positions [batch]: position of each sequence's first new key and first query; without it the rows in use. With causal, a
    window or chunks a query is at the first one's position and as far on as it is behind the first; else all are at the first one's.
    """

    new_key: Any = None
    new_value: Any = None
    rotary_cos: Any = None
    rotary_sin: Any = None
    rotary_positions: Any = None
    rotary_interleaved: bool = False

    def arrays(self) -> dict[str, Any]:
        """Those that are there, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None and name != "rotary_interleaved"}


    def if_any(self) -> Optional[Append]:
        """None where nothing is given."""
        return self if self.arrays() or self.rotary_interleaved else None


ARRAYS = tuple(name for name in Append._fields if name != "rotary_interleaved")


def check_append(given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, Append):
        raise InvalidArgumentError(f"append is a {type(given).__name__}; allowed: flashcore.Append", "append")
    for one, other in _PAIRS:
        for name, partner in ((one, other), (other, one)):
            if getattr(given, name) is None and getattr(given, partner) is not None:
                raise InvalidArgumentError(f"{name} is missing; allowed: both {one} and {other}, or neither", name)
    if given.rotary_cos is None:
        for name in ("rotary_positions", "rotary_interleaved"):
            if getattr(given, name) is not None and getattr(given, name) is not False:
                raise InvalidArgumentError(f"{name} is given without rotary_cos and rotary_sin", name)


def set_append(call: Problem, append: Optional[Append], views: dict[str, View]) -> None:
    """After the inputs and options, whose sizes and flags these follow. views: of its arrays by name."""
    if append is None:
        return
    args = call.args
    if append.new_key is not None:
        _set_new_rows(call, views)
    if append.rotary_cos is not None:
        _set_tables(call, views)
        args.flags |= abi.FLAG_ROTARY_INTERLEAVED if append.rotary_interleaved else 0
    if append.rotary_positions is not None:
        view = views["rotary_positions"]
        allowed = [name for name, number in INDEX_TYPES.items() if args.index_dtype in (0, number)]
        if view.dtype not in allowed:
            raise InvalidArgumentError(f"rotary_positions is {view.dtype}; allowed: {', '.join(allowed)}, one type for all index arrays",
                                       "rotary_positions")
        if view.shape != (args.batch,) or args.batch > 1 and view.strides[0] != 1:
            raise InvalidArgumentError(f"rotary_positions has shape {list(view.shape)}; allowed: [{args.batch}], contiguous", "rotary_positions")
        args.index_dtype, args.rotary_positions = INDEX_TYPES[view.dtype], view.address or NOWHERE


def _set_new_rows(call: Problem, views: dict[str, View]) -> None:
    args = call.args
    for name in ("key", "value"):
        if views[name].read_only:
            raise InvalidArgumentError(f"{name} is read-only; allowed: one that new rows can be written to", name)
        call.check_tensor(f"new_{name}", views[f"new_{name}"])
    rows = in_order(views["new_key"].shape, call.layout)[1]
    for name, columns in (("new_key", args.head_dim), ("new_value", args.head_dim_v)):
        check_shape(name, in_order(views[name].shape, call.layout), (args.batch, rows, args.heads_kv, columns), call.layout)
    if not 1 <= rows < 2**31:
        raise InvalidArgumentError(f"new_key has {rows} rows; allowed: 1 or more", "seqlen_new")
    args.seqlen_new = rows
    args.new_key, args.new_value = call.tensor(views["new_key"]), call.tensor(views["new_value"])


def _set_tables(call: Problem, views: dict[str, View]) -> None:
    args, cos = call.args, views["rotary_cos"]
    for name in ("rotary_cos", "rotary_sin"):
        view = views[name]
        call.check_type(name, view)
        if len(view.shape) != 2 or view.shape != cos.shape or not 1 <= view.shape[0] < 2**31 or not 1 <= view.shape[1] <= args.head_dim // 2:
            raise InvalidArgumentError(f"{name} has shape {list(view.shape)}; allowed: [positions, rotary_dim / 2], at most {args.head_dim // 2} "
                                       "columns, as many in both tables", name)
        if view.shape[1] > 1 and view.strides[1] != 1 or view.shape[0] > 1 and view.strides[0] != view.shape[1]:
            raise InvalidArgumentError(f"{name} has strides {list(view.strides)}; allowed: [{view.shape[1]}, 1]. Make it contiguous.", name)
        setattr(args, name, view.address)
    args.rotary_table_rows, args.rotary_dim = cos.shape[0], 2 * cos.shape[1]
