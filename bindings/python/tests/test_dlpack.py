# SPDX-License-Identifier: Apache-2.0
"""DLPack as producers may speak it, not as one of them does: hand-made capsules of both versions, with everything in them that the
standard allows and the usual producers rarely set. No NumPy is needed.
"""
import ctypes
import random
import struct
import unittest

import support

import flashcore
from flashcore import InvalidArgumentError, UnsupportedError
from flashcore._arrays import Place, view_of

BATCH, ROWS, HEADS, DIM = 1, 3, 2, 8
COUNT = BATCH * ROWS * HEADS * DIM
CPU, CUDA, PINNED, MANAGED = 1, 2, 3, 13

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.argtypes, _new_capsule.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p], ctypes.py_object


class Tensor(ctypes.Structure):  # typed here once more, so that the package's own declaration is tested
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("dtype", ctypes.c_uint8 * 4), ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32 * 2), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64),
                ("tensor", Tensor)]


class Producer:
    """float16 [batch, rows, heads, dimension] in its own memory, `offset` bytes behind the address that the capsule gives."""

    def __init__(self, values=(0.0,) * COUNT, version=(1, 0), offset=0, flags=0, device=(CPU, 0), dtype=(2, 16, 1, 0), strides=True, shape=(BATCH, ROWS, HEADS, DIM)):
        self.memory = ctypes.create_string_buffer(offset + 2 * COUNT)
        struct.pack_into(f"={COUNT}e", self.memory, offset, *values)
        self.shape = (ctypes.c_int64 * 4)(*shape)
        self.strides = (ctypes.c_int64 * 4)(ROWS * HEADS * DIM, HEADS * DIM, DIM, 1)
        tensor = Tensor(ctypes.addressof(self.memory), *device, 4, (ctypes.c_uint8 * 4)(*dtype), self.shape, self.strides if strides else None, offset)
        self.device, self.asked = device, []
        self.managed = Managed(tensor) if version is None else Versioned((ctypes.c_uint32 * 2)(*version), None, None, flags, tensor)
        self.name = b"dltensor" if version is None else b"dltensor_versioned"
        self.first = offset

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        self.asked.append(options)
        if "max_version" in options and self.name == b"dltensor":
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        return _new_capsule(ctypes.addressof(self.managed), self.name, None)

    def values(self):
        return struct.unpack_from(f"={COUNT}e", self.memory, self.first)


def numbers(seed):
    draw = random.Random(seed)
    return [draw.gauss(0, 1) for _ in range(COUNT)]


class TestDlpack(support.ContextTest):
    def attend(self, **options):
        """The output of one attention, all of whose arrays are made by these options."""
        query, key, value = (Producer(numbers(seed), **options) for seed in (1, 2, 3))
        output = Producer(**{**options, "flags": 0})
        self.context.attention(query, key, value, out=output)
        return output.values()

    def test_both_versions_and_any_offset_give_the_same(self):
        expected = self.attend()
        self.assertTrue(any(expected))
        for version in (None, (1, 0), (1, 7)):
            for offset in (0, 2, 16, 4096):
                for strides in (True, False):  # without strides the memory is contiguous
                    self.assertEqual(self.attend(version=version, offset=offset, strides=strides), expected, (version, offset, strides))

    def test_memory_that_is_only_read_is_no_output(self):
        self.attend(flags=1)  # as an input it is welcome
        inputs = [Producer(numbers(seed)) for seed in (1, 2, 3)]
        self.refused(InvalidArgumentError, "output", "read-only", lambda: self.context.attention(*inputs, out=Producer(flags=1)))
        self.context.attention(*inputs, out=Producer(flags=2))  # a copy, which may be written to

    def test_what_is_not_spoken_here_is_refused(self):
        good = [Producer(numbers(seed)) for seed in (1, 2, 3)]
        self.refused(UnsupportedError, "query", "speaks DLPack 2.0", lambda: self.context.attention(Producer(version=(2, 0)), *good[1:], out=Producer()))
        for device in ((8, 0), (-1, 0)):
            self.refused(InvalidArgumentError, "key", "DLPack device type", lambda device=device: self.context.attention(
                good[0], Producer(device=device), good[2], out=Producer()))
        for dtype in ((2, 64, 1, 0), (2, 16, 2, 0), (3, 16, 1, 0)):
            with self.assertRaises(flashcore.FlashcoreError):
                self.context.attention(good[0], good[1], Producer(dtype=dtype), out=Producer())

    def test_the_place_is_checked_before_the_producer_is_asked(self):
        producer = Producer(device=(CUDA, 3))
        self.refused(InvalidArgumentError, "query", "query is on cuda:3", lambda: view_of("query", producer, Place("cuda", 0), 7))
        self.assertEqual(producer.asked, [])

    def test_the_producer_hears_which_stream_will_read(self):
        """On CUDA it waits with that stream for what it still does; elsewhere nobody takes a stream."""
        for device, stream, expected in (((CUDA, 0), 0, {"stream": 1}), ((CUDA, 0), 7, {"stream": 7}), ((MANAGED, 0), 7, {"stream": 7})):
            for version in (None, (1, 0)):
                producer = Producer(device=device, version=version, offset=6)
                view = view_of("query", producer, Place("cuda", 0), stream)
                asked = producer.asked[-1]
                self.assertEqual({name: value for name, value in asked.items() if name != "max_version"}, expected)
                self.assertEqual(view.address, ctypes.addressof(producer.memory) + 6)
                self.assertEqual((view.device, view.shape, view.strides[:3]), ("cuda", (BATCH, ROWS, HEADS, DIM), (ROWS * HEADS * DIM, HEADS * DIM, DIM)))
        for device in ((CPU, 0), (PINNED, 0)):
            producer = Producer(device=device)
            view_of("query", producer, Place("cpu", 0), 7)
            self.assertEqual(producer.asked, [{"max_version": (1, 0)}])

    def test_the_capsule_lives_as_long_as_the_view(self):
        producer = Producer()
        view = view_of("query", producer, Place("cpu", 0))
        self.assertIn(producer, view.keep)
        self.assertEqual(len(view.keep), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
