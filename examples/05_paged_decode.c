// SPDX-License-Identifier: Apache-2.0
//
// Token by token over paged keys and values, as serving engines keep them: one pool of pages for all sequences, a table of the
// pages of each, and lengths of their own. Tables and lengths lie on the device and change there from step to step; the call is the
// same all along, so it could be captured once.
//
//     cc 05_paged_decode.c $(pkg-config --cflags --libs flashcore) -lm && ./a.out [auto|cpu|cuda]
//
// Every step is compared with the definition of attention in double precision.
#include <flashcore/flashcore.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, HEADS_Q = 8, HEADS_KV = 2, HEAD_DIM = 64, PAGE_SIZE = 16, MOST_PAGES = 4, POOL = 12, STEPS = 40 };
enum { ROW = HEADS_KV * HEAD_DIM, PAGE = PAGE_SIZE * ROW, QUERY = HEADS_Q * HEAD_DIM };

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
  fprintf(stderr, "the device is \"%s\"; usage: 05_paged_decode [auto|cpu|cuda]\n", word);
  exit(2);
}

static uint64_t allocate(flashcore_context context, int64_t bytes) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  uint64_t address = 0;
  check(flashcore_buffer_alloc(context, bytes, &address, &error), &error);
  return address;
}

static void upload(flashcore_context context, uint64_t address, const void *data, int64_t bytes) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  check(flashcore_copy_to_device(context, address, data, bytes, NULL, &error), &error);
}

static int32_t page_table[BATCH][MOST_PAGES], lengths[BATCH];
static uint16_t key[POOL * PAGE], value[POOL * PAGE], query[BATCH * QUERY], output[BATCH * QUERY];

static const uint16_t *row_of(const uint16_t *pool, int sequence, int j) {
  return pool + page_table[sequence][j / PAGE_SIZE] * PAGE + j % PAGE_SIZE * ROW;
}

// One element of the output of one query head: softmax(q.k / sqrt(d)) . v over the rows of its key head.
static double expected_output(int sequence, int head, int column) {
  const int head_kv = head / (HEADS_Q / HEADS_KV);
  double sum = 0, weighted = 0;
  for (int j = 0; j < lengths[sequence]; ++j) {
    double score = 0;
    for (int i = 0; i < HEAD_DIM; ++i)
      score += from_bfloat16(query[sequence * QUERY + head * HEAD_DIM + i]) *
               from_bfloat16(row_of(key, sequence, j)[head_kv * HEAD_DIM + i]);
    const double weight = exp(score / sqrt(HEAD_DIM));
    sum += weight;
    weighted += weight * from_bfloat16(row_of(value, sequence, j)[head_kv * HEAD_DIM + column]);
  }
  return weighted / sum;
}

static double largest_error(void) {
  double largest = 0;
  for (int b = 0; b < BATCH; ++b)
    for (int head = 0; head < HEADS_Q; ++head)
      for (int column = 0; column < HEAD_DIM; ++column) {
        const double error =
            fabs(from_bfloat16(output[b * QUERY + head * HEAD_DIM + column]) - expected_output(b, head, column));
        if (!(error <= largest)) largest = error;  // also when it is NaN
      }
  return largest;
}

// A new row of keys and values for a sequence, as a model's projections would write them on the device; a page of the pool when the
// last one is full.
static void append(flashcore_context context, int sequence, uint64_t key_pool, uint64_t value_pool) {
  static int32_t next_page = 0;
  const int j = lengths[sequence]++;
  if (j % PAGE_SIZE == 0) page_table[sequence][j / PAGE_SIZE] = next_page++;
  const int64_t at = row_of(key, sequence, j) - key;
  for (int i = 0; i < ROW; ++i) key[at + i] = random_bfloat16(), value[at + i] = random_bfloat16();
  upload(context, key_pool + 2 * (uint64_t)at, key + at, 2 * ROW);
  upload(context, value_pool + 2 * (uint64_t)at, value + at, 2 * ROW);
}

int main(int argc, char **argv) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  if (argc > 2) return fprintf(stderr, "usage: 05_paged_decode [auto|cpu|cuda]\n"), 2;
  options.device_kind = device_kind(argc > 1 ? argv[1] : "auto");
  flashcore_context context = NULL;
  check(flashcore_context_create(&options, &context, &error), &error);
  const uint64_t query_rows = allocate(context, sizeof query), output_rows = allocate(context, sizeof output),
                 key_pool = allocate(context, sizeof key), value_pool = allocate(context, sizeof value),
                 tables = allocate(context, sizeof page_table), lengths_now = allocate(context, sizeof lengths);

  // [paged decode]
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = BATCH, args.heads_q = HEADS_Q, args.heads_kv = HEADS_KV, args.head_dim = HEAD_DIM;
  args.seqlen_q = 1, args.seqlen_kv = MOST_PAGES * PAGE_SIZE;  // the most that a sequence may have
  args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
  args.query.data = query_rows, args.output.data = output_rows;
  args.key.data = key_pool, args.value.data = value_pool;  // [page_count, page_size, heads_kv, head_dim]
  args.page_count = POOL, args.page_size = PAGE_SIZE;
  args.page_table = tables;       // int32 [batch, pages], on the device
  args.seqused_kv = lengths_now;  // int32 [batch], on the device: keys of each sequence
  // [end]
  check(flashcore_attention_prepare(context, &args, &error), &error);

  static const int prompt[BATCH] = {9, 0, 23};
  for (int b = 0; b < BATCH; ++b)
    while (lengths[b] < prompt[b]) append(context, b, key_pool, value_pool);
  double largest = 0;
  for (int step = 0; step < STEPS; ++step) {
    for (int b = 0; b < BATCH; ++b) append(context, b, key_pool, value_pool);
    for (int i = 0; i < BATCH * QUERY; ++i) query[i] = random_bfloat16();
    upload(context, query_rows, query, sizeof query);
    upload(context, tables, page_table, sizeof page_table);
    upload(context, lengths_now, lengths, sizeof lengths);
    check(flashcore_attention_fwd(context, &args, NULL, &error), &error);
    check(flashcore_copy_to_host(context, output, output_rows, sizeof output, NULL, &error), &error);
    const double step_error = largest_error();
    if (!(step_error <= largest)) largest = step_error;
  }
  printf("%d steps of %d sequences in pages of %d keys: largest error %.2g\n", (int)STEPS, (int)BATCH, (int)PAGE_SIZE,
         largest);

  const uint64_t buffers[] = {query_rows, output_rows, key_pool, value_pool, tables, lengths_now};
  for (int i = 0; i < 6; ++i) check(flashcore_buffer_free(context, buffers[i], &error), &error);
  flashcore_context_destroy(context);
  return largest < 8e-3 ? 0 : 1;  // two roundings to bfloat16, of probabilities and of outputs up to 1
}
