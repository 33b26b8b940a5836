# SPDX-License-Identifier: Apache-2.0
"""The wheel, built from the library under test without a network, installed into an environment of its own, computes; from
nothing but its own files, and on any Python."""
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

import support

sys.path[:0] = [support.PACKAGE, os.path.join(support.ROOT, "tests", "house")]
import check_rpath
import elf_needs


def is_missing(name):
    if name == "wheel":  # a newer setuptools has it inside; looked for without importing, which replaces distutils
        setuptools = importlib.util.find_spec("setuptools")
        if setuptools and os.path.exists(os.path.join(os.path.dirname(setuptools.origin), "command", "bdist_wheel.py")):
            return False
    if importlib.util.find_spec(name) is None:
        return True
    # Older ones do not read pyproject.toml.
    return name == "setuptools" and int(importlib.metadata.version(name).split(".")[0]) < 61


MISSING = [name for name in ("pip", "setuptools", "wheel") if is_missing(name)]
HAVE_HEADERS = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
PROGRAM = """
import ctypes, flashcore
from flashcore._abi import load_library
values = (ctypes.c_uint16 * 64)(*[0x3c00] * 64)
result = (ctypes.c_uint16 * 64)()
class Plain:
    def __init__(self, memory):
        self.__array_interface__ = {"shape": (1, 1, 1, 64), "typestr": "<f2", "data": (ctypes.addressof(memory), False), "version": 3}
with flashcore.Context("cpu") as context:
    context.attention(Plain(values), Plain(values), Plain(values), out=Plain(result))
assert list(result) == [0x3c00] * 64
assert flashcore.__version__ == flashcore.version()
print(flashcore.__version__, load_library()._name)
"""


# Each part that works sets a bit.
NEWER = r"""
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <cmath>
#include <mutex>
#include <random>
#include <thread>
static void place() {}
static thread_local int own = 0;
extern "C" int work(const char *path) {
  int bits = 0;
  struct stat status, opened;
  if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && stat("/nonexistent", &opened) != 0) bits |= 1;
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(&place), &info) != 0 && info.dli_fname != nullptr) bits |= 2;
  void *library = dlopen(nullptr, RTLD_NOW);
  link_map *map = nullptr;
  if (library != nullptr && dlsym(library, "malloc") != nullptr && dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) bits |= 4;
  if (dlopen("/nonexistent.so", RTLD_NOW) == nullptr && dlerror() != nullptr) bits |= 8;
  int seen = 0;
  std::once_flag once;
  std::thread([&] { std::call_once(once, [&] { own = 3; seen = own; }); }).join();
  if (seen == 3 && own == 0) bits |= 16;
  sigset_t before;
  pthread_attr_t attributes;
  if (pthread_sigmask(SIG_BLOCK, nullptr, &before) == 0 && pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 1 << 20) == 0)
    bits |= 32;
  std::random_device device;
  volatile double number = 2.718281828459045;
  if (device() != device() && std::fabs(std::log(number) - 1) < 1e-12) bits |= 64;
  return bits;
}
"""


@unittest.skipIf(MISSING, f"to build a wheel, {' and '.join(MISSING)} must be installed (python3-pip, python3-setuptools 61 or newer, "
                 "python3-wheel)")
