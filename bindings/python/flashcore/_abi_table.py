# SPDX-License-Identifier: Apache-2.0
"""The declarations of flashcore.h in ctypes, field by field. Made by bindings/abi_table.py --update; edit the header instead.

A struct that begins with struct_size has it set when it is made. PROTOTYPES: {function: (result, [arguments])}.
"""
from ctypes import POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p, sizeof

_char, _text, _pointer = c_char, c_char_p, c_void_p
_i32, _u32, _i64, _u64, _f32, _f64 = c_int32, c_uint32, c_int64, c_uint64, c_float, c_double


class _Sized(Structure):
    def __init__(self, **fields):
        super().__init__(struct_size=sizeof(type(self)), **fields)


class Error(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("status", _i32),
        ("driver_code", _i32),
        ("reserved", _i32),
        ("field", _char * 64),
        ("message", _char * 1024),
    ]


class DeviceInfo(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("kind", _i32),
        ("ordinal", _i32),
        ("arch", _i32),
        ("multiprocessors", _i32),
        ("shared_memory_per_block_optin_bytes", _i32),
        ("memory_bytes", _i64),
        ("driver_version", _i32),
        ("reserved", _i32),
        ("name", _char * 128),
    ]


class ContextOptions(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("device_kind", _i32),
        ("device_ordinal", _i32),
        ("cpu_threads", _i32),
        ("cache_mode", _i32),
        ("jit_mode", _i32),
        ("cache_directory", _char * 1024),
        ("module_path", _char * 1024),
        ("nvrtc_library", _char * 1024),
        ("address_checks", _i32),
        ("reserved", _i32),
    ]


class ContextInfo(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("nvrtc_version", _i32),
        ("device_reason", _char * 512),
        ("cache_directory", _char * 1024),
        ("cache_warning", _char * 512),
        ("modules_from_process", _i64),
        ("modules_from_shipped", _i64),
        ("modules_from_user_cache", _i64),
        ("modules_compiled", _i64),
        ("cache_rejected", _i64),
        ("cache_write_failures", _i64),
        ("compile_us", _i64),
    ]


class Tensor(Structure):
    _fields_ = [
        ("data", _u64),
        ("dtype", _i32),
        ("reserved", _i32),
        ("stride", _i64 * 4),
    ]


class AttentionArgs(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("flags", _u32),
        ("batch", _i64),
        ("seqlen_q", _i64),
        ("seqlen_kv", _i64),
        ("heads_q", _i32),
        ("heads_kv", _i32),
        ("head_dim", _i32),
        ("head_dim_v", _i32),
        ("query", Tensor),
        ("key", Tensor),
        ("value", Tensor),
        ("output", Tensor),
        ("lse", Tensor),
        ("softmax_scale", _f32),
        ("softcap", _f32),
        ("causal", _i32),
        ("lse_base", _i32),
        ("window_left", _i64),
        ("window_right", _i64),
        ("attention_chunk", _i64),
        ("alibi_slopes", _u64),
        ("alibi_batch_stride", _i64),
        ("bias", Tensor),
        ("mask", Tensor),
        ("sinks", Tensor),
        ("index_dtype", _i32),
        ("reserved0", _i32),
        ("cu_seqlens_q", _u64),
        ("cu_seqlens_kv", _u64),
        ("seqused_q", _u64),
        ("seqused_kv", _u64),
        ("leftpad_kv", _u64),
        ("kv_batch_index", _u64),
        ("page_table", _u64),
        ("page_table_value", _u64),
        ("page_table_stride", _i64),
        ("page_count", _i64),
        ("page_size", _i32),
        ("rotary_dim", _i32),
        ("seqlen_new", _i64),
        ("new_key", Tensor),
        ("new_value", Tensor),
        ("rotary_cos", _u64),
        ("rotary_sin", _u64),
        ("rotary_positions", _u64),
        ("query_descale", _u64),
        ("key_descale", _u64),
        ("value_descale", _u64),
        ("descale_batch_stride", _i64),
        ("descale_head_stride", _i64),
        ("split_count", _i32),
        ("multiprocessor_limit", _i32),
        ("split_tokens", _i64),
        ("workspace", _u64),
        ("workspace_bytes", _i64),
        ("kernel", _char * 128),
        ("total_q", _i64),
        ("total_kv", _i64),
        ("kv_batch_count", _i64),
        ("variant", _u64),
        ("variant_params", _u64),
        ("rotary_table_rows", _i64),
        ("query_position", _i64),
        ("key_position", _i64),
    ]


