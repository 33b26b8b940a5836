# SPDX-License-Identifier: Apache-2.0
"""_flashcore_torch without PyTorch: against tensors and an exchange interface made of ctypes. test_torch.py has the rest."""
import ctypes
import sys
import types
import unittest

import support
from support import np

import flashcore
from flashcore import _abi_table as abi
from flashcore import _errors, _problem
from flashcore._arrays import view_of
from flashcore._device_array import HOST

try:
    from flashcore import _flashcore_torch as native  # of a wheel
except ImportError:
    try:
        import _flashcore_torch as native  # of a build tree
    except ImportError:
        native = None

CPU = 1
SHAPE = (2, 3, 4, 8)
OPTIONS = ("none", None, 0.0, (None, None), "bshd", None, "", True)


class DlTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("ordinal", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


LOOK = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DlTensor))
STREAM = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))


class ExchangeApi(ctypes.Structure):
    pass


ExchangeApi._fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("older", ctypes.POINTER(ExchangeApi)),
                        ("unused", ctypes.c_void_p * 3), ("look", LOOK), ("stream", STREAM)]


class Tensor:
    """float16 on the CPU. 16 bytes of its address are given as an offset, as some frameworks do."""

    def __init__(self, array=None, ordinal=0):
        self.array = np.zeros(SHAPE, np.float16) if array is None else array
        self.requires_grad, self.ordinal = False, ordinal
        self.shape = (ctypes.c_int64 * self.array.ndim)(*self.array.shape)
        self.strides = (ctypes.c_int64 * self.array.ndim)(*(stride // 2 for stride in self.array.strides))


@LOOK
def look(tensor, out):
    if isinstance(tensor, Parameter):  # has no memory
        return -1
    out[0] = DlTensor(tensor.array.ctypes.data - 16, CPU, tensor.ordinal, tensor.array.ndim, 2, 16, 1, tensor.shape, tensor.strides, 16)
    return 0


@STREAM
def current_stream(_device_type, _ordinal, out):
    out[0] = None
    return 0


class Parameter(Tensor):
    pass


def capsule(api, name=b"dlpack_exchange_api"):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(api), name, None)


def refuse(status, error):
    _errors.check(status, abi.Error.from_buffer_copy(error))


@support.needs_numpy
@unittest.skipIf(native is None, "_flashcore_torch is not built (Python's headers are missing), or not on PYTHONPATH")
class TestTorchNative(support.ContextTest):
    API = ExchangeApi(1, 3, None, (ctypes.c_void_p * 3)(), look, current_stream)

    def configure(self, exchange=None, **changes):
        self.gradients, self.modes = False, 0
        native.configure(capsule(self.API) if exchange is None else exchange, Tensor, Parameter, lambda: self.gradients, lambda: self.modes,
                         changes.get("refuse", refuse))

    def setUp(self):
        super().setUp()
        self.configure()
        handle = self.context.native()
        self.function = ctypes.cast(handle.library.flashcore_attention_fwd, ctypes.c_void_p).value
        self.calls = native.Calls(handle, self.function, handle.handle, CPU, 0)

    def remember(self, tensors, options=OPTIONS, new=Tensor, new_arguments=(), **changes):
        made = _problem.Problem("bshd")
        made.set_inputs(*(view_of(name, tensor.array, HOST) for name, tensor in zip(("query", "key", "value"), tensors)), None)
        made.set_output_strides(tuple(tensors[0].strides))
        for name, value in changes.items():
            setattr(made.args, name, value)
        return self.calls.remember(tensors, options, bytes(made.args), new, new_arguments)

    def test_computes(self):
        for seed in range(3):
            arrays = support.random_inputs(seed, 2, 3, 3, 4, 4, 8)
            tensors = tuple(Tensor(array) for array in arrays)
            self.assertIs(self.calls.run(*tensors, *OPTIONS) is None, seed == 0)
            self.assertIs(self.remember(tensors), True)
            np.testing.assert_allclose(self.calls.run(*tensors, *OPTIONS).array, support.reference(*arrays)[0], atol=2e-3)
        self.assertEqual(len(self.calls), 1)

    def test_tells_apart(self):
        one = (Tensor(), Tensor(), Tensor())
        self.remember(one)
        wide = np.zeros((2, 3, 8, 8), np.float16)
        for index in range(3):
            for other in (Tensor(np.zeros((2, 2, 4, 8), np.float16)), Tensor(wide[:, :, ::2]), Tensor(ordinal=1), Tensor(np.zeros((2, 3, 8), np.float16))):
                given = list(one)
                given[index] = other
                self.assertIsNone(self.calls.run(*given, *OPTIONS))
        for index, other in enumerate(("top_left", 0.5, 1.0, (1, None), "bhsd", "bhsd", "cpu", False)):
            options = list(OPTIONS)
            options[index] = other
            self.assertIsNone(self.calls.run(*one, *options))
        self.assertIsNotNone(self.calls.run(*one, *OPTIONS))

    def test_what_pytorch_must_see(self):
        tensors = (Tensor(), Tensor(), Tensor())
        self.remember(tensors)
        self.modes = 1
        self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
        self.modes, self.gradients = 0, True
        self.assertIsNotNone(self.calls.run(*tensors, *OPTIONS))
        tensors[1].requires_grad = True
        self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
        self.assertIs(self.remember(tensors), False)
        self.gradients = False
        self.assertIsNotNone(self.calls.run(*tensors, *OPTIONS))
        self.assertIsNone(self.calls.run(Tensor(), Parameter(), Tensor(), *OPTIONS))
        self.assertIsNone(self.calls.run(Tensor(), None, Tensor(), *OPTIONS))
        self.assertIsNone(self.calls.run(Tensor(), type("Sub", (Tensor,), {})(), Tensor(), *OPTIONS))

    def test_what_else_pytorch_must_see(self):
        """Other modes, levels of forward-mode differentiation, memory that is not what the tensor holds: now, and not only once."""
        tensors = (Tensor(), Tensor(), Tensor())
        watching, level = [False, False], types.SimpleNamespace(_current_level=-1)
        native.configure(capsule(self.API), Tensor, Parameter, lambda: False, lambda: 0, refuse, (lambda: watching[0], lambda: watching[1]), level,
                         ("is_neg", "is_odd"))
        for tensor in tensors:
            tensor.is_neg = tensor.is_odd = lambda: False
        self.assertIs(self.remember(tensors), True)
        self.assertIsNotNone(self.calls.run(*tensors, *OPTIONS))
        for one in range(2):
            watching[one] = True
            self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
            self.assertIs(self.remember(tensors), False)
            watching[one] = False
        level._current_level = 0
        self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
        level._current_level = -1
        for tensor in tensors:
            for name in ("is_neg", "is_odd"):
                setattr(tensor, name, lambda: True)
                self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
                setattr(tensor, name, lambda: False)
        self.assertIsNotNone(self.calls.run(*tensors, *OPTIONS))

        def broken():
            raise ZeroDivisionError("as the test wants")
        tensors[1].is_odd = broken
        with self.assertRaises(ZeroDivisionError):
            self.calls.run(*tensors, *OPTIONS)
        tensors[1].is_odd = lambda: False
        del level._current_level
        with self.assertRaises(AttributeError):
            self.calls.run(*tensors, *OPTIONS)
        level._current_level = "none"
        with self.assertRaises(TypeError):
            self.calls.run(*tensors, *OPTIONS)

    def test_defaults_and_close(self):
        tensors = (Tensor(ordinal=5), Tensor(ordinal=5), Tensor(ordinal=5))
        handle = self.context.native()
        self.calls = native.Calls(handle, self.function, handle.handle, CPU, 5)
        self.remember(tensors)
        self.assertIsNone(native.run(*tensors, *OPTIONS))
        self.calls.set_default()
        self.assertIsNotNone(native.run(*tensors, *OPTIONS))
        self.calls.close()
        self.assertIsNone(native.run(*tensors, *OPTIONS))
        self.assertIs(self.remember(tensors), False)
        self.assertEqual(len(self.calls), 0)

    def test_errors(self):
        tensors = (Tensor(), Tensor(), Tensor())
        self.remember(tensors, heads_kv=3)
        self.refused(flashcore.InvalidArgumentError, "heads_kv", "divisor", lambda: self.calls.run(*tensors, *OPTIONS))
        self.configure(refuse=lambda status, error: None)
        with self.assertRaisesRegex(SystemError, "status 10"):
            self.calls.run(*tensors, *OPTIONS)
        with self.assertRaisesRegex(TypeError, "3 tensors and 8 options; it got 3"):
            self.calls.run(*tensors)
        with self.assertRaisesRegex(ValueError, f"args has 3 bytes; allowed: {ctypes.sizeof(abi.AttentionArgs)}"):
            self.calls.remember(tensors, OPTIONS, b"abc", Tensor, ())

        def broken():
            raise ZeroDivisionError("as the test wants")
        self.calls = native.Calls(self.context.native(), self.function, self.context.native().handle, CPU, 0)
        self.remember(tensors, new=broken)
        with self.assertRaises(ZeroDivisionError):
            self.calls.run(*tensors, *OPTIONS)

    def test_forgets_when_there_are_many(self):
        tensors = (Tensor(), Tensor(), Tensor())
        for scale in range(1100):
            self.remember(tensors, (*OPTIONS[:1], float(scale), *OPTIONS[2:]))
            self.assertLessEqual(len(self.calls), 1024)
        self.assertGreater(len(self.calls), 0)

    def test_nothing_leaks(self):
        tensors = (Tensor(), Tensor(), Tensor())
        scale = 12345.678
        self.remember(tensors, (*OPTIONS[:1], scale, *OPTIONS[2:]))
        counted = (*tensors, Tensor, refuse, OPTIONS[0])
        before = [sys.getrefcount(one) for one in counted]
        for _ in range(100):
            self.assertIsNotNone(self.calls.run(*tensors, OPTIONS[0], scale, *OPTIONS[2:]))
            self.assertIsNone(self.calls.run(*tensors, *OPTIONS))
        self.assertEqual([sys.getrefcount(one) for one in counted], before)
        held = sys.getrefcount(scale)
        self.calls.close()
        self.assertEqual(sys.getrefcount(scale), held - 1)

    def test_other_interfaces(self):
        with self.assertRaisesRegex(ImportError, "no torch.Tensor.__dlpack_c_exchange_api__"):
            self.configure(exchange=capsule(self.API, b"another"))
        newer = ExchangeApi(2, 0, ctypes.pointer(self.API), (ctypes.c_void_p * 3)(), look, current_stream)
        self.configure(exchange=capsule(newer))
        newer.older = None
        with self.assertRaisesRegex(ImportError, "major version 2; this build of flashcore knows 1"):
            self.configure(exchange=capsule(newer))


if __name__ == "__main__":
    support.main()
