// SPDX-License-Identifier: Apache-2.0
//
// Everything the stand-in driver remembers: options, books of what is open, launches, captures.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "failure_plan.hpp"
#include "fake_control.h"

namespace fake {

struct Context {
  int ordinal;
  bool primary;
  int64_t retains = 0;
};

struct Module {
  Context *context;
  int arch;
  std::set<std::string> kernels;
};

struct Function {
  Module *module;
  std::string name;
  int max_dynamic_shared;
};

// fake_add_memory
struct AddedMemory {
  size_t bytes;
  int memory_type, managed, ordinal;
  uint64_t reach, allocation;
  size_t allocation_bytes;
};

struct AttributeSet {
  int64_t times = 0;
  int value = 0;
};

struct State {
  std::mutex mutex;
  FailurePlan plan;
  std::map<std::string, int64_t, std::less<>> options;
  std::string report;
  enum { fresh, initialised, inherited } life = fresh;  // inherited: in a child of the process that called cuInit
  std::map<uint64_t, size_t> device_memory;
  std::map<uint64_t, size_t> host_memory;
  std::map<uint64_t, AddedMemory> added_memory;
  std::set<Module *> modules;
  std::map<Function *, int> functions;  // value unused: live handles
  std::map<void *, Context *> streams;  // and the context that each was made in
  std::map<void *, int64_t> events;     // value: tick of the record, 0: never recorded
  int64_t tick = 0;
  double device_us = 0;               // option "attend": what all launches so far took
  std::map<void *, double> event_us;  // and stood at when an event was recorded
  std::map<int, Context *> primaries;
  std::vector<Context *> user_contexts;
  std::map<void *, Context *> user_streams;  // not ours to give back, so not among what is open
  std::map<void *, int> captures;
  std::vector<fake_launch *> launches;
  std::map<std::pair<std::string, int>, AttributeSet> attributes;
  int64_t misuses = 0;
  std::string last_misuse;
};

State &state();
void set_defaults(State &state);
int64_t option(const char *name);
std::vector<Context *> &context_stack();  // of this thread
CUstreamCaptureMode &capture_mode();      // of this thread
Context *primary_of(int ordinal);         // made on first use, lives as long as the process
void note_misuse(const std::string &what);
bool any_capture();
// Option "attend": what a launch takes, the less the more thread blocks there are.
inline double launch_us(const uint32_t (&grid)[3]) { return 5 + 20.0 / grid[0]; }
void attend(const void *params);  // fake_attention.cpp

// The allocation that holds all of [address, address + bytes), or the map's end.
inline std::map<uint64_t, size_t>::const_iterator find_range(const std::map<uint64_t, size_t> &books, uint64_t address,
                                                             size_t bytes) {
  auto next = books.upper_bound(address);
  if (next == books.begin()) return books.end();
  --next;
  return address + bytes <= next->first + next->second ? next : books.end();
}

}  // namespace fake
