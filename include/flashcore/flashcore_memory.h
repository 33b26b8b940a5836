/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, streams and events, for callers without a CUDA binding. They work on the CPU device too. What a context made goes back to it, when
 * the work that uses it is done. Every function here: CUDA_ERROR, CONTEXT_LOST, FORKED. A part of flashcore.h, which includes it.
 */
#ifndef FLASHCORE_MEMORY_H
#define FLASHCORE_MEMORY_H

#include "flashcore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Device memory, aligned to 256 bytes, not initialised. 0 bytes gives address 0. Freeing address 0 is nothing.
 * OUT_OF_DEVICE_MEMORY. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_buffer_alloc(flashcore_context context, int64_t bytes,
                                                                          uint64_t *address, flashcore_error *error);
FLASHCORE_API flashcore_status flashcore_buffer_free(flashcore_context context, uint64_t address,
                                                     flashcore_error *error);

/* Page-locked host memory, for copies that overlap with work on the device; not initialised. 0 bytes gives NULL. Freeing NULL is
 * nothing. OUT_OF_HOST_MEMORY, OUT_OF_DEVICE_MEMORY. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_host_alloc(flashcore_context context, int64_t bytes,
                                                                        void **memory, flashcore_error *error);
FLASHCORE_API flashcore_status flashcore_host_free(flashcore_context context, void *memory, flashcore_error *error);

/* Copies, ordered on `stream`. From or to pageable host memory they have finished on return; else synchronise first. Source and
 * destination must not overlap. 0 bytes are nothing. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_copy_to_device(flashcore_context context,
                                                                            uint64_t destination, const void *source,
                                                                            int64_t bytes, void *stream,
                                                                            flashcore_error *error);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_copy_to_host(flashcore_context context, void *destination,
                                                                          uint64_t source, int64_t bytes, void *stream,
                                                                          flashcore_error *error);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_copy_on_device(flashcore_context context,
                                                                            uint64_t destination, uint64_t source,
                                                                            int64_t bytes, void *stream,
                                                                            flashcore_error *error);
/* Set every byte to the low 8 bits of `value`. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_buffer_fill(flashcore_context context, uint64_t address,
                                                                         int32_t value, int64_t bytes, void *stream,
                                                                         flashcore_error *error);

/* A stream that does not wait for the default stream. It is a CUstream and may be passed to any CUDA library. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_stream_create(flashcore_context context, void **stream,
                                                                           flashcore_error *error);
/* NULL is accepted, here and for events. */
FLASHCORE_API flashcore_status flashcore_stream_destroy(flashcore_context context, void *stream,
                                                        flashcore_error *error);
/* Wait until everything on the stream is done; failures of earlier work surface here. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_stream_synchronize(flashcore_context context, void *stream,
                                                                                flashcore_error *error);

/* Events measure time on a stream: record two, synchronise with the later one, ask for the time between them. To record again
 * moves the event. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_event_create(flashcore_context context, void **event,
                                                                          flashcore_error *error);
FLASHCORE_API flashcore_status flashcore_event_destroy(flashcore_context context, void *event, flashcore_error *error);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_event_record(flashcore_context context, void *event,
                                                                          void *stream, flashcore_error *error);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_event_synchronize(flashcore_context context, void *event,
                                                                               flashcore_error *error);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_event_elapsed_us(flashcore_context context, void *start,
                                                                              void *end, double *elapsed_us,
                                                                              flashcore_error *error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif
