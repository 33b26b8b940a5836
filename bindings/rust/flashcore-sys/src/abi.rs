// SPDX-License-Identifier: Apache-2.0
//
//! The declarations of `flashcore.h`, field by field and with its names. Made by `bindings/abi_table.py --update`; edit the
//! header instead. Units, shapes, ownership, threads and statuses are in the header.

use std::os::raw::{c_char, c_void};

/// A status; its values are the constants from `FLASHCORE_OK` on.
pub type flashcore_status = i32;

/// What a `flashcore_context` points to.
#[repr(C)]
pub struct flashcore_context_s {
    _private: [u8; 0],
}

/// One device, its loaded kernels and its remembered plans.
pub type flashcore_context = *mut flashcore_context_s;

/// `flashcore_error` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_error {
    /// sizeof(flashcore_error); out of range: every call is INVALID_ARGUMENT, writes nothing
    pub struct_size: u32,
    /// the status that the call returned
    pub status: flashcore_status,
    /// CUresult or nvrtcResult behind it, 0 where there is none
    pub driver_code: i32,
    /// 0
    pub reserved: i32,
    /// the argument at fault ("key.stride\[1\]"), empty where there is none
    pub field: [c_char; 64],
    /// a sentence: what was given, what is allowed, what to do next
    pub message: [c_char; 1024],
}

