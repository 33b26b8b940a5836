# SPDX-License-Identifier: Apache-2.0
"""How a call is carried out: the type of its output, pieces that keys are cut in, what of the device it may take, and where a shard is."""
from __future__ import annotations

from typing import Any, NamedTuple, Optional

from . import _abi_table as abi
from ._errors import InvalidArgumentError


class Execution(NamedTuple):
    """Fields as in flashcore_attention_args; flashcore_merge_states.h has the whole of it.

    out_dtype: "float32" leaves the output as it was summed, for results over parts of the keys that merge_states makes one; None: as query.
    split_count: pieces that each row's keys are cut in; split_tokens: keys of each piece. 0: the library's choice.
    batch_invariant: a sequence's bits do not depend on the batch that it is in; split_tokens says the same.
    multiprocessor_limit: SMs that the call may occupy, threads on the CPU device; 0: all.
    positions: (of query 0, of key 0) in the sequence that the keys are a shard of, by which causal="bottom_right", windows, chunks and
    ALiBi count; None: the last query is at the last key.
    """

    out_dtype: Optional[str] = None
    split_count: int = 0
    split_tokens: int = 0
    batch_invariant: bool = False
    multiprocessor_limit: int = 0
    positions: Optional[tuple[int, int]] = None

    def set_in(self, args: abi.AttentionArgs) -> None:
        if self.out_dtype not in (None, "float32"):
            raise InvalidArgumentError(f"out_dtype is {self.out_dtype!r}; allowed: \"float32\", or None for the type of query", "output.dtype")
        args.split_count = _number("split_count", self.split_count, 31)
        args.split_tokens = _number("split_tokens", self.split_tokens, 63)
        args.multiprocessor_limit = _number("multiprocessor_limit", self.multiprocessor_limit, 31)
        if self.batch_invariant:
            args.flags |= abi.FLAG_BATCH_INVARIANT
        if self.positions is None:
            return
        if not isinstance(self.positions, tuple) or len(self.positions) != 2:
            raise InvalidArgumentError(f"positions is {self.positions!r}; allowed: (of query 0, of key 0), or None", "query_position")
        args.flags |= abi.FLAG_POSITIONS
        args.query_position, args.key_position = (_number(field, number, 63) for field, number in
                                                  zip(("query_position", "key_position"), self.positions))


def _number(field: str, number: Any, bits: int) -> int:
    """ctypes would cut off what does not fit; what is negative is the library's to refuse."""
    if isinstance(number, bool) or not isinstance(number, int) or not -2**bits <= number < 2**bits:
        raise InvalidArgumentError(f"{field} is {number!r}; allowed: a number of {bits + 1} bits", field)
    return number


def checked(given: Any) -> Execution:
    if isinstance(given, Execution):
        return given
    raise InvalidArgumentError(f"execution is a {type(given).__name__}; allowed: flashcore.Execution", "execution")
