#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How files look, as the tools of each language see it: the one table of ./dev format, ./dev lint and the test "lint".

usage: lint.py SOURCE_ROOT [--format | --tap]

Without an option every tool that is installed looks at the files of its language that git tracks; exit status 1 says that one
found something. --format lets those that can mend what they find. --tap is the test: the quick tools alone, each of which first has to
find something planted wrong. A tool that is not installed, or of a version that sees things otherwise, is skipped with the reason.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, List, NamedTuple

import house

CPP = (".c", ".cpp", ".h", ".hpp", ".cu", ".cuh")
SHELL = re.compile(r"^#!.*\b(ba|da)?sh$")


class Skipped(Exception):
    """Why a tool does not look."""


def of_suffix(*suffixes):
    return lambda root, paths: [path for path in paths if path.endswith(suffixes)]


def shell_scripts(root, paths):
    """By their first line; those without one are of no interest to a shell."""
    found = []
    for path in paths:
        if "." in os.path.basename(path) and not path.endswith(".sh"):
            continue
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            if SHELL.match(file.readline().rstrip("\n")):
                found.append(path)
    return found


def typed_python(root, paths):
    return [folder for folder in ["bindings/python/flashcore"] if any(path.startswith(folder + "/") for path in paths)]


def installed(*names, bring):
    for name in names:
        if shutil.which(name):
            return name
    raise Skipped(f"{names[-1]} is not installed ({bring})")


def clang_format():
    """Versions break lines differently; the tree is as 14 leaves it."""
    bring = "Debian: clang-format-14"
    name = installed("clang-format-14", "clang-format", bring=bring)
    said = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    if not re.search(r"\bversion 14\.", said):
        raise Skipped(f"{said.strip()}, but the tree is as version 14 leaves it ({bring})")
    return name


def rustfmt():
    """rustup's stand-in is there without the component, too."""
    bring = "Debian: rustfmt"
    name = installed("rustfmt", bring=bring)
    done = subprocess.run([name, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(f"{(done.stderr.strip().splitlines() or ['rustfmt does not run'])[0]} ({bring})")
    return name


class Tool(NamedTuple):
    name: str
    program: Callable[[], str]  # raises Skipped
    files: Callable[[str, List[str]], List[str]]
    check: List[str]  # the files follow; it finds something where it fails, or prints with quiet_when_good
    fix: List[str] = []
    quiet_when_good: bool = False
    planted: str = ""  # of a quick one: a file's name and
    wrong: str = ""    # what is wrong in it


TOOLS = [
    Tool("clang-format", clang_format, of_suffix(*CPP), ["--dry-run", "--Werror"], ["-i"],
         planted="planted.cpp", wrong="int  planted( ){return 1 ;}\n"),
    Tool("gofmt", lambda: installed("gofmt", bring="Debian: golang-go"), of_suffix(".go"), ["-l"], ["-w"], quiet_when_good=True,
         planted="planted.go", wrong="package planted\nvar   x=1\n"),
    Tool("rustfmt", rustfmt, of_suffix(".rs"), ["--check", "--color", "never", "--edition", "2021"], ["--edition", "2021"],
         planted="planted.rs", wrong="fn  planted( ){ }\n"),
    Tool("shellcheck", lambda: installed("shellcheck", bring="Debian: shellcheck"), shell_scripts, [],
         planted="planted.sh", wrong="#!/bin/sh\nrm $1\n"),
    Tool("ruff", lambda: installed("ruff", bring="pip install ruff"), of_suffix(".py"), ["check", "--quiet", "--no-cache", "--output-format", "concise"]),
    Tool("mypy", lambda: installed("mypy", bring="Debian: mypy"), typed_python,
         ["--no-error-summary", "--cache-dir", os.devnull, "--config-file", "bindings/python/pyproject.toml"]),
]


def tracked(root):
    if shutil.which("git") is None:
        raise Skipped("git is not installed (Debian: git)")
    done = subprocess.run(["git", "-C", root, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(f"the tree is no checkout of git's: {done.stderr.strip()}")
    return [path for path in done.stdout.split("\0") if path and os.path.isfile(os.path.join(root, path))]


def findings(tool, root, files):
    """What the tool says where it finds something, line by line."""
    done = subprocess.run([tool.program(), *tool.check, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=root, text=True, check=False)
    bad = done.returncode != 0 or (tool.quiet_when_good and done.stdout.strip())
    return (done.stdout.splitlines() or [f"{tool.name} ended with status {done.returncode}"]) if bad else []


def lint(root, paths):
    found_any = False
    for tool in TOOLS:
        files = tool.files(root, paths)
        try:
            found = findings(tool, root, files)
        except Skipped as skipped:
            print(f"{tool.name:<14}skipped: {skipped}")
            continue
        print("\n".join([f"{tool.name:<14}{'found something' if found else f'nothing found in {len(files)} files'}", *found]), flush=True)
        found_any = found_any or bool(found)
    sys.exit(1 if found_any else 0)


def format_files(root, paths):
    failed = False
    for tool in TOOLS:
        if not tool.fix:
            continue
        try:
            done = subprocess.run([tool.program(), *tool.fix, *tool.files(root, paths)], cwd=root, check=False)
            print(f"{tool.name:<14}{'done' if done.returncode == 0 else f'ended with status {done.returncode}'}", flush=True)
            failed = failed or done.returncode != 0
        except Skipped as skipped:
            print(f"{tool.name:<14}skipped: {skipped}")
    sys.exit(1 if failed else 0)


def self_test(report, tool, root):
    with tempfile.TemporaryDirectory() as folder:
        house.plant(folder, {tool.planted: tool.wrong})
        for settings in (".clang-format", "bindings/rust/rustfmt.toml"):
            shutil.copy(os.path.join(root, settings), folder)
        found = findings(tool, folder, tool.files(folder, [tool.planted]))
        report.case(f"self-test: {tool.name} finds what is planted", [] if found else [f"{tool.name} finds nothing in {tool.wrong!r}"])


def tap(root):
    report = house.Report()
    for tool in (tool for tool in TOOLS if tool.planted):
        name = f"{tool.name} finds nothing (./dev format mends, ./dev lint shows)"
        try:
            files = tool.files(root, tracked(root))
            self_test(report, tool, root)
            report.case(name, findings(tool, root, files) if files else [f"there are no files for {tool.name}"])
        except Skipped as skipped:
            report.skip(name, str(skipped))
    report.finish()


def main(root, mode=""):
    if mode == "--tap":
        tap(root)
    try:
        paths = tracked(root)
    except Skipped as skipped:
        sys.exit(f"lint.py: {skipped}")
    {"": lint, "--format": format_files}[mode](root, paths)


if __name__ == "__main__":
    main(*sys.argv[1:])
