// SPDX-License-Identifier: Apache-2.0
//
// The grid: one sweep per property, each around a plain case, and random combinations of all of them, drawn with a
// fixed seed. A property that broke a kernel somewhere once (here or elsewhere) has its sweep.
#include "kernels/attention_grid.hpp"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <random>
#include <string>

#include "kernels/feature_cases.hpp"
#include "kernels/random_cases.hpp"
#include "kernels/wide_cases.hpp"

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

constexpr ReferenceCausal both_causal[] = {ReferenceCausal::top_left, ReferenceCausal::bottom_right};

// Around every tile border, and pairs that are unequal both ways.
void add_lengths(Cases &cases) {
  for (int64_t length : {1, 63, 64, 65, 127, 128, 193, 513})
    for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right})
      for (Float16Type dtype : both_types)
        cases.push_back({.seqlen_q = length, .seqlen_kv = length, .dtype = dtype, .causal = causal});
  const int64_t pairs[][2] = {{1, 513},   {513, 1},  {65, 193}, {193, 65}, {113, 203},
                              {203, 113}, {64, 127}, {127, 64}, {3, 799}};
  for (const auto &pair : pairs)
    for (ReferenceCausal causal : all_masks)
      cases.push_back({.seqlen_q = pair[0], .seqlen_kv = pair[1], .causal = causal});
}

// Nothing to compute, or no key for some rows: zeros and -inf, never NaN.
void add_empty(Cases &cases) {
  for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right}) {
    cases.push_back({.seqlen_q = 64, .seqlen_kv = 0, .causal = causal});
    cases.push_back({.seqlen_q = 0, .seqlen_kv = 64, .causal = causal});
    cases.push_back({.seqlen_q = 0, .seqlen_kv = 0, .causal = causal});
    cases.push_back({.batch = 0, .causal = causal});
  }
  for (int64_t keys : {1, 7, 64, 100})  // the first 200 - keys queries see no key
    cases.push_back(
        {.seqlen_q = 200, .seqlen_kv = keys, .causal = ReferenceCausal::bottom_right, .layout = Layout::padded});
}

void add_head_dims(Cases &cases) {
  const int32_t dims[][2] = {{128, 128}, {32, 32},   {40, 40},   {72, 72},  {80, 80},  {96, 96}, {112, 112}, {160, 160},
                             {192, 192}, {256, 256}, {192, 128}, {128, 64}, {64, 128}, {17, 33}, {8, 8},     {1, 1}};
  for (const auto &dim : dims)
    for (Float16Type dtype : both_types)
      cases.push_back(
          {.seqlen_q = 97,
           .seqlen_kv = 130,
           .head_dim = dim[0],
           .head_dim_v = dim[1],
           .dtype = dtype,
           .causal = dtype == Float16Type::float16 ? ReferenceCausal::none : ReferenceCausal::bottom_right});
}

void add_layouts(Cases &cases) {
  for (Layout layout : all_layouts)
    for (int32_t dim : {64, 128, 40})
      for (Float16Type dtype : both_types)
        cases.push_back({.batch = 2,
                         .seqlen_q = 65,
                         .seqlen_kv = 130,
                         .heads_q = 4,
                         .heads_kv = 2,
                         .head_dim = dim,
                         .head_dim_v = dim,
                         .dtype = dtype,
                         .causal = ReferenceCausal::bottom_right,
                         .layout = layout});
}

void add_groups(Cases &cases) {
  const int32_t heads[][2] = {{8, 1}, {8, 2}, {6, 3}, {5, 1}, {32, 8}, {1, 1}};
  for (const auto &pair : heads)
    for (int64_t queries : {1, 4, 70})
      cases.push_back({.batch = 2,
                       .seqlen_q = queries,
                       .seqlen_kv = 130,
                       .heads_q = pair[0],
                       .heads_kv = pair[1],
                       .dtype = queries == 4 ? Float16Type::bfloat16 : Float16Type::float16,
                       .causal = ReferenceCausal::bottom_right});
}

