/* SPDX-License-Identifier: Apache-2.0
 *
 * flashcore: fused scaled-dot-product attention on NVIDIA GPUs, through the CUDA driver alone.
 *
 *     O = softmax(scale * Q.K^T + mask) . V          LSE = log(sum(exp(scale * Q.K^T + mask)))
 *
 * This header is the manual. It reads top to bottom: the simple path, the context, attention; it includes flashcore_memory.h, with memory
 * and streams, flashcore_merge_states.h, about results of attention over parts of the keys, and flashcore_variant.h.
 * It needs no CUDA header: a device address is a uint64_t, a stream is the CUstream passed as void *.
 *
 *     flashcore_context context = NULL;                              -- first usable GPU, else the CPU; the context says which
 *     flashcore_error error = FLASHCORE_ERROR_INIT;
 *     if (flashcore_context_create(NULL, &context, &error) != FLASHCORE_OK) return puts(error.message);
 *     flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
 *     args.batch = 1; args.heads_q = 8; args.seqlen_q = 512; args.seqlen_kv = 512; args.head_dim = 64;
 *     args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
 *     args.query.data = q; args.key.data = k; args.value.data = v; args.output.data = o;
 *     if (flashcore_attention_fwd(context, &args, stream, &error) != FLASHCORE_OK) puts(error.message);
 *     if (flashcore_context_synchronize(context, &error) != FLASHCORE_OK) puts(error.message);
 *     flashcore_context_destroy(context);
 *
 * Manners
 *   - Every function returns a flashcore_status, except getters that cannot fail. The library never prints, exits or aborts.
 *     INVALID_ARGUMENT (a NULL, a struct_size), OUT_OF_HOST_MEMORY and INTERNAL are possible everywhere; the comments name the others.
 *   - `error` may be NULL. It belongs to the caller.
 *   - In every struct and every enumeration zero means "the default".
 *   - Structs that may grow begin with struct_size, which the caller sets to sizeof the struct: smaller than version 1 or above
 *     65536 is INVALID_ARGUMENT. Input larger than this library knows is accepted when the unknown tail is zero. The structs hold
 *     no host pointers.
 *   - What a function fills needs no clearing. Of an output struct and of `error` only struct_size is read; what is written is every
 *     byte after it (what this library does not know as 0, text to its end with zeros) or, where nothing is to be said, none: an
 *     output struct on failure, `error` on success. A number, handle or address is 0 or NULL on failure.
 *   - On any status but FLASHCORE_OK the output tensors are as they were, except CUDA_ERROR and CONTEXT_LOST,
 *     which may come from work that had begun.
 *   - Threads: every function may be called from many threads at once on one context, one stream or one event, except the destroy
 *     and free functions, which need the object for themselves. Any CUDA context may be current; it is current again when the call
 *     returns. A thread that is cancelled (pthread_cancel) in a call ends after it, or in the driver's launch where no more is left to do.
 *   - After fork() the child gets FLASHCORE_FORKED from every call on an inherited context of a GPU that has to reach the GPU.
 *     What is only computed or remembered (describe, explain, workspace_bytes) is still answered.
 *   - Text is UTF-8 and ends with a zero; where it names a file, the bytes of the name are in it as they are.
 */
#ifndef FLASHCORE_H
#define FLASHCORE_H

#include <stddef.h>
#include <stdint.h>

#include "flashcore_status.h"
#include "flashcore_version.h"

#if defined(__GNUC__)
#define FLASHCORE_API __attribute__((visibility("default")))
#define FLASHCORE_NODISCARD __attribute__((warn_unused_result))
#else
#define FLASHCORE_API
#define FLASHCORE_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version, statuses, errors ---------------------------------------------------------------------------------- */

/* The version of the loaded library, FLASHCORE_VERSION of the header it was built with: 1.2.3 is 10203. Cannot fail. */
FLASHCORE_API uint32_t flashcore_version(void);

/* "INVALID_ARGUMENT" and the like; "UNKNOWN" for a number that is no status. Static storage. Cannot fail. */
FLASHCORE_API const char *flashcore_status_name(flashcore_status status);

/* One English sentence about the status. Static storage. Cannot fail. */
FLASHCORE_API const char *flashcore_status_sentence(flashcore_status status);

