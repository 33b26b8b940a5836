# SPDX-License-Identifier: Apache-2.0
"""Ragged batches and paged keys: which arrays say where the rows of each sequence are, and the argument struct of such a call. The arrays
are looked at for their type, shape and place; the numbers in them are read on the device alone, by the library."""
from __future__ import annotations

import numbers
from typing import Any, NamedTuple, Optional

from . import _abi_table as abi
from ._arrays import View
from ._errors import InvalidArgumentError
from ._problem import Problem, check_heads, check_shape, in_order

INDEX_TYPES = {"int32": abi.DTYPE_INT32, "int64": abi.DTYPE_INT64}
NOWHERE = 64  # where an array without elements is said to be: 0 would mean that there is none
_TABLES = ("page_table", "page_table_value")


class Sequences(NamedTuple):
    """The sequences of a batch, where they have lengths and places of their own: fields as in flashcore_attention_args.

    With cu_seqlens_q, [batch + 1] and rising, query and output are [total_q, heads, head_dim] and the lse is [heads, total_q]: sequence b
    has the rows from cu_seqlens_q[b] on, up to cu_seqlens_q[b + 1]. cu_seqlens_kv says the same of key and value.
    seqused_q, seqused_kv [batch]: rows in use, from the sequence's first on. leftpad_kv [batch]: of those, rows at the beginning that are
    no keys. kv_batch_index [batch]: entry of key and value, [entries, seqlen, heads, head_dim], for each sequence.
    page_table [batch, pages], int32: key and value are [page_count, page_size, heads, head_dim], and key j of sequence b is key
    j % page_size of page page_table[b, j // page_size]. page_table_value: another table for value.
    max_seqlen_q, max_seqlen_kv: the most rows that a sequence may have; needed where rows follow one another by cu_seqlens_q or _kv, else
    what key has room for is the most. Rows past them are left out.

    Arrays are int32 or int64, all but the page tables of one type, on the device of query. The host never reads them, so a captured graph
    works with the numbers of its replay. Rows of the output that no sequence has are not written.
    """

    cu_seqlens_q: Any = None
    cu_seqlens_kv: Any = None
    max_seqlen_q: Optional[int] = None
    max_seqlen_kv: Optional[int] = None
    seqused_q: Any = None
    seqused_kv: Any = None
    leftpad_kv: Any = None
    kv_batch_index: Any = None
    page_table: Any = None
    page_table_value: Any = None

    def arrays(self) -> dict[str, Any]:
        """Those that are there, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None and not name.startswith("max_")}


def check_sequences(given: Any) -> None:
    if given is not None and not isinstance(given, Sequences):
        raise InvalidArgumentError(f"sequences is a {type(given).__name__}; allowed: flashcore.Sequences", "sequences")


class SequencesProblem(Problem):
    """The argument struct of a call with sequences of their own. views: of its arrays by name, those of Sequences among them."""

    def __init__(self, layout: str, sequences: Sequences, views: dict[str, View]) -> None:
        super().__init__(layout)
        self._arrays = {name: views[name] for name in sequences.arrays()}
        self._most_q, self._most_kv = sequences.max_seqlen_q, sequences.max_seqlen_kv

    def set_inputs(self, query: View, key: View, value: View, dtype: Optional[str]) -> None:
        args, layout, arrays = self.args, self.layout, self._arrays
        query, key, value = self._rows("query", query), self._rows("key", key), self._rows("value", value)
        self.check_types(query, key, value, dtype)
        queries, rows_q, heads_q, head_dim = in_order(query.shape, layout)
        entries, rows_kv, heads_kv, _ = in_order(key.shape, layout)
        head_dim_v = in_order(value.shape, layout)[3]
        bounds = arrays["cu_seqlens_q"].shape if self._in_line("query") else (queries + 1,)
        args.batch = bounds[0] - 1 if len(bounds) == 1 else -1
        self._set_arrays()
        if not any(name in arrays for name in ("cu_seqlens_kv", "kv_batch_index", "page_table")):
            entries = args.batch
        check_shape("key", in_order(key.shape, layout), (entries, rows_kv, heads_kv, head_dim), layout)
        check_shape("value", in_order(value.shape, layout), (entries, rows_kv, heads_kv, head_dim_v), layout)
        check_heads(heads_q, heads_kv, head_dim, head_dim_v)
        args.heads_q, args.heads_kv, args.head_dim, args.head_dim_v = heads_q, heads_kv, head_dim, head_dim_v
        self._set_lengths(rows_q, rows_kv, entries)
        args.query, args.key, args.value = (self.tensor(view) for view in (query, key, value))

    def _set_lengths(self, rows_q: int, rows_kv: int, entries: int) -> None:
        args, arrays = self.args, self._arrays
        args.seqlen_q = self._most("max_seqlen_q", self._most_q, None if self._in_line("query") else rows_q, "query")
        if self._in_line("query"):
            args.total_q = rows_q
        elif args.seqlen_q != rows_q:
            raise InvalidArgumentError(f"max_seqlen_q is {args.seqlen_q}; allowed: {rows_q}, the rows of query, or None", "max_seqlen_q")
        room: Optional[int] = rows_kv
        if self._in_line("key"):
            args.total_kv, room = rows_kv, None
        if "kv_batch_index" in arrays:
            args.kv_batch_count = entries
        if "page_table" in arrays:
            if not 1 <= rows_kv < 2**31:
                raise InvalidArgumentError(f"page_size is {rows_kv}, the rows of key; allowed: 1 to 2147483647", "page_size")
            args.page_count, args.page_size, room = entries, rows_kv, rows_kv * arrays["page_table"].shape[1]
        args.seqlen_kv = self._most("max_seqlen_kv", self._most_kv, room, "key")

    def set_output_strides(self, strides: tuple[int, ...], layout: Optional[str] = None) -> None:
        super().set_output_strides((strides[0], *strides) if self._in_line("query") else strides, layout)

    def set_output(self, output: View) -> None:
        super().set_output(self._rows("output", output))

    def output_shape(self, layout: Optional[str] = None) -> tuple[int, ...]:
        shape = super().output_shape(layout)
        return shape[1:] if self._in_line("query") else shape

    def lse_shape(self) -> tuple[int, ...]:
        return super().lse_shape()[1:] if self._in_line("query") else super().lse_shape()

    def rows_q(self) -> tuple[int, int]:
        return (1, self.args.total_q) if self._in_line("query") else super().rows_q()

    def _in_line(self, name: str) -> bool:
        return ("cu_seqlens_kv" if name in ("key", "value") else "cu_seqlens_q") in self._arrays

    def _rows(self, name: str, view: View) -> View:
        """The view with a batch of its own, 1, where its sequences follow one another."""
        if not self._in_line(name):
            return view
        if len(view.shape) != 3:
            words = "[total, heads, head_dim]" if self.layout == "bshd" else "[heads, total, head_dim]"
            raise InvalidArgumentError(f"{name} has {len(view.shape)} dimensions, {view.shape}; allowed: 3, {words}, because cu_seqlens_"
                                       f"{'kv' if name in ('key', 'value') else 'q'} says where its sequences are", name)
        return view._replace(shape=(1, *view.shape), strides=(0, *view.strides))

    def _most(self, field: str, given: Any, room: Optional[int], of: str) -> int:
        """given, or what there is room for; None: nobody but the caller knows."""
        if given is None and room is not None:
            return room
        if isinstance(given, bool) or not isinstance(given, numbers.Integral):
            needed = f", which is needed because the sequences of {of} follow one another" if given is None else ""
            raise InvalidArgumentError(f"{field} is {given!r}; allowed: a number of the host{needed}", field)
        most = int(given)
        if room is not None and most > room or not 0 <= most < 2**31:
            allowed = "2147483647" if room is None else f"{room}, what {of} has room for"
            raise InvalidArgumentError(f"{field} is {most}; allowed: 0 to {allowed}", field)
        return most

    def _set_arrays(self) -> None:
        args = self.args
        first: Optional[str] = None
        for name, view in self._arrays.items():
            if name in _TABLES:
                self._set_table(name, view)
                continue
            size = args.batch + 1 if name.startswith("cu_") else args.batch
            if view.dtype not in INDEX_TYPES:
                raise InvalidArgumentError(f"{name} is {view.dtype}; allowed: int32, int64", name)
            if first is not None and view.dtype != self._arrays[first].dtype:
                raise InvalidArgumentError(f"{name} is {view.dtype}; allowed: {self._arrays[first].dtype}, the type of {first}", name)
            if view.shape != (size,) or args.batch < 0:
                what = "batch + 1" if name.startswith("cu_") else "batch"
                raise InvalidArgumentError(f"{name} has shape {list(view.shape)}; allowed: [{size if args.batch >= 0 else what}], "
                                           f"{what} numbers", name)
            if size > 1 and view.strides[0] != 1:
                raise InvalidArgumentError(f"{name} has a stride of {view.strides[0]} elements; allowed: 1. Make it contiguous.", name)
            first = first or name
            args.index_dtype = INDEX_TYPES[view.dtype]
            setattr(args, name, view.address or NOWHERE)

    def _set_table(self, name: str, view: View) -> None:
        args = self.args
        if view.dtype != "int32":
            raise InvalidArgumentError(f"{name} is {view.dtype}; allowed: int32", name)
        if len(view.shape) != 2 or view.shape[0] != args.batch:
            raise InvalidArgumentError(f"{name} has shape {list(view.shape)}; allowed: [{args.batch}, pages], one row for each sequence", name)
        between = view.strides[0] if args.batch > 1 and view.shape[1] > 0 else view.shape[1]  # strides without elements mean nothing
        if between < view.shape[1] or args.batch > 0 and view.shape[1] > 1 and view.strides[1] != 1:
            raise InvalidArgumentError(f"{name} has strides {list(view.strides)}; allowed: pages of a sequence side by side, sequences apart. "
                                       "Make it contiguous.", f"{name}_stride" if name == "page_table" else name)
        if name == "page_table":
            args.page_table_stride = between
        elif "page_table" in self._arrays and (view.shape, between) != (self._arrays["page_table"].shape, args.page_table_stride):
            raise InvalidArgumentError(f"{name} has shape {list(view.shape)} and strides {list(view.strides)}; allowed: those of page_table", name)
        setattr(args, name, view.address or NOWHERE)