// Few queries and many keys, one to several tiles of rows that share a key head; the number of keys around the steps of one warp, of a
// block's warps and of a cluster's.
void add_decode(Cases &cases) {
  const int32_t heads[][2] = {{8, 8}, {8, 2}, {32, 4}, {16, 1}},
                dims[][2] = {{128, 128}, {64, 64}, {256, 256}, {192, 128}, {72, 72}};
  size_t turn = 0;
  for (int64_t keys : {1, 15, 16, 17, 129, 1000, 4099})
    for (int64_t queries : {1, 2, 5})
      for (const auto &pair : heads) {
        const auto &dim = dims[turn % std::size(dims)];
        cases.push_back({.batch = 1 + keys % 2,
                         .seqlen_q = queries,
                         .seqlen_kv = keys,
                         .heads_q = pair[0],
                         .heads_kv = pair[1],
                         .head_dim = dim[0],
                         .head_dim_v = dim[1],
                         .dtype = both_types[turn / 2 % 2],
                         .causal = all_masks[turn % std::size(all_masks)],
                         .sink = turn % 7 == 0 ? 60.0f : 1.0f});
        ++turn;
      }
  for (Garbage garbage : {Garbage::later_keys, Garbage::later_values})
    for (Float16Type dtype : both_types)
      for (int64_t queries : {2, 5, 17})
        cases.push_back({.seqlen_q = queries,
                         .seqlen_kv = 333,
                         .heads_q = 8,
                         .heads_kv = 2,
                         .head_dim = 128,
                         .head_dim_v = 128,
                         .dtype = dtype,
                         .causal = ReferenceCausal::bottom_right,
                         .layout = Layout::bshd,
                         .garbage = garbage});
}

// Few rows with keys enough for all multiprocessors of a GPU: they are split over the grid there.
void add_split_keys(Cases &cases) {
  AttentionCase one = {.seqlen_q = 1, .seqlen_kv = 20000, .heads_q = 8, .heads_kv = 1, .layout = Layout::padded};
  cases.push_back(one);
  one.causal = ReferenceCausal::bottom_right, one.seqlen_kv = 9000, one.lse = LseRequest::base2;
  for (const int64_t queries : {5, 16, 300}) one.seqlen_q = queries, cases.push_back(one);
  one.garbage = Garbage::later_values, one.heads_q = 6, one.heads_kv = 2, one.dtype = Float16Type::bfloat16;
  cases.push_back(one);
}

void add_lse_requests(Cases &cases) {
  for (LseRequest lse : {LseRequest::none, LseRequest::natural, LseRequest::base2, LseRequest::padded})
    for (ReferenceCausal causal : all_masks)
      cases.push_back(
          {.batch = 2, .seqlen_q = 130, .seqlen_kv = 70, .heads_q = 3, .heads_kv = 3, .causal = causal, .lse = lse});
}

// Scores that grow by a little, by e^8 and by far more than a float16 probability holds, at the end of a walk down the keys.
void add_sinks(Cases &cases) {
  for (Float16Type dtype : both_types)
    for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right})
      for (int32_t dim : {64, 128})
        for (float sink : {2.0f, 8.0f, 60.0f})
          cases.push_back({.seqlen_q = 200,
                           .seqlen_kv = 410,
                           .head_dim = dim,
                           .head_dim_v = dim,
                           .dtype = dtype,
                           .causal = causal,
                           .sink = sink});
}

// Peaky rows, large and small logits; a scale of 0 makes -inf * 0 of a mask applied too early, a negative one turns the
// maximum into the minimum.
void add_scores(Cases &cases) {
  for (Float16Type dtype : both_types)
    for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right}) {
      for (float input_std : {3.0f, 0.05f})
        cases.push_back({.seqlen_q = 193, .seqlen_kv = 200, .dtype = dtype, .causal = causal, .input_std = input_std});
      for (float scale : {0.0f, -0.125f, 0.5f, 2.0f, 30.0f, 1e-6f})
        cases.push_back({.seqlen_q = 100, .seqlen_kv = 130, .dtype = dtype, .causal = causal, .scale = scale});
    }
}

void add_garbage(Cases &cases) {
  const int64_t pairs[][2] = {{100, 100}, {200, 230}, {64, 300}};
  for (const auto &pair : pairs)
    for (Garbage garbage : {Garbage::later_keys, Garbage::later_values})
      for (ReferenceCausal causal : both_causal)
        for (Float16Type dtype : both_types)
          cases.push_back({.seqlen_q = pair[0],
                           .seqlen_kv = pair[1],
                           .dtype = dtype,
                           .causal = causal,
                           .layout = Layout::bshd,
                           .garbage = garbage});
}

