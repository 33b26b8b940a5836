// SPDX-License-Identifier: Apache-2.0
//
// The golden vectors through flashcore.hpp on the CPU device. Every kernel and GPU has them through the C interface
// (tests/kernels/test_golden.cpp); here it is the binding that is looked at.
#define BOOST_TEST_MODULE cpp_golden
#include <boost/test/unit_test.hpp>
#include <flashcore/flashcore.hpp>
#include <vector>

#include "common/accuracy.hpp"
#include "golden/golden_cases.hpp"

using namespace flashcore;
using flashcore::tests::GoldenCase;

namespace {

// A golden case through flashcore.hpp; the CPU device of this build serves sizes, types, causal masks and scales.
bool uses_only_plain_features(const tools::ReferenceAttention &problem) {
  return problem.window_left < 0 && problem.window_right < 0 && problem.attention_chunk == 0 && problem.softcap == 0 &&
         problem.alibi_slopes.empty() && problem.bias.empty() && problem.mask.empty() && problem.sinks.empty();
}

Buffer upload_16bit(const Context &context, const GoldenCase &golden, const std::vector<float> &values) {
  std::vector<std::uint16_t> bits;
  for (float value : values) bits.push_back(tools::to_16bit(golden.dtype, value));
  return or_throw(context.upload(bits));
}

void check_golden(const Context &context, const GoldenCase &golden) {
  const tools::ReferenceAttention &problem = golden.problem;
  const Buffer query = upload_16bit(context, golden, problem.query), key = upload_16bit(context, golden, problem.key);
  const Buffer value = upload_16bit(context, golden, problem.value);
  std::vector<std::uint16_t> output(golden.expected.output.size(), 0xffff);
  std::vector<float> lse(golden.expected.lse.size());
  const Buffer output_buffer = or_throw(context.upload(output)), lse_buffer = or_throw(context.upload(lse));
  AttentionArgs args;
  args.query.data = query.address(), args.key.data = key.address(), args.value.data = value.address();
  args.output.data = output_buffer.address();
  args.batch = problem.batch, args.seqlen_q = problem.seqlen_q, args.seqlen_kv = problem.seqlen_kv;
  args.heads_q = static_cast<std::int32_t>(problem.heads_q),
  args.heads_kv = static_cast<std::int32_t>(problem.heads_kv);
  args.head_dim = static_cast<std::int32_t>(problem.head_dim),
  args.head_dim_v = static_cast<std::int32_t>(problem.head_dim_v);
  args.query.dtype = golden.dtype == tools::Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  args.causal = static_cast<std::int32_t>(problem.causal);  // same numbers
  args.flags = FLASHCORE_FLAG_SOFTMAX_SCALE;
  args.softmax_scale = static_cast<float>(problem.scale);
  args.lse.data = lse_buffer.address();
  or_throw(context.attention(args));
  or_throw(output_buffer.download(output));
  or_throw(lse_buffer.download(lse));

  std::vector<double> values;
  for (std::uint16_t bits : output) values.push_back(tools::to_double(golden.dtype, bits));
  const auto plain = tools::plain_16bit_attention(problem, golden.dtype, tools::reference_threads());
  const auto gate = tools::output_gate(golden.dtype, tools::measure_error(plain.output, golden.expected.output), false);
  const auto error = tools::measure_error(values, golden.expected.output);
  BOOST_TEST(gate.passes(error), error.describe() << "; gate: " << gate.describe());
  BOOST_TEST(tools::lse_gate_ratio(std::vector<double>(lse.begin(), lse.end()), golden.expected.lse) <= 1);
}

}  // namespace

BOOST_AUTO_TEST_CASE(golden_vectors) {
  const Context context = or_throw(Context::open(Options::cpu()));
  int checked = 0;
  for (const GoldenCase &golden : flashcore::tests::load_golden_cases())
    if (uses_only_plain_features(golden.problem)) {
      BOOST_TEST_CONTEXT(golden.name) { check_golden(context, golden); }
      ++checked;
    }
  BOOST_TEST(checked >= 20);
}
