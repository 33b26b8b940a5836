// SPDX-License-Identifier: Apache-2.0
//
// The CPU backend from inside: every instruction set that this machine has (the public tests see the fastest only), any
// head dimension, and the promises about bits: neither threads, nor batch, nor neighbouring rows change a row. What the
// public interface promises in general is tested in tests/kernels, for this backend as for every kernel.
#define BOOST_TEST_MODULE test_cpu_attention
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "common/accuracy.hpp"
#include "cpu/run_attention.hpp"
#include "host_problem.hpp"

using namespace flashcore;
using namespace flashcore::tests;
using tools::Float16Type;
using tools::ReferenceCausal;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

const HostShape shapes[] = {
    {},
    {.seqlen_q = 1, .seqlen_kv = 1, .heads_q = 1, .heads_kv = 1, .head_dim = 1, .head_dim_v = 1},
    {.seqlen_q = 3, .seqlen_kv = 5, .head_dim = 7, .head_dim_v = 3},
    {.seqlen_q = 65, .seqlen_kv = 129, .head_dim = 17, .head_dim_v = 33, .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 129, .seqlen_kv = 65, .head_dim = 40, .head_dim_v = 16, .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 63, .seqlen_kv = 127, .dtype = Float16Type::bfloat16, .causal = ReferenceCausal::top_left},
    {.seqlen_q = 127, .seqlen_kv = 63, .dtype = Float16Type::bfloat16, .causal = ReferenceCausal::top_left},
    {.batch = 2, .seqlen_q = 1, .seqlen_kv = 193, .heads_q = 8, .heads_kv = 1, .head_dim = 128, .head_dim_v = 128},
    {.batch = 3,
     .seqlen_q = 33,
     .seqlen_kv = 70,
     .heads_q = 6,
     .heads_kv = 2,
     .head_dim = 80,
     .head_dim_v = 96,
     .dtype = Float16Type::bfloat16,
     .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 20, .seqlen_kv = 40, .head_dim = 300, .head_dim_v = 520},
    {.seqlen_q = 96, .seqlen_kv = 160, .input_std = 3},
    {.seqlen_q = 96, .seqlen_kv = 160, .dtype = Float16Type::bfloat16, .input_std = 3},
    {.seqlen_q = 65, .seqlen_kv = 65, .causal = ReferenceCausal::top_left, .scale = -0.3f},
    {.seqlen_q = 65, .seqlen_kv = 130, .causal = ReferenceCausal::bottom_right, .scale = 0.0f},
    {.seqlen_q = 65, .seqlen_kv = 130, .scale = 20.0f},
    {.seqlen_q = 512, .seqlen_kv = 512, .heads_q = 1, .heads_kv = 1},
    {.seqlen_q = 512, .seqlen_kv = 512, .heads_q = 1, .heads_kv = 1, .dtype = Float16Type::bfloat16},
};

bool fixed_bounds_apply(const HostShape &shape) {
  return shape.input_std == 1 && shape.scale == 0.125f && shape.causal == ReferenceCausal::none &&
         shape.seqlen_kv >= 512;
}

// A tile of rows that see the last `window_keys` of their keys and no others, for a variant.
AttendTile windowed_attend;
int64_t window_keys;
void attend_window(const TileTask &task, TileScratch &scratch, TileStatistics &statistics) {
  TileTask windowed = task;
  for (int64_t r = 0; r < task.row_count; r++)
    windowed.rows[r].keys.begin = std::max<int64_t>(task.rows[r].keys.end - window_keys, 0);
  windowed_attend(windowed, scratch, statistics);
}

