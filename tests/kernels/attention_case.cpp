// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_case.hpp"

#include <cmath>
#include <sstream>

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

const char *word(ReferenceCausal causal) {
  return causal == ReferenceCausal::none ? "full" : causal == ReferenceCausal::top_left ? "top-left" : "bottom-right";
}
const char *word(Layout layout) {
  const char *words[] = {"contiguous", "bshd", "bhsd", "padded", "odd", "shared-batch", "shared-head", "latent"};
  return words[static_cast<int>(layout)];
}
const char *word(LseRequest lse) {
  const char *words[] = {"no-lse", "lse", "lse2", "padded-lse"};
  return words[static_cast<int>(lse)];
}

const char *word(Scores scores) {
  const char *words[] = {"normal",      "one-first", "one-last", "one-before-end", "one-middle",
                         "sink-scores", "diagonal",  "rising",   "falling"};
  return words[static_cast<int>(scores)];
}
const char *word(Values values) {
  const char *words[] = {"around-0", "around-8", "narrow"};
  return words[static_cast<int>(values)];
}
const char *word(Extreme extreme) {
  const char *words[] = {"",         "-inf-first", "-inf-last", "-inf-but-one", "-inf",
                         "overflow", "nan",        "large",     "two-large"};
  return words[static_cast<int>(extreme)];
}

const char *word(ScoreLayout layout) {
  const char *words[] = {"none", "packed", "full", "by-head", "by-key", "by-batch-and-key", "by-query", "transposed"};
  return words[static_cast<int>(layout)];
}
const char *word(BiasType type) {
  const char *words[] = {"", "-fp16", "-bf16", "-fp32"};
  return words[static_cast<int>(type)];
}
const char *word(Hidden hidden) {
  const char *words[] = {"nothing", "some", "most", "all", "last-keys", "first-keys", "other-documents", "rows"};
  return words[static_cast<int>(hidden)];
}

}  // namespace

std::string AttentionCase::describe() const {
  std::ostringstream text;
  text << (dtype == Float16Type::float16 ? "fp16" : "bf16") << " b" << batch << " h" << heads_q << "/" << heads_kv
       << " sq" << seqlen_q << " sk" << seqlen_kv << " d" << head_dim;
  if (head_dim_v != head_dim) text << "/" << head_dim_v;
  text << " " << word(causal) << " " << word(layout) << " " << word(lse);
  if (input_std != 1) text << " std" << input_std;
  if (sink != 1) text << " sink" << sink;
  if (scale) text << " scale" << *scale;
  if (scores != Scores::normal) text << " " << word(scores);
  if (is_one_against_many(scores)) text << " many" << many;
  if (values != Values::around_0) text << " values-" << word(values);
  if (extreme != Extreme::none) text << " " << word(extreme);
  if (seed != 0) text << " seed" << seed;
  if (garbage == Garbage::later_keys) text << " garbage-keys";
  if (garbage == Garbage::later_values) text << " garbage-values";
  if (garbage == Garbage::earlier_keys) text << " early-garbage-keys";
  if (garbage == Garbage::earlier_values) text << " early-garbage-values";
  if (garbage == Garbage::middle_keys) text << " middle-garbage-keys";
  if (garbage == Garbage::middle_values) text << " middle-garbage-values";
  if (window_left >= 0) text << " left" << window_left;
  if (window_right >= 0) text << " right" << window_right;
  if (attention_chunk != 0) text << " chunk" << attention_chunk;
  if (softcap != 0) text << " softcap" << softcap;
  if (alibi != Alibi::none) text << (alibi == Alibi::by_head ? " alibi" : " alibi-by-batch");
  if (sinks) text << " sinks" << *sinks;
  if (bias != ScoreLayout::none) text << " bias" << word(bias_type) << "-" << word(bias);
  if (bias_std != 1) text << " bias-std" << bias_std;
  if (mask != ScoreLayout::none) text << " mask-" << word(mask);
  if (hidden != Hidden::nothing) text << " hides-" << word(hidden);
  if (hidden_by_bias) text << (hidden_by_lowest ? " by-lowest-bias" : " by-bias");
  if (float32_output) text << " out32";
  if (split_count != 0) text << " pieces" << split_count;
  if (split_tokens != 0) text << " piece-keys" << split_tokens;
  if (batch_invariant) text << " batch-invariant";
  if (multiprocessor_limit != 0) text << " limit" << multiprocessor_limit;
  if (query_position >= 0) text << " at" << query_position << "/" << key_position;
  return text.str();
}

double AttentionCase::softmax_scale() const {
  return scale ? static_cast<double>(*scale) : 1 / std::sqrt(static_cast<double>(head_dim));
}

bool AttentionCase::fixed_bounds_apply() const {
  return input_std == 1 && sink == 1 && scores == Scores::normal && extreme == Extreme::none && !scale &&
         causal == ReferenceCausal::none && seqlen_kv >= 512 && !has_window() && !changes_scores();
}
}  // namespace flashcore::tests
