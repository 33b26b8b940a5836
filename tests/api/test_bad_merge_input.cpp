// SPDX-License-Identifier: Apache-2.0
//
// Wrong arguments of flashcore_merge_states through the public interface, on the CPU device: handles, structs and addresses. Fields are
// tests/unit/problem/test_validate_merge_states.cpp's.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bad_input_fixture.hpp"

namespace {

// Two states of 3 rows of 2 heads of 8 columns: 1.0 and 3.0, with logarithms of 0.
struct Merge {
  std::vector<float> states = std::vector<float>(2 * 48), logarithms = std::vector<float>(2 * 6),
                     output = std::vector<float>(48), lse = std::vector<float>(6);
  flashcore_merge_states_args args = FLASHCORE_MERGE_STATES_ARGS_INIT;

  Merge() {
    for (size_t i = 0; i < states.size(); ++i) states[i] = i < 48 ? 1.0f : 3.0f;
    args.state_count = 2;
    args.batch = 1, args.seqlen_q = 3, args.heads_q = 2, args.head_dim_v = 8;
    args.output_states.dtype = FLASHCORE_DTYPE_FLOAT32;
    args.output_states.data = address_of(states.data()), args.lse_states.data = address_of(logarithms.data());
    args.output.data = address_of(output.data()), args.lse.data = address_of(lse.data());
    std::memset(output.data(), poison, output.size() * sizeof(float));
  }
  bool output_untouched() const {
    const auto *bytes = reinterpret_cast<const unsigned char *>(output.data());
    return std::all_of(bytes, bytes + output.size() * sizeof(float), [](unsigned char byte) { return byte == poison; });
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(bad_merge_input, CpuContext)

BOOST_AUTO_TEST_CASE(a_good_call) {
  Merge merge;
  BOOST_TEST(flashcore_merge_states_prepare(context, &merge.args, nullptr) == FLASHCORE_OK);
  BOOST_TEST(merge.output_untouched());
  BOOST_TEST(flashcore_merge_states(context, &merge.args, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_TEST(merge.output == std::vector<float>(48, 2.0f));
}

BOOST_AUTO_TEST_CASE(handles_and_structs) {
  Merge merge;
  PoisonedError no_context, no_args, small, unknown;
  check_failure(no_context, flashcore_merge_states(nullptr, &merge.args, nullptr, &no_context.error),
                FLASHCORE_INVALID_ARGUMENT, "context");
  check_failure(no_args, flashcore_merge_states(context, nullptr, nullptr, &no_args.error), FLASHCORE_INVALID_ARGUMENT,
                "args");
  merge.args.struct_size = 8;
  check_failure(small, flashcore_merge_states(context, &merge.args, nullptr, &small.error), FLASHCORE_INVALID_ARGUMENT,
                "struct_size");
  merge.args.struct_size = sizeof(merge.args), merge.args.reserved = 1;
  check_failure(unknown, flashcore_merge_states_prepare(context, &merge.args, &unknown.error), FLASHCORE_UNSUPPORTED,
                "reserved");
  BOOST_TEST(merge.output_untouched());
}

BOOST_AUTO_TEST_CASE(addresses_that_are_no_memory) {
  const NoMemory nothing;
  Merge merge;
  const std::pair<const char *, uint64_t *> fields[] = {{"output_states.data", &merge.args.output_states.data},
                                                        {"lse_states.data", &merge.args.lse_states.data},
                                                        {"output.data", &merge.args.output.data},
                                                        {"lse.data", &merge.args.lse.data}};
  for (const auto &[field, address] : fields) {
    const uint64_t good = std::exchange(*address, nothing.address());
    PoisonedError poisoned;
    check_failure(poisoned, flashcore_merge_states(context, &merge.args, nullptr, &poisoned.error),
                  FLASHCORE_INVALID_ARGUMENT, field);
    *address = good;
    BOOST_TEST(merge.output_untouched());
  }
}

// The second state alone lies where nothing is.
BOOST_AUTO_TEST_CASE(a_state_that_is_no_memory) {
  const NoMemory nothing;
  Merge merge;
  const int64_t strides[] = {48, 16, 8, 1};
  std::copy_n(strides, 4, merge.args.output_states.stride);
  const uint64_t first = std::min(merge.args.output_states.data, nothing.address()),
                 other = std::max(merge.args.output_states.data, nothing.address());
  if (first == nothing.address()) return;  // states go upwards in memory
  merge.args.output_state_stride = static_cast<int64_t>((other - first) / sizeof(float));
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_merge_states(context, &merge.args, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "output_states.data");
  BOOST_TEST(merge.output_untouched());
}

BOOST_AUTO_TEST_SUITE_END()
