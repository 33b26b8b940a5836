/* SPDX-License-Identifier: Apache-2.0
 *
 * What calls of flashcore.hpp return: an Error with its texts, a Result that holds a value or an Error, and, for who prefers
 * exceptions, or_throw. flashcore.hpp includes this header and has the manners.
 */
#ifndef FLASHCORE_RESULT_HPP
#define FLASHCORE_RESULT_HPP

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__cpp_exceptions)
#include <exception>
#endif

#include "flashcore.h"

namespace flashcore {

/* Why a call failed. The texts live as long as the object. */
class Error {
 public:
  Error() noexcept { clear(); }
  Error(flashcore_status status, const char *field, const char *message) noexcept {
    clear();
    raw_.status = status;
    std::snprintf(raw_.field, sizeof raw_.field, "%s", field);
    std::snprintf(raw_.message, sizeof raw_.message, "%s", message);
  }
  Error(const Error &other) noexcept { copy(other); }
  Error &operator=(const Error &other) noexcept {
    if (this != &other) copy(other);
    return *this;
  }

  flashcore_status status() const noexcept { return raw_.status; }
  const char *name() const noexcept { return flashcore_status_name(raw_.status); } /* "INVALID_ARGUMENT" */
  const char *field() const noexcept { return raw_.field; }                        /* "key.stride[1]"; may be empty */
  const char *message() const noexcept { return raw_.message; }                    /* a sentence */
  std::int32_t driver_code() const noexcept { return raw_.driver_code; } /* CUresult or nvrtcResult; 0: none */

  /* For a function of flashcore.h, which writes here when it fails. */
  flashcore_error *out() noexcept { return &raw_; }

 private:
  /* A call that succeeds writes nothing here, so the texts are not worth 1 KiB of zeros on every call. */
  void clear() noexcept {
    raw_.struct_size = sizeof raw_;
    raw_.status = FLASHCORE_OK;
    raw_.driver_code = raw_.reserved = 0;
    raw_.field[0] = raw_.message[0] = '\0';
  }
  void copy(const Error &other) noexcept {
    clear();
    raw_.status = other.raw_.status;
    raw_.driver_code = other.raw_.driver_code;
    std::memcpy(raw_.field, other.raw_.field, std::strlen(other.raw_.field) + 1);
    std::memcpy(raw_.message, other.raw_.message, std::strlen(other.raw_.message) + 1);
  }
  flashcore_error raw_;
};

/* A value, or the error that stands in its place. After a failure the value is an empty T: zero, or a closed owner. */
template <typename T>
class [[nodiscard]] Result {
 public:
  Result() noexcept = default;
  Result(T value) noexcept : value_(std::move(value)) {}
  Result(const Error &error) noexcept : error_(error) {}

  bool ok() const noexcept { return error_.status() == FLASHCORE_OK; }
  explicit operator bool() const noexcept { return ok(); }
  const Error &error() const noexcept { return error_; }

  T &value() &noexcept { return value_; }
  const T &value() const &noexcept { return value_; }
  T &&value() &&noexcept { return std::move(value_); }
  T *operator->() noexcept { return &value_; }
  const T *operator->() const noexcept { return &value_; }

 private:
  T value_{};
  Error error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() noexcept = default;
  Result(const Error &error) noexcept : error_(error) {}

  bool ok() const noexcept { return error_.status() == FLASHCORE_OK; }
  explicit operator bool() const noexcept { return ok(); }
  const Error &error() const noexcept { return error_; }

 private:
  Error error_;
};

namespace detail {

/* A call of flashcore.h as a result. The functions end with an error to write to, which is added here. */
template <typename Function, typename... Arguments>
Result<void> attempt(Function function, Arguments... arguments) noexcept {
  Error error;
  if (function(arguments..., error.out()) != FLASHCORE_OK) return error;
  return {};
}

/* The same for a function that fills a value, its last parameter but one. A struct gets its size. */
template <typename T, typename Function, typename... Arguments>
Result<T> attempt_value(Function function, Arguments... arguments) noexcept {
  Error error;
  T value{};
  if constexpr (std::is_class_v<T>) value.struct_size = sizeof(T);
  if (function(arguments..., &value, error.out()) != FLASHCORE_OK) return error;
  return value;
}

}  // namespace detail

#if defined(__cpp_exceptions)
/* What or_throw throws. */
class Exception : public std::exception {
 public:
  explicit Exception(const Error &error) noexcept : error_(error) {}
  const char *what() const noexcept override { return error_.message(); }
  const Error &error() const noexcept { return error_; }

 private:
  Error error_;
};

/* The value of a result, or its error as an Exception. */
template <typename T>
T or_throw(Result<T> &&result) {
  if (!result) throw Exception(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}
#endif

}  // namespace flashcore

#endif
