# SPDX-License-Identifier: Apache-2.0
"""Arrays of others, looked at without copying: PyTorch tensors, NumPy's __array_interface__, __cuda_array_interface__ and
DLPack. All end as a View; none of the libraries is imported here."""
from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple, Optional

from . import _abi_table as abi
from ._errors import InvalidArgumentError, UnsupportedError

DTYPE_NAMES = {"float16": abi.DTYPE_FLOAT16, "bfloat16": abi.DTYPE_BFLOAT16, "float32": abi.DTYPE_FLOAT32,
               "float8_e4m3fn": abi.DTYPE_FLOAT8_E4M3, "float8_e5m2": abi.DTYPE_FLOAT8_E5M2, "int32": abi.DTYPE_INT32,
               "int64": abi.DTYPE_INT64}
NAMES_OF_DTYPES = {code: name for name, code in DTYPE_NAMES.items()}
ELEMENT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float8_e4m3fn": 1, "float8_e5m2": 1, "int32": 4, "int64": 8, "bool": 1, "uint8": 1}
# What 16 bits without a meaning of their own are called; they are bfloat16 when the caller says so.
BITS16 = "16 bits"
TYPESTRS = {"<f2": "float16", "<f4": "float32", "<i4": "int32", "<i8": "int64", "<u2": BITS16, "<i2": BITS16, "<V2": BITS16,
            "|V2": BITS16, "|b1": "bool", "|u1": "uint8"}


class View(NamedTuple):
    """An array's memory. Strides count elements; dtype is a name of ELEMENT_BYTES, BITS16, or a foreign name."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    device: str  # "cpu" or "cuda"
    ordinal: Optional[int]  # of a CUDA device; None where the protocol does not tell
    read_only: bool
    keep: Any  # holds the memory while the view is in use
    producer_stream: Optional[int] = None  # CUstream on which the memory is still being written; None: it is ready


class Place(NamedTuple):
    """Where memory must lie: "cpu", or "cuda" with the device's ordinal."""

    device: str
    ordinal: int


def check_place(name: str, device: str, ordinal: Optional[int], place: Place) -> None:
    if device != place.device or (device == "cuda" and ordinal not in (None, place.ordinal)):
        raise InvalidArgumentError(f"{name} is on {_device_words(device, ordinal)}; allowed: the context's device, "
                                   f"{_device_words(*place)}", name)


def _device_words(device: str, ordinal: Optional[int]) -> str:
    return device if ordinal is None or device == "cpu" else f"{device}:{ordinal}"


