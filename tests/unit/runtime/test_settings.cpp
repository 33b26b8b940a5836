// SPDX-License-Identifier: Apache-2.0
//
// Options and environment, resolved: who wins, what is refused, and where the user cache never lies.
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <cstring>
#include <map>

#include "runtime/settings.hpp"

using namespace flashcore;

namespace {

// Sets variables for one case and puts everything back.
class Variables {
 public:
  explicit Variables(std::initializer_list<std::pair<const char *, const char *>> values) {
    for (const char *name : {"FLASHCORE_CACHE_DIR", "FLASHCORE_CACHE", "FLASHCORE_MODULE_PATH", "FLASHCORE_JIT",
                             "FLASHCORE_TUNED", "FLASHCORE_CHECK_ADDRESSES", "XDG_CACHE_HOME", "HOME"}) {
      if (const char *value = std::getenv(name)) before_[name] = value;
      names_.push_back(name);
      unsetenv(name);
    }
    for (const auto &[name, value] : values) setenv(name, value, 1);
  }
  ~Variables() {
    for (const std::string &name : names_) unsetenv(name.c_str());
    for (const auto &[name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string> before_;
};

flashcore_context_options fresh_options() {
  flashcore_context_options options{};
  options.struct_size = sizeof(options);
  return options;
}

Settings resolved(const flashcore_context_options *options) {
  auto settings = resolve_settings(options);
  BOOST_REQUIRE_MESSAGE(settings.ok(), (settings.ok() ? std::string() : settings.error().message));
  return std::move(settings).value();
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_user_cache_has_a_safe_home) {
  {
    const Variables none({{"HOME", "/home/somebody"}});
    BOOST_TEST(resolved(nullptr).store.user_root == "/home/somebody/.cache/flashcore");
  }
  {
    const Variables xdg({{"HOME", "/home/somebody"}, {"XDG_CACHE_HOME", "/var/xdg"}});
    BOOST_TEST(resolved(nullptr).store.user_root == "/var/xdg/flashcore");
  }
  {
    const Variables relative(
        {{"HOME", "/home/somebody"}, {"XDG_CACHE_HOME", "xdg"}});  // the specification says: ignore it
    BOOST_TEST(resolved(nullptr).store.user_root == "/home/somebody/.cache/flashcore");
  }
  {
    const Variables root({{"HOME", "/"}});
    const Settings settings = resolved(nullptr);
    BOOST_TEST(!settings.store.user_root.starts_with("/.cache"));
    BOOST_TEST(!settings.store.user_root.starts_with("/tmp"));
  }
}

// "/" in every spelling; what was made there would lie in the root folder itself.
BOOST_AUTO_TEST_CASE(the_user_cache_never_lies_in_the_root_folder) {
  for (const char *root : {"/", "//", "///", "/.", "/./", "/..", "/../.."}) {
    const Variables home({{"HOME", root}});
    const std::string elsewhere = resolved(nullptr).store.user_root;
    const Variables xdg({{"XDG_CACHE_HOME", root}, {"HOME", "/home/somebody"}});
    BOOST_TEST(resolved(nullptr).store.user_root == "/home/somebody/.cache/flashcore");
    BOOST_TEST((elsewhere.empty() || std::string(elsewhere).find_first_not_of("/.") == 1u), elsewhere);
    BOOST_TEST(!elsewhere.starts_with("/.cache"));
    flashcore_context_options options = fresh_options();
    std::strcpy(options.cache_directory, root);
    const auto refused = resolve_settings(&options);
    BOOST_REQUIRE(!refused.ok());
    BOOST_TEST(refused.error().field == "cache_directory");
  }
}

BOOST_AUTO_TEST_CASE(addresses_are_checked_where_it_is_asked_for) {
  const std::pair<const char *, bool> cases[] = {{"", false}, {"0", false}, {"off", false}, {"1", true}, {"on", true}};
  for (const auto &[value, checked] : cases) {
    const Variables variable({{"FLASHCORE_CHECK_ADDRESSES", value}});
    BOOST_TEST(resolved(nullptr).addresses_checked == checked);
    flashcore_context_options options = fresh_options();
    options.address_checks = FLASHCORE_ADDRESS_CHECKS_ALWAYS;
    BOOST_TEST(resolved(&options).addresses_checked);
    options.address_checks = FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES;
    BOOST_TEST(!resolved(&options).addresses_checked);
    options.struct_size = 3096;  // of version 1.0, which ends before it
    BOOST_TEST(resolved(&options).addresses_checked == checked);
  }
}

BOOST_AUTO_TEST_CASE(an_option_beats_the_environment) {
  const Variables variables({{"FLASHCORE_CACHE_DIR", "/from/environment"},
                             {"FLASHCORE_CACHE", "off"},
                             {"FLASHCORE_MODULE_PATH", "/a:/b"},
                             {"FLASHCORE_JIT", "off"}});
  const Settings environment = resolved(nullptr);
  BOOST_TEST(environment.store.user_root == "/from/environment");
  BOOST_TEST((environment.store.mode == CacheMode::off));
  BOOST_TEST((environment.store.read_only_roots == std::vector<std::string>{"/a", "/b"}));
  BOOST_TEST(!environment.jit_allowed);
  flashcore_context_options options = fresh_options();
  std::strcpy(options.cache_directory, "/from/option");
  std::strcpy(options.module_path, "/c");
  options.cache_mode = FLASHCORE_CACHE_READ_ONLY;
  options.jit_mode = FLASHCORE_JIT_ALLOWED;
  const Settings option = resolved(&options);
  BOOST_TEST(option.store.user_root == "/from/option");
  BOOST_TEST((option.store.mode == CacheMode::read_only));
  BOOST_TEST((option.store.read_only_roots == std::vector<std::string>{"/c"}));
  BOOST_TEST(option.jit_allowed);
}

BOOST_AUTO_TEST_CASE(wrong_values_name_their_field) {
  const auto field_of = [](auto change) {
    flashcore_context_options options = fresh_options();
    change(options);
    const auto settings = resolve_settings(&options);
    return settings.ok() ? std::string("accepted") : settings.error().field;
  };
  BOOST_TEST(field_of([](auto &o) { o.cache_mode = 9; }) == "cache_mode");
  BOOST_TEST(field_of([](auto &o) { o.jit_mode = -1; }) == "jit_mode");
  BOOST_TEST(field_of([](auto &o) { std::memset(o.cache_directory, 'x', sizeof(o.cache_directory)); }) ==
             "cache_directory");
  BOOST_TEST(field_of([](auto &o) { std::strcpy(o.cache_directory, "relative/path"); }) == "cache_directory");
  BOOST_TEST(field_of([](auto &o) { o.address_checks = 3; }) == "address_checks");
  BOOST_TEST(field_of([](auto &o) { o.address_checks = -1; }) == "address_checks");
  BOOST_TEST(field_of([](auto &o) { o.reserved = 1; }) == "reserved");
  BOOST_TEST(field_of([](auto &o) { o.struct_size = 8; }) == "struct_size");
  BOOST_TEST(field_of([](auto &o) { o.struct_size = 3095; }) == "struct_size");
  for (const char *variable : {"FLASHCORE_CACHE", "FLASHCORE_JIT", "FLASHCORE_TUNED", "FLASHCORE_CHECK_ADDRESSES"}) {
    const Variables wrong({{variable, "maybe"}});
    const auto settings = resolve_settings(nullptr);
    BOOST_REQUIRE(!settings.ok());
    BOOST_TEST(settings.error().field == variable);
  }
}

BOOST_AUTO_TEST_CASE(tuned_rows_are_used_unless_they_are_turned_off) {
  {
    const Variables none({});
    BOOST_TEST(resolved(nullptr).tuned_rows_used);
  }
  {
    const Variables on({{"FLASHCORE_TUNED", "on"}});
    BOOST_TEST(resolved(nullptr).tuned_rows_used);
  }
  const Variables off({{"FLASHCORE_TUNED", "off"}});
  BOOST_TEST(!resolved(nullptr).tuned_rows_used);
}
