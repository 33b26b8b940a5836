// SPDX-License-Identifier: Apache-2.0
//
// Cases with windows, chunks, capped scores, ALiBi, sinks, biases and mask tensors: a sweep for each, and random combinations of all.
#include "kernels/feature_cases.hpp"

#include <iterator>

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

constexpr ReferenceCausal no_mask = ReferenceCausal::none, bottom_right = ReferenceCausal::bottom_right;

template <typename T, size_t count>
T pick(std::mt19937 &generator, const T (&choices)[count]) {
  return choices[generator() % count];
}

// Narrower than a tile and wider, on either side or both, with more queries and with more keys; some see nothing.
void add_windows(Cases &cases) {
  const int64_t lengths[][2] = {{65, 193}, {193, 65}, {200, 333}, {1, 513}, {3, 799}, {513, 513}},
                windows[][2] = {{0, 0}, {31, 8}, {100, -1}, {-1, 20}, {300, 5}};
  for (const auto &length : lengths)
    for (const auto &window : windows)
      for (ReferenceCausal causal : all_masks) {
        if (window[1] >= 0 && causal == bottom_right) continue;
        cases.push_back({.seqlen_q = length[0],
                         .seqlen_kv = length[1],
                         .heads_q = 4,
                         .dtype = both_types[cases.size() % 2],
                         .causal = causal,
                         .window_left = window[0],
                         .window_right = window[1]});
      }
  // Blocks of queries that see whole tiles between those that begin and end a window.
  for (Float16Type dtype : both_types)
    cases.push_back({.seqlen_q = 400, .seqlen_kv = 900, .dtype = dtype, .causal = bottom_right, .window_left = 450});
}

void add_chunks(Cases &cases) {
  const int64_t lengths[][2] = {{65, 193}, {193, 65}, {300, 300}, {1, 300}, {5, 301}};
  for (const auto &length : lengths)
    for (int64_t chunk : {1, 16, 100, 256})
      for (ReferenceCausal causal : {no_mask, bottom_right})
        cases.push_back({.seqlen_q = length[0],
                         .seqlen_kv = length[1],
                         .dtype = both_types[cases.size() % 2],
                         .causal = causal,
                         .attention_chunk = chunk});
  cases.push_back({.seqlen_q = 200, .seqlen_kv = 260, .window_left = 40, .window_right = 30, .attention_chunk = 64});
}

// Outputs of float32 in every layout, width and shape of work, and with what ends a row otherwise.
void add_float32_outputs(Cases &cases) {
  for (Layout layout : all_layouts)
    for (int32_t columns : {64, 40, 128, 256, 33})
      cases.push_back({.batch = 2,
                       .seqlen_q = 33,
                       .seqlen_kv = 150,
                       .heads_q = 4,
                       .head_dim = columns,
                       .head_dim_v = columns,
                       .dtype = both_types[cases.size() % 2],
                       .causal = all_masks[cases.size() % 3],
                       .layout = layout,
                       .float32_output = true});
  for (int64_t queries : {1, 4, 300})
    for (int32_t columns : {64, 128})
      for (Float16Type dtype : both_types)
        cases.push_back({.seqlen_q = queries,
                         .seqlen_kv = 700,
                         .heads_q = 8,
                         .heads_kv = 2,
                         .head_dim = columns,
                         .head_dim_v = columns,
                         .dtype = dtype,
                         .causal = bottom_right,
                         .garbage = Garbage::later_values,
                         .float32_output = true});
  for (int64_t keys : {0, 20, 300})
    cases.push_back({.seqlen_q = 70, .seqlen_kv = keys, .causal = bottom_right, .sinks = 1.0f, .float32_output = true});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 200, .extreme = Extreme::minus_infinity_last, .float32_output = true});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 200, .window_left = 40, .float32_output = true});
}

