// SPDX-License-Identifier: Apache-2.0
//
// flashcore_merge_states on every kind of device there is: against float64, over types, layouts, sizes and logarithms of all kinds; attention
// over shards of the keys against attention over all of them; the same bits again, and one state as it is.
//
//   test_merge_states --run_test='*/cuda0-auto'     on the GPU alone
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdio>
#include <random>

#include "common/float16.hpp"
#include "kernels/merge_case.hpp"
#include "kernels/shards.hpp"

using namespace flashcore::tests;
namespace tools = flashcore::tools;

namespace {

void require(flashcore_status status, const flashcore_error &error) {
  BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, flashcore_status_name(status) << ": " << error.message);
}

void check_cases(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  double largest_share = 0;
  uint32_t seed = 1;
  const std::vector<MergeCase> cases = merge_cases();
  for (const MergeCase &one : cases) {
    const MergeOnDevice run(device, one, seed++);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    require(run.launch(&error), error);
    const std::string wrong = run.judge();
    BOOST_TEST(wrong == "", one.describe() << ": " << wrong);
    largest_share = std::max(largest_share, run.largest_share());
  }
  std::printf("%-12s %zu merges; closest to a gate: %.2f of it\n", target.name.c_str(), cases.size(), largest_share);
  std::fflush(stdout);
}

void check_repeats(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  for (const MergeLayout layout : {MergeLayout::padded, MergeLayout::odd}) {
    const MergeCase one = {.states = 9, .rows = 700, .columns = 72, .layout = layout};
    const MergeOnDevice run(device, one, 7);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    require(run.launch(&error), error);
    const auto first = run.results();
    for (int n = 0; n < 20; ++n) {
      require(run.launch(&error), error);
      BOOST_REQUIRE(run.results() == first);
    }
  }
}

// ---- Shards of the keys ---------------------------------------------------------------------------------------------
constexpr int64_t batch = 2, queries = 9, heads = 3, columns = 64;
constexpr int64_t rows = batch * queries * heads;

std::vector<uint16_t> random_halves(int64_t count, tools::Float16Type type, std::mt19937 &random) {
  std::normal_distribution<double> normal(0, 1);
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  for (uint16_t &half : halves) half = tools::to_16bit(type, normal(random));
  return halves;
}

template <typename T>
std::vector<T> read(const DeviceBuffer &buffer) {
  std::vector<T> values(static_cast<size_t>(buffer.bytes()) / sizeof(T));
  buffer.read(values.data());
  return values;
}

void check_shards_of_keys(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  constexpr int rounds = 60;
  const ShardsOutcome outcome = check_shards(device, rounds, [&](const flashcore_attention_args &args) {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    require(flashcore_attention_fwd(device.context(), &args, nullptr, &error), error);
    return true;
  });
  BOOST_TEST(outcome.problem == "");
  BOOST_TEST(outcome.merged == rounds);
}

// ---- One state, and none that counts ---------------------------------------------------------------------------------
void check_one_state(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  std::mt19937 random(13);
  const auto halves = random_halves(rows * columns, tools::Float16Type::float16, random);
  std::vector<float> logarithms(rows);
  for (float &one : logarithms) one = std::normal_distribution<float>(0, 100)(random);
  const DeviceBuffer states(device, rows * columns * 2), lse_states(device, rows * 4),
      merged(device, rows * columns * 2), merged_lse(device, rows * 4);
  states.write(halves.data()), lse_states.write(logarithms.data());
  flashcore_merge_states_args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
  args.state_count = 1;
  args.batch = batch, args.seqlen_q = queries, args.heads_q = heads, args.head_dim_v = columns;
  args.output_states.data = states.address(), args.output_states.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.lse_states.data = lse_states.address();
  args.output.data = merged.address(), args.lse.data = merged_lse.address();
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require(flashcore_merge_states_prepare(device.context(), &args, &error), error);
  require(flashcore_merge_states(device.context(), &args, nullptr, &error), error);
  device.synchronize();
  BOOST_TEST(read<uint16_t>(merged) == halves);
  BOOST_TEST(read<float>(merged_lse) == logarithms);
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_merge_states";
  const auto by_choice = [](const Target &target) { return target.kernel.empty(); };
  add_test_case_per_target("cases", check_cases, by_choice);
  add_test_case_per_target("repeats", check_repeats, by_choice);
  add_test_case_per_target("shards", check_shards_of_keys, by_choice);
  add_test_case_per_target("one_state", check_one_state, by_choice);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
