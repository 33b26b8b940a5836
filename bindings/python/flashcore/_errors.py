# SPDX-License-Identifier: Apache-2.0
"""One exception per status of the library, with the field at fault. Each fits a built-in class where Python has one."""
from __future__ import annotations

from . import _abi_table as abi
from ._abi import load_library


class FlashcoreError(RuntimeError):
    """A status other than OK.

    status: its name, "INVALID_ARGUMENT"; status_code: its number; field: the argument at fault, "key.stride[1]", or "";
    message: what was given, what is allowed, what to do next; driver_code: the CUresult or nvrtcResult behind it, or 0.
    """

    status = "INTERNAL"
    status_code = abi.INTERNAL

    def __init__(self, message: str, field: str = "", driver_code: int = 0) -> None:
        super().__init__(message, field, driver_code)
        self.message, self.field, self.driver_code = message, field, driver_code

    def __str__(self) -> str:
        return f"{self.status}{' (' + self.field + ')' if self.field else ''}: {self.message}"


class InvalidArgumentError(FlashcoreError, ValueError):
    status, status_code = "INVALID_ARGUMENT", abi.INVALID_ARGUMENT


class UnsupportedError(FlashcoreError, NotImplementedError):
    status, status_code = "UNSUPPORTED", abi.UNSUPPORTED


class NotPreparedError(FlashcoreError):
    status, status_code = "NOT_PREPARED", abi.NOT_PREPARED


class WorkspaceTooSmallError(FlashcoreError):
    status, status_code = "WORKSPACE_TOO_SMALL", abi.WORKSPACE_TOO_SMALL


class OutOfHostMemoryError(FlashcoreError, MemoryError):
    status, status_code = "OUT_OF_HOST_MEMORY", abi.OUT_OF_HOST_MEMORY


class OutOfDeviceMemoryError(FlashcoreError, MemoryError):
    status, status_code = "OUT_OF_DEVICE_MEMORY", abi.OUT_OF_DEVICE_MEMORY


class NoDriverError(FlashcoreError):
    status, status_code = "NO_DRIVER", abi.NO_DRIVER


class DriverTooOldError(FlashcoreError):
    status, status_code = "DRIVER_TOO_OLD", abi.DRIVER_TOO_OLD


class NoDeviceError(FlashcoreError):
    status, status_code = "NO_DEVICE", abi.NO_DEVICE


class DeviceNotReadyError(FlashcoreError):
    status, status_code = "DEVICE_NOT_READY", abi.DEVICE_NOT_READY


class CompilerUnavailableError(FlashcoreError):
    status, status_code = "COMPILER_UNAVAILABLE", abi.COMPILER_UNAVAILABLE


class CompileFailedError(FlashcoreError):
    status, status_code = "COMPILE_FAILED", abi.COMPILE_FAILED


class ModuleCorruptError(FlashcoreError):
    status, status_code = "MODULE_CORRUPT", abi.MODULE_CORRUPT


class CudaError(FlashcoreError):
    status, status_code = "CUDA_ERROR", abi.CUDA_ERROR


class ContextLostError(FlashcoreError):
    status, status_code = "CONTEXT_LOST", abi.CONTEXT_LOST


class ForkedError(FlashcoreError):
    status, status_code = "FORKED", abi.FORKED


class FileError(FlashcoreError):
    status, status_code = "IO_ERROR", abi.IO_ERROR


class InternalError(FlashcoreError):
    status, status_code = "INTERNAL", abi.INTERNAL


class ClosedError(InvalidArgumentError):
    """Use of a context, or of what was made through it, after close()."""


BY_STATUS = {kind.status_code: kind for kind in FlashcoreError.__subclasses__()}


class UnknownStatusError(FlashcoreError):
    """A status that this package does not know, because the library is newer."""

    status, status_code = "UNKNOWN", -1


def check(status: int, error: abi.Error) -> None:
    """Raise what `status` stands for; nothing when it is OK. `error` is what the call filled."""
    if status == abi.OK:
        return
    # The name of a file may be no UTF-8.
    message, field, driver_code = error.message.decode(errors="backslashreplace"), error.field.decode(), error.driver_code
    if status in BY_STATUS:
        raise BY_STATUS[status](message, field, driver_code)
    unknown = UnknownStatusError(message, field, driver_code)
    unknown.status, unknown.status_code = load_library().flashcore_status_name(status).decode(), status
    raise unknown
