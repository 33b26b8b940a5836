// SPDX-License-Identifier: Apache-2.0
//
// The layout of flashcore.h version 1, field by field: callers were compiled with it, so no row ever changes. A later
// version adds rows at the end of a struct, constants at the end of the list, and a new size. Built, it proves the
// offset, type and value of every row; run, it proves that the rows cover every byte, so that no field is missing here
// and none is followed by padding. With --json it prints the layout, for bindings to compare theirs with.
#include <flashcore/flashcore.h>
#include <stdio.h>
#include <string.h>

// FIELD(struct, field, offset, type, array)
#define FLASHCORE_ERROR_FIELDS(FIELD)                \
  FIELD(flashcore_error, struct_size, 0, uint32_t, ) \
  FIELD(flashcore_error, status, 4, int32_t, )       \
  FIELD(flashcore_error, driver_code, 8, int32_t, )  \
  FIELD(flashcore_error, reserved, 12, int32_t, )    \
  FIELD(flashcore_error, field, 16, char, [64])      \
  FIELD(flashcore_error, message, 80, char, [1024])

#define FLASHCORE_DEVICE_INFO_FIELDS(FIELD)                                        \
  FIELD(flashcore_device_info, struct_size, 0, uint32_t, )                         \
  FIELD(flashcore_device_info, kind, 4, int32_t, )                                 \
  FIELD(flashcore_device_info, ordinal, 8, int32_t, )                              \
  FIELD(flashcore_device_info, arch, 12, int32_t, )                                \
  FIELD(flashcore_device_info, multiprocessors, 16, int32_t, )                     \
  FIELD(flashcore_device_info, shared_memory_per_block_optin_bytes, 20, int32_t, ) \
  FIELD(flashcore_device_info, memory_bytes, 24, int64_t, )                        \
  FIELD(flashcore_device_info, driver_version, 32, int32_t, )                      \
  FIELD(flashcore_device_info, reserved, 36, int32_t, )                            \
  FIELD(flashcore_device_info, name, 40, char, [128])

#define FLASHCORE_CONTEXT_OPTIONS_FIELDS(FIELD)                       \
  FIELD(flashcore_context_options, struct_size, 0, uint32_t, )        \
  FIELD(flashcore_context_options, device_kind, 4, int32_t, )         \
  FIELD(flashcore_context_options, device_ordinal, 8, int32_t, )      \
  FIELD(flashcore_context_options, cpu_threads, 12, int32_t, )        \
  FIELD(flashcore_context_options, cache_mode, 16, int32_t, )         \
  FIELD(flashcore_context_options, jit_mode, 20, int32_t, )           \
  FIELD(flashcore_context_options, cache_directory, 24, char, [1024]) \
  FIELD(flashcore_context_options, module_path, 1048, char, [1024])   \
  FIELD(flashcore_context_options, nvrtc_library, 2072, char, [1024])

#define FLASHCORE_CONTEXT_INFO_FIELDS(FIELD)                              \
  FIELD(flashcore_context_info, struct_size, 0, uint32_t, )               \
  FIELD(flashcore_context_info, nvrtc_version, 4, int32_t, )              \
  FIELD(flashcore_context_info, device, 8, flashcore_device_info, )       \
  FIELD(flashcore_context_info, device_reason, 176, char, [512])          \
  FIELD(flashcore_context_info, cache_directory, 688, char, [1024])       \
  FIELD(flashcore_context_info, cache_warning, 1712, char, [512])         \
  FIELD(flashcore_context_info, modules_from_process, 2224, int64_t, )    \
  FIELD(flashcore_context_info, modules_from_shipped, 2232, int64_t, )    \
  FIELD(flashcore_context_info, modules_from_user_cache, 2240, int64_t, ) \
  FIELD(flashcore_context_info, modules_compiled, 2248, int64_t, )        \
  FIELD(flashcore_context_info, cache_rejected, 2256, int64_t, )          \
  FIELD(flashcore_context_info, cache_write_failures, 2264, int64_t, )    \
  FIELD(flashcore_context_info, compile_us, 2272, int64_t, )

#define FLASHCORE_TENSOR_FIELDS(FIELD)             \
  FIELD(flashcore_tensor, data, 0, uint64_t, )     \
  FIELD(flashcore_tensor, dtype, 8, int32_t, )     \
  FIELD(flashcore_tensor, reserved, 12, int32_t, ) \
  FIELD(flashcore_tensor, stride, 16, int64_t, [4])

