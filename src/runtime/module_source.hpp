// SPDX-License-Identifier: Apache-2.0
//
// Where modules come from. One search serves whoever needs one, a context for its driver or a tool for its eyes: module folders, user
// cache, and what NVRTC makes of the sources, which is kept for the next process. And what there is: the modules that belong to an
// architecture, those that lie on disk, and which of these this library can still ask for.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "cache/module_store.hpp"
#include "runtime/module_builder.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

struct ModuleSourceCounters {
  std::atomic<int64_t> from_shipped{0}, from_user_cache{0}, compiled{0}, refused_by_driver{0}, compile_us{0};
};

// A module that was found or made.
struct ModuleOffer {
  const ModuleRequest &request;
  const Bytes &cubin;
  FoundModule *found;        // null: it was compiled now
  const BuiltModule *built;  // null: it was found
};

class ModuleSource {
 public:
  explicit ModuleSource(const Settings &settings);  // which must outlive it

  // Taken, or why not. An entry that `take` answers with CUDA_ERROR, which is the driver's word for an image that it will not have, is
  // passed over: it may be a stale or foreign one, a good one may lie behind it, and a fresh compile settles it. Every other error
  // (memory, a lost context, too little shared memory) is not the entry's fault and ends the search.
  using Take = std::function<Status(const ModuleOffer &)>;
  // Offer what there is for the requests, the first of which is compiled where there is nothing. COMPILER_UNAVAILABLE tells what was there
  // and could not be used; COMPILE_FAILED; or the error of `take`.
  Status obtain(const std::vector<ModuleRequest> &requests, const Take &take);

  const ModuleSourceCounters &counters() const { return counters_; }
  const ModuleStore &store() const { return store_; }

 private:
  class Search;
  const Settings &settings_;
  ModuleStore store_;
  ModuleSourceCounters counters_;
};

// A file with a module, and whether this library could ask for it: shipped, tuned or by name.
struct KnownModule {
  ListedModule file;
  bool current = false;
};

// The whole name of a module, and an architecture's. INVALID_ARGUMENT names the field (kernel, arch) and what is allowed.
Result<ModuleRequest> request_module(const Settings &settings, std::string_view module, const std::string &arch);
// From the folders, the user cache or the compiler. The size and the time of its file are not looked up, and a module that was compiled
// has no path.
Result<KnownModule> obtain_module(const Settings &settings, const ModuleRequest &request);

// The modules that `kernel` names for an architecture. Empty: all that belong to it, which are those of the passports' lists and what
// tuned rows name beside them. A kernel: its own of these, none where it does not run. A module: that one, listed or not.
// INVALID_ARGUMENT (arch, kernel).
Result<std::vector<ModuleRequest>> named_modules(const Settings &settings, std::string_view kernel,
                                                 const std::string &arch);
// Compile them into folder/<arch>; what is there and current stays. `progress` is told of each, with the time in the compiler (0: it was
// there), and stops it by false.
using CompileProgress = std::function<bool(int32_t done, int32_t total, const KnownModule &module, int64_t compile_us)>;
Status compile_modules(const Settings &settings, std::string_view kernel, const std::string &arch,
                       const std::string &folder, const CompileProgress &progress);
// The same for the user cache: what no folder and no cache holds is compiled, and kept. IO_ERROR: it could not be kept.
Status warm_modules(const Settings &settings, std::string_view kernel, const std::string &arch,
                    const CompileProgress &progress);

// Which modules go from the user cache: all, or those that this library cannot use (damaged, of other sources, unreadable).
enum class Removed { unusable, all };
Result<CacheRemoval> remove_cached_modules(const Settings &settings, Removed what, int64_t most_bytes, bool dry_run);

// What lies in the folders and the cache, sorted by architecture and name; what cannot be used comes last.
Result<std::vector<KnownModule>> known_modules(const Settings &settings);
// One file. MODULE_CORRUPT, IO_ERROR.
Result<KnownModule> read_module(const std::string &path);

}  // namespace flashcore
