// SPDX-License-Identifier: Apache-2.0
//
// Which ragged batches there are: each way to say where rows are, lengths around tiles and pages, sequences without rows, and random ones.
#include <algorithm>

#include "kernels/feature_cases.hpp"
#include "kernels/ragged_case.hpp"

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

constexpr QueryPlaces all_query_places[] = {QueryPlaces::batch, QueryPlaces::used, QueryPlaces::in_line,
                                            QueryPlaces::in_line_used};
constexpr KeyPlaces all_key_places[] = {KeyPlaces::batch,        KeyPlaces::used,  KeyPlaces::in_line,
                                        KeyPlaces::in_line_used, KeyPlaces::cache, KeyPlaces::pages};
constexpr int64_t page_sizes[] = {1, 2, 3, 16, 19, 64, 128, 256};

// In a batch without arrays all sequences are as long as the longest.
RaggedCase with_possible_lengths(RaggedCase one) {
  const auto all_alike = [](std::vector<int64_t> &lengths) { lengths.assign(lengths.size(), lengths[0]); };
  if (one.query_places == QueryPlaces::batch) all_alike(one.queries), one.spare_queries = 0;
  if (one.key_places == KeyPlaces::batch) {
    all_alike(one.keys), one.spare_keys = 0, one.left_padding = false;
    if (one.query_places == QueryPlaces::batch) one.query_places = QueryPlaces::used;
  }
  return one;
}

}  // namespace

std::vector<RaggedCase> ragged_sweeps() {
  std::vector<RaggedCase> cases;
  const std::vector<int64_t> lengths[][2] = {{{70, 1, 0, 129}, {100, 65, 33, 0}},
                                             {{1, 3, 2, 1, 0}, {200, 17, 64, 0, 5}}};
  for (const auto &of : lengths)
    for (QueryPlaces query_places : all_query_places)
      for (KeyPlaces key_places : all_key_places) {
        RaggedCase one{.queries = of[0], .keys = of[1], .query_places = query_places, .key_places = key_places};
        const size_t n = cases.size();
        one.page_size = page_sizes[n % std::size(page_sizes)];
        one.value_pages = n % 2 != 0, one.left_padding = n % 3 == 0, one.long_indices = n % 4 < 2,
        one.apart = n % 5 < 2;
        one.spare_queries = n % 7 == 0 ? 9 : 0, one.spare_keys = n % 2 == 0 ? 0 : 40;
        one.features.heads_q = 4;
        one.features.dtype = both_types[n % 2], one.features.causal = all_masks[n % 3];
        cases.push_back(with_possible_lengths(one));
      }
  // Biases and masks, whose rows and keys count within the sequence.
  for (KeyPlaces key_places : all_key_places)
    for (const auto &of : lengths) {
      RaggedCase one{.queries = of[0], .keys = of[1], .key_places = key_places};
      const size_t n = cases.size();
      one.page_size = page_sizes[n % std::size(page_sizes)], one.left_padding = n % 3 == 0, one.apart = n % 2 == 0;
      one.spare_queries = n % 5 == 0 ? 9 : 0, one.spare_keys = n % 4 == 0 ? 40 : 0;
      one.features.heads_q = 4, one.features.dtype = Float16Type::bfloat16;
      one.features.bias = all_score_layouts[n % std::size(all_score_layouts)];
      one.features.mask = all_score_layouts[n * 3 % std::size(all_score_layouts)];
      one.features.bias_type = all_bias_types[n % std::size(all_bias_types)];
      one.features.hidden = n % 2 == 0 ? Hidden::some : Hidden::most;
      one.features.layout = one.apart ? Layout::odd : Layout::contiguous;
      cases.push_back(with_possible_lengths(one));
    }
  // Outputs of float32, whose rows are as long again.
  for (KeyPlaces key_places : all_key_places) {
    RaggedCase one{
        .queries = lengths[0][0], .keys = lengths[0][1], .key_places = key_places, .apart = cases.size() % 2 == 0};
    one.features.heads_q = 4, one.features.dtype = both_types[cases.size() % 2];
    one.features.causal = ReferenceCausal::bottom_right, one.features.float32_output = true;
    cases.push_back(with_possible_lengths(one));
  }
  // Keys in pieces, of which sequences have different numbers; results that do not depend on the batch; blocks that stay.
  for (KeyPlaces key_places : all_key_places)
    for (int32_t kind = 0; kind < 4; kind++) {
      const bool few = kind < 2 || cases.size() / 4 % 3 == 0;
      RaggedCase one{.queries = lengths[few ? 1 : 0][0], .keys = lengths[few ? 1 : 0][1], .key_places = key_places};
      one.features.heads_q = 4, one.features.dtype = both_types[kind == 3 ? 0 : cases.size() / 4 % 2];
      one.features.causal = kind == 0 ? ReferenceCausal::none : ReferenceCausal::bottom_right;
      if (kind == 0) one.features.split_tokens = 48;
      if (kind == 1) one.features.split_count = 3;
      if (kind == 2) one.features.batch_invariant = true;
      if (kind == 3) one.features.multiprocessor_limit = 2;
      cases.push_back(with_possible_lengths(one));
    }
  // Many sequences, most of them of no tile; and one that the keys of are many parts of a grid.
  RaggedCase many{.query_places = QueryPlaces::in_line, .key_places = KeyPlaces::in_line};
  for (int64_t b = 0; b < 75; b++)
    many.queries.push_back(b % 5 == 0 ? b : 0), many.keys.push_back(b % 7 == 0 ? 0 : b + 3);
  many.features.causal = ReferenceCausal::bottom_right;
  cases.push_back(many);
  // Wide heads, and values that are columns of the keys.
  for (KeyPlaces key_places : {KeyPlaces::in_line, KeyPlaces::cache, KeyPlaces::pages})
    for (const bool latent : {false, true}) {
      RaggedCase one{.queries = {1, 5, 0, 40}, .keys = {90, 5, 33, 150}, .key_places = key_places, .apart = true};
      one.page_size = latent ? 64 : 3;
      one.features.heads_q = 4, one.features.heads_kv = 1, one.features.head_dim_v = 512;
      one.features.head_dim = latent ? 576 : 512;
      if (latent) one.features.layout = Layout::latent;
      one.features.dtype = both_types[cases.size() % 2], one.features.causal = ReferenceCausal::bottom_right;
      cases.push_back(one);
    }
  RaggedCase uneven{.queries = {1, 1, 1},
                    .keys = {5, 20000, 300},
                    .query_places = QueryPlaces::batch,
                    .key_places = KeyPlaces::pages};
  for (Float16Type dtype : both_types) uneven.features.dtype = dtype, cases.push_back(uneven);
  return cases;
}

