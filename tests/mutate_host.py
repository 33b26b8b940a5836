#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Would the tests see a slip in the library's own code? Small ones (tests/emulator/slips.py) are made in one room of src/, one at a time.

Each is compiled, linked into the room's tests, and they run until one fails: the slip is killed. An endless loop or a crash kills it as well. A
slip that does not compile, or makes the same object, does not count. What survives is of no effect, or the tests lack a case. The tests
of the room have to be built, and pass as they are. One core is used; the source tree is left alone.
"""
import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "emulator")]
import mutate

# The fast ones first.
TESTS = {
    "api": ["api/bad_input", "api/test_interruptions", "api/test_driver_failures"],
    "base": ["unit/base/unit_base", "unit/cache/unit_cache", "unit/cache/unit_cache_processes"],
    "cache": ["unit/cache/unit_cache", "unit/cache/unit_cache_processes", "api/test_out_of_memory"],
    "cpu": ["unit/cpu/test_host_addresses", "unit/cpu/test_cpu_attention", "api/bad_input"],
    "cubin": ["unit/cubin/unit_cubin", "unit/cache/unit_cache"],
    "driver": ["unit/driver/test_cuda_driver", "unit/driver/test_load_cuda_driver", "unit/driver/test_nvrtc_library", "api/test_driver_failures"],
    "jit": ["unit/jit/unit_jit"],
    "plan": ["unit/plan/unit_plan"],
    "problem": ["unit/problem/unit_problem", "api/bad_input"],
    "runtime": ["unit/runtime/unit_runtime", "api/test_driver_calls", "api/test_refused_modules", "api/test_checked_addresses", "unit/runtime/unit_workspace", "api/test_variants",
                "api/test_driver_failures"],
}
LIBRARY, ARCHIVE = "src/libflashcore.so.1.0.0", "src/libflashcore_internal.a"


class Build:
    def __init__(self, folder, room):
        self.folder = os.path.abspath(folder)
        self.work = os.path.join(self.folder, "mutated")
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        os.symlink(os.path.basename(LIBRARY), os.path.join(self.work, "libflashcore.so.1"))
        self.compile = {}  # by source, below the root
        for entry in json.loads(self.ninja("compdb")):
            source = os.path.relpath(os.path.join(self.folder, entry["file"]), mutate.ROOT)
            if source.startswith(f"src/{room}/") and entry["output"].startswith("src/libflashcore_internal.a.p/"):
                command = shlex.split(entry["command"])
                self.compile[source] = (command[command[0].endswith("ccache"):], entry["output"])
        self.tests = [os.path.join("tests", test) for test in TESTS[room]]
        self.links = {target: shlex.split(self.ninja("commands", target).splitlines()[-1]) for target in [LIBRARY, *self.tests]}
        archive = self.ninja("commands", ARCHIVE).splitlines()[-1]
        self.archive = shlex.split(archive[archive.index("&&") + 2:])
        self.seconds = {}

    def ninja(self, *tool):
        return subprocess.run(["ninja", "-C", self.folder, "--quiet", "-t", *tool], stdout=subprocess.PIPE, text=True, check=True).stdout

    def object_of(self, source, text):
        """Compiled: the object's bytes, or None."""
        path, output = os.path.join(self.work, os.path.basename(source)), os.path.join(self.work, "changed.o")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        command = mutate.with_options(self.compile[source][0], output, path)
        done = subprocess.run([*command, "-w"], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            return None
        with open(output, "rb") as file:
            return file.read()

    def link(self, source):
        """The library and the tests, with changed.o in the place of the source's object."""
        archive = "mutated/library.a"  # of names, which are relative to it
        if os.path.exists(os.path.join(self.folder, archive)):
            os.remove(os.path.join(self.folder, archive))
        place = {ARCHIVE: archive, self.compile[source][1]: "mutated/changed.o"}
        subprocess.run([place.get(word, word) for word in self.archive], cwd=self.folder, check=True)
        for target, command in self.links.items():
            place[target] = os.path.join(self.work, os.path.basename(target))
            subprocess.run([place.get(word, word) for word in command], cwd=self.folder, check=True)

    def run(self):
        """Empty, or which test failed and how."""
        for test in self.tests:
            began = time.monotonic()
            environment = dict(os.environ, LD_LIBRARY_PATH=self.work)
            try:
                done = subprocess.run([os.path.join(self.work, os.path.basename(test)), "--color_output=no"], stdout=subprocess.PIPE, env=environment,
                                      stderr=subprocess.STDOUT, text=True, errors="replace", check=False, cwd=self.work,
                                      timeout=10 * self.seconds.get(test, 30) + 20)
            except subprocess.TimeoutExpired:
                return f"{os.path.basename(test)}: endless"
            if done.returncode != 0:
                first = next((line for line in done.stdout.splitlines() if "error" in line), f"ended with {done.returncode}")
                return f"{os.path.basename(test)}: {re.sub(r'^.*?error:? ?', '', first)}"
            self.seconds.setdefault(test, time.monotonic() - began)
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="a build folder in which the room's tests are built")
    parser.add_argument("room", choices=sorted(TESTS))
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other slips (1)")
    parser.add_argument("--count", type=int, default=30, help="how many slips that compile (30)")
    parser.add_argument("--output", help="write all of them with their outcomes, tab-separated")
    arguments = parser.parse_args()
    os.nice(10)
    build = Build(arguments.build, arguments.room)
    unchanged = {}
    tally, rows = {"killed": 0, "survived": 0}, []
    for slip, source in mutate.drawn(sorted(build.compile), arguments.seed):
        if sum(tally.values()) >= arguments.count:
            break
        if slip.file not in unchanged:
            unchanged[slip.file] = build.object_of(slip.file, source)
            if not build.seconds:
                build.link(slip.file)
                if said := build.run():
                    sys.exit(f"fails as it is: {said}")
        changed = build.object_of(slip.file, source[:slip.start] + slip.text + source[slip.end:])
        if changed is None or changed == unchanged[slip.file]:
            continue
        build.link(slip.file)
        said = build.run()
        verdict = "killed" if said else "survived"
        tally[verdict] += 1
        before, after = slip.shown(source)
        print(f"[{sum(tally.values()):3}/{arguments.count}] {verdict:8} {slip.file}:{slip.line} {slip.kind}: {before}  ->  {after}  ({said[:120]})",
              flush=True)
        rows.append((verdict, f"{slip.file}:{slip.line}", slip.kind, before, after, said))
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in rows)
    print(f"{tally['killed']} killed, {tally['survived']} survived")


if __name__ == "__main__":
    main()
