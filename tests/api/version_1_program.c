// SPDX-License-Identifier: Apache-2.0
//
// A program of version 1.0. What it knows of the library stands here as 1.0's header had it, typed once: never bring it up to date, for then
// it would be a program of today. It calls every function of 1.0 on one device and holds what comes back against what 1.0's manual said;
// behind every struct that the library fills lie bytes that must stay. Prints TAP. usage: version_1_program cpu|cuda
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- version 1.0, of 2026-11-20

typedef int32_t flashcore_status;
typedef struct flashcore_context_s *flashcore_context;

typedef struct {
  uint32_t struct_size;
  int32_t status, driver_code, reserved;
  char field[64], message[1024];
} Error;

typedef struct {
  uint32_t struct_size;
  int32_t kind, ordinal, arch, multiprocessors, shared_memory_per_block_optin_bytes;
  int64_t memory_bytes;
  int32_t driver_version, reserved;
  char name[128];
} DeviceInfo;

typedef struct {
  uint32_t struct_size;
  int32_t device_kind, device_ordinal, cpu_threads, cache_mode, jit_mode;
  char cache_directory[1024], module_path[1024], nvrtc_library[1024];
} ContextOptions;

typedef struct {
  uint32_t struct_size;
  int32_t nvrtc_version;
  char device_reason[512], cache_directory[1024], cache_warning[512];
  int64_t modules_from_process, modules_from_shipped, modules_from_user_cache, modules_compiled, cache_rejected,
      cache_write_failures, compile_us;
} ContextInfo;

typedef struct {
  uint64_t data;
  int32_t dtype, reserved;
  int64_t stride[4];
} Tensor;

typedef struct {
  uint32_t struct_size, flags;
  int64_t batch, seqlen_q, seqlen_kv;
  int32_t heads_q, heads_kv, head_dim, head_dim_v;
  Tensor query, key, value, output, lse;
  float softmax_scale, softcap;
  int32_t causal, lse_base;
  int64_t window_left, window_right, attention_chunk;
  uint64_t alibi_slopes;
  int64_t alibi_batch_stride;
  Tensor bias, mask, sinks;
  int32_t index_dtype, reserved0;
  uint64_t cu_seqlens_q, cu_seqlens_kv, seqused_q, seqused_kv, leftpad_kv, kv_batch_index;
  uint64_t page_table, page_table_value;
  int64_t page_table_stride, page_count;
  int32_t page_size, rotary_dim;
  int64_t seqlen_new;
  Tensor new_key, new_value;
  uint64_t rotary_cos, rotary_sin, rotary_positions;
  uint64_t query_descale, key_descale, value_descale;
  int64_t descale_batch_stride, descale_head_stride;
  int32_t split_count, multiprocessor_limit;
  int64_t split_tokens;
  uint64_t workspace;
  int64_t workspace_bytes;
  char kernel[128];
} AttentionArgs;

typedef struct {
  uint32_t struct_size;
  int32_t supported;
  char kernel[128], module[128];
  int32_t tile_q, tile_kv, warps, stages, grid[3], threads_per_block;
  int64_t dynamic_shared_bytes, workspace_bytes;
  double cost_us;
  char reasons[4096];
} Explanation;

uint32_t flashcore_version(void);
const char *flashcore_status_name(flashcore_status status);
const char *flashcore_status_sentence(flashcore_status status);
flashcore_status flashcore_device_count(int32_t *count, Error *error);
flashcore_status flashcore_device_describe(int32_t ordinal, DeviceInfo *info, Error *error);
flashcore_status flashcore_context_create(const ContextOptions *options, flashcore_context *context, Error *error);
flashcore_status flashcore_context_synchronize(flashcore_context context, Error *error);
void flashcore_context_destroy(flashcore_context context);
flashcore_status flashcore_context_describe_device(flashcore_context context, DeviceInfo *info, Error *error);
flashcore_status flashcore_context_describe(flashcore_context context, ContextInfo *info, Error *error);
flashcore_status flashcore_attention_fwd(flashcore_context, const AttentionArgs *args, void *stream, Error *error);
flashcore_status flashcore_attention_prepare(flashcore_context context, const AttentionArgs *args, Error *error);
flashcore_status flashcore_attention_workspace_bytes(flashcore_context, const AttentionArgs *, int64_t *, Error *);
flashcore_status flashcore_attention_explain(flashcore_context, const AttentionArgs *, Explanation *, Error *);
flashcore_status flashcore_buffer_alloc(flashcore_context context, int64_t bytes, uint64_t *address, Error *error);
flashcore_status flashcore_buffer_free(flashcore_context context, uint64_t address, Error *error);
flashcore_status flashcore_host_alloc(flashcore_context context, int64_t bytes, void **memory, Error *error);
flashcore_status flashcore_host_free(flashcore_context context, void *memory, Error *error);
flashcore_status flashcore_copy_to_device(flashcore_context, uint64_t, const void *, int64_t, void *, Error *);
flashcore_status flashcore_copy_to_host(flashcore_context, void *, uint64_t, int64_t, void *, Error *);
flashcore_status flashcore_copy_on_device(flashcore_context, uint64_t, uint64_t, int64_t, void *, Error *);
flashcore_status flashcore_buffer_fill(flashcore_context, uint64_t, int32_t, int64_t, void *, Error *);
flashcore_status flashcore_stream_create(flashcore_context context, void **stream, Error *error);
flashcore_status flashcore_stream_destroy(flashcore_context context, void *stream, Error *error);
flashcore_status flashcore_stream_synchronize(flashcore_context context, void *stream, Error *error);
flashcore_status flashcore_event_create(flashcore_context context, void **event, Error *error);
flashcore_status flashcore_event_destroy(flashcore_context context, void *event, Error *error);
flashcore_status flashcore_event_record(flashcore_context context, void *event, void *stream, Error *error);
flashcore_status flashcore_event_synchronize(flashcore_context context, void *event, Error *error);
flashcore_status flashcore_event_elapsed_us(flashcore_context, void *start, void *end, double *elapsed_us, Error *);

enum { OK = 0, INVALID_ARGUMENT = 10, UNSUPPORTED = 11, CPU = 1, CUDA = 2, FLOAT16 = 1 };

// ---- the program

enum { BATCH = 2, SEQLEN_Q = 3, SEQLEN_KV = 5, HEADS = 2, HEAD_DIM = 64 };
enum { Q_BYTES = 2 * BATCH * SEQLEN_Q * HEADS * HEAD_DIM, KV_BYTES = 2 * BATCH * SEQLEN_KV * HEADS * HEAD_DIM };

static int cases, failed;
static Error error;

static void report(int ok, const char *name) {
  failed += !ok;
  printf("%s %d - %s\n", ok ? "ok" : "not ok", ++cases, name);
  if (!ok) printf("# %d %s: %s\n", (int)error.status, error.field, error.message);
}

// A struct of the library's to fill, and what must stay behind it.
#define GUARDED(type, name)          \
  struct {                           \
    type of;                         \
    unsigned char after[64];         \
  } name;                            \
  memset(&name, 0xA5, sizeof(name)); \
  name.of.struct_size = sizeof(name.of)

static int untouched(const unsigned char *bytes) {
  for (int i = 0; i < 64; ++i)
    if (bytes[i] != 0xA5) return 0;
  return 1;
}

static void check_statuses(void) {
  report(flashcore_version() >= 10000 && flashcore_version() < 20000, "version 1");
  const struct {
    int32_t status;
    const char *name;
  } rows[] = {{0, "OK"},
              {10, "INVALID_ARGUMENT"},
              {11, "UNSUPPORTED"},
              {12, "NOT_PREPARED"},
              {13, "WORKSPACE_TOO_SMALL"},
              {20, "OUT_OF_HOST_MEMORY"},
              {21, "OUT_OF_DEVICE_MEMORY"},
              {30, "NO_DRIVER"},
              {31, "DRIVER_TOO_OLD"},
              {32, "NO_DEVICE"},
              {33, "DEVICE_NOT_READY"},
              {40, "COMPILER_UNAVAILABLE"},
              {41, "COMPILE_FAILED"},
              {42, "MODULE_CORRUPT"},
              {50, "CUDA_ERROR"},
              {51, "CONTEXT_LOST"},
              {60, "FORKED"},
              {61, "IO_ERROR"},
              {90, "INTERNAL"},
              {12345, "UNKNOWN"}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i)
    report(strcmp(flashcore_status_name(rows[i].status), rows[i].name) == 0 &&
               flashcore_status_sentence(rows[i].status)[0] != '\0',
           rows[i].name);
}

static void check_descriptions(flashcore_context context, int32_t kind) {
  GUARDED(DeviceInfo, device);
  report(flashcore_context_describe_device(context, &device.of, &error) == OK && device.of.kind == kind &&
             device.of.multiprocessors > 0 && device.of.name[0] != '\0' && untouched(device.after),
         "the context's device");
  GUARDED(ContextInfo, info);
  report(flashcore_context_describe(context, &info.of, &error) == OK && info.of.device_reason[0] != '\0' &&
             untouched(info.after),
         "the context");
  int32_t count = -1;
  report(flashcore_device_count(&count, &error) == OK && count >= (kind == CUDA), "how many GPUs there are");
  GUARDED(DeviceInfo, beyond);
  report(
      flashcore_device_describe(count, &beyond.of, &error) != OK && error.message[0] != '\0' && untouched(beyond.after),
      "a GPU that is not there");
}

static AttentionArgs args_of_1_0(void) {
  AttentionArgs args;
  memset(&args, 0, sizeof(args));
  args.struct_size = sizeof(args);
  args.batch = BATCH, args.seqlen_q = SEQLEN_Q, args.seqlen_kv = SEQLEN_KV;
  args.heads_q = HEADS, args.head_dim = HEAD_DIM, args.query.dtype = FLOAT16;
  return args;
}

