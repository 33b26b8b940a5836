// SPDX-License-Identifier: Apache-2.0
//
// The tensors that hold a number for each score: a bias, which is added to it, and a mask, whose zeros hide its key, as a bias of -infinity
// does. They end with their last query and key: nothing is read behind these. Either score by score, or by rows of C fragments, whose lanes
// have two neighbouring keys each.
#pragma once

#include "attention_fwd/params.h"
#include "contract/problem_key.h"
#include "parts/numeric.cuh"
#include "parts/ptx_sm80.cuh"

namespace flashcore::kernels {

struct ScorePlace {
  int32_t batch, head_q, query, key;
};

// Which of these bits of `Scores` a variant (variant.cuh) has, and what is left of it without them.
template <int32_t scores>
struct OfferedScores;
inline constexpr int32_t scores_of_tensors = scores_bias | scores_mask;
template <typename Variant>
struct ScoreTensorsOf {
  static constexpr int32_t bits = 0;
};
template <int32_t scores>
struct ScoreTensorsOf<OfferedScores<scores>> {
  static constexpr int32_t bits = scores & scores_of_tensors;
  using Rest = OfferedScores<scores & ~scores_of_tensors>;
};
template <typename Variant>
inline constexpr bool has_bias = (ScoreTensorsOf<Variant>::bits & scores_bias) != 0;
template <typename Variant>
inline constexpr bool has_mask = (ScoreTensorsOf<Variant>::bits & scores_mask) != 0;
// What a user's text does beside what is offered.
template <typename Variant>
struct TextOf {
  static constexpr bool changes_scores = false, hides_keys = false, has_key_range = false;
  using Offered = Variant;
};
// Keys may be hidden anywhere, and not only where runs of keys begin and end.
template <typename Variant>
inline constexpr bool hides_keys = TextOf<Variant>::hides_keys || has_bias<typename TextOf<Variant>::Offered> ||
                                   has_mask<typename TextOf<Variant>::Offered>;
// Scores may be as large as floats are.
template <typename Variant>
inline constexpr bool has_large_scores = TextOf<Variant>::changes_scores || has_bias<typename TextOf<Variant>::Offered>;

// By selection where the bias is -infinity: a NaN of a hidden key is gone.
__device__ __forceinline__ float with_bias(float score, float bias) {
  return bias == -infinity ? -infinity : score + bias;
}

// A place past the last query or key is one where nothing is added or hidden.
__device__ __forceinline__ bool is_there(const AttentionFwdParams &params, const ScorePlace &place) {
  return place.query < params.seqlen_q && place.key < params.seqlen_kv;
}
__device__ __forceinline__ int64_t score_index(const ScoreTensor &tensor, const ScorePlace &place) {
  return place.batch * tensor.stride_batch + place.head_q * tensor.stride_head + place.query * tensor.stride_row +
         place.key * tensor.stride_key;
}
__device__ __forceinline__ float load_float(int32_t dtype, const void *source) {
  if (dtype == dtype_float32) return __uint_as_float(load_global_4(static_cast<const uint32_t *>(source)));
  const auto bits = static_cast<uint16_t>(load_global_2(static_cast<const uint16_t *>(source)));
  return dtype == dtype_float16 ? to_float<dtype_float16>(bits) : to_float<dtype_bfloat16>(bits);
}
__device__ __forceinline__ float bias_at(const AttentionFwdParams &params, const ScorePlace &place) {
  if (!is_there(params, place)) return 0.0f;
  const int64_t bytes = score_index(params.bias, place) * (params.bias_dtype == dtype_float32 ? 4 : 2);
  return load_float(params.bias_dtype, reinterpret_cast<const void *>(params.bias.data + bytes));
}
__device__ __forceinline__ bool mask_shows(const AttentionFwdParams &params, const ScorePlace &place) {
  return !is_there(params, place) ||
         load_global_1(reinterpret_cast<const uint8_t *>(params.mask.data + score_index(params.mask, place))) != 0;
}
template <typename Variant>
__device__ __forceinline__ bool key_is_shown(const AttentionFwdParams &params, const ScorePlace &place) {
  using Offered = typename TextOf<Variant>::Offered;
  if constexpr (has_mask<Offered>)
    if (!mask_shows(params, place)) return false;
  if constexpr (has_bias<Offered>)
    if (bias_at(params, place) == -infinity) return false;
  if constexpr (TextOf<Variant>::hides_keys) return Variant::shows(place, params);
  return true;
}

// A row of a tensor as a lane goes through it: the keys place.key + 8 j and the one behind it. Queries past the last one are as the last.
struct RowOfPairs {
  const uint8_t *first;
  int64_t key_bytes;  // from a key to the next
  int32_t left;       // keys from the first on
  bool side_by_side;  // all are there, and a pair is at a multiple of its bytes