/* What went wrong, in the caller's own memory, so that no thread or goroutine ever sees another's error. */
typedef struct flashcore_error {
  uint32_t struct_size;    /* sizeof(flashcore_error); out of range: every call is INVALID_ARGUMENT, writes nothing */
  flashcore_status status; /* the status that the call returned */
  int32_t driver_code;     /* CUresult or nvrtcResult behind it, 0 where there is none */
  int32_t reserved;        /* 0 */
  char field[64];          /* the argument at fault ("key.stride[1]"), empty where there is none */
  char message[1024];      /* a sentence: what was given, what is allowed, what to do next */
} flashcore_error;
#ifdef __cplusplus
#define FLASHCORE_ERROR_INIT                     \
  {                                              \
    sizeof(flashcore_error), 0, 0, 0, {0}, { 0 } \
  }
#else
#define FLASHCORE_ERROR_INIT \
  { .struct_size = sizeof(flashcore_error) }
#endif

/* ---- Devices and contexts --------------------------------------------------------------------------------------- */

enum {
  FLASHCORE_DEVICE_AUTO = 0, /* the first usable GPU, else the CPU */
  FLASHCORE_DEVICE_CPU = 1,  /* host memory, computed by the library's own threads */
  FLASHCORE_DEVICE_CUDA = 2  /* a CUDA device, or an error; a GPU context never computes on the CPU */
};

/* What a device is. */
typedef struct flashcore_device_info {
  uint32_t struct_size;                        /* set by the caller */
  int32_t kind;                                /* FLASHCORE_DEVICE_CPU or _CUDA */
  int32_t ordinal;                             /* CUDA device ordinal; 0 for the CPU */
  int32_t arch;                                /* 89 for compute capability 8.9, 120 for 12.0; 0 for the CPU */
  int32_t multiprocessors;                     /* SMs; worker threads for the CPU */
  int32_t shared_memory_per_block_optin_bytes; /* what one thread block may use after the opt-in; 0 for the CPU */
  int64_t memory_bytes;                        /* total device memory; 0 for the CPU */
  int32_t driver_version;                      /* 13000 for CUDA 13.0; 0 for the CPU */
  int32_t reserved;                            /* 0 */
  char name[128];                              /* as the driver calls it; for the CPU with its threads */
} flashcore_device_info;

/* Number of CUDA devices; 0, with status OK, where there is no driver, no device or none that can be used now:
 * flashcore_device_describe(0) says which. Calls cuInit. FORKED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_device_count(int32_t *count, flashcore_error *error);

/* Describe CUDA device `ordinal`. INVALID_ARGUMENT past the count; where the count is 0, the reason: NO_DRIVER, DRIVER_TOO_OLD,
 * NO_DEVICE, DEVICE_NOT_READY. OUT_OF_DEVICE_MEMORY, CUDA_ERROR, CONTEXT_LOST, FORKED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_device_describe(int32_t ordinal,
                                                                             flashcore_device_info *info,
                                                                             flashcore_error *error);

typedef struct flashcore_context_s *flashcore_context; /* one device, its loaded kernels and its remembered plans */

enum {
  FLASHCORE_CACHE_DEFAULT = 0,    /* the environment variable FLASHCORE_CACHE, else read and write */
  FLASHCORE_CACHE_READ_WRITE = 1, /* compiled modules are kept for the next process */
  FLASHCORE_CACHE_READ_ONLY = 2,  /* existing entries are used, none is written */
  FLASHCORE_CACHE_OFF = 3         /* the user cache is neither read nor written */
};

enum {
  FLASHCORE_JIT_DEFAULT = 0,  /* the environment variable FLASHCORE_JIT, else allowed */
  FLASHCORE_JIT_ALLOWED = 1,  /* NVRTC compiles what no cache holds */
  FLASHCORE_JIT_FORBIDDEN = 2 /* a module that no cache holds is COMPILER_UNAVAILABLE */
};

enum {
  FLASHCORE_ADDRESS_CHECKS_DEFAULT = 0, /* the environment variable FLASHCORE_CHECK_ADDRESSES, else as for new shapes */
  FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES = 1, /* the driver is asked for the addresses when a module is first needed */
  FLASHCORE_ADDRESS_CHECKS_ALWAYS = 2 /* ... and for every byte range of every call: of known shapes, in captures */
};

