// SPDX-License-Identifier: Apache-2.0
//
// Compiling: reproducible, hermetic, and clear about what it refuses. Cases that need NVRTC are skipped where there is none.
#define BOOST_TEST_MODULE unit_jit
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/options.hpp"
#include "cubin/cubin_reader.hpp"
#include "jit/compile_options.hpp"
#include "jit/kernel_compiler.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;

namespace {

const NvrtcLibrary *nvrtc() {
  const Environment environment = read_environment();
  const auto loaded = NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home);
  return loaded.ok() ? loaded.value() : nullptr;
}

boost::test_tools::assertion_result have_nvrtc(boost::unit_test::test_unit_id) {
  if (nvrtc() != nullptr) return true;
  boost::test_tools::assertion_result no(false);
  no.message() << "NVRTC is not installed";
  return no;
}

constexpr std::string_view source =
    "#include \"number.h\"\nextern \"C\" __global__ void store(int *p) { *p = number; }\n";
const NamedText headers[] = {{"number.h", "#define number 42\n"}};

}  // namespace

BOOST_AUTO_TEST_CASE(options_are_canonical_and_an_old_nvrtc_gets_fewer) {
  const auto all = canonical_compile_options("sm_89"), old = compile_options_for("sm_89", 12000);
  BOOST_TEST(all.front() == "--gpu-architecture=sm_89");
  BOOST_TEST(old.size() < all.size());
  for (const std::string &option : old) BOOST_TEST((std::find(all.begin(), all.end(), option) != all.end()), option);
}

BOOST_AUTO_TEST_CASE(the_same_text_gives_the_same_cubin, *boost::unit_test::precondition(have_nvrtc)) {
  const CompileRequest request{"store.cu", source, headers, "sm_89"};
  const auto first = compile_kernel(*nvrtc(), request), second = compile_kernel(*nvrtc(), request);
  BOOST_REQUIRE(first.ok());
  BOOST_REQUIRE(second.ok());
  BOOST_TEST((first.value().cubin == second.value().cubin));
  const auto info = read_cubin(first.value().cubin);
  BOOST_REQUIRE(info.ok());
  BOOST_TEST(info.value().arch == 89);
  BOOST_TEST(info.value().kernels.at(0).name == "store");
}

// What a module's key leaves out, and counts on: texts that differ in comments and lines make the same cubin.
BOOST_AUTO_TEST_CASE(comments_and_lines_change_no_byte_of_a_cubin, *boost::unit_test::precondition(have_nvrtc)) {
  const KernelRow &row = kernel_table()[static_cast<size_t>(find_kernel("fwd_scalar"))];
  kernels::Specialization chosen{};
  BOOST_REQUIRE(row.passport->specialization(0, &chosen));
  const std::string specialization = specialization_header(*row.passport, chosen);
  const auto compile = [&](const std::string &before_each, const std::string &after_source) {
    std::vector<std::string> texts;
    std::vector<NamedText> all{{"specialization.h", specialization}};
    texts.reserve(kernel_headers().size());
    for (const EmbeddedHeader &header : kernel_headers()) {
      const bool own = !header.name.starts_with("cuda/") && !header.name.starts_with("nv/");
      texts.push_back((own ? before_each : "") + std::string(header.text));
      all.push_back({header.name, texts.back()});
    }
    const std::string text = before_each + std::string(row.source) + after_source;
    const auto compiled = compile_kernel(*nvrtc(), {"fwd_scalar.cu", text, all, "sm_89"});
    BOOST_REQUIRE(compiled.ok());
    return compiled.value().cubin;
  };
  const auto plain = compile("", "");
  BOOST_TEST((compile("// it's \"a word\n/* and\n   another */\n\n", "\n// the end\n") == plain));
  BOOST_TEST((compile("", "__device__ int one_more = 1;\n") != plain));
}

BOOST_AUTO_TEST_CASE(a_header_in_the_working_folder_is_not_seen, *boost::unit_test::precondition(have_nvrtc)) {
  const auto folder = std::filesystem::temp_directory_path() / ("flashcore-jit-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  std::ofstream("number.h") << "#define number 7\n";
  std::ofstream("only_here.h") << "\n";
  const auto same = compile_kernel(*nvrtc(), {"store.cu", source, headers, "sm_89"});
  const auto foreign = compile_kernel(*nvrtc(), {"foreign.cu", "#include \"only_here.h\"\n", {}, "sm_89"});
  std::filesystem::current_path(before);
  std::filesystem::remove_all(folder);
  const auto elsewhere = compile_kernel(*nvrtc(), {"store.cu", source, headers, "sm_89"});
  BOOST_REQUIRE(same.ok());
  BOOST_REQUIRE(elsewhere.ok());
  BOOST_TEST((same.value().cubin == elsewhere.value().cubin));
  BOOST_REQUIRE(!foreign.ok());
  BOOST_TEST(foreign.error().status == FLASHCORE_COMPILE_FAILED);
}

BOOST_AUTO_TEST_CASE(a_refused_program_brings_its_log, *boost::unit_test::precondition(have_nvrtc)) {
  const auto broken = compile_kernel(*nvrtc(), {"broken.cu", "this is no program", {}, "sm_89"});
  BOOST_REQUIRE(!broken.ok());
  BOOST_TEST(broken.error().status == FLASHCORE_COMPILE_FAILED);
  BOOST_TEST(broken.error().message.find("broken.cu") != std::string::npos);
  BOOST_TEST(broken.error().message.find("error") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_unknown_architecture_lists_the_known_ones, *boost::unit_test::precondition(have_nvrtc)) {
  const auto far = compile_kernel(*nvrtc(), {"store.cu", source, headers, "sm_999"});
  BOOST_REQUIRE(!far.ok());
  BOOST_TEST(far.error().message.find("89") != std::string::npos);
}
