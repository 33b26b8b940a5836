// SPDX-License-Identifier: Apache-2.0
//
// The door of the library: every exported function that can fail runs its body in guarded(), which turns an Error into a
// status and the caller's flashcore_error, lets no exception out, and has a thread that is cancelled end after the call.
#pragma once

#include <exception>
#include <new>
#include <string_view>

#include "base/copy_text.hpp"
#include "base/deferred_cancellation.hpp"
#include "base/error.hpp"
#include "base/struct_size.hpp"
#include "flashcore/flashcore.h"
#include "runtime/context.hpp"

namespace flashcore {

// Version 1 of flashcore_error is what every caller has at least; a size above the limit was never set.
inline bool error_is_writable(const flashcore_error *error) {
  if (error == nullptr) return false;
  const uint32_t size = struct_size_of(error);
  return size >= sizeof(flashcore_error) && size <= largest_struct_bytes;
}

// Without allocation, for when memory is gone.
inline flashcore_status report(flashcore_error *error, flashcore_status status, int32_t driver_code,
                               std::string_view field, std::string_view message) {
  if (!error_is_writable(error)) return status;
  flashcore_error content{};
  content.status = status;
  content.driver_code = driver_code;
  copy_text(content.field, field);
  copy_text(content.message, message);
  fill_sized_struct(error, struct_size_of(error), content);
  return status;
}

// No exception comes out but the one that unwinds a thread which is cancelled: this is not noexcept, which would end the process.
template <typename Body>
flashcore_status reported(flashcore_error *error, Body body) {
  if (error != nullptr && !error_is_writable(error)) return FLASHCORE_INVALID_ARGUMENT;
  try {
    const Status status = body();
    if (status.ok()) return FLASHCORE_OK;
    const Error &what = status.error();
    return report(error, what.status, what.driver_code, what.field, what.message);
  } catch (const std::bad_alloc &) {
    return report(error, FLASHCORE_OUT_OF_HOST_MEMORY, 0, "", flashcore_status_sentence(FLASHCORE_OUT_OF_HOST_MEMORY));
  } catch (const std::exception &exception) {
    return report(error, FLASHCORE_INTERNAL, 0, "", exception.what());
  }
}

template <typename Body>
flashcore_status guarded(flashcore_error *error, Body body) {
  const DeferredCancellation deferred;
  return reported(error, body);
}

inline Error null_argument(const char *name) {
  return {FLASHCORE_INVALID_ARGUMENT, std::string(name) + " is NULL; allowed: a valid pointer", name};
}

// Run a body that needs the context behind the handle.
template <typename Body>
flashcore_status with_context(flashcore_context handle, flashcore_error *error, Body body) {
  return guarded(error, [&]() -> Status {
    if (handle == nullptr) return null_argument("context");
    return body(*reinterpret_cast<Context *>(handle));
  });
}

// What comes back through a pointer is 0 or NULL on every failure, also of the arguments before it.
template <typename T>
void clear(T *out) noexcept {
  if (out != nullptr) *out = T{};
}

// Store what a Result holds in an out-parameter.
template <typename T>
Status store_result(Result<T> result, T *out) {
  if (!result.ok()) return std::move(result.error());
  *out = std::move(result).value();
  return success();
}

}  // namespace flashcore