typedef struct flashcore_context_options {
  uint32_t struct_size;       /* set by the caller; FLASHCORE_CONTEXT_OPTIONS_INIT does it */
  int32_t device_kind;        /* FLASHCORE_DEVICE_* */
  int32_t device_ordinal;     /* CUDA device ordinal, for FLASHCORE_DEVICE_CUDA; 0 for the other kinds */
  int32_t cpu_threads;        /* worker threads of the CPU device, up to 4096; 0: all that the process may run on */
  int32_t cache_mode;         /* FLASHCORE_CACHE_* */
  int32_t jit_mode;           /* FLASHCORE_JIT_* */
  char cache_directory[1024]; /* empty: FLASHCORE_CACHE_DIR, else XDG_CACHE_HOME/flashcore, else ~/.cache/flashcore */
  char module_path[1024];     /* read-only folders, separated by ':'; empty: FLASHCORE_MODULE_PATH, else the shipped */
  char nvrtc_library[1024];   /* path of libnvrtc; empty: FLASHCORE_LIBNVRTC, else the usual places */
  int32_t address_checks;     /* FLASHCORE_ADDRESS_CHECKS_* */
  int32_t reserved;           /* 0 */
} flashcore_context_options;
#ifdef __cplusplus
#define FLASHCORE_CONTEXT_OPTIONS_INIT \
  { sizeof(flashcore_context_options), 0, 0, 0, 0, 0, {0}, {0}, {0}, 0, 0 }
#else
#define FLASHCORE_CONTEXT_OPTIONS_INIT \
  { .struct_size = sizeof(flashcore_context_options) }
#endif

/* Open a device. `options` may be NULL: all defaults. *context is owned by the caller.
 * On a GPU everything happens in the device's primary CUDA context, the one of CUDA's runtime, which is retained until
 * flashcore_context_destroy. Calls make it current where it is not, and the caller's own current again before they return. Another
 * context of the device (cuCtxCreate, a green one) is never used, current or not: streams, events and memory must be the primary
 * context's (cuDevicePrimaryCtxRetain), and the driver refuses a stream of another one with CUDA_ERROR.
 * INVALID_ARGUMENT, UNSUPPORTED (a GPU before compute capability 8.0), NO_DRIVER, DRIVER_TOO_OLD, NO_DEVICE, DEVICE_NOT_READY,
 * OUT_OF_HOST_MEMORY, OUT_OF_DEVICE_MEMORY, CUDA_ERROR, CONTEXT_LOST, FORKED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_context_create(const flashcore_context_options *options,
                                                                            flashcore_context *context,
                                                                            flashcore_error *error);

/* Wait until everything that was launched on the context's device is done, on every stream of its CUDA context, whoever launched
 * it; failures of earlier work surface here. On the CPU device, where nothing is ever under way, it returns at once. It breaks a
 * capture that is going on, with CUDA_ERROR. CUDA_ERROR, CONTEXT_LOST, FORKED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_context_synchronize(flashcore_context context,
                                                                                 flashcore_error *error);

/* Unload the context's modules and free it. NULL is accepted. Work that was launched must have finished:
 * flashcore_context_synchronize waits for it. Buffers, streams and events made through the context must be freed before it. */
FLASHCORE_API void flashcore_context_destroy(flashcore_context context);

/* Describe the context's device; the CPU is one, too. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_context_describe_device(flashcore_context context,
                                                                                     flashcore_device_info *info,
                                                                                     flashcore_error *error);

/* Why a context has its device, and what its module cache did so far. */
typedef struct flashcore_context_info {
  uint32_t struct_size;         /* set by the caller */
  int32_t nvrtc_version;        /* 13000 for NVRTC 13.0; 0: not loaded (not needed so far) */
  char device_reason[512];      /* why this device: "first usable GPU", or why AUTO found no GPU */
  char cache_directory[1024];   /* user cache in use; empty where it is off */
  char cache_warning[512];      /* the last trouble with the cache, which never makes a call fail; empty: none */
  int64_t modules_from_process; /* lookups that found the module loaded */
  int64_t modules_from_shipped; /* loaded from the shipped or configured read-only folders */
  int64_t modules_from_user_cache;
  int64_t modules_compiled;     /* compiled by NVRTC */
  int64_t cache_rejected;       /* entries found but refused by a check; each was a miss */
  int64_t cache_write_failures; /* compiled modules that could not be kept */
  int64_t compile_us;           /* time spent in NVRTC */
} flashcore_context_info;

FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_context_describe(flashcore_context context,
                                                                              flashcore_context_info *info,
                                                                              flashcore_error *error);

/* ---- Attention -------------------------------------------------------------------------------------------------- */

enum {
  FLASHCORE_DTYPE_DEFAULT = 0, /* of key, value, output: the query's; of lse: float32; refused for the query */
  FLASHCORE_DTYPE_FLOAT16 = 1,
  FLASHCORE_DTYPE_BFLOAT16 = 2,
  FLASHCORE_DTYPE_FLOAT32 = 3,
  FLASHCORE_DTYPE_FLOAT8_E4M3 = 4,
  FLASHCORE_DTYPE_FLOAT8_E5M2 = 5,
  FLASHCORE_DTYPE_INT32 = 6,
  FLASHCORE_DTYPE_INT64 = 7
};

enum {
  FLASHCORE_CAUSAL_NONE = 0,
  FLASHCORE_CAUSAL_TOP_LEFT = 1,    /* key j is visible to query i when j <= i (PyTorch's is_causal) */
  FLASHCORE_CAUSAL_BOTTOM_RIGHT = 2 /* ... when j <= i + seqlen_kv - seqlen_q (FlashAttention) */
};

enum {
  FLASHCORE_LSE_NATURAL = 0, /* natural logarithm */
  FLASHCORE_LSE_BASE2 = 1    /* logarithm to base 2 */
};

/* Bits of flashcore_attention_args.flags. */
enum {
  FLASHCORE_FLAG_SOFTMAX_SCALE = 1,       /* softmax_scale is set; without the bit it is 1/sqrt(head_dim) */
  FLASHCORE_FLAG_WINDOW_LEFT = 2,         /* window_left is set; without the bit the window is open to the left */
  FLASHCORE_FLAG_WINDOW_RIGHT = 4,        /* window_right is set; without the bit the window is open to the right */
  FLASHCORE_FLAG_BATCH_INVARIANT = 8,     /* a row's bits must not depend on the batch (flashcore_merge_states.h) */
  FLASHCORE_FLAG_ROTARY_INTERLEAVED = 16, /* rotary pairs are neighbours (2i, 2i+1), not halves */
  FLASHCORE_FLAG_POSITIONS = 32           /* query_position and key_position are set */
};

/* Size of every field that holds the name of a kernel or of a module, with the zero at its end. */
enum { FLASHCORE_NAME_BYTES = 128 };

/* Up to four-dimensional data on the context's device. Strides count elements, in the order batch, sequence, head, head
 * dimension; all four zero means contiguous in the order that the field states. A batch, sequence or head stride of
 * inputs may be zero (the same data for every index). Strides are never negative. The last one is 1 (or all are 0), but for
 * bias and mask. */
typedef struct flashcore_tensor {
  uint64_t data;     /* address of element [0,0,0,0]; 0 means absent */
  int32_t dtype;     /* FLASHCORE_DTYPE_* */
  int32_t reserved;  /* 0 */
  int64_t stride[4]; /* elements: [batch, sequence, head, head dimension] */
} flashcore_tensor;

/* One attention. Only the fields of the first three blocks are needed; a field that this build cannot serve must be 0,
 * else the call is UNSUPPORTED and error->field names it: nothing is ever ignored. */
