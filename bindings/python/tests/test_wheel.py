# SPDX-License-Identifier: Apache-2.0
"""The wheel, built from the library under test without a network, installed into an environment of its own, computes; from
nothing but its own files, and on any Python."""
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

import support

sys.path.insert(0, os.path.join(support.ROOT, "tests", "house"))
import check_rpath  # noqa: E402

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
print(flashcore.version(), load_library()._name)
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
        self.assertRegex(name, rf"^flashcore-[\d.]+-py3-none-{platform}\.whl$")
        with zipfile.ZipFile(os.path.join(self.folder, "wheels", name)) as wheel:
            files = [file for file in wheel.namelist() if ".dist-info/" not in file]
            wheel.extractall(os.path.join(self.folder, "unpacked"))
        # By the rule of the house for everything that is built.
        programs = check_rpath.elf_files(os.path.join(self.folder, "unpacked"))
        self.assertEqual(len(programs), 1 + HAVE_HEADERS)
        self.assertEqual([problem for path in programs for problem in check_rpath.problems_of(path, os.path.join(self.folder, "unpacked"))], [])
        sources = os.listdir(os.path.join(self.sources, "flashcore"))
        expected = {f"flashcore/{file}" for file in sources if file.endswith((".py", "py.typed"))} | {"flashcore/libflashcore.so.1"}
        if HAVE_HEADERS:
            expected.add("_flashcore_torch.abi3.so")
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
            said = self.run_quietly(python, "-c", "import _flashcore_torch; print(_flashcore_torch.__file__, _flashcore_torch.Calls.__name__)")
            self.assertRegex(said, r"^\S*/venv/\S*/_flashcore_torch.abi3.so Calls$")

    def test_a_library_that_is_not_there(self):
        clean = {**os.environ, "FLASHCORE_LIBRARY": "/nonexistent/libflashcore.so.1"}
        done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps", "-w", self.folder,
                               self.sources], capture_output=True, text=True, env=clean, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("FLASHCORE_LIBRARY names /nonexistent/libflashcore.so.1, which does not exist", done.stdout + done.stderr)


if __name__ == "__main__":
    support.main()
