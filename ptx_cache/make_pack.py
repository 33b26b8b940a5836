#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the shipped modules of one architecture with fc-inspect, and a stamp that lists them.

usage: make_pack.py --tool FC_INSPECT --arch ARCH --modules FOLDER --stamp FILE [--nvrtc LIBRARY]

Modules that are there and current are kept by fc-inspect, so this is quick when only other code has changed. What an
earlier version of the kernels left in the folder is removed: installed is what the stamp lists, and nothing else.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys


def run_tool(arguments, *words):
    """What fc-inspect says with --json. Its notes and errors go to our stderr."""
    command = [arguments.tool, *words, "--json"] + (["--nvrtc", arguments.nvrtc] if arguments.nvrtc else [])
    environment = {**os.environ, "FLASHCORE_CACHE": "off"}  # the builder's own cache has no say in what is shipped
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"make_pack.py: {' '.join(command)} ended with status {done.returncode}")
    return json.loads(done.stdout)


def modules_to_ship(listed, folder, expected):
    """One file for each module that was to be compiled, the newest; sorted by name."""
    newest = {}
    for module in listed:
        if os.path.dirname(os.path.abspath(module["path"])) != folder or module["status"] != "OK":
            continue
        if not module["current"] or module["module"] not in expected:
            continue
        other = newest.get(module["key"])
        if other is None or os.path.getmtime(other["path"]) <= os.path.getmtime(module["path"]):
            newest[module["key"]] = module
    return sorted(newest.values(), key=lambda module: module["module"])


def clear_folder(folder, modules):
    """Remove modules of earlier versions, damaged ones, and what an interrupted compilation left half-written."""
    keep = {os.path.basename(module["path"]) for module in modules}
    for name in os.listdir(folder):
        if name not in keep and (name.endswith(".fcm") or name.startswith(".tmp-")):
            os.remove(os.path.join(folder, name))


def stamp_text(modules, arch):
    lines = [f"# Modules shipped for {arch}: SHA-256 of the file, the file below the module folder, the module."]
    for module in modules:
        with open(module["path"], "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        lines.append(f"{digest}  {arch}/{os.path.basename(module['path'])}  {module['module']}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--tool", "--arch", "--modules", "--stamp"):
        parser.add_argument(name, required=True)
    parser.add_argument("--nvrtc", default="")
    arguments = parser.parse_args()
    compiled = run_tool(arguments, "compile", arguments.arch, "--output", arguments.modules)
    expected = {module["module"] for row in compiled["architectures"] for module in row["modules"]}
    listed = run_tool(arguments, "list", "--all", "--module-path", arguments.modules)["modules"]
    folder = os.path.abspath(os.path.join(arguments.modules, arguments.arch))
    modules = modules_to_ship(listed, folder, expected)
    if {module["module"] for module in modules} != expected or not expected:
        sys.exit(f"make_pack.py: {len(expected)} modules were compiled for {arguments.arch}, but {len(modules)} are found")
    clear_folder(folder, modules)
    with open(arguments.stamp + ".part", "w", encoding="utf-8") as stamp:
        stamp.write(stamp_text(modules, arguments.arch))
    os.replace(arguments.stamp + ".part", arguments.stamp)


if __name__ == "__main__":
    main()
