// SPDX-License-Identifier: Apache-2.0
//
// Second implementations of the parts that a kernel names in one line, the variant and the rows of keys and values: that line is swapped
// in the text of every shipped kernel, and nothing else.
//
//   other_parts FOLDER   of the implementations. Every kernel compiles with each of them, to other code than with its own; with a GPU,
//                        the answers are held to float64
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "edited_kernel.hpp"
#include "plan/kernel_table.hpp"
#include "runtime/gpu_device.hpp"

using namespace flashcore;

namespace {

constexpr double gate = 1e-3;

struct Part {
  std::string name, header;
  std::string line, other_line;
  EditedProblem problem;
};

EditedProblem problem_of_table() {
  EditedProblem problem = make_problem();
  problem.table.resize(EditedProblem::pool_rows);
  std::iota(problem.table.begin(), problem.table.end(), 0);
  std::shuffle(problem.table.begin(), problem.table.end(), std::mt19937(3));
  problem.table.resize(EditedProblem::seqlen);
  return problem;
}

// What kernels without choices of scores say, and what those with some say.
const std::string variant = "using Variant = PlainScores;", chosen = "using Variant = ChosenScores<chosen.scores>;",
                  rows = "using KeyRows = StridedRows;";

std::vector<Part> parts() {
  return {{"softcap", "variants.cuh", variant, "using Variant = Softcap;",
           make_problem([](double score, int32_t, int32_t, int32_t) { return 0.75 * std::tanh(score / 0.75); })},
          {"distance", "variants.cuh", variant, "using Variant = Distance;",
           make_problem([](double score, int32_t head, int32_t query, int32_t key) {
             return score - 0.01 * (head + 1) * std::abs(query - key);
           })},
          {"table", "table_rows.cuh", rows, "using KeyRows = TableRows;", problem_of_table()}};
}

std::string text_of(const std::string &path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) std::printf("%s cannot be read\n", path.c_str());
  return text;
}

int32_t check(const std::string &folder) {
  const Environment environment = read_environment();
  if (const auto nvrtc = NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home); !nvrtc.ok()) {
    std::printf("skipped: %s\n", nvrtc.error().message.c_str());
    return 77;
  }
  const auto context = open_gpu_context();
  if (!context.ok()) std::printf("not run on a GPU: %s\n", context.error().message.c_str());
  int32_t failures = 0, runs = 0;
  const auto expect = [&](bool good, const std::string &kernel, const std::string &what) {
    std::printf("%s %-22s %s\n", good ? "ok    " : "not ok", kernel.c_str(), what.c_str());
    failures += good ? 0 : 1;
  };
  for (const Part &part : parts()) {
    const std::string text = text_of(folder + "/" + part.header);
    for (const KernelRow &row : kernel_table()) {
      if (!is_attention(*row.passport)) continue;
      // Kernels with a choice of rows have pages beside dense tensors.
      if (part.line == rows && row.passport->largest("rows") != 0) continue;
      const bool has_choice = part.line == variant && row.source.find(chosen) != std::string_view::npos;
      const std::string kernel = row.passport->name, arch = row.passport->minimum_arch <= 89 ? "sm_89" : "sm_90a";
      const EditedKernel plain = {kernel, kernel, {}};
      const std::string include = "#include \"specialization.h\"\n";
      const EditedKernel edited = {part.name,
                                   kernel,
                                   {{kernel + ".cu", has_choice ? chosen : part.line, part.other_line},
                                    {kernel + ".cu", include, include + "#include \"" + part.header + "\"\n"}},
                                   {{part.header, text}}};
      const auto own = compile(plain, arch), other = compile(edited, arch);
      const bool compiles = own.ok() && other.ok();
      expect(compiles, kernel,
             part.name + " compiles" + (compiles ? "" : ": " + (own.ok() ? other : own).error().message));
      if (compiles) expect(own.value().cubin != other.value().cubin, kernel, part.name + " is other code");
      if (!context.ok() || !compiles) continue;
      if (dynamic_cast<const GpuDevice &>(*context.value()->device).properties().arch < row.passport->minimum_arch)
        continue;
      ++runs;
      const auto error = largest_error(edited, *context.value(), part.problem);
      expect(error.ok() && error.value() < gate, kernel,
             part.name + (error.ok() ? ": error " + std::to_string(error.value()) : ": " + error.error().message));
      // The problem tells the part from the kernel's own. (By strides the table would be a batch stride: of batch entry 0.)
      const auto without = largest_error(plain, *context.value(), part.problem);
      expect(without.ok() && without.value() > 10 * gate, kernel,
             part.name + (without.ok() ? ": error without " + std::to_string(without.value())
                                       : ": " + without.error().message));
    }
  }
  if (context.ok()) expect(runs > 0, "any", "ran on the GPU");
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc == 2) return check(argv[1]);
  std::fprintf(stderr, "usage: other_parts FOLDER\n");
  return 2;
}
