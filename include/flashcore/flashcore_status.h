/* SPDX-License-Identifier: Apache-2.0
 *
 * Every status that a flashcore function returns: one list makes the constants, the names and the sentences.
 * The numbers are part of the ABI and never change; gaps leave room beside related ones.
 */
#ifndef FLASHCORE_STATUS_H
#define FLASHCORE_STATUS_H

#include <stdint.h>

typedef int32_t flashcore_status;

/* X(name, number, sentence) */
#define FLASHCORE_STATUS_LIST(X)                                                                                \
  X(OK, 0, "the call did what was asked")                                                                       \
  X(INVALID_ARGUMENT, 10, "an argument breaks the rules of its field")                                          \
  X(UNSUPPORTED, 11, "the request is well formed, but no kernel of this build can do it")                       \
  X(NOT_PREPARED, 12, "the stream is being captured and this shape was not prepared before")                    \
  X(WORKSPACE_TOO_SMALL, 13, "the caller's workspace is smaller than the call needs")                           \
  X(OUT_OF_HOST_MEMORY, 20, "the host has no memory left for this call")                                        \
  X(OUT_OF_DEVICE_MEMORY, 21, "the device has no memory left for this call")                                    \
  X(NO_DRIVER, 30, "no NVIDIA driver library (libcuda.so.1) could be loaded")                                   \
  X(DRIVER_TOO_OLD, 31, "the NVIDIA driver is older than this library needs")                                   \
  X(NO_DEVICE, 32, "the driver shows no usable CUDA device")                                                    \
  X(DEVICE_NOT_READY, 33, "the device exists but cannot be used at this moment")                                \
  X(COMPILER_UNAVAILABLE, 40, "no cached module serves this call and NVRTC could not be loaded to compile one") \
  X(COMPILE_FAILED, 41, "NVRTC refused a kernel")                                                               \
  X(MODULE_CORRUPT, 42, "a module file failed its checks")                                                      \
  X(CUDA_ERROR, 50, "a call of the CUDA driver failed; driver_code holds its number")                           \
  X(CONTEXT_LOST, 51, "an earlier failure on the device made its CUDA context unusable; restart the process")   \
  X(FORKED, 60, "the process was forked after CUDA was initialised; create a new process instead")              \
  X(IO_ERROR, 61, "a file could not be read or written")                                                        \
  X(INTERNAL, 90, "flashcore broke one of its own rules; please report this")

#define FLASHCORE_STATUS_CONSTANT(name, number, sentence) FLASHCORE_##name = number,
enum { FLASHCORE_STATUS_LIST(FLASHCORE_STATUS_CONSTANT) FLASHCORE_STATUS_FORCE_INT32 = 0x7fffffff };
#undef FLASHCORE_STATUS_CONSTANT

#endif
