#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents say is what is there. usage: check_docs.py SOURCE_ROOT LIST_KERNELS [--print-table]

docs/ABI.md's ledger holds every public function; tests/api/abi_layout.c pins every public struct and constant; README.md's
kernel table is what the built library says of itself (--print-table prints it), its C lines stand in the example;
docs/TROUBLESHOOTING.md knows every status and environment variable; every path named exists.
"""
import os
import re
import subprocess
import sys
import tempfile

import check_symbols
import house

FUNCTION = re.compile(r"^FLASHCORE_API\b[^;(]*?\b(flashcore_\w+)\s*\(", re.MULTILINE)
STRUCT = re.compile(r"^typedef struct (flashcore_\w+) \{", re.MULTILINE)
CONSTANT = re.compile(r"\b(FLASHCORE_\w+) = -?\d+")
STATUS = re.compile(r"^  X\((\w+), \d+,", re.MULTILINE)
VARIABLE = re.compile(r'\{"(\w+)", &Environment::')
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# A word in backticks is a path of ours when it begins with one of these and holds no placeholder.
OUR_PATH = re.compile(r"^\.?/?(include|src|kernels|ptx_cache|tools|examples|tests|docs|bindings|benchmarks|\.ci)/[\w./-]*$|"
                      r"^(\./dev|meson\.build|meson_options\.txt|README\.md|LICENSE)$")
VERSION = re.compile(r"^\d+\.\d+$")
HEADERS = {"include/flashcore/flashcore.h": "FLASHCORE_1", "include/flashcore/flashcore_inspect.h": "FLASHCORE_INSPECT"}


def documents(root):
    found = ["README.md", "ptx_cache/FORMAT.md"]
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


def layout_problems(root):
    pinned = house.read(root, "tests/api/abi_layout.c")
    header = house.without_comments(house.read(root, "include/flashcore/flashcore.h"))
    names = [f"STRUCT({name}," for name in STRUCT.findall(header)] + [f"CONSTANT({name}," for name in CONSTANT.findall(header)]
    names += [f"CONSTANT(FLASHCORE_{name}," for name in STATUS.findall(house.read(root, "include/flashcore/flashcore_status.h"))]
    return [f"tests/api/abi_layout.c has no {name}...)" for name in names if name not in pinned]


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
    written = [line for line in lines if re.match(r"^\| `\w*fwd\w*` \||^\| `merge\w*` \|", line)]
    return ([f"README.md lacks: {row}" for row in rows if row not in written] +
            [f"README.md has a row that the library does not: {row}" for row in written if row not in rows])


def example_problems(root):
    """Every C block of README.md is a piece of an example, letter by letter."""
    examples = [house.read(root, path) for path in house.source_files(root, (".c",), ("examples",))]
    blocks = re.findall(r"^```c\n(.*?)^```", house.read(root, "README.md"), re.MULTILINE | re.DOTALL)
    problems = [f"README.md has C that is in no example, from: {block.splitlines()[0]}" for block in blocks
                if not any(block in example for example in examples)]
    return problems if blocks else ["README.md shows no C"]


def path_problems(root):
    problems = []
    for document in documents(root):
        text = house.read(root, document)
        named = [(word, "") for span in CODE_SPAN.findall(text) for word in span.split() if OUR_PATH.match(word)]
        named += [(link, os.path.dirname(document)) for link in LINK.findall(text) if "://" not in link]
        problems += [f"{document} names {path}, which is not there" for path, folder in named
                     if not os.path.exists(os.path.join(root, folder, path))]
    return problems


# Who reads variables of its own, beside the library: the kernel tests and the Python binding.
READERS_OUTSIDE = ["tests/kernels/attention_case.cpp", "bindings/python/flashcore/_abi.py", "bindings/python/setup.py"]


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
    "include/flashcore/flashcore.h": "FLASHCORE_API int\nflashcore_undocumented(void);\ntypedef struct flashcore_loose {\n} flashcore_loose;\n"
                                     "enum { FLASHCORE_LOOSE = 1 };\nFLASHCORE_API int flashcore_moved(void);\n",
    "include/flashcore/flashcore_inspect.h": "", "include/flashcore/flashcore_status.h": '  X(STRANGE, 99, "a sentence")\n',
    "src/base/options.cpp": '{"FLASHCORE_SECRET", &Environment::secret},\n', "tests/api/abi_layout.c": "",
    "examples/a.c": "int a;\n", "docs/TROUBLESHOOTING.md": "Set `FLASHCORE_NOTHING=1`.\n",
    "docs/ABI.md": "| `flashcore_gone` | `FLASHCORE_1` | soon | a |\n| `flashcore_moved` | `FLASHCORE_INSPECT` | 1.0 | a |\n",
    "README.md": "See `src/nowhere.cpp` and [it](docs/GONE.md).\n| `fwd_gone` | sm_80 | gone |\n```c\nint b;\n```\n",
}
CAUGHT = ["flashcore_undocumented is declared", "flashcore_gone is in docs/ABI.md", "since soon", "flashcore_moved: docs/ABI.md says",
          "STRUCT(flashcore_loose,", "CONSTANT(FLASHCORE_LOOSE,", "CONSTANT(FLASHCORE_STRANGE,", "does not know the status STRANGE",
          "does not know the variable FLASHCORE_SECRET", "FLASHCORE_NOTHING, which nothing reads", "src/nowhere.cpp", "docs/GONE.md",
          "in no example, from: int b;", "lacks: | `fwd_new`", "does not: | `fwd_gone`"]


def checks(root, rows):
    return {
        "every public function is in the ledger, with its version": ledger_problems(root),
        "every public struct and constant is pinned": layout_problems(root),
        "the kernel table of README.md is the library's": table_problems(root, rows),
        "the C lines of README.md stand in an example": example_problems(root),
        "every path that a document names exists": path_problems(root),
        "every status and environment variable is documented": word_problems(root),
    }


def main(root, list_kernels, print_table=False):
    rows = kernel_table(list_kernels)
    if print_table:
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
    main(sys.argv[1], sys.argv[2], "--print-table" in sys.argv[3:])
