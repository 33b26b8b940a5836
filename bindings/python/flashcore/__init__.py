# SPDX-License-Identifier: Apache-2.0
"""flashcore: fused scaled-dot-product attention on NVIDIA GPUs, and on the CPU by the same numbers. Pure ctypes.

    with flashcore.Context("cpu") as context:
        output = context.attention(query, key, value, causal="bottom_right")   # [batch, seqlen, heads, head_dim]

query, key and value are PyTorch tensors, NumPy arrays, or objects with DLPack or __cuda_array_interface__.
flashcore.torch has the functions for PyTorch, flashcore.transformers the one for Hugging Face Transformers; neither is
imported before it is asked for. Failures are FlashcoreError, one class per status, with .status, .field and .message.
"""
from typing import Any

from . import _context
from ._append import Append
from ._context import Context, ContextInfo, DeviceInfo, Explanation, describe_device, device_count, version
from ._device_array import DeviceArray
from ._errors import (ClosedError, CompileFailedError, CompilerUnavailableError, ContextLostError, CudaError, DeviceNotReadyError,
                      DriverTooOldError, FileError, FlashcoreError, ForkedError, InternalError, InvalidArgumentError, ModuleCorruptError,
                      NoDeviceError, NoDriverError, NotPreparedError, OutOfDeviceMemoryError, OutOfHostMemoryError, UnknownStatusError,
                      UnsupportedError, WorkspaceTooSmallError)
from ._execution import Execution
from ._sequences import Sequences
from ._variant import Variant

__all__ = [
    "Append", "ClosedError", "CompileFailedError", "CompilerUnavailableError", "Context", "ContextInfo", "ContextLostError", "CudaError",
    "DeviceArray", "DeviceInfo", "DeviceNotReadyError", "DriverTooOldError", "Execution", "Explanation", "FileError", "FlashcoreError",
    "ForkedError", "InternalError", "InvalidArgumentError", "ModuleCorruptError", "NoDeviceError", "NoDriverError", "NotPreparedError",
    "OutOfDeviceMemoryError", "OutOfHostMemoryError", "Sequences", "UnknownStatusError", "UnsupportedError", "Variant",
    "WorkspaceTooSmallError", "describe_device", "device_count", "version",
]


def _torch_attention(*given: Any, **options: Any) -> Any:
    """flashcore.torch.attention, imported when the first tensor comes, and in this one's place from then on."""
    from .torch import attention
    _context.torch_attention = attention
    return attention(*given, **options)


_context.torch_attention = _torch_attention


def __getattr__(name: str) -> str:
    if name == "__version__":  # of the library, which is not loaded before it is asked
        return version()
    raise AttributeError(f"module 'flashcore' has no attribute {name!r}")
