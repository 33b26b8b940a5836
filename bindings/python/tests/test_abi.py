# SPDX-License-Identifier: Apache-2.0
"""Sizes, offsets, constants and prototypes against bindings/abi_layout.tsv, row by row, and error classes against the statuses."""
import ctypes
import os
import unittest

import support
from flashcore import _abi_table as abi
from flashcore import _errors

TABLE = os.path.join(support.ROOT, "bindings", "abi_layout.tsv")
SCALARS = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
           "float": ctypes.c_float, "double": ctypes.c_double, "flashcore_status": ctypes.c_int32, "flashcore_context": ctypes.c_void_p,
           "char": ctypes.c_char, "void": None}


def class_name(struct):
    return "".join(word.capitalize() for word in struct[len("flashcore_"):].split("_"))


def ctypes_type(words):
    words = " ".join(words.replace("const ", "").replace("*", " * ").split())
    if words == "char *":
        return ctypes.c_char_p
    if words in ("void *", "flashcore_context"):
        return ctypes.c_void_p
    if words.endswith(" *"):
        return ctypes.POINTER(ctypes_type(words[:-2]))
    return SCALARS[words] if words in SCALARS else getattr(abi, class_name(words))


def row_problems(row):
    kind, name = row[:2]
    if kind == "constant":
        found = getattr(abi, name[len("FLASHCORE_"):], None)
        return [] if found == int(row[2]) else [f"Python: {name} is {found}, the table says {row[2]}"]
    if kind == "function":
        if name not in abi.PROTOTYPES:
            return [f"Python: {name} is missing"]
        parameters = [] if row[3] in ("", "void") else [word.strip() for word in row[3].split(",")]
        wanted = [ctypes_type(word.rstrip("abcdefghijklmnopqrstuvwxyz_0123456789")) for word in parameters]
        return [] if abi.PROTOTYPES[name] == (ctypes_type(row[2]), wanted) else [f"Python: {name} is {abi.PROTOTYPES[name]}, the table says {row[2:]}"]
    struct = getattr(abi, class_name(name), None)
    if struct is None:
        return [f"Python: {name} is missing"]
    if kind == "struct":
        size = ctypes.sizeof(struct)
        return [] if size == int(row[2]) else [f"Python: {name} has {size} bytes, the table says {row[2]}"]
    assert kind == "field", row
    field, _, offset, size = row[2:]
    member = getattr(struct, field, None)
    if member is None:
        return [f"Python: {name}.{field} is missing"]
    found = (member.offset, member.size)
    return [] if found == (int(offset), int(size)) else [f"Python: {name}.{field} is at byte {found[0]} with {found[1]} bytes, the table says "
                                                         f"{offset} and {size}"]


def table_rows():
    with open(TABLE, encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]


class TestAbi(unittest.TestCase):
    def test_every_row_of_the_table(self):
        rows = table_rows()
        self.assertGreater(len(rows), 150)
        self.assertEqual([problem for row in rows for problem in row_problems(row)], [])

    def test_nothing_that_the_table_lacks(self):
        known = {(row[0], row[1]) for row in table_rows()}
        self.assertEqual([name for name in abi.PROTOTYPES if ("function", name) not in known], [])
        constants = [name for name, value in vars(abi).items() if isinstance(value, int) and name.isupper()]
        self.assertEqual([name for name in constants if ("constant", f"FLASHCORE_{name}") not in known], [])

    def test_wrong_rows_are_caught(self):
        for row, words in ((["struct", "flashcore_error", "8"], "the table says 8"), (["struct", "flashcore_gone", "8"], "flashcore_gone is missing"),
                           (["field", "flashcore_error", "message", "char[1024]", "84", "1024"], "is at byte 80"),
                           (["field", "flashcore_error", "gone", "char", "0", "1"], "flashcore_error.gone is missing"),
                           (["constant", "FLASHCORE_OK", "7"], "FLASHCORE_OK is 0"), (["constant", "FLASHCORE_GONE", "7"], "is None"),
                           (["function", "flashcore_gone", "void", ""], "flashcore_gone is missing"),
                           (["function", "flashcore_buffer_free", "flashcore_status", "flashcore_context context"], "flashcore_buffer_free is")):
            self.assertEqual(len(row_problems(row)), 1, row)
            self.assertIn(words, row_problems(row)[0])

    def test_a_class_for_every_status(self):
        statuses = {row[1][len("FLASHCORE_"):]: int(row[2]) for row in table_rows() if row[0] == "constant" and row[1] in STATUSES}
        self.assertEqual(len(statuses), len(STATUSES))
        classes = {kind.status: code for code, kind in _errors.BY_STATUS.items()}
        self.assertEqual(classes, {name: code for name, code in statuses.items() if name != "OK"})


def status_names():
    with open(os.path.join(support.ROOT, "include/flashcore/flashcore_status.h"), encoding="utf-8") as file:
        return {"FLASHCORE_" + line.split("(")[1].split(",")[0] for line in file if line.startswith("  X(")}


STATUSES = status_names()

if __name__ == "__main__":
    support.main()
