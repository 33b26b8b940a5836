// SPDX-License-Identifier: Apache-2.0
//
// One case of the grid: what is computed, how the tensors lie in memory, and which garbage lies beside the data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/reference_attention.hpp"

namespace flashcore::tests {

// How a tensor lies in memory. Whatever lies between and around its elements is NaN in inputs and poison in outputs.
enum class Layout {
  contiguous,    // all four strides given as 0
  bshd,          // [batch, sequence, head, dimension], the strides spelled out
  bhsd,          // [batch, head, sequence, dimension]
  padded,        // bshd with gaps of 8 elements per head, 16 per row, 32 per sequence: rows stay 16-byte aligned
  odd,           // bshd with odd strides from an odd element: no row but by chance is aligned to more than 2 bytes
  shared_batch,  // keys and values: batch stride 0, one cache for all; others: bshd
  shared_head,   // keys and values: head stride 0, all heads read the same; others: bshd
  latent,        // padded; values are the first columns of the keys, in the same memory
};

// Which LSE is asked for.
enum class LseRequest { none, natural, base2, padded };  // padded: natural, with gaps between rows and heads

// NaN and infinity where no output may show them. Keys and values past the end are NaN in every case.
enum class Garbage {
  none,
  later_keys,      // in the last keys, which the first half of the queries does not see (causal cases)
  later_values,    // in their values
  earlier_keys,    // in the first keys, which the second half of the queries does not see (windows and chunks)
  earlier_values,  // in their values
  middle_keys,     // in two keys of the middle, which some queries do not see (masks, biases of -infinity)
  middle_values    // in their values
};

// How the scores of a row are distributed. Random normal inputs alone hide what real rows do to probabilities of 16 bits:
// one key that outweighs many, many that together outweigh one, references that are met late.
enum class Scores {
  normal,
  one_first,
  one_last,
  one_before_end,
  one_middle,  // one key (before_end: the 200th from the end) against all others, `many` times its mass
  sink,        // the first four keys above all others
  diagonal,    // the keys nearest to the query
  rising,
  falling,  // from the first key to the last, by 14
};

inline bool is_one_against_many(Scores scores) { return scores >= Scores::one_first && scores <= Scores::one_middle; }

// Scores that are infinite, not a number, or as large as they come. Queries are positive then, so that a key's sign is its score's.
enum class Extreme {
  none,
  minus_infinity_first,    // -infinity in the first two thirds of the keys
  minus_infinity_last,     // in the last two thirds
  minus_infinity_but_one,  // in all but the first
  minus_infinity,          // in all: every row is as one that sees no key
  overflow,                // the same as minus_infinity_first from finite numbers: products that overflow (bfloat16)
  not_a_number,            // in every third query
  large,                   // finite, all the same: every key has the same weight
  two_large,               // the same, but every other key's negative
};

// Around which number the values lie.
enum class Values { around_0, around_8, narrow /* 1 to 1.25 */ };

// What slopes ALiBi has.
enum class Alibi { none, by_head, by_batch_and_head };

// How a bias or a mask lies in memory, and so for what it is the same.
enum class ScoreLayout {
  none,              // there is none
  packed,            // all four strides given as 0
  full,              // [batch, head, query, key]
  by_head,           // the same for all batch entries
  by_key,            // the same for all batch entries, heads and queries
  by_batch_and_key,  // the same for all heads and queries
  by_query,          // the same for all keys
  transposed,        // [batch, head, key, query]
};

enum class BiasType { of_query, float16, bfloat16, float32 };

// Which keys the mask hides, and the bias, where it does.
enum class Hidden { nothing, some, most, all, last_keys, first_keys, other_documents, rows };

// For sweeps over all that there are.
inline constexpr tools::Float16Type both_types[] = {tools::Float16Type::float16, tools::Float16Type::bfloat16};
inline constexpr tools::ReferenceCausal all_masks[] = {tools::ReferenceCausal::none, tools::ReferenceCausal::top_left,
                                                       tools::ReferenceCausal::bottom_right};
inline constexpr Layout all_layouts[] = {Layout::contiguous, Layout::bshd,         Layout::bhsd,       Layout::padded,
                                         Layout::odd,        Layout::shared_batch, Layout::shared_head};

inline constexpr ScoreLayout all_score_layouts[] = {
    ScoreLayout::packed,           ScoreLayout::full,     ScoreLayout::by_head,   ScoreLayout::by_key,
    ScoreLayout::by_batch_and_key, ScoreLayout::by_query, ScoreLayout::transposed};
inline constexpr BiasType all_bias_types[] = {BiasType::of_query, BiasType::float16, BiasType::bfloat16,
                                              BiasType::float32};

struct AttentionCase {
  int64_t batch = 1, seqlen_q = 64, seqlen_kv = 64;
  int32_t heads_q = 2, heads_kv = 2;
  int32_t head_dim = 64, head_dim_v = 64;
  tools::Float16Type dtype = tools::Float16Type::float16;
  tools::ReferenceCausal causal = tools::ReferenceCausal::none;
  Layout layout = Layout::contiguous;
  LseRequest lse = LseRequest::natural;
  Garbage garbage = Garbage::none;
  float input_std = 1;
  float sink = 1;  // the first three keys times this: scores far above all others, met last by who walks down
  Scores scores = Scores::normal;
  float many = 1;  // of one_*: the mass of all other keys together, in units of the one's
  Values values = Values::around_0;
  Extreme extreme = Extreme::none;
  uint32_t seed = 0;                            // other inputs for the same case
  std::optional<float> scale;                   // nullopt: the library's default
  int64_t window_left = -1, window_right = -1;  // -1: open
  int64_t attention_chunk = 0;                  // 0: none
  float softcap = 0;                            // 0: none
  Alibi alibi = Alibi::none;
  std::optional<float> sinks;  // what the sinks of the heads lie around
  ScoreLayout bias = ScoreLayout::none;
  BiasType bias_type = BiasType::of_query;
  float bias_std = 1;
  ScoreLayout mask = ScoreLayout::none;
  Hidden hidden = Hidden::nothing;
  bool hidden_by_bias = false;    // by -infinity in it
  bool hidden_by_lowest = false;  // by the lowest finite number instead
  bool float32_output = false;    // in place of the inputs' type
  int32_t split_count = 0;
  int64_t split_tokens = 0;
  bool batch_invariant = false;
  int32_t multiprocessor_limit = 0;
  int64_t query_position = -1, key_position = 0;  // -1: none are given

  std::string describe() const;  // "fp16 b1 h4/2 sq65 sk193 d64 causal-br odd lse std3 scale0.5 later-values"
  double softmax_scale() const;
  // Are the fixed bounds of accuracy.hpp valid here: N(0,1), default scale, at least 512 keys in every row?
  bool fixed_bounds_apply() const;
  // Held to hard_gate instead of output_gate (accuracy.hpp).
  bool is_hard() const { return scores != Scores::normal || values != Values::around_0; }
  // Do rows add up enough keys for outputs that no 16-bit type holds?
  bool has_long_sums() const {
    return seqlen_q > 0 && seqlen_kv >= 17 && extreme == Extreme::none && hidden != Hidden::all;
  }
  bool has_window() const { return window_left >= 0 || window_right >= 0 || attention_chunk != 0; }
  bool has_score_tensors() const { return bias != ScoreLayout::none || mask != ScoreLayout::none; }
  bool changes_scores() const { return softcap != 0 || alibi != Alibi::none || sinks || has_score_tensors(); }
};

}  // namespace flashcore::tests
