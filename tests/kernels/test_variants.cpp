// SPDX-License-Identifier: Apache-2.0
//
// The texts of examples/variants on every kernel of the table and the library's own choice, on every kind of device there is, against float64.
// Kernels that take no variants refuse all of them, by name. On the CPU device texts are compiled where the machine has a compiler.
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <string>

#include "kernels/variant_cases.hpp"

using namespace flashcore::tests;

namespace {

struct Tally {
  int passed = 0, refused = 0, by_variant = 0;
  double gate_share = 0;
};

uint64_t make_variant(const Device &device, const VariantCase &one) {
  flashcore_variant_options options = FLASHCORE_VARIANT_OPTIONS_INIT;
  options.params_bytes = static_cast<int64_t>(one.params.size());
  const std::string text = variant_text(one.name);
  uint64_t variant = 0;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  BOOST_REQUIRE_MESSAGE(flashcore_variant_create(device.context(), text.data(), static_cast<int64_t>(text.size()),
                                                 &options, &variant, &error) == FLASHCORE_OK,
                        error.message);
  return variant;
}

// False: this device can have no variants, because nothing here compiles them.
bool run_one(const Device &device, const Target &target, const VariantCase &one, Tally &tally) {
  VariantRun prepared(device, one, target.kernel);
  prepared.run().args().variant = make_variant(device, one);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = prepared.run().launch(&error);
  if (status == FLASHCORE_UNSUPPORTED && std::string(error.message).find("C++ compiler") != std::string::npos) {
    BOOST_TEST_MESSAGE("skipped: " << error.message);
    return false;
  }
  if (status == FLASHCORE_UNSUPPORTED) {
    ++tally.refused, tally.by_variant += std::string(error.field) == "variant";
    return true;
  }
  BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, one.describe() << ": " << error.message);
  device.synchronize();
  const CaseOutcome outcome = prepared.judge();
  BOOST_TEST((outcome.verdict == Verdict::passed), outcome.message);
  ++tally.passed;
  BOOST_TEST(flashcore_variant_destroy(device.context(), prepared.run().args().variant, nullptr) == FLASHCORE_OK);
  return true;
}

void check_texts(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  Tally tally;
  for (const VariantCase &one : variant_cases())
    if (!run_one(device, target, one, tally)) return;
  std::printf("%-28s %d texts passed, %d refused\n", target.name.c_str(), tally.passed, tally.refused);
  if (target.kernel.empty())
    BOOST_TEST(tally.refused == 0, target.name << " refused " << tally.refused);
  else
    BOOST_TEST((tally.passed > 0 || tally.by_variant > 0), target.name << " refuses, but not variants");
}

// Batches of sequences of lengths of their own, and pages, where the kernel has code for them.
void check_ragged_texts(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  int passed = 0;
  for (const RaggedVariantCase &one : ragged_variant_cases()) {
    RaggedOnDevice run(device, one.rows, target.kernel);
    run.set_variant(one.variant.score, one.variant.visible);
    const DeviceBuffer params(device, static_cast<int64_t>(one.variant.params.size()));
    params.write(one.variant.params.data());
    run.args().variant = make_variant(device, one.variant), run.args().variant_params = params.address();
    flashcore_error error = FLASHCORE_ERROR_INIT;
    const flashcore_status status = run.launch(&error);
    if (status == FLASHCORE_UNSUPPORTED) {
      BOOST_TEST_MESSAGE(error.message);
      continue;
    }
    BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, one.rows.describe() << ": " << error.message);
    device.synchronize();
    const CaseOutcome outcome = run.judge();
    BOOST_TEST((outcome.verdict == Verdict::passed), one.rows.describe() << ": " << outcome.message);
    ++passed;
  }
  std::printf("%-28s %d ragged batches passed\n", target.name.c_str(), passed);
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_variants";
  add_test_case_per_target("texts", check_texts);
  add_test_case_per_target("ragged_texts", check_ragged_texts);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
