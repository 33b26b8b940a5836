#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Would the emulator's tests see a slip? Small ones (slips.py) are made in the device code of emulated kernels, one at a time.

Each is compiled into the kernels' modules and run through test_emulated_kernels, until a case fails: the slip is killed. An endless loop or a
crash kills it as well. A slip that does not compile does not count. What survives every kernel that includes its file is either of no effect,
and then stands in equivalent_slips.tsv with the reason, or the tests lack a case. The build folder has to be up to date, and its tests to pass.
One core is used: several runs, with a seed and a copy of the build folder each, go side by side.
"""
import argparse
import json
import os
import random
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from typing import Dict, List, NamedTuple

sys.dont_write_bytecode = True
import slips

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEST = "tests/emulator/test_emulated_kernels"
EQUIVALENT = "tests/emulator/equivalent_slips.tsv"
INCLUDE = re.compile(r'^#include "((?:parts|attention_fwd)/[^"]+)"', re.MULTILINE)
MOST_MEMORY = 8 << 30
LONGEST_COMPILE, LONGEST_RUN = 120, 400  # seconds; the slowest kernel's tests take 190


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class Outcome(NamedTuple):
    verdict: str  # killed, survived, equivalent, "did not compile"
    why: str


def with_options(command, output, source):
    """Another source to another object; the command ends with "-c SOURCE"."""
    command = list(command)
    for option, value in (("-o", output), ("-c", source), ("-MF", output + ".d"), ("-MQ", output)):
        command[command.index(option) + 1] = value
    return command


class Build:
    """What the build folder knows: how modules are compiled, and the test linked."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.work = os.path.join(self.folder, "tests/emulator/mutated")
        self.compile: Dict[str, List[str]] = {}  # by module
        for entry in json.loads(self.ninja("compdb")):
            match = re.fullmatch(r"tests/emulator/libemulated_(.*)\.a\.p/.*\.o", entry["output"])
            if match and "-" in match.group(1):  # a broken kernel's name has none
                command = shlex.split(entry["command"])
                # Nothing is compiled twice, and a slip that changes lines alone changes no object.
                self.compile[match.group(1)] = [word for word in command[command[0].endswith("ccache"):] if word != "-g1"]
        self.link = shlex.split(self.ninja("commands", TEST).splitlines()[-1])
        self.link[self.link.index("-o") + 1] = os.path.join(self.work, "test")
        # A copy that was run from elsewhere finds the library where the build has it.
        self.environment = dict(os.environ, LD_LIBRARY_PATH=os.path.join(self.folder, "src"))
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(os.path.join(ROOT, "kernels"), os.path.join(self.work, "kernels"))
        self.precompile()
        self.unchanged: Dict[str, bytes] = {}  # objects of the source as it is, by module
        self.modules: Dict[str, List[str]] = {}  # by kernel; those with a mask first, which have more to get wrong
        for module in sorted(self.compile, key=lambda name: ("-causal" not in name, name)):
            self.modules.setdefault(module.split("-")[0], []).append(module)

    def precompile(self):
        """What every unit includes first, which is half of the compiler's work."""
        output = os.path.join(self.work, "precompiled/device.hpp.gch")
        os.makedirs(os.path.dirname(output))
        command = with_options(next(iter(self.compile.values())), output, os.path.join(ROOT, "tests/emulator/device.hpp"))
        subprocess.run([*command[:-2], "-x", "c++-header", *command[-2:]], cwd=self.folder, check=True)

    def ninja(self, *tool):
        return subprocess.run(["ninja", "-C", self.folder, "--quiet", "-t", *tool], stdout=subprocess.PIPE, text=True, check=True).stdout

    def compiled(self, module):
        """An object of the changed source: its path, or None, and what the compiler says."""
        unit, output = os.path.join(self.work, module + ".cpp"), os.path.join(self.work, module + ".o")
        text = read(os.path.join(self.folder, "tests/emulator", module + ".cpp"))
        with open(unit, "w", encoding="utf-8") as file:
            file.write(text.replace(os.path.join(ROOT, "kernels/"), os.path.join(self.work, "kernels/")))
        command = list(self.compile[module])
        command[command.index(f"-I{os.path.relpath(os.path.join(ROOT, 'kernels'), self.folder)}")] = f"-I{self.work}/kernels"
        command = with_options(command, output, unit)
        command.insert(1, f"-I{self.work}/precompiled")
        try:
            done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                                  timeout=LONGEST_COMPILE)
        except subprocess.TimeoutExpired:
            return None, "the compiler takes too long"
        errors = [line for line in done.stdout.splitlines() if "error:" in line]
        return (output, "") if done.returncode == 0 else (None, (errors or [done.stdout.strip()])[0])

    def object_of(self, module):
        with open(os.path.join(self.work, module + ".o"), "rb") as file:
            return file.read()

    def linked(self, kernel, objects):
        """The test with one kernel alone, some of whose modules are changed."""
        command = []
        for argument in self.link:
            match = re.fullmatch(r"tests/emulator/libemulated_(.*)\.a", argument)
            module = match.group(1) if match else None
            if module is None or (module in self.modules[kernel] and module not in objects):
                command.append(argument)
            elif module in objects:
                command.append(objects[module])
        subprocess.run(command, cwd=self.folder, check=True)

    def run(self):
        """Of all that is linked: empty, or the first thing that fails."""
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_RUN, LONGEST_RUN + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        command = [os.path.join(self.work, "test"), "--run_test=!every_kernel", "--color_output=no", "--catch_system_errors=no"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", preexec_fn=limit,
                              env=self.environment) as process:
            for line in process.stdout:
                if "error:" in line or "error in" in line:
                    process.kill()
                    return re.sub(r"^.*?error:? ?", "", line.strip())
            status = process.wait()
        return "" if status == 0 else "endless" if status in (-24, -9) else f"ended with {status}"


