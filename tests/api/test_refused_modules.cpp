// SPDX-License-Identifier: Apache-2.0
//
// Modules that are there and are not used: a good one behind them is found, and where there is none, the error, the report and the
// list say what was refused and why, and not that there is nothing.
#define BOOST_TEST_MODULE refused_modules
#include <sys/stat.h>

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <functional>

#include "flashcore/flashcore_inspect.h"
#include "gpu_fixture.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;
namespace fs = std::filesystem;

namespace {

// A folder of modules as they are shipped, made of those that the user cache has; and the cache itself turned off or on.
struct Pack {
  std::string root = Sandbox::get().folder() + "/pack", folder = root + "/sm_89";
  Pack() {
    fs::remove_all(root);
    fs::create_directories(folder);
    for (const auto &entry : fs::recursive_directory_iterator(Sandbox::get().folder() + "/cache"))
      if (entry.path().extension() == ".fcm") fs::copy_file(entry.path(), folder / entry.path().filename());
    setenv("FLASHCORE_MODULE_PATH", root.c_str(), 1);
  }
  // The module that the small problem needs: the tests say so by using it.
  std::string file() const { return module_of_the_small_problem().path; }
};

std::string prepare(flashcore_context context) {
  const flashcore_attention_args args = small_args();
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_attention_prepare(context, &args, &error);
  return status == FLASHCORE_OK ? "OK" : describe(status, error);
}

std::string counters(flashcore_context context) {
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  if (flashcore_context_describe(context, &info, nullptr) != FLASHCORE_OK) return "?";
  return "shipped " + std::to_string(info.modules_from_shipped) + ", cache " +
         std::to_string(info.modules_from_user_cache) + ", compiled " + std::to_string(info.modules_compiled) +
         ", rejected " + std::to_string(info.cache_rejected);
}

std::string report() {
  std::vector<char> text(16384);
  flashcore_error error = fresh_error();
  if (flashcore_environment_describe(nullptr, text.data(), static_cast<int64_t>(text.size()), &error) != FLASHCORE_OK)
    return error.message;
  return text.data();
}

struct Start {
  Start() { Sandbox::get().fill_cache(); }
};

struct Case {
  const char *name;
  std::function<std::string(const Pack &)> spoil;  // gives the path that must be named
  const char *reason;
  bool in_report = true;  // of the whole folder, which is not about one module
};
std::ostream &operator<<(std::ostream &stream, const Case &one) { return stream << one.name; }

std::string with_mode(const std::string &path, mode_t mode) {
  chmod(path.c_str(), mode);
  return path;
}

const Case cases[] = {
    {"a folder that all may write to", [](const Pack &pack) { return with_mode(pack.root, 0777); },
     "group or others may write to it (mode 0777)"},
    {"a folder that a group may write to", [](const Pack &pack) { return with_mode(pack.folder, 0775); },
     "group or others may write to it (mode 0775)"},
    {"a file that others may write to", [](const Pack &pack) { return with_mode(pack.file(), 0666); },
     "group or others may write to it (mode 0666)"},
    {"a damaged file",
     [](const Pack &pack) {
       const std::string file = pack.file();
       fs::resize_file(file, 100);
       return file;
     },
     "does not end with its digest"},
    {"an empty file",
     [](const Pack &pack) {
       const std::string file = pack.file();
       fs::resize_file(file, 0);
       return file;
     },
     "shorter than its frames"},
    {"a folder that is a link",
     [](const Pack &pack) {
       fs::rename(pack.root, pack.root + ".real");
       fs::create_directory_symlink(pack.root + ".real", pack.root);
       return pack.root;
     },
     "it is a symbolic link"},
    {"a file in the place of the folder",
     [](const Pack &pack) {
       fs::remove_all(pack.root);
       std::ofstream(pack.root) << "x";
       return pack.root;
     },
     "it could not be opened"},
    {"no folder",
     [](const Pack &pack) {
       fs::remove_all(pack.root);
       return pack.root;
     },
     "there is no such folder"},
};

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Start);

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(the_reason_is_in_the_error_and_the_report, data::make(cases), one) {
  const ChildResult child = run_in_child([&one] {
    const Pack pack;
    const std::string path = one.spoil(pack);
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context;
    std::string text = prepare(context.handle) + "\n";
    setenv("FLASHCORE_LIBNVRTC", "/nonexistent/libnvrtc.so.13", 1);
    GpuContext without_compiler(FLASHCORE_JIT_ALLOWED);
    text += prepare(without_compiler.handle) + "\n";
    const std::string needed = path + ": " + one.reason;
    for (const std::string &line : {text.substr(0, text.find('\n')), text.substr(text.find('\n') + 1)})
      if (!contains(line, "COMPILER_UNAVAILABLE 0 ") || !contains(line, path) || !contains(line, one.reason))
        return "not said: " + text;
    if (!contains(report(), one.reason)) return "not in the report: " + report();
    fs::remove_all(pack.root + ".real");
    fs::remove_all(pack.root);
    return std::string("said");
  });
  BOOST_TEST(child.text == "said");
}

