# SPDX-License-Identifier: Apache-2.0
"""What a context is to those who call the library in its name: DeviceArray, and the calls of flashcore.torch."""
from __future__ import annotations

import threading
import warnings
from typing import Any, Protocol

from ._abi import load_library


class Native:
    """A flashcore_context and its last owner. Whoever calls the library holds a reference for the time of the call, so that
    close() on another thread never destroys a context in use: the last reference does it.

    A GPU context that was dropped without close() is left to the process: kernels may still be running in its modules.
    """

    def __init__(self, handle: int) -> None:
        self.library, self.handle = load_library(), handle
        self.closed = False
        self.synchronous = True  # nothing is running when a call has returned
        self.kept = False  # until the process ends
        self.buffers: set[int] = set()  # memory that DeviceArrays hold
        self.variants: dict[tuple[str, int], int] = {}  # numbers of texts, with the bytes of their blocks; they go with the context
        self.variants_lock = threading.Lock()

    def __del__(self, warn: Any = warnings.warn, warning: Any = ResourceWarning) -> None:
        if self.kept:
            return
        if not self.closed:
            warn("a flashcore.Context was not closed", warning, source=self)
        if self.closed or self.synchronous:
            # Arrays in the same circle of garbage come in any order, and may still be to come.
            while self.buffers:
                self.library.flashcore_buffer_free(self.handle, self.buffers.pop(), None)
            self.library.flashcore_context_destroy(self.handle)


class Opened(Protocol):
    """A Context, as DeviceArray knows it."""

    device: str
    ordinal: int

    def native(self) -> Native:
        """The open handle; ClosedError after close()."""
