// SPDX-License-Identifier: Apache-2.0
//
// FLASHCORE_FLAG_BATCH_INVARIANT and split_tokens, on every device and kernel: a sequence has the same bits alone and in batches of several sizes,
// dense and ragged.
#define BOOST_TEST_NO_MAIN  // which targets there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "kernels/batch_invariance.hpp"

using namespace flashcore::tests;

namespace {

void check(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  int compared = 0, refused = 0;
  for (const InvarianceCase &one : invariance_cases()) {
    const InvarianceOutcome outcome = check_invariance(device, one, [&](flashcore_attention_args &args) {
      std::snprintf(args.kernel, sizeof(args.kernel), "%s", target.kernel.c_str());
      flashcore_error error = FLASHCORE_ERROR_INIT;
      const flashcore_status status = flashcore_attention_fwd(device.context(), &args, nullptr, &error);
      if (status == FLASHCORE_UNSUPPORTED) return false;
      BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, one.describe() << ": " << error.message);
      device.synchronize();
      return true;
    });
    BOOST_TEST(outcome.problem == "");
    compared += outcome.compared;
    refused += outcome.compared == 0;
    // The library's own choice has a kernel for all of them, but for pieces where a window moves the first key.
    if (target.kernel.empty() && target.device_kind == FLASHCORE_DEVICE_CUDA && outcome.compared == 0)
      BOOST_TEST((one.window_left >= 0 && one.split_tokens != 0), one.describe() << " is refused");
  }
  std::printf("%-28s %d sequences compared, %d cases refused\n", target.name.c_str(), compared, refused);
  if (target.kernel.empty()) BOOST_TEST(compared >= 100);
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_batch_invariance";
  add_test_case_per_target("bits", check);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