// Keys in pieces, of which some rows see none; so many that there are fewer, and so long that there is one.
void add_pieces(Cases &cases) {
  const int64_t lengths[][2] = {{1, 1}, {1, 700}, {3, 513}, {70, 300}, {40, 20}, {2, 0}, {1, 5000}};
  for (const auto &length : lengths)
    for (int32_t columns : {64, 128})
      for (ReferenceCausal causal : {no_mask, bottom_right}) {
        const AttentionCase one = {.batch = 2,
                                   .seqlen_q = length[0],
                                   .seqlen_kv = length[1],
                                   .heads_q = 4,
                                   .head_dim = columns,
                                   .head_dim_v = columns,
                                   .dtype = both_types[cases.size() % 2],
                                   .causal = causal};
        for (int32_t count : {1, 2, 5, 1000}) cases.push_back(one), cases.back().split_count = count;
        for (int64_t tokens : {int64_t{48}, int64_t{128}, int64_t{333}, int64_t{1} << 40})
          cases.push_back(one), cases.back().split_tokens = tokens;
        cases.push_back(one), cases.back().batch_invariant = true;
      }
  for (float softcap : {0.0f, 20.0f})
    cases.push_back({.seqlen_q = 3,
                     .seqlen_kv = 300,
                     .heads_q = 8,
                     .causal = bottom_right,
                     .garbage = Garbage::later_values,
                     .softcap = softcap,
                     .sinks = 1.0f,
                     .float32_output = true,
                     .split_tokens = 64});
  for (Extreme extreme : {Extreme::minus_infinity_first, Extreme::not_a_number, Extreme::two_large})
    cases.push_back({.seqlen_q = 4, .seqlen_kv = 300, .heads_q = 8, .extreme = extreme, .split_tokens = 100});
  cases.push_back({.seqlen_q = 4, .seqlen_kv = 300, .heads_q = 8, .window_left = 90, .batch_invariant = true});
  cases.push_back({.seqlen_q = 4, .seqlen_kv = 300, .heads_q = 8, .window_left = 90, .split_tokens = 100});
}

// Keys that are a shard: all of them before the queries, around them, or behind.
void add_positions(Cases &cases) {
  const int64_t lengths[][2] = {{70, 150}, {1, 300}, {200, 90}},
                places[][2] = {{0, 0},    {500, 0},    {500, 450}, {60, 17},
                               {30, 200}, {1000, 930}, {5, 300},   {0x7fffff00, 0x7ffffe90}};
  for (const auto &length : lengths)
    for (const auto &place : places)
      for (int32_t kind = 0; kind < 5; kind++) {
        AttentionCase one = {.seqlen_q = length[0],
                             .seqlen_kv = length[1],
                             .heads_q = 4,
                             .dtype = both_types[cases.size() % 2],
                             .causal = kind == 4 ? no_mask : bottom_right,
                             .query_position = place[0],
                             .key_position = place[1]};
        if (kind == 1) one.window_left = 37;
        if (kind == 2) one.attention_chunk = 64;
        if (kind == 3) one.alibi = Alibi::by_head, one.sinks = 0.5f;
        if (kind == 4) one.window_left = 20, one.window_right = 31;
        cases.push_back(one);
      }
}

// Blocks that stay take one tile after another.
void add_limits(Cases &cases) {
  for (int32_t limit : {1, 7, 60, 100000})
    for (int64_t queries : {1, 300})
      for (int32_t columns : {64, 128})
        cases.push_back({.batch = 2,
                         .seqlen_q = queries,
                         .seqlen_kv = 700,
                         .heads_q = 8,
                         .heads_kv = 2,
                         .head_dim = columns,
                         .head_dim_v = columns,
                         .dtype = both_types[columns / 128],
                         .causal = bottom_right,
                         .garbage = Garbage::later_values,
                         .multiprocessor_limit = limit});
  cases.push_back({.seqlen_q = 200, .seqlen_kv = 300, .float32_output = true, .multiprocessor_limit = 3});
}

// Scores far below the cap, around it and far above.
void add_softcaps(Cases &cases) {
  for (Float16Type dtype : both_types)
    for (float input_std : {1.0f, 4.0f})
      for (float softcap : {0.5f, 30.0f, 1e4f})
        cases.push_back({.seqlen_q = 100,
                         .seqlen_kv = 200,
                         .dtype = dtype,
                         .causal = softcap == 30 ? bottom_right : no_mask,
                         .input_std = input_std,
                         .softcap = softcap});
  cases.push_back({.seqlen_q = 70, .seqlen_kv = 130, .input_std = 3, .scale = -0.2f, .softcap = 5});
}

