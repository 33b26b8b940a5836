#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts that make and install the shipped modules (ptx_cache), on copies of what the build made."""
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import unittest

import cli

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../ptx_cache")
ARCH = "sm_89"


class FindNvrtc(unittest.TestCase):
    def find(self, *arguments):
        return subprocess.run([sys.executable, os.path.join(SCRIPTS, "find_nvrtc.py"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)

    def test_given_path_that_is_not_there(self):
        done = self.find("/nonexistent/libnvrtc.so.13", os.path.dirname(cli.NVRTC))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nonexistent/libnvrtc.so.13: ", done.stderr)

    def test_library_that_is_no_nvrtc(self):
        with open("/proc/self/maps", encoding="utf-8") as maps:
            library = next(line.split()[-1] for line in maps if "libc.so" in line)
        done = self.find(library)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nvrtcVersion", done.stderr)

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_folder_that_has_one(self):
        done = self.find("", "/nonexistent", os.path.dirname(cli.NVRTC))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.samefile(done.stdout.strip(), cli.NVRTC) or os.path.exists(done.stdout.strip()))


@unittest.skipUnless(cli.STAMPS and cli.NVRTC, "no modules are shipped with this build")
class Packs(cli.ToolTest):
    def setUp(self):
        super().setUp()
        self.modules = self.path("modules")
        shutil.copytree(os.path.join(cli.MODULES, ARCH), os.path.join(self.modules, ARCH))
        self.names = sorted(os.listdir(os.path.join(self.modules, ARCH)))

    def files(self):
        return sorted(os.listdir(os.path.join(self.modules, ARCH)))

    def make_pack(self, code=0):
        done = subprocess.run([sys.executable, os.path.join(SCRIPTS, "make_pack.py"), "--tool", cli.FC_INSPECT, "--arch", ARCH, "--modules", self.modules,
                               "--stamp", self.path("stamp.txt"), "--nvrtc", cli.NVRTC], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=self.environment, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def install(self, code=0):
        environment = {**self.environment, "MESON_INSTALL_DESTDIR_PREFIX": self.path("prefix")}
        done = subprocess.run([sys.executable, os.path.join(SCRIPTS, "install_packs.py"), self.modules, "lib/flashcore/modules", self.path("stamp.txt")],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, umask=0o077, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_stamp_of_a_whole_folder_is_the_builds(self):
        self.make_pack()
        built = next(stamp for stamp in cli.STAMPS if stamp.endswith(f"/{ARCH}.txt"))
        with open(built, "rb") as file:
            self.assertEqual(self.read("stamp.txt"), file.read())
        self.assertEqual(self.files(), self.names)

    def test_leftovers_are_removed(self):
        first = os.path.join(self.modules, ARCH, self.names[0])
        cli.make_stale_copy(first)
        with open(os.path.join(self.modules, ARCH, ".tmp-1234"), "wb") as file:
            file.write(b"half a module")
        with open(os.path.join(self.modules, ARCH, "0" * 64 + ".0123456789abcdef.fcm"), "wb") as file:
            file.write(b"no module")
        self.assertEqual(len(self.files()), len(self.names) + 3)
        self.make_pack()
        self.assertEqual(self.files(), self.names)

    def test_damaged_module_is_made_again(self):
        path = os.path.join(self.modules, ARCH, self.names[0])
        with open(path, "r+b") as file:
            file.truncate(1000)
        self.make_pack()
        self.assertEqual(self.files(), self.names)
        self.run_tool(cli.FC_INSPECT, "verify", path)

    def test_failed_tool_leaves_no_stamp(self):
        self.environment["FLASHCORE_MODULE_PATH"] = self.modules
        shutil.rmtree(os.path.join(self.modules, ARCH))
        with open(os.path.join(self.modules, ARCH), "wb"):
            pass  # a file where the folder should be
        done = self.make_pack(code=1)
        self.assertIn("ended with status 4", done.stderr)
        self.assertFalse(os.path.exists(self.path("stamp.txt")))

    def test_install(self):
        self.make_pack()
        self.install()
        root = self.path(f"prefix/lib/flashcore/modules/{ARCH}")
        self.assertEqual(sorted(os.listdir(root)), self.names)
        self.assertEqual(stat.S_IMODE(os.stat(root).st_mode), 0o755)
        for name in self.names:
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(root, name)).st_mode), 0o644)
        self.run_tool(cli.FC_INSPECT, "verify", "--module-path", self.path("prefix/lib/flashcore/modules"),
                      out=[rf"\n{len(self.names)} module files checked, 0 bad\n$"])

    def test_install_refuses_what_the_stamp_does_not_know(self):
        self.make_pack()
        path = os.path.join(self.modules, ARCH, self.names[0])
        with open(path, "r+b") as file:
            file.seek(50)
            file.write(b"x")
        done = self.install(code=1)
        self.assertIn("is not what its stamp says; build again", done.stderr)
        self.assertFalse(os.path.exists(self.path(f"prefix/lib/flashcore/modules/{ARCH}/{self.names[0]}")))

    def test_digests(self):
        self.make_pack()
        for line in self.read("stamp.txt").decode().splitlines()[1:]:
            digest, name, _ = line.split()
            with open(os.path.join(self.modules, name), "rb") as file:
                self.assertEqual(hashlib.sha256(file.read()).hexdigest(), digest)


if __name__ == "__main__":
    unittest.main(verbosity=2)
