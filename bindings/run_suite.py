#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the tests of a binding with the tools of its language, against a library that was just built and is installed nowhere.

usage: run_suite.py rust|go|go_race SOURCE_ROOT OUTPUT_FOLDER LIBRARY STAND_IN     (exit status 77 where a tool is missing or too old)

STAND_IN is the libcuda of tests/fake_driver: on it the tests run that are about memory and refusals of a GPU and start no kernel.

Nothing is fetched: neither binding depends on anything. Targets and caches go to OUTPUT_FOLDER, the user's own are not touched.
"""
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
# The oldest versions that the bindings promise: Debian 12 and Ubuntu 22.04 have these or newer ones.
OLDEST = {"rustc": (1, 63), "cargo": (1, 63), "go": (1, 18)}
VERSION_COMMAND = {"rustc": ["--version"], "cargo": ["--version"], "go": ["version"]}


def skip(reason):
    print(reason)
    sys.exit(SKIPPED)


def version_of(text):
    """(1, 63) of "rustc 1.63.0" and "go version go1.19.8 linux/amd64"."""
    match = re.search(r"\b(?:go)?(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else None


def require(tool, environment):
    if shutil.which(tool) is None:
        skip(f"{tool} is not installed")
    output = subprocess.run([tool, *VERSION_COMMAND[tool]], env=environment, capture_output=True, text=True, check=False)
    version = version_of(output.stdout)
    if output.returncode != 0 or version is None:
        skip(f"{tool} does not work: {(output.stderr or output.stdout).strip().splitlines()[:1]}")
    # Debian's cargo 0.66 is the one of Rust 1.65.
    if version < OLDEST[tool] and not (tool == "cargo" and (0, 64) <= version < (1, 0)):
        skip(f"{tool} is {version[0]}.{version[1]}; the binding needs {OLDEST[tool][0]}.{OLDEST[tool][1]}")


def run(command, folder, environment):
    print("+", *command, flush=True)
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status != 0:
        sys.exit(f"failed with status {status}: {' '.join(command)}")


def refuse(command, folder, environment, text):
    """A command that must fail and say why."""
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0 or text not in done.stdout:
        sys.exit(f"status {done.returncode} instead of a refusal with {text!r}: {' '.join(command)}\n{done.stdout}")


def refuse_devices(command, folder, environment):
    """An example that is asked for a GPU where there is no driver, and for devices that there are not."""
    without_driver = {**environment, "FLASHCORE_LIBCUDA": "/nonexistent/libcuda.so.1"}
    refuse([*command, "cuda"], folder, without_driver, "/nonexistent/libcuda.so.1")
    for words in (["tpu"], ["CPU"], ["cpu", "cuda"]):
        refuse([*command, *words], folder, environment, "usage: ten_lines [auto|cpu|cuda]")
    run([*command, "auto"], folder, without_driver)


def gpu_count(library):
    count = ctypes.c_int32()
    status = ctypes.CDLL(library).flashcore_device_count(ctypes.byref(count), None)
    return count.value if status == 0 else 0


def on_stand_in(environment, stand_in):
    return {**environment, "FLASHCORE_LIBCUDA": stand_in}


def rust(root, output, library, stand_in, environment):
    environment.update(FLASHCORE_LIB_DIR=os.path.dirname(library), CARGO_TARGET_DIR=os.path.join(output, "rust-target"),
                       CARGO_HOME=os.path.join(output, "cargo-home"), CARGO_TERM_COLOR="never", CARGO_INCREMENTAL="0")
    require("rustc", environment)
    require("cargo", environment)
    folder = os.path.join(root, "bindings/rust")
    gpu_tests = ["--include-ignored"] if gpu_count(library) > 0 else []
    run(["cargo", "test", "--offline", "--locked", "--no-fail-fast", "--", *gpu_tests], folder, environment)
    run(["cargo", "test", "--offline", "--locked", "--test", "gpu", "--", "--ignored", "host_memory", "checked_addresses"], folder, on_stand_in(environment, stand_in))
    run(["cargo", "run", "--offline", "--locked", "--example", "ten_lines", "cpu"], folder, environment)
    refuse_devices(["cargo", "run", "--offline", "--locked", "--quiet", "--example", "ten_lines"], folder, environment)


def plain_paths(folder, root, library):
    """Links to headers and library, and a flashcore.pc that names them: older Go takes pkg-config's answer apart at every blank."""
    os.symlink(os.path.join(root, "include"), os.path.join(folder, "include"))
    os.symlink(os.path.dirname(library), os.path.join(folder, "lib"))
    with open(os.path.join(folder, "flashcore.pc"), "w", encoding="utf-8") as file:
        file.write(f"Name: flashcore\nDescription: of this build\nVersion: 1.0\nLibs: -L{folder}/lib -lflashcore\nCflags: -I{folder}/include\n")
    return {"PKG_CONFIG_PATH": folder, "CGO_CFLAGS": f"-O2 -I{folder}/include"}


def go_anywhere(root, output, library, stand_in, environment, race=False):
    if re.fullmatch(r"[\w./+-]*", root + library, re.ASCII):
        return go(root, output, library, stand_in, environment, race)
    with tempfile.TemporaryDirectory(prefix="flashcore-go-", dir="/tmp") as folder:
        return go(root, output, library, stand_in, environment, race, plain_paths(folder, root, library))


def go(root, output, library, stand_in, environment, race=False, paths=None):
    # The library of the build has a pkg-config file that knows where it lies, but not where the headers are.
    build = os.path.dirname(os.path.dirname(library))
    environment.update(PKG_CONFIG_PATH=os.path.join(build, "meson-uninstalled"), GOCACHE=os.path.join(output, "go-cache"),
                       GOPATH=os.path.join(output, "go-path"), GOENV="off", GOPROXY="off", GOSUMDB="off", GOWORK="off", GOFLAGS="",
                       GOTOOLCHAIN="local", CGO_ENABLED="1", CGO_CFLAGS=f"-O2 -I{os.path.join(root, 'include')}")
    environment.update(paths or {})
    require("go", environment)
    folder = os.path.join(root, "bindings/go")
    if race:
        run(["go", "test", "-race", "-v", "-count=1", "./..."], folder, environment)
        return
    run(["go", "vet", "./..."], folder, environment)
    # Each benchmark once: that they run, not what they measure.
    run(["go", "test", "-v", "-count=1", "-bench=.", "-benchtime=1x", "./..."], folder, environment)
    run(["go", "test", "-v", "-count=1", "-run=HostMemory|PageLocked|CheckedAddresses", "."], folder, on_stand_in(environment, stand_in))
    run(["go", "run", "./examples/ten_lines", "cpu"], folder, environment)
    refuse_devices(["go", "run", "./examples/ten_lines"], folder, environment)


def main(suite, root, output, library, stand_in):
    library, stand_in = os.path.realpath(library), os.path.realpath(stand_in)
    os.makedirs(output, exist_ok=True)
    environment = dict(os.environ)
    environment["LD_LIBRARY_PATH"] = ":".join(filter(None, [os.path.dirname(library), environment.get("LD_LIBRARY_PATH", "")]))
    if suite == "rust":
        rust(root, output, library, stand_in, environment)
    elif suite in ("go", "go_race"):
        go_anywhere(root, output, library, stand_in, environment, race=suite == "go_race")
    else:
        sys.exit(f"unknown suite {suite}; allowed: rust, go, go_race")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
