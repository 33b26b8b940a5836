// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "console.hpp"

namespace flashcore::tools {
namespace {

std::optional<int64_t> number_in(const std::string &path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;  // no such file, or "max"
}

// The number behind `name` in lines of "name number".
std::optional<int64_t> field_in(const std::string &path, const std::string &name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    int64_t number = 0;
    if (words >> word >> number && word == name) return number;
  }
  return std::nullopt;
}

void hold_below(std::optional<int64_t> &least, int64_t bytes) {
  least = std::min(least.value_or(bytes), std::max<int64_t>(bytes, 0));
}

// The group's and its parents' limits; what the group holds of files can be given back.
void ask_control_groups(std::optional<int64_t> &least) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const bool unified = line.starts_with("0::"), memory = line.find(":memory:") != std::string::npos;
    if (!unified && !memory) continue;
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const auto parent_of = [](const std::string &group) {
      return group == "/" ? "" : group.substr(0, std::max<size_t>(group.rfind('/'), 1));
    };
    for (std::string group = line.substr(line.find('/')); !group.empty(); group = parent_of(group)) {
      const std::string folder = root + (group == "/" ? "" : group);
      const auto limit = number_in(folder + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
      const auto used = number_in(folder + (unified ? "/memory.current" : "/memory.usage_in_bytes"));
      const auto files = field_in(folder + "/memory.stat", unified ? "inactive_file" : "total_inactive_file");
      if (limit && used) hold_below(least, *limit - *used + files.value_or(0));
    }
  }
}

}  // namespace

std::optional<int64_t> available_memory_bytes() {
  std::optional<int64_t> least;
  if (const auto kilobytes = field_in("/proc/meminfo", "MemAvailable:")) hold_below(least, *kilobytes * 1024);
  ask_control_groups(least);
  rlimit limit{};
  const auto pages = number_in("/proc/self/statm");  // first: of the whole address space
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && pages)
    hold_below(least, static_cast<int64_t>(limit.rlim_cur) - *pages * sysconf(_SC_PAGE_SIZE));
  return least;
}

Step check_memory(const MemoryNeeds &needs) {
  const std::optional<int64_t> available = available_memory_bytes();
  double sum = 0;
  std::string parts;
  for (const auto &[what, bytes] : needs) {
    sum += bytes;
    if (bytes > 0)
      parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", what,
                           format_bytes(static_cast<int64_t>(std::min(bytes, 0x1p62))));
  }
  if (!available || sum <= static_cast<double>(*available)) return Done{};
  return usage_failure(fmt::format("this needs {} of host memory ({}), but {} are available; take smaller sizes",
                                   format_bytes(static_cast<int64_t>(std::min(sum, 0x1p62))), parts,
                                   format_bytes(*available)));
}

}  // namespace flashcore::tools