std::vector<AttendTileVariant> runnable_variants() {
  std::vector<AttendTileVariant> variants;
  for (const AttendTileVariant &variant : attend_tile_variants())
    if (variant.runnable) variants.push_back(variant);
  return variants;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_variant_meets_the_gates) {
  for (const HostShape &shape : shapes) {
    HostProblem host(shape);
    const int threads = tools::reference_threads();
    const auto expected = tools::reference_attention(host.reference, threads);
    const auto yardstick = tools::plain_16bit_attention(host.reference, shape.dtype, threads);
    const auto gate = tools::output_gate(shape.dtype, tools::measure_error(yardstick.output, expected.output),
                                         fixed_bounds_apply(shape));
    for (const AttendTileVariant &variant : runnable_variants()) {
      BOOST_TEST_CONTEXT(variant.name << ", shape " << (&shape - shapes)) {
        std::fill(host.output.begin(), host.output.end(), 0xffff);
        std::fill(host.lse.begin(), host.lse.end(), nan_value);
        BOOST_TEST(run_attention(host.problem, threads, variant.attend).ok());
        const auto error = tools::measure_error(host.output_values(), expected.output);
        BOOST_TEST(gate.passes(error), error.describe() << "; gate: " << gate.describe());
        BOOST_TEST(tools::lse_gate_ratio(host.lse_values(), expected.lse) <= 1);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_see_no_key_before_their_first) {
  const HostShape windowed_shapes[] = {
      {.seqlen_q = 70, .seqlen_kv = 200, .causal = ReferenceCausal::bottom_right},
      {.seqlen_q = 150, .seqlen_kv = 90, .head_dim = 17, .head_dim_v = 33, .causal = ReferenceCausal::bottom_right},
      {.seqlen_q = 40, .seqlen_kv = 333, .heads_q = 6, .causal = ReferenceCausal::bottom_right},
  };
  for (const HostShape &shape : windowed_shapes)
    for (const int64_t keys : {1, 2, 20, 64, 65, 150}) {
      HostProblem host(shape);
      host.reference.window_left = keys - 1, window_keys = keys;
      const auto expected = tools::reference_attention(host.reference, 1);
      const auto yardstick = tools::plain_16bit_attention(host.reference, shape.dtype, 1);
      const auto gate = tools::output_gate(shape.dtype, tools::measure_error(yardstick.output, expected.output), false);
      for (const AttendTileVariant &variant : runnable_variants()) {
        BOOST_TEST_CONTEXT(variant.name << ", shape " << (&shape - windowed_shapes) << ", " << keys << " keys") {
          windowed_attend = variant.attend;
          BOOST_TEST(run_attention(host.problem, 1, attend_window).ok());
          const auto error = tools::measure_error(host.output_values(), expected.output);
          BOOST_TEST(gate.passes(error), error.describe() << "; gate: " << gate.describe());
          BOOST_TEST(tools::lse_gate_ratio(host.lse_values(), expected.lse) <= 1);
        }
      }
    }
}

BOOST_AUTO_TEST_CASE(baseline_is_always_there) {
  BOOST_TEST(attend_tile_variants().back().name == "baseline");
  BOOST_TEST(attend_tile_variants().back().runnable);
  BOOST_TEST((fastest_attend_tile() == runnable_variants().front().attend));
}

BOOST_AUTO_TEST_CASE(threads_do_not_change_a_bit) {
  HostProblem host({.batch = 2,
                    .seqlen_q = 200,
                    .seqlen_kv = 333,
                    .heads_q = 4,
                    .heads_kv = 2,
                    .causal = ReferenceCausal::bottom_right});
  BOOST_TEST(cpu_attention(host.problem, 1).ok());
  const auto output = host.output;
  const auto lse = host.lse;
  for (int32_t threads : {2, 3, 7, 16}) {
    std::fill(host.output.begin(), host.output.end(), 0xffff);
    BOOST_TEST(cpu_attention(host.problem, threads).ok());
    BOOST_TEST((host.output == output && host.lse == lse), threads << " threads");
  }
}

// A row computed alone has the bits that it has among others: the second half of a prefill, and one query of it.
BOOST_AUTO_TEST_CASE(other_rows_do_not_change_a_bit) {
  for (const AttendTileVariant &variant : runnable_variants()) {
    HostProblem host(
        {.seqlen_q = 150, .seqlen_kv = 150, .heads_q = 4, .heads_kv = 2, .causal = ReferenceCausal::bottom_right});
    BOOST_TEST(run_attention(host.problem, 1, variant.attend).ok());
    const auto output = host.output;
    const int64_t row_elements = host.problem.tensors[fwd::output].stride_row;
    for (int64_t first : {149, 77, 64, 1}) {
      BOOST_TEST_CONTEXT(variant.name << ", from row " << first) {
        AttentionProblem part = host.problem;
        part.key.seqlen_q = 150 - first;
        part.tensors[fwd::query].data +=
            static_cast<uint64_t>(first * host.problem.tensors[fwd::query].stride_row) * sizeof(uint16_t);
        part.tensors[fwd::output].data += static_cast<uint64_t>(first * row_elements) * sizeof(uint16_t);
        part.tensors[fwd::lse].data = 0;
        std::fill(host.output.begin(), host.output.end(), 0xffff);
        BOOST_TEST(run_attention(part, 1, variant.attend).ok());
        BOOST_TEST(std::equal(output.begin() + first * row_elements, output.end(),
                              host.output.begin() + first * row_elements));
        BOOST_TEST(std::all_of(host.output.begin(), host.output.begin() + first * row_elements,
                               [](uint16_t bits) { return bits == 0xffff; }));
      }
    }
  }
}

// Keys that later rows see and earlier ones do not: NaN and infinity must stay where they are seen.
BOOST_AUTO_TEST_CASE(hidden_garbage_stays_hidden) {
  for (const AttendTileVariant &variant : runnable_variants()) {
    HostProblem host({.seqlen_q = 100, .seqlen_kv = 100, .causal = ReferenceCausal::top_left});
    const auto expected = tools::reference_attention(host.reference, 1);
    const int64_t first_garbage = 70, row = host.problem.tensors[fwd::value].stride_row;
    for (int64_t n = first_garbage * row; n < 100 * row; n++) {
      host.key[n] = 0x7e00;
      host.value[n] = n % 2 == 0 ? 0x7c00 : 0xfe00;
    }
    BOOST_TEST(run_attention(host.problem, 1, variant.attend).ok());
    auto output = host.output_values();
    const auto clean = static_cast<size_t>(first_garbage * row);
    const auto error = tools::measure_error(std::span(output).first(clean), std::span(expected.output).first(clean));
    BOOST_TEST(error.wrong_kind == 0, variant.name);
    BOOST_TEST(error.max_abs < 5e-3, variant.name << ": " << error.describe());
    // And what is seen is not hidden: a NaN key makes its row NaN.
    BOOST_TEST(std::all_of(output.begin() + clean, output.end(), [](double value) { return std::isnan(value); }),
               variant.name);
  }
}

BOOST_AUTO_TEST_CASE(rows_without_keys_are_zero) {
  HostProblem host({.seqlen_q = 70, .seqlen_kv = 3, .causal = ReferenceCausal::bottom_right});
  BOOST_TEST(cpu_attention(host.problem, 2).ok());
  const auto expected = tools::reference_attention(host.reference, 1);
  for (int64_t n = 0; n < 67 * host.problem.tensors[fwd::output].stride_row; n++)
    BOOST_REQUIRE_EQUAL(host.output[n], 0);
  for (int64_t position = 0; position < 67; position++)
    BOOST_REQUIRE_EQUAL(host.lse[position], -std::numeric_limits<float>::infinity());
  BOOST_TEST(tools::measure_error(host.output_values(), expected.output).wrong_kind == 0);

  HostProblem no_keys({.seqlen_q = 9, .seqlen_kv = 0});
  no_keys.problem.tensors[fwd::key].data = no_keys.problem.tensors[fwd::value].data = 0;
  BOOST_TEST(cpu_attention(no_keys.problem, 2).ok());
  for (uint16_t bits : no_keys.output) BOOST_REQUIRE_EQUAL(bits, 0);
  for (float lse : no_keys.lse) BOOST_REQUIRE_EQUAL(lse, -std::numeric_limits<float>::infinity());

  HostProblem no_rows({.seqlen_q = 0, .seqlen_kv = 8});
  BOOST_TEST(cpu_attention(no_rows.problem, 2).ok());
}

BOOST_AUTO_TEST_CASE(lse_base_two) {
  HostProblem host({.seqlen_q = 40, .seqlen_kv = 70});
  host.problem.lse_base2 = host.reference.lse_base2 = true;
  BOOST_TEST(cpu_attention(host.problem, 1).ok());
  BOOST_TEST(tools::lse_gate_ratio(host.lse_values(), tools::reference_attention(host.reference, 1).lse) <= 1);
}

BOOST_AUTO_TEST_CASE(thread_count) {
  const int32_t all = cpu_thread_count(0);
  BOOST_TEST(all >= 1);
  BOOST_TEST(all == tools::reference_threads());
  BOOST_TEST(cpu_thread_count(1) == 1);
  BOOST_TEST(cpu_thread_count(1 << 20) == all);
}
