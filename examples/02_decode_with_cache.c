// SPDX-License-Identifier: Apache-2.0
//
// Token by token, as a language model generates: grouped query heads (four query heads share a key head) over a cache
// of keys and values that grows by one row per step, for two sequences at once.
//
//     cc 02_decode_with_cache.c $(pkg-config --cflags --libs flashcore) -lm && ./a.out [auto|cpu|cuda]
//
// The cache is allocated once, for the longest sequence; strides say where a sequence's rows lie in it, and seqlen_kv
// says how many there are. Every step is compared with the definition of attention in double precision.
#include <flashcore/flashcore.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, HEADS_Q = 8, HEADS_KV = 2, HEAD_DIM = 64, CAPACITY = 96, STEPS = 80 };
enum { ROW = HEADS_KV * HEAD_DIM, SEQUENCE = CAPACITY * ROW, QUERY = HEADS_Q * HEAD_DIM };

static uint16_t to_bfloat16(float number) {  // by cutting: the numbers only have to be the same on both sides
  uint32_t bits;
  memcpy(&bits, &number, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static double from_bfloat16(uint16_t half) {
  const uint32_t bits = (uint32_t)half << 16;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static uint16_t random_bfloat16(void) {  // evenly between -1 and 1
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return to_bfloat16((float)(state >> 8) / (1 << 23) - 1);
}

static void check(flashcore_status status, const flashcore_error *error) {
  if (status == FLASHCORE_OK) return;
  fprintf(stderr, "%s: %s\n", flashcore_status_name(status), error->message);
  exit(1);
}

static int32_t device_kind(const char *word) {
  if (strcmp(word, "auto") == 0) return FLASHCORE_DEVICE_AUTO;
  if (strcmp(word, "cpu") == 0) return FLASHCORE_DEVICE_CPU;
  if (strcmp(word, "cuda") == 0) return FLASHCORE_DEVICE_CUDA;
  fprintf(stderr, "the device is \"%s\"; usage: 02_decode_with_cache [auto|cpu|cuda]\n", word);
  exit(2);
}

// One element of the output of one query head: softmax(q.k / sqrt(d)) . v over the rows of its key head.
static double expected_output(const uint16_t *query, const uint16_t *key, const uint16_t *value, int rows, int column) {
  double sum = 0, weighted = 0;
  for (int row = 0; row < rows; ++row) {
    double score = 0;
    for (int i = 0; i < HEAD_DIM; ++i) score += from_bfloat16(query[i]) * from_bfloat16(key[row * ROW + i]);
    const double weight = exp(score / sqrt(HEAD_DIM));
    sum += weight;
    weighted += weight * from_bfloat16(value[row * ROW + column]);
  }
  return weighted / sum;
}

static double largest_error(const uint16_t *query, const uint16_t *key, const uint16_t *value, const uint16_t *output,
                            int rows) {
  double largest = 0;
  for (int b = 0; b < BATCH; ++b)
    for (int head = 0; head < HEADS_Q; ++head)
      for (int column = 0; column < HEAD_DIM; ++column) {
        const int head_kv = head / (HEADS_Q / HEADS_KV), begin = b * SEQUENCE + head_kv * HEAD_DIM,
                  at = b * QUERY + head * HEAD_DIM;
        const double error = fabs(from_bfloat16(output[at + column]) -
                                  expected_output(query + at, key + begin, value + begin, rows, column));
        if (!(error <= largest)) largest = error;  // also when it is NaN
      }
  return largest;
}

int main(int argc, char **argv) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  if (argc > 2) return fprintf(stderr, "usage: 02_decode_with_cache [auto|cpu|cuda]\n"), 2;
  options.device_kind = device_kind(argc > 1 ? argv[1] : "auto");
  flashcore_context context = NULL;
  check(flashcore_context_create(&options, &context, &error), &error);

  static uint16_t key[BATCH * SEQUENCE], value[BATCH * SEQUENCE], query[BATCH * QUERY], output[BATCH * QUERY];
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  check(flashcore_buffer_alloc(context, sizeof query, &args.query.data, &error), &error);
  check(flashcore_buffer_alloc(context, sizeof key, &args.key.data, &error), &error);
  check(flashcore_buffer_alloc(context, sizeof value, &args.value.data, &error), &error);
  check(flashcore_buffer_alloc(context, sizeof output, &args.output.data, &error), &error);
  args.batch = BATCH;
  args.heads_q = HEADS_Q;
  args.heads_kv = HEADS_KV;
  args.seqlen_q = 1;
  args.head_dim = HEAD_DIM;
  args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
  const int64_t cache_stride[4] = {SEQUENCE, ROW, HEAD_DIM,
                                   1};  // elements; without them the cache would have to be full
  memcpy(args.key.stride, cache_stride, sizeof cache_stride);
  memcpy(args.value.stride, cache_stride, sizeof cache_stride);

  double largest = 0;
  for (int step = 0; step < STEPS; ++step) {
    // What a model's projections would write on the device: one more row of keys and values for each sequence, one
    // query.
    for (int i = 0; i < BATCH * QUERY; ++i) query[i] = random_bfloat16();
    check(flashcore_copy_to_device(context, args.query.data, query, sizeof query, NULL, &error), &error);
    for (int b = 0; b < BATCH; ++b) {
      const int row = b * SEQUENCE + step * ROW;
      for (int i = 0; i < ROW; ++i) key[row + i] = random_bfloat16(), value[row + i] = random_bfloat16();
      check(flashcore_copy_to_device(context, args.key.data + 2 * (uint64_t)row, key + row, 2 * ROW, NULL, &error),
            &error);
      check(flashcore_copy_to_device(context, args.value.data + 2 * (uint64_t)row, value + row, 2 * ROW, NULL, &error),
            &error);
    }
    args.seqlen_kv = step + 1;
    check(flashcore_attention_fwd(context, &args, NULL, &error), &error);
    check(flashcore_copy_to_host(context, output, args.output.data, sizeof output, NULL, &error), &error);
    const double step_error = largest_error(query, key, value, output, step + 1);
    if (!(step_error <= largest)) largest = step_error;
  }
  printf("%d steps, %d query heads over %d key heads: largest error %.2g\n", (int)STEPS, (int)HEADS_Q, (int)HEADS_KV,
         largest);

  const uint64_t buffers[] = {args.query.data, args.key.data, args.value.data, args.output.data};
  for (int i = 0; i < 4; ++i) check(flashcore_buffer_free(context, buffers[i], &error), &error);
  flashcore_context_destroy(context);
  return largest < 8e-3 ? 0 : 1;  // two roundings to bfloat16, of probabilities and of outputs up to 1
}
