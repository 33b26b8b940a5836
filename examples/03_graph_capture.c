// SPDX-License-Identifier: Apache-2.0
//
// A CUDA graph that holds an attention: prepare the shape, capture the call, replay it with other numbers in the same
// memory. Needs a GPU; without one the program says so and ends with 77.
//
//     cc 03_graph_capture.c $(pkg-config --cflags --libs flashcore) -ldl && ./a.out
//
// flashcore makes no graphs itself: capturing is the driver's business. A program of yours would include <cuda.h> and
// link libcuda; this one declares the few functions and finds the driver that the library has loaded.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <flashcore/flashcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  HEADS = 4,
  SEQLEN = 256,
  HEAD_DIM = 64,
  ELEMENTS = HEADS * SEQLEN * HEAD_DIM,
  BYTES = 2 * ELEMENTS,
  REPLAYS = 3,
  SKIPPED = 77
};

// Of the driver's interface; a result of 0 is success.
static int (*stream_get_context)(void *stream, void **context);
static int (*context_set_current)(void *context);
static int (*stream_begin_capture)(void *stream, int mode);
static int (*stream_end_capture)(void *stream, void **graph);
static int (*graph_instantiate)(void **executable, void *graph, unsigned long long flags);
static int (*graph_launch)(void *executable, void *stream);
static int (*graph_executable_destroy)(void *executable);
static int (*graph_destroy)(void *graph);
enum { CAPTURE_MODE_THREAD_LOCAL = 1 };

static void find_function(void *driver, const char *name, void *function) {
  void *address = dlsym(driver, name);
  if (address == NULL) fprintf(stderr, "the driver has no %s\n", name), exit(1);
  memcpy(function, &address, sizeof address);
}

static void load_graph_functions(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (driver == NULL) fprintf(stderr, "%s\n", dlerror()), exit(1);
  find_function(driver, "cuStreamGetCtx", &stream_get_context);
  find_function(driver, "cuCtxSetCurrent", &context_set_current);
  find_function(driver, "cuStreamBeginCapture_v2", &stream_begin_capture);
  find_function(driver, "cuStreamEndCapture", &stream_end_capture);
  find_function(driver, "cuGraphInstantiateWithFlags", &graph_instantiate);
  find_function(driver, "cuGraphLaunch", &graph_launch);
  find_function(driver, "cuGraphExecDestroy", &graph_executable_destroy);
  find_function(driver, "cuGraphDestroy", &graph_destroy);
}

static void check(flashcore_status status, const flashcore_error *error) {
  if (status == FLASHCORE_OK) return;
  fprintf(stderr, "%s: %s\n", flashcore_status_name(status), error->message);
  exit(1);
}

static void check_driver(int result, const char *function) {
  if (result == 0) return;
  fprintf(stderr, "%s failed with %d\n", function, result);
  exit(1);
}

// A first GPU, or the end of the program with the reason.
static flashcore_context open_gpu(void) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_device_info first = {.struct_size = sizeof(first)};
  if (flashcore_device_describe(0, &first, &error) != FLASHCORE_OK) {
    fprintf(stderr, "no GPU to capture on: %s\n", error.message);
    exit(SKIPPED);
  }
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  options.device_kind = FLASHCORE_DEVICE_CUDA;
  flashcore_context context = NULL;
  check(flashcore_context_create(&options, &context, &error), &error);
  return context;
}

// The one call that the graph holds. Capturing records it; nothing runs yet.
static void *capture(flashcore_context context, const flashcore_attention_args *args, void *stream) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  void *graph = NULL, *executable = NULL;
  check_driver(stream_begin_capture(stream, CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
  check(flashcore_attention_fwd(context, args, stream, &error), &error);
  check_driver(stream_end_capture(stream, &graph), "cuStreamEndCapture");
  check_driver(graph_instantiate(&executable, graph, 0), "cuGraphInstantiateWithFlags");
  check_driver(graph_destroy(graph), "cuGraphDestroy");
  return executable;
}

// All keys are zero, so every output is the mean of the values: the replay's own number. Returns the wrong elements.
static int replay(flashcore_context context, const flashcore_attention_args *args, void *stream, void *executable,
                  int number) {
  static const uint16_t float16_of[] = {0x3c00, 0x4000, 0x4200};  // 1, 2, 3
  static uint16_t numbers[ELEMENTS];
  flashcore_error error = FLASHCORE_ERROR_INIT;
  for (int i = 0; i < ELEMENTS; ++i) numbers[i] = float16_of[number];
  check(flashcore_copy_to_device(context, args->value.data, numbers, BYTES, stream, &error), &error);
  check_driver(graph_launch(executable, stream), "cuGraphLaunch");
  check(flashcore_copy_to_host(context, numbers, args->output.data, BYTES, stream, &error), &error);
  check(flashcore_stream_synchronize(context, stream, &error), &error);
  int wrong = 0;
  for (int i = 0; i < ELEMENTS; ++i) wrong += numbers[i] != float16_of[number];
  return wrong;
}

int main(void) {
  flashcore_context context = open_gpu();
  load_graph_functions();
  flashcore_error error = FLASHCORE_ERROR_INIT;
  void *stream = NULL, *driver_context = NULL;
  check(flashcore_stream_create(context, &stream, &error), &error);
  check_driver(stream_get_context(stream, &driver_context), "cuStreamGetCtx");
  check_driver(context_set_current(driver_context), "cuCtxSetCurrent");

  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1;
  args.heads_q = HEADS;
  args.seqlen_q = SEQLEN;
  args.seqlen_kv = SEQLEN;
  args.head_dim = HEAD_DIM;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  uint64_t *addresses[] = {&args.query.data, &args.key.data, &args.value.data, &args.output.data};
  for (int i = 0; i < 4; ++i) {
    check(flashcore_buffer_alloc(context, BYTES, addresses[i], &error), &error);
    check(flashcore_buffer_fill(context, *addresses[i], 0, BYTES, stream, &error), &error);
  }
  check(flashcore_attention_prepare(context, &args, &error), &error);  // else NOT_PREPARED: loading cannot be captured
  void *executable = capture(context, &args, stream);

  int wrong = 0;
  for (int number = 0; number < REPLAYS; ++number) wrong += replay(context, &args, stream, executable, number);
  printf("one graph, %d replays: %d of %d elements are wrong\n", (int)REPLAYS, wrong, (int)(REPLAYS * ELEMENTS));

  check_driver(graph_executable_destroy(executable), "cuGraphExecDestroy");
  for (int i = 0; i < 4; ++i) check(flashcore_buffer_free(context, *addresses[i], &error), &error);
  check(flashcore_stream_destroy(context, stream, &error), &error);
  flashcore_context_destroy(context);
  return wrong == 0 ? 0 : 1;
}
