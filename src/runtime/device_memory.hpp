// SPDX-License-Identifier: Apache-2.0
//
// Buffers, copies, streams and events of a context. On the CPU device memory is host memory, a stream does its work at
// once and an event is a time stamp.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "runtime/context.hpp"

namespace flashcore {

Result<uint64_t> buffer_alloc(Context &context, int64_t bytes);
Status buffer_free(Context &context, uint64_t address);
Result<void *> host_alloc(Context &context, int64_t bytes);
Status host_free(Context &context, void *memory);

Status copy_to_device(Context &context, uint64_t destination, const void *source, int64_t bytes, void *stream);
Status copy_to_host(Context &context, void *destination, uint64_t source, int64_t bytes, void *stream);
Status copy_on_device(Context &context, uint64_t destination, uint64_t source, int64_t bytes, void *stream);
Status buffer_fill(Context &context, uint64_t address, int32_t value, int64_t bytes, void *stream);

Result<void *> stream_create(Context &context);
Status stream_destroy(Context &context, void *stream);
Status stream_synchronize(Context &context, void *stream);

// Every stream of the CUDA context.
Status context_synchronize(Context &context);

Result<void *> event_create(Context &context);
Status event_destroy(Context &context, void *event);
Status event_record(Context &context, void *event, void *stream);
Status event_synchronize(Context &context, void *event);
Result<double> event_elapsed_us(Context &context, void *start, void *end);

}  // namespace flashcore
