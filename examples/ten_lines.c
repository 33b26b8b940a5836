// SPDX-License-Identifier: Apache-2.0
//
// The example of README.md in C; the same problem stands beside it in C++, Rust, Go and Python.
//
//     cc ten_lines.c $(pkg-config --cflags --libs flashcore) && ./a.out [auto|cpu|cuda]      (auto: first usable GPU,
//     else the CPU; cuda: a GPU or an error)
//
// All keys are zero, so every key gets the same weight and every output is the mean of the values 0, 1, 2, 3: 1.5.
#include <flashcore/flashcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 8, SEQLEN = 512, HEAD_DIM = 64, ELEMENTS = HEADS * SEQLEN * HEAD_DIM };

static void check(flashcore_status status, const flashcore_error *error) {
  if (status == FLASHCORE_OK) return;
  fprintf(stderr, "%s: %s\n", flashcore_status_name(status), error->message);
  exit(1);
}

// Device memory that holds a copy of `host`.
static uint64_t upload(flashcore_context context, const void *host, int64_t bytes) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  uint64_t address = 0;
  check(flashcore_buffer_alloc(context, bytes, &address, &error), &error);
  check(flashcore_copy_to_device(context, address, host, bytes, NULL, &error), &error);
  return address;
}

static int32_t device_kind(const char *word) {
  if (strcmp(word, "auto") == 0) return FLASHCORE_DEVICE_AUTO;
  if (strcmp(word, "cpu") == 0) return FLASHCORE_DEVICE_CPU;
  if (strcmp(word, "cuda") == 0) return FLASHCORE_DEVICE_CUDA;
  fprintf(stderr, "the device is \"%s\"; usage: ten_lines [auto|cpu|cuda]\n", word);
  exit(2);
}

int main(int argc, char **argv) {
  static const uint16_t float16_of[] = {0x0000, 0x3c00, 0x4000, 0x4200};  // 0, 1, 2, 3
  static uint16_t query[ELEMENTS], key[ELEMENTS], value[ELEMENTS], output[ELEMENTS];
  for (int i = 0; i < ELEMENTS; ++i) {
    query[i] = float16_of[1];
    value[i] = float16_of[i / (HEADS * HEAD_DIM) % 4];  // by sequence position
  }
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  if (argc > 2) return fprintf(stderr, "usage: ten_lines [auto|cpu|cuda]\n"), 2;
  options.device_kind = device_kind(argc > 1 ? argv[1] : "auto");

  // [ten lines]
  flashcore_context context = NULL;
  check(flashcore_context_create(&options, &context, &error), &error);
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1, args.heads_q = 8, args.seqlen_q = 512, args.seqlen_kv = 512, args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;  // of key, value and output too; strides of 0: contiguous
  args.query.data = upload(context, query, sizeof query), args.key.data = upload(context, key, sizeof key);
  args.value.data = upload(context, value, sizeof value), args.output.data = upload(context, output, sizeof output);
  check(flashcore_attention_fwd(context, &args, NULL, &error), &error);  // NULL: the default stream
  check(flashcore_copy_to_host(context, output, args.output.data, sizeof output, NULL, &error), &error);
  printf("output[0] is 0x%04x, 1.5 is 0x3e00\n", output[0]);
  // [end]

  int wrong = 0;
  for (int i = 0; i < ELEMENTS; ++i) wrong += output[i] != 0x3e00;
  const uint64_t buffers[] = {args.query.data, args.key.data, args.value.data, args.output.data};
  for (int i = 0; i < 4; ++i) check(flashcore_buffer_free(context, buffers[i], &error), &error);
  flashcore_context_destroy(context);
  if (wrong != 0) fprintf(stderr, "%d of %d elements are not 1.5\n", wrong, (int)ELEMENTS);
  return wrong == 0 ? 0 : 1;
}
