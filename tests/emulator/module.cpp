// SPDX-License-Identifier: Apache-2.0
#include "module.hpp"

#include <algorithm>

namespace emulator {
namespace {
std::vector<Module> &all() {
  static std::vector<Module> list;
  return list;
}
}  // namespace

const std::vector<Module> &modules() { return all(); }

bool add_module(const char *name, const char *broken, std::initializer_list<EntryPoint> entry_points) {
  const Module module{name, broken, entry_points};
  const auto before = [](const Module &a, const Module &b) { return a.name < b.name; };
  all().insert(std::upper_bound(all().begin(), all().end(), module, before), module);
  return true;
}

}  // namespace emulator