// The shapes that the fixed bounds of accuracy.hpp were set for.
void add_long_rows(Cases &cases) {
  for (int32_t dim : {64, 128})
    for (Float16Type dtype : both_types)
      cases.push_back({.seqlen_q = 512,
                       .seqlen_kv = 512,
                       .heads_q = 2,
                       .heads_kv = 2,
                       .head_dim = dim,
                       .head_dim_v = dim,
                       .dtype = dtype});
}

constexpr Scores all_hard_scores[] = {Scores::one_first, Scores::one_last, Scores::one_before_end, Scores::one_middle,
                                      Scores::sink,      Scores::diagonal, Scores::rising,         Scores::falling};

// One family after the other, at one length. The masses are such that no level of the many is a power of two of the one.
void add_hard_scores(Cases &cases, int64_t seqlen_q, int64_t seqlen_kv, std::initializer_list<Values> values) {
  size_t turn = 0;
  for (Float16Type dtype : both_types)
    for (Values around : values)
      for (Scores scores : all_hard_scores)
        for (float many : {0.3f, 1.0f, 2.9f}) {
          if (many != 1 && !is_one_against_many(scores)) continue;
          const int32_t dim = ++turn % 3 == 0 ? 128 : 64;
          cases.push_back({.seqlen_q = seqlen_q,
                           .seqlen_kv = seqlen_kv,
                           .heads_q = 1,
                           .heads_kv = 1,
                           .head_dim = dim,
                           .head_dim_v = dim,
                           .dtype = dtype,
                           .scores = scores,
                           .many = many,
                           .values = around});
        }
}
void add_hard(Cases &cases) {
  add_hard_scores(cases, 160, 512, {Values::around_0, Values::around_8, Values::narrow});
  for (Float16Type dtype : both_types) {
    // Standard deviation 4 of the scores; all lengths that few rows meet; a head that is as wide as any.
    cases.push_back({.seqlen_q = 160, .seqlen_kv = 1000, .dtype = dtype, .input_std = 2, .values = Values::around_8});
    cases.push_back({.seqlen_q = 3,
                     .seqlen_kv = 2000,
                     .heads_q = 8,
                     .heads_kv = 2,
                     .head_dim = 128,
                     .head_dim_v = 128,
                     .dtype = dtype,
                     .scores = Scores::one_middle});
    cases.push_back({.seqlen_q = 1,
                     .seqlen_kv = 5000,
                     .heads_q = 8,
                     .heads_kv = 1,
                     .dtype = dtype,
                     .scores = Scores::one_last,
                     .many = 2.9f});
    for (Scores scores : {Scores::one_first, Scores::falling, Scores::diagonal})
      cases.push_back({.seqlen_q = 130,
                       .seqlen_kv = 700,
                       .heads_q = 1,
                       .heads_kv = 1,
                       .head_dim = 256,
                       .head_dim_v = 256,
                       .dtype = dtype,
                       .scores = scores});
    cases.push_back({.seqlen_q = 300,
                     .seqlen_kv = 700,
                     .dtype = dtype,
                     .causal = ReferenceCausal::bottom_right,
                     .scores = Scores::sink,
                     .values = Values::around_8});
  }
}
// Where the many are so many that each is far below the one.
void add_long_hard(Cases &cases) {
  add_hard_scores(cases, 160, 4096, {Values::around_0, Values::around_8});
  add_hard_scores(cases, 64, 32768, {Values::narrow});
  for (Float16Type dtype : both_types) {
    for (Scores scores : {Scores::one_last, Scores::one_before_end, Scores::rising})
      for (Values values : {Values::narrow, Values::around_0})
        cases.push_back({.seqlen_q = 64,
                         .seqlen_kv = 262144,
                         .heads_q = 1,
                         .heads_kv = 1,
                         .dtype = dtype,
                         .scores = scores,
                         .values = values});
    // With masked tiles before the long walk, in the widest head, and with scores that have rows of float16 computed again.
    cases.push_back({.seqlen_q = 130,
                     .seqlen_kv = 32768,
                     .heads_q = 1,
                     .heads_kv = 1,
                     .head_dim = 128,
                     .head_dim_v = 128,
                     .dtype = dtype,
                     .causal = ReferenceCausal::bottom_right,
                     .values = Values::narrow});
    cases.push_back({.seqlen_q = 64,
                     .seqlen_kv = 20000,
                     .heads_q = 1,
                     .heads_kv = 1,
                     .head_dim = 256,
                     .head_dim_v = 256,
                     .dtype = dtype,
                     .values = Values::narrow});
    cases.push_back({.seqlen_q = 64,
                     .seqlen_kv = 20000,
                     .heads_q = 1,
                     .heads_kv = 1,
                     .dtype = dtype,
                     .input_std = 3,
                     .values = Values::narrow});
    cases.push_back(
        {.seqlen_q = 3, .seqlen_kv = 131072, .heads_q = 8, .heads_kv = 1, .dtype = dtype, .values = Values::narrow});
  }
}