def is_torch_tensor(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def packed_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _element_strides(name: str, strides_bytes: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    for i, stride in enumerate(strides_bytes):
        if stride % item_bytes:
            raise InvalidArgumentError(f"{name} has a stride of {stride} bytes in dimension {i}; allowed: a multiple of its "
                                       f"{item_bytes} bytes per element", f"{name}.stride[{i}]")
    return tuple(stride // item_bytes for stride in strides_bytes)


def _torch_view(name: str, tensor: Any, values: bool) -> View:
    from . import _torch_checks as checks
    checks.refuse_layouts(name, tensor)
    if values:
        checks.refuse_gradients(name, tensor)
    checks.refuse_without_memory(name, tensor)
    if tensor.device.type not in ("cpu", "cuda"):
        raise InvalidArgumentError(f"{name} is a {tensor.layout} tensor on {tensor.device}; allowed: strided tensors on cpu or cuda", name)
    return View(tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype)[len("torch."):],
                tensor.device.type, tensor.device.index, False, tensor)


def exported_stream(name: str, interface: dict[str, Any]) -> Optional[int]:
    """The stream that version 3 of __cuda_array_interface__ names: work on the memory may still be under way there."""
    stream = interface.get("stream")
    if stream is not None and (isinstance(stream, bool) or not isinstance(stream, int) or not 1 <= stream < 2**64):
        raise InvalidArgumentError(f"{name} has a __cuda_array_interface__ with stream {stream!r}; allowed: None, 1 (the default stream), 2 (that "
                                   "of the thread) or a CUstream as a number", name)
    return stream


def _interface_view(name: str, array: Any, interface: dict[str, Any], device: str) -> View:
    typestr = interface["typestr"]
    item_bytes = int(typestr[2:])
    dtype = TYPESTRS.get(typestr, typestr)
    if dtype == BITS16 and str(getattr(array, "dtype", "")) == "bfloat16":  # of ml_dtypes, whose typestr says only "2 bytes"
        dtype = "bfloat16"
    if interface.get("mask") is not None:
        raise UnsupportedError(f"{name} has a mask; allowed: arrays without one", name)
    address, read_only = interface["data"]
    shape = tuple(interface["shape"])
    strides_bytes = interface.get("strides")
    strides = packed_strides(shape) if strides_bytes is None else _element_strides(name, tuple(strides_bytes), item_bytes)
    return View(address or 0, shape, strides, dtype, device, None, bool(read_only), array, exported_stream(name, interface))


# --- DLPack, version 0 ("dltensor") and 1 ("dltensor_versioned") --------------------------------------------------------

class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
                ("flags", ctypes.c_uint64), ("tensor", _DLTensor)]


_DL_READ_ONLY = 1  # bit of flags
_DL_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # CPU, CUDA, page-locked host memory, managed memory
_DL_TYPES = {(2, 16): "float16", (4, 16): "bfloat16", (2, 32): "float32", (0, 32): "int32", (0, 64): "int64", (1, 16): BITS16,
             (0, 16): BITS16, (6, 8): "bool", (1, 8): "uint8", (10, 8): "float8_e4m3fn", (12, 8): "float8_e5m2"}

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes, _capsule_pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
_capsule_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is_valid.argtypes, _capsule_is_valid.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int


def _export(array: Any, device_type: int, stream: int) -> Any:
    # The default stream is called 1 in this protocol; only CUDA producers take a stream.
    arguments = {"stream": stream or 1} if device_type in (2, 13) else {}
    try:
        return array.__dlpack__(max_version=(1, 0), **arguments)
    except TypeError:  # a producer from before version 1
        return array.__dlpack__(**arguments)


def _dlpack_view(name: str, array: Any, place: Place, stream: int) -> View:
    device_type, device_id = (int(number) for number in array.__dlpack_device__())
    if device_type not in _DL_DEVICES:
        raise InvalidArgumentError(f"{name} is on DLPack device type {device_type}; allowed: CPU (1), CUDA (2)", name)
    device, ordinal = _DL_DEVICES[device_type], device_id if device_type == 2 else None
    check_place(name, device, ordinal, place)  # before the producer is asked to copy or to wait
    capsule = _export(array, device_type, stream)
    read_only = type(array).__module__.partition(".")[0] in ("jax", "jaxlib")  # they never change, and may share memory with others
    if _capsule_is_valid(capsule, b"dltensor_versioned"):
        managed = _DLManagedTensorVersioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            raise UnsupportedError(f"{name} speaks DLPack {managed.major}.{managed.minor}; allowed: 0 and 1", name)
        tensor, read_only = managed.tensor, read_only or bool(managed.flags & _DL_READ_ONLY)
    else:
        tensor = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else packed_strides(shape)
    dtype = _DL_TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    foreign = f"DLPack type code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes"
    # The capsule stays unconsumed, so that its own destructor gives the memory back.
    return View((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype or foreign, device, ordinal, read_only,
                (array, capsule))


def view_of(name: str, array: Any, place: Place, stream: int = 0, values: bool = True) -> View:
    """The memory of `array`, which is argument `name` and must lie at `place`; TypeError where it speaks no protocol known here.
    values: what it holds is read or written; False where only its shape, type and place count."""
    interface = getattr(array, "__array_interface__", None)  # NumPy makes a new one every time
    if is_torch_tensor(array):
        view = _torch_view(name, array, values)
    elif interface is not None and not hasattr(array, "flashcore_view"):
        view = _interface_view(name, array, interface, "cpu")
    elif hasattr(array, "flashcore_view"):
        view = array.flashcore_view()
    elif hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        view = _dlpack_view(name, array, place, stream)
    elif hasattr(array, "__cuda_array_interface__"):
        view = _interface_view(name, array, array.__cuda_array_interface__, "cuda")
    else:
        raise TypeError(f"{name} is a {type(array).__name__}; allowed: a PyTorch tensor, a NumPy array, or an object with DLPack or "
                        "__cuda_array_interface__")
    check_place(name, view.device, view.ordinal, place)
    return view