impl Default for flashcore_error {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_device_info` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_device_info {
    /// set by the caller
    pub struct_size: u32,
    /// FLASHCORE_DEVICE_CPU or _CUDA
    pub kind: i32,
    /// CUDA device ordinal; 0 for the CPU
    pub ordinal: i32,
    /// 89 for compute capability 8.9, 120 for 12.0; 0 for the CPU
    pub arch: i32,
    /// SMs; worker threads for the CPU
    pub multiprocessors: i32,
    /// what one thread block may use after the opt-in; 0 for the CPU
    pub shared_memory_per_block_optin_bytes: i32,
    /// total device memory; 0 for the CPU
    pub memory_bytes: i64,
    /// 13000 for CUDA 13.0; 0 for the CPU
    pub driver_version: i32,
    /// 0
    pub reserved: i32,
    /// as the driver calls it; for the CPU with its threads
    pub name: [c_char; 128],
}

impl Default for flashcore_device_info {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_context_options` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_context_options {
    /// set by the caller; FLASHCORE_CONTEXT_OPTIONS_INIT does it
    pub struct_size: u32,
    /// FLASHCORE_DEVICE_*
    pub device_kind: i32,
    /// CUDA device ordinal, for FLASHCORE_DEVICE_CUDA; 0 for the other kinds
    pub device_ordinal: i32,
    /// worker threads of the CPU device, up to 4096; 0: all that the process may run on
    pub cpu_threads: i32,
    /// FLASHCORE_CACHE_*
    pub cache_mode: i32,
    /// FLASHCORE_JIT_*
    pub jit_mode: i32,
    /// empty: FLASHCORE_CACHE_DIR, else XDG_CACHE_HOME/flashcore, else ~/.cache/flashcore
    pub cache_directory: [c_char; 1024],
    /// read-only folders, separated by ':'; empty: FLASHCORE_MODULE_PATH, else the shipped
    pub module_path: [c_char; 1024],
    /// path of libnvrtc; empty: FLASHCORE_LIBNVRTC, else the usual places
    pub nvrtc_library: [c_char; 1024],
    /// FLASHCORE_ADDRESS_CHECKS_*
    pub address_checks: i32,
    /// 0
    pub reserved: i32,
}

impl Default for flashcore_context_options {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_context_info` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_context_info {
    /// set by the caller
    pub struct_size: u32,
    /// 13000 for NVRTC 13.0; 0: not loaded (not needed so far)
    pub nvrtc_version: i32,
    /// why this device: "first usable GPU", or why AUTO found no GPU
    pub device_reason: [c_char; 512],
    /// user cache in use; empty where it is off
    pub cache_directory: [c_char; 1024],
    /// the last trouble with the cache, which never makes a call fail; empty: none
    pub cache_warning: [c_char; 512],
    /// lookups that found the module loaded
    pub modules_from_process: i64,
    /// loaded from the shipped or configured read-only folders
    pub modules_from_shipped: i64,
    pub modules_from_user_cache: i64,
    /// compiled by NVRTC
    pub modules_compiled: i64,
    /// entries found but refused by a check; each was a miss
    pub cache_rejected: i64,
    /// compiled modules that could not be kept
    pub cache_write_failures: i64,
    /// time spent in NVRTC
    pub compile_us: i64,
}

impl Default for flashcore_context_info {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_tensor` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_tensor {
    /// address of element \[0,0,0,0\]; 0 means absent
    pub data: u64,
    /// FLASHCORE_DTYPE_*
    pub dtype: i32,
    /// 0
    pub reserved: i32,
    /// elements: \[batch, sequence, head, head dimension\]
    pub stride: [i64; 4],
}

impl Default for flashcore_tensor {
    /// All fields zero: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        unsafe { std::mem::zeroed() }
    }
}

/// `flashcore_attention_args` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_attention_args {
    /// set by the caller; FLASHCORE_ATTENTION_ARGS_INIT does it
    pub struct_size: u32,
    /// FLASHCORE_FLAG_*
    pub flags: u32,
    pub batch: i64,
    pub seqlen_q: i64,
    pub seqlen_kv: i64,
    pub heads_q: i32,
    /// divides heads_q; query head h reads key head h / (heads_q / heads_kv); 0: heads_q
    pub heads_kv: i32,
    /// of query and key
    pub head_dim: i32,
    /// of value and output; 0: head_dim
    pub head_dim_v: i32,
    pub query: flashcore_tensor,
    pub key: flashcore_tensor,
    pub value: flashcore_tensor,
    pub output: flashcore_tensor,
    pub lse: flashcore_tensor,
    /// with FLASHCORE_FLAG_SOFTMAX_SCALE; any finite value
    pub softmax_scale: f32,
    /// 0: none
    pub softcap: f32,
    /// FLASHCORE_CAUSAL_*
    pub causal: i32,
    /// FLASHCORE_LSE_*
    pub lse_base: i32,
    /// key j is visible to query i when j >= p - window_left; 0 or more, with its flag
    pub window_left: i64,
    /// ... and j <= p + window_right; likewise
    pub window_right: i64,
    /// ... and j and p are in the same chunk of so many positions; 0: off
    pub attention_chunk: i64,
    /// float32 \[heads_q\], or \[batch, heads_q\] with a batch stride: -slope * |p - j|; 0: none
    pub alibi_slopes: u64,
    pub alibi_batch_stride: i64,
    /// added to the scores; -infinity hides the key. FLOAT16, BFLOAT16, FLOAT32; 0: query's
    pub bias: flashcore_tensor,
    /// boolean bytes (dtype 0): 0 hides the key, any other shows it
    pub mask: flashcore_tensor,
    /// float32 \[heads_q\], one more logit in the denominator and in LSE, with no value
    pub sinks: flashcore_tensor,
    /// FLASHCORE_DTYPE_INT32 or _INT64; 0: int32
    pub index_dtype: i32,
    /// 0
    pub reserved0: i32,
    pub cu_seqlens_q: u64,
    /// \[batch + 1\]: likewise of key and value, with total_kv rows
    pub cu_seqlens_kv: u64,
    /// \[batch\]: rows in use, from the sequence's first on
    pub seqused_q: u64,
    /// \[batch\]: likewise, those of leftpad_kv among them
    pub seqused_kv: u64,
    /// \[batch\]: rows at the sequence's beginning that are no keys; key 0 is the one behind them
    pub leftpad_kv: u64,
    /// \[batch\]: for each of the batch its entry of key and value, of kv_batch_count
    pub kv_batch_index: u64,
    /// int32 \[batch, pages of seqlen_kv keys\]
    pub page_table: u64,
    /// a separate table for values; 0: page_table
    pub page_table_value: u64,
    /// elements between sequences; 0: the pages of seqlen_kv keys
    pub page_table_stride: i64,
    pub page_count: i64,
    /// 1 or more, with page_table
    pub page_size: i32,
    /// leading dimensions that are rotated: an even number, up to head_dim; 0: none
    pub rotary_dim: i32,
    /// up to seqlen_kv; with new rows seqlen_q is 1 or more
    pub seqlen_new: i64,
    pub new_key: flashcore_tensor,
    pub new_value: flashcore_tensor,
    /// \[positions, rotary_dim / 2\], contiguous, dtype of query
    pub rotary_cos: u64,
    pub rotary_sin: u64,
    /// \[batch\], of index_dtype; 0: the rows in use say it
    pub rotary_positions: u64,
    pub query_descale: u64,
    pub key_descale: u64,
    pub value_descale: u64,
    pub descale_batch_stride: i64,
    pub descale_head_stride: i64,
    /// pieces that keys are cut in (flashcore_merge_states.h); 0: the library's choice
    pub split_count: i32,
    /// SMs that the call may occupy; 0: all
    pub multiprocessor_limit: i32,
    /// keys per piece, for results that do not depend on the batch; 0: off
    pub split_tokens: i64,
    /// device memory for the call, 16-byte aligned; 0: the context's own
    pub workspace: u64,
    pub workspace_bytes: i64,
    /// this kernel ("sm80_fwd_mma") or module only, compiled on need; empty: any
    pub kernel: [c_char; 128],
    /// rows of query, output and lse, with cu_seqlens_q: 1 or more
    pub total_q: i64,
    /// rows of key and value, with cu_seqlens_kv: 1 or more
    pub total_kv: i64,
    /// entries of key and value, with kv_batch_index
    pub kv_batch_count: i64,
    /// the number of a variant of the same context (flashcore_variant_create); 0: none
    pub variant: u64,
    /// the params_bytes of the variant on the device, at a multiple of 8; 0 where these are 0
    pub variant_params: u64,
    /// positions that rotary_cos and rotary_sin have; 0: seqlen_kv
    pub rotary_table_rows: i64,
    pub query_position: i64,
    pub key_position: i64,
}

