# SPDX-License-Identifier: Apache-2.0
"""Puts libflashcore.so.1, and the shipped modules where there are some, into the wheel beside the Python files, compiles
_flashcore_torch, and names the wheel for this machine but for no Python in particular. Everything else stands in pyproject.toml.

The library is the one that FLASHCORE_LIBRARY names, else it is built from this source tree into build-wheel/ with Meson, and then
needs nothing but the C library: zstd and the C++ runtime are linked in, and on x86-64 a C library of 2.28 will do
(native/older_glibc.S). The wheel's platform is manylinux with the oldest C library that has every symbol asked for, or plainly linux where
a library is needed that a machine may lack.
FLASHCORE_MESON_OPTIONS holds more options for "meson setup". FLASHCORE_TORCH_NATIVE=0 leaves _flashcore_torch out, with which a call from
PyTorch costs a fraction of what it costs without; it is all that needs Python's headers.
"""
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from elf_needs import read_needs

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
    options = ["--buildtype=release", "-Dtests=disabled", "-Dprefer_static=true", "-Dcpp_link_args=" + shlex.join(link_options()),
               *shlex.split(os.environ.get("FLASHCORE_MESON_OPTIONS", ""))]
    again = ["--reconfigure"] if os.path.exists(os.path.join(build, "build.ninja")) else []
    subprocess.run(["meson", "setup", *again, build, source_file("."), *options], check=True)
    subprocess.run(["meson", "compile", "-C", build], check=True)
    library = os.path.join(build, "src", LIBRARY)
    if "libzstd.so.1" in read_needs(library).libraries:
        raise SystemExit("the library needs libzstd.so.1; install libzstd.a (libzstd-dev, libzstd-static), which is linked in, or name a library "
                         "with FLASHCORE_LIBRARY")
    return library


def glibc_here():
    """(2, 36); None where the C library is another."""
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError):
        return None
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", said)
    return tuple(map(int, found.groups())) if found else None


def link_options():
    """For the linker: the C++ runtime goes in, where the compiler has one for that, and newer versions of symbols stay out."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    said = subprocess.run([*compiler, "-print-file-name=libstdc++.a"], capture_output=True, text=True, check=False).stdout.strip()
    if not os.path.isabs(said):
        return []
    if platform.machine() != "x86_64" or (glibc_here() or (2, 28)) <= (2, 28):
        return ["-static-libstdc++"]
    made = os.path.join(HERE, "build", "older_glibc.o")
    os.makedirs(os.path.dirname(made), exist_ok=True)
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-c", os.path.join(HERE, "native", "older_glibc.S"), "-o", made], check=True)
    # Before 2.34 these held the functions whose older versions are asked for.
    return [made, "-static-libstdc++", "-Wl,--push-state,--no-as-needed,-l:libdl.so.2,-l:libpthread.so.0,--pop-state"]


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
    return [Extension("flashcore._flashcore_torch", ["native/torch_calls.cpp"], include_dirs=[os.path.dirname(source_file("include/flashcore"))],
                      depends=["native/dlpack_exchange.h"], define_macros=[("Py_LIMITED_API", "0x03090000")], py_limited_api=True,
                      extra_compile_args=["-std=c++20", "-fvisibility=hidden"], extra_link_args=["-s", *link_options(), "-Wl,--exclude-libs,ALL"], language="c++")]


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
        return "py3", "none", platform_of(os.path.join(self.bdist_dir, "flashcore"), super().get_tag()[2])

    def egg2dist(self, egginfo_path, distinfo_path):
        super().egg2dist(egginfo_path, distinfo_path)
        licenses = os.path.join(distinfo_path, "licenses")  # where newer setuptools put it themselves
        os.makedirs(licenses, exist_ok=True)
        shutil.copy(os.path.join(HERE, "LICENSE"), licenses)
        if os.path.exists(os.path.join(distinfo_path, "LICENSE")):
            os.remove(os.path.join(distinfo_path, "LICENSE"))


def platform_of(package, plain):
    """manylinux_2_34_x86_64 of linux_x86_64, by what the files of the package need."""
    if not os.path.isdir(package):  # asked for the name before anything was built
        return plain
    needs = [read_needs(os.path.join(package, name)) for name in sorted(os.listdir(package)) if ".so" in name]
    foreign = sorted({library for one in needs for library in one.foreign()})
    if foreign or not plain.startswith("linux_"):
        print(f"flashcore: the wheel needs {', '.join(foreign)}, so it is for {plain}" if foreign else f"flashcore: the wheel is for {plain}")
        return plain
    # PEP 600 begins at 2.5; nothing older runs a Python that this package is for.
    major, minor = max([(2, 17), *(one.glibc() for one in needs if one.glibc() is not None)])
    return f"manylinux_{major}_{minor}_{plain[len('linux_'):]}"


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True  # for the folder of files that belong to a machine


setup(version=version(), cmdclass={"build_py": BuildWithLibrary, "build_ext": BuildWithHeaders, "bdist_wheel": WheelForAnyPython},
      distclass=WithLibrary, ext_modules=torch_native(), package_data={"flashcore": ["py.typed"]})