BOOST_AUTO_TEST_CASE(a_refused_user_cache_is_named, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    const std::string cache = with_mode(Sandbox::get().folder() + "/open-cache", 0777);
    fs::create_directory(cache);
    with_mode(cache, 0777);
    setenv("FLASHCORE_CACHE_DIR", cache.c_str(), 1);
    GpuContext context;
    return prepare(context.handle) + "\n" + report();
  });
  CHECK_TEXT(child.text, "open-cache: group or others may write to it (mode 0777)");
  CHECK_TEXT(child.text.substr(child.text.find('\n')), "read and write, cannot be used: ");
  CHECK_TEXT(child.text.substr(child.text.find('\n')), "open-cache: group or others may write to it (mode 0777)");
}

BOOST_AUTO_TEST_CASE(nothing_at_all_is_said_plainly) {
  const ChildResult child = run_in_child([] {
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context;
    return prepare(context.handle);
  });
  BOOST_TEST(child.text.rfind("COMPILER_UNAVAILABLE 0 [] no module folder and no cache holds sm80_", 0) == 0u,
             child.text);
  CHECK_TEXT(child.text, ", and compiling is forbidden (jit_mode or FLASHCORE_JIT)");
}

// ---- refused by the driver

BOOST_AUTO_TEST_CASE(a_good_entry_behind_a_refused_one_is_found, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    const Pack pack;
    GpuContext context;
    fake().fake_fail_function("cuModuleLoadData", 1, 209, 0);
    std::string text = prepare(context.handle);
    text += "|" + counters(context.handle);
    fs::remove_all(pack.root);
    return text;
  });
  BOOST_TEST(child.text == "OK|shipped 0, cache 1, compiled 0, rejected 1");
}

BOOST_AUTO_TEST_CASE(a_sound_pack_is_used_first, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    const Pack pack;
    GpuContext context;
    std::string text = prepare(context.handle);
    text += "|" + counters(context.handle);
    fs::remove_all(pack.root);
    return text;
  });
  BOOST_TEST(child.text == "OK|shipped 1, cache 0, compiled 0, rejected 0");
}

BOOST_AUTO_TEST_CASE(what_the_driver_refused_is_named_with_its_reason, *precondition(modules_exist)) {
  const ChildResult child = run_in_child([] {
    const Pack pack;
    setenv("FLASHCORE_CACHE", "off", 1);
    GpuContext context;
    fake().fake_fail_function("cuModuleLoadData", 1, 209, 1);
    std::string text = prepare(context.handle);
    text += "|" + counters(context.handle) + "|" + pack.folder;
    fs::remove_all(pack.root);
    return text;
  });
  BOOST_TEST(child.text.rfind("COMPILER_UNAVAILABLE 209 ", 0) == 0u, child.text);
  CHECK_TEXT(child.text, child.text.substr(child.text.rfind('|') + 1) + "/");
  CHECK_TEXT(child.text, "the driver refused it: cuModuleLoadData failed with");
  CHECK_TEXT(child.text, "|shipped 0, cache 0, compiled 0, rejected 1|");
}
