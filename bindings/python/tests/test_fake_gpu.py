# SPDX-License-Identifier: Apache-2.0
"""Contexts on two GPUs that do not exist: the stand-in driver of tests/fake_driver, which the build names in FAKE_LIBCUDA. Which
device memory lies on, what is open at the end, what happens to contexts that are dropped."""
import ctypes
import gc
import os
import sys
import tempfile
import types
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

    def test_streams_of_others(self):
        """Which stream a call runs on, and which it waits for: those of CuPy, Numba and others, which are stood in for."""
        with flashcore.Context("cuda:0") as context:
            memory = context.to_device(np.ones((1, 5, 2, 64), np.float16))
            launched, waited = [], []
            native = context.native()
            real = native.library

            class Library:  # no kernel starts on the stand-in driver, and it does not know these streams
                def __getattr__(self, name):
                    return getattr(real, name)

                def flashcore_attention_fwd(self, _handle, _args, stream, _error):
                    launched.append(stream)
                    return 0

                def flashcore_stream_synchronize(self, _handle, stream, _error):
                    waited.append(stream)
                    return 0
            native.library = Library()
            self.addCleanup(setattr, native, "library", real)

            class Exported:  # Numba's arrays: nothing but the interface
                def __init__(self, stream=None):
                    self.__cuda_array_interface__ = {**memory.__cuda_array_interface__, "stream": stream}
            cupy = types.ModuleType("cupy")
            current = types.SimpleNamespace(ptr=0, device_id=-1)
            cupy.cuda = types.SimpleNamespace(get_current_stream=lambda: current, Device=None)
            cupy.empty = lambda shape, dtype: cupy.ndarray()
            cupy.ndarray = type("ndarray", (), {"__module__": "cupy", "dtype": np.float16, "device": None,
                                                "__cuda_array_interface__": memory.__cuda_array_interface__})
            self.addCleanup(sys.modules.pop, "cupy", None)
            sys.modules["cupy"] = cupy

            def runs_on(number, waits_for, *arrays, **options):
                launched.clear()
                waited.clear()
                context.attention(*arrays, **{"out": memory, **options})
                self.assertEqual((launched, sorted(waited)), ([number], sorted(waits_for)))
            one = cupy.ndarray()
            for pointer in (0, 7000, 2):
                current.ptr = pointer
                runs_on(pointer, [], one, one, one)
                self.assertIsInstance(context.attention(one, one, one), cupy.ndarray)
                runs_on(9000, [], one, one, one, stream=9000)
                runs_on(0, [pointer] if pointer else [], memory, one, memory)
                runs_on(0, [pointer] if pointer else [], memory, memory, memory, out=one)
            current.ptr = 1  # the default stream by its other name
            runs_on(0, [], one, memory, memory)
            current.ptr, current.device_id = 4000, 1  # CuPy's current device is another

            class Device:
                def __init__(self, ordinal):
                    self.ordinal = ordinal

                def __enter__(self):
                    current.ptr = 4000 if self.ordinal else 5000

                def __exit__(self, *_):
                    pass
            cupy.cuda.Device = Device
            runs_on(5000, [], one, one, one)
            for exported, stream in ((None, 0), (1, 0), (2, 2), (8000, 8000)):
                runs_on(stream, [], Exported(exported), Exported(exported), Exported(exported))
                runs_on(6000, [exported] if exported else [], *[Exported(exported)] * 3, stream=6000)
                runs_on(0, [stream] if stream else [], memory, Exported(exported), memory)
                runs_on(0, [stream] if stream else [], memory, memory, memory, out=Exported(exported))
            for wrong in (0, -1, True, "1", 2**64):
                self.refused(InvalidArgumentError, "key", "allowed: None, 1 (the default stream), 2", lambda: context.attention(memory, Exported(wrong), memory))
                self.refused(InvalidArgumentError, "query", "allowed: None, 1 (the default stream), 2", lambda: context.attention(*[Exported(wrong)] * 3))

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

    def test_a_circle_of_garbage(self):
        """A context, closed, and arrays that only such a circle still holds: their memory goes before the device, in whatever order."""
        before = self.open_now()
        for turn in range(8):
            context = flashcore.Context("cuda:1")
            circle = [context, context.empty((1000,), "float32"), context.empty((10,), "float16")]
            circle.sort(key=id, reverse=turn % 2 == 1)
            circle.append(circle)
            context.close()
            context = circle = None
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
