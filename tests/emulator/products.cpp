// SPDX-License-Identifier: Apache-2.0
#include "products.hpp"

#include <algorithm>
#include <cstring>

#include "block_state.hpp"
#include "matrix_product.hpp"
#include "warp.hpp"

namespace emulator {
namespace {

constexpr const char *product_name = "wgmma.mma_async", *wait_name = "wgmma.wait_group";
constexpr size_t depth = product_depth;

// A descriptor of rows of 128 permuted bytes.
struct Matrix {
  int64_t begin, panel_bytes, bytes_of_eight_rows;

  explicit Matrix(uint64_t descriptor)
      : begin(static_cast<int64_t>(descriptor & 0x3fff) * 16 - window_begins),
        panel_bytes(static_cast<int64_t>(descriptor >> 16 & 0x3fff) * 16),
        bytes_of_eight_rows(static_cast<int64_t>(descriptor >> 32 & 0x3fff) * 16) {}
  static bool is_emulated(uint64_t descriptor) {
    // The permutation of 128 bytes from a multiple of 1024 on, and no bit where none has a meaning.
    return descriptor >> 46 == uint64_t{1} << 16 && (descriptor >> 30 & 3) == 0 && (descriptor >> 14 & 3) == 0;
  }
  // Columns of one panel, whose rows are the matrix's.
  ByteRange rows_of_panel(int64_t panel, int64_t rows) const {
    const int64_t at = (begin & ~int64_t{127}) + panel * panel_bytes;
    return {at, at + (rows / 8 - 1) * bytes_of_eight_rows + 1024};
  }
  int64_t offset(int64_t row, int64_t column_bytes) const {
    const int64_t plain = begin + row / 8 * bytes_of_eight_rows + row % 8 * 128 + column_bytes;
    return plain ^ (plain >> 7 & 7) << 4;
  }
  float element(int64_t row, int64_t column_bytes, bool bfloat16) const {
    uint16_t bits;
    std::memcpy(&bits, shared_window() + offset(row, column_bytes), 2);
    return float_of(bits, bfloat16);
  }
};

std::vector<ByteRange> ranges_read(const Operands &operands) {
  std::vector<ByteRange> ranges;
  if (operands.a == nullptr) ranges.push_back(Matrix(operands.a_matrix).rows_of_panel(0, Warpgroup::rows));
  const Matrix b(operands.b_matrix);
  if (!operands.b_is_transposed)
    ranges.push_back(b.rows_of_panel(0, operands.columns));
  else
    for (int64_t panel = 0; panel * 64 < operands.columns; ++panel) ranges.push_back(b.rows_of_panel(panel, depth));
  return ranges;
}

// Of 16 bytes each: what the products really read, where the ranges above are of whole rows.
template <typename Function>
void for_each_chunk(const Operands &operands, Function function) {
  const auto rows = [&](const Matrix &matrix, int64_t count, int64_t panel, int64_t bytes) {
    for (int64_t row = 0; row < count; ++row)
      for (int64_t column = 0; column < bytes; column += 16) {
        const int64_t begin = matrix.offset(row, panel * matrix.panel_bytes + column);
        function(ByteRange{begin, begin + 16});
      }
  };
  constexpr int64_t depth_bytes = depth * 2, panel_columns = 64;
  if (operands.a == nullptr) rows(Matrix(operands.a_matrix), Warpgroup::rows, 0, depth_bytes);
  const Matrix b(operands.b_matrix);
  if (!operands.b_is_transposed) return rows(b, operands.columns, 0, depth_bytes);
  for (int64_t panel = 0; panel * panel_columns < operands.columns; ++panel)
    rows(b, depth, panel, std::min(panel_columns, operands.columns - panel * panel_columns) * 2);
}

struct Issued {
  Operands operands;
  Site site;
};

// Where a thread has its i-th accumulator, and the halves of a register of A.
struct Element {
  int32_t row, column;
};
Element of_accumulator(size_t thread, int32_t i) {
  const auto lane = static_cast<int32_t>(thread % warp_size), warp = static_cast<int32_t>(thread / warp_size);
  return {warp * 16 + i / 2 % 2 * 8 + lane / 4, i / 4 * 8 + lane % 4 * 2 + i % 2};
}
Element of_operand(size_t thread, int32_t i) {
  const auto lane = static_cast<int32_t>(thread % warp_size), warp = static_cast<int32_t>(thread / warp_size);
  return {warp * 16 + i % 2 * 8 + lane / 4, i / 2 * 8 + lane % 4 * 2};
}

// Registers are looked at when nobody knows whether they still are what they were: no matter for AddressSanitizer.
__attribute__((no_sanitize("address"))) uint64_t hash_of(const void *at, size_t words) {
  const auto *const word = static_cast<const volatile uint32_t *>(at);
  uint64_t hash = 1469598103934665603u;
  for (size_t i = 0; i < words; ++i) hash = (hash ^ word[i]) * 1099511628211u;
  return hash;
}

}  // namespace

// ---- Issue ---------------------------------------------------------------------------------------------------------
Warpgroup::Product &Warpgroup::product_of(size_t warp, const Operands &operands) {
  const size_t index = issued_[warp]++ - first_;
  if (index == products_.size()) {
    Product &product = products_.emplace_back();
    product.operands = operands, product.group = groups_[warp], product.reads = ranges_read(operands);
  }
  return products_[index];
}

void Warpgroup::check_same(const Product &product, const Operands &operands, int64_t group) const {
  const Operands &first = product.operands;
  if (first.columns != operands.columns || first.a_matrix != operands.a_matrix || first.b_matrix != operands.b_matrix ||
      first.b_is_transposed != operands.b_is_transposed || first.accumulate != operands.accumulate ||
      first.bfloat16 != operands.bfloat16 || (first.a == nullptr) != (operands.a == nullptr) || product.group != group)
    block_.fault(std::string(product_name) + ": threads of the warpgroup mean different products");
}

void Warpgroup::know(size_t thread, const void *at, size_t words) {
  auto &known = of_threads_[thread].known;
  const auto found = std::find_if(known.begin(), known.end(), [&](const Registers &r) { return r.at == at; });
  if (found == known.end())
    known.push_back({at, words, hash_of(at, words)});
  else
    *found = {at, words, hash_of(at, words)};
}

void Warpgroup::check_fenced(size_t thread, const char *which, const void *at, size_t words) {
  for (const Registers &r : of_threads_[thread].known)
    if (r.at == at && r.words == words && r.hash != hash_of(at, words))
      block_.fault(std::string(product_name) + ": its " + which + " were written after the last wgmma.fence");
}

void Warpgroup::check_untouched(const Accumulators &accumulators, size_t thread) const {
  if (!block_.is_spoilt(accumulators.at[thread], accumulators.columns * 2))
    block_.fault("accumulators of wgmma were written before they were waited for");
}

void Warpgroup::begin(Product &product, size_t thread, const Operands &operands) {
  Accumulators &sums = *product.accumulators;
  const auto words = static_cast<size_t>(operands.columns / 2);
  if (!of_threads_[thread].has_fenced) block_.fault(std::string(product_name) + " without a wgmma.fence before");
  if (sums.under_way[thread]) {
    if (sums.at[thread] != operands.accumulators || sums.columns != operands.columns)
      block_.fault(std::string(product_name) + ": threads of the warpgroup mean different accumulators");
    check_untouched(sums, thread);
  } else {
    check_fenced(thread, "accumulators", operands.accumulators, words);
    sums.at[thread] = operands.accumulators, sums.under_way[thread] = true;
    for (int32_t i = 0; i < operands.columns / 2; ++i) {
      const Element element = of_accumulator(thread, i);
      sums.row_of(element.row)[element.column] = operands.accumulators[i];
    }
    block_.spoil(reinterpret_cast<unsigned char *>(operands.accumulators), operands.columns * 2);
  }
  if (operands.a == nullptr) return;
  check_fenced(thread, "registers of A", operands.a, 4);
  know(thread, operands.a, 4);
  product.a[thread] = operands.a;
  std::memcpy(product.a_when_issued[thread], operands.a, sizeof(product.a_when_issued[thread]));
}

void Warpgroup::issue(size_t warp, void *const (&lanes)[warp_size]) {
  const auto operands_of = [&](size_t lane) -> const Operands & {
    return static_cast<const Issued *>(lanes[lane])->operands;
  };
  const Operands &first = operands_of(0);
  if (!Matrix::is_emulated(first.b_matrix) || (first.a == nullptr && !Matrix::is_emulated(first.a_matrix)))
    block_.fault(std::string(product_name) + ": only matrices of rows of 128 permuted bytes are emulated");
  Product &product = product_of(warp, first);
  const size_t first_thread = warp * warp_size;
  if (product.accumulators == nullptr) {
    for (const Product &before : products_)
      if (before.accumulators != nullptr && before.accumulators->under_way[first_thread] &&
          before.accumulators->at[first_thread] == first.accumulators)
        product.accumulators = before.accumulators;
    if (product.accumulators == nullptr) {
      product.accumulators = std::make_shared<Accumulators>();
      product.accumulators->columns = first.columns;
      product.accumulators->sums.resize(static_cast<size_t>(rows) * static_cast<size_t>(first.columns));
    }
  }
  for (size_t lane = 0; lane < warp_size; ++lane) {
    check_same(product, operands_of(lane), groups_[warp]);
    begin(product, first_thread + lane, operands_of(lane));
  }
  product.accumulators->last_group[warp] = product.group;
  for (const ByteRange &range : product.reads) {
    const auto address = [&](int64_t offset) { return block_.address_of(offset); };
    block_.shared_at(product_name, address(range.begin), 16),
        block_.shared_at(product_name, address(range.end - 16), 16);
    block_.engine().check_read(product_name, range);
  }
  const auto number = static_cast<uint32_t>(issued_[warp] - 1);
  block_.races().by_product(
      number, block_.warp(), product.issuer, [&](const auto &read) { for_each_chunk(first, read); },
      static_cast<const Issued *>(lanes[0])->site);
  if (++product.warps_issued < warps) return;
  ++in_background;
  if (block_.now(block_.product_time())) compute_to(product);
  for (const Thread *thread : waiting_) block_.wake(*thread);
  waiting_.clear();
}

// ---- Computation ---------------------------------------------------------------------------------------------------
void Warpgroup::check_operand(const Product &product, size_t thread) const {
  if (product.a[thread] != nullptr && std::memcmp(product.a[thread], product.a_when_issued[thread], 16) != 0)
    block_.fault("registers of A of wgmma were written before it was waited for");
}

void Warpgroup::compute(Product &product) {
  const Operands &operands = product.operands;
  const auto columns = static_cast<size_t>(operands.columns);
  float a[rows][depth];
  std::vector<float> b(depth * columns);
  if (operands.a == nullptr) {
    const Matrix matrix(operands.a_matrix);
    for (int64_t i = 0; i < rows; ++i)
      for (size_t k = 0; k < depth; ++k) a[i][k] = matrix.element(i, static_cast<int64_t>(k) * 2, operands.bfloat16);
  } else {
    for (size_t thread = 0; thread < threads; ++thread)
      for (int32_t i = 0; i < 4; ++i) {
        const Element element = of_operand(thread, i);
        const uint32_t pair = product.a[thread][i];
        a[element.row][element.column] = float_of(static_cast<uint16_t>(pair), operands.bfloat16);
        a[element.row][element.column + 1] = float_of(static_cast<uint16_t>(pair >> 16), operands.bfloat16);
      }
  }
  const Matrix matrix(operands.b_matrix);
  for (size_t k = 0; k < depth; ++k)
    for (size_t j = 0; j < columns; ++j) {
      const auto row = static_cast<int64_t>(k), column = static_cast<int64_t>(j);
      b[k * columns + j] =
          operands.b_is_transposed
              ? matrix.element(row, column / 64 * matrix.panel_bytes + column % 64 * 2, operands.bfloat16)
              : matrix.element(column, row * 2, operands.bfloat16);
    }
  std::vector<float> &sums = product.accumulators->sums;
  if (!operands.accumulate) std::fill(sums.begin(), sums.end(), 0.0f);
  add_product(sums.data(), &a[0][0], b.data(), rows, columns, columns);
  product.done = true;
}

// In their order, as far as they have been issued.
void Warpgroup::compute_to(const Product &last) {
  for (Product &product : products_) {
    if (!product.done) compute(product);
    if (&product == &last) return;
  }
}

void Warpgroup::check_not_read(const char *what, const ByteRange &range) const {
  for (const Product &product : products_)
    for (const ByteRange &read : product.reads)
      if (product.threads_waited == 0 && read.meets(range))
        block_.fault(std::string(what) + " to " + range.text() + ", which a product under way reads");
}

// ---- Fence and wait ------------------------------------------------------------------------------------------------
void Warpgroup::fence(size_t thread) {
  OfThread &own = of_threads_[thread];
  own.has_fenced = true;
  for (Registers &r : own.known) r.hash = hash_of(r.at, r.words);
}

void Warpgroup::deliver(size_t thread, int64_t groups_due) {
  for (const Product &product : products_) {
    Accumulators &sums = *product.accumulators;
    if (!sums.under_way[thread] || sums.last_group[thread / warp_size] >= groups_due) continue;
    check_untouched(sums, thread);
    for (int32_t i = 0; i < sums.columns / 2; ++i) {
      const Element element = of_accumulator(thread, i);
      sums.at[thread][i] = sums.row_of(element.row)[element.column];
    }
    sums.under_way[thread] = false;
    know(thread, sums.at[thread], static_cast<size_t>(sums.columns / 2));
  }
}

void Warpgroup::wait(size_t thread, int32_t groups_pending) {
  const int64_t groups_due = groups_[thread / warp_size] - groups_pending;
  const auto next = [&]() -> Product * {
    const size_t index = of_threads_[thread].first_not_waited;
    if (index >= issued_[thread / warp_size]) return nullptr;
    Product &product = products_[index - first_];
    return product.group < groups_due ? &product : nullptr;
  };
  const size_t first = of_threads_[thread].first_not_waited;
  for (; next() != nullptr; ++of_threads_[thread].first_not_waited) {
    while (next()->warps_issued < warps) {
      waiting_.push_back(&block_.current());
      block_.wait(wait_name);
    }
    check_operand(*next(), thread);
    if (!next()->done) compute_to(*next());
  }
  if (of_threads_[thread].first_not_waited != 0) {
    const auto products = static_cast<uint32_t>(of_threads_[thread].first_not_waited);
    if (done_ == nullptr || products != products_done_)
      done_ = block_.races().products_done(block_.warp() / warps, products), products_done_ = products;
    block_.races().acquire(block_.thread(), done_);
  }
  deliver(thread, groups_due);
  for (size_t i = first; i < of_threads_[thread].first_not_waited; ++i) ++products_[i - first_].threads_waited;
  while (!products_.empty() && products_.front().threads_waited == threads) products_.pop_front(), ++first_;
}

bool Warpgroup::has_unfinished() const { return !products_.empty(); }

// ---- What kernels call ---------------------------------------------------------------------------------------------
void multiply_in_background(const Operands &operands) {
  Issued own{operands, {product_name, __builtin_return_address(0)}};
  warp_operation(product_name, &own, [](void *const(&lanes)[warp_size]) {
    running_block().warpgroup().issue(running_block().warp_in_warpgroup(), lanes);
  });
}
void end_product_group() {
  warp_operation("wgmma.commit_group", nullptr, [](void *const(&)[warp_size]) {
    running_block().warpgroup().end_group(running_block().warp_in_warpgroup());
  });
}
void fence_registers() {
  warp_operation("wgmma.fence", nullptr, [](void *const(&)[warp_size]) {});
  running_block().warpgroup().fence(running_block().current().index.x % Warpgroup::threads);
}
void wait_for_products(int32_t groups_pending) {
  warp_operation(wait_name, nullptr, [](void *const(&)[warp_size]) {});
  running_block().warpgroup().wait(running_block().current().index.x % Warpgroup::threads, groups_pending);
}

}  // namespace emulator
