#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The slips that mutate.py makes: each kind is found, and the list of those without effect is of the source as it is.

usage: check_slips.py SOURCE_ROOT
"""
import os
import sys

if __name__ == "__main__":
    ROOT = os.path.abspath(sys.argv[1])
    sys.path[:0] = [os.path.join(ROOT, "tests/house")]
    sys.dont_write_bytecode = True

import house
import slips

EQUIVALENT = "tests/emulator/equivalent_slips.tsv"
PLANTED = """
// if (comment) barrier();
#include "parts/rows.cuh"
static_assert(1 < 2, "never");
template <int32_t n>
  for (int32_t i = 0; i < count; ++i) sum += row * pitch + column;
  copy_async_wait<1>();
  copy_async_commit();
  __syncthreads();
  if (!valid && lane / 4 == key) value = fmaxf(value, -infinity);
  scale *= 1.0f;
  const bool any = true;
  store(row * pitch, low ^ high);
"""
FOUND = {
    "bound": "i <= count", "comparison": "lane / 4 != key", "+ and -": "row * pitch - column", "/ and %": "lane % 4", "bits": "low | high",
    "&& and ||": "!valid || lane", "dropped !": "(valid &&", "dropped sign": "(value, infinity)", "assignment": "scale = 1.0f",
    "off by one": "lane / 5", "0 or 1": "*= 0.0f", "true and false": "any = false", "dropped factor": "store(row, low",
    "dropped term": "row * pitch;", "one of two": "value = (value);", "condition": "if (true) value", "other name": "column * pitch",
    "dropped barrier": ";", "dropped wait": ";", "dropped commit": ";", "wait for fewer": "_wait<2>", "dropped statement": "== key) ;",
}


def planted_problems():
    """Of each kind: the text that some slip of it leaves in its line."""
    shown = {}
    for slip in slips.slips_of("planted.cuh", PLANTED):
        shown.setdefault(slip.kind, []).append(slip.shown(PLANTED)[1])
    missing = [f"{kind}: nothing becomes {FOUND.get(kind)}" for kind in slips.KINDS
               if not any(FOUND.get(kind, "\n") in line for line in shown.get(kind, []))]
    wrong = [f"{line} is not code" for lines in shown.values() for line in lines if "never" in line or "comment" in line or "template" in line]
    return missing + wrong


def list_problems(root, rows):
    problems = []
    for number, row in rows:
        if len(row) != 4 or not all(row):
            problems.append(f"row {number}: not file, line, line with the slip, reason")
            continue
        source = house.read(root, row[0])
        if not any(slip.shown(source) == (row[1], row[2]) for slip in slips.slips_of(row[0], source)):
            problems.append(f"row {number}: no slip makes this of {row[0]}: {row[2]}")
    return problems


def main(root):
    report = house.Report()
    report.case("self-test: every kind of slip is found, and in code alone", planted_problems())
    stale = [(1, ["kernels/parts/rows.cuh", "a line that is not there", "another", "why"]), (2, ["one field"])]
    report.self_test("rows that are wrong are caught", list_problems(root, stale), ["row 1: no slip", "row 2: not file"], silent=True)
    rows = [(number, line.split("\t")) for number, line in enumerate(house.read(root, EQUIVALENT).splitlines(), 1)
            if line and not line.startswith("#")]
    report.case("every slip in the list of those without effect can still be made", list_problems(root, rows))
    report.finish()


if __name__ == "__main__":
    main(ROOT)
