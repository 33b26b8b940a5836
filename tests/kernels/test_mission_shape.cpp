// SPDX-License-Identifier: Apache-2.0
//
// The shape that the project is measured at: batch 1, 8 heads, 512 queries and keys, head dimension 64. Every kernel
// must serve it in float16 within the fixed bounds; the library's choice and the CPU device also in bfloat16.
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "kernels/run_case.hpp"

using namespace flashcore::tests;
using flashcore::tools::Float16Type;

namespace {

void check_mission_shape(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  for (Float16Type dtype : {Float16Type::float16, Float16Type::bfloat16}) {
    const AttentionCase one = {.seqlen_q = 512, .seqlen_kv = 512, .heads_q = 8, .heads_kv = 8, .dtype = dtype};
    BOOST_REQUIRE(one.fixed_bounds_apply());
    const CaseOutcome outcome = run_case(device, target.kernel, one);
    const bool may_refuse = dtype == Float16Type::bfloat16 && !target.kernel.empty();
    BOOST_TEST((outcome.verdict == Verdict::passed || (may_refuse && outcome.verdict == Verdict::refused)),
               one.describe() << ": " << outcome.message);
    if (outcome.verdict == Verdict::refused)
      std::printf("%-28s %s: refused (%s)\n", target.name.c_str(), one.describe().c_str(), outcome.message.c_str());
    else
      std::printf("%-28s %s: max error %.2e, mean %.2e\n", target.name.c_str(), one.describe().c_str(),
                  outcome.max_error, outcome.mean_error);
    std::fflush(stdout);
  }
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_mission_shape";
  add_test_case_per_target("mission_shape", check_mission_shape);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
