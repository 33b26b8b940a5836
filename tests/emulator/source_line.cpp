// SPDX-License-Identifier: Apache-2.0
#include "source_line.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <sstream>
#include <string_view>
#include <vector>

namespace emulator {
namespace {

namespace fs = std::filesystem;

// Of the twins, of what the emulator includes into kernels, or of the system: not what a kernel's author wrote.
bool is_of_emulator(const fs::path &path) {
  const fs::path folder = path.parent_path(), name = path.filename();
  const bool beside = folder.filename() == "emulator" && folder.parent_path().filename() == "tests";
  return (beside && !name.string().starts_with("test_")) ||
         path.string().find("/emulator/parts_") != std::string::npos || path.string().starts_with("/usr/");
}

// "file:line" of each frame, the innermost first.
std::vector<std::string> lines_of(std::span<void *const> addresses) {
  std::ostringstream command;
  command << "addr2line -i -e /proc/" << getpid() << "/exe" << std::hex;
  for (const void *const address : addresses) {
    Dl_info info;
    link_map *object = nullptr;
    // Of this program alone; a call returns behind itself.
    if (dladdr1(address, &info, reinterpret_cast<void **>(&object), RTLD_DL_LINKMAP) != 0 && object->l_name[0] == '\0')
      command << " 0x" << reinterpret_cast<uintptr_t>(address) - object->l_addr - 1;
  }
  command << " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE *)> output(popen(command.str().c_str(), "r"), pclose);
  std::vector<std::string> lines;
  char line[4096];
  while (output != nullptr && std::fgets(line, sizeof(line), output.get()) != nullptr) {
    const std::string_view text = line;
    lines.emplace_back(text.substr(0, std::min(text.find(" (discriminator"), text.find('\n'))));
  }
  return lines;
}

std::string chosen(const std::vector<std::string> &lines) {
  std::string result;
  for (const std::string &line : lines) {
    const fs::path path = fs::path(line).lexically_normal();
    if (line.starts_with("??") || line.ends_with(":?") || line.ends_with(":0") || is_of_emulator(path)) continue;
    result += result.empty() ? path.string() : " < " + path.filename().string();
  }
  return result.empty() ? "a line that is not known: no addr2line, or no debug information" : result;
}

}  // namespace

std::string source_line(const void *address) {
  void *const one[] = {const_cast<void *>(address)};
  return chosen(lines_of(one));
}

std::string current_line() {
  void *addresses[24];
  const int count = backtrace(addresses, 24);
  return chosen(lines_of({addresses, static_cast<size_t>(count)}));
}

}  // namespace emulator
