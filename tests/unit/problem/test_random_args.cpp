// SPDX-License-Identifier: Apache-2.0
//
// Args with fields replaced at random: whatever comes, the validator answers with a problem that keeps its promises or
// an error that names a field. Worth most when built with sanitizers.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

constexpr int rounds = 60000;

uint64_t interesting(std::mt19937_64 &random) {
  static constexpr uint64_t values[] = {0,
                                        1,
                                        2,
                                        3,
                                        8,
                                        16,
                                        64,
                                        128,
                                        1024,
                                        4096,
                                        65536,
                                        65537,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        0x100000000,
                                        0x100000002,
                                        0x200000010,
                                        uint64_t{1} << 61,
                                        uint64_t{1} << 62,
                                        uint64_t{1} << 63,
                                        ~uint64_t{0},
                                        ~uint64_t{15},
                                        0x7fffffffffffffff,
                                        0x3f8000003f800000,
                                        0x7fc000007f800000};
  switch (random() % 4) {
    case 0:
      return random();
    case 1:
      return random() % 512;
    default:
      return values[random() % std::size(values)];
  }
}

// Replace a few whole fields (4 or 8 bytes, at their own alignment) in front of the fields that are only refused, and
// now and then one anywhere.
Args mutated(std::mt19937_64 &random) {
  Args args = random() % 2 == 0 ? contiguous_args() : explicit_args();
  const size_t served = offsetof(Args, sinks);
  for (uint64_t count = 1 + random() % 4; count > 0; --count) {
    const size_t limit = random() % 16 == 0 ? sizeof(Args) : served;
    const size_t size = random() % 2 == 0 ? 4 : 8;
    const size_t offset = 4 + (random() % (limit - 12)) / 4 * 4;
    const uint64_t value = interesting(random);
    std::memcpy(reinterpret_cast<char *>(&args) + offset, &value, size);
  }
  return args;
}

struct Element {
  uint64_t begin, end;
};

std::vector<Element> rows_of(const ProblemTensor &tensor, int64_t batch, int64_t rows, int64_t heads,
                             int64_t bytes_of_row, int64_t element_bytes) {
  std::vector<Element> elements;
  if (tensor.data == 0) return elements;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t offset =
            (b * tensor.stride_batch + r * tensor.stride_row + h * tensor.stride_head) * element_bytes;
        const uint64_t begin = tensor.data + static_cast<uint64_t>(offset);
        elements.push_back({begin, begin + static_cast<uint64_t>(bytes_of_row)});
      }
  return elements;
}

bool any_meet(const std::vector<Element> &a, const std::vector<Element> &b, bool same) {
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = same ? i + 1 : 0; j < b.size(); ++j)
      if (a[i].begin < b[j].end && b[j].begin < a[i].end) return true;
  return false;
}

void check_error(const Error &error) {
  BOOST_TEST((error.status == FLASHCORE_INVALID_ARGUMENT || error.status == FLASHCORE_UNSUPPORTED), error.message);
  BOOST_TEST(!error.field.empty(), error.message);
  BOOST_TEST(error.field.size() < sizeof(flashcore_error::field));
  BOOST_TEST(error.message.size() < sizeof(flashcore_error::message));
  BOOST_TEST(error.message.find("; allowed: ") != std::string::npos, error.message);
}

void check_promises(const AttentionProblem &problem) {
  const kernels::ProblemKey &key = problem.key;
  BOOST_TEST((key.alignment_bytes == 16 || key.alignment_bytes == 2));
  BOOST_TEST(key.heads_q % key.heads_kv == 0);
  for (const ProblemTensor *tensor : {&problem.query(), &problem.key_tensor(), &problem.value(), &problem.output()}) {
    for (int64_t stride : {tensor->stride_batch, tensor->stride_row, tensor->stride_head}) {
      BOOST_TEST(stride >= 0);
      BOOST_TEST(stride * 2 % key.alignment_bytes == 0);
    }
    BOOST_TEST(tensor->data % static_cast<uint64_t>(key.alignment_bytes) == 0u);
  }
  if (key.batch > 8 || key.seqlen_q > 16 || key.seqlen_kv > 16 || key.heads_q > 8) return;
  const auto query = rows_of(problem.query(), key.batch, key.seqlen_q, key.heads_q, key.head_dim * 2, 2);
  const auto keys = rows_of(problem.key_tensor(), key.batch, key.seqlen_kv, key.heads_kv, key.head_dim * 2, 2);
  const auto values = rows_of(problem.value(), key.batch, key.seqlen_kv, key.heads_kv, key.head_dim_v * 2, 2);
  const auto output = rows_of(problem.output(), key.batch, key.seqlen_q, key.heads_q, key.head_dim_v * 2, 2);
  const auto lse = rows_of(problem.lse(), key.batch, key.seqlen_q, key.heads_q, 4, 4);
  BOOST_TEST(!any_meet(output, output, true));
  BOOST_TEST(!any_meet(lse, lse, true));
  for (const auto *input : {&query, &keys, &values}) {
    BOOST_TEST(!any_meet(output, *input, false));
    BOOST_TEST(!any_meet(lse, *input, false));
  }
  BOOST_TEST(!any_meet(output, lse, false));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(random_args_suite)

BOOST_AUTO_TEST_CASE(a_problem_that_keeps_its_promises_or_an_error_with_a_field) {
  std::mt19937_64 random(7);
  int accepted_count = 0;
  for (int round = 0; round < rounds; ++round) {
    const Args args = mutated(random);
    const AddressRule rule = random() % 2 == 0 ? AddressRule::required : AddressRule::optional;
    const Result<AttentionProblem> result = validate_attention(&args, rule);
    accepted_count += result.ok();
    if (result.ok())
      check_promises(result.value());
    else
      check_error(result.error());
  }
  BOOST_TEST(accepted_count > rounds / 50);
  BOOST_TEST(accepted_count < rounds / 2);
}

BOOST_AUTO_TEST_CASE(bytes_of_any_kind) {
  std::mt19937_64 random(8);
  std::vector<uint64_t> bytes(65536 / sizeof(uint64_t));
  for (int round = 0; round < 2000; ++round) {
    for (uint64_t &word : bytes) word = random() % 3 == 0 ? 0 : random();
    auto *args = reinterpret_cast<Args *>(bytes.data());
    args->struct_size = random() % 4 == 0 ? static_cast<uint32_t>(random()) : sizeof(Args);
    const Result<AttentionProblem> result = validate_attention(args, AddressRule::required);
    BOOST_REQUIRE(!result.ok());
    BOOST_TEST(!result.error().field.empty());
  }
}

BOOST_AUTO_TEST_SUITE_END()
