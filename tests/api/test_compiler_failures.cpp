// SPDX-License-Identifier: Apache-2.0
//
// Every NVRTC call of a cold call fails, through the stand-in compiler in front of the real one: a documented status,
// the reason in the error, nothing left open, and the next call works. A compiler is loaded once per process, so every
// case is a child.
#define BOOST_TEST_MODULE compiler_failures
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "extent.hpp"
#include "flashcore/flashcore_inspect.h"
#include "gpu_fixture.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

struct Folder {
  Folder() { Sandbox::get(); }
};

// Where the real NVRTC is, or empty: "compiler: PATH, NVRTC 13.0" of the library's own report.
const std::string &real_nvrtc() {
  static const std::string path =
      run_in_child([] {
        std::vector<char> text(16384);
        if (flashcore_environment_describe(nullptr, text.data(), static_cast<int64_t>(text.size()), nullptr) !=
            FLASHCORE_OK)
          return std::string();
        const std::string report = text.data(), before = "compiler: ", after = ", NVRTC ";
        const size_t begin = report.find(before), end = report.find(after);
        if (begin == std::string::npos || end == std::string::npos) return std::string();
        return report.substr(begin + before.size(), end - begin - before.size());
      }).text;
  return path;
}

boost::test_tools::assertion_result nvrtc_exists(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(!real_nvrtc().empty());
  result.message() << "this machine has no NVRTC";
  return result;
}

std::string prepare(flashcore_context context, float softcap = 0) {
  flashcore_attention_args args = small_args();
  args.softcap = softcap;
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_attention_prepare(context, &args, &error);
  return status == FLASHCORE_OK ? "OK" : describe(status, error);
}

struct Failure {
  const char *function;
  int32_t code;
  const char *expected;
};
std::ostream &operator<<(std::ostream &stream, const Failure &failure) {
  return stream << failure.function << " " << failure.code;
}

const Failure failures[] = {
    {"nvrtcVersion", 4, "COMPILER_UNAVAILABLE 0 "},
    {"nvrtcGetNumSupportedArchs", 11, "COMPILER_UNAVAILABLE 11 "},
    {"nvrtcGetSupportedArchs", 11, "COMPILER_UNAVAILABLE 11 "},
    {"nvrtcCreateProgram", 1, "OUT_OF_HOST_MEMORY 1 "},
    {"nvrtcCreateProgram", 3, "COMPILER_UNAVAILABLE 3 "},
    {"nvrtcCompileProgram", 1, "OUT_OF_HOST_MEMORY 1 "},
    {"nvrtcCompileProgram", 5, "COMPILE_FAILED 5 "},
    {"nvrtcCompileProgram", 6, "COMPILE_FAILED 6 "},
    {"nvrtcCompileProgram", 7, "COMPILER_UNAVAILABLE 7 "},
    {"nvrtcCompileProgram", 11, "COMPILE_FAILED 11 "},
    {"nvrtcCompileProgram", 16, "COMPILE_FAILED 16 "},
    {"nvrtcGetProgramLogSize", 4, "COMPILER_UNAVAILABLE 4 "},
    {"nvrtcGetProgramLog", 4, "COMPILER_UNAVAILABLE 4 "},
    {"nvrtcGetCUBINSize", 4, "COMPILER_UNAVAILABLE 4 "},
    {"nvrtcGetCUBIN", 4, "COMPILER_UNAVAILABLE 4 "},
};

int64_t info_of(flashcore_context context, int64_t flashcore_context_info::*member) {
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  return flashcore_context_describe(context, &info, nullptr) == FLASHCORE_OK ? info.*member : -1;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Folder);

BOOST_AUTO_TEST_SUITE(failing_calls, *precondition(nvrtc_exists))

