// SPDX-License-Identifier: Apache-2.0
//
// The smallest whole program: one attention in C99, on a GPU or on the CPU, with nothing but flashcore.h.
//
//     cc 01_hello_attention.c $(pkg-config --cflags --libs flashcore) && ./a.out [auto|cpu|cuda]
//
// All keys are zero, so every key gets the same weight and every output is the mean of the values, 1.5.
#include <flashcore/flashcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 8, SEQLEN = 512, HEAD_DIM = 64, ELEMENTS = HEADS * SEQLEN * HEAD_DIM };

// bfloat16 is the upper half of a float32; the values here need no rounding.
static uint16_t to_bfloat16(float number) {
  uint32_t bits;
  memcpy(&bits, &number, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static float from_bfloat16(uint16_t half) {
  const uint32_t bits = (uint32_t)half << 16;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static void check(flashcore_status status, const flashcore_error *error) {
  if (status == FLASHCORE_OK) return;
  fprintf(stderr, "%s: %s\n", flashcore_status_name(status), error->message);
  exit(1);
}

// Device memory that holds a copy of `host`.
static uint64_t upload(flashcore_context context, const uint16_t *host) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  uint64_t address = 0;
  check(flashcore_buffer_alloc(context, 2 * ELEMENTS, &address, &error), &error);
  check(flashcore_copy_to_device(context, address, host, 2 * ELEMENTS, NULL, &error), &error);
  return address;
}

static int32_t device_kind(const char *word) {
  if (strcmp(word, "auto") == 0) return FLASHCORE_DEVICE_AUTO;
  if (strcmp(word, "cpu") == 0) return FLASHCORE_DEVICE_CPU;
  if (strcmp(word, "cuda") == 0) return FLASHCORE_DEVICE_CUDA;
  fprintf(stderr, "the device is \"%s\"; usage: 01_hello_attention [auto|cpu|cuda]\n", word);
  exit(2);
}

int main(int argc, char **argv) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  if (argc > 2) return fprintf(stderr, "usage: 01_hello_attention [auto|cpu|cuda]\n"), 2;
  options.device_kind = device_kind(argc > 1 ? argv[1] : "auto");
  flashcore_context context = NULL;
  check(flashcore_context_create(&options, &context, &error), &error);

  static uint16_t query_host[ELEMENTS], key_host[ELEMENTS], value_host[ELEMENTS], output_host[ELEMENTS];
  for (int i = 0; i < ELEMENTS; ++i) {
    query_host[i] = to_bfloat16(1.0f);
    key_host[i] = to_bfloat16(0.0f);
    value_host[i] = to_bfloat16((float)(i / (HEADS * HEAD_DIM) % 4));  // 0, 1, 2, 3, 0, ... by sequence position
  }
  const uint64_t query = upload(context, query_host), key = upload(context, key_host);
  const uint64_t value = upload(context, value_host), output = upload(context, output_host);

  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1;
  args.heads_q = HEADS;
  args.seqlen_q = SEQLEN;
  args.seqlen_kv = SEQLEN;
  args.head_dim = HEAD_DIM;
  args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;  // of key, value and output too; strides of 0: contiguous
  args.query.data = query;
  args.key.data = key;
  args.value.data = value;
  args.output.data = output;
  check(flashcore_attention_fwd(context, &args, NULL, &error), &error);  // NULL: the default stream
  check(flashcore_copy_to_host(context, output_host, output, 2 * ELEMENTS, NULL, &error), &error);
  check(flashcore_stream_synchronize(context, NULL, &error), &error);

  flashcore_context_info info = {.struct_size = sizeof(info)};
  flashcore_device_info device = {.struct_size = sizeof(device)};
  check(flashcore_context_describe(context, &info, &error), &error);
  check(flashcore_context_describe_device(context, &device, &error), &error);
  int wrong = 0;
  for (int i = 0; i < ELEMENTS; ++i) wrong += from_bfloat16(output_host[i]) != 1.5f;
  printf("%s (%s): output[0] = %g, %d of %d elements differ from 1.5\n", device.name, info.device_reason,
         (double)from_bfloat16(output_host[0]), wrong, (int)ELEMENTS);

  const uint64_t buffers[] = {query, key, value, output};
  for (int i = 0; i < 4; ++i) check(flashcore_buffer_free(context, buffers[i], &error), &error);
  flashcore_context_destroy(context);
  return wrong == 0 ? 0 : 1;
}
