#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""abidiff's opinion of the stable interface: symbols with their version nodes, prototypes and every type that they reach, against
the baseline of version 1, tests/api/flashcore_1.abi.

usage: check_abi_baseline.py SOURCE_ROOT LIBRARY C_COMPILER [--update]      --update writes the baseline anew, after a look at the report

What is compared is a library of empty functions made from flashcore.h: the debug information of the real one would tell about
its C++ inside. That the real library exports the very same symbols is a case of its own. abidiff gives one exit code to a field
that was appended and to one that was moved, so any difference fails here, and the layout is check_abi_table.py's business.
"""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(sys.argv[1])
sys.path[:0] = [os.path.join(ROOT, "bindings"), os.path.join(ROOT, "tests/house")]
sys.dont_write_bytecode = True

import abi_table
import elf_tools
import house

BASELINE = os.path.join(ROOT, "tests/api/flashcore_1.abi")
STABLE_NODE = "FLASHCORE_1"


def build_stub(compiler, folder, include, functions, name="stub"):
    """The path of a library with these functions, its types described as in flashcore.h."""
    bodies = [f"{kind} {function}({', '.join(parameters) or 'void'}) {{ {'' if kind == 'void' else 'return 0;'} }}"
              for function, (kind, parameters) in functions.items()]
    with open(os.path.join(folder, "stub.c"), "w", encoding="utf-8") as file:
        file.write("#include <flashcore/flashcore.h>\n" + "\n".join(bodies) + "\n")
    library = os.path.join(folder, f"{name}.so")
    subprocess.run([*compiler, "-std=c99", "-g", "-w", "-fPIC", "-fvisibility=hidden", "-shared", "-I", include, "stub.c", "-o", library,
                    "-Wl,-soname,libflashcore.so.1", f"-Wl,--version-script,{ROOT}/src/api/flashcore.map"], cwd=folder, check=True)
    return library


def problems_of(baseline, library):
    done = subprocess.run(["abidiff", "--no-architecture", baseline, library], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [*f"{done.stdout}{done.stderr}".splitlines(), f"abidiff's exit code is {done.returncode}"]


def write_baseline(library, path):
    text = subprocess.run(["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-architecture", library],
                          check=True, capture_output=True, text=True).stdout
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def self_test(report, compiler, abi, folder):
    """Planted changes against a baseline that was made a moment ago."""
    baseline = os.path.join(folder, "planted.abi")
    write_baseline(build_stub(compiler, folder, os.path.join(ROOT, "include"), abi.functions), baseline)
    gone = {name: row for name, row in abi.functions.items() if name != "flashcore_copy_to_host"}
    report.self_test("a function that is gone is caught", problems_of(baseline, build_stub(compiler, folder, os.path.join(ROOT, "include"), gone)),
                     ["1 Removed", "flashcore_copy_to_host"])
    headers = {name: abi_table.read(name) for name in (*abi_table.HEADERS, "include/flashcore/flashcore_version.h")}
    for name, old, new, said in (
            ("a field of another type", "  int64_t seqlen_kv;", "  uint64_t seqlen_kv;", "seqlen_kv"),
            ("fields that changed places", "  int64_t seqlen_q;\n  int64_t seqlen_kv;", "  int64_t seqlen_kv;\n  int64_t seqlen_q;", "seqlen_"),
            ("a field that was appended", "  char reasons[4096];", "  char reasons[4096]; int64_t appended;", "appended"),
            ("a parameter of another type", "uint64_t address,\n", "int64_t address,\n", "parameter 2")):
        changed = {header: text.replace(old, new) for header, text in headers.items()}
        house.plant(folder, changed)
        library = build_stub(compiler, folder, os.path.join(folder, "include"), abi_table.parse_headers(folder).functions)
        report.self_test(f"{name} is caught", problems_of(baseline, library) if changed != headers else [], [said])


def export_problems(library, functions):
    exported = {symbol.name for symbol in elf_tools.exported_symbols(library) if symbol.node == STABLE_NODE}
    return ([f"{name} is declared, but not exported in {STABLE_NODE}" for name in functions if name not in exported]
            + [f"{name} is exported in {STABLE_NODE}, but not declared" for name in exported if name not in functions])


def main(library, compiler, update):
    abi = abi_table.parse_headers()
    with tempfile.TemporaryDirectory() as folder:
        if update:
            write_baseline(build_stub(compiler, folder, os.path.join(ROOT, "include"), abi.functions), BASELINE)
            return
        report = house.Report()
        report.case("the library exports what flashcore.h declares", export_problems(library, abi.functions))
        if shutil.which("abidiff") and shutil.which("abidw"):
            self_test(report, compiler, abi, folder)
            problems = problems_of(BASELINE, build_stub(compiler, folder, os.path.join(ROOT, "include"), abi.functions))
            accept = f"If that is what was meant: tests/api/check_abi_baseline.py . {library} {' '.join(compiler)} --update"
            report.case("flashcore.h is the baseline's interface", [*problems, accept] if problems else [])
        else:
            report.skip("flashcore.h is the baseline's interface", "abidiff is not installed (Debian: abigail-tools)")
        report.finish()


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3].split(), "--update" in sys.argv[4:])
