// SPDX-License-Identifier: Apache-2.0
//
// Error: what went wrong, as a value. Result<T>: a T or an Error. Below the API nothing throws on purpose; the one
// exception barrier stands in api/api_guard.hpp and exists for std::bad_alloc.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "flashcore/flashcore_status.h"

namespace flashcore {

struct Error {
  flashcore_status status = FLASHCORE_INTERNAL;
  std::string message;      // a sentence: what was given, what is allowed, what to do next
  std::string field = {};   // the argument at fault, in the words of flashcore.h
  int32_t driver_code = 0;  // CUresult or nvrtcResult, 0 where there is none
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T &value() & { return std::get<0>(state_); }
  const T &value() const & { return std::get<0>(state_); }
  T &&value() && { return std::get<0>(std::move(state_)); }
  Error &error() { return std::get<1>(state_); }
  const Error &error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Unit {};
using Status = Result<Unit>;  // success carries nothing
inline Status success() { return Unit{}; }

}  // namespace flashcore

// Leave the function with the error of a Result, or go on.
#define FLASHCORE_TRY(expression)                                             \
  do {                                                                        \
    if (auto flashcore_try_result = (expression); !flashcore_try_result.ok()) \
      return std::move(flashcore_try_result.error());                         \
  } while (0)

// FLASHCORE_TRY_ASSIGN(auto bytes, read_file(path)): the value, or leave with the error.
#define FLASHCORE_TRY_ASSIGN(declaration, expression) \
  FLASHCORE_TRY_ASSIGN_NAMED(declaration, expression, FLASHCORE_CONCAT(flashcore_result_, __LINE__))
#define FLASHCORE_TRY_ASSIGN_NAMED(declaration, expression, name) \
  auto name = (expression);                                       \
  if (!name.ok()) return std::move(name.error());                 \
  declaration = std::move(name).value()
#define FLASHCORE_CONCAT(a, b) FLASHCORE_CONCAT_INNER(a, b)
#define FLASHCORE_CONCAT_INNER(a, b) a##b
