// SPDX-License-Identifier: Apache-2.0
#include "runtime/settings.hpp"

#include <dlfcn.h>
#include <link.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/struct_size.hpp"

namespace flashcore {
namespace {

std::vector<std::string> split_path_list(const std::string &list) {
  std::vector<std::string> folders;
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t end = list.find(':', begin);
    const std::string folder = list.substr(begin, end == std::string::npos ? end : end - begin);
    if (!folder.empty()) folders.push_back(folder);
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return folders;
}

// The file that this code is in, by an absolute path: the dynamic loader may have been given a relative one, and the working directory
// may have changed since. Empty: unknown.
std::string library_file() {
  Dl_info info{};
  void *found = nullptr;
  if (dladdr1(reinterpret_cast<void *>(&library_file), &info, &found, RTLD_DL_LINKMAP) == 0 || found == nullptr)
    return {};
  auto *map = static_cast<link_map *>(found);
  char path[PATH_MAX];
  if (map->l_name == nullptr || *map->l_name == '\0') {  // linked into the program itself
    const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
    return length > 0 && static_cast<size_t>(length) < sizeof(path) ? std::string(path, static_cast<size_t>(length))
                                                                    : std::string();
  }
  const std::string name = map->l_name;
  if (name.starts_with("/")) return name;
  // The loader took down the absolute folder when it opened the file.
  if (name.size() >= PATH_MAX || dlinfo(map, RTLD_DI_ORIGIN, path) != 0) return {};
  std::string folder = path;
  while (folder.ends_with("/.")) folder.resize(folder.size() - 2);
  return folder + "/" + name.substr(name.rfind('/') + 1);
}

// "/", "//", "/." and their like. A missing folder there would be made in the root folder itself.
bool is_root_folder(const std::string &path) {
  size_t begin = 0;
  while (begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view name = std::string_view(path).substr(begin, end - begin);
    if (!name.empty() && name != "." && name != "..") return false;
    begin = end + 1;
  }
  return true;
}

// A folder for our cache to lie in. With sudo, HOME and XDG_CACHE_HOME are often still another user's: what we made there would
// belong to us, and that user could not use the folder any more. Of a folder that is not there the first one above it counts, which
// may be root's.
bool is_own_folder(const std::string &path, bool root_may_own) {
  if (!path.starts_with("/") || is_root_folder(path)) return false;
  struct stat status {};
  for (std::string folder = path; stat(folder.c_str(), &status) != 0; root_may_own = true) {
    if (errno != ENOENT || folder == "/") return false;
    folder.resize(std::max<size_t>(folder.rfind('/'), 1));
  }
  return S_ISDIR(status.st_mode) && (status.st_uid == geteuid() || (root_may_own && status.st_uid == 0));
}

// Empty where there is no safe place: never /tmp, never a relative path, never the root folder, never another user's home.
std::string default_user_root(const Environment &environment) {
  // What root gives to all may be named here: every user's own folder in it is made and checked as ours.
  if (is_own_folder(environment.xdg_cache_home, true)) return environment.xdg_cache_home + "/flashcore";
  if (is_own_folder(environment.home, false)) return environment.home + "/.cache/flashcore";
  passwd entry{};
  passwd *found = nullptr;
  char buffer[4096];
  if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) != 0 || found == nullptr) return {};
  const std::string home = found->pw_dir;
  return is_own_folder(home, false) ? home + "/.cache/flashcore" : std::string();
}

Result<CacheMode> cache_mode(int32_t option, const std::string &variable) {
  switch (option) {
    case FLASHCORE_CACHE_DEFAULT:
      break;
    case FLASHCORE_CACHE_READ_WRITE:
      return CacheMode::read_write;
    case FLASHCORE_CACHE_READ_ONLY:
      return CacheMode::read_only;
    case FLASHCORE_CACHE_OFF:
      return CacheMode::off;
    default:
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "cache_mode is " + std::to_string(option) +
                       "; allowed: FLASHCORE_CACHE_DEFAULT (0), _READ_WRITE (1), "
                       "_READ_ONLY (2), _OFF (3)",
                   "cache_mode"};
  }
  if (variable.empty() || variable == "rw") return CacheMode::read_write;
  if (variable == "ro") return CacheMode::read_only;
  if (variable == "off") return CacheMode::off;
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "the environment variable FLASHCORE_CACHE is \"" + variable + "\"; allowed: rw, ro, off",
               "FLASHCORE_CACHE"};
}

Result<bool> jit_allowed(int32_t option, const std::string &variable) {
  switch (option) {
    case FLASHCORE_JIT_DEFAULT:
      break;
    case FLASHCORE_JIT_ALLOWED:
      return true;
    case FLASHCORE_JIT_FORBIDDEN:
      return false;
    default:
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "jit_mode is " + std::to_string(option) +
                       "; allowed: FLASHCORE_JIT_DEFAULT (0), _ALLOWED (1), _FORBIDDEN (2)",
                   "jit_mode"};
  }
  if (variable.empty() || variable == "on") return true;
  if (variable == "off") return false;
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "the environment variable FLASHCORE_JIT is \"" + variable + "\"; allowed: on, off", "FLASHCORE_JIT"};
}

