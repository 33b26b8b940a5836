/* SPDX-License-Identifier: Apache-2.0
 *
 * Controls of the stand-in libcuda.so.1 and libnvrtc.so.13: what they pretend, which call fails, what was called, what
 * is still open. Found by dlsym in the stand-in itself; a program that cannot do that is steered by environment
 * variables:
 *
 *   FAKE_CUDA="init=100;arch=89;fail=cuMemAlloc:1:2;report=/tmp/calls.txt"
 *     <option>=<number>                an option of fake_set_option
 *     fail=<function>:<nth>:<code>     the nth call of the function fails once; ":sticky" after it: from then on always
 *     report=<file>                    at exit: one line "<function> <calls>" each, then what is still open
 *   FAKE_NVRTC="fail=nvrtcCompileProgram:1:6;real=/usr/local/cuda/lib64/libnvrtc.so.13;report=..."
 *     real=<file>                      the library that calls are forwarded to; without it, compiling fails with 11
 */
#ifndef FAKE_CONTROL_H
#define FAKE_CONTROL_H

#include <stdint.h>

typedef struct fake_launch {
  char kernel[128];
  uint32_t grid[3];
  uint32_t threads[3];
  uint32_t dynamic_shared_bytes;
  uint32_t cluster;      /* along x, as the launch says; 0: it says nothing */
  uint32_t programmatic; /* 1: it may begin before the one ahead of it has ended */
  void *stream;
  void *context;        /* that was current, and in which the kernel's module is loaded */
  int32_t captured;     /* 1: the stream was being captured */
  int32_t params_bytes; /* bytes of params that are set: option "params", 0 by default */
  unsigned char params[1024];
} fake_launch;

/* X(name, result, parameters) */
#define FAKE_CUDA_CONTROLS(X)                                                                                                      \
  /* Back to the defaults: options, failures, counters, launches, misuses, captures. What is open stays open. */                   \
  X(fake_reset, void, (void))                                                                                                      \
  /* devices, arch, sms, optin, shared_sm, memory (bytes per device), version, init (code of cuInit), */                           \
  /* init_ms (how long it takes), pools (1: there are memory pools), */                                                            \
  /* launch_us (what a launch takes the host beside, while they are kept), */                                                      \
  /* stub (1: every call gives 34), static_shared, params (bytes to copy from each launch's parameter), */                         \
  /* attend (1: launches compute attention of float16 without a mask, and take 5 us and 20 us / grid), */                          \
  /* record (0: names of calls and launches are not kept: a call allocates nothing). Result 0: no such option. */                  \
  X(fake_set_option, int, (const char *name, int64_t value))                                                                       \
  /* The nth call from now of any function (1: the next) gives `code`, once, or from then on always. */                            \
  X(fake_fail_call, void, (int64_t nth, int32_t code, int32_t sticky))                                                             \
  X(fake_fail_function, void, (const char *function, int64_t nth, int32_t code, int32_t sticky))                                   \
  X(fake_clear_failures, void, (void))                                                                                             \
  /* Calls of a function ("" for all) since fake_reset_calls, and the name of the index-th of them. */                             \
  X(fake_calls, int64_t, (const char *function))                                                                                   \
  X(fake_call_name, const char *, (int64_t index))                                                                                 \
  X(fake_reset_calls, void, (void))                                                                                                \
  /* What is open: "device_memory", "host_memory", "modules", "streams", "events", "primary_contexts" (retains), */                \
  /* "pushed_contexts" (of this thread). A release that was told to fail counts as a release. */                                   \
  X(fake_open, int64_t, (const char *kind))                                                                                        \
  /* Memory of another kind than cuMemAlloc's, for pointer attributes only. memory_type: CUmemorytype; reach: the address under */ \
  /* which kernels of the current context see it, 0: under none; allocation: of a reserved range, what is mapped begins and */     \
  /* ends within it, 0: the memory itself. */                                                                                      \
  X(fake_add_memory, void,                                                                                                         \
    (uint64_t address, int64_t bytes, int32_t memory_type, int32_t managed, int32_t ordinal, uint64_t reach,                       \
     uint64_t allocation, int64_t allocation_bytes))                                                                               \
  X(fake_forget_memory, void, (void))                                                                                              \
  /* Calls that a real driver would punish: double frees, foreign addresses, launches without a context. */                        \
  X(fake_misuses, int64_t, (void))                                                                                                 \
  X(fake_last_misuse, const char *, (void))                                                                                        \
  /* 0 none, 1 active, 2 invalidated; stream may be 0. */                                                                          \
  X(fake_set_capture, void, (void *stream, int32_t status))                                                                        \
  X(fake_launch_count, int64_t, (void))                                                                                            \
  X(fake_get_launch, const fake_launch *, (int64_t index))                                                                         \
  /* How often an attribute was set on functions of this name, and the last value. */                                              \
  X(fake_attribute_sets, int64_t, (const char *kernel, int32_t attribute, int32_t *value))                                         \
  /* The caller's own context of a device (as cuCtxCreate would make it), and what is current on this thread. */                   \
  X(fake_user_context, void *, (int32_t ordinal))                                                                                  \
  /* The device's primary context, as CUDA's runtime makes it current; not retained by this. */                                    \
  X(fake_primary_context, void *, (int32_t ordinal))                                                                               \
  /* The caller's own stream of a context. */                                                                                      \
  X(fake_user_stream, void *, (void *context))                                                                                     \
  X(fake_set_current, void, (void *context))                                                                                       \
  X(fake_get_current, void *, (void))

#define FAKE_NVRTC_CONTROLS(X)                                                                         \
  X(fake_nvrtc_reset, void, (void))                                                                    \
  X(fake_nvrtc_fail_function, void, (const char *function, int64_t nth, int32_t code, int32_t sticky)) \
  X(fake_nvrtc_calls, int64_t, (const char *function))                                                 \
  X(fake_nvrtc_set_real, void, (const char *path))                                                     \
  /* Without a real compiler: what every compile gives. 0 bytes: compiling fails with 11. */           \
  X(fake_nvrtc_set_cubin, void, (const void *cubin, int64_t bytes))

#ifdef __cplusplus
extern "C" {
#endif
#define FAKE_DECLARE(name, result, parameters) __attribute__((visibility("default"))) result name parameters;
FAKE_CUDA_CONTROLS(FAKE_DECLARE)
FAKE_NVRTC_CONTROLS(FAKE_DECLARE)
#undef FAKE_DECLARE
#ifdef __cplusplus
}
#endif

#endif
