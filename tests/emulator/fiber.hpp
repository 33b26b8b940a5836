// SPDX-License-Identifier: Apache-2.0
//
// A function on a stack of its own, which pauses and is resumed (Boost.Context). AddressSanitizer is told of every change of stacks.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>

namespace emulator {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();  // a body that has not ended ends where it paused
  Fiber(const Fiber &) = delete;
  Fiber &operator=(const Fiber &) = delete;

  void resume();  // until it pauses or ends
  void pause();   // called within it
  // That of the one that was resumed last: asked at each access through a pointer.
  static bool is_on_running_stack(const void *at) {
    return static_cast<size_t>(static_cast<const char *>(at) - running_stack_) < running_stack_bytes_;
  }

 private:
  static inline const char *running_stack_ = nullptr;  // where it begins
  static inline size_t running_stack_bytes_ = 0;

  std::function<void()> body_;
  boost::context::stack_context stack_;
  boost::context::fiber inside_, outside_;
  bool stopping_ = false;
  // What AddressSanitizer keeps of a stack that is left, and where that of the resumer lies.
  void *left_inside_ = nullptr, *left_outside_ = nullptr;
  const void *outside_bottom_ = nullptr;
  size_t outside_bytes_ = 0;
};

}  // namespace emulator