BOOST_DATA_TEST_CASE(a_failing_compiler_is_an_error_and_forgotten, data::make(failures), failure) {
  const ChildResult child = run_in_child([&failure] {
    setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
    setenv("FLASHCORE_CACHE", "off", 1);
    FakeNvrtc compiler(FAKE_LIBNVRTC);
    compiler.fake_nvrtc_set_real(real_nvrtc().c_str());
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    compiler.fake_nvrtc_fail_function(failure.function, 1, failure.code, 0);
    std::string text = prepare(context.handle);
    text += "|" + std::to_string(compiler.fake_nvrtc_calls(failure.function)) + " calls|";
    text += std::to_string(fake().fake_open("modules")) + " modules|";
    // A failed creation makes no program; every other one is destroyed.
    const int64_t created = compiler.fake_nvrtc_calls("nvrtcCreateProgram") -
                            (std::string(failure.function) == "nvrtcCreateProgram" ? 1 : 0);
    text += created == compiler.fake_nvrtc_calls("nvrtcDestroyProgram") ? "all destroyed|" : "a program leaked|";
    text += "again ";
    return text + prepare(context.handle);
  });
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.text.rfind(failure.expected, 0) == 0u, child.text);
  CHECK_TEXT(child.text, failure.function);
  CHECK_TEXT(child.text, "|1 calls|0 modules|all destroyed|again OK");
}

BOOST_AUTO_TEST_SUITE_END()

