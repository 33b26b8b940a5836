#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Branch coverage of rooms of src/, as clang counts it in the source: each condition true and each false. Its build folder is made with

    CC=clang CXX=clang++ meson setup build-coverage -Dmodules=disabled -Dbuildtype=plain -Doptimization=0 -Db_lundef=false
        -Dc_args='-fprofile-instr-generate -fcoverage-mapping' -Dcpp_args='-fprofile-instr-generate -fcoverage-mapping'
        -Dc_link_args=-fprofile-instr-generate -Dcpp_link_args=-fprofile-instr-generate

and its test programs run with LLVM_PROFILE_FILE=FOLDER/%p-%m.profraw. usage: coverage.py BUILD FOLDER [--list] [ROOM...]

A room is the beginning of a path below src/. A branch of a macro (FLASHCORE_TRY) counts in each line that uses it. Where a template is compiled
more than once, a branch counts as taken that was taken in one of them. --list: the lines with branches that were not.
"""
import argparse
import collections
import glob
import json
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOMS = ["cache/", "problem/", "plan/", "runtime/module_"]


def tool(name):
    for candidate in (name, f"{name}-14", f"{name}-15", f"{name}-16", f"{name}-18"):
        if shutil.which(candidate):
            return candidate
    sys.exit(f"{name} is not installed (Debian: llvm)")


def exported(build, folder):
    """llvm-cov's JSON over the library and every test program that brings the rooms with it."""
    profile = os.path.join(folder, "all.profdata")
    raw = glob.glob(os.path.join(folder, "*.profraw"))
    if not raw:
        sys.exit(f"{folder}: no .profraw file")
    listed = os.path.join(folder, "raw.txt")
    with open(listed, "w", encoding="utf-8") as file:
        file.write("\n".join(raw))
    subprocess.run([tool("llvm-profdata"), "merge", "--sparse", "--failure-mode=all", "-f", listed, "-o", profile], check=True)
    objects = [path for pattern in ("src/libflashcore.so.*.*.*", "tests/unit/*/unit_*", "tests/fuzz/replay_*", "tools/fc-inspect/fc-inspect") for path in
               sorted(glob.glob(os.path.join(build, pattern))) if os.path.isfile(path)]
    arguments = [word for path in objects[1:] for word in ("--object", path)]
    done = subprocess.run([tool("llvm-cov"), "export", "--format=text", f"--instr-profile={profile}", objects[0], *arguments,
                           *(os.path.join(ROOT, "src", room) for room in sorted({room.split("/")[0] for room in ROOMS}))],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["data"][0]


def branches_of(data):
    """{(file, line): {place: [times true, times false]}}; a macro's branches stand in the line that uses it."""
    found = collections.defaultdict(dict)

    def add(file, line, place, taken):
        counts = found[file, line].setdefault(place, [0, 0])
        counts[0] += taken[0]
        counts[1] += taken[1]

    for function in data["functions"]:
        names, regions = function["filenames"], function.get("regions", [])
        # A macro's lines belong to another file id, which an expansion region (kind 1) places.
        place_of = {}
        for line, column, _, _, _, file, expanded, kind in regions:
            if kind == 1:
                place_of[expanded] = (file, line, column)
        for line, column, _, _, true, false, file, _, _ in function.get("branches", []):
            inner = (names[file], line, column)
            at = (file, line, column)
            while at[0] in place_of:
                at = place_of[at[0]]
            path = os.path.normpath(os.path.join(ROOT, names[at[0]]))
            add(os.path.relpath(path, os.path.join(ROOT, "src")), at[1], (at[2], inner), (true, false))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("folder")
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    found = branches_of(exported(arguments.build, arguments.folder))
    for room in arguments.rooms:
        taken = total = 0
        missing = []
        for (file, line), branches in sorted(found.items()):
            if not file.startswith(room):
                continue
            for counts in branches.values():
                total += 2
                taken += (counts[0] > 0) + (counts[1] > 0)
                missing += [(file, line, what) for what, times in zip(("true", "false"), counts) if times == 0]
        print(f"figure: {taken} of {total} branches of src/{room}* ({100 * taken / max(1, total):.1f} %)")
        for file, line, what in missing if arguments.list else []:
            with open(os.path.join(ROOT, "src", file), encoding="utf-8") as source:
                print(f"{file}:{line}: never {what}: {source.read().splitlines()[line - 1].strip()[:140]}")


if __name__ == "__main__":
    main()