#define FLASHCORE_ATTENTION_ARGS_FIELDS(FIELD)                          \
  FIELD(flashcore_attention_args, struct_size, 0, uint32_t, )           \
  FIELD(flashcore_attention_args, flags, 4, uint32_t, )                 \
  FIELD(flashcore_attention_args, batch, 8, int64_t, )                  \
  FIELD(flashcore_attention_args, seqlen_q, 16, int64_t, )              \
  FIELD(flashcore_attention_args, seqlen_kv, 24, int64_t, )             \
  FIELD(flashcore_attention_args, heads_q, 32, int32_t, )               \
  FIELD(flashcore_attention_args, heads_kv, 36, int32_t, )              \
  FIELD(flashcore_attention_args, head_dim, 40, int32_t, )              \
  FIELD(flashcore_attention_args, head_dim_v, 44, int32_t, )            \
  FIELD(flashcore_attention_args, query, 48, flashcore_tensor, )        \
  FIELD(flashcore_attention_args, key, 96, flashcore_tensor, )          \
  FIELD(flashcore_attention_args, value, 144, flashcore_tensor, )       \
  FIELD(flashcore_attention_args, output, 192, flashcore_tensor, )      \
  FIELD(flashcore_attention_args, lse, 240, flashcore_tensor, )         \
  FIELD(flashcore_attention_args, softmax_scale, 288, float, )          \
  FIELD(flashcore_attention_args, softcap, 292, float, )                \
  FIELD(flashcore_attention_args, causal, 296, int32_t, )               \
  FIELD(flashcore_attention_args, lse_base, 300, int32_t, )             \
  FIELD(flashcore_attention_args, window_left, 304, int64_t, )          \
  FIELD(flashcore_attention_args, window_right, 312, int64_t, )         \
  FIELD(flashcore_attention_args, attention_chunk, 320, int64_t, )      \
  FIELD(flashcore_attention_args, alibi_slopes, 328, uint64_t, )        \
  FIELD(flashcore_attention_args, alibi_batch_stride, 336, int64_t, )   \
  FIELD(flashcore_attention_args, bias, 344, flashcore_tensor, )        \
  FIELD(flashcore_attention_args, mask, 392, flashcore_tensor, )        \
  FIELD(flashcore_attention_args, sinks, 440, flashcore_tensor, )       \
  FIELD(flashcore_attention_args, index_dtype, 488, int32_t, )          \
  FIELD(flashcore_attention_args, reserved0, 492, int32_t, )            \
  FIELD(flashcore_attention_args, cu_seqlens_q, 496, uint64_t, )        \
  FIELD(flashcore_attention_args, cu_seqlens_kv, 504, uint64_t, )       \
  FIELD(flashcore_attention_args, seqused_q, 512, uint64_t, )           \
  FIELD(flashcore_attention_args, seqused_kv, 520, uint64_t, )          \
  FIELD(flashcore_attention_args, leftpad_kv, 528, uint64_t, )          \
  FIELD(flashcore_attention_args, kv_batch_index, 536, uint64_t, )      \
  FIELD(flashcore_attention_args, page_table, 544, uint64_t, )          \
  FIELD(flashcore_attention_args, page_table_value, 552, uint64_t, )    \
  FIELD(flashcore_attention_args, page_table_stride, 560, int64_t, )    \
  FIELD(flashcore_attention_args, page_count, 568, int64_t, )           \
  FIELD(flashcore_attention_args, page_size, 576, int32_t, )            \
  FIELD(flashcore_attention_args, rotary_dim, 580, int32_t, )           \
  FIELD(flashcore_attention_args, seqlen_new, 584, int64_t, )           \
  FIELD(flashcore_attention_args, new_key, 592, flashcore_tensor, )     \
  FIELD(flashcore_attention_args, new_value, 640, flashcore_tensor, )   \
  FIELD(flashcore_attention_args, rotary_cos, 688, uint64_t, )          \
  FIELD(flashcore_attention_args, rotary_sin, 696, uint64_t, )          \
  FIELD(flashcore_attention_args, rotary_positions, 704, uint64_t, )    \
  FIELD(flashcore_attention_args, query_descale, 712, uint64_t, )       \
  FIELD(flashcore_attention_args, key_descale, 720, uint64_t, )         \
  FIELD(flashcore_attention_args, value_descale, 728, uint64_t, )       \
  FIELD(flashcore_attention_args, descale_batch_stride, 736, int64_t, ) \
  FIELD(flashcore_attention_args, descale_head_stride, 744, int64_t, )  \
  FIELD(flashcore_attention_args, split_count, 752, int32_t, )          \
  FIELD(flashcore_attention_args, multiprocessor_limit, 756, int32_t, ) \
  FIELD(flashcore_attention_args, split_tokens, 760, int64_t, )         \
  FIELD(flashcore_attention_args, workspace, 768, uint64_t, )           \
  FIELD(flashcore_attention_args, workspace_bytes, 776, int64_t, )      \
  FIELD(flashcore_attention_args, kernel, 784, char, [64])

