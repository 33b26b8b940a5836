// SPDX-License-Identifier: Apache-2.0
//
// What a tool leaves behind: files that appear under their name whole or not at all, also when Ctrl-C comes in between.
// What the bytes are is the caller's business.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "outcome.hpp"

namespace flashcore::tools {

// Ctrl-C from here on. end_now: the process ends with exit_interrupted. finish_step: the first one only makes
// interrupted() true, for work that can stop in good order; the second one ends the process.
enum class OnInterrupt { end_now, finish_step };
void handle_interrupts(OnInterrupt mode);
bool interrupted();

// While it lives, Ctrl-C waits; if one came, the process ends with exit_interrupted afterwards. Held around the writing
// of results, so that no half of them stays.
class HeldInterrupts {
 public:
  HeldInterrupts();
  ~HeldInterrupts();
  HeldInterrupts(const HeldInterrupts &) = delete;
  HeldInterrupts &operator=(const HeldInterrupts &) = delete;
};

// A file to be: first planned, then written under a temporary name beside its place, then renamed. A link is followed. What
// was not committed is gone with the object.
class OutputFile {
 public:
  OutputFile(OutputFile &&other) noexcept;
  OutputFile &operator=(OutputFile &&) = delete;
  ~OutputFile();

  // Can `path` be written at all? Asked before the work is done; `option` is named in the failure. Makes nothing.
  static Outcome<OutputFile> plan(const std::string &option, const std::string &path);
  const std::string &path() const { return path_; }
  // The parts one after the other; once.
  Step write(std::initializer_list<std::span<const uint8_t>> parts);
  Step write(std::span<const uint8_t> bytes) { return write({bytes}); }
  // Give it its name. An older file of that name is replaced in one step.
  Step commit();

 private:
  OutputFile() = default;
  Failure failure(int code) const;

  std::string option_, path_, target_;
  std::string temporary_;  // while it is there: written and not committed
};

}  // namespace flashcore::tools
