#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which NVRTC the build compiles the shipped modules with. usage: find_nvrtc.py GIVEN_PATH_OR_EMPTY FOLDER...

Prints the path of the first libnvrtc that loads and is new enough. Exit status 1: none, and why, on stderr. A path that was
given is the only one that is looked at.
"""
import ctypes
import ctypes.util
import glob
import os
import sys

OLDEST = (12, 9)  # the first with every option that makes compiles reproducible


def candidates(given, folders):
    if given:
        return [given]
    found = []
    for folder in folders:
        found += sorted(glob.glob(os.path.join(folder, "libnvrtc.so.[0-9]*")), reverse=True)
    system = ctypes.util.find_library("nvrtc")
    return found + ([system] if system else [])


def version_of(path):
    """(major, minor), or a text that says why not."""
    try:
        library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        code = library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    except (OSError, AttributeError) as error:
        return str(error)
    return (major.value, minor.value) if code == 0 else f"nvrtcVersion returned {code}"


def main(given, folders):
    problems = []
    for path in candidates(given, folders):
        version = version_of(path)
        if isinstance(version, tuple) and version >= OLDEST:
            print(os.path.abspath(path) if os.path.exists(path) else path)
            return 0
        why = version if isinstance(version, str) else "it is NVRTC {}.{}, but 12.9 or newer is needed".format(*version)
        problems.append(f"{path}: {why}")
    print("; ".join(problems) or "no libnvrtc.so.* in " + ", ".join(folders) + " or where the system looks", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
