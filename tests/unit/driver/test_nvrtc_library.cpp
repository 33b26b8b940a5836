// SPDX-License-Identifier: Apache-2.0
//
// NVRTC found, identified and used: the real one where there is one, and the stand-in for its failures. Loading happens
// once per process, so every way to load has a process of its own.
#define BOOST_TEST_MODULE nvrtc_library
#include <boost/test/unit_test.hpp>

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "cubin_image.hpp"
#include "driver/nvrtc_library.hpp"
#include "driver/shared_object.hpp"
#include "fake_library.hpp"
#include "flashcore/flashcore.h"
#include "run_in_child.hpp"

using namespace flashcore;
using boost::unit_test::precondition;

namespace {

const char *const kernel_text = R"(
#include "scale.h"
extern "C" __global__ void scale_all(float *values) { values[threadIdx.x] *= factor; }
)";
const NamedText scale_header[] = {{"scale.h", "constexpr float factor = 2.0f;\n"}};
const std::string options_sm89[] = {"--gpu-architecture=sm_89", "--std=c++20", "--modify-stack-limit=false",
                                    "--no-source-include"};

bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
#define CHECK_TEXT(text, part)                                                                         \
  do {                                                                                                 \
    const std::string checked_text = (text), needed_part = (part);                                     \
    BOOST_TEST(contains(checked_text, needed_part), checked_text << " [lacks " << needed_part << "]"); \
  } while (0)

std::string describe(const Error &error) {
  return std::string(flashcore_status_name(error.status)) + " " + std::to_string(error.driver_code) + " " +
         error.message;
}

std::string describe(const Result<NvrtcOutput> &result) {
  if (!result.ok()) return describe(result.error());
  const NvrtcOutput &output = result.value();
  const std::string text = std::to_string(output.nvrtc_result) + " " + output.log;
  if (!output.compiled) return "REFUSED " + text;
  const fake::CubinImage cubin = fake::read_cubin_image(output.cubin.data());
  return "COMPILED " + text + " sm_" + std::to_string(cubin.arch) +
         (cubin.kernels.count("scale_all") != 0 ? " scale_all" : "");
}

std::string compile(const NvrtcLibrary &nvrtc, std::string_view text = kernel_text) {
  return describe(nvrtc.compile("scale.cu", text, scale_header, options_sm89));
}

std::string load_and_compile(const std::string &path, std::string_view text = kernel_text) {
  const auto nvrtc = NvrtcLibrary::load(path, "");
  return nvrtc.ok() ? compile(*nvrtc.value(), text) : describe(nvrtc.error());
}

// Where the real library is, or empty. Found in a child, because finding is loading.
const std::string &real_nvrtc() {
  static const std::string path = run_in_child([] {
                                    const char *home = std::getenv("CUDA_HOME");
                                    const auto nvrtc = NvrtcLibrary::load("", home != nullptr ? home : "");
                                    return nvrtc.ok() ? nvrtc.value()->path() : std::string();
                                  }).text;
  return path;
}

boost::test_tools::assertion_result nvrtc_exists(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(!real_nvrtc().empty());
  result.message() << "this machine has no NVRTC";
  return result;
}

std::string folder_of(const std::string &path) { return path.substr(0, path.rfind('/')); }

}  // namespace

BOOST_AUTO_TEST_CASE(a_program_with_in_memory_headers_becomes_a_cubin, *precondition(nvrtc_exists)) {
  const ChildResult child = run_in_child([] { return load_and_compile(""); });
  CHECK_TEXT(child.text, "COMPILED 0 ");
  CHECK_TEXT(child.text, "sm_89 scale_all");
}

BOOST_AUTO_TEST_CASE(a_refused_program_comes_back_with_the_log, *precondition(nvrtc_exists)) {
  const ChildResult child =
      run_in_child([] { return load_and_compile("", "#include \"scale.h\"\nint x = not_there;"); });
  CHECK_TEXT(child.text, "REFUSED 6 ");
  CHECK_TEXT(child.text, "not_there");
  const ChildResult option = run_in_child([] {
    const std::string wrong[] = {"--no-such-option"};
    return describe(NvrtcLibrary::load("", "").value()->compile("a.cu", "", {}, wrong));
  });
  CHECK_TEXT(option.text, "REFUSED 5 ");
  CHECK_TEXT(option.text, "no-such-option");
}

BOOST_AUTO_TEST_CASE(a_virtual_architecture_makes_no_cubin_and_says_so, *precondition(nvrtc_exists)) {
  const ChildResult child = run_in_child([] {
    const std::string options[] = {"--gpu-architecture=compute_89"};
    return describe(NvrtcLibrary::load("", "").value()->compile("scale.cu", kernel_text, scale_header, options));
  });
  BOOST_TEST(!contains(child.text, "COMPILED"), child.text);
}

