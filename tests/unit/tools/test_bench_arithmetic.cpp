// SPDX-License-Identifier: Apache-2.0
//
// What fc-bench computes besides the clock: order statistics, the rank test and the verdict, shapes from text,
// operations and bytes of a problem, its random numbers, and which rows it holds against float64.
#define BOOST_TEST_MODULE unit_bench_arithmetic
#include <algorithm>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <set>

#include "../common/check.hpp"
#include "../common/inputs.hpp"
#include "../common/reference_attention.hpp"
#include "../common/statistics.hpp"
#include "bench.hpp"

using namespace flashcore::tools;
namespace data = boost::unit_test::data;

namespace {

std::vector<double> counted(int count, double first, double step) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(first + step * i);
  return values;
}

Shape shape_of(const std::string &line) {
  Outcome<Shape> shape = parse_shape(line, "test");
  BOOST_REQUIRE_MESSAGE(shape.ok(), (shape.ok() ? "" : shape.failure().message));
  return std::move(shape).value();
}

}  // namespace

// --- Statistics

BOOST_AUTO_TEST_CASE(quantiles_lie_between_ranks) {
  const SampleSummary summary = summarise({5, 1, 4, 2, 3});
  BOOST_TEST(summary.minimum == 1);
  BOOST_TEST(summary.p50 == 3);
  BOOST_TEST(summary.p10 == 1.4, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(summary.p90 == 4.6, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(summary.p99 == 4.96, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(summary.mean == 3);
  BOOST_TEST(median({4, 1, 2, 3}) == 2.5);
  BOOST_TEST(median({7}) == 7);
  BOOST_TEST(median({}) == 0);
}

// U and the normal approximation by hand: n1 = n2 = 5, all of one above the other: U = 25, z = (25 - 12.5 - 0.5) /
// sqrt(25 * 11 / 12).
BOOST_AUTO_TEST_CASE(rank_test_of_separate_samples) {
  const double z = 12 / std::sqrt(25.0 * 11 / 12);
  BOOST_TEST(rank_test(counted(5, 1, 1), counted(5, 10, 1)) == std::erfc(z / std::sqrt(2.0)) / 2,
             boost::test_tools::tolerance(1e-12));
  BOOST_TEST(rank_test(counted(5, 10, 1), counted(5, 1, 1)) > 0.99);
}

// Ranks of {1, 2, 2, 3} and {2, 3, 3, 4}: 1, 3, 3, 6 and 3, 6, 6, 8; U of the second 23 - 10 = 13; ties of 3 and 3:
// variance 16 / 12 * (9 - 48 / 56).
BOOST_AUTO_TEST_CASE(rank_test_shares_ranks_among_equals) {
  const double z = (13 - 8 - 0.5) / std::sqrt(16.0 / 12 * (9 - 48.0 / 56));
  BOOST_TEST(rank_test({1, 2, 2, 3}, {2, 3, 3, 4}) == std::erfc(z / std::sqrt(2.0)) / 2,
             boost::test_tools::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(rank_test_of_nothing_says_nothing) {
  BOOST_TEST(rank_test({}, {1, 2}) == 1);
  BOOST_TEST(rank_test({2, 2, 2, 2, 2}, {2, 2, 2, 2, 2}) == 1);
  BOOST_TEST(rank_test(counted(50, 0, 1), counted(50, 0, 1)) > 0.4);
}

BOOST_AUTO_TEST_CASE(verdicts) {
  const auto steady = counted(20, 100, 0.01);
  const auto at = [&](double factor) {
    auto values = steady;
    for (double &value : values) value *= factor;
    return values;
  };
  BOOST_CHECK(judge(steady, at(1.10), 0.03) == Verdict::slower);
  BOOST_CHECK(judge(steady, at(0.90), 0.03) == Verdict::faster);
  BOOST_CHECK(judge(steady, at(1.02), 0.03) == Verdict::same);  // sure, but small
  BOOST_CHECK(judge(steady, at(1.02), 0.01) == Verdict::slower);
  BOOST_CHECK(judge(counted(20, 50, 10), counted(20, 60, 10), 0.03) == Verdict::same);  // large, but within the noise
  BOOST_CHECK(judge(counted(4, 100, 1), counted(20, 200, 1), 0.03) == Verdict::unclear);
}

// --- Shapes

BOOST_AUTO_TEST_CASE(shape_of_a_line) {
  const Shape shape = shape_of("gqa 2 32 8 1 4096 128 bf16 bottom-right");
  BOOST_TEST(shape.name == "gqa");
  BOOST_TEST(shape.batch == 2);
  BOOST_TEST(shape.heads_q == 32);
  BOOST_TEST(shape.heads_kv == 8);
  BOOST_TEST(shape.seqlen_q == 1);
  BOOST_TEST(shape.seqlen_kv == 4096);
  BOOST_TEST(shape.head_dim == 128);
  BOOST_CHECK(shape.dtype == Float16Type::bfloat16);
  BOOST_TEST(shape.causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT);
  BOOST_TEST(problem_text(shape) == "2 x 32:8 heads, 1 x 4096, d 128, bf16, causal bottom-right");
  BOOST_CHECK(shape.same_problem(shape_of("2,32,8,1,4096,128,bf16,bottom-right")));
  BOOST_CHECK(!shape.same_problem(shape_of("2,32,8,1,4096,128,bf16,top-left")));
  BOOST_CHECK(!shape.same_problem(shape_of("2,32,8,2,4096,128,bf16,bottom-right")));
}

struct BadLine {
  const char *line, *complaint;
};
std::ostream &operator<<(std::ostream &out, const BadLine &bad) { return out << bad.line; }
const BadLine bad_lines[] = {
    {"1 8 8 512 512 64 fp16", "has 7 fields, but must have 8 or 9"},
    {"a b 1 8 8 512 512 64 fp16 none", "has 10 fields"},
    {"0 8 8 512 512 64 fp16 none", "batch is \"0\", but must be a whole number from 1"},
    {"1 8 8 512 512x 64 fp16 none", "seqlen_kv is \"512x\""},
    {"1 8 8 512 99999999999 64 fp16 none", "seqlen_kv is \"99999999999\""},
    {"1 8 3 512 512 64 fp16 none", "heads_kv is 3, but must divide heads_q, 8"},
    {"1 8 8 512 512 64 fp32 none", "dtype is \"fp32\", but must be fp16 or bf16"},
    {"1 8 8 512 512 64 fp16 yes", "causal is \"yes\", but must be none, top-left or bottom-right"},
    {"2000000000 2000000000 1 1 1 64 fp16 none", "more than 2^45 numbers"},
};
BOOST_DATA_TEST_CASE(bad_lines_say_what_is_wrong, data::make(bad_lines), bad) {
  const Outcome<Shape> shape = parse_shape(bad.line, "here");
  BOOST_REQUIRE(!shape.ok());
  BOOST_TEST(shape.failure().exit_code == exit_usage);
  BOOST_TEST(shape.failure().message.starts_with("here: "));
  BOOST_TEST(shape.failure().message.find(bad.complaint) != std::string::npos, shape.failure().message);
}

BOOST_AUTO_TEST_CASE(file_of_shapes) {
  const Outcome<std::vector<Shape>> shapes =
      parse_shapes("# comment\n\n a 1 1 1 1 1 8 fp16 none # more\r\n2 1 1 1 1 8 bf16 none\n", "f");
  BOOST_REQUIRE(shapes.ok());
  BOOST_REQUIRE(shapes.value().size() == 2u);
  BOOST_TEST(shapes.value()[0].name == "a");
  BOOST_TEST(shapes.value()[1].batch == 2);
  const Outcome<std::vector<Shape>> wrong = parse_shapes("\n1 1 1 1 1 8 fp16 none\n1 1\n", "f.txt");
  BOOST_REQUIRE(!wrong.ok());
  BOOST_TEST(wrong.failure().exit_code == exit_bad_input);
  BOOST_TEST(wrong.failure().message.starts_with("f.txt:3: "));
  BOOST_TEST(!parse_shapes("# nothing\n", "f").ok());
}

// --- Operations, bytes, peaks

const char *const masked[] = {"2 4 2 7 5 16 fp16 none", "2 4 2 7 5 16 fp16 top-left", "2 4 2 7 5 16 fp16 bottom-right",
                              "1 1 1 5 9 16 fp16 top-left", "1 1 1 5 9 16 fp16 bottom-right"};
BOOST_DATA_TEST_CASE(flop_count_every_visible_score_twice, data::make(masked), line) {
  const Shape shape = shape_of(line);
  ReferenceAttention problem;
  problem.seqlen_q = shape.seqlen_q;
  problem.seqlen_kv = shape.seqlen_kv;
  problem.causal = shape.causal == FLASHCORE_CAUSAL_TOP_LEFT       ? ReferenceCausal::top_left
                   : shape.causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT ? ReferenceCausal::bottom_right
                                                                   : ReferenceCausal::none;
  int64_t scores = 0;
  for (int64_t i = 0; i < shape.seqlen_q; ++i)
    for (int64_t j = 0; j < shape.seqlen_kv; ++j) scores += key_is_visible(problem, i, j);
  BOOST_TEST(attention_flop(shape) == static_cast<double>(4 * scores * shape.batch * shape.heads_q * shape.head_dim));
}

BOOST_AUTO_TEST_CASE(bytes_of_every_tensor_once) {
  // Q and O: 2 * 3 * 4 * 16 numbers each; K and V: 2 * 5 * 2 * 16.
  BOOST_TEST(attention_bytes(shape_of("2 4 2 3 5 16 fp16 none")) == 2.0 * (2 * 384 + 2 * 320));
}

BOOST_AUTO_TEST_CASE(peaks_are_found_by_whole_name_and_architecture) {
  flashcore_device_info device{};
  device.arch = 90;
  std::strcpy(device.name, "NVIDIA H200");
  BOOST_REQUIRE(find_vendor_peak(device) != nullptr);
  BOOST_TEST(find_vendor_peak(device)->memory_gbytes == 4800);
  std::strcpy(device.name, "NVIDIA GH200 480GB");
  BOOST_TEST(find_vendor_peak(device) == nullptr);
  std::strcpy(device.name, "NVIDIA H200");
  device.arch = 89;
  BOOST_TEST(find_vendor_peak(device) == nullptr);
}

// --- Random inputs

BOOST_DATA_TEST_CASE(inputs_are_normal, data::make({0, 1}), type_index) {
  const Float16Type type = type_index == 0 ? Float16Type::float16 : Float16Type::bfloat16;
  const std::vector<uint16_t> bits = NormalBits(type).draw(7, 200001);
  BOOST_REQUIRE(bits.size() == 200001u);
  double sum = 0, squares = 0, fourth = 0, within = 0, most = 0;
  for (const uint16_t pattern : bits) {
    const double x = to_double(type, pattern);
    sum += x, squares += x * x, fourth += x * x * x * x, within += std::fabs(x) < 1;
    most = std::max(most, std::fabs(x));
  }
  const double n = static_cast<double>(bits.size());
  BOOST_TEST(std::fabs(sum / n) < 0.01);
  BOOST_TEST(std::fabs(squares / n - 1) < 0.02);
  BOOST_TEST(std::fabs(fourth / n - 3) < 0.15);
  BOOST_TEST(std::fabs(within / n - 0.6827) < 0.005);
  BOOST_TEST(most > 3.5);
  BOOST_TEST(most < 4.5);
}

BOOST_AUTO_TEST_CASE(inputs_depend_on_seed_set_and_shape_alone) {
  const NormalBits normal(Float16Type::float16);
  const Shape shape = shape_of("1 2 2 8 8 16 fp16 none"), other = shape_of("1 2 2 8 9 16 fp16 none");
  const HostTensors first = draw_tensors(normal, shape, 1, 0);
  BOOST_CHECK(first.query == draw_tensors(normal, shape, 1, 0).query);
  BOOST_CHECK(first.query != draw_tensors(normal, shape, 2, 0).query);
  BOOST_CHECK(first.query != draw_tensors(normal, shape, 1, 1).query);
  BOOST_CHECK(first.query != draw_tensors(normal, other, 1, 0).query);
  BOOST_CHECK(first.query != first.key);
  BOOST_CHECK(first.key != first.value);
}

// --- The check

const char *const checked_shapes[] = {"1 8 8 512 512 64 fp16 none", "1 32 32 16384 16384 128 fp16 top-left",
                                      "1 1 1 1 1 8 fp16 none", "3 4 2 5 9 16 bf16 bottom-right",
                                      "8 32 8 1 32768 128 fp16 none"};
BOOST_DATA_TEST_CASE(reference_rows_cover_ends_and_stay_affordable, data::make(checked_shapes), line) {
  const Shape shape = shape_of(line);
  const std::vector<ReferenceRow> rows = choose_reference_rows(shape);
  std::set<std::tuple<int64_t, int64_t, int64_t>> distinct;
  for (const ReferenceRow &row : rows) {
    distinct.insert({row.batch, row.head, row.position});
    BOOST_TEST((row.batch >= 0 && row.batch < shape.batch && row.head >= 0 && row.head < shape.heads_q &&
                row.position >= 0 && row.position < shape.seqlen_q));
  }
  BOOST_TEST(distinct.size() == rows.size());
  BOOST_TEST(distinct.count({0, 0, 0}) == 1u);
  BOOST_TEST(distinct.count({shape.batch - 1, shape.heads_q - 1, shape.seqlen_q - 1}) == 1u);
  BOOST_TEST(2.0 * static_cast<double>(rows.size()) * static_cast<double>(shape.seqlen_kv * shape.head_dim) < 2e8);
}

// The reference of single rows is that of the whole problem, and the check sees a single wrong number in them.
BOOST_DATA_TEST_CASE(check_agrees_with_the_whole_reference,
                     data::make({"2 4 2 19 33 16 fp16 none", "2 4 2 33 19 16 bf16 top-left",
                                 "1 2 1 33 19 16 fp16 bottom-right"}),
                     line) {
  const Shape shape = shape_of(line);
  const HostTensors host = draw_tensors(NormalBits(shape.dtype), shape, 3, 0);
  const auto floats = [&](const std::vector<uint16_t> &bits) {
    std::vector<float> values;
    for (const uint16_t pattern : bits) values.push_back(static_cast<float>(to_double(shape.dtype, pattern)));
    return values;
  };
  ReferenceAttention whole;
  whole.batch = shape.batch;
  whole.seqlen_q = shape.seqlen_q;
  whole.seqlen_kv = shape.seqlen_kv;
  whole.heads_q = shape.heads_q;
  whole.heads_kv = shape.heads_kv;
  whole.head_dim = whole.head_dim_v = shape.head_dim;
  whole.query = floats(host.query);
  whole.key = floats(host.key);
  whole.value = floats(host.value);
  whole.scale = 0.25;
  whole.causal = shape.causal == FLASHCORE_CAUSAL_TOP_LEFT       ? ReferenceCausal::top_left
                 : shape.causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT ? ReferenceCausal::bottom_right
                                                                 : ReferenceCausal::none;
  const ReferenceResult result = reference_attention(whole, 1);
  std::vector<uint16_t> output;
  for (const double value : result.output) output.push_back(to_16bit(shape.dtype, value));
  const std::vector<float> lse(result.lse.begin(), result.lse.end());

  const ReferenceRows reference = compute_reference(shape, host);
  BOOST_TEST(check_output(shape, reference, output, lse).passed());
  const ReferenceRow &row = reference.rows.back();
  std::vector<uint16_t> wrong = output;
  wrong[static_cast<size_t>(((row.batch * shape.seqlen_q + row.position) * shape.heads_q + row.head) * shape.head_dim +
                            1)] = to_16bit(shape.dtype, 3);
  BOOST_TEST(!check_output(shape, reference, wrong, lse).passed());
  std::vector<float> wrong_lse = lse;
  wrong_lse[static_cast<size_t>((row.batch * shape.heads_q + row.head) * shape.seqlen_q + row.position)] += 0.01f;
  BOOST_TEST(!check_output(shape, reference, output, wrong_lse).passed());
}
