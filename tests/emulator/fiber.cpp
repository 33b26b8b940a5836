// SPDX-License-Identifier: Apache-2.0
#include "fiber.hpp"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {
namespace {

using boost::context::stack_context;

constexpr size_t stack_bytes = 256 * 1024;

// Stacks end in a page that no one may touch, and are used again: what a thread before left there is a register's garbage.
class Stacks {
 public:
  ~Stacks() {
    for (stack_context &stack : free_) fresh_.deallocate(stack);
  }
  stack_context take() {
    if (free_.empty()) return fresh_.allocate();
    const stack_context stack = free_.back();
    free_.pop_back();
    return stack;
  }
  void give_back(const stack_context &stack) { free_.push_back(stack); }

 private:
  boost::context::protected_fixedsize_stack fresh_{stack_bytes};
  std::vector<stack_context> free_;
};

Stacks &stacks() {
  static Stacks all;
  return all;
}

// The fiber's stack is the Fiber's to keep.
struct BorrowedStack {
  stack_context stack;
  stack_context allocate() { return stack; }
  void deallocate(stack_context &) {}
};

// Ends a body that nobody waits for any more.
struct Stopped {};

// Before and after a change of stacks.
void leave([[maybe_unused]] void **kept, [[maybe_unused]] const void *bottom, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(kept, bottom, bytes);
#endif
}
void arrive([[maybe_unused]] void *kept, [[maybe_unused]] const void **bottom, [[maybe_unused]] size_t *bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(kept, bottom, bytes);
#endif
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)), stack_(stacks().take()) {
  inside_ = boost::context::fiber(std::allocator_arg, BorrowedStack{stack_}, [this](boost::context::fiber &&outside) {
    outside_ = std::move(outside);
    arrive(nullptr, &outside_bottom_, &outside_bytes_);
    try {
      if (!stopping_) body_();
    } catch (const Stopped &) {
    }
    leave(nullptr, outside_bottom_, outside_bytes_);
    return std::move(outside_);
  });
}

Fiber::~Fiber() {
  stopping_ = true;
  if (inside_) resume();
  stacks().give_back(stack_);
}

void Fiber::resume() {
  running_stack_ = static_cast<const char *>(stack_.sp) - stack_.size, running_stack_bytes_ = stack_.size;
  leave(&left_outside_, running_stack_, running_stack_bytes_);
  inside_ = std::move(inside_).resume();
  arrive(left_outside_, nullptr, nullptr);
}

void Fiber::pause() {
  leave(&left_inside_, outside_bottom_, outside_bytes_);
  outside_ = std::move(outside_).resume();
  arrive(left_inside_, &outside_bottom_, &outside_bytes_);
  if (stopping_) throw Stopped();
}

}  // namespace emulator
