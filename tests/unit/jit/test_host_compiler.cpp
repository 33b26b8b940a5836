// SPDX-License-Identifier: Apache-2.0
//
// The machine's own compiler: which one is taken, what it is given and what it may see, what becomes of its failures, and that nothing is
// left of it. Cases that need one are skipped where there is none.
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "flashcore/flashcore.h"
#include "jit/host_compiler.hpp"

using namespace flashcore;
namespace fs = std::filesystem;

namespace {

boost::test_tools::assertion_result have_compiler(boost::unit_test::test_unit_id) {
  const auto found = find_host_compiler("");
  if (found.ok()) return true;
  boost::test_tools::assertion_result no(false);
  no.message() << found.error().message;
  return no;
}

// A program of a few lines in place of a compiler.
class Script {
 public:
  explicit Script(const std::string &lines) : path_(fs::temp_directory_path() / "flashcore_test_compiler.sh") {
    std::ofstream(path_) << "#!/bin/sh\n" << lines << "\n";
    chmod(path_.c_str(), 0700);
  }
  ~Script() { fs::remove(path_); }
  std::string path() const { return path_; }

 private:
  fs::path path_;
};

std::string failure(const std::string &compiler, std::chrono::milliseconds limit = std::chrono::minutes(1)) {
  const auto made = compile_for_host(compiler, "#include \"a.h\"\n", {"a.h", "int a;\n"}, limit);
  return made.ok() ? "made" : std::string(flashcore_status_name(made.error().status)) + " " + made.error().message;
}

constexpr std::string_view source = "#include \"number.h\"\nextern \"C\" int answer() { return number; }\n";

}  // namespace

BOOST_AUTO_TEST_CASE(a_compiler_is_named_by_an_absolute_path) {
  for (const char *wrong : {"g++", "./g++", "/nonexistent/g++", "/etc/passwd"}) {
    const auto found = find_host_compiler(wrong);
    BOOST_REQUIRE(!found.ok());
    BOOST_TEST((found.error().status == FLASHCORE_UNSUPPORTED));
    BOOST_TEST(found.error().message.starts_with(std::string("FLASHCORE_CXX is \"") + wrong + "\"; allowed: "));
  }
  BOOST_TEST(find_host_compiler("/bin/sh").value() == "/bin/sh");
}

BOOST_AUTO_TEST_CASE(a_text_becomes_functions_of_this_process, *boost::unit_test::precondition(have_compiler)) {
  const auto made =
      compile_for_host(find_host_compiler("").value(), source, {"number.h", "constexpr int number = 42;\n"});
  BOOST_REQUIRE_MESSAGE(made.ok(), (made.ok() ? std::string() : made.error().message));
  const auto answer = reinterpret_cast<int (*)()>(made.value().symbol("answer"));
  BOOST_REQUIRE(answer != nullptr);
  BOOST_TEST(answer() == 42);
  BOOST_TEST(made.value().path().starts_with("/tmp/flashcore-"), made.value().path());
  BOOST_TEST(!fs::exists(fs::path(made.value().path()).parent_path()));
}

BOOST_AUTO_TEST_CASE(a_fault_is_told_in_the_texts_own_line, *boost::unit_test::precondition(have_compiler)) {
  const auto made = compile_for_host(find_host_compiler("").value(), source,
                                     {"number.h", "#line 1 \"mine\"\n\nconstexpr int number = none;\n"});
  BOOST_REQUIRE(!made.ok());
  BOOST_TEST((made.error().status == FLASHCORE_COMPILE_FAILED));
  BOOST_TEST(made.error().message.find("mine:2:") != std::string::npos, made.error().message);
}

// Not the caller's: CPATH and its like would change what is compiled.
BOOST_AUTO_TEST_CASE(a_compiler_sees_no_environment_of_the_caller) {
  setenv("CPATH", "/home/of/the/caller", 1);
  const std::string said = failure(Script("env; exit 1").path());
  unsetenv("CPATH");
  BOOST_TEST(said.starts_with("COMPILE_FAILED "), said);
  BOOST_TEST(said.find("PATH=/usr/local/bin:/usr/bin:/bin") != std::string::npos, said);
  BOOST_TEST(said.find("/home/of/the/caller") == std::string::npos, said);
  // Its folder has gone.
  const size_t folder = said.find("TMPDIR=/tmp/flashcore-");
  BOOST_REQUIRE(folder != std::string::npos);
  BOOST_TEST(!fs::exists(said.substr(folder + 7, said.find('\n', folder) - folder - 7)));
}

BOOST_AUTO_TEST_CASE(a_compiler_that_fails_or_does_not_end_is_an_error) {
  BOOST_TEST(failure(Script("exit 3").path()).starts_with("COMPILE_FAILED "));
  BOOST_TEST(failure(Script("kill -9 $$").path()).starts_with("COMPILE_FAILED "));
  BOOST_TEST(failure("/nonexistent").starts_with("IO_ERROR /nonexistent cannot be started"));
  const std::string slow = failure(Script("sleep 100").path(), std::chrono::milliseconds(100));
  BOOST_TEST(slow.find("took more than 100 ms") != std::string::npos, slow);
}