class AttentionExplanation(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("supported", _i32),
        ("kernel", _char * 128),
        ("module", _char * 128),
        ("tile_q", _i32),
        ("tile_kv", _i32),
        ("warps", _i32),
        ("stages", _i32),
        ("grid", _i32 * 3),
        ("threads_per_block", _i32),
        ("dynamic_shared_bytes", _i64),
        ("workspace_bytes", _i64),
        ("cost_us", _f64),
        ("reasons", _char * 4096),
    ]


class MergeStatesArgs(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("state_count", _i32),
        ("batch", _i64),
        ("seqlen_q", _i64),
        ("heads_q", _i32),
        ("head_dim_v", _i32),
        ("output_states", Tensor),
        ("lse_states", Tensor),
        ("output_state_stride", _i64),
        ("lse_state_stride", _i64),
        ("output", Tensor),
        ("lse", Tensor),
        ("lse_base", _i32),
        ("reserved", _i32),
    ]


class VariantOptions(_Sized):
    _fields_ = [
        ("struct_size", _u32),
        ("reserved", _u32),
        ("params_bytes", _i64),
    ]


DEVICE_AUTO = 0
DEVICE_CPU = 1
DEVICE_CUDA = 2
CACHE_DEFAULT = 0
CACHE_READ_WRITE = 1
CACHE_READ_ONLY = 2
CACHE_OFF = 3
JIT_DEFAULT = 0
JIT_ALLOWED = 1
JIT_FORBIDDEN = 2
ADDRESS_CHECKS_DEFAULT = 0
ADDRESS_CHECKS_NEW_SHAPES = 1
ADDRESS_CHECKS_ALWAYS = 2
DTYPE_DEFAULT = 0
DTYPE_FLOAT16 = 1
DTYPE_BFLOAT16 = 2
DTYPE_FLOAT32 = 3
DTYPE_FLOAT8_E4M3 = 4
DTYPE_FLOAT8_E5M2 = 5
DTYPE_INT32 = 6
DTYPE_INT64 = 7
CAUSAL_NONE = 0
CAUSAL_TOP_LEFT = 1
CAUSAL_BOTTOM_RIGHT = 2
LSE_NATURAL = 0
LSE_BASE2 = 1
FLAG_SOFTMAX_SCALE = 1
FLAG_WINDOW_LEFT = 2
FLAG_WINDOW_RIGHT = 4
FLAG_BATCH_INVARIANT = 8
FLAG_ROTARY_INTERLEAVED = 16
FLAG_POSITIONS = 32
NAME_BYTES = 128
MOST_STATES = 1024
OK = 0
INVALID_ARGUMENT = 10
UNSUPPORTED = 11
NOT_PREPARED = 12
WORKSPACE_TOO_SMALL = 13
OUT_OF_HOST_MEMORY = 20
OUT_OF_DEVICE_MEMORY = 21
NO_DRIVER = 30
DRIVER_TOO_OLD = 31
NO_DEVICE = 32
DEVICE_NOT_READY = 33
COMPILER_UNAVAILABLE = 40
COMPILE_FAILED = 41
MODULE_CORRUPT = 42
CUDA_ERROR = 50
CONTEXT_LOST = 51
FORKED = 60
IO_ERROR = 61
INTERNAL = 90

