#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents say is what is there.

usage: check_docs.py SOURCE_ROOT LIST_KERNELS [--print-table | --write-examples]

docs/ABI.md's ledger holds every public function; README.md's kernel table is what the built library says of itself
(--print-table prints it); every block of code shown is a marked region of a file that is tested (--write-examples copies them
there); docs/TROUBLESHOOTING.md knows every status and environment variable; every path named exists.
"""
import os
import re
import subprocess
import sys
import tempfile
import textwrap

import check_symbols
import house

FUNCTION = re.compile(r"^FLASHCORE_API\b[^;(]*?\b(flashcore_\w+)\s*\(", re.MULTILINE)
STATUS = re.compile(r"^  X\((\w+), \d+,", re.MULTILINE)
VARIABLE = re.compile(r'\{"(\w+)", &Environment::')
# Stands before a block of code; the region's name is "ten lines" where none is given.
FROM = re.compile(r"^<!-- from (\S+)(?: \[([\w -]+)\])? -->$")
EXAMPLE = re.compile(r"^(?P<before>[^\n]*)\n```(?P<language>c|cpp|c\+\+|rust|go|python)\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_EXAMPLES = ["README.md", "docs/BINDINGS.md"]
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# A word in backticks is a path of ours when it begins with one of these and holds no placeholder.
OUR_PATH = re.compile(r"^\.?/?(include|src|kernels|ptx_cache|tools|examples|tests|docs|bindings|benchmarks|\.ci)/[\w./-]*$|"
                      r"^(\./dev|meson\.build|meson_options\.txt|README\.md|CONTRIBUTING\.md|CHANGELOG\.md|LICENSE)$")
VERSION = re.compile(r"^\d+\.\d+$")
HEADERS = {"include/flashcore/flashcore.h": "FLASHCORE_1", "include/flashcore/flashcore_memory.h": "FLASHCORE_1",
           "include/flashcore/flashcore_merge_states.h": "FLASHCORE_1",
           "include/flashcore/flashcore_variant.h": "FLASHCORE_1",
           "include/flashcore/flashcore_inspect.h": "FLASHCORE_INSPECT"}


def documents(root):
    found = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ptx_cache/FORMAT.md"]
    found += [f"docs/{name}" for name in sorted(os.listdir(os.path.join(root, "docs"))) if name.endswith(".md")]
    return [path for path in found if os.path.exists(os.path.join(root, path))]


def ledger_problems(root):
    rows = check_symbols.ledger(house.read(root, "docs/ABI.md"))
    declared = {name: node for header, node in HEADERS.items()
                for name in FUNCTION.findall(house.without_comments(house.read(root, header)))}
    problems = [f"{name} is declared, but not in docs/ABI.md" for name in declared if name not in rows]
    problems += [f"{name} is in docs/ABI.md, but not declared" for name in rows if name not in declared]
    problems += [f"{name}: docs/ABI.md says {rows[name][0]}, its header is of {node}" for name, node in declared.items()
                 if name in rows and rows[name][0] != node]
    return problems + [f"{name}: since {since} is no version" for name, (_, since) in rows.items() if not VERSION.match(since)]


def kernel_table(list_kernels):
    """The rows of README.md's table, from the library itself."""
    output = subprocess.run([list_kernels], check=True, capture_output=True, text=True).stdout
    rows = []
    for line in output.splitlines():
        name, minimum, maximum, summary = line.split("\t")
        archs = f"sm_{minimum}" if minimum == maximum else f"sm_{minimum} and newer" if maximum == "0" else f"sm_{minimum} to sm_{maximum}"
        rows.append(f"| `{name}` | {archs} | {summary} |")
    return rows


def table_problems(root, rows):
    lines = house.read(root, "README.md").splitlines()
    written = [line for line in lines if re.match(r"^\| `\w*fwd\w*` \||^\| `(?:merge|append)\w*` \|", line)]
    return ([f"README.md lacks: {row}" for row in rows if row not in written] +
            [f"README.md has a row that the library does not: {row}" for row in written if row not in rows])


def region(text, name):
    """The lines between "[name]" and "[end]" in a source file, without their common indentation; None where there are none."""
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if line.strip(" \t/#*") == f"[{name}]"]
    ends = [i for i, line in enumerate(lines) if line.strip(" \t/#*") == "[end]" and begins and i > begins[0]]
    return textwrap.dedent("\n".join(lines[begins[0] + 1:ends[0]]) + "\n") if len(begins) == 1 and ends else None


def shown_examples(root, document):
    """[(match of EXAMPLE, what the block should be or None, complaint or "")] of every block in one of our languages"""
    found = []
    for match in EXAMPLE.finditer(house.read(root, document)):
        source = FROM.match(match["before"])
        if not source:
            found.append((match, None, f"{document} shows {match['language']} that is from no file, before it: {match['before']!r}"))
            continue
        path, name = source.group(1), source.group(2) or "ten lines"
        expected = region(house.read(root, path), name) if os.path.exists(os.path.join(root, path)) else None
        problem = f"{document}: {path} has no lines between [{name}] and [end]" if expected is None else \
            "" if expected == match["block"] else f"{document} shows other lines than {path} has; run check_docs.py with --write-examples"
        found.append((match, expected, problem))
    return found


def example_problems(root):
    """Every block of code is a marked region of a file that is tested, letter by letter."""
    shown = {document: shown_examples(root, document) for document in WITH_EXAMPLES}
    problems = [problem for examples in shown.values() for _, _, problem in examples if problem]
    return problems if shown["README.md"] else problems + ["README.md shows no code"]


