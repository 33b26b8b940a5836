// SPDX-License-Identifier: Apache-2.0
#include "fake_state.hpp"

#include <pthread.h>

#include <cstdio>

namespace fake {

void set_defaults(State &state) {
  state.options = {{"devices", 1},        {"arch", 89},           {"sms", 58},        {"optin", 101376},
                   {"shared_sm", 102400}, {"memory", 24LL << 30}, {"version", 13000}, {"init", 0},
                   {"stub", 0},           {"static_shared", 0},   {"params", 0},      {"record", 1},
                   {"attend", 0},         {"init_ms", 0},         {"pools", 1},       {"launch_us", 0}};
}

namespace {

bool set_number(State &state, const std::string &name, const std::string &value) {
  if (name == "report") {
    state.report = value;
    return true;
  }
  const auto found = state.options.find(name);
  if (found == state.options.end()) return false;
  found->second = std::atoll(value.c_str());
  return true;
}

State *new_state() {
  auto *state = new State;  // lives as long as the process: the library under test may call at exit
  set_defaults(*state);
  read_settings("FAKE_CUDA", state->plan,
                [state](const std::string &name, const std::string &value) { return set_number(*state, name, value); });
  return state;
}

__attribute__((constructor)) void load() {
  state();
  pthread_atfork(nullptr, nullptr, [] {
    if (state().life == State::initialised) state().life = State::inherited;
  });
}

__attribute__((destructor)) void write_report() {
  if (state().report.empty()) return;
  std::FILE *file = std::fopen(state().report.c_str(), "w");
  if (file == nullptr) return;
  for (const auto &[name, calls] : state().plan.counts())
    std::fprintf(file, "%s %lld\n", name.c_str(), static_cast<long long>(calls));
  for (const char *kind : {"device_memory", "host_memory", "modules", "streams", "events", "primary_contexts"})
    std::fprintf(file, "open %s %lld\n", kind, static_cast<long long>(fake_open(kind)));
  std::fprintf(file, "misuses %lld\n", static_cast<long long>(fake_misuses()));
  std::fclose(file);
}

}  // namespace

State &state() {
  static State *const instance = new_state();
  return *instance;
}

int64_t option(const char *name) { return state().options.find(std::string_view(name))->second; }

// Behind a key and not thread_local, so that a thread's first call asks the dynamic loader for no memory.
std::vector<Context *> &context_stack() {
  using Stack = std::vector<Context *>;
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    pthread_key_create(&made, [](void *stack) { delete static_cast<Stack *>(stack); });
    return made;
  }();
  auto *stack = static_cast<Stack *>(pthread_getspecific(key));
  if (stack == nullptr) pthread_setspecific(key, stack = new Stack);
  return *stack;
}
CUstreamCaptureMode &capture_mode() {
  thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

Context *primary_of(int ordinal) {
  Context *&primary = state().primaries[ordinal];
  if (primary == nullptr) primary = new Context{ordinal, true};
  return primary;
}

void note_misuse(const std::string &what) {
  ++state().misuses;
  state().last_misuse = what;
}

bool any_capture() {
  for (const auto &[stream, status] : state().captures)
    if (status != 0) return true;
  return false;
}

}  // namespace fake

using fake::state;
using Lock = std::lock_guard<std::mutex>;

