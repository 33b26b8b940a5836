#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts that make, join and install the shipped modules (ptx_cache), on copies of what the build made."""
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
class Modules(cli.ToolTest):
    """The edges of one architecture: one for each kernel, then the one that joins them."""

    def setUp(self):
        super().setUp()
        self.modules = self.path("modules")
        shutil.copytree(os.path.join(cli.MODULES, ARCH), os.path.join(self.modules, ARCH))
        self.names = self.files()
        self.built = next(stamp for stamp in cli.STAMPS if stamp.endswith(f"/{ARCH}.txt"))
        prefix = f"{ARCH}-"
        self.kernels = sorted(name[len(prefix):-len(".txt")] for name in os.listdir(os.path.dirname(self.built)) if name.startswith(prefix))

    def files(self):
        return sorted(os.listdir(os.path.join(self.modules, ARCH)))

    def script(self, name, *arguments, code=0, **more):
        done = subprocess.run([sys.executable, os.path.join(SCRIPTS, name), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, env={**self.environment, **more.pop("env", {})}, **more)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def make(self, kernel, **more):
        return self.script("make_modules.py", "--tool", cli.FC_INSPECT, "--kernel", kernel, "--arch", ARCH, "--modules", self.modules,
                           "--stamp", self.path(f"{kernel}.txt"), "--nvrtc", cli.NVRTC, **more)

    def collect(self, most_mib=64, most_modules=1000, **more):
        return self.script("collect_modules.py", "--arch", ARCH, "--modules", self.modules, "--most-mib", str(most_mib), "--most-modules",
                           str(most_modules), "--stamp", self.path("stamp.txt"), *(self.path(f"{kernel}.txt") for kernel in self.kernels), **more)

    def make_all(self):
        for kernel in self.kernels:
            self.make(kernel)
        self.collect()

    def install(self, **more):
        return self.script("install_modules.py", self.modules, "lib/flashcore/modules", self.path("stamp.txt"),
                           env={"MESON_INSTALL_DESTDIR_PREFIX": self.path("prefix")}, umask=0o077, **more)

    def damage(self, name):
        with open(os.path.join(self.modules, ARCH, name), "r+b") as file:
            file.truncate(1000)

    def test_stamps_of_a_whole_folder_are_the_builds(self):
        self.assertGreater(len(self.kernels), 1)
        self.make_all()
        with open(self.built, "rb") as file:
            self.assertEqual(self.read("stamp.txt"), file.read())
        self.assertEqual(self.files(), self.names)

    def test_a_kernel_makes_its_own_modules_alone(self):
        shutil.rmtree(os.path.join(self.modules, ARCH))
        self.make("fwd_scalar")
        rows = [line.split() for line in self.read("fwd_scalar.txt").decode().splitlines()[1:]]
        self.assertEqual({module.split("-")[0] for _, _, module in rows}, {"fwd_scalar"})
        self.assertEqual(sorted(os.path.basename(name) for _, name, _ in rows), self.files())
        self.assertLess(len(rows), len(self.names))

    def test_a_stamp_that_would_not_change_is_not_written(self):
        self.make_all()
        stamps = [self.path(f"{name}.txt") for name in ("fwd_scalar", "stamp")]
        for stamp in stamps:
            os.utime(stamp, (1, 1))
        self.make("fwd_scalar")
        self.collect()
        self.assertEqual([os.stat(stamp).st_mtime for stamp in stamps], [1, 1])

    def test_leftovers_are_removed(self):
        first = os.path.join(self.modules, ARCH, self.names[0])
        cli.make_stale_copy(first)
        with open(os.path.join(self.modules, ARCH, ".tmp-1234"), "wb") as file:
            file.write(b"half a module")
        with open(os.path.join(self.modules, ARCH, "0" * 64 + ".0123456789abcdef.fcm"), "wb") as file:
            file.write(b"no module")
        self.make("fwd_scalar")
        self.assertEqual(len(self.files()), len(self.names) + 3, "a kernel's edge leaves the others' files alone")
        self.make_all()
        self.assertEqual(self.files(), self.names)

    def test_modules_of_a_kernel_that_is_gone_are_removed(self):
        self.make_all()
        self.kernels.remove("fwd_scalar")
        gone = {os.path.basename(line.split()[1]) for line in self.read("fwd_scalar.txt").decode().splitlines()[1:]}
        self.assertTrue(gone)
        self.collect()
        self.assertEqual(self.files(), [name for name in self.names if name not in gone])

    def test_more_than_the_budget_is_told(self):
        self.make_all()
        self.assertEqual(self.collect().stderr, "")
        said = rf"sm_89 has {len(self.names)} modules in \d+\.\d\d MiB; its budget in ptx_cache/manifest.txt is {len(self.names) - 1} in 64 MiB"
        self.assertRegex(self.collect(most_modules=len(self.names) - 1).stderr, said)
        self.assertIn("in 0.01 MiB", self.collect(most_mib=0.01).stderr)

    def test_damaged_module_is_made_again(self):
        self.damage(self.names[0])
        self.make_all()
        self.assertEqual(self.files(), self.names)
        self.run_tool(cli.FC_INSPECT, "verify", os.path.join(self.modules, ARCH, self.names[0]))

    def test_a_stamp_that_is_not_true_goes(self):
        """Changed behind ninja's back: the next build has to make it again."""
        self.make_all()
        row = self.read("fwd_scalar.txt").decode().splitlines()[1].split()
        self.damage(os.path.basename(row[1]))
        self.assertIn("is gone or changed since it was made; build again", self.collect(code=1).stderr)
        self.assertFalse(os.path.exists(self.path("fwd_scalar.txt")))
        self.make_all()
        self.assertEqual(self.files(), self.names)

    def test_failed_tool_leaves_no_stamp(self):
        self.environment["FLASHCORE_MODULE_PATH"] = self.modules
        shutil.rmtree(os.path.join(self.modules, ARCH))
        with open(os.path.join(self.modules, ARCH), "wb"):
            pass  # a file where the folder should be
        self.assertIn("ended with status 4", self.make("fwd_scalar", code=1).stderr)
        self.assertFalse(os.path.exists(self.path("fwd_scalar.txt")))

    def test_an_architecture_that_a_kernel_does_not_run_on_has_none(self):
        self.make("sm90_fwd_decode")
        self.assertEqual(len(self.read("sm90_fwd_decode.txt").decode().splitlines()), 1)

    def test_install(self):
        self.make_all()
        self.install()
        root = self.path(f"prefix/lib/flashcore/modules/{ARCH}")
        self.assertEqual(sorted(os.listdir(root)), self.names)
        self.assertEqual(stat.S_IMODE(os.stat(root).st_mode), 0o755)
        for name in self.names:
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(root, name)).st_mode), 0o644)
        self.run_tool(cli.FC_INSPECT, "verify", "--module-path", self.path("prefix/lib/flashcore/modules"),
                      out=[rf"\n{len(self.names)} module files checked, 0 bad\n$"])

    def test_install_refuses_what_the_stamp_does_not_know(self):
        self.make_all()
        path = os.path.join(self.modules, ARCH, self.names[0])
        with open(path, "r+b") as file:
            file.seek(50)
            file.write(b"x")
        self.assertIn("is not what its stamp says; delete ", self.install(code=1).stderr)
        self.assertFalse(os.path.exists(self.path(f"prefix/lib/flashcore/modules/{ARCH}/{self.names[0]}")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