typedef struct flashcore_attention_args {
  uint32_t struct_size; /* set by the caller; FLASHCORE_ATTENTION_ARGS_INIT does it */
  uint32_t flags;       /* FLASHCORE_FLAG_* */

  /* Sizes, up to 2^31 - 1. batch, seqlen_q and seqlen_kv may be 0: an empty output, or rows that see no key (output 0, LSE -inf). */
  int64_t batch;
  int64_t seqlen_q;
  int64_t seqlen_kv;
  int32_t heads_q;
  int32_t heads_kv;   /* divides heads_q; query head h reads key head h / (heads_q / heads_kv); 0: heads_q */
  int32_t head_dim;   /* of query and key */
  int32_t head_dim_v; /* of value and output; 0: head_dim */

  /* Tensors. Sizes and contiguous order of Q and O: [batch, seqlen_q, heads_q, head_dim]; K and V: [batch, seqlen_kv,
   * heads_kv, head_dim]; LSE (optional): float32 [batch, heads_q, seqlen_q], its stride[3] is ignored. The memory belongs
   * to the caller and must stay until the work on the stream is done. Outputs must not overlap inputs. (Key and value are both where
   * new rows are appended, below.) O is of the query's type, or FLOAT32: not rounded, for results over parts of the keys that will be merged. */
  flashcore_tensor query;
  flashcore_tensor key;
  flashcore_tensor value;
  flashcore_tensor output;
  flashcore_tensor lse;

  /* Scores. s = scale * q.k ; then softcap * tanh(s / softcap) ; then biases ; then masks. p = i + seqlen_kv - seqlen_q below.
   * Bias and mask: [batch, seqlen_q, heads_q, seqlen_kv], of a sequence of a ragged batch its own rows and keys. Every stride, the last
   * too, may be any that is not negative, 0 being the same for all of its dimension (but four zeros mean contiguous). Nothing behind
   * the last key is read. A row that sees no key has output 0 and LSE -inf, or the sink. A score of +infinity or NaN makes its row NaN. */
  float softmax_scale;     /* with FLASHCORE_FLAG_SOFTMAX_SCALE; any finite value */
  float softcap;           /* 0: none */
  int32_t causal;          /* FLASHCORE_CAUSAL_* */
  int32_t lse_base;        /* FLASHCORE_LSE_* */
  int64_t window_left;     /* key j is visible to query i when j >= p - window_left; 0 or more, with its flag */
  int64_t window_right;    /* ... and j <= p + window_right; likewise */
  int64_t attention_chunk; /* ... and j and p are in the same chunk of so many positions; 0: off */
  uint64_t alibi_slopes;   /* float32 [heads_q], or [batch, heads_q] with a batch stride: -slope * |p - j|; 0: none */
  int64_t alibi_batch_stride;
  flashcore_tensor bias;  /* added to the scores; -infinity hides the key. FLOAT16, BFLOAT16, FLOAT32; 0: query's */
  flashcore_tensor mask;  /* boolean bytes (dtype 0): 0 hides the key, any other shows it */
  flashcore_tensor sinks; /* float32 [heads_q], one more logit in the denominator and in LSE, with no value */

  /* Ragged batches: sequences with lengths and places of their own, which lie on the device, int32 or int64 (index_dtype). seqlen_q and
   * seqlen_kv are then the most rows that a sequence may have: rows past them are left out. An array is used by being there, in
   * prepare and explain too. The host never reads them: a captured graph works with the numbers of its replay. What they say is held
   * to the tensors, so that nothing is read or written outside; rows of the output that no sequence has stay as they are. */
  int32_t index_dtype;   /* FLASHCORE_DTYPE_INT32 or _INT64; 0: int32 */
  int32_t reserved0;     /* 0 */
  uint64_t cu_seqlens_q; /* [batch + 1], rising: sequence b has rows cu[b] .. cu[b+1]-1 of query, output, lse, which are
                              then of one batch entry with total_q rows */
  uint64_t cu_seqlens_kv; /* [batch + 1]: likewise of key and value, with total_kv rows */
  uint64_t seqused_q;     /* [batch]: rows in use, from the sequence's first on */
  uint64_t seqused_kv;    /* [batch]: likewise, those of leftpad_kv among them */
  uint64_t leftpad_kv;    /* [batch]: rows at the sequence's beginning that are no keys; key 0 is the one behind them */
  uint64_t kv_batch_index; /* [batch]: for each of the batch its entry of key and value, of kv_batch_count */

  /* Paged keys and values: of page_count pages of page_size keys, along the batch stride. Key j of sequence b is key j % page_size of
   * page page_table[b][j / page_size], which is read as far as the sequence has keys; a page that is not there counts as the last. */
  uint64_t page_table;       /* int32 [batch, pages of seqlen_kv keys] */
  uint64_t page_table_value; /* a separate table for values; 0: page_table */
  int64_t page_table_stride; /* elements between sequences; 0: the pages of seqlen_kv keys */
  int64_t page_count;
  int32_t page_size;  /* 1 or more, with page_table */
  int32_t rotary_dim; /* leading dimensions that are rotated: an even number, up to head_dim; 0: none */

  /* New rows [batch, seqlen_new, heads_kv, head_dim or head_dim_v], written to key and value behind the rows in use ahead of the attention,
   * which sees them: key and value are outputs then. With seqused_kv sequence b has seqused_kv[b] rows before the call, and attends to
   * seqused_kv[b] + seqlen_new; the array stays as it is. Without it the last seqlen_new rows of a sequence are the new ones. A row for
   * which there is no room, or whose page or entry of the cache is not there, is not written. No two sequences may have one row.
   *
   * Rotary embedding of the new keys, as they are written, and of the queries, which stay as they are. Columns i and i + rotary_dim / 2, or
   * neighbours with the flag, are a pair (x, y), which becomes (x * cos - y * sin, y * cos + x * sin), in float32, rounded once. The first
   * new key of sequence b is at position seqused_kv[b] (rows in use, left padding among them), or at rotary_positions[b]; the others
   * follow. With causal, a window's flag or attention_chunk query i is i behind the first new key's position, else at it; without new
   * keys rotary_positions must be there. Row r of the tables is position r; positions outside of them are held to them. */
  int64_t seqlen_new; /* up to seqlen_kv; with new rows seqlen_q is 1 or more */
  flashcore_tensor new_key;
  flashcore_tensor new_value;
  uint64_t rotary_cos; /* [positions, rotary_dim / 2], contiguous, dtype of query */
  uint64_t rotary_sin;
  uint64_t rotary_positions; /* [batch], of index_dtype; 0: the rows in use say it */

  /* 8-bit inputs: float32 factors per batch and key head, with strides in elements. */
  uint64_t query_descale;
  uint64_t key_descale;
  uint64_t value_descale;
  int64_t descale_batch_stride;
  int64_t descale_head_stride;

  /* Execution. */
  int32_t split_count;          /* pieces that keys are cut in (flashcore_merge_states.h); 0: the library's choice */
  int32_t multiprocessor_limit; /* SMs that the call may occupy; 0: all */
  int64_t split_tokens;         /* keys per piece, for results that do not depend on the batch; 0: off */
  uint64_t workspace;           /* device memory for the call, 16-byte aligned; 0: the context's own */
  int64_t workspace_bytes;
  char kernel[FLASHCORE_NAME_BYTES]; /* this kernel ("sm80_fwd_mma") or module only, compiled on need; empty: any */

  /* From version 1.1 on. */
  int64_t total_q;        /* rows of query, output and lse, with cu_seqlens_q: 1 or more */
  int64_t total_kv;       /* rows of key and value, with cu_seqlens_kv: 1 or more */
  int64_t kv_batch_count; /* entries of key and value, with kv_batch_index */
  /* What the caller's own text makes of scores and hides, after all of the above. */
  uint64_t variant;        /* the number of a variant of the same context (flashcore_variant_create); 0: none */
  uint64_t variant_params; /* the params_bytes of the variant on the device, at a multiple of 8; 0 where these are 0 */
  int64_t rotary_table_rows; /* positions that rotary_cos and rotary_sin have; 0: seqlen_kv */
  /* With FLASHCORE_FLAG_POSITIONS, for keys that are a shard of a sequence: where query 0 and key 0 are in it, 0 or more, below 2^31 to the last
   * one. p is query_position + i then, key j is at key_position + j, and these are what causal (BOTTOM_RIGHT), windows, chunks and ALiBi
   * compare. Not in ragged batches, nor with pages. */
  int64_t query_position;
  int64_t key_position;
} flashcore_attention_args;
#ifdef __cplusplus
#define FLASHCORE_ATTENTION_ARGS_INIT flashcore_attention_args_init()
#else
#define FLASHCORE_ATTENTION_ARGS_INIT \
  { .struct_size = sizeof(flashcore_attention_args) }