// A compiler that never compiles, and no module anywhere: the error is about the compiler, and no call reaches a
// launch.
BOOST_AUTO_TEST_CASE(a_compiler_that_never_works_fails_every_call_alike) {
  const ChildResult child = run_in_child([] {
    setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    const std::string first = prepare(context.handle), second = prepare(context.handle);
    return first + (first == second ? "|same" : "|different");
  });
  BOOST_TEST(child.text.rfind("COMPILE_FAILED 11 ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, "|same");
}

BOOST_AUTO_TEST_CASE(an_absent_compiler_and_no_module_is_one_clear_error) {
  const ChildResult child = run_in_child([] {
    setenv("FLASHCORE_LIBNVRTC", "/nonexistent/libnvrtc.so.13", 1);
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    return prepare(context.handle);
  });
  BOOST_TEST(child.text.rfind("COMPILER_UNAVAILABLE 0 ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, "/nonexistent/libnvrtc.so.13");
  CHECK_TEXT(child.text, "sm_89");
}

BOOST_AUTO_TEST_CASE(a_module_with_a_feature_that_nobody_can_compile_names_the_feature) {
  const ChildResult child = run_in_child([] {
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context(FLASHCORE_JIT_FORBIDDEN);
    return prepare(context.handle, 30);
  });
  BOOST_TEST(child.text.rfind("COMPILER_UNAVAILABLE 0 [softcap] ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, "compiling is forbidden");
  CHECK_TEXT(child.text, "softcap needs a module that is not shipped");
}

// ---- every call, with every code

namespace {

constexpr int32_t codes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 99};

// Of the compiler that gives one cubin without compiling; CUDA does not start in this process.
const std::string &given_cubin() {
  static const std::string cubin = run_in_child([] {
                                     const std::vector<char> bytes = cubin_of_the_small_problem();
                                     return std::string(bytes.begin(), bytes.end());
                                   }).text;
  return cubin;
}

// The calls of a cold one that compiles and keeps its module.
int64_t count_compiler_calls() {
  return std::atoll(run_in_child([] {
                      setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
                      setenv("FLASHCORE_CACHE", "off", 1);
                      FakeNvrtc compiler(FAKE_LIBNVRTC);
                      compiler.fake_nvrtc_set_cubin(given_cubin().data(), static_cast<int64_t>(given_cubin().size()));
                      GpuContext context(FLASHCORE_JIT_ALLOWED);
                      return prepare(context.handle) == "OK" ? std::to_string(compiler.fake_nvrtc_calls("")) : "";
                    }).text.c_str());
}

std::string compile_with_failure(int64_t nth, int32_t code, bool for_ever) {
  const std::string folder = Sandbox::get().folder() + "/compiled";
  std::filesystem::remove_all(folder);
  setenv("FLASHCORE_CACHE_DIR", folder.c_str(), 1);
  setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
  FakeNvrtc compiler(FAKE_LIBNVRTC);
  compiler.fake_nvrtc_set_cubin(given_cubin().data(), static_cast<int64_t>(given_cubin().size()));
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  compiler.fake_nvrtc_fail_function("", nth, code, for_ever);
  const std::string first = prepare(context.handle);
  const std::string status = first.substr(0, first.find(' '));
  // What is only tidied up or said: a program that is not destroyed, the name of another error.
  const bool told = status == "OUT_OF_HOST_MEMORY" || status == "COMPILER_UNAVAILABLE" || status == "COMPILE_FAILED";
  if (!told && status != "OK") return first;
  if (told && !contains(first, " " + std::to_string(code) + " ") && !contains(first, " 0 ")) return first;
  const auto entries = [&folder] {
    int64_t count = 0;
    std::error_code ignored;
    for (auto entry = std::filesystem::recursive_directory_iterator(folder, ignored);
         entry != std::filesystem::end(entry); entry.increment(ignored))
      count += entry->path().extension() == ".fcm";
    return count;
  };
  if (entries() != (status == "OK" ? 1 : 0))
    return "the cache has " + std::to_string(entries()) + " entries after " + first;
  if (fake().fake_open("modules") != (status == "OK" ? 1 : 0)) return "modules are open after " + first;
  compiler.fake_nvrtc_reset();
  const std::string again = prepare(context.handle);
  if (again != "OK") return "again: " + again;
  return entries() == 1 ? status : "the cache has " + std::to_string(entries()) + " entries in the end";
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_call_fails_with_every_code, *precondition(modules_exist)) {
  BOOST_REQUIRE(given_cubin().size() > 1000u);
  const int64_t calls = count_compiler_calls();
  BOOST_TEST(calls >= 8);
  int64_t tried = 0, passed_over = 0;
  for (const bool for_ever : {false, true})
    for (const int32_t code : codes)
      for (int64_t nth = 1; nth <= calls; ++nth, ++tried) {
        const ChildResult child = run_in_child([&] { return compile_with_failure(nth, code, for_ever); });
        const bool good = child.signal == 0 && !contains(child.text, " ") && !child.text.empty();
        BOOST_TEST(good, "call " << nth << " with " << code << (for_ever ? " for ever: " : " once: ") << child.text
                                 << ", signal " << child.signal);
        passed_over += child.text == "OK";
      }
  BOOST_TEST(passed_over * calls <= 2 * tried);  // one call, that which destroys the program; and what comes after it
  extent::figure(tried, "failures of the compiler: every call with each of 14 codes, once and for ever");
}

// ---- modules that the driver refuses

BOOST_AUTO_TEST_CASE(a_stored_module_that_the_driver_refuses_is_compiled_anew, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    for (const int64_t nth : {1, 2})
      fake().fake_fail_function("cuModuleLoadData", nth, 209, 0);  // under the key's lock it looks again
    std::string text = prepare(context.handle);
    text += ", compiled " + std::to_string(info_of(context.handle, &flashcore_context_info::modules_compiled));
    text += ", rejected " + std::to_string(info_of(context.handle, &flashcore_context_info::cache_rejected));
    return text + ", modules " + std::to_string(fake().fake_open("modules"));
  });
  BOOST_TEST(child.text.rfind("OK, compiled 1, rejected ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, ", modules 1");
}

BOOST_AUTO_TEST_CASE(a_driver_that_refuses_every_module_says_why, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    fake().fake_fail_function("cuModuleLoadData", 1, 209, 1);
    std::string text = prepare(context.handle);
    fake().fake_clear_failures();
    text += "|" + std::to_string(fake().fake_open("modules")) + " modules|again ";
    return text + prepare(context.handle);
  });
  BOOST_TEST(child.text.rfind("CUDA_ERROR 209 ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, "another architecture");
  CHECK_TEXT(child.text, "|0 modules|again OK");
}
