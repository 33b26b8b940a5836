// SPDX-License-Identifier: Apache-2.0
//
// Equal inputs give equal keys in every process and release of this schema; any other input gives another key.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE unit_cache
#include "cache/module_key.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <set>

namespace {

using namespace flashcore;

const std::vector<std::string> options{"--gpu-architecture=sm_89", "--std=c++20"};
const ModuleKeyInput input{"k.cu", "aa", "specialization", "sm_89", options, ""};

}  // namespace

BOOST_AUTO_TEST_SUITE(module_key)

// Pinned: a change here makes every shipped and cached module useless, and must be meant.
BOOST_AUTO_TEST_CASE(value_of_this_schema) {
  BOOST_TEST(logical_module_key(input) == "55c74e3fb265bcdb6010c73630f0227851172973dd9399df3c1abc3abe40cfad");
  BOOST_TEST(logical_module_key({}) == "6092e1223dbac32e3c39e46b4208a6f8cd852d105b16b706f1946c32b0eca855");
}

BOOST_AUTO_TEST_CASE(every_input_counts_and_none_can_be_shifted_into_another) {
  const std::vector<std::string> reversed{options[1], options[0]}, joined{options[0] + options[1]}, one{options[0]},
      with_empty{options[0], options[1], ""};
  const std::function<void(ModuleKeyInput &)> changes[] = {
      [](ModuleKeyInput &) {},
      [](ModuleKeyInput &key) { key.program_name = "l.cu"; },
      [](ModuleKeyInput &key) { key.kernel_sha256 = "a"; },
      [](ModuleKeyInput &key) { key.kernel_sha256 = "ab"; },
      [](ModuleKeyInput &key) { key.program_name = "k.cua", key.kernel_sha256 = "a"; },
      [](ModuleKeyInput &key) { key.kernel_sha256 = "aas", key.specialization = "pecialization"; },
      [](ModuleKeyInput &key) { key.specialization = ""; },
      [](ModuleKeyInput &key) { key.arch = "sm_90"; },
      [](ModuleKeyInput &key) { key.arch = "sm_90a"; },
      [&](ModuleKeyInput &key) { key.options = reversed; },
      [&](ModuleKeyInput &key) { key.options = joined; },
      [&](ModuleKeyInput &key) { key.options = one; },
      [&](ModuleKeyInput &key) { key.options = with_empty; },
      [](ModuleKeyInput &key) { key.nvrtc_append_flags = "-lineinfo"; },
      [](ModuleKeyInput &key) { key.arch = "", key.nvrtc_append_flags = "sm_89"; },
  };
  std::set<std::string> keys;
  for (const auto &change : changes) {
    ModuleKeyInput changed = input;
    change(changed);
    const std::string key = logical_module_key(changed);
    BOOST_TEST(is_lower_hex(key, 64));
    keys.insert(key);
  }
  BOOST_TEST(keys.size() == std::size(changes));
}

BOOST_AUTO_TEST_CASE(file_names) {
  const std::string key(64, 'a'), compiler = "0123456789abcdef0123456789abcdef";
  const std::string name = module_file_name(key, compiler);
  BOOST_TEST(name == key + ".0123456789abcdef.fcm");
  const auto parts = parse_module_file_name(name);
  BOOST_REQUIRE(parts.has_value());
  BOOST_TEST(parts->key == key);
  BOOST_TEST(parts->compiler16 == "0123456789abcdef");
  const std::string wrong[] = {"",
                               ".fcm",
                               name + "x",
                               "x" + name,
                               key + ".fcm",
                               key + ".0123456789abcdef.fcn",
                               key + "-0123456789abcdef.fcm",
                               key + ".0123456789abcdeF.fcm",
                               std::string(64, 'g') + ".0123456789abcdef.fcm"};
  for (const std::string &other : wrong) BOOST_TEST(!parse_module_file_name(other).has_value());
}

BOOST_AUTO_TEST_CASE(architectures) {
  for (const char *arch : {"sm_80", "sm_89", "sm_90a", "sm_100f", "sm_120", "sm_120a", "sm_120f", "sm_130"})
    BOOST_TEST(is_module_arch(arch));
  for (const char *arch : {"", "sm_", "sm_a", "sm_8", "sm_08", "sm_080", "sm_1200", "sm_12345678901", "sm_89b",
                           "sm_100x", "sm_90aa", "sm_100fa", "compute_80", "90", "../sm_80", "sm_80/", "SM_80"})
    BOOST_TEST(!is_module_arch(arch));
}

BOOST_AUTO_TEST_SUITE_END()
