#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Join the stamps of an architecture's kernels to one, and remove from its folder what none of them lists.

usage: collect_modules.py --arch ARCH --modules FOLDER --most-mib N --most-modules N --stamp FILE KERNEL_STAMP...

What an earlier version of the kernels left in the folder, damaged modules and what an interrupted compilation left half-written
go: installed is what the stamp lists, and nothing else. Modules beyond the budget of manifest.txt are told, and no error here: another
NVRTC may make larger ones.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True  # a build leaves the source folder as it is
import module_stamp


def checked(kernel_stamp, modules):
    """The rows of a kernel's stamp. One that is not true is removed, so that the next build makes its modules again."""
    rows = module_stamp.read(kernel_stamp)
    for row in rows:
        path = os.path.join(modules, row.file)
        if not os.path.exists(path) or module_stamp.digest_of(path) != row.digest:
            os.remove(kernel_stamp)
            sys.exit(f"collect_modules.py: {path} is gone or changed since it was made; build again")
    return rows


def clear_folder(folder, rows):
    keep = {os.path.basename(row.file) for row in rows}
    for name in os.listdir(folder):
        if name not in keep and (name.endswith(".fcm") or name.startswith(".tmp-")):
            os.remove(os.path.join(folder, name))


def tell_excess(arguments, rows):
    mib = sum(os.path.getsize(os.path.join(arguments.modules, row.file)) for row in rows) / 2**20
    if mib > arguments.most_mib or len(rows) > arguments.most_modules:
        print(f"collect_modules.py: {arguments.arch} has {len(rows)} modules in {mib:.2f} MiB; its budget in ptx_cache/manifest.txt is "
              f"{arguments.most_modules} in {arguments.most_mib:g} MiB", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--arch", "--modules", "--stamp"):
        parser.add_argument(name, required=True)
    parser.add_argument("--most-mib", type=float, required=True)
    parser.add_argument("--most-modules", type=int, required=True)
    parser.add_argument("kernel_stamps", nargs="+")
    arguments = parser.parse_args()
    rows = [row for kernel_stamp in arguments.kernel_stamps for row in checked(kernel_stamp, arguments.modules)]
    if not rows:
        sys.exit(f"collect_modules.py: no kernel has a module for {arguments.arch}")
    clear_folder(os.path.join(arguments.modules, arguments.arch), rows)
    tell_excess(arguments, rows)
    module_stamp.write(arguments.stamp, rows, arguments.arch)


if __name__ == "__main__":
    main()
