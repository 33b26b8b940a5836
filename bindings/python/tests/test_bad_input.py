# SPDX-License-Identifier: Apache-2.0
"""What is refused, by which class, for which field, with which words; nothing is written to the output then."""
import unittest

import support
from support import np

import flashcore
from flashcore import InvalidArgumentError, UnsupportedError


class FakeCuda:
    """Claims to lie on a GPU."""

    def __init__(self, array, protocol):
        interface = {"shape": array.shape, "typestr": "<f2", "data": (array.ctypes.data, False), "version": 3}
        if protocol == "interface":
            self.__cuda_array_interface__ = interface

    def __dlpack__(self, **_):
        raise AssertionError("memory on another device is not asked for")


class DlpackCuda(FakeCuda):
    def __dlpack_device__(self):
        return (2, 3)


@support.needs_numpy
class TestBadInput(support.ContextTest):
    def setUp(self):
        super().setUp()
        self.query, self.key, self.value = support.random_inputs()
        self.output = np.full((2, 5, 4, 64), 7, np.float16)

    def refuse(self, kind, field, words, query=None, key=None, value=None, **options):
        given = [array if array is not None else mine for array, mine in
                 ((query, self.query), (key, self.key), (value, self.value))]
        options.setdefault("out", self.output)
        self.refused(kind, field, words, lambda: self.context.attention(*given, **options))
        self.assertTrue((self.output == 7).all())

    def test_strided_last_dimension(self):
        wide = {name: np.repeat(getattr(self, name), 2, 3)[..., ::2] for name in ("query", "key", "value")}
        for name, array in wide.items():
            self.refuse(InvalidArgumentError, f"{name}.stride[3]", f"{name} has a stride of 2 elements in its last dimension", **{name: array})
        self.refuse(InvalidArgumentError, "output.stride[3]", "output has a stride of 2", out=np.zeros((2, 5, 4, 128), np.float16)[..., ::2])
        self.refuse(InvalidArgumentError, "query.stride[3]", "stride of -1", query=self.query[..., ::-1])

    def test_wrong_types(self):
        self.refuse(InvalidArgumentError, "key.dtype", "key is float32; allowed: float16", key=self.key.astype(np.float32))
        self.refuse(InvalidArgumentError, "value.dtype", "value is float32", value=self.value.astype(np.float32))
        self.refuse(InvalidArgumentError, "output.dtype", "output is float32", out=self.output.astype(np.float32))
        self.refuse(UnsupportedError, "query.dtype", "query is <f8; allowed: float16, bfloat16", query=self.query.astype(np.float64))
        self.refuse(UnsupportedError, "query.dtype", "query is >f2", query=self.query.astype(">f2"))
        self.refuse(UnsupportedError, "query.dtype", "bool", query=self.query > 0)
        single = [array.astype(np.float32) for array in (self.query, self.key, self.value)]
        self.refuse(UnsupportedError, "query.dtype", "FLOAT32", *single, out=self.output.astype(np.float32))

    def test_a_refusal_allows_nothing_that_is_refused_next(self):
        for dtype in (np.float32, np.int32, np.int64):
            query, key, value = (array.astype(dtype) for array in (self.query, self.key, self.value))
            words = f"query is {np.dtype(dtype).name}; allowed: float16, bfloat16"
            self.refuse(UnsupportedError, "query.dtype", words, query, key)
            self.refuse(UnsupportedError, "query.dtype", words, query, None, value)
            self.refuse(UnsupportedError, "query.dtype", words, query, key, value)
            self.refuse(InvalidArgumentError, "key.dtype", f"key is {np.dtype(dtype).name}; allowed: float16", None, key)
        for word in ("float32", "int64", "float8_e5m2"):
            self.refuse(InvalidArgumentError, "dtype", f"dtype is '{word}'; allowed: 'float16', 'bfloat16'", dtype=word)

    def test_arrays_that_never_change(self):
        class Array(np.ndarray):  # of JAX: nothing but DLPack, and others may hold the same memory
            __module__ = "jaxlib._jax"
            __array_interface__ = property()
        fixed = self.output.view(Array)
        self.assertFalse(hasattr(fixed, "__array_interface__"))
        self.refuse(InvalidArgumentError, "output", "output is read-only", out=fixed)

    def test_bits_without_a_meaning(self):
        bits = [array.view(np.uint16) for array in (self.query, self.key, self.value)]
        self.refuse(InvalidArgumentError, "query.dtype", 'say dtype="bfloat16"', *bits)
        self.refuse(InvalidArgumentError, "query.dtype", "query is float16; allowed: bfloat16", dtype="bfloat16")
        self.refuse(InvalidArgumentError, "dtype", "dtype is 'half'", dtype="half")

    def test_wrong_shapes(self):
        self.refuse(InvalidArgumentError, "query", "query has 3 dimensions", query=self.query[0])
        self.refuse(InvalidArgumentError, "key", "key has shape [1, 9, 2, 64]; allowed: [2, 9, 2, 64]", key=self.key[:1])
        self.refuse(InvalidArgumentError, "key", "key has shape [2, 9, 2, 32]; allowed: [2, 9, 2, 64]", key=self.key[..., :32])
        self.refuse(InvalidArgumentError, "value", "value has shape [2, 8, 2, 64]; allowed: [2, 9, 2, 64]", value=self.value[:, 1:])
        self.refuse(InvalidArgumentError, "value", "value has shape [2, 9, 1, 64]", value=self.value[:, :, :1])
        self.refuse(InvalidArgumentError, "output", "output has shape [2, 4, 4, 64]; allowed: [2, 5, 4, 64]", out=self.output[:, 1:])
        self.refuse(InvalidArgumentError, "heads_kv", "key has 2 heads; allowed: a divisor of query's 3", query=self.query[:, :, :3])
        self.refuse(InvalidArgumentError, "heads_kv", "key has 0 heads", key=self.key[:, :, :0], value=self.value[:, :, :0])
        self.refuse(InvalidArgumentError, "head_dim", "head_dim is 0", query=self.query[..., :0], key=self.key[..., :0])
        self.refuse(InvalidArgumentError, "head_dim_v", "head_dim_v is 0", value=self.value[..., :0], out=self.output[..., :0])
        self.refuse(InvalidArgumentError, "heads_kv", "key has 9 heads; allowed: a divisor of query's 5", layout="bhsd")

    def test_wrong_lse(self):
        self.refuse(InvalidArgumentError, "lse", "allowed: [2, 4, 5]", lse=np.zeros((2, 5, 4), np.float32))
        self.refuse(InvalidArgumentError, "lse.dtype", "lse is float16", lse=np.zeros((2, 4, 5), np.float16))
        self.refuse(InvalidArgumentError, "lse.stride", "a place of its own", lse=FakeWritable(np.broadcast_to(np.float32(0), (2, 4, 5))))

    def test_read_only_outputs(self):
        output, lse = self.output.copy(), np.zeros((2, 4, 5), np.float32)
        output.flags.writeable = lse.flags.writeable = False
        self.refuse(InvalidArgumentError, "output", "output is read-only", out=output)
        self.refuse(InvalidArgumentError, "lse", "lse is read-only", lse=lse)

    def test_output_over_inputs(self):
        both = np.concatenate((self.query, self.query), 1)
        self.refuse(InvalidArgumentError, "output.data", "memory apart from query", query=both[:, :5], out=both[:, 4:9])

    def test_wrong_device(self):
        self.refuse(InvalidArgumentError, "key", "key is on cuda; allowed: the context's device, cpu", key=FakeCuda(self.key, "interface"))
        self.refuse(InvalidArgumentError, "value", "value is on cuda:3", value=DlpackCuda(self.value, "dlpack"))

    def test_no_array(self):
        for thing in (None, 5, [1.0], "x"):
            with self.assertRaisesRegex(TypeError, f"key is a {type(thing).__name__}; allowed: a PyTorch tensor, a NumPy array"):
                self.context.attention(self.query, thing, self.value)

    def test_no_output_for_strangers(self):
        query = FakeWritable(self.query)
        self.refused(InvalidArgumentError, "out", "FakeWritable", lambda: self.context.attention(query, self.key, self.value))

    def test_wrong_options(self):
        self.refuse(InvalidArgumentError, "causal", "causal is True; allowed: 'none', 'top_left', 'bottom_right'", causal=True)
        self.refuse(InvalidArgumentError, "layout", "layout is 'sbhd'", layout="sbhd")
        self.refuse(InvalidArgumentError, "lse_base", "lse_base is 'e'", lse_base="e")
        for scale in (float("nan"), float("inf"), True, "1"):
            self.refuse(InvalidArgumentError, "softmax_scale", "allowed: a finite number", scale=scale)
        self.refuse(InvalidArgumentError, "softmax_scale", "inf", scale=1e300)
        self.refuse(InvalidArgumentError, "softcap", "softcap is nan", softcap=float("nan"))
        for window in (5, (1,), (1, 2, 3), (1.0, 2), (True, None), [1, 2]):
            self.refuse(InvalidArgumentError, "window", "window is", window=window)
        self.refuse(InvalidArgumentError, "window_left", "64 bits", window=(2**63, None))
        self.refuse(InvalidArgumentError, "kernel", "up to 127 bytes", kernel="k" * 128)
        self.refuse(InvalidArgumentError, "kernel", "kernel is None", kernel=None)
        for stream in (-1, 1.5, True, 2**64):
            self.refuse(InvalidArgumentError, "stream", "allowed: a CUstream", stream=stream)
        self.refuse(InvalidArgumentError, "kernel", "no_such_kernel", kernel="no_such_kernel")

    def test_features_belong_to_the_heads(self):
        heads = self.query.shape[2]
        self.refuse(InvalidArgumentError, "attention_chunk", "allowed: a number of keys", chunk=2.0)
        self.refuse(InvalidArgumentError, "attention_chunk", "-1", chunk=-1)
        for name in ("alibi_slopes", "sinks"):
            self.refuse(InvalidArgumentError, name, "by the heads of query", **{name: np.zeros(heads + 1, dtype=np.float32)})
            self.refuse(UnsupportedError, f"{name}.dtype" if name == "sinks" else name, "allowed: float32", **{name: np.zeros(heads, dtype=np.float16)})
        self.refuse(InvalidArgumentError, "alibi_slopes", "stride", alibi_slopes=np.zeros(2 * heads, dtype=np.float32)[::2])

    def test_biases_and_masks_belong_to_the_scores(self):
        queries, heads, keys = *self.query.shape[1:3], self.key.shape[1]
        for field, dtype in (("bias", np.float32), ("mask", bool)):
            for shape in ((keys + 1,), (queries + 1, keys), (1, 1, 1, 1, keys), (heads + 1, 1, keys)):
                self.refuse(InvalidArgumentError, field, "what broadcasts to", **{field: np.zeros(shape, dtype=dtype)})
            self.refuse(InvalidArgumentError, field, "one number for all scores", **{field: np.ones((1, 1), dtype=dtype)})
            self.refuse(InvalidArgumentError, f"{field}.stride[3]", "-1", **{field: np.ones(keys, dtype=dtype)[::-1]})
        self.refuse(UnsupportedError, "bias.dtype", "allowed: float16, bfloat16, float32", bias=np.zeros(keys, dtype=bool))
        self.refuse(UnsupportedError, "mask.dtype", "allowed: bool", mask=np.zeros(keys, dtype=np.float32))

    def test_what_the_library_does_not_do_is_refused_by_it(self):
        """Each of these is computed or refused for its own field; which one is the library's business."""
        heads = self.query.shape[2]
        for field, options in (("softcap", {"softcap": 0.5}), ("window_left", {"window": (1, None)}), ("window_right", {"window": (None, 1)}),
                               ("attention_chunk", {"chunk": 2}), ("alibi_slopes", {"alibi_slopes": np.ones(heads, dtype=np.float32)}),
                               ("sinks", {"sinks": np.ones(heads, dtype=np.float32)})):
            try:
                self.context.attention(self.query, self.key, self.value, **options)
            except UnsupportedError as refusal:
                self.assertIn(refusal.field, (field, "flags"))
            else:
                plain = self.context.attention(self.query, self.key, self.value)
                self.assertFalse(np.array_equal(plain, self.context.attention(self.query, self.key, self.value, **options)), field)

    def test_wrong_contexts(self):
        for device in ("gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:1:2", ""):
            self.refused(InvalidArgumentError, "device", f"device is {device!r}", lambda device=device: flashcore.Context(device))
        self.refused(InvalidArgumentError, "cpu_threads", "-1", lambda: flashcore.Context("cpu", cpu_threads=-1))
        self.refused(InvalidArgumentError, "cache_mode", "'on'", lambda: flashcore.Context("cpu", cache_mode="on"))
        self.refused(InvalidArgumentError, "jit_mode", "'on'", lambda: flashcore.Context("cpu", jit_mode="on"))
        self.refused(InvalidArgumentError, "address_checks", "'on'", lambda: flashcore.Context("cpu", address_checks="on"))
        self.refused(InvalidArgumentError, "module_path", "1024 bytes", lambda: flashcore.Context("cpu", module_path="/" * 1024))
        self.refused(InvalidArgumentError, "cache_directory", "none of them zero", lambda: flashcore.Context("cpu", cache_directory="/a\0"))

    def test_wrong_device_arrays(self):
        self.refused(InvalidArgumentError, "dtype", "'half'", lambda: self.context.empty((1,), "half"))
        self.refused(InvalidArgumentError, "shape", "sizes of 0 or more", lambda: self.context.empty((-1,), "float16"))
        self.refused(InvalidArgumentError, "shape", "2^63", lambda: self.context.empty((2**62, 4), "float16"))
        array = self.context.to_device(self.query)
        self.refused(InvalidArgumentError, "array", "shape [2, 9, 2, 64]", lambda: array.copy_from(self.key))
        self.refused(InvalidArgumentError, "array.dtype", "float32", lambda: array.copy_to(self.query.astype(np.float32)))
        self.refused(InvalidArgumentError, "array", "contiguous", lambda: array.copy_from(np.repeat(self.query, 2, 3)[..., ::2]))


