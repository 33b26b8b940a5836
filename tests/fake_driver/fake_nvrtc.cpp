// SPDX-License-Identifier: Apache-2.0
//
// The stand-in libnvrtc.so.13: counts calls, fails those it is told to fail and hands the others to a real NVRTC. Where
// none is named, it is a compiler that never compiles.
#pragma GCC visibility push(default)
#include <nvrtc.h>
#pragma GCC visibility pop

#include <dlfcn.h>

#include <cstdio>
#include <mutex>

#include "failure_plan.hpp"
#include "fake_control.h"

namespace {

struct State {
  std::mutex mutex;
  fake::FailurePlan plan;
  std::string real_path;
  std::string report;
  std::string cubin;  // of every compile, where there is no real library
};

State *new_state() {
  auto *state = new State;
  fake::read_settings("FAKE_NVRTC", state->plan, [state](const std::string &name, const std::string &value) {
    if (name == "real") state->real_path = value;
    if (name == "report") state->report = value;
    return name == "real" || name == "report";
  });
  return state;
}

State &state() {
  static State *const instance = new_state();
  return *instance;
}

__attribute__((constructor)) void load() { state(); }

__attribute__((destructor)) void write_report() {
  if (state().report.empty()) return;
  std::FILE *file = std::fopen(state().report.c_str(), "w");
  if (file == nullptr) return;
  for (const auto &[name, calls] : state().plan.counts())
    std::fprintf(file, "%s %lld\n", name.c_str(), static_cast<long long>(calls));
  std::fclose(file);
}

// The real library's function, or nullptr.
void *real_function(const char *name) {
  std::string path;
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    path = state().real_path;
  }
  void *library = path.empty() ? nullptr : dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  return library != nullptr ? dlsym(library, name) : nullptr;
}

std::string given_cubin() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().cubin;
}

int32_t enter(const char *name) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().plan.enter(name);
}

template <typename Signature, typename... Arguments>
nvrtcResult forward(const char *name, Signature *, nvrtcResult without_real, Arguments... arguments) {
  const int32_t injected = enter(name);
  if (injected != 0) return static_cast<nvrtcResult>(injected);
  const auto function = reinterpret_cast<Signature *>(real_function(name));
  return function != nullptr ? function(arguments...) : without_real;
}

}  // namespace

#define FORWARD(name, without_real, ...) return forward(#name, &name, without_real __VA_OPT__(, ) __VA_ARGS__)

extern "C" {

const char *nvrtcGetErrorString(nvrtcResult result) {
  enter("nvrtcGetErrorString");
  const auto function = reinterpret_cast<decltype(&nvrtcGetErrorString)>(real_function("nvrtcGetErrorString"));
  return function != nullptr ? function(result) : "NVRTC_ERROR of the stand-in";
}

nvrtcResult nvrtcVersion(int *major, int *minor) {
  *major = 13, *minor = 0;
  FORWARD(nvrtcVersion, NVRTC_SUCCESS, major, minor);
}

nvrtcResult nvrtcGetNumSupportedArchs(int *count) {
  *count = 1;
  FORWARD(nvrtcGetNumSupportedArchs, NVRTC_SUCCESS, count);
}

nvrtcResult nvrtcGetSupportedArchs(int *archs) {
  *archs = 89;
  FORWARD(nvrtcGetSupportedArchs, NVRTC_SUCCESS, archs);
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *name, int count,
                               const char *const *headers, const char *const *include_names) {
  *program = nullptr;
  FORWARD(nvrtcCreateProgram, NVRTC_SUCCESS, program, source, name, count, headers, include_names);
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program) { FORWARD(nvrtcDestroyProgram, NVRTC_SUCCESS, program); }

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options) {
  const nvrtcResult without_real = given_cubin().empty() ? NVRTC_ERROR_INTERNAL_ERROR : NVRTC_SUCCESS;
  FORWARD(nvrtcCompileProgram, without_real, program, count, options);
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes) {
  *bytes = 0;
  FORWARD(nvrtcGetProgramLogSize, NVRTC_SUCCESS, program, bytes);
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log) {
  FORWARD(nvrtcGetProgramLog, NVRTC_SUCCESS, program, log);
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes) {
  *bytes = given_cubin().size();
  FORWARD(nvrtcGetCUBINSize, NVRTC_SUCCESS, program, bytes);
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *cubin) {
  const std::string given = given_cubin();
  given.copy(cubin, given.size());
  FORWARD(nvrtcGetCUBIN, NVRTC_SUCCESS, program, cubin);
}

void fake_nvrtc_reset(void) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().plan.clear_failures();
  state().plan.reset_calls();
}

void fake_nvrtc_fail_function(const char *function, int64_t nth, int32_t code, int32_t sticky) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().plan.fail(function, nth, code, sticky != 0);
}

int64_t fake_nvrtc_calls(const char *function) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().plan.calls(function);
}

void fake_nvrtc_set_cubin(const void *cubin, int64_t bytes) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().cubin.assign(static_cast<const char *>(cubin), static_cast<size_t>(bytes));
}

void fake_nvrtc_set_real(const char *path) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().real_path = path;
}

}  // extern "C"
