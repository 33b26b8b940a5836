#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes out what one section of modules.txt lists, a line each.

usage: list_modules.py modules.txt SECTION
"""
import re
import sys

INNERMOST = re.compile(r"\{([^{}]*)\}")


def expanded(line):
    braces = INNERMOST.search(line)
    if not braces:
        return [line]
    return [one for part in braces.group(1).split(",") for one in expanded(line[:braces.start()] + part + line[braces.end():])]


def main():
    path, wanted = sys.argv[1:]
    sections, lines = {}, None
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate((line.strip() for line in file), 1):
            if line.startswith("["):
                lines = sections.setdefault(line.strip("[]"), [])
            elif line and not line.startswith("#"):
                if lines is None:
                    sys.exit(f"{path}:{number}: a module ahead of the first section")
                lines += expanded(line)
    if wanted not in sections:
        sys.exit(f"{path} has no section {wanted}")
    twice = sorted({line for line in sections[wanted] if sections[wanted].count(line) > 1})
    if twice:
        sys.exit(f"{path} lists twice: {', '.join(twice)}")
    print("\n".join(sections[wanted]))


if __name__ == "__main__":
    main()