def write_examples(root):
    for document in WITH_EXAMPLES:
        text = house.read(root, document)
        for match, expected, problem in reversed(shown_examples(root, document)):
            if expected is None:
                sys.exit(problem)
            text = text[:match.start("block")] + expected + text[match.end("block"):]
        with open(os.path.join(root, document), "w", encoding="utf-8") as file:
            file.write(text)


def path_problems(root):
    problems = []
    for document in documents(root):
        text = house.read(root, document)
        named = [(word, "") for span in CODE_SPAN.findall(text) for word in span.split() if OUR_PATH.match(word)]
        named += [(link, os.path.dirname(document)) for link in LINK.findall(text) if "://" not in link]
        problems += [f"{document} names {path}, which is not there" for path, folder in named
                     if not os.path.exists(os.path.join(root, folder, path))]
    return problems


# Who reads variables of its own, beside the library: the kernel tests and the bindings.
READERS_OUTSIDE = ["tests/kernels/attention_grid.cpp", "tests/extent.hpp", "tests/fuzz/replay.cpp",
                   "tests/emulator/test_emulated_kernels.cpp", "bindings/python/flashcore/_abi.py",
                   "bindings/python/setup.py", "bindings/rust/flashcore-sys/build.rs"]


def word_problems(root):
    text = house.read(root, "docs/TROUBLESHOOTING.md")
    words = set(re.findall(r"\w+", text))
    variables = VARIABLE.findall(house.read(root, "src/base/options.cpp"))
    statuses = STATUS.findall(house.read(root, "include/flashcore/flashcore_status.h"))
    problems = [f"docs/TROUBLESHOOTING.md does not know the status {name}" for name in statuses if name not in words]
    problems += [f"docs/TROUBLESHOOTING.md does not know the variable {name}" for name in variables if name not in words]
    known = set(variables) | {f"FLASHCORE_{name}" for name in statuses}
    known |= set(re.findall(r"\bFLASHCORE_\w+", "".join(house.read(root, header) for header in HEADERS)))
    known |= {name for outside in READERS_OUTSIDE if os.path.exists(os.path.join(root, outside))
              for name in re.findall(r"\"(FLASHCORE_\w+)\"", house.read(root, outside))}
    for document in documents(root):
        problems += [f"{document} names {word}, which nothing reads" for word in re.findall(r"\bFLASHCORE_[A-Z0-9_]*[A-Z0-9]\b", house.read(root, document))
                     if word not in known and word not in check_symbols.NODES]
    return problems if variables and statuses else ["the lists of variables and statuses were not found"]


PLANTED = {
    "include/flashcore/flashcore.h": "FLASHCORE_API int\nflashcore_undocumented(void);\n"
                                     "FLASHCORE_API int flashcore_moved(void);\n",
    "include/flashcore/flashcore_inspect.h": "", "include/flashcore/flashcore_memory.h": "", "include/flashcore/flashcore_merge_states.h": "",
    "include/flashcore/flashcore_variant.h": "",
    "include/flashcore/flashcore_status.h": '  X(STRANGE, 99, "a sentence")\n',
    "src/base/options.cpp": '{"FLASHCORE_SECRET", &Environment::secret},\n',
    "examples/a.c": "int a;\n  // [ten lines]\n  int b;\n    int c;\n  // [end]\n",
    "docs/BINDINGS.md": "<!-- from examples/gone.py [prepare] -->\n```python\nx\n```\n",
    "docs/TROUBLESHOOTING.md": "Set `FLASHCORE_NOTHING=1`.\n",
    "docs/ABI.md": "| `flashcore_gone` | `FLASHCORE_1` | soon | a |\n| `flashcore_moved` | `FLASHCORE_INSPECT` | 1.0 | a |\n",
    "README.md": "See `src/nowhere.cpp` and [it](docs/GONE.md).\n| `fwd_gone` | sm_80 | gone |\n\n```c\nint b;\n```\n"
                 "<!-- from examples/a.c -->\n```c\n  int b;\n    int c;\n```\n<!-- from examples/a.c -->\n```c\nint b;\n  int c;\n```\n",
}
CAUGHT = ["flashcore_undocumented is declared", "flashcore_gone is in docs/ABI.md", "since soon", "flashcore_moved: docs/ABI.md says",
          "does not know the status STRANGE", "does not know the variable FLASHCORE_SECRET", "FLASHCORE_NOTHING, which nothing reads", "src/nowhere.cpp", "docs/GONE.md",
          "README.md shows c that is from no file", "README.md shows other lines than examples/a.c has",
          "docs/BINDINGS.md: examples/gone.py has no lines between [prepare] and [end]", "lacks: | `fwd_new`", "does not: | `fwd_gone`"]


def checks(root, rows):
    return {
        "every public function is in the ledger, with its version": ledger_problems(root),
        "the kernel table of README.md is the library's": table_problems(root, rows),
        "the code that is shown is the code that is tested": example_problems(root),
        "every path that a document names exists": path_problems(root),
        "every status and environment variable is documented": word_problems(root),
    }


def main(root, list_kernels, *options):
    if "--write-examples" in options:
        return write_examples(root)
    rows = kernel_table(list_kernels)
    if "--print-table" in options:
        print("\n".join(rows))
        return
    report = house.Report()
    with tempfile.TemporaryDirectory() as folder:
        house.plant(folder, PLANTED)
        found = [problem for problems in checks(folder, ["| `fwd_new` | sm_80 | new |"]).values() for problem in problems]
        report.self_test("planted documents are caught", found, CAUGHT, silent=True)
    for name, problems in checks(root, rows).items():
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
