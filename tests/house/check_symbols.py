#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What leaves libflashcore.so, and what it asks for. usage: check_symbols.py LIBRARY docs/ABI.md COMPILER...

The ledger in docs/ABI.md is the list of exported functions. Nothing else leaves, nothing weak or unique (either would
let another library of the process replace it), and the library is linked hard: bound at load, read-only relocations.
"""
import re
import sys
import tempfile

import elf_tools
import house

LEDGER_ROW = re.compile(r"^\| `(flashcore_\w+)` \| `(\w+)` \| (\S+) \|", re.MULTILINE)
NEEDED = re.compile(r"^(libc|libm|libstdc\+\+|libgcc_s|libzstd|ld-linux[\w-]*)\.so\.\d+$")
NODES = {"FLASHCORE_1", "FLASHCORE_INSPECT"}
# Printing, ending the process, and reading the environment behind the back of a set-uid program.
FORBIDDEN = re.compile(r"^(__)?(printf|fprintf|vprintf|vfprintf|puts|putchar|perror|abort|exit|_exit|quick_exit|getenv|setenv|putenv)"
                       r"(_chk)?$|^_ZSt4(cout|cerr|clog)$|^__assert_fail$")


def ledger(text):
    return {name: (node, since) for name, node, since in LEDGER_ROW.findall(text)}


def export_problems(library, expected):
    """expected: {name: node}"""
    problems, found = [], {}
    for symbol in elf_tools.exported_symbols(library):
        found[symbol.name] = symbol.node
        if symbol.kind != "T":
            problems.append(f"{symbol.name} is exported as '{symbol.kind}' (nm), only functions (T) may be")
        if symbol.name not in expected:
            problems.append(f"{symbol.name} is exported, but not in the ledger")
        elif symbol.node != expected[symbol.name]:
            problems.append(f"{symbol.name} is in version node {symbol.node or 'none'}, the ledger says {expected[symbol.name]}")
    return problems + [f"{name} is in the ledger, but not exported" for name in expected if name not in found]


def link_problems(library):
    dynamic = elf_tools.dynamic_section(library)
    tags = [tag for tag, _ in dynamic]
    headers = elf_tools.program_headers(library)
    problems = [f"needs {value}" for tag, value in dynamic if tag == "NEEDED" and not NEEDED.match(value)]
    problems += [f"has {tag}" for tag in ("RPATH", "RUNPATH", "TEXTREL") if tag in tags]
    problems += ["has TEXTREL"] if any(tag == "FLAGS" and "TEXTREL" in value for tag, value in dynamic) else []
    if not any(tag in ("FLAGS", "FLAGS_1") and "NOW" in value for tag, value in dynamic) and "BIND_NOW" not in tags:
        problems.append("is bound lazily (no BIND_NOW)")
    if not any(tag == "FLAGS_1" and "NODELETE" in value for tag, value in dynamic):
        problems.append("may be unloaded (no NODELETE)")
    if "GNU_RELRO" not in headers:
        problems.append("has writable relocations (no RELRO)")
    if "TLS" in headers:  # where a library is opened at run time, the loader ends the process if a thread's first use finds no memory
        problems.append("has thread-local storage (TLS)")
    if "E" in headers.get("GNU_STACK", "E"):
        problems.append("has an executable stack")
    return problems


def need_problems(library):
    return [f"calls {name}" for name in elf_tools.needed_symbols(library) if FORBIDDEN.match(name)]


PLANTED = """
#include <cstdio>
#include <cstdlib>
extern "C" void flashcore_known() { std::puts(std::getenv("HOME")); std::exit(1); }
extern "C" void flashcore_extra() {}
extern "C" int flashcore_data = 1;
extern "C" int flashcore_count() { thread_local int count = 0; return ++count; }
template <typename T> T weak(T value) { static T last = value; return last; }
template int weak<int>(int);
"""


def self_test(report, compiler):
    with tempfile.TemporaryDirectory() as folder:
        library = elf_tools.build_library(compiler, folder, PLANTED, "-Wl,-z,lazy", "-Wl,-z,norelro",
                                          "-Wl,-z,execstack", "-Wl,-rpath,/nowhere", "-Wl,--no-as-needed", "-lpthread", "-ldl", "-lrt",
                                          "-lboost_program_options")
        found = export_problems(library, {"flashcore_known": "FLASHCORE_1", "flashcore_gone": "FLASHCORE_1"})
        report.self_test("planted exports are caught", found, [
            "flashcore_extra is exported, but not in the ledger", "flashcore_data is exported as 'D'", "_ZZ4weakIiET_S0_E4last is exported",
            "_Z4weakIiET_S0_ is exported as 'W'", "flashcore_known is in version node none", "flashcore_gone is in the ledger, but not exported"])
        report.self_test("a planted way of linking is caught", link_problems(library), [
            "needs libboost", "PATH", "bound lazily", "may be unloaded", "no RELRO", "executable stack", "thread-local storage"])
        report.self_test("planted calls are caught", need_problems(library), ["calls puts", "calls getenv", "calls exit"])
    report.case("self-test: the ledger's own form", [] if ledger("| `flashcore_x` | `FLASHCORE_1` | 1.0 | what |") ==
                {"flashcore_x": ("FLASHCORE_1", "1.0")} else ["a row of the ledger is not read"])


def main(library, ledger_path, compiler):
    report = house.Report()
    self_test(report, compiler)
    with open(ledger_path, encoding="utf-8") as file:
        rows = ledger(file.read())
    report.case("the ledger's version nodes exist", [f"{name}: {node}" for name, (node, _) in rows.items() if node not in NODES])
    report.case("exports are the ledger's functions and nothing else",
                export_problems(library, {name: node for name, (node, _) in rows.items()}))
    report.case("linked hard, needs only the system's own libraries and zstd", link_problems(library))
    report.case("calls nothing that prints, exits or reads the environment unsafely", need_problems(library))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
