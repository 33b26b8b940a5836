#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that a source file keeps by itself. usage: check_sources.py SOURCE_ROOT

Each file opens with its licence line and what it is about; PTX stands in kernels/parts only; the library reads the
environment in one file and never prints, exits or aborts; no file grows past the length at which it should be split.
"""
import os
import re
import sys
import tempfile

import house

LONGEST_FILE_LINES = 500
MADE_BY_A_PROGRAM = re.compile(r"^(//!|#|//|\"\"\").*\bMade by `?[\w/]+\.py\b", re.MULTILINE)  # said at the top; nobody splits those by hand
SPDX = "SPDX-License-Identifier: Apache-2.0"
ASSEMBLER = re.compile(r"\b(asm|__asm|__asm__)\b")
ENVIRONMENT = re.compile(r"\b(secure_getenv|getenv|setenv|putenv|unsetenv|environ)\b")
LOUD = re.compile(r"(?<![\w.>:])(?:std::)?(printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|abort|_?exit|assert)\s*\(|"
                  r"\bstd::(cout|cerr|clog)\b")


def header_problems(root, path):
    lines = house.read(root, path).splitlines()[:10]
    first = 1 if lines and lines[0].startswith("#!") else 0
    if len(lines) <= first or SPDX not in lines[first]:
        return [f"{path}: the first line is not '{SPDX}'"]
    said = " ".join(line.strip("/*# \t\"'") for line in lines[first + 1:]
                    if line.lstrip().startswith(("//", "*", "/*", "#", '"""', "r\"\"\"")) and not line.lstrip().startswith("#include"))
    return [] if len(said) > 20 else [f"{path}: no sentence says what the file is about"]


def pattern_problems(root, path, pattern, what):
    text = house.without_comments(house.read(root, path), keep_strings=False)
    return [f"{path}:{number}: {match.group(0).strip()}: {what}" for number, line in enumerate(text.splitlines(), 1)
            for match in pattern.finditer(line)]


def ends(path, *suffixes):
    return path.endswith(suffixes)


def checks(root):
    """{case name: problems}"""
    cpp = house.source_files(root)
    everything = cpp + house.source_files(root, (".py", ".sh", ".rs", ".go"))
    everything += [path for path in ("dev", ".ci/run") if os.path.exists(os.path.join(root, path))]
    # A room's .cpp that stands beside its .hpp is introduced there.
    introduced = [path for path in everything
                  if not (ends(path, ".cpp") and os.path.exists(os.path.join(root, path[:-4] + ".hpp")))]
    library = [path for path in cpp if path.startswith("src/")]
    return {
        "every source file names its licence": [
            p for path in everything for p in header_problems(root, path) if "the first line" in p],
        "every source file says what it is about": [
            p for path in introduced for p in header_problems(root, path) if "no sentence" in p],
        "PTX only in kernels/parts": [
            p for path in cpp if not path.startswith(("kernels/parts/", "tests/"))
            for p in pattern_problems(root, path, ASSEMBLER, "assembler belongs into kernels/parts")],
        "the library reads the environment in src/base/options.cpp only": [
            p for path in library if path != "src/base/options.cpp"
            for p in pattern_problems(root, path, ENVIRONMENT, "the environment is read in src/base/options.cpp")],
        "the library never prints, exits or aborts": [
            p for path in library for p in pattern_problems(root, path, LOUD, "the library returns an error instead")],
        f"no source file is longer than {LONGEST_FILE_LINES} lines": [
            f"{path}: {lines} lines; split it" for path in everything
            for lines in [house.read(root, path).count("\n")]
            if lines > LONGEST_FILE_LINES and not MADE_BY_A_PROGRAM.search("\n".join(house.read(root, path).splitlines()[:6]))],
    }


OPENING = f"// {SPDX}\n//\n// A planted file, with a sentence about what it is.\n"
WRONG = {
    "src/base/licence.cpp": ("// A planted file, with a sentence about what it is.\n", "src/base/licence.cpp: the first line"),
    "src/base/silent.hpp": (f"// {SPDX}\n#pragma once\n", "src/base/silent.hpp: no sentence"),
    "kernels/wrong.cu": (OPENING + 'void f() { asm volatile("bar.sync 0;"); }\n', "kernels/wrong.cu:4: asm"),
    "src/cache/environment.cpp": (OPENING + 'auto home = getenv("HOME");\n', "src/cache/environment.cpp:4: getenv"),
    "src/cache/loud.cpp": (OPENING + 'void f() { std::printf("x"); }\n', "src/cache/loud.cpp:4: std::printf"),
    "src/cache/stop.cpp": (OPENING + "void f() { abort(); }\n", "src/cache/stop.cpp:4: abort"),
    "src/cache/stream.cpp": (OPENING + "void f() { std::cerr << 1; }\n", "src/cache/stream.cpp:4: std::cerr"),
    "tools/long.cpp": (OPENING + "\n" * LONGEST_FILE_LINES, "tools/long.cpp: 503 lines"),
}
RIGHT = {
    "kernels/parts/mma.cuh": OPENING + 'void f() { asm volatile("bar.sync 0;"); }\n',
    "bindings/rust/made.rs": OPENING + "//! Rows. Made by `bindings/abi_table.py --update`.\n" + "\n" * LONGEST_FILE_LINES,
    "src/base/options.cpp": OPENING + 'auto home = secure_getenv("HOME");\n',
    "src/base/quiet.cpp": OPENING + '// printf(1)\nauto text = "printf(1) asm"; int n = snprintf(nullptr, 0, ""); int on_exit(int);\n',
}


def self_test(report):
    with tempfile.TemporaryDirectory() as root:
        house.plant(root, {**RIGHT, **{path: text for path, (text, _) in WRONG.items()}})
        found = [problem for problems in checks(root).values() for problem in problems]
        report.self_test("planted files are caught", found, [expected for _, expected in WRONG.values()], silent=True)


def main(root):
    report = house.Report()
    self_test(report)
    for name, problems in checks(root).items():
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1])
