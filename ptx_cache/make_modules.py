#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the shipped modules of one kernel and architecture with fc-inspect, and a stamp that lists them.

usage: make_modules.py --tool FC_INSPECT --kernel NAME --arch ARCH --modules FOLDER --stamp FILE [--nvrtc LIBRARY]

Modules that are there and current are kept by fc-inspect, so this is quick when only other code has changed, and goes on where
it was interrupted. Many of these run at once on one folder, so none removes anything: collect_modules.py does, after all of them.
"""
import argparse
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True  # a build leaves the source folder as it is
import module_stamp


def compile_modules(arguments):
    """What fc-inspect says of each module. Its notes and errors go to our stderr."""
    command = [arguments.tool, "compile", arguments.arch, "--kernel", arguments.kernel, "--output", arguments.modules, "--json"]
    command += ["--nvrtc", arguments.nvrtc] if arguments.nvrtc else []
    environment = {**os.environ, "FLASHCORE_CACHE": "off"}  # the builder's own cache has no say in what is shipped
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"make_modules.py: {' '.join(command)} ended with status {done.returncode}")
    return json.loads(done.stdout)["architectures"][0]["modules"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("--tool", "--kernel", "--arch", "--modules", "--stamp"):
        parser.add_argument(name, required=True)
    parser.add_argument("--nvrtc", default="")
    arguments = parser.parse_args()
    rows = []
    for module in compile_modules(arguments):
        name = f"{arguments.arch}/{os.path.basename(module['path'])}"
        rows.append(module_stamp.Row(module_stamp.digest_of(os.path.join(arguments.modules, name)), name, module["module"]))
    module_stamp.write(arguments.stamp, rows, f"{arguments.kernel} for {arguments.arch}")


if __name__ == "__main__":
    main()
