// SPDX-License-Identifier: Apache-2.0
//
// Cases of heads above 256 columns, and of latent attention, whose values are the first columns of its one key head.
#include "kernels/wide_cases.hpp"

#include <iterator>

namespace flashcore::tests {

using tools::Float16Type;
using tools::ReferenceCausal;

namespace {

constexpr ReferenceCausal no_mask = ReferenceCausal::none, bottom_right = ReferenceCausal::bottom_right;

// 576 columns of a key of which 512 are its value, as many query heads as models have.
void add_latent(Cases &cases) {
  for (int32_t heads : {16, 40, 128})
    for (int64_t queries : {1, 3})
      for (int64_t keys : {1, 65, 600})
        cases.push_back({.batch = 1 + keys % 2,
                         .seqlen_q = queries,
                         .seqlen_kv = keys,
                         .heads_q = heads,
                         .heads_kv = 1,
                         .head_dim = 576,
                         .head_dim_v = 512,
                         .dtype = both_types[cases.size() % 2],
                         .causal = bottom_right,
                         .layout = keys == 600 ? Layout::latent : Layout::bshd});
}

}  // namespace

void add_wide_heads(Cases &cases) {
  const int32_t dims[][2] = {{512, 512}, {264, 264}, {320, 256}, {384, 384},
                             {64, 512},  {512, 64},  {576, 512}, {504, 488}};
  const int64_t lengths[][2] = {{1, 1}, {1, 300}, {5, 130}, {64, 64}, {113, 203}, {203, 113}, {2, 1000}};
  const int32_t heads[][2] = {{2, 2}, {8, 2}, {5, 1}};
  const Layout layouts[] = {Layout::contiguous, Layout::padded, Layout::odd, Layout::bhsd};
  for (const auto &dim : dims)
    for (const auto &length : lengths) {
      const size_t turn = cases.size();
      const auto &of = heads[turn % std::size(heads)];
      cases.push_back({.batch = length[0] == 1 ? 2 : 1,
                       .seqlen_q = length[0],
                       .seqlen_kv = length[1],
                       .heads_q = of[0],
                       .heads_kv = of[1],
                       .head_dim = dim[0],
                       .head_dim_v = dim[1],
                       .dtype = both_types[turn % 2],
                       .causal = all_masks[turn % std::size(all_masks)],
                       .layout = layouts[turn % std::size(layouts)],
                       .lse = turn % 5 == 0 ? LseRequest::base2 : LseRequest::natural,
                       .sink = turn % 7 == 0 ? 60.0f : 1.0f});
    }
  add_latent(cases);
  AttentionCase one = {
      .seqlen_q = 70, .seqlen_kv = 333, .heads_q = 4, .heads_kv = 2, .head_dim = 512, .head_dim_v = 512};
  one.causal = bottom_right;
  for (Garbage garbage : {Garbage::later_keys, Garbage::later_values})
    for (Float16Type dtype : both_types)
      cases.push_back(one), cases.back().garbage = garbage, cases.back().dtype = dtype;
  for (Float16Type dtype : both_types) {
    one.dtype = dtype, one.causal = no_mask;
    for (Scores scores : {Scores::one_first, Scores::falling, Scores::diagonal, Scores::rising})
      cases.push_back(one), cases.back().scores = scores, cases.back().values = Values::around_8;
    for (Extreme extreme : {Extreme::minus_infinity_last, Extreme::minus_infinity, Extreme::not_a_number,
                            Extreme::minus_infinity_but_one})
      cases.push_back(one), cases.back().extreme = extreme;
    cases.push_back(one), cases.back().scale = -0.05f;
    cases.push_back(one), cases.back().seqlen_kv = 0;
    cases.push_back(one), cases.back().seqlen_q = 3, cases.back().seqlen_kv = 9000,
                          cases.back().values = Values::narrow;
    // All features together, and one that windows alone meet.
    one.causal = bottom_right;
    AttentionCase all = one;
    all.window_left = 100, all.softcap = 20, all.alibi = Alibi::by_head, all.sinks = 1.0f;
    all.bias = ScoreLayout::full, all.mask = ScoreLayout::by_key, all.hidden = Hidden::some;
    all.garbage = Garbage::middle_values;
    cases.push_back(all);
    cases.push_back(one), cases.back().window_left = 50, cases.back().garbage = Garbage::earlier_values;
    cases.push_back(one), cases.back().attention_chunk = 48;
    cases.push_back(one), cases.back().softcap = 30, cases.back().sinks = 2.0f;
  }
}

void add_few_wide_heads(Cases &cases) {
  cases.push_back({.batch = 2,
                   .seqlen_q = 1,
                   .seqlen_kv = 130,
                   .heads_q = 20,
                   .heads_kv = 1,
                   .head_dim = 576,
                   .head_dim_v = 512,
                   .dtype = Float16Type::bfloat16,
                   .layout = Layout::latent});
  cases.push_back({.seqlen_q = 70,
                   .seqlen_kv = 100,
                   .heads_q = 1,
                   .heads_kv = 1,
                   .head_dim = 512,
                   .head_dim_v = 512,
                   .causal = bottom_right,
                   .garbage = Garbage::later_values});
  cases.push_back({.seqlen_q = 5,
                   .seqlen_kv = 70,
                   .heads_q = 4,
                   .heads_kv = 2,
                   .head_dim = 320,
                   .head_dim_v = 264,
                   .causal = ReferenceCausal::top_left,
                   .sink = 60});
}

}  // namespace flashcore::tests