// From a thread with a small stack, as a goroutine's or a worker's might be, a program that takes the compiler some
// megabytes: it ends the process when it compiles on the caller's stack. The process's limit stays.
BOOST_AUTO_TEST_CASE(compiling_needs_no_stack_of_the_caller, *precondition(nvrtc_exists)) {
  const ChildResult child = run_in_child([] {
    static std::string deep;
    for (int i = 0; i < 1000; ++i) deep += "(1 + ";
    deep += "values[1]" + std::string(1000, ')');
    deep = "extern \"C\" __global__ void scale_all(float *values) { values[0] = " + deep + "; }";
    rlimit before{}, after{};
    getrlimit(RLIMIT_STACK, &before);
    std::string text;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_t thread{};
    pthread_create(
        &thread, &attributes,
        [](void *out) -> void * {
          *static_cast<std::string *>(out) = load_and_compile("", deep);
          return nullptr;
        },
        &text);
    pthread_join(thread, nullptr);
    getrlimit(RLIMIT_STACK, &after);
    return text + (before.rlim_cur == after.rlim_cur ? " same limit" : " changed limit");
  });
  CHECK_TEXT(child.text, "scale_all same limit");
}

BOOST_AUTO_TEST_CASE(the_library_says_what_it_is, *precondition(nvrtc_exists)) {
  const auto identity = [](const std::string &path) {
    return run_in_child([&] {
             const auto loaded = NvrtcLibrary::load(path, "");
             if (!loaded.ok()) return describe(loaded.error());
             const NvrtcLibrary &nvrtc = *loaded.value();
             std::string archs;
             const auto supported = nvrtc.supported_archs();
             for (const int32_t arch : supported.value()) archs += " " + std::to_string(arch);
             const bool same = NvrtcLibrary::loaded() == &nvrtc && NvrtcLibrary::load("/ignored", "").value() == &nvrtc;
             return nvrtc.compiler_id() + " " + std::to_string(nvrtc.version()) + archs +
                    (same ? " same" : " different");
           })
        .text;
  };
  const std::string by_name = identity(""), by_path = identity(real_nvrtc()),
                    by_folder = identity(folder_of(real_nvrtc()));
  BOOST_TEST(by_name.find(' ') == 32u, by_name);
  CHECK_TEXT(by_name, " 89 ");
  CHECK_TEXT(by_name, " same");
  BOOST_TEST(by_name == by_path);
  BOOST_TEST(by_name == by_folder);
}

BOOST_AUTO_TEST_CASE(two_builds_have_two_identities) {
  const auto identity = [](const std::string &path) {
    return run_in_child([&] { return NvrtcLibrary::load(path, "").value()->compiler_id(); }).text;
  };
  const std::string stand_in = identity(FAKE_LIBNVRTC);
  BOOST_TEST(stand_in.size() == 32u);
  BOOST_TEST(stand_in == identity(FAKE_LIBNVRTC));
  if (!real_nvrtc().empty()) BOOST_TEST(stand_in != identity(real_nvrtc()));
}

BOOST_AUTO_TEST_CASE(a_library_that_the_process_has_is_used, *precondition(nvrtc_exists)) {
  // The plain search would prefer 13 of this machine; the 12 that the process has spares it a second compiler.
  for (const char *stand_in : {FAKE_LIBNVRTC, FAKE_LIBNVRTC12}) {
    const ChildResult child = run_in_child([stand_in] {
      FakeNvrtc fake(stand_in);
      return NvrtcLibrary::load("", "").value()->path();
    });
    BOOST_TEST(child.text == stand_in);
  }
}

BOOST_AUTO_TEST_CASE(a_path_that_is_wrong_is_an_error_and_not_a_hint) {
  const std::string absent = run_in_child([] { return load_and_compile("/nonexistent/libnvrtc.so.13"); }).text;
  CHECK_TEXT(absent, "COMPILER_UNAVAILABLE 0 ");
  CHECK_TEXT(absent, "/nonexistent/libnvrtc.so.13");
  CHECK_TEXT(absent, "FLASHCORE_LIBNVRTC");
  const std::string other = run_in_child([] { return load_and_compile("libm.so.6"); }).text;
  CHECK_TEXT(other, "is no NVRTC: it has no nvrtcVersion");
  const std::string retry =
      run_in_child([] {
        const bool failed = !NvrtcLibrary::load("/nonexistent/libnvrtc.so.13", "").ok();
        return failed && NvrtcLibrary::loaded() == nullptr ? NvrtcLibrary::load(FAKE_LIBNVRTC, "").value()->path() : "";
      }).text;
  BOOST_TEST(retry == FAKE_LIBNVRTC);  // the failure is not remembered
}

