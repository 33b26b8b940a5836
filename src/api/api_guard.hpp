// SPDX-License-Identifier: Apache-2.0
//
// The door of the library: every exported function that can fail runs its body in guarded(), which turns an Error into a
// status and the caller's flashcore_error, and lets no exception out.
#pragma once

#include <exception>
#include <new>
#include <string_view>

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "runtime/context.hpp"

namespace flashcore {

// Version 1 of flashcore_error: what every caller has at least.
inline bool error_is_writable(const flashcore_error *error) { return error != nullptr && error->struct_size >= sizeof(flashcore_error); }

inline flashcore_status report(flashcore_error *error, const Error &what) {
  if (error_is_writable(error)) {
    error->status = what.status;
    error->driver_code = what.driver_code;
    error->reserved = 0;
    copy_text(error->field, what.field);
    copy_text(error->message, what.message);
  }
  return what.status;
}

// Without allocation, for when memory is gone.
inline flashcore_status report_plain(flashcore_error *error, flashcore_status status, std::string_view message) {
  if (error_is_writable(error)) {
    error->status = status;
    error->driver_code = 0;
    error->reserved = 0;
    copy_text(error->field, "");
    copy_text(error->message, message);
  }
  return status;
}

template <typename Body>
flashcore_status guarded(flashcore_error *error, Body body) noexcept {
  if (error != nullptr && !error_is_writable(error)) return FLASHCORE_INVALID_ARGUMENT;
  try {
    const Status status = body();
    return status.ok() ? FLASHCORE_OK : report(error, status.error());
  } catch (const std::bad_alloc &) {
    return report_plain(error, FLASHCORE_OUT_OF_HOST_MEMORY, flashcore_status_sentence(FLASHCORE_OUT_OF_HOST_MEMORY));
  } catch (const std::exception &exception) {
    return report_plain(error, FLASHCORE_INTERNAL, exception.what());
  }
}

inline Error null_argument(const char *name) {
  return {FLASHCORE_INVALID_ARGUMENT, std::string(name) + " is NULL; allowed: a valid pointer", name};
}

// Run a body that needs the context behind the handle.
template <typename Body>
flashcore_status with_context(flashcore_context handle, flashcore_error *error, Body body) noexcept {
  return guarded(error, [&]() -> Status {
    if (handle == nullptr) return null_argument("context");
    return body(*reinterpret_cast<Context *>(handle));
  });
}

// Store what a Result holds in an out-parameter.
template <typename T>
Status store_result(Result<T> result, T *out) {
  if (!result.ok()) return std::move(result.error());
  *out = std::move(result).value();
  return success();
}

}  // namespace flashcore