class Run:
    def __init__(self, build, files):
        self.build = build
        self.files = files  # {path: the kernels that include it}
        self.prepared = set()

    def prepare(self, kernel):
        """An object that is the same for all of a slip need not run."""
        if kernel in self.prepared:
            return
        for module in self.build.modules[kernel]:
            output, error = self.build.compiled(module)
            if output is None:
                sys.exit(f"{module} does not compile as it is: {error}")
            self.build.unchanged[module] = self.build.object_of(module)
        self.prepared.add(kernel)

    def outcome(self, slip, source):
        for kernel in self.files[slip.file]:
            self.prepare(kernel)
        path = os.path.join(self.build.work, slip.file)
        with open(path, "w", encoding="utf-8") as file:
            file.write(source[:slip.start] + slip.text + source[slip.end:])
        try:
            return self.tried(slip)
        finally:
            shutil.copyfile(os.path.join(ROOT, slip.file), path)

    def tried(self, slip):
        changes = False
        # One module of each kernel first: most slips show at once.
        for whole in (False, True):
            for kernel in self.files[slip.file]:
                objects = {}
                for module in self.build.modules[kernel] if whole else self.build.modules[kernel][:1]:
                    output, error = self.build.compiled(module)
                    if output is None:  # in some module: the build would show it
                        return Outcome("did not compile", error)
                    if self.build.object_of(module) != self.build.unchanged[module]:
                        objects[module] = output
                if not objects:
                    continue
                changes = True
                self.build.linked(kernel, objects)
                said = self.build.run()
                if said:
                    return Outcome("killed", f"{kernel}: {said}")
        return Outcome("survived", "" if changes else "no module's code is another")


def includes_of(path, found):
    if path not in found and os.path.exists(os.path.join(ROOT, path)):
        found.add(path)
        for name in INCLUDE.findall(read(path)):
            includes_of("kernels/" + name, found)
    return found


