// SPDX-License-Identifier: Apache-2.0
//
// The stand-in libcuda.so.1, second part: memory, copies, streams and events. Device memory is host memory, copies
// copy, and everything has happened when the call returns.
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "fake_functions.hpp"

using fake::enter;
using fake::enter_in_context;
using fake::enter_outside_capture;
using fake::find_range;
using fake::known_stream;
using fake::Lock;
using fake::option;
using fake::refuse;
using fake::state;

namespace {

uint64_t number(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); }
void *memory(uint64_t address) { return reinterpret_cast<void *>(static_cast<uintptr_t>(address)); }

CUresult allocate(CUdeviceptr_v2 *address, size_t bytes) {
  if (bytes == 0) return refuse(CUDA_ERROR_INVALID_VALUE, "allocation of nothing");
  size_t used = 0;
  for (const auto &[begin, size] : state().device_memory) used += size;
  void *block = used + bytes > static_cast<size_t>(option("memory"))
                    ? nullptr
                    : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (block == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  state().device_memory[number(block)] = bytes;
  *address = number(block);
  return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr_v2 address, CUresult result) {
  if (state().device_memory.erase(address) == 0) return refuse(CUDA_ERROR_INVALID_VALUE, "free of an unknown address");
  std::free(memory(address));
  return result;
}

// For calls that in a capture of the stream become a part of its graph, which the library never means.
CUresult enter_on_stream(const char *name, CUstream stream) {
  const CUresult result = enter_in_context(name);
  if (result != CUDA_SUCCESS) return result;
  if (!known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, std::string(name) + " on an unknown stream");
  if (state().captures.count(stream) == 0 || state().captures[stream] == 0) return CUDA_SUCCESS;
  return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, std::string(name) + " in a capture of its stream");
}

}  // namespace

CUresult fake_memory_alloc(CUdeviceptr_v2 *address, size_t bytes) {
  const Lock lock(state().mutex);
  const CUresult result = enter_outside_capture("cuMemAlloc");
  return result != CUDA_SUCCESS ? result : allocate(address, bytes);
}

CUresult fake_memory_alloc_async(CUdeviceptr_v2 *address, size_t bytes, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = enter_on_stream("cuMemAllocAsync", stream);
  return result != CUDA_SUCCESS ? result : allocate(address, bytes);
}

CUresult fake_memory_free_async(CUdeviceptr_v2 address, CUstream stream) {
  const Lock lock(state().mutex);
  return release(address, enter_on_stream("cuMemFreeAsync", stream));
}

CUresult fake_memory_free(CUdeviceptr_v2 address) {
  const Lock lock(state().mutex);
  return release(address, enter_in_context("cuMemFree"));
}

CUresult fake_host_alloc(void **block, size_t bytes, unsigned int) {
  const Lock lock(state().mutex);
  const CUresult result = enter_outside_capture("cuMemHostAlloc");
  if (result != CUDA_SUCCESS) return result;
  *block = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (*block == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  state().host_memory[number(*block)] = bytes;
  return CUDA_SUCCESS;
}

CUresult fake_host_free(void *block) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuMemFreeHost");
  if (state().host_memory.erase(number(block)) == 0)
    return refuse(CUDA_ERROR_INVALID_VALUE, "free of unknown host memory");
  std::free(block);
  return result;
}

namespace {

// One check for all copies: the device side must lie inside one allocation, the stream must exist.
CUresult check_copy(const char *name, uint64_t device_address, size_t bytes, CUstream stream) {
  const CUresult result = enter_in_context(name);
  if (result != CUDA_SUCCESS) return result;
  if (!known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, std::string(name) + " on an unknown stream");
  if (find_range(state().device_memory, device_address, bytes) == state().device_memory.end())
    return refuse(CUDA_ERROR_INVALID_VALUE, std::string(name) + " outside of an allocation");
  return CUDA_SUCCESS;
}

}  // namespace

CUresult fake_copy_to_device_async(CUdeviceptr_v2 destination, const void *source, size_t bytes, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = check_copy("cuMemcpyHtoDAsync", destination, bytes, stream);
  if (result == CUDA_SUCCESS) std::memcpy(memory(destination), source, bytes);
  return result;
}

CUresult fake_copy_to_host_async(void *destination, CUdeviceptr_v2 source, size_t bytes, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = check_copy("cuMemcpyDtoHAsync", source, bytes, stream);
  if (result == CUDA_SUCCESS) std::memcpy(destination, memory(source), bytes);
  return result;
}

CUresult fake_copy_on_device_async(CUdeviceptr_v2 destination, CUdeviceptr_v2 source, size_t bytes, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = check_copy("cuMemcpyDtoDAsync", destination, bytes, stream);
  if (result != CUDA_SUCCESS) return result;
  if (find_range(state().device_memory, source, bytes) == state().device_memory.end())
    return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemcpyDtoDAsync from outside of an allocation");
  std::memmove(memory(destination), memory(source), bytes);
  return CUDA_SUCCESS;
}

CUresult fake_memory_set_async(CUdeviceptr_v2 address, unsigned char value, size_t bytes, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = check_copy("cuMemsetD8Async", address, bytes, stream);
  if (result == CUDA_SUCCESS) std::memset(memory(address), value, bytes);
  return result;
}