#define FLASHCORE_ATTENTION_EXPLANATION_FIELDS(FIELD)                          \
  FIELD(flashcore_attention_explanation, struct_size, 0, uint32_t, )           \
  FIELD(flashcore_attention_explanation, supported, 4, int32_t, )              \
  FIELD(flashcore_attention_explanation, kernel, 8, char, [64])                \
  FIELD(flashcore_attention_explanation, module, 72, char, [128])              \
  FIELD(flashcore_attention_explanation, tile_q, 200, int32_t, )               \
  FIELD(flashcore_attention_explanation, tile_kv, 204, int32_t, )              \
  FIELD(flashcore_attention_explanation, warps, 208, int32_t, )                \
  FIELD(flashcore_attention_explanation, stages, 212, int32_t, )               \
  FIELD(flashcore_attention_explanation, grid, 216, int32_t, [3])              \
  FIELD(flashcore_attention_explanation, threads_per_block, 228, int32_t, )    \
  FIELD(flashcore_attention_explanation, dynamic_shared_bytes, 232, int64_t, ) \
  FIELD(flashcore_attention_explanation, workspace_bytes, 240, int64_t, )      \
  FIELD(flashcore_attention_explanation, cost_us, 248, double, )               \
  FIELD(flashcore_attention_explanation, reasons, 256, char, [4096])

// STRUCT(struct, bytes, fields)
#define STRUCTS(STRUCT)                                                     \
  STRUCT(flashcore_error, 1104, FLASHCORE_ERROR_FIELDS)                     \
  STRUCT(flashcore_device_info, 168, FLASHCORE_DEVICE_INFO_FIELDS)          \
  STRUCT(flashcore_context_options, 3096, FLASHCORE_CONTEXT_OPTIONS_FIELDS) \
  STRUCT(flashcore_context_info, 2280, FLASHCORE_CONTEXT_INFO_FIELDS)       \
  STRUCT(flashcore_tensor, 48, FLASHCORE_TENSOR_FIELDS)                     \
  STRUCT(flashcore_attention_args, 848, FLASHCORE_ATTENTION_ARGS_FIELDS)    \
  STRUCT(flashcore_attention_explanation, 4352, FLASHCORE_ATTENTION_EXPLANATION_FIELDS)

// CONSTANT(name, value)
#define CONSTANTS(CONSTANT)                       \
  CONSTANT(FLASHCORE_DEVICE_AUTO, 0)              \
  CONSTANT(FLASHCORE_DEVICE_CPU, 1)               \
  CONSTANT(FLASHCORE_DEVICE_CUDA, 2)              \
  CONSTANT(FLASHCORE_CACHE_DEFAULT, 0)            \
  CONSTANT(FLASHCORE_CACHE_READ_WRITE, 1)         \
  CONSTANT(FLASHCORE_CACHE_READ_ONLY, 2)          \
  CONSTANT(FLASHCORE_CACHE_OFF, 3)                \
  CONSTANT(FLASHCORE_JIT_DEFAULT, 0)              \
  CONSTANT(FLASHCORE_JIT_ALLOWED, 1)              \
  CONSTANT(FLASHCORE_JIT_FORBIDDEN, 2)            \
  CONSTANT(FLASHCORE_DTYPE_DEFAULT, 0)            \
  CONSTANT(FLASHCORE_DTYPE_FLOAT16, 1)            \
  CONSTANT(FLASHCORE_DTYPE_BFLOAT16, 2)           \
  CONSTANT(FLASHCORE_DTYPE_FLOAT32, 3)            \
  CONSTANT(FLASHCORE_DTYPE_FLOAT8_E4M3, 4)        \
  CONSTANT(FLASHCORE_DTYPE_FLOAT8_E5M2, 5)        \
  CONSTANT(FLASHCORE_DTYPE_INT32, 6)              \
  CONSTANT(FLASHCORE_DTYPE_INT64, 7)              \
  CONSTANT(FLASHCORE_CAUSAL_NONE, 0)              \
  CONSTANT(FLASHCORE_CAUSAL_TOP_LEFT, 1)          \
  CONSTANT(FLASHCORE_CAUSAL_BOTTOM_RIGHT, 2)      \
  CONSTANT(FLASHCORE_LSE_NATURAL, 0)              \
  CONSTANT(FLASHCORE_LSE_BASE2, 1)                \
  CONSTANT(FLASHCORE_FLAG_SOFTMAX_SCALE, 1)       \
  CONSTANT(FLASHCORE_FLAG_WINDOW_LEFT, 2)         \
  CONSTANT(FLASHCORE_FLAG_WINDOW_RIGHT, 4)        \
  CONSTANT(FLASHCORE_FLAG_BATCH_INVARIANT, 8)     \
  CONSTANT(FLASHCORE_FLAG_ROTARY_INTERLEAVED, 16) \
  CONSTANT(FLASHCORE_OK, 0)                       \
  CONSTANT(FLASHCORE_INVALID_ARGUMENT, 10)        \
  CONSTANT(FLASHCORE_UNSUPPORTED, 11)             \
  CONSTANT(FLASHCORE_NOT_PREPARED, 12)            \
  CONSTANT(FLASHCORE_WORKSPACE_TOO_SMALL, 13)     \
  CONSTANT(FLASHCORE_OUT_OF_HOST_MEMORY, 20)      \
  CONSTANT(FLASHCORE_OUT_OF_DEVICE_MEMORY, 21)    \
  CONSTANT(FLASHCORE_NO_DRIVER, 30)               \
  CONSTANT(FLASHCORE_DRIVER_TOO_OLD, 31)          \
  CONSTANT(FLASHCORE_NO_DEVICE, 32)               \
  CONSTANT(FLASHCORE_DEVICE_NOT_READY, 33)        \
  CONSTANT(FLASHCORE_COMPILER_UNAVAILABLE, 40)    \
  CONSTANT(FLASHCORE_COMPILE_FAILED, 41)          \
  CONSTANT(FLASHCORE_MODULE_CORRUPT, 42)          \
  CONSTANT(FLASHCORE_CUDA_ERROR, 50)              \
  CONSTANT(FLASHCORE_CONTEXT_LOST, 51)            \
  CONSTANT(FLASHCORE_FORKED, 60)                  \
  CONSTANT(FLASHCORE_IO_ERROR, 61)                \
  CONSTANT(FLASHCORE_INTERNAL, 90)

