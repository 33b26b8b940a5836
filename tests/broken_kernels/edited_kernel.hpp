// SPDX-License-Identifier: Apache-2.0
//
// A shipped kernel with edits to its text: compiled, and on a GPU run on one problem and held to float64.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jit/kernel_compiler.hpp"
#include "runtime/context.hpp"

namespace flashcore {

struct Edit {
  std::string file;     // the kernel's own file name, or the name of a header in kernels/
  std::string find;     // must occur exactly once
  std::string replace;  // may include the further headers
};

struct EditedKernel {
  std::string name;
  std::string kernel;
  std::vector<Edit> edits;
  std::vector<NamedText> further_headers = {};  // texts live as long as this does
  int64_t shared_bytes_taken = 0;  // launch with this much less dynamic shared memory than the layout needs
};

// The text of the kernel's own file, or of a header in kernels/, with its edits. Fails where one does not find its place.
Result<std::string> edited_text(const EditedKernel &edited, const std::string &file, std::string_view text);

// In the specialization that serves the problem below.
Result<CompiledKernel> compile(const EditedKernel &edited, const std::string &arch);

// One batch entry without a mask: query, key and value are [row][head][column] of float16.
struct EditedProblem {
  static constexpr int32_t heads = 4, seqlen = 457, head_dim = 64;  // 457 = 7 tiles of 64 and 9 rows
  static constexpr int32_t pool_rows = 2 * seqlen;
  static constexpr float scale = 1.0f / 8;
  std::vector<uint16_t> query, key, value;
  // If there is a table: row j of K and V is row table[j] of a pool, and the table lies at their stride_batch.
  std::vector<int32_t> table;
  std::vector<double> expected;  // [row][head][column]
};
// change(score, head, query, key): what becomes of a scaled score before the softmax.
EditedProblem make_problem(const std::function<double(double, int32_t, int32_t, int32_t)> &change);
EditedProblem make_problem();

// Largest difference to float64; NaN counts as infinite.
Result<double> largest_error(const EditedKernel &edited, Context &gpu_context, const EditedProblem &problem);

Result<std::unique_ptr<Context>> open_gpu_context();

}  // namespace flashcore
