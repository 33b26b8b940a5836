// SPDX-License-Identifier: Apache-2.0
//
// The products of a warpgroup (hopper.hpp): issued warp by warp, computed for all four at once, given to each thread when it has waited.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "block.hpp"
#include "copy_engine.hpp"
#include "hopper.hpp"

namespace emulator {

class Block;
struct Thread;

class Warpgroup {
 public:
  static constexpr int32_t warps = 4, threads = warps * warp_size, rows = 64;

  explicit Warpgroup(Block &block) : block_(block), of_threads_(threads) {}

  // By all lanes of a warp, and once for it.
  void issue(size_t warp, void *const (&issued)[warp_size]);
  void end_group(size_t warp) { ++groups_[warp]; }
  // By each thread, within the warpgroup.
  void fence(size_t thread);
  void wait(size_t thread, int32_t groups_pending);
  bool has_unfinished() const;
  // Shared memory that a product reads, for which nobody has waited: a fault.
  void check_not_read(const char *what, const ByteRange &range) const;

 private:
  // What a chain of products adds to, until it has been waited for.
  struct Accumulators {
    int32_t columns;
    std::vector<float> sums;  // [rows][columns]
    float *at[threads] = {};
    bool under_way[threads] = {};
    int64_t last_group[warps] = {};
    float *row_of(int32_t row) { return sums.data() + row * columns; }
  };
  struct Product {
    Operands operands;  // of its first thread
    std::shared_ptr<Accumulators> accumulators;
    int64_t group;
    int32_t warps_issued = 0, threads_waited = 0;
    bool done = false;
    const uint32_t *a[threads] = {};
    uint32_t a_when_issued[threads][4] = {};
    std::vector<ByteRange> reads;
    Clock issuer;  // of the threads whose reads were looked at last
  };
  // Registers that products have used, and what they held at the last fence.
  struct Registers {
    const void *at;
    size_t words;
    uint64_t hash;
  };
  struct OfThread {
    bool has_fenced = false;
    std::vector<Registers> known;
    size_t first_not_waited = 0;
  };

  Product &product_of(size_t warp, const Operands &operands);
  void check_same(const Product &product, const Operands &operands, int64_t group) const;
  void begin(Product &product, size_t thread, const Operands &operands);
  void check_fenced(size_t thread, const char *which, const void *at, size_t words);
  void know(size_t thread, const void *at, size_t words);
  void check_untouched(const Accumulators &accumulators, size_t thread) const;
  void check_operand(const Product &product, size_t thread) const;
  void compute(Product &product);
  void compute_to(const Product &last);
  void deliver(size_t thread, int64_t groups_due);

  Block &block_;
  std::deque<Product> products_;
  size_t first_ = 0;  // the number of products_[0]
  size_t issued_[warps] = {};
  int64_t groups_[warps] = {};
  std::vector<OfThread> of_threads_;
  std::vector<const Thread *> waiting_;
  Clock done_;  // of so many products: threads wait for the same one after the other
  uint32_t products_done_ = 0;
};

}  // namespace emulator
