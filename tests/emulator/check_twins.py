#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Parts that hold PTX and their twins for the emulator are one list of functions. usage: check_twins.py SOURCE_ROOT

A part of kernels/parts with assembler in it has a twin of the same name in tests/emulator/parts_twins/parts, or stands below as not emulated
so far. Part and twin declare the same functions, to the letter of their signatures, and the same members of what a macro makes; and a part
without assembler has no twin, so that what runs on the host is the kernel's own source.
"""
import os
import re
import sys
import tempfile

if __name__ == "__main__":
    ROOT = os.path.abspath(sys.argv[1])
    sys.path[:0] = [os.path.join(ROOT, "tests/house")]
    sys.dont_write_bytecode = True

import house

PARTS, TWINS = "kernels/parts", "tests/emulator/parts_twins/parts"
NOT_EMULATED = set()
ASSEMBLER = re.compile(r"\basm\b")
FUNCTION = re.compile(r"(template <[^>]*>\s*)?(?:static )?__device__ __forceinline__ ([^{};]*)[{;]")
# A family that a macro makes: its members by their number.
MEMBER = re.compile(r"^(FLASHCORE_\w+)\((\d+)\b", re.MULTILINE)


def functions(root, path):
    text = house.without_comments(house.read(root, path), keep_strings=False).replace("\\\n", " \n")
    return {" ".join(((template or "") + rest.split(" : ")[0]).split()) for template, rest in FUNCTION.findall(text)} | \
        {f"{macro}({number})" for macro, number in MEMBER.findall(text)}


def files(root, folder):
    return {name for name in os.listdir(os.path.join(root, folder)) if name.endswith(".cuh")}


def checks(root, not_emulated):
    """{case name: problems}"""
    with_assembler = {name for name in files(root, PARTS)
                      if ASSEMBLER.search(house.without_comments(house.read(root, f"{PARTS}/{name}"), keep_strings=False))}
    twins = files(root, TWINS)
    found = {
        "every part with assembler has a twin": [
            f"{PARTS}/{name} holds assembler and has no twin" for name in sorted(with_assembler - twins - not_emulated)],
        "only parts with assembler have one": [
            f"{TWINS}/{name} stands for no part with assembler" for name in sorted(twins - with_assembler)],
        "the list of parts without a twin is right": [
            f"{name} need not be in the list of parts without a twin" for name in sorted(not_emulated - (with_assembler - twins))],
    }
    for name in sorted(twins & with_assembler):
        part, twin = functions(root, f"{PARTS}/{name}"), functions(root, f"{TWINS}/{name}")
        found[f"{name}: part and twin have the same functions"] = \
            [f"{name}: the twin lacks {one}" for one in sorted(part - twin)] + \
            [f"{name}: the part lacks {one}" for one in sorted(twin - part)] + \
            ([] if part else [f"{name}: no function was found in it"])
    return found


def self_test(report):
    function = "__device__ __forceinline__ void {}(int32_t x) {{ {} }}\n"
    assembler = 'asm volatile("bar.sync 0;");'
    planted = {
        f"{PARTS}/one.cuh": function.format("same", assembler) + function.format("alone", assembler) + "FLASHCORE_ONE(8, a);\n",
        f"{TWINS}/one.cuh": function.format("same", "") + function.format("extra", "") + "FLASHCORE_ONE(16);\n",
        f"{PARTS}/two.cuh": function.format("f", assembler),
        f"{PARTS}/plain.cuh": function.format("g", "// asm"),
        f"{TWINS}/plain.cuh": function.format("g", ""),
    }
    expected = ["one.cuh: the twin lacks void alone(int32_t x)", "one.cuh: the part lacks void extra(int32_t x)",
                "one.cuh: the twin lacks FLASHCORE_ONE(8)", "one.cuh: the part lacks FLASHCORE_ONE(16)",
                f"{PARTS}/two.cuh holds assembler and has no twin", f"{TWINS}/plain.cuh stands for no part",
                "gone.cuh need not be"]
    with tempfile.TemporaryDirectory() as root:
        house.plant(root, planted)
        found = [problem for problems in checks(root, {"gone.cuh"}).values() for problem in problems]
        report.self_test("planted files are caught", found, expected, silent=True)


def main(root):
    report = house.Report()
    self_test(report)
    for name, problems in checks(root, NOT_EMULATED).items():
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main(ROOT)