#endif

/* Compute attention on `stream` (a CUstream; NULL is CUDA's legacy default stream; ignored by the CPU device, which has computed
 * everything when the call returns). Returns after the launch. A shape that was seen or prepared before costs one
 * launch, or two with new rows or rotary embedding: no allocation, no environment, no exclusive lock, no synchronisation. A new shape may compile for a moment. (A call
 * that needs a workspace: see flashcore_attention_workspace_bytes.)
 *
 * Numbers: Q.K^T, softmax and the sum over V accumulate in float32; probabilities are rounded once to the input type; LSE
 * is float32. Masked and out-of-range keys and values never reach the output, whatever they hold. The same inputs give
 * the same bits on every run of the same kernel.
 *
 * INVALID_ARGUMENT, UNSUPPORTED and WORKSPACE_TOO_SMALL name the field; NOT_PREPARED in a capture of a shape that is not prepared;
 * COMPILER_UNAVAILABLE, COMPILE_FAILED, OUT_OF_*_MEMORY, CUDA_ERROR, CONTEXT_LOST, FORKED.
 *
 * Addresses: on a GPU a wrong one (of host memory, freed, of another device, too short) in a call of a known shape is a fault that ends
 * every later use of the device by the process (CONTEXT_LOST). With FLASHCORE_ADDRESS_CHECKS_ALWAYS it is INVALID_ARGUMENT, for two
 * questions to the driver per tensor and call; docs/TROUBLESHOOTING.md says what is found and what is not. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_attention_fwd(flashcore_context context,
                                                                           const flashcore_attention_args *args,
                                                                           void *stream, flashcore_error *error);

/* Do everything slow for these arguments now (select, compile, load, set attributes, reserve a workspace for the next stream in
 * need of one), so that flashcore_attention_fwd is only a launch, also while a stream is captured. Tensor addresses count only by
 * their alignment; 0 is taken as 16-byte aligned. Statuses as flashcore_attention_fwd. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_attention_prepare(flashcore_context context,
                                                                               const flashcore_attention_args *args,
                                                                               flashcore_error *error);

/* Bytes of workspace that the call needs; 0 for most. Nothing is compiled. UNSUPPORTED.
 *
 * Without args.workspace such a call has a workspace of the context and the stream. It is allocated on the stream's first call in need of
 * it, grows when one needs more (the stream is waited for then), and is freed with the context: with short-lived threads on
 * CU_STREAM_PER_THREAD, each of which has a stream of its own, bring args.workspace. In a capture it
 * grows as well, by memory that stays until the context goes. A captured graph keeps the workspace of
 * the stream that it was captured on, so it must not run at the same time as a call on that stream, or as another graph of it.
 * With args.workspace the call uses that, until its work is done; the caller sees to it that no other call uses it meanwhile. A call that
 * needs none leaves args.workspace alone. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_attention_workspace_bytes(
    flashcore_context context, const flashcore_attention_args *args, int64_t *bytes, flashcore_error *error);

typedef struct flashcore_attention_explanation {
  uint32_t struct_size;                   /* set by the caller */
  int32_t supported;                      /* 1: a kernel can do it; 0: none can, `reasons` says why */
  char kernel[FLASHCORE_NAME_BYTES];      /* "sm80_fwd_mma"; "cpu" on the CPU device */
  char module[FLASHCORE_NAME_BYTES];      /* its specialization: "sm80_fwd_mma-fp16-d64-causal-128x64-w4" */
  int32_t tile_q, tile_kv, warps, stages; /* these and all below but `reasons` are 0 on the CPU device */
  int32_t grid[3];                        /* thread blocks */
  int32_t threads_per_block;
  int64_t dynamic_shared_bytes;
  int64_t workspace_bytes;
  double cost_us;     /* the selector's estimate, from a model */
  char reasons[4096]; /* one line per kernel: chosen, dearer, or why it cannot */
} flashcore_attention_explanation;

/* Say which kernel a call would use, or why none. What would be UNSUPPORTED is explained, with status OK and supported = 0. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status
flashcore_attention_explain(flashcore_context context, const flashcore_attention_args *args,
                            flashcore_attention_explanation *explanation, flashcore_error *error);

#ifdef __cplusplus
} /* extern "C" */

/* All fields zero but the size: C++ has no way to write that in one expression for a struct of this length. */
inline flashcore_attention_args flashcore_attention_args_init() {
  flashcore_attention_args args{};
  args.struct_size = sizeof(args);
  return args;
}
#endif

#include "flashcore_memory.h"
#include "flashcore_merge_states.h"
#include "flashcore_variant.h"

#endif
