// SPDX-License-Identifier: Apache-2.0
//
// Every module by its name, shipped or of a tuned row, on problems that it is for: check_every_kernel sees only those that the
// selector takes for its shapes. Several steps, ragged ends, a head dimension that does not fill the tile, values that
// are not finite behind the mask, and scores that grow beyond every reference.
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <set>

#include "kernels/run_case.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "plan/tuned_rows.hpp"

using namespace flashcore::tests;
using flashcore::kernels::Specialization;

namespace {

std::vector<AttentionCase> cases_for(const flashcore::kernels::Passport &passport, const Specialization &s) {
  const auto value = [&](const char *choice, int32_t otherwise) { return passport.value(s, choice, otherwise); };
  const int32_t head_dim = value("head_dim", 64);
  const bool causal = value("causal", 0) != 0;
  AttentionCase one;
  one.batch = 2, one.heads_q = 4, one.heads_kv = 2, one.seqlen_q = 200, one.seqlen_kv = 333;
  one.head_dim = head_dim, one.head_dim_v = value("head_dim_v", head_dim);
  one.dtype = value("dtype", 0) == flashcore::kernels::dtype_bfloat16 ? flashcore::tools::Float16Type::bfloat16
                                                                      : flashcore::tools::Float16Type::float16;
  one.causal = causal ? flashcore::tools::ReferenceCausal::bottom_right : flashcore::tools::ReferenceCausal::none;
  one.layout = value("alignment_bytes", 16) < 16 ? Layout::odd : Layout::padded;
  std::vector<AttentionCase> cases = {one};
  for (const float sink : {3.0f, 60.0f}) cases.push_back(one), cases.back().sink = sink;
  if (causal)
    for (const Garbage garbage : {Garbage::later_keys, Garbage::later_values})
      cases.push_back(one), cases.back().garbage = garbage;
  cases.push_back(one), cases.back().head_dim -= 8, cases.back().head_dim_v -= 8;
  if (head_dim > 64) cases.push_back(one), cases.back().head_dim_v -= 32;
  cases.push_back(one), cases.back().seqlen_q = 64, cases.back().seqlen_kv = 512, cases.back().scale = -0.1f;
  return cases;
}

void check_modules(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  flashcore_device_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  BOOST_REQUIRE_MESSAGE(flashcore_context_describe_device(device.context(), &info, &error) == FLASHCORE_OK,
                        error.message);
  const int32_t index = flashcore::find_kernel(target.kernel);
  BOOST_REQUIRE(index >= 0);
  const flashcore::kernels::Passport &passport = flashcore::passport_at(index);
  std::vector<Specialization> modules;
  Specialization s;
  for (int32_t i = 0; passport.specialization(i, &s); ++i) modules.push_back(s);
  std::set<std::string> tuned;
  for (const flashcore::TunedRow &row : flashcore::tuned_rows())
    if (row.kernel_index == index && row.arch == info.arch && tuned.insert(row.module_name).second)
      modules.push_back(row.module);
  int passed = 0, refused = 0;
  for (const Specialization &module : modules) {
    const std::string name = flashcore::module_name(passport, module);
    bool first = true;
    for (const AttentionCase &one : cases_for(passport, module)) {
      const CaseOutcome outcome = run_case(device, name, one);
      BOOST_TEST((outcome.verdict != Verdict::failed), name << ", " << one.describe() << ": " << outcome.message);
      if (first)
        BOOST_TEST((outcome.verdict == Verdict::passed), name << " refuses what it is for: " << outcome.message);
      first = false;
      passed += outcome.verdict == Verdict::passed, refused += outcome.verdict == Verdict::refused;
    }
  }
  std::printf("%-28s %zu modules (%zu of tuned rows): %d cases passed, %d refused\n", target.name.c_str(),
              modules.size(), tuned.size(), passed, refused);
  std::fflush(stdout);
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "check_every_module";
  add_test_case_per_target("modules", check_modules, [](const Target &target) { return !target.kernel.empty(); });
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
