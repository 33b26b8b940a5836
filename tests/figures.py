#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Add up the figures that tests printed (tests/extent.hpp). usage: figures.py TESTLOG.json...

One line for each test and kind of figure: the sum, what it counts, and how often it was printed. docs/RELIABILITY.md quotes these.
"""
import collections
import json
import re
import sys

FIGURE = re.compile(r"^figure: (\d+) (.+)$", re.MULTILINE)


def main(paths):
    sums, times = collections.Counter(), collections.Counter()
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for test in map(json.loads, file):
                name = test["name"].rpartition(" / ")[2]
                for number, what in FIGURE.findall("\n".join((test.get("stdout") or "", test.get("stderr") or ""))):
                    sums[name, what] += int(number)
                    times[name, what] += 1
    for (test, what), total in sorted(sums.items()):
        print(f"{test:24} {total:>12,} {what}" + (f" ({times[test, what]} runs)" if times[test, what] > 1 else ""))
    return 0 if sums else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
