#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ABI of flashcore.h as one table, bindings/abi_layout.tsv, which every binding is checked against or made from.

usage: abi_table.py --update [--allow-break] [--cc COMPILER]     after a change of the headers

Rows, in columns that are separated by tabs (lines that begin with # are comments):
  struct    NAME    SIZE_BYTES
  field     STRUCT  FIELD  C_TYPE  OFFSET_BYTES  SIZE_BYTES
  constant  NAME    VALUE
  function  NAME    RETURN_TYPE  PARAMETERS
The names come from the headers, sizes and offsets from the C compiler. Callers were compiled with these rows, so --update adds
rows and sizes of structs that grew, and refuses to change or remove a row unless it is told to break the ABI. It then writes the
declarations of Rust and Python; Go reads the header. tests/api/check_abi_table.py compares all of them.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import abi_python
import abi_rust

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = "bindings/abi_layout.tsv"
HEADERS = ("include/flashcore/flashcore.h", "include/flashcore/flashcore_memory.h", "include/flashcore/flashcore_merge_states.h",
           "include/flashcore/flashcore_status.h", "include/flashcore/flashcore_variant.h")

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
STRUCT = re.compile(r"^typedef struct (flashcore_\w+) \{$(.*?)^\} \1;$", re.MULTILINE | re.DOTALL)
DECLARATION = re.compile(r"^\s*(\w+) (\w[\w, ]*?(?:\[\w+\])?);", re.MULTILINE)
CONSTANT = re.compile(r"\b(FLASHCORE_\w+) = (-?\d+)\b")
STATUS = re.compile(r"^  X\((\w+), (\d+),", re.MULTILINE)
FUNCTION = re.compile(r"^FLASHCORE_API\s+(?:FLASHCORE_NODISCARD\s+)?([\w ]+?[\s*]+)(flashcore_\w+)\(([^)]*)\);", re.MULTILINE)


class Field:
    def __init__(self, struct, name, kind, doc=""):
        self.struct, self.name, self.kind, self.doc = struct, name, kind, doc

    @property
    def element(self):
        """("char", 64) of char[64], ("int32_t", 0) of int32_t"""
        word, _, count = self.kind.partition("[")
        return word, int(count[:-1]) if count else 0


class Abi:
    """What the headers declare, in their order; sizes and offsets are None until a compiler was asked."""

    def __init__(self):
        self.structs = {}  # name: [Field]
        self.constants = {}  # name: value
        self.functions = {}  # name: (return type, [parameter])


def read(path, root=ROOT):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def struct_fields(struct, body, constants):
    """Its fields; an array's size that is a constant is written as its number."""
    fields = []
    for line in body.splitlines():
        match = DECLARATION.match(COMMENT.sub("", line))
        if match:
            doc = re.search(r"/\* (.*?) \*/$", line.strip())
            for name in match.group(2).split(", "):
                word, bracket, count = name.partition("[")
                size = f"[{constants.get(count[:-1], count[:-1])}]" if bracket else ""
                fields.append(Field(struct, word, match.group(1) + size, doc.group(1) if doc else ""))
    return fields


def parse_headers(root=ROOT):
    abi = Abi()
    for path in HEADERS:
        text = read(path, root)
        plain = COMMENT.sub("", text)
        abi.constants.update({name: int(value) for name, value in CONSTANT.findall(plain)})
        for name, body in STRUCT.findall(text):
            abi.structs[name] = struct_fields(name, body, abi.constants)
        abi.constants.update({f"FLASHCORE_{name}": int(value) for name, value in STATUS.findall(plain)})
        for kind, name, parameters in FUNCTION.findall(plain):
            words = " ".join(parameters.split())
            abi.functions[name] = (kind.strip(), [] if words == "void" else words.split(", "))
    return abi


# ---- What a compiler says -------------------------------------------------------------------------------------------
PROBE_HEAD = """#include <flashcore/flashcore.h>
#include <stddef.h>
#include <stdio.h>
#ifdef __cplusplus
#include <type_traits>
#define ASSERT_FIELD(S, F, T, A) static_assert(std::is_same<decltype(S::F), T A>::value, #S "." #F " is no " #T #A);
#define ASSERT_FUNCTION(F, ...) static_assert(std::is_same<decltype(F), __VA_ARGS__>::value, #F " has another prototype");
#else
#define ASSERT_FIELD(S, F, T, A) _Static_assert(_Generic(&((S *)0)->F, T(*) A: 1, default: 0), #S "." #F " is no " #T #A);
#define ASSERT_FUNCTION(F, ...) _Static_assert(_Generic(&F, __VA_ARGS__: 1, default: 0), #F " has another prototype");
#endif
#define STRUCT(S) printf("struct\\t%s\\t%zu\\n", #S, sizeof(S));
#define FIELD(S, F, T) printf("field\\t%s\\t%s\\t%s\\t%zu\\t%zu\\n", #S, #F, T, offsetof(S, F), sizeof(((S *)0)->F));
#define CONSTANT(C) printf("constant\\t%s\\t%lld\\n", #C, (long long)(C));
"""


def probe_text(abi, language):
    """A program that prints the rows as a compiler of C or C++ sees them; it proves the types while it is compiled."""
    pointer = "(*)" if language == "c" else ""
    lines, asserts = [], []
    for struct, fields in abi.structs.items():
        lines.append(f"STRUCT({struct})")
        for field in fields:
            word, count = field.element
            asserts.append(f"ASSERT_FIELD({struct}, {field.name}, {word}, {f'[{count}]' if count else ''})")
            lines.append(f'FIELD({struct}, {field.name}, "{field.kind}")')
    lines += [f"CONSTANT({name})" for name in abi.constants]
    for name, (kind, parameters) in abi.functions.items():
        asserts.append(f"ASSERT_FUNCTION({name}, {kind} {pointer}({', '.join(parameters) or 'void'}))")
        lines.append(f'puts("function\\t{name}\\t{kind}\\t{", ".join(parameters) or "void"}");')
    return PROBE_HEAD + "\n".join(asserts) + "\nint main(void) {\n  " + "\n  ".join(lines) + "\n  return 0;\n}\n"


def probe_rows(abi, language, compiler, root=ROOT):
    """The rows of the compiler (a list of words), or RuntimeError with what it said."""
    flags = ["-x", "c", "-std=c11"] if language == "c" else ["-x", "c++", "-std=c++17"]
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "probe")
        command = [*compiler, *flags, "-I", os.path.join(root, "include"), "-o", program, "-"]
        result = subprocess.run(command, input=probe_text(abi, language), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip() or f"status {result.returncode}: {' '.join(command)}")
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return [tuple(line.split("\t")) for line in output.splitlines()]


