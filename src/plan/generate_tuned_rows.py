#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tuned rows as C++: which module serves which problems on which architecture, as fc-tune measured it.

usage: generate_tuned_rows.py --output FILE --kernels NAMES TABLE...

TABLE is ptx_cache/tuned/<arch>.tsv: comment lines, a line of column names, then a row for each range of problems. A range is
"512" or "362-724", both ends within. What is malformed ends the build with "FILE:LINE: column: what is wrong"; what only the
passports know is left to static_asserts that say the same.
"""
import argparse
import os
import re
import sys

COLUMNS = ("dtype", "head_dim", "head_dim_v", "causal", "batch_heads", "seqlen_q", "seqlen_kv", "module", "measured_us", "default_us")
DTYPES = {"fp16": "dtype_float16", "bf16": "dtype_bfloat16"}
LARGEST = 2**31 - 1
MODULE = re.compile(r"(?P<kernel>\w+)(?P<choices>(-\w+)+)")


class Malformed(Exception):
    """A row that cannot be what fc-tune wrote: column and sentence."""

    def __init__(self, column, text):
        super().__init__(f"{column}: {text}")


def number(column, text):
    if not re.fullmatch(r"[1-9]\d*", text) or int(text) > LARGEST:
        raise Malformed(column, f'"{text}" is no whole number from 1 to {LARGEST}')
    return int(text)


def number_range(column, text):
    first, _, last = text.partition("-")
    first = number(column, first)
    last = number(column, last) if "-" in text else first
    if last < first:
        raise Malformed(column, f'"{text}" ends before it begins')
    return first, last


def microseconds(column, text):
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) <= 0:
        raise Malformed(column, f'"{text}" is no time above 0 in microseconds')
    return float(text)


def choice(column, text, allowed):
    if text not in allowed:
        raise Malformed(column, f'"{text}" is none of: {", ".join(allowed)}')
    return text


def read_module(text, kernels):
    """The kernel, and what the kernel's own table of choices is to read: that is the compiler's part."""
    parts = MODULE.fullmatch(text)
    if not parts:
        raise Malformed("module", f'"{text}" is no name of a module')
    choice("module", parts["kernel"], kernels)
    return parts["kernel"], parts["choices"]


def read_row(line, kernels):
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        raise Malformed("row", f"{len(fields)} columns, but {len(COLUMNS)} are expected: {' '.join(COLUMNS)}")
    row = dict(zip(COLUMNS, fields))
    choice("dtype", row["dtype"], list(DTYPES))
    choice("causal", row["causal"], ["none", "causal"])
    for column in ("head_dim", "head_dim_v"):
        row[column] = number(column, row[column])
    for column in ("batch_heads", "seqlen_q", "seqlen_kv"):
        row[column] = number_range(column, row[column])
    row["kernel"], row["choices"] = read_module(row["module"], kernels)
    for column in ("measured_us", "default_us"):
        row[column] = microseconds(column, row[column])
    return row


def overlaps(a, b):
    same = all(a[column] == b[column] for column in ("dtype", "head_dim", "head_dim_v", "causal"))
    return same and all(a[column][0] <= b[column][1] and b[column][0] <= a[column][1] for column in ("batch_heads", "seqlen_q", "seqlen_kv"))


def read_table(path, kernels):
    """Rows with their origin and architecture. Exits where one is malformed."""
    name = os.path.basename(path)
    arch = re.fullmatch(r"sm_(\d{2,3})[af]?\.tsv", name)
    if not arch:
        sys.exit(f"{path}: the name is no architecture, such as sm_89.tsv")
    rows, header = [], False
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for line_number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if not header:
                header = tuple(line.split("\t")) == COLUMNS
                if not header:
                    raise Malformed("header", f"the first line must name the columns: {' '.join(COLUMNS)}")
                continue
            row = read_row(line, kernels)
            for other in rows:
                if overlaps(row, other):
                    raise Malformed("row", f"its problems are partly those of {other['origin']}")
        except Malformed as problem:
            sys.exit(f"{path}:{line_number}: {problem}")
        rows.append({**row, "origin": f"{name}:{line_number}", "where": f"{path}:{line_number}", "arch": int(arch[1])})
    if not header:
        sys.exit(f"{path}: there is no line of column names")
    return rows


def initializer(index, row, kernels):
    ranges = ", ".join(f"{{{row[column][0]}, {row[column][1]}}}" for column in ("batch_heads", "seqlen_q", "seqlen_kv"))
    causal = "true" if row["causal"] == "causal" else "false"
    return (f"{{{row['arch']}, {kernels.index(row['kernel'])}, {DTYPES[row['dtype']]}, {causal}, {row['head_dim']}, {row['head_dim_v']}, "
            f"module_{index}.specialization, {ranges}, {row['measured_us']}, {row['default_us']}, \"{row['module']}\", \"{row['origin']}\"}}")


def checks(index, row):
    """What only the kernel's passport knows, held by the compiler."""
    kernel, where = row["kernel"], quotable(row["where"])
    passport, module = f"kernels::{kernel}::passport", f"module_{index}.specialization"
    problem = f"{row['dtype']}, head_dim {row['head_dim']}, head_dim_v {row['head_dim_v']}, causal {row['causal']}"
    return [f'static_assert(module_{index}.ok, "{where}: module: {row["module"]} is no name of a module of {kernel}");',
            f'static_assert(first_out_of_range({passport}.choices, {module}) == {passport}.choices.count && {passport}.allows({module}).field == nullptr, '
            f'"{where}: module: {kernel} does not allow it");',
            f'static_assert({passport}.serves({module}, rows[{index}].smallest_problem()), "{where}: module: it does not serve {problem}");']


def quotable(path):
    return path.replace("\\", "/").replace('"', "'")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--kernels", required=True, help="the kernel table's files below kernels/ in its order, without .cu, separated by commas")
    parser.add_argument("tables", nargs="*")
    arguments = parser.parse_args()
    paths = arguments.kernels.split(",")
    kernels = [path.rsplit("/", 1)[-1] for path in paths]
    rows = [row for path in arguments.tables for row in read_table(path, kernels)]
    out = ["// Generated by generate_tuned_rows.py from ptx_cache/tuned.", '#include "plan/tuned_rows.hpp"', ""]
    out += [f'#include "{path}.cu"' for path, name in zip(paths, kernels) if any(row["kernel"] == name for row in rows)]
    out += ["", '#include "contract/arch.h"', '#include "plan/specialization_text.hpp"', "", "namespace flashcore {", "namespace {", "using namespace kernels;"]
    out += [f'constexpr ReadChoices module_{index} = read_choices(kernels::{row["kernel"]}::passport.choices, "{row["choices"]}");'
            for index, row in enumerate(rows)]
    out += [f"constexpr std::array<TunedRow, {len(rows)}> rows = {{{{"]
    out += [f"    {initializer(index, row, kernels)}," for index, row in enumerate(rows)]
    out += ["}};"]
    for path in arguments.tables:
        arch = os.path.basename(path).removesuffix(".tsv")
        out.append(f'static_assert(is_arch_name("{arch}"), "{quotable(path)}: the name is no architecture of kernels/contract/arch.h");')
    for index, row in enumerate(rows):
        out += checks(index, row)
    out += ["}  // namespace", "", "std::span<const TunedRow> tuned_rows() { return rows; }", "", "}  // namespace flashcore", ""]
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write("\n".join(out))


main()
