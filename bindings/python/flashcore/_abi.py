# SPDX-License-Identifier: Apache-2.0
"""The C ABI of include/flashcore/flashcore.h in ctypes: structs, constants, prototypes. Nothing is computed here."""
import ctypes
import os

DTYPE_FLOAT16, DTYPE_BFLOAT16 = 1, 2
CAUSAL_NONE, CAUSAL_TOP_LEFT, CAUSAL_BOTTOM_RIGHT = 0, 1, 2
LSE_NATURAL, LSE_BASE2 = 0, 1
DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA = 0, 1, 2
FLAG_SOFTMAX_SCALE = 1
OK = 0

_i32, _u32, _i64, _u64, _f32, _f64 = (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_float,
                                      ctypes.c_double)


class _Sized(ctypes.Structure):
    """A struct that begins with struct_size, which is set on creation."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **fields)


class Error(_Sized):
    _fields_ = [("struct_size", _u32), ("status", _i32), ("driver_code", _i32), ("reserved", _i32),
                ("field", ctypes.c_char * 64), ("message", ctypes.c_char * 1024)]


class ContextOptions(_Sized):
    _fields_ = [("struct_size", _u32), ("device_kind", _i32), ("device_ordinal", _i32), ("cpu_threads", _i32),
                ("cache_mode", _i32), ("jit_mode", _i32), ("cache_directory", ctypes.c_char * 1024),
                ("module_path", ctypes.c_char * 1024), ("nvrtc_library", ctypes.c_char * 1024)]


class DeviceInfo(_Sized):
    _fields_ = [("struct_size", _u32), ("kind", _i32), ("ordinal", _i32), ("arch", _i32), ("multiprocessors", _i32),
                ("shared_memory_per_block_optin_bytes", _i32), ("memory_bytes", _i64), ("driver_version", _i32),
                ("reserved", _i32), ("name", ctypes.c_char * 128)]


class ContextInfo(_Sized):
    _fields_ = [("struct_size", _u32), ("nvrtc_version", _i32), ("device", DeviceInfo), ("device_reason", ctypes.c_char * 512),
                ("cache_directory", ctypes.c_char * 1024), ("cache_warning", ctypes.c_char * 512)] + [
                    (name, _i64) for name in ("modules_from_process", "modules_from_shipped", "modules_from_user_cache",
                                              "modules_compiled", "cache_rejected", "cache_write_failures", "compile_us")]


class Tensor(ctypes.Structure):
    _fields_ = [("data", _u64), ("dtype", _i32), ("reserved", _i32), ("stride", _i64 * 4)]


class AttentionArgs(_Sized):
    _fields_ = ([("struct_size", _u32), ("flags", _u32), ("batch", _i64), ("seqlen_q", _i64), ("seqlen_kv", _i64),
                 ("heads_q", _i32), ("heads_kv", _i32), ("head_dim", _i32), ("head_dim_v", _i32)]
                + [(name, Tensor) for name in ("query", "key", "value", "output", "lse")]
                + [("softmax_scale", _f32), ("softcap", _f32), ("causal", _i32), ("lse_base", _i32), ("window_left", _i64),
                   ("window_right", _i64), ("attention_chunk", _i64), ("alibi_slopes", _u64), ("alibi_batch_stride", _i64),
                   ("bias", Tensor), ("mask", Tensor), ("sinks", Tensor), ("index_dtype", _i32), ("reserved0", _i32)]
                + [(name, _u64) for name in ("cu_seqlens_q", "cu_seqlens_kv", "seqused_q", "seqused_kv", "leftpad_kv",
                                             "kv_batch_index", "page_table", "page_table_value")]
                + [("page_table_stride", _i64), ("page_count", _i64), ("page_size", _i32), ("rotary_dim", _i32),
                   ("seqlen_new", _i64), ("new_key", Tensor), ("new_value", Tensor)]
                + [(name, _u64) for name in ("rotary_cos", "rotary_sin", "rotary_positions", "query_descale", "key_descale",
                                             "value_descale")]
                + [("descale_batch_stride", _i64), ("descale_head_stride", _i64), ("split_count", _i32),
                   ("multiprocessor_limit", _i32), ("split_tokens", _i64), ("workspace", _u64), ("workspace_bytes", _i64),
                   ("kernel", ctypes.c_char * 64)])


class Explanation(_Sized):
    _fields_ = [("struct_size", _u32), ("supported", _i32), ("kernel", ctypes.c_char * 64), ("module", ctypes.c_char * 128),
                ("tile_q", _i32), ("tile_kv", _i32), ("warps", _i32), ("stages", _i32), ("grid", _i32 * 3),
                ("threads_per_block", _i32), ("dynamic_shared_bytes", _i64), ("workspace_bytes", _i64), ("cost_us", _f64),
                ("reasons", ctypes.c_char * 4096)]


_PROTOTYPES = {
    "flashcore_context_create": [ctypes.POINTER(ContextOptions), ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(Error)],
    "flashcore_context_describe": [ctypes.c_void_p, ctypes.POINTER(ContextInfo), ctypes.POINTER(Error)],
    "flashcore_attention_fwd": [ctypes.c_void_p, ctypes.POINTER(AttentionArgs), ctypes.c_void_p, ctypes.POINTER(Error)],
    "flashcore_attention_prepare": [ctypes.c_void_p, ctypes.POINTER(AttentionArgs), ctypes.POINTER(Error)],
    "flashcore_attention_explain": [ctypes.c_void_p, ctypes.POINTER(AttentionArgs), ctypes.POINTER(Explanation),
                                    ctypes.POINTER(Error)],
}


def load_library():
    """libflashcore.so.1: the file named by FLASHCORE_LIBRARY, else the one that the system's loader finds."""
    library = ctypes.CDLL(os.environ.get("FLASHCORE_LIBRARY", "libflashcore.so.1"))
    for name, arguments in _PROTOTYPES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int32
    library.flashcore_context_destroy.argtypes, library.flashcore_context_destroy.restype = [ctypes.c_void_p], None
    library.flashcore_status_name.argtypes, library.flashcore_status_name.restype = [ctypes.c_int32], ctypes.c_char_p
    library.flashcore_version.argtypes, library.flashcore_version.restype = [], _u32
    return library