// All keys weigh the same where the queries are zero: values of 1 and 3 in turns give 1 + 2 * 2 / 5.
static void check_attention(flashcore_context context, void *stream) {
  static uint16_t values[KV_BYTES / 2], output[Q_BYTES / 2];
  AttentionArgs args = args_of_1_0();
  Tensor *tensors[] = {&args.query, &args.key, &args.value, &args.output};
  const int64_t bytes[] = {Q_BYTES, KV_BYTES, KV_BYTES, Q_BYTES};
  int ok = 1;
  for (int i = 0; i < 4; ++i)
    ok &= flashcore_buffer_alloc(context, bytes[i], &tensors[i]->data, &error) == OK &&
          flashcore_buffer_fill(context, tensors[i]->data, 0, bytes[i], stream, &error) == OK;
  report(ok, "buffers");
  for (int i = 0; i < KV_BYTES / 2; ++i) values[i] = i / (HEADS * HEAD_DIM) % SEQLEN_KV % 2 == 0 ? 0x3c00 : 0x4200;
  report(flashcore_copy_to_device(context, args.value.data, values, KV_BYTES, stream, &error) == OK,
         "a copy to the device");
  report(flashcore_attention_prepare(context, &args, &error) == OK, "prepare");
  int64_t workspace = -1;
  report(flashcore_attention_workspace_bytes(context, &args, &workspace, &error) == OK && workspace >= 0,
         "workspace_bytes");
  GUARDED(Explanation, why);
  report(flashcore_attention_explain(context, &args, &why.of, &error) == OK && why.of.supported == 1 &&
             why.of.kernel[0] != '\0' && why.of.reasons[0] != '\0' && untouched(why.after),
         "explain");
  for (int call = 0; call < 2; ++call) {
    ok = flashcore_buffer_fill(context, args.output.data, 0xff, Q_BYTES, stream, &error) == OK &&
         flashcore_attention_fwd(context, &args, stream, &error) == OK &&
         flashcore_stream_synchronize(context, stream, &error) == OK &&
         flashcore_copy_to_host(context, output, args.output.data, Q_BYTES, stream, &error) == OK &&
         flashcore_stream_synchronize(context, stream, &error) == OK;
    for (int i = 0; i < Q_BYTES / 2; ++i) ok &= output[i] == 0x3f33;  // 1.8
    report(ok, call == 0 ? "attention" : "attention again");
  }
  report(flashcore_copy_on_device(context, args.query.data, args.output.data, Q_BYTES, stream, &error) == OK,
         "a copy on the device");
  report(flashcore_context_synchronize(context, &error) == OK, "to wait for the device");

  args.heads_kv = 3;
  report(flashcore_attention_fwd(context, &args, stream, &error) == INVALID_ARGUMENT &&
             strcmp(error.field, "heads_kv") == 0,
         "an argument at fault is named");
  args.heads_kv = 0, args.seqlen_new = 1;
  report(flashcore_attention_fwd(context, &args, stream, &error) != OK && error.field[0] != '\0',
         "a cache to append to, of which half is said, is refused by name");
  for (int i = 0; i < 4; ++i) ok &= flashcore_buffer_free(context, tensors[i]->data, &error) == OK;
  report(ok, "buffers go back");
}

static void check_streams(flashcore_context context, void **stream) {
  void *start = NULL, *end = NULL, *memory = NULL;
  double elapsed_us = -1;
  report(flashcore_stream_create(context, stream, &error) == OK, "a stream");
  report(flashcore_event_create(context, &start, &error) == OK && flashcore_event_create(context, &end, &error) == OK &&
             flashcore_event_record(context, start, *stream, &error) == OK &&
             flashcore_event_record(context, end, *stream, &error) == OK &&
             flashcore_event_synchronize(context, end, &error) == OK &&
             flashcore_event_elapsed_us(context, start, end, &elapsed_us, &error) == OK && elapsed_us >= 0,
         "events");
  report(flashcore_event_destroy(context, start, &error) == OK && flashcore_event_destroy(context, end, &error) == OK,
         "events go back");
  report(flashcore_host_alloc(context, 64, &memory, &error) == OK && memory != NULL &&
             flashcore_host_free(context, memory, &error) == OK,
         "host memory");
}

int main(int argc, char **argv) {
  const int32_t kind = argc > 1 && strcmp(argv[1], "cuda") == 0 ? CUDA : CPU;
  error.struct_size = sizeof(error);
  check_statuses();
  ContextOptions options;
  memset(&options, 0, sizeof(options));
  options.struct_size = sizeof(options);
  options.device_kind = kind;
  flashcore_context context = NULL;
  void *stream = NULL;
  report(flashcore_context_create(&options, &context, &error) == OK && context != NULL, "a context");
  if (context != NULL) {
    check_descriptions(context, kind);
    check_streams(context, &stream);
    check_attention(context, stream);
    report(flashcore_stream_destroy(context, stream, &error) == OK, "the stream goes back");
    flashcore_context_destroy(context);
  }
  printf("1..%d\n", cases);
  return failed == 0 ? 0 : 1;
}
