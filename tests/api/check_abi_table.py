#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ABI's table, bindings/abi_layout.tsv, against the headers, against C and C++, and against what bindings made of it.

usage: check_abi_table.py SOURCE_ROOT C_COMPILER CPP_COMPILER

A binding that was forgotten is named, with the field, also on a machine without its toolchain; each binding's own suite
compares what its compiler says with the same table.
"""
import importlib.util
import os
import sys
import tempfile

ROOT = os.path.abspath(sys.argv[1])
sys.path[:0] = [os.path.join(ROOT, "bindings"), os.path.join(ROOT, "tests/house")]
sys.dont_write_bytecode = True

import abi_python
import abi_rust
import abi_table
import house

REMEDY = "Run bindings/abi_table.py --update"


def compiler_problems(who, abi, table, language, compiler, root=ROOT):
    try:
        return abi_table.differences(who, table, abi_table.probe_rows(abi, language, compiler, root))
    except RuntimeError as complaint:
        return [f"{who}: {line}" for line in str(complaint).splitlines()]


def stale_problems(who, path, written, expected):
    """Names of the rows whose lines differ, else just that the file does."""
    if written == expected:
        return []
    lacking = [line.strip() for line in expected.splitlines() if line not in written.splitlines()]
    extra = [line.strip() for line in written.splitlines() if line not in expected.splitlines()]
    return ([f"{who}: {path} lacks: {line}" for line in lacking] + [f"{who}: {path} has, and the headers have not: {line}" for line in extra]
            or [f"{who}: {path} has another order"]) + [f"{who}: {REMEDY}"]


def generated_problems(who, module, abi, root=ROOT):
    path = os.path.join(root, module.PATH)
    if not os.path.exists(path):
        return [f"{who}: {module.PATH} is missing. {REMEDY}"]
    return stale_problems(who, module.PATH, abi_table.read(module.PATH, root), module.text(abi))


def ctypes_rows(path):
    """The rows as ctypes lays the structs out; types and functions are not for ctypes to say."""
    spec = importlib.util.spec_from_file_location("checked_abi_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import ctypes
    rows = []
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure) and not name.startswith("_") and name != "Structure":
            rows.append(("struct", name, str(ctypes.sizeof(kind))))
            rows += [("field", name, field[0], str(getattr(kind, field[0]).offset), str(getattr(kind, field[0]).size)) for field in kind._fields_]
        elif isinstance(kind, int):
            rows.append(("constant", f"FLASHCORE_{name}", str(kind)))
    return rows


def ctypes_problems(table, path):
    expected = []
    for row in table:
        if row[0] == "struct":
            expected.append(("struct", abi_python.class_name(row[1]), row[2]))
        elif row[0] == "field":
            expected.append(("field", abi_python.class_name(row[1]), row[2], row[4], row[5]))
        elif row[0] == "constant":
            expected.append(row)
    found = ctypes_rows(path)
    return ([f"Python: {' '.join(row)} is missing" for row in expected if row not in found]
            + [f"Python: {' '.join(row)} is not in the table" for row in found if row not in expected])


def reader_problems(who, folder, suffix, root=ROOT):
    """A binding that reads the header by itself proves it against the table in its own suite."""
    suite = house.source_files(root, (suffix,), (folder,))
    return [] if any(os.path.basename(abi_table.TABLE) in house.read(root, path) for path in suite) else [
        f"{who}: no {folder}/*{suffix} reads {abi_table.TABLE}"]


PLANTED = """#include <stdint.h>
typedef int32_t flashcore_status;
#ifdef __cplusplus
extern "C" {
#endif
#define FLASHCORE_API
typedef struct flashcore_planted {
  uint32_t struct_size; /* set by the caller */
  int32_t renamed;
  int64_t sizes[2];
  int64_t added;
} flashcore_planted;
enum { FLASHCORE_PLANTED = 2 };
FLASHCORE_API flashcore_status flashcore_plant(flashcore_planted *planted,
                                               int64_t bytes);
#ifdef __cplusplus
}
#endif
"""
PLANTED_TABLE = """# a comment
struct	flashcore_planted	24
field	flashcore_planted	struct_size	uint32_t	0	4
field	flashcore_planted	original	int32_t	4	4
field	flashcore_planted	sizes	int64_t[2]	8	16
constant	FLASHCORE_PLANTED	1
function	flashcore_plant	flashcore_status	flashcore_planted *planted
function	flashcore_gone	void	void
"""
CAUGHT = ["flashcore_planted is 32 bytes; the table says 24 bytes", "flashcore_planted.original is missing", "flashcore_planted.renamed is not in",
          "flashcore_planted.added is not in", "FLASHCORE_PLANTED is value 2; the table says value 1",
          "flashcore_plant is flashcore_status (flashcore_planted *planted, int64_t bytes)", "flashcore_gone is missing"]


def self_test(report, c, cpp):
    with tempfile.TemporaryDirectory() as folder:
        house.plant(folder, {"include/flashcore/flashcore.h": PLANTED, **{header: "" for header in abi_table.HEADERS[1:]}})
        abi, table = abi_table.parse_headers(folder), abi_table.parse_rows(PLANTED_TABLE)
        for who, language, compiler in (("C", "c", c), ("C++", "c++", cpp)):
            report.self_test(f"{who}: planted changes are caught", compiler_problems(who, abi, table, language, compiler, folder),
                             [f"{who}: {line}" for line in CAUGHT], silent=True)
        abi.structs["flashcore_planted"][1].kind = "int64_t"
        for who, language, compiler in (("C", "c", c), ("C++", "c++", cpp)):
            report.self_test(f"{who}: a planted type is caught", compiler_problems(who, abi, table, language, compiler, folder),
                             ["flashcore_planted.renamed is no int64_t"])
        broken = [abi_table.label(row) for row in abi_table.broken_rows(table, abi_table.probe_rows(abi_table.parse_headers(folder), "c", c, folder))]
        report.self_test("an update that breaks callers is caught, growth is not", broken,
                         ["flashcore_planted.original", "FLASHCORE_PLANTED", "flashcore_plant", "flashcore_gone"], silent=True)
        report.self_test("a planted hole is caught", abi_table.holes([table[0], table[1], table[3]]),
                         ["flashcore_planted.sizes begins at byte 8, the row before it ends at 4"], silent=True)
        abi = abi_table.parse_headers(folder)
        house.plant(folder, {abi_rust.PATH: abi_rust.text(abi).replace("    pub added: i64,\n", ""),
                             abi_python.PATH: abi_python.text(abi).replace("PLANTED = 2", "PLANTED = 3")})
        report.self_test("bindings that were forgotten are named",
                         generated_problems("Rust", abi_rust, abi, folder) + generated_problems("Python", abi_python, abi, folder)
                         + reader_problems("Go", "bindings/go", "_test.go", folder),
                         ["Rust: bindings/rust/flashcore-sys/src/abi.rs lacks: pub added: i64,", "lacks: PLANTED = 2", "have not: PLANTED = 3",
                          "Go: no bindings/go/*_test.go reads", REMEDY], silent=True)
        found = ctypes_problems(abi_table.probe_rows(abi, "c", c, folder), os.path.join(folder, abi_python.PATH))
        report.self_test("ctypes that differs is named", found, ["FLASHCORE_PLANTED 2 is missing", "FLASHCORE_PLANTED 3 is not in"], silent=True)


def main(c, cpp):
    report = house.Report()
    self_test(report, c, cpp)
    abi, table = abi_table.parse_headers(), abi_table.parse_rows(abi_table.read(abi_table.TABLE))
    report.case("the rows cover every byte of every struct", abi_table.holes(table))
    report.case("C: the table is what the compiler says", compiler_problems("C", abi, table, "c", c))
    report.case("C++: the table is what the compiler says", compiler_problems("C++", abi, table, "c++", cpp))
    report.case("Rust: the declarations are those of the headers", generated_problems("Rust", abi_rust, abi))
    report.case("Python: the declarations are those of the headers", generated_problems("Python", abi_python, abi))
    report.case("Python: ctypes lays out as the table says", ctypes_problems(table, os.path.join(ROOT, abi_python.PATH)))
    report.case("Go: its suite reads the table", reader_problems("Go", "bindings/go", "_test.go"))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[2].split(), sys.argv[3].split())
