// SPDX-License-Identifier: Apache-2.0
//
// The one search for modules: what is offered, what is passed over and why, what is counted; and which modules there are to ask for.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>

#include "plan/kernel_table.hpp"
#include "plan/tuned_rows.hpp"
#include "runtime/module_source.hpp"
#include "unit/cache/cache_fixture.hpp"

using namespace cache_fixture;

namespace {

// A pack with entries of two compilers for the first module of the first kernel, and nothing to compile with.
struct SourceFixture : StoreFixture {
  Settings settings;
  ModuleRequest request;

  SourceFixture() {
    kernels::Specialization first{};
    BOOST_REQUIRE(kernel_table()[0].passport->specialization(0, &first));
    request = make_module_request(0, first, "sm_89", "");
    settings.store = with_pack();
    settings.jit_allowed = false;
    settings.jit_refusal = "a test";
  }
  Module entry(const std::string &compiler_id, const std::string &arch = "sm_89") const {
    Module made;
    made.record = make_record("", arch, compiler_id);
    made.record.module = request.module;
    made.record.kernel = kernel_table()[0].passport->name;
    made.record.key = make_module_request(0, request.specialization, arch, "").key;
    made.cubin = make_cubin(arch, made.record.kernel);
    made.encoded = encode(made.record, made.cubin);
    return made;
  }
};

Error driver_error(const char *message) { return {FLASHCORE_CUDA_ERROR, message, "", 200}; }

std::string text_of(const Status &status) {
  return status.ok() ? "OK" : std::string(flashcore_status_name(status.error().status)) + ": " + status.error().message;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(module_source, SourceFixture)

BOOST_AUTO_TEST_CASE(the_first_entry_that_is_taken_ends_the_search) {
  put_pack(entry(compiler_a));
  put_user(entry(compiler_b));
  ModuleSource source(settings);
  int offers = 0;
  BOOST_TEST(text_of(source.obtain({request}, [&](const ModuleOffer &offer) {
               ++offers;
               BOOST_TEST(offer.request.module == request.module);
               BOOST_REQUIRE(offer.found != nullptr);
               BOOST_TEST(offer.built == nullptr);
               BOOST_TEST((offer.found->origin == ModuleOrigin::shipped));
               BOOST_TEST(offer.cubin == entry(compiler_a).cubin);
               return success();
             })) == "OK");
  BOOST_TEST(offers == 1);
  BOOST_TEST(source.counters().from_shipped == 1);
  BOOST_TEST(source.counters().from_user_cache == 0);
}

BOOST_AUTO_TEST_CASE(what_the_driver_refuses_is_passed_over_and_told) {
  put_pack(entry(compiler_a));
  put_user(entry(compiler_b));
  ModuleSource source(settings);
  BOOST_TEST(text_of(source.obtain({request}, [&](const ModuleOffer &offer) -> Status {
               if (offer.found->origin == ModuleOrigin::shipped) return driver_error("no such image");
               return success();
             })) == "OK");
  BOOST_TEST(source.counters().from_shipped == 0);
  BOOST_TEST(source.counters().from_user_cache == 1);
  BOOST_TEST(source.counters().refused_by_driver == 1);

  const Status none =
      source.obtain({request}, [](const ModuleOffer &) -> Status { return driver_error("no such image"); });
  BOOST_REQUIRE(!none.ok());
  BOOST_TEST((none.error().status == FLASHCORE_COMPILER_UNAVAILABLE));
  BOOST_TEST(none.error().driver_code == 200);
  for (const std::string &part :
       {"holds a usable " + request.module + " for sm_89", pack + "/" + entry(compiler_a).pack_path(),
        std::string("the driver refused it: no such image"), std::string("compiling is forbidden (a test)")})
    BOOST_TEST(contains(none.error().message, part), none.error().message << " [lacks " << part << "]");
}

// Memory, a lost context: nothing that another entry would mend.
BOOST_AUTO_TEST_CASE(an_error_that_is_not_the_entrys_fault_ends_the_search) {
  put_pack(entry(compiler_a));
  put_user(entry(compiler_b));
  ModuleSource source(settings);
  int offers = 0;
  BOOST_TEST(text_of(source.obtain({request}, [&](const ModuleOffer &) -> Status {
               ++offers;
               return Error{FLASHCORE_OUT_OF_DEVICE_MEMORY, "full"};
             })) == "OUT_OF_DEVICE_MEMORY: full");
  BOOST_TEST(offers == 1);
  BOOST_TEST(source.counters().refused_by_driver == 0);
  BOOST_TEST(source.counters().from_shipped == 0);
}

BOOST_AUTO_TEST_CASE(requests_are_looked_for_in_their_order) {
  put_pack(entry(compiler_a, "sm_80"));
  const ModuleRequest older = make_module_request(0, request.specialization, "sm_80", "");
  ModuleSource source(settings);
  std::string arch;
  const auto take = [&](const ModuleOffer &offer) {
    arch = offer.request.arch;
    return success();
  };
  BOOST_TEST(text_of(source.obtain({request, older}, take)) == "OK");
  BOOST_TEST(arch == "sm_80");
  put_pack(entry(compiler_a));
  BOOST_TEST(text_of(source.obtain({request, older}, take)) == "OK");
  BOOST_TEST(arch == "sm_89");
}

BOOST_AUTO_TEST_CASE(without_an_entry_and_a_compiler_the_first_request_is_named) {
  const ModuleRequest older = make_module_request(0, request.specialization, "sm_80", "");
  ModuleSource source(settings);
  const std::string text = text_of(source.obtain({request, older}, [](const ModuleOffer &) { return success(); }));
  BOOST_TEST(text.starts_with("COMPILER_UNAVAILABLE: no module folder and no cache holds "), text);
  BOOST_TEST(contains(text, request.module + " for sm_89"), text);
}

// fc-inspect's way to one module is the contexts' way.
BOOST_AUTO_TEST_CASE(a_module_by_name_is_current_and_has_its_path) {
  put_pack(entry(compiler_a));
  const auto obtained = obtain_module(settings, request);
  BOOST_REQUIRE(obtained.ok());
  BOOST_TEST(obtained.value().current);
  BOOST_TEST(obtained.value().file.path == pack + "/" + entry(compiler_a).pack_path());
  BOOST_REQUIRE(obtained.value().file.entry.ok());
  BOOST_TEST(obtained.value().file.entry.value().cubin == entry(compiler_a).cubin);
}

BOOST_AUTO_TEST_CASE(what_lies_there_is_sorted_and_known_to_be_current_or_not) {
  Module stale = entry(compiler_a);
  stale.record.key = hex_of("another version's");
  stale.encoded = encode(stale.record, stale.cubin);
  put_pack(entry(compiler_a));
  put_pack(stale);
  put_pack(entry(compiler_a, "sm_80"));
  put(pack + "/sm_89/" + hex_of("no module") + "." + compiler_a.substr(0, 16) + ".fcm", Bytes(10, 'x'));
  const auto modules = known_modules(settings);
  BOOST_REQUIRE(modules.ok());
  BOOST_REQUIRE(modules.value().size() == 4u);
  const auto record = [&](size_t i) { return modules.value()[i].file.entry.value().record; };
  BOOST_TEST(record(0).arch == "sm_80");
  BOOST_TEST(modules.value()[0].current);
  for (size_t i : {1, 2}) {
    BOOST_TEST(record(i).arch == "sm_89");
    BOOST_TEST(modules.value()[i].current == (record(i).key == request.key));
  }
  BOOST_TEST(record(1).key != record(2).key);
  BOOST_TEST(!modules.value()[3].file.entry.ok());
  BOOST_TEST(!modules.value()[3].current);
}

BOOST_AUTO_TEST_CASE(names_that_no_module_and_no_architecture_has_are_told_what_is_allowed) {
  const auto no_arch = request_module(settings, request.module, "sm_9999");
  BOOST_REQUIRE(!no_arch.ok());
  BOOST_TEST(no_arch.error().field == "arch");
  BOOST_TEST(contains(no_arch.error().message, "arch is \"sm_9999\"; allowed: sm_80, "), no_arch.error().message);
  const auto no_module = request_module(settings, kernel_table()[0].passport->name, "sm_89");
  BOOST_REQUIRE(!no_module.ok());
  BOOST_TEST(no_module.error().field == "kernel");
  const auto good = request_module(settings, request.module, "sm_89");
  BOOST_REQUIRE(good.ok());
  BOOST_TEST(good.value().key == request.key);
  BOOST_TEST(!named_modules(settings, "", "sm_9999").ok());
}

// The passports' lists for the architecture, and what its tuned rows name: each once.
BOOST_AUTO_TEST_CASE(the_modules_of_an_architecture_are_listed_once) {
  for (const char *arch : {"sm_80", "sm_89", "sm_90a"}) {
    const auto modules = named_modules(settings, "", arch);
    BOOST_REQUIRE(modules.ok());
    std::set<std::string> keys, names;
    for (const ModuleRequest &module : modules.value()) keys.insert(module.key), names.insert(module.module);
    BOOST_TEST(keys.size() == modules.value().size());
    BOOST_TEST(keys.size() > 10u);
    for (const TunedRow &row : tuned_rows())
      if ("sm_" + std::to_string(row.arch) == std::string(arch).substr(0, 5))
        BOOST_TEST(names.count(row.module_name) == 1u, arch << " lacks " << row.module_name);
  }
}

// A kernel has its own of them, none where it does not run; a module is that one or, where it cannot be, the reason.
BOOST_AUTO_TEST_CASE(a_kernel_and_a_module_name_their_own) {
  const auto of_kernel = named_modules(settings, "sm90_fwd_decode", "sm_90a");
  BOOST_REQUIRE(of_kernel.ok());
  BOOST_TEST(!of_kernel.value().empty());
  for (const ModuleRequest &module : of_kernel.value()) BOOST_TEST(module.module.starts_with("sm90_fwd_decode-"));
  const auto elsewhere = named_modules(settings, "sm90_fwd_decode", "sm_89");
  BOOST_REQUIRE(elsewhere.ok());
  BOOST_TEST(elsewhere.value().empty());
  const std::string name = of_kernel.value().front().module;
  const auto one = named_modules(settings, name, "sm_90a");
  BOOST_REQUIRE(one.ok());
  BOOST_REQUIRE(one.value().size() == 1u);
  BOOST_TEST(one.value().front().key == of_kernel.value().front().key);
  const auto not_there = named_modules(settings, name, "sm_89");
  BOOST_REQUIRE(!not_there.ok());
  BOOST_TEST(not_there.error().field == "arch");
  BOOST_TEST(contains(not_there.error().message, "does not run; allowed: sm_90 or newer"), not_there.error().message);
  const auto no_kernel = named_modules(settings, "fwd_magic", "sm_89");
  BOOST_REQUIRE(!no_kernel.ok());
  BOOST_TEST(no_kernel.error().field == "kernel");
}

BOOST_AUTO_TEST_SUITE_END()
