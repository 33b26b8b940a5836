#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`meson install`, and what others do with it. The tree is installed under a DESTDIR and then moved to another place, so that
nothing may depend on where it was built or meant to be: tools, modules, and programs that find the library through pkg-config and
CMake. A project that holds the sources as a Meson subproject is built as well.

Meson says in the environment where things are: MESON (its own command), BUILD_ROOT, SOURCE_ROOT, LIBDIR and the like, CC and CXX, STAMPS
(one per shipped architecture, separated by ':'; empty: none is shipped), TOOLS (names, separated by ':'), DEBUG (1: binaries hold debug
information), TOOLKIT (folder whose include/ has CUDA's headers).
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

MESON, BUILD, SOURCE = shlex.split(os.environ["MESON"]), os.environ["BUILD_ROOT"], os.environ["SOURCE_ROOT"]
PREFIX, LIBDIR, BINDIR, INCLUDEDIR = (os.environ[name] for name in ("PREFIX", "LIBDIR", "BINDIR", "INCLUDEDIR"))
DATADIR, MANDIR = os.environ["DATADIR"], os.environ["MANDIR"]
CC, CXX = shlex.split(os.environ["CC"]), shlex.split(os.environ["CXX"])
STAMPS = [stamp for stamp in os.environ["STAMPS"].split(":") if stamp]
sys.path.insert(0, os.path.join(SOURCE, "tests/house"))
import check_rpath

EXAMPLES = os.path.join(SOURCE, "examples")
SAID_BY_THE_EXAMPLE = "output[0] is 0x3e00, 1.5 is 0x3e00\n"
TOOLS = os.environ["TOOLS"].split(":")
HEADERS = ("flashcore.h", "flashcore.hpp", "flashcore_inspect.h", "flashcore_memory.h", "flashcore_merge_states.h",
           "flashcore_result.hpp", "flashcore_status.h", "flashcore_variant.h", "flashcore_version.h")

HOLDER = tempfile.TemporaryDirectory()
# With spaces, letters beyond ASCII, and long: paths of users are so.
MOVED = os.path.join(HOLDER.name, "moved here", "für " + "lange Pfade ".ljust(180, "-"))
INSTALLED = []  # paths below the prefix


def environment(**more):
    """The caller's, without what leads to the build tree or changes what the library does."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("FLASHCORE_", "XDG_", "PKG_CONFIG")) and name not in ("LD_LIBRARY_PATH", "DESTDIR", "CMAKE_PREFIX_PATH", "MESON")}
    return {**kept, "HOME": HOLDER.name, "LC_ALL": "C", **more}


def run(*command, code=0, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(**more), cwd=HOLDER.name,
                          timeout=600, check=False)
    if done.returncode != code:
        raise AssertionError(f"{shlex.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def setUpModule():
    """Install under DESTDIR, then move the prefix away."""
    destination = os.path.join(HOLDER.name, "destination")
    run(*MESON, "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", destination)
    os.makedirs(os.path.dirname(MOVED))
    shutil.move(destination + PREFIX, MOVED)
    for folder, _, files in os.walk(MOVED):
        INSTALLED.extend(os.path.relpath(os.path.join(folder, file), MOVED) for file in files)


def tearDownModule():
    HOLDER.cleanup()


def moved(*parts):
    return os.path.join(MOVED, *parts)


class Tree(unittest.TestCase):
    def test_everything_is_there(self):
        expected = [f"{INCLUDEDIR}/flashcore/{name}" for name in HEADERS]
        expected += [f"{LIBDIR}/libflashcore.so", f"{LIBDIR}/libflashcore.so.1", f"{LIBDIR}/pkgconfig/flashcore.pc"]
        expected += [f"{LIBDIR}/cmake/flashcore/flashcore-config{part}.cmake" for part in ("", "-version")]
        for tool in TOOLS:
            expected += [f"{BINDIR}/{tool}", f"{MANDIR}/man1/{tool}.1", f"{DATADIR}/bash-completion/completions/{tool}.bash",
                         f"{DATADIR}/zsh/site-functions/_{tool}", f"{DATADIR}/fish/vendor_completions.d/{tool}.fish"]
        self.assertEqual([path for path in expected if path not in INSTALLED], [])

    def test_public_headers_are_all_of_them(self):
        self.assertEqual(sorted(HEADERS), sorted(name for name in os.listdir(os.path.join(SOURCE, "include/flashcore")) if name.endswith((".h", ".hpp"))))

    def test_nothing_else_is_there(self):
        """What the project's own tests and parts need stays at home."""
        allowed = re.compile(f"({INCLUDEDIR}|{LIBDIR}|{BINDIR}|{MANDIR}/man1|{DATADIR}/(bash-completion|zsh|fish|flashcore/shapes))/")
        self.assertEqual([path for path in INSTALLED if not allowed.match(path)], [])
        self.assertEqual([path for path in INSTALLED if os.path.dirname(path) == BINDIR and os.path.basename(path) not in TOOLS], [])

    def test_no_file_names_the_place_where_it_was_built(self):
        for path in INSTALLED:
            with open(moved(path), "rb") as file:
                content = file.read()
            if os.environ["DEBUG"] == "0" or not content.startswith(b"\x7fELF"):  # debug information names sources
                self.assertNotIn(BUILD.encode(), content, path)
            if path.endswith((".pc", ".cmake")):
                self.assertNotIn(PREFIX.encode() + b"/", content, path)

    def test_libraries_are_looked_for_inside_the_tree_only(self):
        """The search path of every program and library, by the rule of the house."""
        files = check_rpath.elf_files(MOVED)
        self.assertEqual({os.path.relpath(path, MOVED) for path in files} & {f"{BINDIR}/{tool}" for tool in TOOLS}, {f"{BINDIR}/{tool}" for tool in TOOLS})
        self.assertEqual([problem for path in files for problem in check_rpath.problems_of(path, MOVED)], [])

    def test_modules_can_be_written_by_their_owner_only(self):
        for path in INSTALLED:
            self.assertEqual(os.stat(moved(path)).st_mode & 0o022, 0, path)


class Tools(unittest.TestCase):
    def test_run_computes(self):
        said = run(moved(BINDIR, "fc-run"), "--random", "1", "--seqlen", "64", "--device", "cpu", "--check")
        self.assertRegex(said, r"check +passed")

    def test_the_moved_library_is_used(self):
        said = run(moved(BINDIR, "fc-run"), "--version", COLUMNS="400")
        text = " ".join(said.split())
        self.assertIn(moved(LIBDIR, "libflashcore.so.1"), text)
        self.assertNotIn(BUILD, text)

    def test_the_shipped_modules_are_found(self):
        if not STAMPS:
            self.skipTest("no modules are shipped with this build")
        rows = 0
        for stamp in STAMPS:
            with open(stamp, encoding="utf-8") as file:
                rows += sum(not line.startswith("#") for line in file)
        modules = json.loads(run(moved(BINDIR, "fc-inspect"), "list", "--json", FLASHCORE_CACHE="off"))["modules"]
        self.assertEqual(len(modules), rows)
        for module in modules:
            self.assertEqual((module["origin"], module["current"], module["status"]), ("shipped", True, "OK"), module["path"])
            self.assertTrue(os.path.realpath(module["path"]).startswith(os.path.realpath(moved(LIBDIR, "flashcore/modules"))), module["path"])
        self.assertIn(f"{rows}", run(moved(BINDIR, "fc-inspect"), "verify"))

    def test_bench_finds_its_shapes(self):
        self.assertIn("512", run(moved(BINDIR, "fc-bench"), "--list", "--shapes", "mission"))


class Consumers(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=HOLDER.name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_pkg_config(self):
        if not shutil.which("pkg-config"):
            self.skipTest("pkg-config is not installed")
        plain = os.path.join(HOLDER.name, "moved")  # pkg-config 0.29 does not quote spaces
        os.symlink(MOVED, plain)
        where = {"PKG_CONFIG_PATH": os.path.join(plain, LIBDIR, "pkgconfig")}
        flags = shlex.split(run("pkg-config", "--cflags", "--libs", "flashcore >= 1.0", **where))
        self.assertEqual(os.path.realpath(run("pkg-config", "--variable=moduledir", "flashcore", **where).strip()),
                         os.path.realpath(moved(LIBDIR, "flashcore/modules")))
        for compiler, standard, source in ((CC, "-std=c99", "ten_lines.c"), (CXX, "-std=c++17", "ten_lines.cpp")):
            run(*compiler, standard, os.path.join(EXAMPLES, source), "-o", self.path("consumer"), *flags)
            self.assertEqual(run(self.path("consumer"), "cpu", LD_LIBRARY_PATH=moved(LIBDIR)), SAID_BY_THE_EXAMPLE)

    def cmake(self, version="", components="", code=0):
        if not shutil.which("cmake"):
            self.skipTest("cmake is not installed")
        return run("cmake", "-G", "Ninja", "-S", os.path.join(SOURCE, "tests/install/cmake_consumer"), "-B", self.path("build"),
                   f"-DEXAMPLES={EXAMPLES}",
                   f"-DCMAKE_PREFIX_PATH={MOVED}", f"-DASKED_VERSION={version}", f"-DASKED_COMPONENTS={components}",
                   f"-DCMAKE_C_COMPILER={CC[-1]}", f"-DCMAKE_CXX_COMPILER={CXX[-1]}", code=code)

    def test_cmake(self):
        self.assertIn(f"modules: {os.path.realpath(moved(LIBDIR, 'flashcore/modules'))}", self.cmake("1.0"))
        run("cmake", "--build", self.path("build"))
        for program in ("consumer_c", "consumer_cpp"):
            self.assertEqual(run(self.path(f"build/{program}"), "cpu"), SAID_BY_THE_EXAMPLE)

    def test_cmake_refuses_another_major_version(self):
        for version in ("2.0", "1.99", "0.9"):
            self.assertRegex(self.cmake(version, code=1), r'compatible with\s+requested version\s+"' + re.escape(version))

    def test_cmake_refuses_components(self):
        self.assertRegex(self.cmake(components="cuda", code=1), r"no components, but these\s+were\s+asked\s+for:\s+cuda")

    def test_meson_subproject(self):
        """In a folder that stays, so that only a first run compiles the library again."""
        project, build = os.path.join(BUILD, "tests/install/meson_consumer"), os.path.join(BUILD, "tests/install/meson_consumer/build")
        os.makedirs(os.path.join(project, "subprojects"), exist_ok=True)
        for source in (os.path.join(SOURCE, "tests/install/meson_consumer/meson.build"), os.path.join(EXAMPLES, "ten_lines.c"), os.path.join(EXAMPLES, "ten_lines.cpp")):
            shutil.copy2(source, project)
        link = os.path.join(project, "subprojects/flashcore")
        if not os.path.islink(link):
            os.symlink(SOURCE, link)
        if not os.path.exists(os.path.join(build, "build.ninja")):
            said = run(*MESON, "setup", build, project, "-Doptimization=0", "--force-fallback-for=flashcore", f"-Dflashcore:toolkit_path={os.environ['TOOLKIT']}",
                       CC=os.environ["CC"], CXX=os.environ["CXX"])
            self.assertRegex(said, r"Dependency flashcore (for host machine )?found: YES 1\.\d+\.\d+ \(overridden\)")
        run(*MESON, "compile", "-C", build)
        for program in ("consumer_c", "consumer_cpp"):
            self.assertEqual(run(os.path.join(build, program), "cpu"), SAID_BY_THE_EXAMPLE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