// One key, a tile of them, several; masked or not; what tiles of 64 columns and others make of them.
void add_extremes(Cases &cases) {
  const Extreme all[] = {Extreme::minus_infinity_first,
                         Extreme::minus_infinity_last,
                         Extreme::minus_infinity_but_one,
                         Extreme::minus_infinity,
                         Extreme::overflow,
                         Extreme::not_a_number,
                         Extreme::large,
                         Extreme::two_large};
  for (Extreme extreme : all)
    for (Float16Type dtype : both_types) {
      if (extreme == Extreme::overflow && dtype == Float16Type::float16) continue;
      const int64_t lengths[][2] = {{1, 1}, {64, 64}, {64, 65}, {100, 333}, {1, 300}};
      size_t turn = 0;
      for (const auto &length : lengths)
        for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right}) {
          if (extreme == Extreme::overflow && causal != ReferenceCausal::none)
            continue;  // float64 does not overflow: no row without others
          const int32_t dim = ++turn % 3 == 0 ? 128 : 64;
          cases.push_back({.seqlen_q = length[0],
                           .seqlen_kv = length[1],
                           .head_dim = dim,
                           .head_dim_v = dim,
                           .dtype = dtype,
                           .causal = causal,
                           .extreme = extreme});
        }
      cases.push_back({.seqlen_q = 2,
                       .seqlen_kv = 65,
                       .heads_q = 1,
                       .heads_kv = 1,
                       .head_dim = 1,
                       .head_dim_v = 1,
                       .dtype = dtype,
                       .extreme = extreme});
    }
  for (Float16Type dtype : both_types)
    for (float scale : {1e8f, -1e8f, 2.4e38f, 3.4e38f, 1e-40f}) {
      cases.push_back({.seqlen_q = 70, .seqlen_kv = 200, .dtype = dtype, .scale = scale});
      cases.push_back({.seqlen_q = 70, .seqlen_kv = 200, .dtype = dtype, .extreme = Extreme::large, .scale = scale});
      cases.push_back({.seqlen_q = 1, .seqlen_kv = 1, .dtype = dtype, .extreme = Extreme::large, .scale = scale});
      cases.push_back({.seqlen_q = 2,
                       .seqlen_kv = 200,
                       .heads_q = 8,
                       .heads_kv = 2,
                       .dtype = dtype,
                       .extreme = Extreme::large,
                       .scale = scale});
    }
}

