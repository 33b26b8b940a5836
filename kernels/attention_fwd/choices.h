// SPDX-License-Identifier: Apache-2.0
//
// Choices that several forward kernels have, so that all of them say alike what they are called. Whether a kernel has one, and in
// which range, its own table says.
#pragma once

#include "contract/choice.h"
#include "contract/passport.h"
#include "contract/sequence.h"

namespace flashcore::kernels::attention_fwd {

// Is a module compiled for the problem's mask, and for what happens to its scores?
template <typename Choices>
constexpr bool serves_features(const Choices &s, const ProblemKey &key) {
  return (s.causal != 0) == mask_of(key).end_moves && s.window == key.window() && s.scores == key.scores &&
         ((s.calls ^ key.calls()) & calls_float32_output) == 0;
}
// Tiles of tile_q queries of all sequences, for one head; those of sequences that follow one another as places for them
// (parts/sequence.cuh).
constexpr int64_t query_tiles(const ProblemKey &key, int32_t tile_q) {
  return key.total_q == no_total ? ceil_div(key.seqlen_q, tile_q) * key.batch
                                 : places_of_tiles(key.total_q, key.batch, tile_q);
}
// For `allows` of kernels with both choices.
inline constexpr Refusal chunk_without_end = {"causal", "1 where keys are in chunks, which end as well as begin"};

#ifndef __CUDACC_RTC__
struct Range {
  int32_t least, most;
};
constexpr Range exactly(int32_t value) { return {value, value}; }

// Of query, key, value and output.
inline constexpr Choice dtype = {"dtype", Choice::word, "fp16|bf16", dtype_float16, dtype_bfloat16};
// Columns of Q and K that the tile holds, and of V and O.
constexpr Choice head_dim(Range range) { return {"head_dim", Choice::number, "d", range.least, range.most}; }
constexpr Choice head_dim_v(Range range) {
  return {"head_dim_v", Choice::joined, "v", range.least, range.most, Choice::that_before};
}
// 1: the last key that a query sees moves with it, by a causal mask or a window's right end; 0: it is the sequence's.
inline constexpr Choice causal = {"causal", Choice::word, "causal", 0, 1, 0};
// What moves the first key (contract/problem_key.h's Window), and what is done to scores (its Scores). Of the problem: what is shipped has
// neither, and what a problem needs is compiled on first need (fitted() of contract/passport.h).
inline constexpr Choice window = {"window", Choice::word, "window|chunk", 0, window_in_chunks, 0};
inline constexpr Choice scores = {"scores", Choice::set, "softcap|alibi|sinks|bias|mask", 0, 31, 0};
// How the rows of sequences are found (contract/problem_key.h's RowAccess). Of the problem, as these two.
inline constexpr Choice rows = {"rows", Choice::word, "ragged|paged", 0, rows_paged, 0};
// What the call asks for beside its problem (contract/problem_key.h's Calls): compiled on first need, as these.
inline constexpr Choice calls = {"calls", Choice::set, "out32|stay", 0, calls_float32_output, 0};
inline constexpr Choice calls_that_stay = {"calls", Choice::set, "out32|stay", 0, calls_float32_output | calls_stay, 0};
// Query rows of a thread block, and keys of a step.
constexpr Choice tile_q(Range range, Tries tries = {}) {
  return {"tile_q", Choice::number, "", range.least, range.most, Choice::none, tries};
}
constexpr Choice tile_kv(Range range, Tries tries = {}) {
  return {"tile_kv", Choice::joined, "x", range.least, range.most, Choice::none, tries};
}
constexpr Choice warps(Range range, Tries tries = {}) {
  return {"warps", Choice::number, "w", range.least, range.most, Choice::none, tries};
}
// K and V tiles in flight.
constexpr Choice stages(Range range, Tries tries = {}) {
  return {"stages", Choice::number, "s", range.least, range.most, 1, tries};
}
// Thread blocks that work on the same rows and merge what they have; above 1 from sm_90 on.
constexpr Choice cluster(Range range, Tries tries = {}) {
  return {"cluster", Choice::number, "c", range.least, range.most, 1, tries};
}
// 1: the thread blocks of a cluster share the keys of a tile of queries, as many blocks as the launch says.
inline constexpr Choice split = {"split", Choice::word, "split", 0, 1, 0};
// 1: the rows of a tile are those of all query heads that share a key head, and their keys are split over the grid where that pays.
inline constexpr Choice packed = {"packed", Choice::word, "packed", 0, 1, 0};
// 1: Q fragments stay in registers; 0: they are read again from shared memory each step.
constexpr Choice q_in_registers(Range range, Tries tries = {}) {
  return {"q_in_registers", Choice::word, "qreg", range.least, range.most, 0, tries};
}
// 16: rows are moved by 16 bytes; 2: rows of any alignment, moved element by element.
constexpr Choice alignment_bytes(Range range) {
  return {"alignment_bytes", Choice::word, "unaligned", range.least, range.most, 16};
}

#endif

}  // namespace flashcore::kernels::attention_fwd
