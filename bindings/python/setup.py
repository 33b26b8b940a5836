# SPDX-License-Identifier: Apache-2.0
"""Puts libflashcore.so.1, and the shipped modules where there are some, into the wheel beside the Python files, compiles
_flashcore_torch, and names the wheel for this machine but for no Python in particular. Everything else stands in pyproject.toml.

The library is the one that FLASHCORE_LIBRARY names, else it is built from this source tree into build-wheel/ with Meson.
FLASHCORE_MESON_OPTIONS holds more options for "meson setup". FLASHCORE_TORCH_NATIVE=0 leaves _flashcore_torch out, with which a call from
PyTorch costs a fraction of what it costs without; it is all that needs Python's headers.
"""
import os
import re
import shlex
import shutil
import subprocess
import sysconfig

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
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


def torch_native():
    if os.environ.get("FLASHCORE_TORCH_NATIVE", "") == "0":
        return []
    return [Extension("_flashcore_torch", ["native/torch_calls.cpp"], include_dirs=[os.path.dirname(source_file("include/flashcore"))],
                      depends=["native/dlpack_exchange.h"], define_macros=[("Py_LIMITED_API", "0x03090000")], py_limited_api=True,
                      extra_compile_args=["-std=c++20", "-fvisibility=hidden"], extra_link_args=["-s"], language="c++")]


class BuildWithHeaders(build_ext):
    def build_extension(self, extension):
        header = os.path.join(sysconfig.get_path("include"), "Python.h")
        if not os.path.exists(header):
            raise SystemExit(f"{header} is missing: install Python's headers (python3-dev), or set FLASHCORE_TORCH_NATIVE=0")
        super().build_extension(extension)


class WheelForAnyPython(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True  # for the folder of files that belong to a machine


setup(version=version(), cmdclass={"build_py": BuildWithLibrary, "build_ext": BuildWithHeaders, "bdist_wheel": WheelForAnyPython},
      distclass=WithLibrary, ext_modules=torch_native(), package_data={"flashcore": ["py.typed"]})