BOOST_AUTO_TEST_CASE(every_failure_of_nvrtc_is_an_error_or_a_refusal, *precondition(nvrtc_exists)) {
  const ChildResult child = run_in_child([] {
    FakeNvrtc fake(FAKE_LIBNVRTC);
    fake.fake_nvrtc_set_real(real_nvrtc().c_str());
    const NvrtcLibrary &nvrtc = *NvrtcLibrary::load(FAKE_LIBNVRTC, "").value();
    std::string text;
    const auto attempt = [&](const char *function, int32_t code) {
      fake.fake_nvrtc_reset();
      fake.fake_nvrtc_fail_function(function, 1, code, 0);
      text += compile(nvrtc).substr(0, 24) + "|";
      if (fake.fake_nvrtc_calls("nvrtcCreateProgram") != 1) text += "created?|";
      const bool created = std::strcmp(function, "nvrtcCreateProgram") != 0;
      if (fake.fake_nvrtc_calls("nvrtcDestroyProgram") != (created ? 1 : 0)) text += "leak|";
    };
    attempt("nvrtcCreateProgram", 3);
    for (const int32_t code : {1, 5, 6, 7, 11, 16}) attempt("nvrtcCompileProgram", code);
    for (const char *function : {"nvrtcGetProgramLogSize", "nvrtcGetProgramLog", "nvrtcGetCUBINSize", "nvrtcGetCUBIN"})
      attempt(function, 4);
    attempt("none", 1);
    return text;
  });
  BOOST_TEST(child.text ==
             "COMPILER_UNAVAILABLE 3 n|OUT_OF_HOST_MEMORY 1 nvr|REFUSED 5 nvrtcCompilePr|REFUSED 6 nvrtcCompilePr|"
             "COMPILER_UNAVAILABLE 7 n|REFUSED 11 nvrtcCompileP|REFUSED 16 nvrtcCompileP|COMPILER_UNAVAILABLE 4 n|"
             "COMPILER_UNAVAILABLE 4 n|COMPILER_UNAVAILABLE 4 n|COMPILER_UNAVAILABLE 4 n|COMPILED 0  sm_89 scale_|");
}

BOOST_AUTO_TEST_CASE(a_library_whose_version_call_fails_is_refused) {
  const ChildResult child = run_in_child([] {
    FakeNvrtc fake(FAKE_LIBNVRTC);
    fake.fake_nvrtc_fail_function("nvrtcVersion", 1, 4, 0);
    return load_and_compile(FAKE_LIBNVRTC);
  });
  CHECK_TEXT(child.text, "COMPILER_UNAVAILABLE 0 ");
  CHECK_TEXT(child.text, "nvrtcVersion failed");
}

namespace {

// Move the folder of NVRTC to where the dynamic loader does not look: a bind mount elsewhere, an empty file system over
// the old place, in a mount namespace of this process alone. False where the system forbids that.
bool hide_folder(const std::string &folder, const std::string &new_place) {
  if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount(folder.c_str(), new_place.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
         mount("none", folder.c_str(), "tmpfs", 0, nullptr) == 0;
}

boost::test_tools::assertion_result folders_can_be_hidden(boost::unit_test::test_unit_id) {
  const ChildResult child =
      run_in_child([] { return std::string(hide_folder("/tmp", "/var/tmp") ? "hidden" : "not"); });
  boost::test_tools::assertion_result result(child.text == "hidden");
  result.message() << "no mount namespace may be made here";
  return result;
}

}  // namespace

// libnvrtc loads from any folder, but finds its builtins by bare name only: without help, every compile fails.
BOOST_AUTO_TEST_CASE(nvrtc_in_a_folder_unknown_to_the_dynamic_loader_compiles,
                     *precondition(nvrtc_exists) * precondition(folders_can_be_hidden)) {
  char *resolved = realpath(folder_of(real_nvrtc()).c_str(), nullptr);
  const std::string folder = resolved;
  std::free(resolved);
  char place[] = "/tmp/flashcore-nvrtc-XXXXXX";
  BOOST_REQUIRE(mkdtemp(place) != nullptr);
  const std::string library = std::string(place) + real_nvrtc().substr(real_nvrtc().rfind('/'));

  // The same move without the library's help must fail, or this test proves nothing.
  const ChildResult bare = run_in_child([&] {
    if (!hide_folder(folder, place)) return std::string("forbidden");
    const std::string builtins_anywhere = SharedObject::open("libnvrtc-builtins.so.13.0").ok() ? "found" : "hidden";
    return builtins_anywhere;
  });
  const ChildResult helped = run_in_child([&] {
    if (!hide_folder(folder, place)) return std::string("forbidden");
    return load_and_compile(library);
  });
  rmdir(place);
  BOOST_TEST(bare.text == "hidden");
  CHECK_TEXT(helped.text, "COMPILED 0 ");
}
