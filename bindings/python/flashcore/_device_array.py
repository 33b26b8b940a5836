# SPDX-License-Identifier: Apache-2.0
"""DeviceArray: memory of the library's own, for programs without PyTorch or CuPy. Works on the CPU device too."""
from __future__ import annotations

import ctypes
from typing import Any, Optional

from . import _abi_table as abi
from ._arrays import ELEMENT_BYTES, Place, View, packed_strides, view_of
from ._errors import ClosedError, InvalidArgumentError, check
from ._native import Native, Opened

HOST = Place("cpu", 0)
_TYPESTRS = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "int32": "<i4", "int64": "<i8", "float8_e4m3fn": "|u1",
             "float8_e5m2": "|u1", "bool": "|b1", "uint8": "|u1"}


class DeviceArray:
    """Contiguous memory on a context's device, uninitialised: Context.empty() and Context.to_device() make it.

    Others take it through __cuda_array_interface__ (torch.as_tensor, cupy.asarray) or, on the CPU device, __array_interface__;
    they see bfloat16 as uint16. It keeps its context's device open. Freed by free() or with the last reference, when work that
    uses it must have finished.
    """

    def __init__(self, context: Opened, shape: tuple[int, ...], dtype: str) -> None:
        self._native: Optional[Native] = None
        if dtype not in ELEMENT_BYTES:
            raise InvalidArgumentError(f"dtype is {dtype!r}; allowed: {', '.join(ELEMENT_BYTES)}", "dtype")
        if any(size < 0 for size in shape):
            raise InvalidArgumentError(f"shape is {shape}; allowed: sizes of 0 or more", "shape")
        self.shape, self.dtype, self.device, self.ordinal = tuple(shape), dtype, context.device, context.ordinal
        self.bytes = ELEMENT_BYTES[dtype]
        for size in shape:
            self.bytes *= size
        if self.bytes >= 2**63:
            raise InvalidArgumentError(f"shape is {shape}, {self.bytes} bytes; allowed: less than 2^63", "shape")
        native, address, error = context.native(), ctypes.c_uint64(), abi.Error()
        check(native.library.flashcore_buffer_alloc(native.handle, self.bytes, ctypes.byref(address), error), error)
        self._native, self._address = native, address.value
        native.buffers.add(self._address)

    def free(self) -> None:
        """Give the memory back now; every use after that is a ClosedError. Twice is allowed."""
        native, self._native = self._native, None
        if native is not None and self._address in native.buffers:  # else the device has gone, and taken its memory with it
            native.buffers.discard(self._address)
            error = abi.Error()
            check(native.library.flashcore_buffer_free(native.handle, self._address, error), error)

    def __del__(self) -> None:
        self.free()

    @property
    def address(self) -> int:
        """The device address of the first element."""
        self._open()
        return self._address

    def copy_from(self, array: Any, stream: int = 0) -> None:
        """Copy a contiguous host array of the same shape and element size here, ordered on the stream."""
        native, error, source = self._open(), abi.Error(), self._host_address("array", array)
        check(native.library.flashcore_copy_to_device(native.handle, self._address, source, self.bytes, stream, error), error)

    def copy_to(self, array: Any, stream: int = 0) -> None:
        """Copy to a contiguous host array of the same shape and element size, after the work on the stream; it is there on return."""
        native, error, destination = self._open(), abi.Error(), self._host_address("array", array, written=True)
        check(native.library.flashcore_copy_to_host(native.handle, destination, self._address, self.bytes, stream, error), error)
        check(native.library.flashcore_stream_synchronize(native.handle, stream, error), error)

    def to_numpy(self, stream: int = 0) -> Any:
        """A NumPy array with the values; bfloat16 as uint16."""
        import numpy
        array = numpy.empty(self.shape, _TYPESTRS[self.dtype])
        self.copy_to(array, stream)
        return array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._interface("cpu")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._interface("cuda")

    def _interface(self, device: str) -> dict[str, Any]:
        if device != self.device:  # hasattr() is then False, which is how others find out where the memory is
            raise AttributeError(f"this DeviceArray is on {self.device}")
        return {"shape": self.shape, "typestr": _TYPESTRS[self.dtype], "data": (self.address, False), "strides": None, "version": 3}

    def flashcore_view(self) -> View:
        """What attention() needs to know of it."""
        return View(self.address, self.shape, packed_strides(self.shape), self.dtype, self.device, self.ordinal, False, self)

    def __repr__(self) -> str:
        return f"<flashcore.DeviceArray {list(self.shape)} {self.dtype} on {self.device}>"

    def _open(self) -> Native:
        if self._native is None:
            raise ClosedError("this array was freed", "array")
        return self._native

    def _host_address(self, name: str, array: Any, written: bool = False) -> int:
        view = view_of(name, array, HOST)
        if view.shape != self.shape or view.strides != packed_strides(view.shape):
            raise InvalidArgumentError(f"{name} has shape {list(view.shape)}, strides {list(view.strides)}; allowed: "
                                       f"contiguous host memory of shape {list(self.shape)}", name)
        if ELEMENT_BYTES.get(view.dtype, 2) != ELEMENT_BYTES[self.dtype]:
            raise InvalidArgumentError(f"{name} is {view.dtype}; allowed: {self.dtype}", f"{name}.dtype")
        if written and view.read_only:
            raise InvalidArgumentError(f"{name} is read-only", name)
        return view.address