impl Default for flashcore_attention_args {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_attention_explanation` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_attention_explanation {
    /// set by the caller
    pub struct_size: u32,
    /// 1: a kernel can do it; 0: none can, `reasons` says why
    pub supported: i32,
    /// "sm80_fwd_mma"; "cpu" on the CPU device
    pub kernel: [c_char; 128],
    /// its specialization: "sm80_fwd_mma-fp16-d64-causal-128x64-w4"
    pub module: [c_char; 128],
    /// these and all below but `reasons` are 0 on the CPU device
    pub tile_q: i32,
    /// these and all below but `reasons` are 0 on the CPU device
    pub tile_kv: i32,
    /// these and all below but `reasons` are 0 on the CPU device
    pub warps: i32,
    /// these and all below but `reasons` are 0 on the CPU device
    pub stages: i32,
    /// thread blocks
    pub grid: [i32; 3],
    pub threads_per_block: i32,
    pub dynamic_shared_bytes: i64,
    pub workspace_bytes: i64,
    /// the selector's estimate, from a model
    pub cost_us: f64,
    /// one line per kernel: chosen, dearer, or why it cannot
    pub reasons: [c_char; 4096],
}

impl Default for flashcore_attention_explanation {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_merge_states_args` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_merge_states_args {
    /// set by the caller; FLASHCORE_MERGE_STATES_ARGS_INIT does it
    pub struct_size: u32,
    /// 1 to FLASHCORE_MOST_STATES
    pub state_count: i32,
    pub batch: i64,
    pub seqlen_q: i64,
    pub heads_q: i32,
    /// of the outputs, up to 65536
    pub head_dim_v: i32,
    pub output_states: flashcore_tensor,
    pub lse_states: flashcore_tensor,
    pub output_state_stride: i64,
    pub lse_state_stride: i64,
    pub output: flashcore_tensor,
    pub lse: flashcore_tensor,
    /// FLASHCORE_LSE_*: of the states and of the result
    pub lse_base: i32,
    /// 0
    pub reserved: i32,
}

impl Default for flashcore_merge_states_args {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

/// `flashcore_variant_options` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct flashcore_variant_options {
    /// set by the caller; FLASHCORE_VARIANT_OPTIONS_INIT does it
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// of the block that each call gives in variant_params, a multiple of 8; 0: calls give none
    pub params_bytes: i64,
}

impl Default for flashcore_variant_options {
    /// All fields zero, `struct_size` set: the defaults of every field.
    fn default() -> Self {
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe { std::mem::zeroed() };
        Self { struct_size: std::mem::size_of::<Self>() as u32, ..zeroed }
    }
}

pub const FLASHCORE_DEVICE_AUTO: i32 = 0;
pub const FLASHCORE_DEVICE_CPU: i32 = 1;
pub const FLASHCORE_DEVICE_CUDA: i32 = 2;
pub const FLASHCORE_CACHE_DEFAULT: i32 = 0;
pub const FLASHCORE_CACHE_READ_WRITE: i32 = 1;
pub const FLASHCORE_CACHE_READ_ONLY: i32 = 2;
pub const FLASHCORE_CACHE_OFF: i32 = 3;
pub const FLASHCORE_JIT_DEFAULT: i32 = 0;
pub const FLASHCORE_JIT_ALLOWED: i32 = 1;
pub const FLASHCORE_JIT_FORBIDDEN: i32 = 2;
pub const FLASHCORE_ADDRESS_CHECKS_DEFAULT: i32 = 0;
pub const FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES: i32 = 1;
pub const FLASHCORE_ADDRESS_CHECKS_ALWAYS: i32 = 2;
pub const FLASHCORE_DTYPE_DEFAULT: i32 = 0;
pub const FLASHCORE_DTYPE_FLOAT16: i32 = 1;
pub const FLASHCORE_DTYPE_BFLOAT16: i32 = 2;
pub const FLASHCORE_DTYPE_FLOAT32: i32 = 3;
pub const FLASHCORE_DTYPE_FLOAT8_E4M3: i32 = 4;
pub const FLASHCORE_DTYPE_FLOAT8_E5M2: i32 = 5;
pub const FLASHCORE_DTYPE_INT32: i32 = 6;
pub const FLASHCORE_DTYPE_INT64: i32 = 7;
pub const FLASHCORE_CAUSAL_NONE: i32 = 0;
pub const FLASHCORE_CAUSAL_TOP_LEFT: i32 = 1;
pub const FLASHCORE_CAUSAL_BOTTOM_RIGHT: i32 = 2;
pub const FLASHCORE_LSE_NATURAL: i32 = 0;
pub const FLASHCORE_LSE_BASE2: i32 = 1;
pub const FLASHCORE_FLAG_SOFTMAX_SCALE: u32 = 1;
pub const FLASHCORE_FLAG_WINDOW_LEFT: u32 = 2;
pub const FLASHCORE_FLAG_WINDOW_RIGHT: u32 = 4;
pub const FLASHCORE_FLAG_BATCH_INVARIANT: u32 = 8;
pub const FLASHCORE_FLAG_ROTARY_INTERLEAVED: u32 = 16;
pub const FLASHCORE_FLAG_POSITIONS: u32 = 32;
pub const FLASHCORE_NAME_BYTES: i32 = 128;
pub const FLASHCORE_MOST_STATES: i32 = 1024;
pub const FLASHCORE_OK: i32 = 0;
pub const FLASHCORE_INVALID_ARGUMENT: i32 = 10;
pub const FLASHCORE_UNSUPPORTED: i32 = 11;
pub const FLASHCORE_NOT_PREPARED: i32 = 12;
pub const FLASHCORE_WORKSPACE_TOO_SMALL: i32 = 13;
pub const FLASHCORE_OUT_OF_HOST_MEMORY: i32 = 20;
pub const FLASHCORE_OUT_OF_DEVICE_MEMORY: i32 = 21;
pub const FLASHCORE_NO_DRIVER: i32 = 30;
pub const FLASHCORE_DRIVER_TOO_OLD: i32 = 31;
pub const FLASHCORE_NO_DEVICE: i32 = 32;
pub const FLASHCORE_DEVICE_NOT_READY: i32 = 33;
pub const FLASHCORE_COMPILER_UNAVAILABLE: i32 = 40;
pub const FLASHCORE_COMPILE_FAILED: i32 = 41;
pub const FLASHCORE_MODULE_CORRUPT: i32 = 42;
pub const FLASHCORE_CUDA_ERROR: i32 = 50;
pub const FLASHCORE_CONTEXT_LOST: i32 = 51;
pub const FLASHCORE_FORKED: i32 = 60;
pub const FLASHCORE_IO_ERROR: i32 = 61;
pub const FLASHCORE_INTERNAL: i32 = 90;

extern "C" {
    pub fn flashcore_version() -> u32;
    pub fn flashcore_status_name(status: flashcore_status) -> *const c_char;
    pub fn flashcore_status_sentence(status: flashcore_status) -> *const c_char;
    pub fn flashcore_device_count(count: *mut i32, error: *mut flashcore_error) -> flashcore_status;
    pub fn flashcore_device_describe(
        ordinal: i32,
        info: *mut flashcore_device_info,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_context_create(
        options: *const flashcore_context_options,
        context: *mut flashcore_context,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_context_synchronize(context: flashcore_context, error: *mut flashcore_error) -> flashcore_status;
    pub fn flashcore_context_destroy(context: flashcore_context);
    pub fn flashcore_context_describe_device(
        context: flashcore_context,
        info: *mut flashcore_device_info,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_context_describe(
        context: flashcore_context,
        info: *mut flashcore_context_info,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_attention_fwd(
        context: flashcore_context,
        args: *const flashcore_attention_args,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_attention_prepare(
        context: flashcore_context,
        args: *const flashcore_attention_args,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_attention_workspace_bytes(
        context: flashcore_context,
        args: *const flashcore_attention_args,
        bytes: *mut i64,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_attention_explain(
        context: flashcore_context,
        args: *const flashcore_attention_args,
        explanation: *mut flashcore_attention_explanation,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_buffer_alloc(
        context: flashcore_context,
        bytes: i64,
        address: *mut u64,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_buffer_free(context: flashcore_context, address: u64, error: *mut flashcore_error) -> flashcore_status;
    pub fn flashcore_host_alloc(
        context: flashcore_context,
        bytes: i64,
        memory: *mut *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_host_free(context: flashcore_context, memory: *mut c_void, error: *mut flashcore_error) -> flashcore_status;
    pub fn flashcore_copy_to_device(
        context: flashcore_context,
        destination: u64,
        source: *const c_void,
        bytes: i64,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_copy_to_host(
        context: flashcore_context,
        destination: *mut c_void,
        source: u64,
        bytes: i64,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_copy_on_device(
        context: flashcore_context,
        destination: u64,
        source: u64,
        bytes: i64,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_buffer_fill(
        context: flashcore_context,
        address: u64,
        value: i32,
        bytes: i64,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_stream_create(
        context: flashcore_context,
        stream: *mut *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_stream_destroy(
        context: flashcore_context,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_stream_synchronize(
        context: flashcore_context,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_event_create(
        context: flashcore_context,
        event: *mut *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_event_destroy(
        context: flashcore_context,
        event: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_event_record(
        context: flashcore_context,
        event: *mut c_void,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_event_synchronize(
        context: flashcore_context,
        event: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_event_elapsed_us(
        context: flashcore_context,
        start: *mut c_void,
        end: *mut c_void,
        elapsed_us: *mut f64,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_merge_states(
        context: flashcore_context,
        args: *const flashcore_merge_states_args,
        stream: *mut c_void,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_merge_states_prepare(
        context: flashcore_context,
        args: *const flashcore_merge_states_args,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_variant_create(
        context: flashcore_context,
        text: *const c_char,
        text_bytes: i64,
        options: *const flashcore_variant_options,
        variant: *mut u64,
        error: *mut flashcore_error,
    ) -> flashcore_status;
    pub fn flashcore_variant_destroy(context: flashcore_context, variant: u64, error: *mut flashcore_error) -> flashcore_status;
}