void add_alibi(Cases &cases) {
  for (Alibi alibi : {Alibi::by_head, Alibi::by_batch_and_head})
    for (ReferenceCausal causal : all_masks)
      for (int64_t queries : {1, 193})
        cases.push_back({.batch = 2,
                         .seqlen_q = queries,
                         .seqlen_kv = 260,
                         .heads_q = 4,
                         .heads_kv = 2,
                         .dtype = both_types[cases.size() % 2],
                         .causal = causal,
                         .alibi = alibi});
}

// Sinks that outweigh a row, that count as much and that do not count; rows that see nothing else; no keys at all.
void add_feature_sinks(Cases &cases) {
  for (float sinks : {-200.0f, 0.0f, 6.0f, 300.0f})
    for (int64_t queries : {2, 193})
      for (Layout layout : {Layout::contiguous, Layout::padded})
        cases.push_back({.batch = 2,
                         .seqlen_q = queries,
                         .seqlen_kv = 130,
                         .heads_q = 4,
                         .heads_kv = 2,
                         .dtype = both_types[cases.size() % 2],
                         .causal = bottom_right,
                         .layout = layout,
                         .lse = queries == 2 ? LseRequest::base2 : LseRequest::natural,
                         .sinks = sinks});
  cases.push_back({.seqlen_q = 40, .seqlen_kv = 0, .sinks = 1});
  cases.push_back({.seqlen_q = 65, .seqlen_kv = 130, .extreme = Extreme::minus_infinity, .sinks = 1});
}

// NaN and infinities ahead of the windows and behind them.
void add_unseen(Cases &cases) {
  for (Garbage garbage : {Garbage::later_keys, Garbage::later_values, Garbage::earlier_keys, Garbage::earlier_values})
    for (int64_t queries : {3, 200})
      for (Float16Type dtype : both_types) {
        AttentionCase one = {.seqlen_q = queries,
                             .seqlen_kv = 333,
                             .heads_q = 4,
                             .heads_kv = 2,
                             .dtype = dtype,
                             .causal = bottom_right,
                             .layout = Layout::bshd,
                             .garbage = garbage};
        for (int64_t left : {20, 150}) cases.push_back(one), cases.back().window_left = left;
        cases.push_back(one), cases.back().attention_chunk = 64;
        one.causal = no_mask;
        cases.push_back(one), cases.back().window_left = 30, cases.back().window_right = 10;
      }
}

// Every layout and type, with lengths that no tile and no pair of keys divides, and of one query.
void add_biases(Cases &cases) {
  for (ScoreLayout layout : all_score_layouts)
    for (BiasType type : all_bias_types)
      for (int64_t queries : {1, 5, 97})
        cases.push_back({.batch = 2,
                         .seqlen_q = queries,
                         .seqlen_kv = queries == 5 ? 260 : 203,
                         .heads_q = 4,
                         .heads_kv = 2,
                         .dtype = both_types[cases.size() % 2],
                         .causal = all_masks[cases.size() % 3],
                         .layout = cases.size() % 4 == 3 ? Layout::odd : Layout::contiguous,
                         .bias = layout,
                         .bias_type = type,
                         .bias_std = cases.size() % 5 == 4 ? 30.0f : 2.0f});
}

