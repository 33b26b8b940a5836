// SPDX-License-Identifier: Apache-2.0
//
// The golden vectors on every device and kernel, through the public interface. A case whose feature the build does not
// have must be refused with the feature's own field: a window that is silently ignored would give plausible numbers.
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "kernels/device.hpp"
#include "kernels/golden_on_device.hpp"

using namespace flashcore::tests;

namespace {

void check_refusal(const Target &target, const GoldenCase &golden, const flashcore_error &error) {
  const std::string field = error.field;
  BOOST_TEST(!field.empty());
  const auto fields = feature_fields(golden.problem);
  if (fields.empty()) {
    BOOST_TEST(target.device_kind != FLASHCORE_DEVICE_CPU, "the CPU device serves everything, but: " << error.message);
    return;
  }
  // A kernel of one head dimension may say that first.
  const bool of_shape = !target.kernel.empty() && field == "head_dim";
  const bool named = of_shape || std::any_of(fields.begin(), fields.end(),
                                             [&](const std::string &one) { return field.rfind(one, 0) == 0; });
  BOOST_TEST(named, "refused because of \"" << field << "\", which is not what the case is about: " << error.message);
}

void check_golden(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  int matched = 0, refused = 0;
  for (const GoldenCase &golden : load_golden_cases()) {
    BOOST_TEST_CONTEXT(golden.name) {
      GoldenOnDevice run(device, golden, target.kernel);
      flashcore_error error = FLASHCORE_ERROR_INIT;
      const flashcore_status status = run.launch(&error);
      if (status == FLASHCORE_UNSUPPORTED) {
        refused++;
        check_refusal(target, golden, error);
        continue;
      }
      BOOST_TEST(status == FLASHCORE_OK, error.message);
      if (status != FLASHCORE_OK) continue;
      device.synchronize();
      const std::string problem = run.problem();
      BOOST_TEST(problem.empty(), problem);
      matched++;
    }
  }
  std::printf("%-28s %d golden cases computed, %d refused\n", target.name.c_str(), matched, refused);
  std::fflush(stdout);
  BOOST_TEST(matched >= 8, "refused nearly everything");
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_golden";
  add_test_case_per_target("golden", check_golden);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