Result<bool> addresses_checked(int32_t option, const std::string &variable) {
  switch (option) {
    case FLASHCORE_ADDRESS_CHECKS_DEFAULT:
      break;
    case FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES:
      return false;
    case FLASHCORE_ADDRESS_CHECKS_ALWAYS:
      return true;
    default:
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "address_checks is " + std::to_string(option) +
                       "; allowed: FLASHCORE_ADDRESS_CHECKS_DEFAULT (0), _NEW_SHAPES (1), _ALWAYS (2)",
                   "address_checks"};
  }
  if (variable.empty() || variable == "off" || variable == "0") return false;
  if (variable == "on" || variable == "1") return true;
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "the environment variable FLASHCORE_CHECK_ADDRESSES is \"" + variable + "\"; allowed: on or 1, off or 0",
               "FLASHCORE_CHECK_ADDRESSES"};
}

Result<bool> tuned_rows_used(const std::string &variable) {
  if (variable.empty() || variable == "on") return true;
  if (variable == "off") return false;
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "the environment variable FLASHCORE_TUNED is \"" + variable + "\"; allowed: on, off", "FLASHCORE_TUNED"};
}

template <size_t capacity>
Result<std::string> text_option(const char (&text)[capacity], const char *name) {
  const size_t length = strnlen(text, capacity);
  if (length == capacity)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 std::string(name) + " has no terminating zero within its " + std::to_string(capacity) + " bytes",
                 name};
  return std::string(text, length);
}

// <folder of libflashcore.so>/flashcore/modules: true in the build tree, after install, in a wheel and after a move. Who can put
// another library in the place of this one may write there too.
void use_shipped_modules(ModuleStoreOptions &store) {
  const std::string library = library_file();
  if (library.empty()) return;
  store.read_only_roots = {library.substr(0, library.rfind('/')) + "/flashcore/modules"};
  store.read_only_trust = DirectoryTrust::beside(library);
}

// The user cache folder, or why there is none.
Status resolve_user_root(const std::string &option, Settings &settings) {
  const Environment &environment = settings.environment;
  const std::string &asked = option.empty() ? environment.cache_directory : option;
  if (!asked.empty() && (!asked.starts_with("/") || is_root_folder(asked))) {
    const char *name = option.empty() ? "FLASHCORE_CACHE_DIR" : "cache_directory";
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 std::string(name) + " is \"" + asked + "\"; allowed: an absolute path, and not the root folder", name};
  }
  if (!asked.empty()) {
    settings.store.user_root = asked;
  } else if (environment.privileged) {
    settings.user_cache_note =
        "no user cache: this program has more rights than the user who started it (set-uid, set-gid or file "
        "capabilities), so no folder of that user is read or written; the option cache_directory names one";
  } else {
    settings.store.user_root = default_user_root(environment);
    if (settings.store.user_root.empty())
      settings.user_cache_note = "no user cache: neither XDG_CACHE_HOME nor HOME names a folder of user " +
                                 std::to_string(geteuid()) + "; set FLASHCORE_CACHE_DIR";
  }
  if (settings.store.mode == CacheMode::off) settings.user_cache_note = "the user cache is off";
  return success();
}

// For ever: programs of version 1.0 end with nvrtc_library.
constexpr uint32_t version1_size = 3096;
static_assert(offsetof(flashcore_context_options, address_checks) == version1_size);

}  // namespace

Result<flashcore_context_options> read_context_options(const flashcore_context_options *options) {
  if (options == nullptr) {
    flashcore_context_options defaults{};
    defaults.struct_size = sizeof(defaults);
    return defaults;
  }
  return read_sized_struct(options, "options", version1_size);
}

Result<Settings> resolve_settings(const flashcore_context_options *given) {
  FLASHCORE_TRY_ASSIGN(const flashcore_context_options options, read_context_options(given));
  Settings settings;
  settings.environment = read_environment();
  const Environment &environment = settings.environment;
  FLASHCORE_TRY_ASSIGN(settings.store.mode, cache_mode(options.cache_mode, environment.cache_mode));
  FLASHCORE_TRY_ASSIGN(settings.jit_allowed, jit_allowed(options.jit_mode, environment.jit_mode));
  if (!settings.jit_allowed) settings.jit_refusal = "jit_mode or FLASHCORE_JIT";
  if (settings.jit_allowed && environment.nvrtc_flags_forced) {
    settings.jit_allowed = false;
    settings.jit_refusal =
        "this program has more rights than the user who started it, and NVRTC would obey that user's NVRTC_APPEND_FLAGS";
  }
  if (options.reserved != 0)
    return Error{FLASHCORE_INVALID_ARGUMENT, "reserved is " + std::to_string(options.reserved) + "; allowed: 0",
                 "reserved"};
  FLASHCORE_TRY_ASSIGN(settings.addresses_checked,
                       addresses_checked(options.address_checks, environment.address_checks));
  FLASHCORE_TRY_ASSIGN(settings.tuned_rows_used, tuned_rows_used(environment.tuned_mode));
  FLASHCORE_TRY_ASSIGN(const std::string cache_directory, text_option(options.cache_directory, "cache_directory"));
  FLASHCORE_TRY_ASSIGN(const std::string module_path, text_option(options.module_path, "module_path"));
  FLASHCORE_TRY_ASSIGN(settings.nvrtc_library, text_option(options.nvrtc_library, "nvrtc_library"));
  FLASHCORE_TRY(resolve_user_root(cache_directory, settings));
  if (settings.nvrtc_library.empty()) settings.nvrtc_library = environment.libnvrtc;
  settings.toolkit_directory = environment.cuda_home;
  const std::string &folders = module_path.empty() ? environment.module_path : module_path;
  settings.store.read_only_roots = split_path_list(folders);
  if (folders.empty()) use_shipped_modules(settings.store);
  return settings;
}

}  // namespace flashcore
