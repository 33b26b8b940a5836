// SPDX-License-Identifier: Apache-2.0
//
// How a tool ends: its exit codes, and Outcome<T>, a value or the Failure that ends the tool. What the library says
// with flashcore_error becomes a Failure in library_failure(); nothing here prints (console.hpp does).
#pragma once

#include <flashcore/flashcore.h>

#include <string>
#include <utility>
#include <variant>

namespace flashcore::tools {

// The same in every tool; tests/cli holds them.
enum ExitCode : int {
  exit_ok = 0,
  exit_failed_check = 1,   // a check failed, or the work itself did
  exit_usage = 2,          // the command line, or a request that this build refuses
  exit_no_device = 3,      // a GPU was asked for and there is no GPU or no driver
  exit_bad_input = 4,      // a file cannot be opened, is damaged or does not fit
  exit_interrupted = 130,  // Ctrl-C
};

struct Failure {
  int exit_code = exit_failed_check;
  std::string message;  // what was given, what is allowed, what to do next
};

inline Failure usage_failure(std::string message) { return {exit_usage, std::move(message)}; }
inline Failure input_failure(std::string message) { return {exit_bad_input, std::move(message)}; }
// `action` says what was tried ("open device cuda:0").
Failure library_failure(const std::string &action, const flashcore_error &error);

template <typename T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return state_.index() == 0; }
  T &value() & { return std::get<0>(state_); }
  const T &value() const & { return std::get<0>(state_); }
  T &&value() && { return std::get<0>(std::move(state_)); }
  Failure &failure() { return std::get<1>(state_); }
  const Failure &failure() const { return std::get<1>(state_); }

 private:
  std::variant<T, Failure> state_;
};

struct Done {};
using Step = Outcome<Done>;  // success carries nothing

}  // namespace flashcore::tools

// Leave the function with the failure of an Outcome, or go on.
#define TOOLS_TRY(expression)                                                                                          \
  do {                                                                                                                 \
    if (auto tools_try_outcome = (expression); !tools_try_outcome.ok()) return std::move(tools_try_outcome.failure()); \
  } while (0)

// TOOLS_TRY_ASSIGN(auto threads, integer_option(...)): the value, or leave with the failure.
#define TOOLS_TRY_ASSIGN(declaration, expression) \
  TOOLS_TRY_ASSIGN_NAMED(declaration, expression, TOOLS_CONCAT(tools_outcome_, __LINE__))
#define TOOLS_TRY_ASSIGN_NAMED(declaration, expression, name) \
  auto name = (expression);                                   \
  if (!name.ok()) return std::move(name.failure());           \
  declaration = std::move(name).value()
#define TOOLS_CONCAT(a, b) TOOLS_CONCAT_INNER(a, b)
#define TOOLS_CONCAT_INNER(a, b) a##b
