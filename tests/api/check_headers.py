#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone, in the oldest languages that callers may use, with every warning an error.

usage: check_headers.py INCLUDE_FOLDER C_COMPILER CPP_COMPILER [CLANG] [CLANGXX]    ('' for a compiler that is not there)

A .h compiles as C99 and C++11, a .hpp as C++17 and C++20, with exceptions and RTTI and without; alone, twice in one file, and with every ..._INIT macro used. A header that leaks
a macro or a word without the prefix would break its callers, so those are looked for in what the preprocessor keeps.
"""
import os
import re
import subprocess
import sys
import tempfile

WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-fsyntax-only"]
C_ONLY = ["-Wstrict-prototypes", "-Wc++-compat", "-x", "c", "-std=c99"]
INITIALISER = re.compile(r"^#define (FLASHCORE_(\w+)_INIT)\b", re.MULTILINE)
DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)


def compile_text(compiler, flags, include, text):
    """The compiler's complaints; '' when it has none."""
    command = [*compiler.split(), *flags, *WARNINGS, "-I", include, "-"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return result.stderr.strip() or (f"status {result.returncode}" if result.returncode else "")


def caller(include, header):
    """A file that includes the header twice and uses its initialisers."""
    with open(os.path.join(include, header), encoding="utf-8") as file:
        text = file.read()
    lines = [f"#include <{header}>", f"#include <{header}>", "typedef int not_an_empty_file;"]
    for macro, name in dict.fromkeys(INITIALISER.findall(text)):
        kind = f"flashcore_{name.lower()}"
        lines.append(f"unsigned use_{kind}(void);\nunsigned use_{kind}(void) {{ {kind} value = {macro}; return value.struct_size; }}")
    return "\n".join(lines) + "\n"


def languages(header, compilers):
    """(name, compiler, flags) for every way in which the header must compile."""
    c, cpp, clang, clangxx = compilers
    if header.endswith(".hpp"):
        return [(f"{name} as C++{year}{' without exceptions and RTTI' if bare else ''}", tool, ["-x", "c++", f"-std=c++{year}", *bare])
                for name, tool in (("C++ compiler", cpp), ("clang++", clangxx)) for year in (17, 20)
                for bare in ([], ["-fno-exceptions", "-fno-rtti"])]
    ways = [(f"{name} as C99", tool, C_ONLY) for name, tool in (("C compiler", c), ("clang", clang))]
    for name, tool in (("C++ compiler", cpp), ("clang++", clangxx)):
        ways += [(f"{name} as C++{year}", tool, ["-x", "c++", f"-std=c++{year}"]) for year in (11, 20)]
    return ways


def problems_of(include, header, compiler, flags):
    complaint = compile_text(compiler, flags, include, caller(include, header))
    return [f"{header}: {line}" for line in complaint.splitlines()]


def prefix_problems(include, header):
    with open(os.path.join(include, header), encoding="utf-8") as file:
        return [f"{header} defines {name}, without the prefix FLASHCORE_" for name in DEFINE.findall(file.read())
                if not name.startswith("FLASHCORE_")]


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def case(self, name, problems, skip=""):
        self.count += 1
        self.failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}{' # SKIP ' + skip if skip else ''}")
        for problem in problems:
            print(f"# {problem}", file=sys.stderr)


PLANTED = """#ifndef FLASHCORE_PLANTED_H
#define FLASHCORE_PLANTED_H
#define LEAK 1
static const size_t flashcore_planted = 1;
#endif
"""


def main(include, *compilers):
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "flashcore"))
        with open(os.path.join(folder, "flashcore/planted.h"), "w", encoding="utf-8") as file:
            file.write(PLANTED)
        missed = [name for name, compiler, flags in languages("planted.h", compilers)
                  if compiler and not problems_of(folder, "flashcore/planted.h", compiler, flags)]
        missed += [] if prefix_problems(folder, "flashcore/planted.h") else ["the macro without a prefix"]
        tap.case("self-test: a header that needs another one is caught", [f"not caught: {name}" for name in missed])
    headers = [f"flashcore/{name}" for name in sorted(os.listdir(os.path.join(include, "flashcore"))) if name.endswith((".h", ".hpp"))]
    for header in headers:
        tap.case(f"{header}: macros have the prefix", prefix_problems(include, header))
        for name, compiler, flags in languages(header, compilers):
            skip = "" if compiler else "this compiler is not installed"
            tap.case(f"{header}: {name}", [] if skip else problems_of(include, header, compiler, flags), skip)
    print(f"1..{tap.count}", flush=True)
    return 1 if tap.failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