def device_files(kernels):
    """{path: kernels that include it}, of kernels and parts without assembler, for which the emulator has twins."""
    files: Dict[str, List[str]] = {}
    for kernel in kernels:
        if not os.path.exists(os.path.join(ROOT, f"kernels/attention_fwd/{kernel}.cu")):
            continue  # of another operation, which test_emulated_kernels does not run
        for path in sorted(includes_of(f"kernels/attention_fwd/{kernel}.cu", set())):
            if path.endswith((".cu", ".cuh")) and not re.search(r"\basm\b", slips.blanked(read(path))):
                files.setdefault(path, []).append(kernel)
    return files


def drawn(files, seed):
    """One slip of each line that has any, in an order that the seed decides."""
    sources = {path: read(path) for path in files}
    of_lines: Dict[tuple, Dict[str, list]] = {}
    for path, source in sorted(sources.items()):
        for slip in slips.slips_of(path, source):
            of_lines.setdefault((path, slip.line), {}).setdefault(slip.kind, []).append(slip)
    generator = random.Random(seed)
    lines = sorted(of_lines)
    generator.shuffle(lines)
    return [(generator.choice(of_lines[line][generator.choice(sorted(of_lines[line]))]), sources[line[0]]) for line in lines]


def equivalents():
    """{(file, line as it is, line with the slip): reason}"""
    rows = [line.split("\t") for line in read(EQUIVALENT).splitlines() if line and not line.startswith("#")]
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="a build folder in which test_emulated_kernels is built")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other slips (1)")
    parser.add_argument("--count", type=int, default=100, help="how many slips that compile (100)")
    parser.add_argument("--only", default="", help="lines of files whose path contains this; FILE:LINE is one line")
    parser.add_argument("--all", action="store_true", help="run those as well that are known to have no effect, which take the longest")
    parser.add_argument("--survivors", help="a file of an earlier --output: what survived then, again")
    parser.add_argument("--list", action="store_true", help="print the slips that are drawn, and run nothing")
    parser.add_argument("--output", help="write all of them with their outcomes, tab-separated")
    arguments = parser.parse_args()
    os.nice(10)
    build = Build(arguments.build)
    files = device_files(build.modules)
    candidates = [(slip, source) for slip, source in drawn(files, arguments.seed)
                  if arguments.only in f"{slip.file}:{slip.line}"]
    if arguments.survivors:
        rows = [line.split("\t") for line in read(os.path.abspath(arguments.survivors)).splitlines()]
        again = {(row[1], row[4]) for row in rows if row[0] == "survived"}
        candidates = [(slip, source) for slip, source in candidates if (f"{slip.file}:{slip.line}", slip.shown(source)[1]) in again]
    if arguments.list:
        for slip, source in candidates[:arguments.count]:
            print(f"{slip.file}:{slip.line}", slip.kind, *slip.shown(source), sep="\t")
        return
    began, run = time.monotonic(), Run(build, files)
    known, tally, rows = equivalents(), {}, []
    for slip, source in candidates:
        if sum(count for verdict, count in tally.items() if verdict != "did not compile") >= arguments.count:
            break
        before, after = slip.shown(source)
        started = time.monotonic()
        reason = None if arguments.all else known.get((slip.file, before, after))
        outcome = run.outcome(slip, source) if reason is None else Outcome("equivalent", reason)
        tally[outcome.verdict] = tally.get(outcome.verdict, 0) + 1
        counted = sum(count for verdict, count in tally.items() if verdict != "did not compile")
        print(f"[{counted:3}/{arguments.count}] {outcome.verdict:15} {slip.file}:{slip.line} {slip.kind}: {before}  ->  {after}"
              f"  ({outcome.why[:160]}; {time.monotonic() - started:.1f} s)", flush=True)
        rows.append((outcome.verdict, f"{slip.file}:{slip.line}", slip.kind, before, after, outcome.why))
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in rows)
    print("; ".join(f"{count} {verdict}" for verdict, count in sorted(tally.items())), f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
