# SPDX-License-Identifier: Apache-2.0
"""The life of a context: what it says of itself, use after close, threads and tasks that never see each other's error, how the
library is found, and that a dropped context is told of."""
import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings
import weakref

import support
from support import np

import flashcore


class TestContext(support.ContextTest):
    def test_describe(self):
        info = self.context.describe()
        self.assertEqual((info.device.kind, info.device.ordinal, info.device_reason), ("cpu", 0, "the CPU was asked for"))
        with flashcore.Context("cpu", cpu_threads=1) as single:
            self.assertEqual(single.describe().device.multiprocessors, 1)
        self.assertRegex(flashcore.version(), r"^\d+\.\d+\.\d+$")
        self.assertEqual((self.context.device, self.context.ordinal, repr(self.context)), ("cpu", 0, "<flashcore.Context cpu>"))

    def test_names_of_files_that_are_no_utf8(self):
        with self.assertRaises(flashcore.InvalidArgumentError) as caught:
            flashcore.Context("cpu", cache_directory="relative\udcff")
        self.assertIn("relative\\xff", caught.exception.message)

    def test_synchronize(self):
        self.assertIsNone(self.context.synchronize())
        self.assertIsNone(self.context.synchronize(0))

    def test_devices(self):
        if flashcore.device_count():
            self.assertEqual(flashcore.describe_device(0).kind, "cuda")
        else:
            with self.assertRaises((flashcore.NoDriverError, flashcore.DriverTooOldError, flashcore.NoDeviceError,
                                    flashcore.DeviceNotReadyError)) as caught:
                flashcore.describe_device(0)
            self.assertIn("driver", caught.exception.message)
            with self.assertRaises(flashcore.FlashcoreError):
                flashcore.Context("cuda")
            with flashcore.Context("auto") as auto:
                self.assertEqual(auto.device, "cpu")
        with self.assertRaises(flashcore.FlashcoreError):
            flashcore.describe_device(10**6)

    def test_use_after_close(self):
        context = flashcore.Context("cpu")
        array = context.empty((2,), "float16")
        with context:
            self.assertFalse(context.closed)
        self.assertTrue(context.closed)
        context.close()
        for use in (context.describe, context.native, context.synchronize, lambda: context.empty((1,), "float16"),
                    lambda: context.attention(*ones()), lambda: context.prepare(*ones()), lambda: context.explain(*ones())):
            self.refused(flashcore.ClosedError, "context", "closed", use)
        self.assertEqual(repr(context), "<flashcore.Context closed>")
        array.free()
        array.free()
        self.refused(flashcore.ClosedError, "array", "freed", lambda: array.address)
        self.refused(flashcore.ClosedError, "array", "freed", lambda: array.copy_to(bytearray(4)))

    def test_dropped_context_is_told_of(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flashcore.Context("cpu")
            gc.collect()
        self.assertEqual([(warning.category, str(warning.message)) for warning in caught],
                         [(ResourceWarning, "a flashcore.Context was not closed")])

    @support.needs_numpy
    def test_close_waits_for_calls_of_other_threads(self):
        """Closed while four threads compute: each ends with ClosedError, and the handle goes when the last has left."""
        for _ in range(5):
            context = flashcore.Context("cpu", cpu_threads=1)
            native, ends, started = weakref.ref(context.native()), [], threading.Barrier(5)
            inputs = support.random_inputs(seqlen_q=64, seqlen_kv=64)

            def work():
                started.wait()
                try:
                    while True:
                        context.attention(*inputs)
                except flashcore.ClosedError as end:
                    ends.append(end.field)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            started.wait()
            context.close()
            for thread in threads:
                thread.join()
            self.assertEqual(ends, ["context"] * 4)
            gc.collect()
            self.assertIsNone(native())

    def name_in_error(self, name):
        with self.assertRaises(flashcore.InvalidArgumentError) as caught:
            self.context.attention(*ones(), out=ones()[0], kernel=name)
        return caught.exception.message.split('"')[1]

    def test_threads_never_see_each_others_error(self):
        found = []

        def work(number):
            for i in range(200):
                name = f"kernel_{number}_{i}"
                found.append(self.name_in_error(name) == name)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [True] * 1600)

    def test_tasks_never_see_each_others_error(self):
        async def work(number):
            for i in range(20):
                name = f"kernel_{number}_{i}"
                await asyncio.sleep(0)
                self.assertEqual(self.name_in_error(name), name)
                found = await asyncio.get_running_loop().run_in_executor(None, self.name_in_error, name)
                self.assertEqual(found, name)
            return number

        async def all_of_them():
            return await asyncio.gather(*(work(number) for number in range(16)))
        self.assertEqual(asyncio.run(all_of_them()), list(range(16)))

    @support.needs_numpy
    def test_threads_compute_what_one_does(self):
        inputs = [support.random_inputs(seed) for seed in range(8)]
        expected = [self.context.attention(*one) for one in inputs]
        found = []

        def work(number):
            for _ in range(50):
                found.append(np.array_equal(self.context.attention(*inputs[number]), expected[number]))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [True] * 400)