PROTOTYPES = {
    "flashcore_version": (_u32, []),
    "flashcore_status_name": (_text, [_i32]),
    "flashcore_status_sentence": (_text, [_i32]),
    "flashcore_device_count": (_i32, [POINTER(_i32), POINTER(Error)]),
    "flashcore_device_describe": (_i32, [_i32, POINTER(DeviceInfo), POINTER(Error)]),
    "flashcore_context_create": (_i32, [POINTER(ContextOptions), POINTER(_pointer), POINTER(Error)]),
    "flashcore_context_synchronize": (_i32, [_pointer, POINTER(Error)]),
    "flashcore_context_destroy": (None, [_pointer]),
    "flashcore_context_describe_device": (_i32, [_pointer, POINTER(DeviceInfo), POINTER(Error)]),
    "flashcore_context_describe": (_i32, [_pointer, POINTER(ContextInfo), POINTER(Error)]),
    "flashcore_attention_fwd": (_i32, [_pointer, POINTER(AttentionArgs), _pointer, POINTER(Error)]),
    "flashcore_attention_prepare": (_i32, [_pointer, POINTER(AttentionArgs), POINTER(Error)]),
    "flashcore_attention_workspace_bytes": (_i32, [_pointer, POINTER(AttentionArgs), POINTER(_i64), POINTER(Error)]),
    "flashcore_attention_explain": (_i32, [_pointer, POINTER(AttentionArgs), POINTER(AttentionExplanation), POINTER(Error)]),
    "flashcore_buffer_alloc": (_i32, [_pointer, _i64, POINTER(_u64), POINTER(Error)]),
    "flashcore_buffer_free": (_i32, [_pointer, _u64, POINTER(Error)]),
    "flashcore_host_alloc": (_i32, [_pointer, _i64, POINTER(_pointer), POINTER(Error)]),
    "flashcore_host_free": (_i32, [_pointer, _pointer, POINTER(Error)]),
    "flashcore_copy_to_device": (_i32, [_pointer, _u64, _pointer, _i64, _pointer, POINTER(Error)]),
    "flashcore_copy_to_host": (_i32, [_pointer, _pointer, _u64, _i64, _pointer, POINTER(Error)]),
    "flashcore_copy_on_device": (_i32, [_pointer, _u64, _u64, _i64, _pointer, POINTER(Error)]),
    "flashcore_buffer_fill": (_i32, [_pointer, _u64, _i32, _i64, _pointer, POINTER(Error)]),
    "flashcore_stream_create": (_i32, [_pointer, POINTER(_pointer), POINTER(Error)]),
    "flashcore_stream_destroy": (_i32, [_pointer, _pointer, POINTER(Error)]),
    "flashcore_stream_synchronize": (_i32, [_pointer, _pointer, POINTER(Error)]),
    "flashcore_event_create": (_i32, [_pointer, POINTER(_pointer), POINTER(Error)]),
    "flashcore_event_destroy": (_i32, [_pointer, _pointer, POINTER(Error)]),
    "flashcore_event_record": (_i32, [_pointer, _pointer, _pointer, POINTER(Error)]),
    "flashcore_event_synchronize": (_i32, [_pointer, _pointer, POINTER(Error)]),
    "flashcore_event_elapsed_us": (_i32, [_pointer, _pointer, _pointer, POINTER(_f64), POINTER(Error)]),
    "flashcore_merge_states": (_i32, [_pointer, POINTER(MergeStatesArgs), _pointer, POINTER(Error)]),
    "flashcore_merge_states_prepare": (_i32, [_pointer, POINTER(MergeStatesArgs), POINTER(Error)]),
    "flashcore_variant_create": (_i32, [_pointer, _text, _i64, POINTER(VariantOptions), POINTER(_u64), POINTER(Error)]),
    "flashcore_variant_destroy": (_i32, [_pointer, _u64, POINTER(Error)]),
}