// By masks and by biases, of keys between which values are not finite.
void add_hidden(Cases &cases) {
  const ScoreLayout layouts[] = {ScoreLayout::full, ScoreLayout::packed, ScoreLayout::transposed};
  for (Hidden hidden : {Hidden::some, Hidden::most, Hidden::all, Hidden::last_keys, Hidden::first_keys,
                        Hidden::other_documents, Hidden::rows})
    for (int64_t queries : {3, 200})
      for (const int way : {0, 1, 2, 3}) {
        AttentionCase one = {.batch = 2,
                             .seqlen_q = queries,
                             .seqlen_kv = 411,
                             .heads_q = 4,
                             .heads_kv = 2,
                             .dtype = both_types[cases.size() % 2],
                             .causal = cases.size() % 3 == 0 ? bottom_right : no_mask,
                             .layout = cases.size() % 5 == 4 ? Layout::odd : Layout::bshd,
                             .hidden = hidden};
        const bool by_key = hidden == Hidden::last_keys || hidden == Hidden::first_keys;
        const ScoreLayout layout = by_key ? ScoreLayout::by_batch_and_key : layouts[cases.size() % 3];
        if (way == 0 || way == 3) one.mask = layout;
        if (way != 0)
          one.bias = layout, one.bias_type = all_bias_types[cases.size() / 2 % 4], one.hidden_by_bias = way < 3;
        one.hidden_by_lowest = way == 2;
        if (way != 2) one.garbage = cases.size() % 2 == 0 ? Garbage::middle_values : Garbage::middle_keys;
        if (by_key && hidden == Hidden::last_keys) one.garbage = Garbage::none;  // all queries see the middle
        if (way == 3 && queries == 3) one.sinks = 1;
        cases.push_back(one);
      }
  cases.push_back({.seqlen_q = 40, .seqlen_kv = 0, .bias = ScoreLayout::full, .mask = ScoreLayout::full});
}

}  // namespace

void add_feature_sweeps(Cases &cases) {
  for (const auto add : {add_windows, add_chunks, add_softcaps, add_alibi, add_feature_sinks, add_unseen, add_biases,
                         add_hidden, add_float32_outputs, add_pieces, add_positions, add_limits})
    add(cases);
}

void add_few_float32_outputs(Cases &cases) {
  for (Float16Type dtype : both_types)
    for (ReferenceCausal causal : {no_mask, bottom_right})
      for (Layout layout : {Layout::contiguous, Layout::padded, Layout::odd})
        cases.push_back({.seqlen_q = cases.size() % 2 == 0 ? 3 : 70,
                         .seqlen_kv = 203,
                         .heads_q = 4,
                         .dtype = dtype,
                         .causal = causal,
                         .layout = layout,
                         .garbage = causal == no_mask ? Garbage::none : Garbage::later_values,
                         .float32_output = true});
  cases.push_back({.seqlen_q = 70, .seqlen_kv = 20, .causal = bottom_right, .float32_output = true});
}

void add_few_calls(Cases &cases) {
  const AttentionCase one = {.seqlen_q = 3, .seqlen_kv = 411, .heads_q = 4, .causal = bottom_right};
  for (int64_t tokens : {int64_t{48}, int64_t{256}})
    cases.push_back(one), cases.back().split_tokens = tokens, cases.back().garbage = Garbage::later_values;
  cases.push_back(one), cases.back().split_count = 3, cases.back().dtype = Float16Type::bfloat16;
  cases.push_back(one), cases.back().batch_invariant = true;
  cases.push_back(one), cases.back().batch_invariant = true, cases.back().seqlen_q = 150;
  AttentionCase shard = {.seqlen_q = 70, .seqlen_kv = 203, .causal = bottom_right};
  const int64_t places[][2] = {{150, 40}, {40, 0}, {10, 60}};
  for (const auto &place : places) {
    shard.query_position = place[0], shard.key_position = place[1];
    cases.push_back(shard);
    cases.push_back(shard), cases.back().window_left = 45;
    cases.push_back(shard), cases.back().attention_chunk = 48;
  }
  for (int64_t queries : {3, 200})
    cases.push_back({.batch = 2,
                     .seqlen_q = queries,
                     .seqlen_kv = 203,
                     .heads_q = 4,
                     .causal = bottom_right,
                     .garbage = Garbage::later_values,
                     .multiprocessor_limit = 2});
}