  static __device__ __forceinline__ RowOfPairs of(const AttentionFwdParams &params, const ScoreTensor &tensor,
                                                  int32_t element_bytes, int32_t fragments, ScorePlace place) {
    place.query = min(place.query, params.seqlen_q - 1);
    const uint64_t first = tensor.data + score_index(tensor, place) * element_bytes;
    const int32_t left = params.seqlen_kv - place.key;
    return {reinterpret_cast<const uint8_t *>(first), tensor.stride_key * element_bytes, left,
            left >= fragments * 8 - 6 && tensor.stride_key == 1 && first % (2 * element_bytes) == 0};
  }
  template <typename Element>
  __device__ __forceinline__ const Element *pair(int32_t j) const {
    return reinterpret_cast<const Element *>(first) + j * 8;
  }
  __device__ __forceinline__ const uint8_t *key(int32_t j, int32_t c) const { return first + (j * 8 + c) * key_bytes; }
  __device__ __forceinline__ bool has(int32_t j, int32_t c) const { return j * 8 + c < left; }
};

// To the rows `half` of C fragments, the lane's first of which is at `place`.
template <int32_t fragments>
__device__ __forceinline__ void add_bias(float (&scores)[fragments][4], int32_t half, const AttentionFwdParams &params,
                                         const ScorePlace &place) {
  const int32_t dtype = params.bias_dtype;
  const RowOfPairs row = RowOfPairs::of(params, params.bias, dtype == dtype_float32 ? 4 : 2, fragments, place);
  const auto add_all = [&](auto bias_of) {
#pragma unroll
    for (int32_t j = 0; j < fragments; ++j) {
      const float2 bias = bias_of(j);
      scores[j][half * 2] = with_bias(scores[j][half * 2], bias.x);
      scores[j][half * 2 + 1] = with_bias(scores[j][half * 2 + 1], bias.y);
    }
  };
  if (!row.side_by_side)
    add_all([&](int32_t j) {
      return make_float2(row.has(j, 0) ? load_float(dtype, row.key(j, 0)) : 0.0f,
                         row.has(j, 1) ? load_float(dtype, row.key(j, 1)) : 0.0f);
    });
  else if (dtype == dtype_float32)
    add_all([&](int32_t j) {
      const uint2 pair = load_global_8(row.pair<uint32_t>(j));
      return make_float2(__uint_as_float(pair.x), __uint_as_float(pair.y));
    });
  else if (dtype == dtype_float16)
    add_all([&](int32_t j) {
      const uint32_t pair = load_global_4(reinterpret_cast<const uint32_t *>(row.pair<uint16_t>(j)));
      return make_float2(to_float<dtype_float16>(static_cast<uint16_t>(pair)),
                         to_float<dtype_float16>(static_cast<uint16_t>(pair >> 16)));
    });
  else
    add_all([&](int32_t j) {
      const uint32_t pair = load_global_4(reinterpret_cast<const uint32_t *>(row.pair<uint16_t>(j)));
      return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
    });
}

// Which keys of a tile the mask shows, a bit for each score of a lane's C fragments: read ahead of the products, which are left out where
// no lane of the warp has one.
template <int32_t row_tiles, int32_t fragments>
class ShownKeys {
 public:
  // place_of(i, half): of the lane's first score in that row.
  template <typename PlaceOf>
  __device__ __forceinline__ void load(const AttentionFwdParams &params, const PlaceOf &place_of) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
#pragma unroll
        for (int32_t word = 0; word < words; ++word) bits_[i][half][word] = 0;
        const RowOfPairs row = RowOfPairs::of(params, params.mask, 1, fragments, place_of(i, half));
        const auto add_all = [&](auto pair_of) {
#pragma unroll
          for (int32_t j = 0; j < fragments; ++j) {
            const uint32_t pair = pair_of(j);
            if ((pair & 0xff) != 0) bits_[i][half][j / 16] |= bit(j, 0);
            if ((pair & 0xff00) != 0) bits_[i][half][j / 16] |= bit(j, 1);
          }
        };
        if (row.side_by_side)
          add_all([&](int32_t j) { return load_global_2(reinterpret_cast<const uint16_t *>(row.pair<uint8_t>(j))); });
        else
          add_all([&](int32_t j) {
            return (row.has(j, 0) ? load_global_1(row.key(j, 0)) : 0) |
                   (row.has(j, 1) ? load_global_1(row.key(j, 1)) << 8 : 0);
          });
      }
  }
  __device__ __forceinline__ bool any() const {
    uint32_t all = 0;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half)
#pragma unroll
        for (int32_t word = 0; word < words; ++word) all |= bits_[i][half][word];
    return all != 0;
  }
  __device__ __forceinline__ void hide_others(float (&scores)[row_tiles][fragments][4]) const {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t j = 0; j < fragments; ++j)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c)
          if ((bits_[i][c / 2][j / 16] & bit(j, c % 2)) == 0) scores[i][j][c] = -infinity;
  }

 private:
  static constexpr int32_t words = (fragments + 15) / 16;
  static constexpr uint32_t bit(int32_t j, int32_t c) { return 1u << (j % 16 * 2 + c); }

  uint32_t bits_[row_tiles][2][words];
};

}  // namespace flashcore::kernels
