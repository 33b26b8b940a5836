// SPDX-License-Identifier: Apache-2.0
//
// From nothing to a usable NVRTC: the candidates in order, the functions, the builtins library, the identity of the
// build.
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "base/sha256.hpp"
#include "driver/nvrtc_function_table.hpp"
#include "driver/shared_object.hpp"

namespace flashcore {
namespace {

constexpr int32_t minimum_version = 12000;
constexpr const char *sonames[] = {"libnvrtc.so.13", "libnvrtc.so.12"};

// The process's compiler: a library is loaded once, and every context shares it. Published once, never destroyed,
// without a lock for the reasons given at process_driver in load_cuda_driver.cpp.
constinit std::atomic<const NvrtcLibrary *> process_nvrtc{nullptr};

struct Candidate {
  std::string name;
  bool only_if_loaded = false;
};

void add_folder(std::vector<Candidate> &candidates, const std::string &folder) {
  for (const char *soname : sonames) candidates.push_back({folder + "/" + soname});
}

// /usr/local/cuda-13.1 before -13.0 before -12.9.
std::vector<std::string> versioned_toolkit_folders() {
  std::vector<std::string> folders;
  glob_t found{};
  if (glob("/usr/local/cuda-1[23]*/lib64", 0, nullptr, &found) == 0)
    folders.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  std::sort(folders.begin(), folders.end(),
            [](const std::string &a, const std::string &b) { return strverscmp(a.c_str(), b.c_str()) > 0; });
  return folders;
}

bool is_directory(const std::string &path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// A path that was asked for (a file or its folder) is the only candidate: to go on to another library would hide the
// mistake. Otherwise what the process has already is best, because two NVRTCs cost 100 MB each.
std::vector<Candidate> list_candidates(const std::string &path, const std::string &toolkit_directory) {
  std::vector<Candidate> candidates;
  if (!path.empty()) {
    if (is_directory(path))
      add_folder(candidates, path);
    else
      candidates.push_back({path});
    return candidates;
  }
  for (const char *soname : sonames) candidates.push_back({soname, true});
  for (const char *soname : sonames) candidates.push_back({soname});
  if (!toolkit_directory.empty()) {
    add_folder(candidates, toolkit_directory + "/lib64");
    add_folder(candidates, toolkit_directory + "/lib");
  }
  add_folder(candidates, "/usr/local/cuda/lib64");
  for (const std::string &folder : versioned_toolkit_folders()) add_folder(candidates, folder);
  return candidates;
}

Status resolve_functions(const SharedObject &library, NvrtcFunctionTable &table) {
  const char *missing = nullptr;
#define X(member, name)                                                      \
  table.member = reinterpret_cast<decltype(&::name)>(library.symbol(#name)); \
  if (table.member == nullptr && missing == nullptr) missing = #name;
#include "driver/nvrtc_functions.inc"
#undef X
  if (missing == nullptr) return success();
  return Error{FLASHCORE_COMPILER_UNAVAILABLE, library.path() + " is no NVRTC: it has no " + missing};
}

Result<int32_t> read_version(const SharedObject &library, const NvrtcFunctionTable &table) {
  int major = 0, minor = 0;
  const nvrtcResult result = table.version(&major, &minor);
  if (result != NVRTC_SUCCESS) return nvrtc_error(table, result, "nvrtcVersion");
  const int32_t version = major * 1000 + minor * 10;
  if (version >= minimum_version) return version;
  return Error{FLASHCORE_COMPILER_UNAVAILABLE, library.path() + " is NVRTC " + std::to_string(major) + "." +
                                                   std::to_string(minor) + "; needed: 12.0 or newer"};
}

// libnvrtc asks for its builtins by bare name, and only when it compiles: in a folder that the dynamic loader does not
// search, loading succeeds and every compile fails. Once loaded by its path, the bare name finds it.
SharedObject open_builtins(const std::string &library_path, int32_t version) {
  const std::string name =
      "libnvrtc-builtins.so." + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  const size_t slash = library_path.rfind('/');
  if (slash != std::string::npos) {
    Result<SharedObject> beside = SharedObject::open(library_path.substr(0, slash + 1) + name);
    if (beside.ok()) return std::move(beside).value();
  }
  Result<SharedObject> anywhere = SharedObject::open(name);
  return anywhere.ok() ? std::move(anywhere).value() : SharedObject();
}

std::string identify(int32_t version, const SharedObject &library, const SharedObject &builtins) {
  Sha256 hash;
  hash.update_field("nvrtc version", std::to_string(version));
  hash.update_field("libnvrtc", library.build_id());
  hash.update_field("libnvrtc-builtins", builtins ? builtins.build_id() : "");
  const Digest digest = hash.finish();
  return to_hex(std::span(digest).first(16));
}

std::string text_of(const std::vector<std::string> &reasons) {
  std::string text;
  for (const std::string &reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text;
}

Error not_found(const std::string &path, const std::vector<std::string> &reasons) {
  const std::string sentence =
      path.empty() ? "NVRTC was not found (" + text_of(reasons) +
                         "). Install it (Debian: cuda-nvrtc of NVIDIA's repository; Python: nvidia-cuda-nvrtc), or set "
                         "FLASHCORE_LIBNVRTC to its path."
                   : "the NVRTC asked for, " + path + ", cannot be used (" + text_of(reasons) +
                         "). Correct or unset FLASHCORE_LIBNVRTC or the option nvrtc_library.";
  return Error{FLASHCORE_COMPILER_UNAVAILABLE, sentence};
}

}  // namespace

Error nvrtc_error(const NvrtcFunctionTable &functions, nvrtcResult result, const char *call) {
  const flashcore_status status =
      result == NVRTC_ERROR_OUT_OF_MEMORY ? FLASHCORE_OUT_OF_HOST_MEMORY : FLASHCORE_COMPILER_UNAVAILABLE;
  const char *name = functions.get_error_string(result);
  return Error{status,
               std::string(call) + " failed with " + (name != nullptr ? name : "nvrtcResult") + " (" +
                   std::to_string(static_cast<int>(result)) + ").",
               "", static_cast<int32_t>(result)};
}

Result<const NvrtcLibrary *> NvrtcLibrary::load(const std::string &path, const std::string &toolkit_directory) {
  if (const NvrtcLibrary *earlier = loaded()) return earlier;
  std::vector<std::string> reasons;
  for (const Candidate &candidate : list_candidates(path, toolkit_directory)) {
    Result<SharedObject> opened =
        candidate.only_if_loaded ? SharedObject::open_loaded(candidate.name) : SharedObject::open(candidate.name);
    if (!opened.ok()) {
      if (!candidate.only_if_loaded) reasons.push_back(opened.error().message);
      continue;
    }
    Result<const NvrtcLibrary *> library = adopt(std::move(opened).value());
    if (library.ok()) return library;
    reasons.push_back(library.error().message);
  }
  return not_found(path, reasons);
}

// Make the opened library the process's NVRTC, if it is one.
Result<const NvrtcLibrary *> NvrtcLibrary::adopt(SharedObject object) {
  auto functions = std::make_unique<Functions>();
  FLASHCORE_TRY(resolve_functions(object, *functions));
  FLASHCORE_TRY_ASSIGN(const int32_t version, read_version(object, *functions));
  SharedObject builtins = open_builtins(object.path(), version);
  std::unique_ptr<NvrtcLibrary> library(new NvrtcLibrary);
  library->functions_ = functions.get();
  library->path_ = object.path();
  library->version_ = version;
  library->compiler_id_ = identify(version, object, builtins);
  object.keep();
  builtins.keep();
  const NvrtcLibrary *first = nullptr;
  if (!process_nvrtc.compare_exchange_strong(first, library.get())) return first;
  functions.release();
  return library.release();
}

const NvrtcLibrary *NvrtcLibrary::loaded() { return process_nvrtc.load(std::memory_order_acquire); }

}  // namespace flashcore
