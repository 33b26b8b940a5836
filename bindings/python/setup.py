# SPDX-License-Identifier: Apache-2.0
"""Puts libflashcore.so.1, and the shipped modules where there are some, into the wheel beside the Python files, and names the
wheel for this machine but for no Python in particular. Everything else stands in pyproject.toml.

The library is the one that FLASHCORE_LIBRARY names, else it is built from this source tree into build-wheel/ with Meson.
FLASHCORE_MESON_OPTIONS holds more options for "meson setup".
"""
import os
import re
import shlex
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIBRARY = "libflashcore.so.1"
MODULES = os.path.join("flashcore", "modules")  # beside the library, where it looks itself


def source_file(path):
    full = os.path.join(ROOT, path)
    if not os.path.exists(full):
        raise SystemExit(f"{full} is missing: flashcore is built inside its source tree")
    return full


def version():
    with open(source_file("include/flashcore/flashcore_version.h"), encoding="utf-8") as file:
        return ".".join(re.findall(r"^#define FLASHCORE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", file.read(), re.MULTILINE))


def built_library():
    """Path of the library; beside it lie the modules, if any."""
    named = os.environ.get("FLASHCORE_LIBRARY", "")
    if named:
        if not os.path.exists(named):
            raise SystemExit(f"FLASHCORE_LIBRARY names {named}, which does not exist")
        return named
    build = os.path.join(ROOT, "build-wheel")
    # libzstd goes into the library, so that the wheel needs nothing but the C and C++ runtimes.
    options = ["--buildtype=release", "-Dtests=disabled", "-Dprefer_static=true", *shlex.split(os.environ.get("FLASHCORE_MESON_OPTIONS", ""))]
    again = ["--reconfigure"] if os.path.exists(os.path.join(build, "build.ninja")) else []
    subprocess.run(["meson", "setup", *again, build, source_file("."), *options], check=True)
    subprocess.run(["meson", "compile", "-C", build], check=True)
    return os.path.join(build, "src", LIBRARY)


class BuildWithLibrary(build_py):
    def run(self):
        if getattr(self, "editable_mode", False):
            raise SystemExit("an editable install has no place for the library; put bindings/python on PYTHONPATH and set FLASHCORE_LIBRARY")
        library, package = built_library(), os.path.join(self.build_lib, "flashcore")
        shutil.rmtree(package, ignore_errors=True)  # an earlier build's, which may hold what is gone
        super().run()
        shutil.copy(os.path.realpath(library), os.path.join(package, LIBRARY))
        # Some linkers' debug sections are ten times the code.
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", os.path.join(package, LIBRARY)], check=True)
        modules = os.path.join(os.path.dirname(library), MODULES)
        if os.path.isdir(modules):
            shutil.copytree(modules, os.path.join(package, MODULES), dirs_exist_ok=True)


class WheelForAnyPython(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True  # for the folder of files that belong to a machine


setup(version=version(), cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelForAnyPython}, distclass=WithLibrary,
      package_data={"flashcore": ["py.typed"]})
