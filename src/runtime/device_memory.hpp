// SPDX-License-Identifier: Apache-2.0
//
// Buffers, copies, streams and events as the public functions give and take them: arguments are checked here, what is nothing to do is
// done here, and the device gets the rest.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "runtime/device.hpp"

namespace flashcore {

Result<uint64_t> buffer_alloc(Device &device, int64_t bytes);
Status buffer_free(Device &device, uint64_t address);
Result<void *> host_alloc(Device &device, int64_t bytes);
Status host_free(Device &device, void *memory);

Status copy_to_device(Device &device, uint64_t destination, const void *source, int64_t bytes, void *stream);
Status copy_to_host(Device &device, void *destination, uint64_t source, int64_t bytes, void *stream);
Status copy_on_device(Device &device, uint64_t destination, uint64_t source, int64_t bytes, void *stream);
Status buffer_fill(Device &device, uint64_t address, int32_t value, int64_t bytes, void *stream);

Status stream_destroy(Device &device, void *stream);

Status event_destroy(Device &device, void *event);
Status event_record(Device &device, void *event, void *stream);
Status event_synchronize(Device &device, void *event);
Result<double> event_elapsed_us(Device &device, void *start, void *end);

}  // namespace flashcore
