// SPDX-License-Identifier: Apache-2.0
#include "emulated_golden.hpp"

#include <sys/mman.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>

#include "emulate.hpp"
#include "kernels/golden_on_device.hpp"

namespace emulator {

using namespace flashcore::tests;

namespace {

// A copy of a tensor that ends with its page, before one that nobody may read.
class BeforeTheEnd {
 public:
  BeforeTheEnd(uint64_t data, size_t bytes) : pages_((bytes + page - 1) / page * page) {
    memory_ = static_cast<unsigned char *>(
        mmap(nullptr, pages_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    BOOST_REQUIRE(memory_ != MAP_FAILED && mprotect(memory_ + pages_, page, PROT_NONE) == 0);
    place_ = memory_ + pages_ - bytes;
    std::memcpy(place_, reinterpret_cast<const void *>(data), bytes);
  }
  ~BeforeTheEnd() { munmap(memory_, pages_ + page); }
  BeforeTheEnd(const BeforeTheEnd &) = delete;
  BeforeTheEnd &operator=(const BeforeTheEnd &) = delete;
  uint64_t address() const { return reinterpret_cast<uint64_t>(place_); }

 private:
  static constexpr size_t page = 1 << 16;  // or several, on machines with smaller ones
  size_t pages_;
  unsigned char *memory_, *place_;
};

CaseOutcome emulate_before_the_end(const GoldenOnDevice &run, const GoldenCase &golden, const Request &request) {
  flashcore_attention_args args = run.args();
  const BeforeTheEnd query(args.query.data, golden.problem.query.size() * sizeof(uint16_t)),
      key(args.key.data, golden.problem.key.size() * sizeof(uint16_t)),
      value(args.value.data, golden.problem.value.size() * sizeof(uint16_t));
  args.query.data = query.address(), args.key.data = key.address(), args.value.data = value.address();
  std::optional<BeforeTheEnd> bias, mask;
  if (args.bias.data != 0) args.bias.data = bias.emplace(args.bias.data, golden.problem.bias.size() * 4).address();
  if (args.mask.data != 0) args.mask.data = mask.emplace(args.mask.data, golden.problem.mask.size()).address();
  return emulate(args, request);
}

}  // namespace

void check_golden(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  static const std::vector<GoldenCase> cases = load_golden_cases();
  int matched = 0, refused = 0;
  for (uint32_t seed = 0; seed < cases.size(); ++seed) {
    const GoldenCase &golden = cases[seed];
    const GoldenOnDevice run(host, golden, "");
    const CaseOutcome outcome = emulate_before_the_end(
        run, golden, {.kernel = kernel, .seed = seed, .turn = seed, .key_parts = static_cast<int32_t>(seed / 4 % 3)});
    const std::string problem = outcome.verdict == Verdict::passed ? run.problem() : outcome.message;
    matched += outcome.verdict == Verdict::passed;
    refused += outcome.verdict == Verdict::refused;
    if (outcome.verdict != Verdict::refused)
      BOOST_TEST(problem.empty(), golden.name << ", seed " << seed << ": " << problem);
  }
  std::printf("%-24s %d golden cases computed, %d refused\n", kernel.c_str(), matched, refused);
  BOOST_TEST(matched >= 12, "refused nearly everything");
}

namespace {

std::vector<float> random_values(size_t count, flashcore::tools::Float16Type dtype, std::mt19937 &generator) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value =
        static_cast<float>(flashcore::tools::to_double(dtype, flashcore::tools::to_16bit(dtype, normal(generator))));
  return values;
}

// In the first tiles of keys and in the last ones, which some rows see in part; there in all four words of a chunk; and of one head alone.
GoldenCase infinite_case(flashcore::tools::Float16Type dtype, flashcore::tools::ReferenceCausal causal) {
  GoldenCase golden;
  golden.dtype = dtype;
  flashcore::tools::ReferenceAttention &problem = golden.problem;
  problem.batch = 1, problem.heads_q = 2, problem.heads_kv = 2;
  problem.seqlen_q = 97, problem.seqlen_kv = 161, problem.head_dim = problem.head_dim_v = 64;
  problem.scale = 0.125, problem.causal = causal;
  std::mt19937 generator(7);
  problem.query = random_values(97 * 2 * 64, dtype, generator);
  problem.key = random_values(161 * 2 * 64, dtype, generator);
  problem.value = random_values(161 * 2 * 64, dtype, generator);
  const auto value = [&](size_t key, size_t column) -> float & { return problem.value[(key * 2 + 1) * 64 + column]; };
  value(5, 3) = value(90, 4) = value(160, 20) = INFINITY;
  value(70, 4) = value(131, 42) = value(150, 17) = -INFINITY;
  value(100, 30) = value(158, 63) = NAN;
  golden.expected = flashcore::tools::reference_attention(problem, flashcore::tools::reference_threads());
  return golden;
}

}  // namespace

void check_infinite_values(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  using flashcore::tools::Float16Type, flashcore::tools::ReferenceCausal;
  for (Float16Type dtype : {Float16Type::float16, Float16Type::bfloat16})
    for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right}) {
      const GoldenCase golden = infinite_case(dtype, causal);
      for (uint32_t seed = 0; seed < 8; ++seed) {
        const GoldenOnDevice run(host, golden, "");
        const CaseOutcome outcome = emulate_before_the_end(
            run, golden,
            {.kernel = kernel, .seed = seed, .turn = seed, .key_parts = static_cast<int32_t>(seed / 4) * 2});
        BOOST_REQUIRE_MESSAGE(outcome.verdict == Verdict::passed, outcome.message);
        const std::string problem = run.problem();
        BOOST_TEST(problem.empty(), (dtype == Float16Type::float16 ? "fp16" : "bf16")
                                        << (causal == ReferenceCausal::none ? "" : " causal") << ", seed " << seed
                                        << ": " << problem);
      }
    }
}

// The decode kernel's end with a step of all warps, once with the last stretch whole and once with one step more. The sink makes optimistic
// steps lose rows, so that all is done in exact ones.
void check_long_rows(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (float sink : {1.0f, 60.0f}) {
    const int64_t keys = kernel.ends_with("_decode")                             ? (sink == 1 ? 32768 : 33024)
                         : kernel.ends_with("_small")                            ? 17216
                         : kernel.ends_with("_mma") || kernel.ends_with("_wide") ? 4400
                                                                                 : 400;
    for (flashcore::tools::Float16Type dtype :
         {flashcore::tools::Float16Type::float16, flashcore::tools::Float16Type::bfloat16}) {
      const AttentionCase one = {.seqlen_q = 9,
                                 .seqlen_kv = keys,
                                 .heads_q = 1,
                                 .heads_kv = 1,
                                 .dtype = dtype,
                                 .sink = sink,
                                 .values = sink == 1 ? Values::around_0 : Values::around_8};
      const CaseOutcome outcome = emulate_case(host, one, {.kernel = kernel});
      BOOST_TEST((outcome.verdict == Verdict::passed), one.describe() << ": " << outcome.message);
    }
  }
}

}  // namespace emulator