void add_few_score_tensors(Cases &cases) {
  AttentionCase one = {.batch = 2, .seqlen_q = 70, .seqlen_kv = 203, .heads_q = 4, .heads_kv = 2};
  for (BiasType type : all_bias_types) {
    one.bias_type = type, one.bias = all_score_layouts[cases.size() % std::size(all_score_layouts)];
    one.bias_std = type == BiasType::float32 ? 30 : 2;
    cases.push_back(one);
  }
  // Rows that see nothing but through the lowest of all numbers, so that references are as low; and hidden by -infinity.
  one.seqlen_kv = 411, one.bias = ScoreLayout::full, one.hidden_by_bias = true;
  for (Hidden hidden : {Hidden::last_keys, Hidden::rows}) {
    one.hidden = hidden, one.hidden_by_lowest = true, one.garbage = Garbage::none;
    cases.push_back(one);
    one.hidden_by_lowest = false, one.garbage = hidden == Hidden::rows ? Garbage::middle_values : Garbage::none;
    cases.push_back(one);
  }
  one = {.batch = 2, .seqlen_q = 70, .seqlen_kv = 411, .heads_q = 4, .heads_kv = 2, .mask = ScoreLayout::full};
  for (Hidden hidden : {Hidden::some, Hidden::other_documents, Hidden::rows, Hidden::all, Hidden::first_keys})
    for (ReferenceCausal causal : {no_mask, bottom_right}) {
      one.hidden = hidden, one.causal = causal;
      one.mask = all_score_layouts[cases.size() % 2];
      one.layout = cases.size() % 3 == 0 ? Layout::odd : Layout::bshd;
      if (one.layout == Layout::odd) one.mask = ScoreLayout::full;
      one.garbage = cases.size() % 2 == 0 ? Garbage::middle_values : Garbage::middle_keys;
      if (hidden == Hidden::first_keys) one.mask = ScoreLayout::by_batch_and_key;
      cases.push_back(one);
    }
  one = {.seqlen_q = 3,
         .seqlen_kv = 411,
         .heads_q = 8,
         .heads_kv = 2,
         .head_dim = 128,
         .head_dim_v = 128,
         .causal = bottom_right,
         .layout = Layout::bshd,
         .garbage = Garbage::middle_values,
         .bias = ScoreLayout::by_head,
         .bias_type = BiasType::float32,
         .mask = ScoreLayout::full,
         .hidden = Hidden::some};
  cases.push_back(one);
  one.seqlen_q = 150, one.heads_q = 2, cases.push_back(one);
}

void add_features(std::mt19937 &generator, ScoreFeatures features, AttentionCase &one) {
  if (one.head_dim != 128) one.head_dim = one.head_dim_v = 64;
  one.garbage = Garbage::none;
  const int64_t widths[] = {0, 5, 40, 64, 130, 200};
  switch (generator() % 5) {
    case 0:
      one.window_left = pick(generator, widths);
      break;
    case 1:
      one.window_left = pick(generator, widths);
      one.window_right = pick(generator, widths);
      break;
    case 2:
      one.window_right = pick(generator, widths);
      break;
    case 3:
      one.attention_chunk = 1 + pick(generator, widths);
      if (generator() % 4 == 0) one.window_left = pick(generator, widths);
      break;
    default:
      break;
  }
  const bool all = features == ScoreFeatures::all_or_none && generator() % 2 == 0;
  const auto wanted = [&] { return features == ScoreFeatures::any ? generator() % 2 == 0 : all; };
  const float caps[] = {1, 20, 50};
  if (wanted()) one.softcap = pick(generator, caps);
  if (wanted()) one.alibi = generator() % 2 == 0 ? Alibi::by_head : Alibi::by_batch_and_head;
  if (wanted()) one.sinks = static_cast<float>(generator() % 7) - 3;
  if (wanted()) one.bias = pick(generator, all_score_layouts), one.bias_type = pick(generator, all_bias_types);
  if (wanted()) {
    const Hidden kinds[] = {Hidden::some, Hidden::most, Hidden::last_keys, Hidden::other_documents};
    one.mask = pick(generator, all_score_layouts), one.hidden = pick(generator, kinds);
    one.hidden_by_bias = one.bias != ScoreLayout::none && generator() % 2 == 0;
  }
  // Where nothing hides a key, all rows see what was planted.
  if (one.has_window() && one.seqlen_kv >= 17) one.garbage = static_cast<Garbage>(generator() % 5);
}

}  // namespace flashcore::tests
