// SPDX-License-Identifier: Apache-2.0
//
// The passport of a kernel: plain constexpr C++ in the first half of kernels/<family>/<name>.cu that says what the kernel can do,
// in which specializations, with which shared memory and grid, and what a call costs. The host compiler reads it into the
// kernel table; NVRTC reads the same lines, so that host and device cannot disagree about a tile.
//
// Glossary
//   kernel          one file, one algorithm, one entry point of the file's name
//   specialization  one set of compile-time choices of a kernel: types, head dimensions, tile
//   module          a specialization compiled for one architecture: one cubin, one .fcm file
//   arch            compute capability as a number: 89 for 8.9
#pragma once

#include "contract/attention_call.h"
#include "contract/choice.h"
#include "contract/pieces.h"
#include "contract/plan.h"
#include "contract/problem_key.h"
#include "contract/tensor_map.h"

namespace flashcore::kernels {

// Why a kernel cannot serve a problem (the field in the words of flashcore.h) or cannot be compiled in a specialization (the
// choice in the words of its table), and what that may be. field == nullptr: it can.
struct Refusal {
  const char *field;
  const char *reason;
};
inline constexpr Refusal no_refusal = {nullptr, nullptr};

#ifndef __CUDACC_RTC__
// For a passport whose choices have no rule but their ranges.
constexpr Refusal allows_all(const Specialization &) { return no_refusal; }

inline constexpr int32_t most_parameter_bytes = 1280;

// A passport's list of patches, which lies in the family's headers.
struct AddressPatches {
  const AddressPatch *first = nullptr;
  int32_t count = 0;

  constexpr AddressPatches() = default;
  template <int32_t size>
  constexpr AddressPatches(const AddressPatch (&patches)[size]) : first(patches), count(size) {}
  constexpr const AddressPatch *begin() const { return first; }
  constexpr const AddressPatch *end() const { return first + count; }
};

// What a kernel is a kernel of. Only those of the operation that is called are candidates for a call. What a passport says of problems
// (refuse, serves, plan, pack, patches, tensor_maps) it says of attention; an operation with one kernel has it in its family's header.
enum Operation : int32_t { operation_attention_fwd, operation_merge_states, operation_append };

struct Passport {
  const char *name;     // file name = entry point = bench name = cache name
  const char *summary;  // one line
  int32_t minimum_arch;
  int32_t maximum_arch;  // inclusive; 0: open
  bool by_name_only;     // kept to learn from: never the library's own choice, however well it would do
  ChoiceTable choices;   // what tells its specializations apart
  // The index-th specialization; false past the end. All of them are shipped, and `allows` has nothing against them.
  bool (*specialization)(int32_t index, Specialization *out);
  // Can the kernel be compiled so? What is allowed and not shipped is compiled on first need, for a caller or a tuned row
  // that names the module, and is what fc-tune searches. Each choice is within its own range already.
  Refusal (*allows)(const Specialization &);
  Refusal (*refuse)(const ProblemKey &);
  // May this specialization serve a problem that the kernel does not refuse?
  bool (*serves)(const Specialization &, const ProblemKey &);
  // The most that any of its launches may ask for: what a module is loaded for, before there is a problem.
  int64_t (*dynamic_shared_bytes)(const Specialization &);
  // The launches for a problem that it serves, on a device: grids, threads, clusters, shared memory, workspace, and the cost.
  Plan (*plan)(const Specialization &, const ProblemKey &, const DeviceLimits &);
  // The struct that all of its launches take by value, and where the addresses of the call lie in it. Packing is host arithmetic,
  // for every call that is not the one before with other addresses.
  int32_t parameter_bytes;  // no more than most_parameter_bytes
  void (*pack)(const Specialization &, const ProblemKey &, const AttentionCall &, const DeviceLimits &,
               void *parameters);
  AddressPatches patches;
  // The tensor maps among its parameters, which pack leaves alone: at most most_tensor_maps, and how many. nullptr: none.
  int32_t (*tensor_maps)(const Specialization &, TensorMapRule *rules) = nullptr;
  // What plans may launch of the module beside the kernel of its own name.
  const char *further_entry_points[most_stages - 1] = {};
  Operation operation = operation_attention_fwd;
  // Can its body be compiled with a user's text (parts/variant.cuh)?
  bool takes_variants = false;

  // What a specialization has of the choice of this name; `otherwise`: the kernel has no such choice.
  constexpr int32_t value(const Specialization &s, const char *choice, int32_t otherwise) const {
    return value_of(choices, s, choice, otherwise);
  }
  // Why the kernel cannot serve the problem in any specialization: it has no code for what the problem needs, or `refuse` says so.
  constexpr Refusal refusal(const ProblemKey &key) const {
    const int32_t window = key.window() > largest("window") ? key.window() : window_none;
    const int32_t rows = largest("rows");
    if (const char *field =
            feature_field(window, key.scores & ~largest("scores"), key.rows == rows_paged && rows < rows_paged,
                          rows < rows_ragged ? key.ragged_by : int32_t{by_nothing});
        field != nullptr)
      return {field, "left out, the kernel has no code for it"};
    if ((key.calls() & calls_float32_output & ~largest("calls")) != 0)
      return {"output.dtype", "0 or the query's, the kernel writes no other"};
    if (asks_for_pieces(key) && entry_point(1) == nullptr)
      return {field_of_pieces(key), key.split_count > 1
                                        ? "0 or 1, the kernel does not cut keys in pieces"
                                        : "0, or as many as a query sees: the kernel does not cut keys"};
    if (key.variant != 0 && !takes_variants) return {"variant", "0, the kernel takes no variants"};
    return refuse(key);
  }
  // A shipped specialization with the code that the problem needs beside: compiled on first need, if `allows` has nothing against it.
  constexpr Specialization fitted(Specialization s, const ProblemKey &key) const {
    if (const int32_t i = find_choice(choices, "window"); i >= 0) s.values[i] = key.window();
    if (const int32_t i = find_choice(choices, "scores"); i >= 0) s.values[i] = key.scores;
    if (const int32_t i = find_choice(choices, "rows"); i >= 0) s.values[i] = key.rows;
    if (const int32_t i = find_choice(choices, "calls"); i >= 0) s.values[i] = key.calls() & choices.first[i].most;
    return s;
  }
  // 0: there is no such choice.
  constexpr int32_t largest(const char *choice) const {
    const int32_t i = find_choice(choices, choice);
    return i < 0 ? 0 : choices.first[i].most;
  }
  // nullptr: there is none.
  constexpr const char *entry_point(int32_t index) const {
    return index == 0 ? name : index < most_stages ? further_entry_points[index - 1] : nullptr;
  }
};
#endif

// The device as a call may use it.
constexpr DeviceLimits limited(DeviceLimits device, const ProblemKey &key) {
  if (key.multiprocessor_limit != 0 && key.multiprocessor_limit < device.multiprocessors)
    device.multiprocessors = key.multiprocessor_limit;
  return device;
}
// Thread blocks occupy no more multiprocessors than there are of them.
constexpr int64_t most_blocks_at_once(const Plan &plan) {
  int64_t most = 0;
  for (int32_t i = 0; i < plan.stage_count; ++i) {
    const Grid &grid = plan.stages[i].grid;
    if (const int64_t blocks = grid.x * grid.y * grid.z; blocks > most) most = blocks;
  }
  return most;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace flashcore::kernels
