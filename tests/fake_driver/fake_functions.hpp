// SPDX-License-Identifier: Apache-2.0
//
// The exported functions of the stand-in driver, declared from the library's own list and under the driver's symbol
// names, so that a function added there without a stand-in does not build; and what all of them do first.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include <string>
#include <type_traits>

#include "fake_state.hpp"

#define FAKE_EXPORT __attribute__((visibility("default")))

#define X(member, name, symbol, type, version) \
  extern "C" FAKE_EXPORT std::remove_pointer_t<type> fake_##member __asm__(symbol);
#include "driver/cuda_functions.inc"
#undef X
extern "C" FAKE_EXPORT std::remove_pointer_t<PFN_cuDriverGetVersion_v2020> fake_driver_get_version __asm__(
    "cuDriverGetVersion");
extern "C" FAKE_EXPORT std::remove_pointer_t<PFN_cuGetProcAddress_v12000> fake_get_proc_address __asm__(
    "cuGetProcAddress_v2");

namespace fake {

using Lock = std::lock_guard<std::mutex>;

inline CUresult code_of(int64_t number) { return static_cast<CUresult>(number); }

inline CUresult refuse(CUresult result, const std::string &why) {
  note_misuse(why);
  return result;
}

// Count the call; its injected failure, or the failures that every call has in common.
CUresult enter(const char *name);
CUresult enter_in_context(const char *name);
CUresult enter_outside_capture(const char *name);  // for calls that break a capture

// The default streams, which every context has.
inline bool is_default_stream(CUstream stream) {
  return stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

inline bool known_stream(CUstream stream) {
  return is_default_stream(stream) || state().streams.count(stream) != 0 || state().user_streams.count(stream) != 0;
}

// The context that a known stream was made in; null for a default stream.
inline Context *context_of_stream(CUstream stream) {
  const auto found = state().streams.find(stream), users = state().user_streams.find(stream);
  return found != state().streams.end() ? found->second : users != state().user_streams.end() ? users->second : nullptr;
}

}  // namespace fake