def ones():
    """Inputs that need no NumPy."""
    import ctypes
    values = (ctypes.c_uint16 * 8)(*[0x3c00] * 8)

    class Plain:
        __array_interface__ = {"shape": (1, 1, 1, 8), "typestr": "<f2", "data": (ctypes.addressof(values), False), "version": 3}
        kept = values
    return Plain(), Plain(), Plain()


class TestLibrarySearch(unittest.TestCase):
    """FLASHCORE_LIBRARY and nothing else; else beside the package; else the loader's."""

    def run_python(self, path, **environment):
        clean = {name: value for name, value in os.environ.items() if name not in ("FLASHCORE_LIBRARY", "LD_LIBRARY_PATH", "PYTHONPATH")}
        return subprocess.run([sys.executable, "-c", "import flashcore; print(flashcore.version())"], capture_output=True, text=True,
                              env={**clean, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment}, check=False)

    def setUp(self):
        self.library = os.environ.get("FLASHCORE_LIBRARY") or self.skipTest("FLASHCORE_LIBRARY is not set")
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def test_variable(self):
        found = self.run_python(support.PACKAGE, FLASHCORE_LIBRARY=self.library)
        self.assertEqual((found.returncode, found.stdout.strip()), (0, flashcore.version()), found.stderr)

    def test_variable_that_names_nothing(self):
        link = os.path.join(self.folder, "libflashcore.so.1")
        os.symlink(os.path.abspath(self.library), link)
        missing = self.run_python(support.PACKAGE, FLASHCORE_LIBRARY="/nonexistent/libflashcore.so.1", LD_LIBRARY_PATH=self.folder)
        self.assertNotEqual(missing.returncode, 0)
        self.assertIn("ImportError: /nonexistent/libflashcore.so.1 could not be loaded", missing.stderr)

    def test_beside_the_package(self):
        shutil.copytree(os.path.join(support.PACKAGE, "flashcore"), os.path.join(self.folder, "flashcore"))
        os.symlink(os.path.abspath(self.library), os.path.join(self.folder, "flashcore", "libflashcore.so.1"))
        found = self.run_python(self.folder, LD_LIBRARY_PATH="/nonexistent")
        self.assertEqual((found.returncode, found.stdout.strip()), (0, flashcore.version()), found.stderr)

    def test_loader(self):
        os.symlink(os.path.abspath(self.library), os.path.join(self.folder, "libflashcore.so.1"))
        if os.path.exists(os.path.join(support.PACKAGE, "flashcore", "libflashcore.so.1")):
            self.skipTest("a library lies beside the package")
        found = self.run_python(support.PACKAGE, LD_LIBRARY_PATH=self.folder)
        self.assertEqual((found.returncode, found.stdout.strip()), (0, flashcore.version()), found.stderr)

    def test_importing_loads_nothing(self):
        done = subprocess.run([sys.executable, "-c", "import flashcore, sys; assert not any('flashcore.so' in line for line in open('/proc/self/maps'));"
                               "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"],
                              env={**os.environ, "PYTHONPATH": support.PACKAGE}, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class TestExample(unittest.TestCase):
    @support.needs_numpy
    def test_ten_lines(self):
        example = os.path.join(support.PACKAGE, "examples", "ten_lines.py")
        done = subprocess.run([sys.executable, example, "cpu"], env={**os.environ, "PYTHONPATH": support.PACKAGE}, capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "1.5 on the cpu\n", ""))


if __name__ == "__main__":
    support.main()