// A taste of every sweep, small enough for memcheck and racecheck.
Cases reduced_grid() {
  Cases cases;
  const auto bottom_right = ReferenceCausal::bottom_right;
  for (Float16Type dtype : both_types) {
    cases.push_back({.seqlen_q = 64, .seqlen_kv = 64, .dtype = dtype});
    cases.push_back({.seqlen_q = 65, .seqlen_kv = 129, .dtype = dtype, .causal = bottom_right});
    cases.push_back({.seqlen_q = 33,
                     .seqlen_kv = 65,
                     .head_dim = 128,
                     .head_dim_v = 128,
                     .dtype = dtype,
                     .causal = ReferenceCausal::top_left});
    cases.push_back({.batch = 2,
                     .seqlen_q = 1,
                     .seqlen_kv = 70,
                     .heads_q = 4,
                     .heads_kv = 1,
                     .dtype = dtype,
                     .lse = LseRequest::base2});
    cases.push_back({.seqlen_q = 70,
                     .seqlen_kv = 90,
                     .dtype = dtype,
                     .causal = bottom_right,
                     .layout = Layout::bshd,
                     .garbage = Garbage::later_values});
  }
  for (Layout layout : all_layouts)
    cases.push_back({.batch = 2,
                     .seqlen_q = 17,
                     .seqlen_kv = 40,
                     .heads_q = 4,
                     .heads_kv = 2,
                     .causal = bottom_right,
                     .layout = layout});
  cases.push_back({.seqlen_q = 1, .seqlen_kv = 1, .heads_q = 1, .heads_kv = 1});
  cases.push_back({.seqlen_q = 2,
                   .seqlen_kv = 300,
                   .heads_q = 8,
                   .heads_kv = 2,
                   .head_dim = 256,
                   .head_dim_v = 256,
                   .causal = bottom_right});
  cases.push_back({.seqlen_q = 3,
                   .seqlen_kv = 200,
                   .heads_q = 8,
                   .heads_kv = 2,
                   .head_dim = 128,
                   .head_dim_v = 128,
                   .causal = bottom_right,
                   .layout = Layout::bshd,
                   .garbage = Garbage::later_values});
  cases.push_back({.seqlen_q = 40, .seqlen_kv = 0});
  cases.push_back({.seqlen_q = 0, .seqlen_kv = 40});
  cases.push_back({.seqlen_q = 70, .seqlen_kv = 20, .causal = bottom_right, .lse = LseRequest::padded});
  cases.push_back({.seqlen_q = 40, .seqlen_kv = 70, .head_dim = 40, .head_dim_v = 40, .causal = bottom_right});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 65, .causal = bottom_right, .garbage = Garbage::later_keys});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 65, .input_std = 3});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 200, .sink = 60});
  for (float scale : {0.0f, -0.125f})
    cases.push_back({.seqlen_q = 65, .seqlen_kv = 65, .causal = bottom_right, .scale = scale});
  for (Scores scores : {Scores::one_first, Scores::falling, Scores::diagonal})
    cases.push_back(
        {.seqlen_q = 65, .seqlen_kv = 330, .heads_q = 1, .heads_kv = 1, .scores = scores, .values = Values::around_8});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 200, .extreme = Extreme::minus_infinity_last});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 200, .extreme = Extreme::large});
  add_few_score_tensors(cases);
  add_few_float32_outputs(cases);
  add_few_calls(cases);
  add_few_wide_heads(cases);
  add_random_features(cases, 24, 140, ScoreFeatures::all_or_none);
  return cases;
}

}  // namespace

GridSize grid_size_from_environment() { return grid_size_from_environment("FLASHCORE_TEST_GRID", "short"); }

GridSize grid_size_from_environment(const char *variable, const char *otherwise) {
  const char *value = std::getenv(variable);
  const std::string name = value == nullptr ? otherwise : value;
  if (name == "short") return GridSize::short_grid;
  if (name == "full") return GridSize::full;
  if (name == "reduced") return GridSize::reduced;
  std::fprintf(stderr, "%s is \"%s\"; allowed: short, full, reduced\n", variable, name.c_str());
  std::exit(EXIT_FAILURE);
}

std::vector<AttentionCase> attention_grid(GridSize size) {
  Cases cases;
  if (size == GridSize::reduced) {
    cases = reduced_grid();
  } else {
    for (const auto add : {add_lengths, add_empty, add_head_dims, add_layouts, add_groups, add_decode, add_split_keys,
                           add_lse_requests, add_scores, add_sinks, add_garbage, add_long_rows, add_hard, add_extremes,
                           add_feature_sweeps, add_wide_heads})
      add(cases);
    const bool full = size == GridSize::full;
    if (full) add_long_hard(cases);
    add_random(cases, full ? 600 : 60, full ? 1025 : 385);
    add_random_features(cases, full ? 600 : 60, full ? 1025 : 385, ScoreFeatures::any);
  }
  if (const char *part = std::getenv("FLASHCORE_TEST_CASE"))
    std::erase_if(cases, [part](const AttentionCase &one) { return one.describe().find(part) == std::string::npos; });
  return cases;
}

}  // namespace flashcore::tests