#define FIELD_ASSERT(type, field, offset, kind, array)                              \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " has moved"); \
  _Static_assert(_Generic(&((type *)0)->field, kind(*) array : 1, default : 0), #type "." #field " has another type");
#define STRUCT_ASSERT(type, bytes, fields)                            \
  _Static_assert(sizeof(type) == (bytes), #type " has another size"); \
  fields(FIELD_ASSERT)
#define CONSTANT_ASSERT(name, value) _Static_assert((name) == (value), #name " has another value");
STRUCTS(STRUCT_ASSERT)
CONSTANTS(CONSTANT_ASSERT)

typedef struct Field {
  const char *name;
  size_t offset, bytes;
} Field;

#define FIELD_ROW(type, field, offset, kind, array) {#field, offset, sizeof(((type *)0)->field)},
#define STRUCT_ROWS(type, bytes, fields) static const Field type##_rows[] = {fields(FIELD_ROW)};
STRUCTS(STRUCT_ROWS)

static int cases, failed;

// One case in TAP: every row begins where the one before it ends, and the last one ends the struct.
static int check_rows(const char *name, size_t bytes, const Field *rows, size_t count) {
  size_t covered = 0;
  for (size_t i = 0; i < count && rows[i].offset == covered; ++i) covered += rows[i].bytes;
  if (covered != bytes) fprintf(stderr, "# %s: the rows end or break off at byte %zu of %zu\n", name, covered, bytes);
  return covered == bytes;
}

static void report(int ok, const char *name) {
  failed += !ok;
  printf("%s %d - %s\n", ok ? "ok" : "not ok", ++cases, name);
}

static void print_json(const char *separator, const char *name, size_t bytes, const Field *rows, size_t count) {
  printf("%s\n  \"%s\": {\"bytes\": %zu, \"fields\": {", separator, name, bytes);
  for (size_t i = 0; i < count; ++i)
    printf("%s\"%s\": [%zu, %zu]", i > 0 ? ", " : "", rows[i].name, rows[i].offset, rows[i].bytes);
  printf("}}");
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--json") == 0) {
    const char *separator = "{";
#define STRUCT_PRINT(type, bytes, fields)                                                \
  print_json(separator, #type, bytes, type##_rows, sizeof(type##_rows) / sizeof(Field)); \
  separator = ",";
    STRUCTS(STRUCT_PRINT)
    printf("\n}\n");
    return 0;
  }
  const Field holed[] = {{"first", 0, 4}, {"third", 8, 4}};
  report(!check_rows("planted hole", 12, holed, 2) && !check_rows("planted end", 8, holed, 1),
         "self-test: a missing row is caught");
#define STRUCT_CHECK(type, bytes, fields) \
  report(check_rows(#type, bytes, type##_rows, sizeof(type##_rows) / sizeof(Field)), "the rows cover all of " #type);
  STRUCTS(STRUCT_CHECK)
  printf("1..%d\n", cases);
  return failed ? 1 : 0;
}