# ---- The table ------------------------------------------------------------------------------------------------------
def parse_rows(text):
    return [tuple(line.split("\t")) for line in text.splitlines() if line and not line.startswith("#")]


def key(row):
    return row[:3] if row[0] == "field" else row[:2]


def label(row):
    return f"{row[1]}.{row[2]}" if row[0] == "field" else row[1]


def values(row):
    """What a row says about its name, in words."""
    return {"struct": lambda: f"{row[2]} bytes", "field": lambda: f"{row[3]} at byte {row[4]}, {row[5]} bytes",
            "constant": lambda: f"value {row[2]}", "function": lambda: f"{row[2]} ({row[3]})"}[row[0]]()


def differences(who, table, found):
    """Every row of the table that `found` lacks or has otherwise, and every row that the table lacks; each names `who`."""
    expected, present = {key(row): row for row in table}, {key(row): row for row in found}
    problems = [f"{who}: {label(row)} is missing; the table says {values(row)}" for name, row in expected.items() if name not in present]
    problems += [f"{who}: {label(row)} is {values(present[name])}; the table says {values(row)}" for name, row in expected.items()
                 if name in present and present[name] != row]
    return problems + [f"{who}: {label(row)} is not in {TABLE}" for name, row in present.items() if name not in expected]


def holes(table):
    """Padding is not allowed, so every field begins where the one before it ends; a field that is missing here leaves a hole."""
    problems = []
    for struct in [row for row in table if row[0] == "struct"]:
        covered = 0
        for row in [row for row in table if row[0] == "field" and row[1] == struct[1]]:
            problems += [] if int(row[4]) == covered else [f"{label(row)} begins at byte {row[4]}, the row before it ends at {covered}"]
            covered = int(row[4]) + int(row[5])
        problems += [] if int(struct[2]) == covered else [f"{struct[1]} has {struct[2]} bytes, its rows end at {covered}"]
    return problems


def broken_rows(table, found):
    """Rows that callers were compiled with and that would change; a struct may grow."""
    present = {key(row): row for row in found}
    return [row for row in table if present.get(key(row)) != row
            and not (row[0] == "struct" and key(row) in present and int(present[key(row)][2]) > int(row[2]))]


TABLE_HEAD = """# SPDX-License-Identifier: Apache-2.0
# The ABI of flashcore.h: what every binding is compared with. Made by bindings/abi_table.py --update, which also explains the columns.
"""


def table_text(rows):
    return TABLE_HEAD + "".join("\t".join(row) + "\n" for row in rows)


def update(compiler, allow_break):
    abi = parse_headers()
    rows = probe_rows(abi, "c", compiler)
    path = os.path.join(ROOT, TABLE)
    broken = broken_rows(parse_rows(read(TABLE)), rows) if os.path.exists(path) else []
    if broken and not allow_break:
        sys.exit("\n".join(f"{label(row)} would change; it is {values(row)}" for row in broken)
                 + "\nCallers were compiled with these rows. Restore the header, or pass --allow-break and raise the major version.")
    files = {TABLE: table_text(rows), abi_rust.PATH: abi_rust.text(abi), abi_python.PATH: abi_python.text(abi)}
    for name, text in files.items():
        full = os.path.join(ROOT, name)
        changed = not os.path.exists(full) or read(name) != text
        if changed:
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        print(f"{name}: {'written' if changed else 'unchanged'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", required=True, help="rewrite the table and what is made from it")
    parser.add_argument("--allow-break", action="store_true", help="change or remove rows, which breaks callers")
    parser.add_argument("--cc", default="cc", help="C compiler to ask (cc)")
    options = parser.parse_args()
    update(options.cc.split(), options.allow_break)


if __name__ == "__main__":
    main()