extern "C" {

void fake_reset(void) {
  const Lock lock(state().mutex);
  fake::set_defaults(state());
  state().plan.clear_failures();
  state().plan.reset_calls();
  state().plan.record_names(true);
  for (fake_launch *launch : state().launches) delete launch;
  state().launches.clear();
  state().captures.clear();
  state().attributes.clear();
  state().misuses = 0;
  state().last_misuse.clear();
}

int fake_set_option(const char *name, int64_t value) {
  const Lock lock(state().mutex);
  const auto found = state().options.find(name);
  if (found == state().options.end()) return 0;
  found->second = value;
  state().plan.record_names(state().options.at("record") != 0);
  return 1;
}

void fake_fail_call(int64_t nth, int32_t code, int32_t sticky) { fake_fail_function("", nth, code, sticky); }

void fake_fail_function(const char *function, int64_t nth, int32_t code, int32_t sticky) {
  const Lock lock(state().mutex);
  state().plan.fail(function, nth, code, sticky != 0);
}

void fake_clear_failures(void) {
  const Lock lock(state().mutex);
  state().plan.clear_failures();
}

int64_t fake_calls(const char *function) {
  const Lock lock(state().mutex);
  return state().plan.calls(function);
}

const char *fake_call_name(int64_t index) {
  const Lock lock(state().mutex);
  return state().plan.name(index);
}

void fake_reset_calls(void) {
  const Lock lock(state().mutex);
  state().plan.reset_calls();
}

int64_t fake_open(const char *kind) {
  const Lock lock(state().mutex);
  const std::string wanted = kind;
  int64_t retains = 0;
  for (const auto &[ordinal, context] : state().primaries) retains += context->retains;
  if (wanted == "device_memory") return static_cast<int64_t>(state().device_memory.size());
  if (wanted == "host_memory") return static_cast<int64_t>(state().host_memory.size());
  if (wanted == "modules") return static_cast<int64_t>(state().modules.size());
  if (wanted == "streams") return static_cast<int64_t>(state().streams.size());
  if (wanted == "events") return static_cast<int64_t>(state().events.size());
  if (wanted == "primary_contexts") return retains;
  if (wanted == "pushed_contexts") return static_cast<int64_t>(fake::context_stack().size());
  return -1;
}

void fake_add_memory(uint64_t address, int64_t bytes, int32_t memory_type, int32_t managed, int32_t ordinal,
                     uint64_t reach, uint64_t allocation, int64_t allocation_bytes) {
  const Lock lock(state().mutex);
  state().added_memory[address] = {static_cast<size_t>(bytes),
                                   memory_type,
                                   managed,
                                   ordinal,
                                   reach,
                                   allocation == 0 ? address : allocation,
                                   static_cast<size_t>(allocation == 0 ? bytes : allocation_bytes)};
}

void fake_forget_memory(void) {
  const Lock lock(state().mutex);
  state().added_memory.clear();
}

int64_t fake_misuses(void) {
  const Lock lock(state().mutex);
  return state().misuses;
}

const char *fake_last_misuse(void) { return state().last_misuse.c_str(); }

void fake_set_capture(void *stream, int32_t status) {
  const Lock lock(state().mutex);
  state().captures[stream] = status;
}

int64_t fake_launch_count(void) {
  const Lock lock(state().mutex);
  return static_cast<int64_t>(state().launches.size());
}

const fake_launch *fake_get_launch(int64_t index) {
  const Lock lock(state().mutex);
  return index >= 0 && index < static_cast<int64_t>(state().launches.size())
             ? state().launches[static_cast<size_t>(index)]
             : nullptr;
}

int64_t fake_attribute_sets(const char *kernel, int32_t attribute, int32_t *value) {
  const Lock lock(state().mutex);
  const fake::AttributeSet &set = state().attributes[{kernel, attribute}];
  if (value != nullptr) *value = set.value;
  return set.times;
}

void *fake_user_context(int32_t ordinal) {
  const Lock lock(state().mutex);
  state().user_contexts.push_back(new fake::Context{ordinal, false});
  return state().user_contexts.back();
}

void *fake_primary_context(int32_t ordinal) {
  const Lock lock(state().mutex);
  return fake::primary_of(ordinal);
}

void *fake_user_stream(void *context) {
  const Lock lock(state().mutex);
  void *stream = new char;
  state().user_streams[stream] = static_cast<fake::Context *>(context);
  return stream;
}

void fake_set_current(void *context) {
  fake::context_stack().clear();
  if (context != nullptr) fake::context_stack().push_back(static_cast<fake::Context *>(context));
}

void *fake_get_current(void) { return fake::context_stack().empty() ? nullptr : fake::context_stack().back(); }

}  // extern "C"
