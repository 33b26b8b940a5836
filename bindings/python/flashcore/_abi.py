# SPDX-License-Identifier: Apache-2.0
"""Finds and loads libflashcore.so.1 and gives its functions their prototypes. The declarations stand in _abi_table.py."""
from __future__ import annotations

import ctypes
import os
import threading
from typing import Optional

from . import _abi_table as abi

LIBRARY_NAME = "libflashcore.so.1"
_lock = threading.Lock()
_loaded: Optional[ctypes.CDLL] = None


def library_candidates() -> list[str]:
    """What is tried, in this order: the path in FLASHCORE_LIBRARY and nothing else; the copy beside this file, which a wheel
    brings; what the system's loader finds (LD_LIBRARY_PATH, ldconfig)."""
    named = os.environ.get("FLASHCORE_LIBRARY", "")
    if named:
        return [named]
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), LIBRARY_NAME)
    return [beside, LIBRARY_NAME] if os.path.exists(beside) else [LIBRARY_NAME]


def _open() -> ctypes.CDLL:
    path = library_candidates()[0]
    try:
        return ctypes.CDLL(path)
    except OSError as reason:
        raise ImportError(f"{path} could not be loaded: {reason}. Name the library with FLASHCORE_LIBRARY, install the flashcore "
                          "wheel, which brings it, or run ldconfig after \"meson install\".") from reason


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in abi.PROTOTYPES.items():
        try:
            function = getattr(library, name)
        except AttributeError as reason:
            raise ImportError(f"{library._name} has no function {name}: it is older than this package") from reason
        function.argtypes, function.restype = arguments, result
    return library


def load_library() -> ctypes.CDLL:
    """The library, loaded once per process. ImportError where there is none."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _declare(_open())
    return _loaded
