// SPDX-License-Identifier: Apache-2.0
//
// What a module is called and which architectures' modules a device may run.
#include <boost/test/unit_test.hpp>
#include <set>

#include "cache/module_key.hpp"
#include "jit/compile_options.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "runtime/module_builder.hpp"

using namespace flashcore;
using Names = std::vector<std::string>;

BOOST_AUTO_TEST_CASE(a_device_runs_its_own_modules_then_lower_minors) {
  BOOST_TEST((module_archs(89) == Names{"sm_89", "sm_88", "sm_86", "sm_80"}));
  BOOST_TEST((module_archs(80) == Names{"sm_80"}));
  BOOST_TEST((module_archs(90) == Names{"sm_90a", "sm_90"}));
  BOOST_TEST((module_archs(87) == Names{"sm_87"}));  // Tegra
}

BOOST_AUTO_TEST_CASE(a_device_runs_the_modules_of_its_family) {
  BOOST_TEST((module_archs(100) == Names{"sm_100", "sm_100a", "sm_100f"}));
  // An "a" module runs on exactly its own capability, an "f" module on higher minors too.
  BOOST_TEST((module_archs(103) == Names{"sm_103", "sm_103a", "sm_103f", "sm_100", "sm_100f"}));
  BOOST_TEST((module_archs(121) == Names{"sm_121", "sm_121a", "sm_121f", "sm_120", "sm_120f"}));
  BOOST_TEST((module_archs(110) == Names{"sm_110", "sm_110a", "sm_110f"}));                      // Tegra
  BOOST_TEST((module_archs(122) == Names{"sm_122", "sm_121", "sm_121f", "sm_120", "sm_120f"}));  // one to come
  BOOST_TEST((module_archs(130) == Names{"sm_130"}));
}

BOOST_AUTO_TEST_CASE(keys_tell_modules_apart) {
  std::set<std::string> keys;
  size_t modules = 0;
  for (int32_t index = 0; index < static_cast<int32_t>(kernel_table().size()); ++index) {
    kernels::Specialization specialization;
    for (int32_t i = 0; kernel_table()[index].passport->specialization(i, &specialization); ++i)
      for (const char *arch : {"sm_80", "sm_89", "sm_90a"}) {
        keys.insert(make_module_request(index, specialization, arch, "").key);
        ++modules;
      }
  }
  BOOST_TEST(keys.size() == modules);
  kernels::Specialization first;
  BOOST_REQUIRE(kernel_table()[0].passport->specialization(0, &first));
  const ModuleRequest plain = make_module_request(0, first, "sm_89", ""),
                      again = make_module_request(0, first, "sm_89", "");
  BOOST_TEST(plain.key == again.key);
  BOOST_TEST(plain.key != make_module_request(0, first, "sm_89", "-lineinfo").key);
}

// Line numbers in a cubin make its comments count: then the key is over the texts as they stand.
BOOST_AUTO_TEST_CASE(keys_are_over_tokens_and_with_flags_of_the_users_own_over_texts) {
  const KernelRow &row = kernel_table()[0];
  kernels::Specialization first;
  BOOST_REQUIRE(row.passport->specialization(0, &first));
  BOOST_TEST(row.tokens_sha256 != row.text_sha256);
  const std::string name = std::string(row.passport->name) + ".cu",
                    header = specialization_header(*row.passport, first);
  const std::vector<std::string> options = canonical_compile_options("sm_89");
  const auto key = [&](std::string_view kernel_sha256, std::string_view flags) {
    return logical_module_key({name, kernel_sha256, header, "sm_89", options, flags});
  };
  BOOST_TEST(make_module_request(0, first, "sm_89", "").key == key(row.tokens_sha256, ""));
  BOOST_TEST(make_module_request(0, first, "sm_89", "-lineinfo").key == key(row.text_sha256, "-lineinfo"));
}