RaggedCase random_ragged_case(std::mt19937 &generator, bool with_features) {
  const auto up_to = [&](int64_t most) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(most + 1)); };
  RaggedCase one{.query_places = all_query_places[up_to(3)], .key_places = all_key_places[up_to(5)]};
  const int64_t sequences = 1 + up_to(5), most_queries = up_to(1) == 0 ? 4 : 150;
  for (int64_t b = 0; b < sequences; b++) one.queries.push_back(up_to(most_queries)), one.keys.push_back(up_to(260));
  one.page_size = page_sizes[up_to(7)];
  one.value_pages = up_to(2) == 0, one.left_padding = up_to(2) == 0, one.long_indices = up_to(1) == 0,
  one.apart = up_to(1) == 0;
  one.spare_queries = up_to(3) == 0 ? 70 : 0, one.spare_keys = up_to(2) == 0 ? 130 : 0;
  one.seed = static_cast<uint32_t>(1 + up_to(1000));
  AttentionCase &features = one.features;
  const int32_t heads[][2] = {{2, 2}, {4, 2}, {6, 1}, {1, 1}}, columns[] = {64, 128, 40, 256};
  const auto &of = heads[up_to(3)];
  features.heads_q = of[0], features.heads_kv = of[1];
  features.head_dim = features.head_dim_v = columns[up_to(9) < 7 ? up_to(1) : up_to(3)];
  features.dtype = both_types[up_to(1)], features.causal = all_masks[up_to(2)];
  features.lse = up_to(3) == 0 ? LseRequest::none : up_to(3) == 0 ? LseRequest::base2 : LseRequest::natural;
  if (up_to(4) == 0) features.scale = -0.1f;
  if (with_features) add_features(generator, ScoreFeatures::all_or_none, features);
  features.garbage = Garbage::none;
  return with_possible_lengths(one);
}

