# SPDX-License-Identifier: Apache-2.0
"""Every way in which an array reaches the library gives the bits of the plain one: NumPy, DLPack of both versions, foreign
__array_interface__, bfloat16 in three spellings, DeviceArray, strides, layouts, outputs that the caller brings."""
import ctypes
import importlib.util
import sys
import unittest

import support
from support import np

import flashcore


class OnlyDlpack:
    """A NumPy array seen through DLPack alone; of version 1 where the array's NumPy has that, else of version 0."""

    def __init__(self, array, old=False):
        self.array, self.old = array, old

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        if self.old:
            assert set(options) <= {"max_version"}
            if options:
                raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        return self.array.__dlpack__(**options)


class OnlyInterface:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.array = array


@support.needs_numpy
class TestArrays(support.ContextTest):
    def setUp(self):
        super().setUp()
        self.inputs = support.random_inputs()
        self.expected, self.expected_lse = self.context.attention(*self.inputs, causal="bottom_right", return_lse=True)

    def attend(self, *inputs, **options):
        return self.context.attention(*inputs, causal="bottom_right", **options)

    def same(self, output):
        self.assertTrue(np.array_equal(output, self.expected))

    def test_numpy_against_float64(self):
        for causal in ("none", "top_left", "bottom_right"):
            for scale in (None, 0.3):
                output, lse = self.context.attention(*self.inputs, causal=causal, scale=scale, return_lse=True)
                expected, expected_lse = support.reference(*self.inputs, causal=causal, scale=scale)
                self.assertEqual((output.dtype, output.shape, lse.dtype, lse.shape), (np.float16, (2, 5, 4, 64), np.float32, (2, 4, 5)))
                self.assertLess(np.abs(output - expected).max(), 4e-3)
                self.assertLess(np.abs(lse - expected_lse).max(), 1e-5)

    def test_lse_base2(self):
        _, lse = self.attend(*self.inputs, return_lse=True, lse_base="base2")
        self.assertTrue(np.allclose(lse, self.expected_lse / np.log(2), rtol=1e-6))

    def test_different_value_head_dim(self):
        query, key, value = self.inputs
        output = self.attend(query, key, value[..., :32].copy())
        self.assertEqual(output.shape, (2, 5, 4, 32))
        self.assertLess(np.abs(output - self.expected[..., :32]).max(), 1e-3)

    def test_values_that_are_columns_of_the_keys(self):
        query, key, _ = support.random_inputs(heads_q=16, heads_kv=1, head_dim=576)
        value = key[..., :512]
        output = self.attend(query, key, value)
        expected, _ = support.reference(query, key, value, causal="bottom_right")
        self.assertEqual(output.shape, (2, 5, 16, 512))
        self.assertLess(np.abs(output - expected).max(), 4e-3)

    def test_dlpack(self):
        for old in (False, True):
            output = np.zeros_like(self.expected)
            returned = self.attend(*(OnlyDlpack(array, old) for array in self.inputs), out=output)
            self.assertIs(returned, output)
            self.same(output)

    def test_dlpack_of_strided_memory(self):
        wide = [np.concatenate((array, array), 1)[:, :array.shape[1]] for array in self.inputs]
        self.assertFalse(wide[0].flags.c_contiguous)
        self.same(self.attend(*map(OnlyDlpack, wide), out=np.zeros_like(self.expected)))

    def test_the_capsule_gives_the_memory_back(self):
        before = [sys.getrefcount(array) for array in self.inputs]
        self.attend(*map(OnlyDlpack, self.inputs), out=np.zeros_like(self.expected))
        self.assertEqual([sys.getrefcount(array) for array in self.inputs], before)

    def test_array_interface_of_others(self):
        self.same(self.attend(*map(OnlyInterface, self.inputs), out=np.zeros_like(self.expected)))

    def test_strided_and_layouts(self):
        turned = [np.ascontiguousarray(array.transpose(0, 2, 1, 3)) for array in self.inputs]
        self.same(self.attend(*(array.transpose(0, 2, 1, 3) for array in turned)))
        output = self.attend(*turned, layout="bhsd")
        self.assertEqual(output.shape, (2, 4, 5, 64))
        self.same(output.transpose(0, 2, 1, 3))
        padded = [np.concatenate((array, array), 3)[..., :64] for array in self.inputs]
        self.same(self.attend(*padded))

    def test_broadcast_batch(self):
        query, key, value = (np.broadcast_to(array[:1], array.shape) for array in self.inputs)
        output = self.attend(query, key, value)
        self.assertTrue(np.array_equal(output[0], output[1]) and np.array_equal(output[0], self.expected[0]))

    def test_strides_of_single_elements_mean_nothing(self):
        one = [array[:1, :1, :1] for array in self.inputs]
        odd = [np.lib.stride_tricks.as_strided(array, array.shape, (-6, 2**40, 14, 2)) for array in one]
        self.assertTrue(np.array_equal(self.context.attention(*odd), self.context.attention(*one)))

    def test_output_and_lse_of_the_caller(self):
        room = np.full((2, 7, 4, 64), 9, np.float16)
        lse_room = np.full((2, 5, 4), 9, np.float32)
        self.attend(*self.inputs, out=room[:, 1:6], lse=lse_room.transpose(0, 2, 1))
        self.same(room[:, 1:6])
        self.assertTrue((room[:, 0] == 9).all() and (room[:, 6] == 9).all())
        self.assertTrue(np.array_equal(lse_room.transpose(0, 2, 1), self.expected_lse))

    def test_empty_sizes(self):
        query, key, value = self.inputs
        output, lse = self.context.attention(query, key[:, :0], value[:, :0], return_lse=True)
        self.assertTrue((output == 0).all() and (lse == -np.inf).all())
        self.assertEqual(self.context.attention(query[:, :0], key, value).shape, (2, 0, 4, 64))
        self.assertEqual(self.context.attention(query[:0], key[:0], value[:0]).shape, (0, 5, 4, 64))

    def test_bfloat16_as_bits(self):
        bits = [support.bfloat16_bits(array) for array in self.inputs]
        output = self.attend(*bits, dtype="bfloat16")
        self.assertEqual(output.dtype, np.uint16)
        expected, _ = support.reference(*map(support.bfloat16_values, bits), causal="bottom_right")
        self.assertLess(np.abs(support.bfloat16_values(output) - expected).max(), 3e-2)
        self.assertTrue(np.array_equal(self.attend(*(array.view(np.int16) for array in bits), dtype="bfloat16").view(np.uint16), output))

    @unittest.skipIf(importlib.util.find_spec("ml_dtypes") is None, "ml_dtypes is not installed")
    def test_bfloat16_of_ml_dtypes(self):
        import ml_dtypes
        bits = [support.bfloat16_bits(array) for array in self.inputs]
        output = self.attend(*(array.view(ml_dtypes.bfloat16) for array in bits))
        self.assertEqual(output.dtype, ml_dtypes.bfloat16)
        self.assertTrue(np.array_equal(output.view(np.uint16), self.attend(*bits, dtype="bfloat16")))

    def test_device_arrays(self):
        arrays = [self.context.to_device(array) for array in self.inputs]
        output, lse = self.attend(*arrays, return_lse=True)
        self.assertIsInstance(output, flashcore.DeviceArray)
        self.same(output.to_numpy())
        self.assertTrue(np.array_equal(lse.to_numpy(), self.expected_lse))
        self.same(np.asarray(output))
        self.assertEqual(output.address % 256, 0)
        self.assertFalse(hasattr(output, "__cuda_array_interface__"))
        output.copy_from(self.expected * 0)
        self.assertTrue((np.asarray(output) == 0).all())

    def test_device_array_outlives_its_context(self):
        array = self.context.to_device(self.inputs[0])
        self.context.close()
        self.assertTrue(np.array_equal(array.to_numpy(), self.inputs[0]))

    def test_prepare_and_explain(self):
        self.assertIsNone(self.context.prepare(*self.inputs))
        explanation = self.context.explain(*self.inputs)
        self.assertEqual((explanation.supported, explanation.kernel), (True, "cpu"))

    def test_inputs_stay_as_they_are(self):
        copies = [array.copy() for array in self.inputs]
        self.attend(*self.inputs)
        for array, copy in zip(self.inputs, copies):
            self.assertTrue(np.array_equal(array, copy))

    def test_no_numpy_is_needed(self):
        values = (ctypes.c_uint16 * 64)(*[0x3c00] * 64)  # ones

        class Plain:
            __array_interface__ = {"shape": (1, 1, 1, 64), "typestr": "<f2", "data": (ctypes.addressof(values), False), "version": 3}
        result = (ctypes.c_uint16 * 64)()

        class Out:
            __array_interface__ = {**Plain.__array_interface__, "data": (ctypes.addressof(result), False)}
        self.context.attention(Plain(), Plain(), Plain(), out=Out())
        self.assertEqual(list(result), [0x3c00] * 64)


if __name__ == "__main__":
    support.main()