namespace {

struct Attributes {
  CUmemorytype type{};
  unsigned int managed = 0;
  int ordinal = -2;
  CUdeviceptr device_pointer = 0, begin = 0;
  size_t bytes = 0;
};

Attributes attributes_of(uint64_t address) {
  for (const auto &[begin, memory] : state().added_memory)
    if (address >= begin && address - begin < memory.bytes)
      return {static_cast<CUmemorytype>(memory.memory_type),
              static_cast<unsigned int>(memory.managed),
              memory.ordinal,
              memory.reach == 0 ? 0 : memory.reach + (address - begin),
              memory.allocation,
              memory.allocation_bytes};
  for (const auto *books : {&state().device_memory, &state().host_memory}) {
    const auto found = find_range(*books, address, 1);
    if (found == books->end()) continue;
    return {books == &state().device_memory ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST,
            0,
            0,
            address,
            found->first,
            found->second};
  }
  return {};
}

}  // namespace

// Memory that the driver does not know gets zeros and success, as the real call documents.
CUresult fake_pointer_get_attributes(unsigned int count, CUpointer_attribute *attributes, void **values,
                                     CUdeviceptr_v2 address) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuPointerGetAttributes");
  if (result != CUDA_SUCCESS) return result;
  const Attributes known = attributes_of(address);
  for (unsigned int i = 0; i < count; ++i) {
    switch (attributes[i]) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *static_cast<CUmemorytype *>(values[i]) = known.type;
        break;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *static_cast<unsigned int *>(values[i]) = known.managed;
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int *>(values[i]) = known.ordinal;
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *static_cast<CUdeviceptr *>(values[i]) = known.device_pointer;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *static_cast<CUdeviceptr *>(values[i]) = known.begin;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *static_cast<size_t *>(values[i]) = known.bytes;
        break;
      default:
        return refuse(CUDA_ERROR_INVALID_VALUE, "pointer attribute " + std::to_string(attributes[i]));
    }
  }
  return CUDA_SUCCESS;
}

// ---- streams and events

CUresult fake_stream_create(CUstream *stream, unsigned int) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamCreate");
  if (result != CUDA_SUCCESS) return result;
  *stream = reinterpret_cast<CUstream>(new char);
  state().streams[*stream] = fake::context_stack().back();
  return CUDA_SUCCESS;
}

CUresult fake_stream_destroy(CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamDestroy");
  if (state().streams.erase(stream) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "destruction of an unknown stream");
  delete reinterpret_cast<char *>(stream);
  return result;
}

CUresult fake_stream_synchronize(CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = enter_outside_capture("cuStreamSynchronize");
  if (result != CUDA_SUCCESS) return result;
  return known_stream(stream) ? CUDA_SUCCESS
                              : refuse(CUDA_ERROR_INVALID_HANDLE, "synchronisation of an unknown stream");
}

// Of the stream that a thread has to itself: the thread's own number.
CUresult fake_stream_get_id(CUstream stream, unsigned long long *id) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamGetId");
  if (result != CUDA_SUCCESS) return result;
  if (!known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, "number of an unknown stream");
  *id = stream == CU_STREAM_PER_THREAD ? static_cast<unsigned long long>(gettid()) : number(stream);
  return CUDA_SUCCESS;
}

CUresult fake_stream_is_capturing(CUstream stream, CUstreamCaptureStatus *status) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamIsCapturing");
  if (result != CUDA_SUCCESS) return result;
  const auto found = state().captures.find(stream);
  *status = static_cast<CUstreamCaptureStatus>(found == state().captures.end() ? 0
                                               : found->second == 1            ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                                                               : found->second);
  return CUDA_SUCCESS;
}

CUresult fake_thread_exchange_capture_mode(CUstreamCaptureMode *mode) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuThreadExchangeStreamCaptureMode");
  if (result != CUDA_SUCCESS) return result;
  std::swap(*mode, fake::capture_mode());
  return CUDA_SUCCESS;
}

CUresult fake_event_create(CUevent *event, unsigned int) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuEventCreate");
  if (result != CUDA_SUCCESS) return result;
  *event = reinterpret_cast<CUevent>(new char);
  state().events[*event] = 0;
  return CUDA_SUCCESS;
}

CUresult fake_event_destroy(CUevent event) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuEventDestroy");
  if (state().events.erase(event) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "destruction of an unknown event");
  delete reinterpret_cast<char *>(event);
  return result;
}

CUresult fake_event_record(CUevent event, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuEventRecord");
  if (result != CUDA_SUCCESS) return result;
  if (state().events.count(event) == 0 || !known_stream(stream))
    return refuse(CUDA_ERROR_INVALID_HANDLE, "record of an unknown event");
  state().events[event] = ++state().tick;
  state().event_us[event] = state().device_us;
  return CUDA_SUCCESS;
}

CUresult fake_event_synchronize(CUevent event) {
  const Lock lock(state().mutex);
  const CUresult result = enter_outside_capture("cuEventSynchronize");
  if (result != CUDA_SUCCESS) return result;
  return state().events.count(event) != 0 ? CUDA_SUCCESS
                                          : refuse(CUDA_ERROR_INVALID_HANDLE, "synchronisation of an unknown event");
}

// Records are one quarter of a millisecond apart; with option "attend", what the launches in between took.
CUresult fake_event_elapsed_time(float *milliseconds, CUevent start, CUevent end) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuEventElapsedTime");
  if (result != CUDA_SUCCESS) return result;
  const auto first = state().events.find(start), last = state().events.find(end);
  if (first == state().events.end() || last == state().events.end() || first->second == 0 || last->second == 0)
    return CUDA_ERROR_INVALID_HANDLE;
  *milliseconds = option("attend") == 0 ? 0.25f * static_cast<float>(last->second - first->second)
                                        : static_cast<float>((state().event_us[end] - state().event_us[start]) / 1000);
  return CUDA_SUCCESS;
}