class TestWheel(unittest.TestCase):
    def run_quietly(self, *command, **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_")) and name != "LD_LIBRARY_PATH"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, env={**clean, **environment})
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def setUp(self):
        self.library = os.environ.get("FLASHCORE_LIBRARY") or self.skipTest("FLASHCORE_LIBRARY is not set")
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        # setuptools writes beside what it builds, so it builds a copy, in a tree like ours.
        self.sources = os.path.join(self.folder, "tree", "bindings", "python")
        shutil.copytree(support.PACKAGE, self.sources, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.so*"))
        os.symlink(os.path.join(support.ROOT, "include"), os.path.join(self.folder, "tree", "include"))

    def test_build_install_compute(self):
        self.run_quietly(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-index", "--no-deps", "-w", "wheels",
                         self.sources, PIP_DISABLE_PIP_VERSION_CHECK="1", FLASHCORE_TORCH_NATIVE=str(int(HAVE_HEADERS)))
        name, = os.listdir(os.path.join(self.folder, "wheels"))
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        # A library of this build may need what a machine may lack (libzstd.so.1), and then the wheel is for no machine but such as this.
        needs = elf_needs.read_needs(os.path.realpath(self.library))
        tag = platform if needs.foreign() else platform.replace("linux_", "manylinux_{}_{}_".format(*max((2, 17), needs.glibc())))
        self.assertRegex(name, rf"^flashcore-[\d.]+-py3-none-{tag}\.whl$")
        with zipfile.ZipFile(os.path.join(self.folder, "wheels", name)) as wheel:
            files = [file for file in wheel.namelist() if ".dist-info/" not in file]
            wheel.extractall(os.path.join(self.folder, "unpacked"))
            license_file, = (file for file in wheel.namelist() if os.path.basename(file).startswith("LICENSE"))
            self.assertRegex(license_file, r"^flashcore-[\d.]+\.dist-info/licenses/LICENSE$")
            with open(os.path.join(support.ROOT, "LICENSE"), "rb") as text:
                self.assertEqual(wheel.read(license_file), text.read())
            metadata = wheel.read(os.path.join(os.path.dirname(os.path.dirname(license_file)), "METADATA")).decode()
            for extra in ("numpy", "torch", "transformers"):
                self.assertIn(f"Provides-Extra: {extra}\n", metadata)
        # By the rule of the house for everything that is built.
        programs = check_rpath.elf_files(os.path.join(self.folder, "unpacked"))
        self.assertEqual(len(programs), 1 + HAVE_HEADERS)
        self.assertEqual([problem for path in programs for problem in check_rpath.problems_of(path, os.path.join(self.folder, "unpacked"))], [])
        sources = os.listdir(os.path.join(self.sources, "flashcore"))
        expected = {f"flashcore/{file}" for file in sources if file.endswith((".py", "py.typed"))} | {"flashcore/libflashcore.so.1"}
        if HAVE_HEADERS:
            expected.add("flashcore/_flashcore_torch.abi3.so")
        self.assertEqual({file for file in files if not file.startswith("flashcore/flashcore/modules/")}, expected)
        modules = os.path.join(os.path.dirname(self.library), "flashcore", "modules")
        shipped = sum(len(names) for _, _, names in os.walk(modules))
        self.assertEqual(len(files) - len(expected), shipped)
        # An environment without a pip of its own, which would take most of this test's time.
        self.run_quietly(sys.executable, "-m", "venv", "--without-pip", "venv")
        python = os.path.join(self.folder, "venv", "bin", "python")
        packages = self.run_quietly(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip()
        self.run_quietly(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target", packages, os.path.join("wheels", name),
                         PIP_DISABLE_PIP_VERSION_CHECK="1")
        said = self.run_quietly(python, "-c", PROGRAM, FLASHCORE_LIBRARY="").split()
        self.assertEqual(said[0], name.split("-")[1])
        self.assertTrue(os.path.realpath(said[1]).startswith(os.path.realpath(os.path.join(self.folder, "venv"))), said)

        if HAVE_HEADERS:  # it asks for no symbol that this Python lacks, and for no library beside Python and C++
            said = self.run_quietly(python, "-c", "from flashcore import _flashcore_torch as native; print(native.__file__, native.Calls.__name__)")
            self.assertRegex(said, r"^\S*/venv/\S*/flashcore/_flashcore_torch.abi3.so Calls$")
            needs = elf_needs.read_needs(said.split()[0])
            self.assertEqual(needs.foreign(), ())
            if platform == "linux_x86_64":
                self.assertLessEqual(needs.glibc(), (2, 28))

    def test_what_files_need(self):
        """The library of this build, against what binutils say; and files that are none."""
        if not shutil.which("readelf"):
            self.skipTest("readelf is not installed")
        library = os.path.realpath(self.library)
        said = self.run_quietly("readelf", "--dynamic", "--version-info", "--wide", library)
        needs = elf_needs.read_needs(library)
        self.assertEqual(list(needs.libraries), re.findall(r"\(NEEDED\).*\[(.*)\]", said))
        needed = said[said.index("Version needs section"):]
        self.assertEqual(set(needs.versions), set(re.findall(r"Name: (\S+)  Flags", needed)))
        self.assertEqual(needs.glibc(), max(tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", needed)))
        self.assertEqual(elf_needs.Needs((), ("GLIBC_2.3.4", "GLIBC_2.14", "GLIBC_PRIVATE", "CXXABI_1.3")).glibc(), (2, 14))
        self.assertEqual(elf_needs.Needs((), ("GLIBC_2.14", "GLIBC_ABI_DT_RELR")).glibc(), (2, 36))
        self.assertEqual(elf_needs.Needs(("libc.so.6", "libzstd.so.1"), ()).foreign(), ("libzstd.so.1",))
        self.assertIsNone(elf_needs.Needs((), ()).glibc())
        with self.assertRaisesRegex(ValueError, "no 64-bit little-endian ELF file"):
            elf_needs.read_needs(__file__)

    def test_older_versions_of_symbols(self):
        """Code that uses what is new in a C library of today, linked as the wheel's library is: 2.28 will do, and it works."""
        compiler = shutil.which("c++")
        if sysconfig.get_platform() != "linux-x86_64" or compiler is None:
            self.skipTest("for x86-64, with a C++ compiler")
        with open(os.path.join(self.folder, "new.cpp"), "w", encoding="utf-8") as source:
            source.write(NEWER)
        older = os.path.join(self.folder, "older.o")
        options = ["-O1", "-fPIC", "-shared", "-std=c++20", "new.cpp", "-static-libstdc++"]
        self.run_quietly("cc", "-c", os.path.join(self.sources, "native", "older_glibc.S"), "-o", older)
        self.run_quietly(compiler, *options, "-o", "plain.so")
        self.run_quietly(compiler, *options, older, "-Wl,--push-state,--no-as-needed,-l:libdl.so.2,-l:libpthread.so.0,--pop-state", "-o", "older.so")
        plain, found = (elf_needs.read_needs(os.path.join(self.folder, name)) for name in ("plain.so", "older.so"))
        self.assertLessEqual(found.glibc(), (2, 28))
        self.assertLessEqual(found.glibc(), plain.glibc())
        self.assertEqual(found.foreign(), ())
        said = self.run_quietly(sys.executable, "-c", f"import ctypes; print(ctypes.CDLL('{self.folder}/older.so').work(b'{self.folder}/new.cpp'))")
        self.assertEqual(said.strip(), "127")

    def test_a_library_that_is_not_there(self):
        clean = {**os.environ, "FLASHCORE_LIBRARY": "/nonexistent/libflashcore.so.1"}
        done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps", "-w", self.folder,
                               self.sources], capture_output=True, text=True, env=clean, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("FLASHCORE_LIBRARY names /nonexistent/libflashcore.so.1, which does not exist", done.stdout + done.stderr)


if __name__ == "__main__":
    support.main()
