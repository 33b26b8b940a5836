#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loading the library runs none of its code. usage: check_static_inits.py LIBRARY COMPILER...

What an object with a constructor leaves is an entry in .init_array, a list of functions that run at load. The C runtime's
own entry is allowed, and libgcc's reading of CPUID, which function multi-versioning needs. What begins with the library ends
with it too: .fini_array holds the C runtime's entry only.
"""
import os
import sys
import tempfile

import elf_tools
import house

ALLOWED = {".init_array": {"frame_dummy", "__cpu_indicator_init", "init_cpu_features"}, ".fini_array": {"__do_global_dtors_aux"},
           ".preinit_array": set(), ".ctors": set(), ".dtors": set()}


def problems_of(library):
    return [f"{section} runs {name}" for section, allowed in ALLOWED.items()
            for name in elf_tools.array_functions(library, section) if name not in allowed]


PLANTED = """
#include <string>
static std::string name("a string that is long enough to be allocated when the library is loaded");
extern "C" const char *flashcore_x() { return name.c_str(); }
"""
PLANTED_ATTRIBUTE = "__attribute__((constructor)) static void begin() {} __attribute__((destructor)) static void end() {}"
QUIET = "static constexpr int table[] = {1, 2}; extern \"C\" int flashcore_x(int i) { static int n = i; return table[n]; }"


def main(library, compiler):
    report = house.Report()
    with tempfile.TemporaryDirectory() as folder:
        report.self_test("a planted object is caught", problems_of(elf_tools.build_library(compiler, folder, PLANTED)),
                         [".init_array runs _GLOBAL__sub_I"])
        report.self_test("planted constructor and destructor functions are caught",
                         problems_of(elf_tools.build_library(compiler, folder, PLANTED_ATTRIBUTE)),
                         [".init_array runs _ZL5beginv", ".fini_array runs _ZL3endv"], silent=True)
        report.case("self-test: constants and local statics are allowed", problems_of(elf_tools.build_library(compiler, folder, QUIET)))
    report.case(f"{os.path.basename(library)} has no static constructors", problems_of(library))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