class FakeWritable:
    def __init__(self, array):
        address, _ = array.__array_interface__["data"]
        self.array, self.__array_interface__ = array, {**array.__array_interface__, "data": (address, False)}


class TestErrors(unittest.TestCase):
    def test_classes_fit_the_built_in_ones(self):
        for kind, built_in in ((InvalidArgumentError, ValueError), (UnsupportedError, NotImplementedError),
                               (flashcore.OutOfHostMemoryError, MemoryError), (flashcore.OutOfDeviceMemoryError, MemoryError),
                               (flashcore.ClosedError, InvalidArgumentError), (flashcore.CudaError, RuntimeError)):
            self.assertTrue(issubclass(kind, built_in) and issubclass(kind, flashcore.FlashcoreError))

    def test_all_that_an_error_says(self):
        from flashcore import _abi_table as abi
        from flashcore._errors import check
        error = abi.Error(status=abi.CUDA_ERROR, driver_code=700, field=b"key.data", message="größer".encode())
        with self.assertRaises(flashcore.CudaError) as caught:
            check(abi.CUDA_ERROR, error)
        found = caught.exception
        self.assertEqual((found.status, found.status_code, found.driver_code, found.field, found.message),
                         ("CUDA_ERROR", 50, 700, "key.data", "größer"))
        self.assertEqual(str(found), "CUDA_ERROR (key.data): größer")
        with self.assertRaises(flashcore.UnknownStatusError) as caught:
            check(12345, error)
        self.assertEqual((caught.exception.status, caught.exception.status_code), ("UNKNOWN", 12345))

    def test_pickled_errors_are_whole(self):
        import pickle
        error = pickle.loads(pickle.dumps(UnsupportedError("why", "field", 3)))
        self.assertEqual((type(error), error.message, error.field, error.driver_code), (UnsupportedError, "why", "field", 3))


if __name__ == "__main__":
    support.main()
