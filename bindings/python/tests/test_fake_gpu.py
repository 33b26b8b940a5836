# SPDX-License-Identifier: Apache-2.0
"""Contexts on two GPUs that do not exist: the stand-in driver of tests/fake_driver, which the build names in FAKE_LIBCUDA. Which
device memory lies on, what is open at the end, what happens to contexts that are dropped."""
import ctypes
import gc
import os
import tempfile
import unittest
import warnings

import support
from support import np

import flashcore
from flashcore import CompilerUnavailableError, InvalidArgumentError

FAKE = os.environ.get("FAKE_LIBCUDA", "")


@support.needs_numpy
@unittest.skipUnless(FAKE, "FAKE_LIBCUDA is not set")
class TestFakeGpu(support.ContextTest):
    @classmethod
    def setUpClass(cls):
        # Read when a context is created; the options have to be there before the driver starts.
        os.environ.update(FLASHCORE_LIBCUDA=FAKE, FAKE_CUDA="arch=89;devices=2", FLASHCORE_JIT="off", FLASHCORE_MODULE_PATH="/nonexistent",
                          FLASHCORE_CACHE="off")
        cls.driver = ctypes.CDLL(FAKE)
        cls.driver.fake_open.restype, cls.driver.fake_open.argtypes = ctypes.c_int64, [ctypes.c_char_p]
        cls.driver.fake_misuses.restype = ctypes.c_int64

    def open_now(self):
        gc.collect()
        return {kind: self.driver.fake_open(kind.encode()) for kind in ("device_memory", "modules", "primary_contexts")}

    def test_devices(self):
        self.assertEqual(flashcore.device_count(), 2)
        self.assertEqual([flashcore.describe_device(i).name for i in range(2)], ["Stand-in GPU 0", "Stand-in GPU 1"])
        with flashcore.Context() as auto, flashcore.Context("cuda:1") as second:
            self.assertEqual((repr(auto), repr(second)), ("<flashcore.Context cuda:0>", "<flashcore.Context cuda:1>"))
            self.assertEqual(second.describe().device.arch, 89)
        with self.assertRaises(InvalidArgumentError) as caught:
            flashcore.Context("cuda:2")
        self.assertIn("ordinal", caught.exception.field)

    def test_memory_of_another_device(self):
        query = np.ones((1, 5, 2, 64), np.float16)
        with flashcore.Context("cuda:0") as first, flashcore.Context("cuda:1") as second:
            here, there = second.to_device(query), first.to_device(query)
            self.refused(InvalidArgumentError, "query", "query is on cpu; allowed: the context's device, cuda:1",
                         lambda: second.attention(query, here, here))
            self.refused(InvalidArgumentError, "value", "value is on cuda:0; allowed: the context's device, cuda:1",
                         lambda: second.attention(here, here, there))
            self.refused(InvalidArgumentError, "output", "output is on cuda:0", lambda: second.attention(here, here, here, out=there))
            self.refused(InvalidArgumentError, "lse", "lse is on cpu",
                         lambda: second.attention(here, here, here, lse=np.zeros((1, 2, 5), np.float32)))
            self.refused(InvalidArgumentError, "key", "key is on cuda:1", lambda: self.context.attention(query, here, here))
            self.assertFalse(hasattr(here, "__array_interface__"))
            self.assertEqual(here.__cuda_array_interface__["data"], (here.address, False))

    def test_copies_and_statuses(self):
        values = np.arange(640, dtype=np.float16).reshape(1, 5, 2, 64)
        with flashcore.Context("cuda") as context:
            array = context.to_device(values)
            self.assertTrue(np.array_equal(array.to_numpy(), values))
            self.refused(CompilerUnavailableError, "", "no module folder", lambda: context.attention(array, array, array))
            self.refused(CompilerUnavailableError, "", "no module folder", lambda: context.prepare(array, array, array))
            self.assertTrue(context.explain(array, array, array).kernel.startswith("sm80_"))
            self.refused(flashcore.OutOfDeviceMemoryError, "", "memory", lambda: context.empty((2**40,), "float16"))

    def test_checked_addresses(self):
        class Longer:  # says that its memory is 16 bytes longer than it is: less than what an allocation is rounded up by
            def __init__(self, array):
                self.array = array
                self.__cuda_array_interface__ = {**array.__cuda_array_interface__, "shape": (1, 10, 2, 64)}

        values = np.ones((1, 10, 2, 64), np.float16)
        for checks, error, field, text in (("always", InvalidArgumentError, "key.data", "16 bytes too short"),
                                           ("new_shapes", CompilerUnavailableError, "", "no module folder"),
                                           ("default", CompilerUnavailableError, "", "no module folder")):
            with flashcore.Context("cuda", address_checks=checks) as context:
                whole, short = context.to_device(values), Longer(context.to_device(np.ones((1, 1, 1, 1272), np.float16)))
                self.refused(error, field, text, lambda: context.attention(whole, short, whole))

    def test_names_of_folders_that_are_no_utf8(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.fsdecode(os.fsencode(folder) + b"/\xff")
            with flashcore.Context("cuda", cache_directory=name, cache_mode="read_write") as context:
                self.assertEqual(context.describe().cache_directory, name)

    def test_synchronize(self):
        """Everything on the device, or one stream; what failed earlier surfaces."""
        calls, fail = self.driver.fake_calls, self.driver.fake_fail_function
        calls.restype, calls.argtypes = ctypes.c_int64, [ctypes.c_char_p]
        fail.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32]
        with flashcore.Context("cuda") as context:
            before = [calls(b"cuCtxSynchronize"), calls(b"cuStreamSynchronize")]
            context.synchronize()
            context.synchronize(0)
            self.assertEqual([calls(b"cuCtxSynchronize"), calls(b"cuStreamSynchronize")], [before[0] + 1, before[1] + 1])
            fail(b"cuCtxSynchronize", 1, 700, 0)
            self.refused(flashcore.ContextLostError, "", "cuCtxSynchronize failed with CUDA_ERROR_ILLEGAL_ADDRESS (700)", context.synchronize)

    def test_everything_is_given_back(self):
        before = self.open_now()
        context = flashcore.Context("cuda:1")
        array, other = context.empty((1000,), "float32"), context.empty((1000,), "float32")
        self.assertEqual(self.open_now()["device_memory"], before["device_memory"] + 2)
        array.free()
        context.close()
        self.assertEqual(self.open_now()["primary_contexts"], before["primary_contexts"] + 1, "memory keeps its device open")
        del other
        self.assertEqual(self.open_now(), before)
        self.assertEqual(self.driver.fake_misuses(), 0)

    def test_dropped_gpu_context_stays_open(self):
        """Kernels that it launched may still be running, and it cannot wait for streams that it does not know."""
        before = self.open_now()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flashcore.Context("cuda:1")
            gc.collect()
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])
        self.assertEqual(self.open_now()["primary_contexts"], before["primary_contexts"] + 1)


if __name__ == "__main__":
    support.main()
