#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where programs and libraries look for their libraries. usage: check_rpath.py BUILD_ROOT CXX...

An element of RUNPATH or RPATH that is relative or empty is a folder below wherever the program is started, and whoever may write there
runs code in it. So each element, and each needed library with a slash in its name, begins with $ORIGIN or is absolute, exists, and lies
below the build folder. tests/install holds what is installed, and bindings/python the wheel, to the same rule.
"""
import os
import re
import sys
import tempfile

import elf_tools
import house


def elf_files(root):
    """Programs and libraries below root; of a compiler's own folders (Rust's target, Go's cache) too. Links are not followed."""
    found = []
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as file:
                    head = file.read(20)
            except FileNotFoundError:  # a test beside this one cleaned up
                continue
            # Executables (2) and shared objects (3) of a machine that has a loader: a cubin is an ELF file for another one (190).
            if head[:4] == b"\x7fELF" and int.from_bytes(head[16:18], "little") in (2, 3) and int.from_bytes(head[18:20], "little") != 190:
                found.append(path)
    return found


def problem_of_element(element, path, root):
    """What is wrong with one element of the search path of the file `path`; '' when nothing is."""
    if element == "":
        return "an empty element, which is the current folder"
    if re.fullmatch(r"X+", element):
        return f"{element}: padding, which is a folder of the current folder"
    origin = re.match(r"\$(ORIGIN|\{ORIGIN\})(?=/|$)", element)
    if not origin and not element.startswith("/"):
        return f"{element}: relative to the current folder"
    place = os.path.dirname(os.path.realpath(path)) + element[origin.end():] if origin else element
    if "$" in place:
        return f"{element}: only $ORIGIN may be replaced by the loader"
    if not os.path.isdir(place):
        return f"{element}: there is no such folder"
    real, top = os.path.realpath(place), os.path.realpath(root)
    return "" if real == top or real.startswith(top + os.sep) else f"{element}: leads out of {top}"


def problems_of(path, root):
    problems = []
    for tag, value in elf_tools.dynamic_section(path):
        if tag in ("RUNPATH", "RPATH"):
            problems += [f"{tag}: {problem}" for element in value.split(":") if (problem := problem_of_element(element, path, root))]
        elif tag in ("NEEDED", "AUXILIARY", "FILTER") and "/" in value and not value.startswith("/"):
            problems.append(f"{tag} {value}: relative to the current folder")
    return [f"{os.path.relpath(path, root)}: {problem}" for problem in problems]


def main(root, compiler):
    report = house.Report()
    with tempfile.TemporaryDirectory() as folder:
        for name, rpath, expected in (("relative", "lib", ["lib: relative"]), ("empty", "$ORIGIN:", ["an empty element"]), ("padding", "$ORIGIN:XXXX", ["XXXX: padding"]),
                                      ("absent", "$ORIGIN/absent", ["no such folder"]), ("outside", "/usr", ["leads out of"]),
                                      ("above", "$ORIGIN/..", ["leads out of"]), ("another variable", "$LIB", ["$LIB: relative"])):
            library = elf_tools.build_library(compiler, folder, "int a;", f"-Wl,-rpath,{rpath}", "-Wl,--enable-new-dtags")
            report.self_test(f"a search path that is {name}", problems_of(library, folder), expected, silent=True)
            library = elf_tools.build_library(compiler, folder, "int a;", f"-Wl,-rpath,{rpath}", "-Wl,--disable-new-dtags")
            report.self_test(f"the same as RPATH: {name}", problems_of(library, folder), ["RPATH: "])
        library = elf_tools.build_library(compiler, folder, "int a;", f"-Wl,-rpath,$ORIGIN:{folder}")
        report.case("self-test: $ORIGIN and an absolute folder below the root are allowed", problems_of(library, folder))
        report.case("self-test: the planted library is found", [] if elf_files(folder) == [library] else [str(elf_files(folder))])
    files = elf_files(root)
    report.case(f"search paths of the {len(files)} programs and libraries below the build folder",
                [problem for path in files for problem in problems_of(path, root)] if files else [f"{root} holds no program"])
    report.finish()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