namespace {

constexpr int32_t rotary_dims[] = {0, 64, 32, 20, 2};

// A sequence has as many keys as are appended at least. Where no array says lengths, all of its rows are keys.
RaggedCase with_room_for_new_rows(RaggedCase one) {
  const bool dense = one.query_places == QueryPlaces::batch && one.key_places == KeyPlaces::batch;
  for (int64_t &keys : one.keys) keys = std::max(keys, one.seqlen_new);
  one.queries[0] = std::max(one.queries[0], int64_t{1});
  if (one.seqlen_new == 0 && one.rotary_dim != 0) one.rotary_positions = true;
  one.rotary_dim = std::min(one.rotary_dim, one.features.head_dim / 2 * 2);
  if (one.rotary_dim == 0) one.rotary_positions = one.interleaved = false, one.rotary_table_rows = 0;
  one = with_possible_lengths(one);
  if (dense) one.query_places = QueryPlaces::batch, one.queries.assign(one.queries.size(), one.queries[0]);
  return one;
}

}  // namespace

std::vector<RaggedCase> append_sweeps() {
  std::vector<RaggedCase> cases;
  for (QueryPlaces query_places : all_query_places)
    for (KeyPlaces key_places : all_key_places)
      for (int32_t rotary_dim : rotary_dims) {
        const size_t n = cases.size();
        const bool decode = n % 2 == 0;
        RaggedCase one{.queries = decode ? std::vector<int64_t>{1, 1, 1, 1} : std::vector<int64_t>{5, 70, 0, 33},
                       .keys = {40, 130, 65, 7},
                       .query_places = query_places,
                       .key_places = key_places};
        one.page_size = page_sizes[n % std::size(page_sizes)];
        one.value_pages = n % 3 == 0, one.left_padding = n % 5 < 2, one.long_indices = n / 3 % 2 == 0,
        one.apart = n % 7 < 3;
        one.spare_keys = n % 2 == 0 ? 0 : 40;
        one.seqlen_new = decode ? 1 : n % 3 == 0 ? 7 : 33;
        one.rotary_dim = rotary_dim, one.interleaved = n / 4 % 2 == 0, one.rotary_positions = n % 5 == 3;
        one.rotary_table_rows = n % 6 == 1 ? 50 : 0;
        one.features.heads_q = 4, one.features.heads_kv = n % 3 == 0 ? 1 : 2;
        one.features.dtype = both_types[n / 2 % 2], one.features.causal = all_masks[n % 3];
        cases.push_back(with_room_for_new_rows(one));
      }
  // Rows that 16 bytes do not fit, and none that is new.
  for (const int32_t head_dim : {36, 33})
    for (const bool interleaved : {false, true}) {
      RaggedCase one{.queries = {3, 3},
                     .keys = {20, 20},
                     .query_places = QueryPlaces::batch,
                     .key_places = KeyPlaces::batch,
                     .seqlen_new = 2,
                     .rotary_dim = 32,
                     .interleaved = interleaved};
      one.features.head_dim = one.features.head_dim_v = head_dim;
      cases.push_back(one);
      one.seqlen_new = 0;
      cases.push_back(with_room_for_new_rows(one));
    }
  return cases;
}

RaggedCase random_append_case(std::mt19937 &generator, bool with_features) {
  const auto up_to = [&](int64_t most) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(most + 1)); };
  RaggedCase one = random_ragged_case(generator, with_features);
  one.seqlen_new = up_to(5) == 0 ? 0 : up_to(1) == 0 ? 1 : 1 + up_to(60);
  one.rotary_dim = up_to(3) == 0 ? 0 : static_cast<int32_t>(2 + 2 * up_to(one.features.head_dim / 2 - 1));
  if (up_to(1) == 0) one.rotary_dim = one.rotary_dim / 16 * 16;
  one.interleaved = up_to(1) == 0, one.rotary_positions = up_to(3) == 0;
  one.rotary_table_rows = up_to(2) == 0 ? 1 + up_to(300) : 0;
  return with_room_for_new_rows(one);
}

}  // namespace flashcore::tests
