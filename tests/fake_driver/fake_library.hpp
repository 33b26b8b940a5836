// SPDX-License-Identifier: Apache-2.0
//
// The controls of a stand-in as members: FakeCuda fake(path); fake.fake_fail_call(3, 700, 0).
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>

#include "fake_control.h"

#define FAKE_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
#define FAKE_RESOLVE(name, result, parameters) name = reinterpret_cast<decltype(name)>(find(#name));

template <typename Controls>
struct FakeLibrary : Controls {
  explicit FakeLibrary(const std::string &path) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    this->resolve([library](const char *name) {
      void *function = dlsym(library, name);
      if (function == nullptr) throw std::runtime_error(std::string("the stand-in has no ") + name);
      return function;
    });
  }
};

struct FakeCudaControls {
  FAKE_CUDA_CONTROLS(FAKE_MEMBER)
  template <typename Find>
  void resolve(Find find){FAKE_CUDA_CONTROLS(FAKE_RESOLVE)}
  // Everything that the library must have given back. Empty: nothing is open.
  std::string open_resources() const {
    std::string text;
    for (const char *kind :
         {"device_memory", "host_memory", "modules", "streams", "events", "primary_contexts", "pushed_contexts"})
      if (fake_open(kind) != 0) text += std::string(kind) + " " + std::to_string(fake_open(kind)) + " ";
    return text;
  }
};

struct FakeNvrtcControls {
  FAKE_NVRTC_CONTROLS(FAKE_MEMBER)
  template <typename Find>
  void resolve(Find find) {
    FAKE_NVRTC_CONTROLS(FAKE_RESOLVE)
  }
};

using FakeCuda = FakeLibrary<FakeCudaControls>;
using FakeNvrtc = FakeLibrary<FakeNvrtcControls>;

#undef FAKE_MEMBER
#undef FAKE_RESOLVE
