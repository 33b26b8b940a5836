// SPDX-License-Identifier: Apache-2.0
//
// The tile's arithmetic, written once as loops that compilers vectorise, and compiled once per instruction set: the
// entry points at the end carry the target, everything else is inlined into them. Chosen at run time by CPUID rather
// than with target_clones, whose IFUNC resolvers run before sanitizers do and before a -z now library is fully
// relocated.
//
// One block of keys, for the rows that see any of it:
//   keys -> float, transposed    S = Q.K^T    per row: maximum, exp2, sum, P rounded    O = O * correction + P.V
// Both products are row updates c[j] += a * b[j] with j along a vector, two rows and four terms at a time. Each element
// is summed in the order of its terms whatever the grouping, which is what makes a row's bits independent of its tile.
// A 4 x 16 block of accumulators in registers would do fewer loads, but g++ 12 keeps such an array on the stack.
#include "cpu/attend_tile.hpp"

#include <cmath>
#include <limits>

#include "cpu/float_convert.hpp"

namespace flashcore {
namespace {

constexpr float log2_of_e = 1.44269504088896340736f;  // not part of the scale, which may be as large as a float32 is

constexpr int64_t round_up_to_lanes(int64_t count) { return (count + tile_lanes - 1) / tile_lanes * tile_lanes; }

FLASHCORE_CPU_INLINE void convert_to_float(const uint16_t *__restrict from, float *__restrict to, int64_t count,
                                           bool bfloat16) {
  if (bfloat16) {
    for (int64_t i = 0; i < count; i++) to[i] = bfloat16_to_float(from[i]);
  } else {
    for (int64_t i = 0; i < count; i++) to[i] = float16_to_float(from[i]);
  }
}

// c[r][j] += sum over t of a[r][t] * b[t][j] for `rows` rows (1 or 2); `columns` is a multiple of tile_lanes.
template <bool fused, int rows>
FLASHCORE_CPU_INLINE void accumulate(float *__restrict c, int64_t c_stride, const float *__restrict a, int64_t a_stride,
                                     const float *__restrict b, int64_t b_stride, int64_t terms, int64_t columns) {
  int64_t t = 0;
  for (; t + 4 <= terms; t += 4) {
    const float *b0 = b + t * b_stride, *b1 = b0 + b_stride, *b2 = b1 + b_stride, *b3 = b2 + b_stride;
    float factor[rows][4];
    for (int r = 0; r < rows; r++)
      for (int n = 0; n < 4; n++) factor[r][n] = a[r * a_stride + t + n];
    for (int64_t j = 0; j < columns; j++) {
      for (int r = 0; r < rows; r++) {
        float sum = multiply_add<fused>(factor[r][0], b0[j], c[r * c_stride + j]);
        sum = multiply_add<fused>(factor[r][1], b1[j], sum);
        sum = multiply_add<fused>(factor[r][2], b2[j], sum);
        c[r * c_stride + j] = multiply_add<fused>(factor[r][3], b3[j], sum);
      }
    }
  }
  for (; t < terms; t++) {
    const float *b0 = b + t * b_stride;
    for (int r = 0; r < rows; r++) {
      const float factor = a[r * a_stride + t];
      for (int64_t j = 0; j < columns; j++)
        c[r * c_stride + j] = multiply_add<fused>(factor, b0[j], c[r * c_stride + j]);
    }
  }
}

FLASHCORE_CPU_INLINE float largest(const float *values, int64_t count) {  // count: a multiple of tile_lanes
  float lanes[tile_lanes];
  for (int64_t l = 0; l < tile_lanes; l++) lanes[l] = values[l];
  for (int64_t j = tile_lanes; j < count; j += tile_lanes)
    for (int64_t l = 0; l < tile_lanes; l++) lanes[l] = values[j + l] > lanes[l] ? values[j + l] : lanes[l];
  float result = lanes[0];
  for (int64_t l = 1; l < tile_lanes; l++) result = lanes[l] > result ? lanes[l] : result;
  return result;
}

FLASHCORE_CPU_INLINE float sum_of(const float *values, int64_t count) {
  float lanes[tile_lanes];
  for (int64_t l = 0; l < tile_lanes; l++) lanes[l] = values[l];
  for (int64_t j = tile_lanes; j < count; j += tile_lanes)
    for (int64_t l = 0; l < tile_lanes; l++) lanes[l] += values[j + l];
  for (int64_t width = tile_lanes / 2; width > 0; width /= 2)
    for (int64_t l = 0; l < width; l++) lanes[l] += lanes[l + width];
  return lanes[0];
}

// Keys begin .. end - 1 of a block.
struct BlockRun {
  int64_t begin, end;
};

FLASHCORE_CPU_INLINE void fill_outside(float *__restrict scores, const BlockRun &seen, int64_t padded, float value) {
  for (int64_t j = 0; j < seen.begin; j++) scores[j] = value;
  for (int64_t j = seen.end; j < padded; j++) scores[j] = value;
}

// What becomes of the scores of row r, whose first is of key first_key, where the task changes any: they are scaled then.
template <bool fused>
FLASHCORE_CPU_INLINE void scale_scores(const TileTask &task, int64_t r, float *__restrict scores, const BlockRun &seen,
                                       int64_t first_key) {
  const float softcap = task.softcap, inverse = softcap == 0.0f ? 0.0f : 1.0f / softcap;
  for (int64_t j = seen.begin; j < seen.end; j++) scores[j] *= task.scale;
  if (softcap != 0.0f)
    for (int64_t j = seen.begin; j < seen.end; j++) scores[j] = softcap * tanh_of<fused>(scores[j] * inverse);
  if (!task.alibi) return;
  const float slope = task.rows[r].slope;
  const int64_t position = task.rows[r].position - first_key;
  for (int64_t j = seen.begin; j < seen.end; j++)
    scores[j] = multiply_add<fused>(-slope, std::fabs(static_cast<float>(position - j)), scores[j]);
}

FLASHCORE_CPU_INLINE float bias_at(const TileTask &task, int64_t r, int64_t key) {
  const int64_t at = key * task.bias_stride_key;
  if (task.bias_dtype == kernels::dtype_float32) return static_cast<const float *>(task.rows[r].bias)[at];
  const uint16_t bits = static_cast<const uint16_t *>(task.rows[r].bias)[at];
  return task.bias_dtype == kernels::dtype_bfloat16 ? bfloat16_to_float(bits) : float16_to_float(bits);
}
// Does neither the row's mask nor a bias of -infinity hide the key?
FLASHCORE_CPU_INLINE bool shows(const TileTask &task, int64_t r, int64_t key) {
  return (!task.has_mask || task.rows[r].mask[key * task.mask_stride_key] != 0) &&
         (task.bias_dtype == 0 || bias_at(task, r, key) != -std::numeric_limits<float>::infinity());
}

template <bool fused>
FLASHCORE_CPU_INLINE void change_scores(const TileTask &task, int64_t r, float *__restrict scores, const BlockRun &seen,
                                        int64_t first_key) {
  if (task.changes_scores()) scale_scores<fused>(task, r, scores, seen, first_key);
  if (task.bias_dtype != 0)
    for (int64_t j = seen.begin; j < seen.end; j++) scores[j] += bias_at(task, r, first_key + j);
  if (task.hides_keys())
    for (int64_t j = seen.begin; j < seen.end; j++)
      if (!shows(task, r, first_key + j)) scores[j] = -std::numeric_limits<float>::infinity();
}

// Which keys of a block a variant hides from a row.
struct HiddenKeys {
  uint8_t keys[tile_keys];
};

void change_by_variant(const TileTask &task, int64_t r, float *scores, const BlockRun &seen, int64_t first_key,
                       HiddenKeys &hidden) {
  const TileRow &row = task.rows[r];
  task.variant(scores + seen.begin, hidden.keys + seen.begin, seen.end - seen.begin, task.batch, row.head_q, row.index,
               static_cast<int32_t>(first_key + seen.begin), task.variant_params);
  if (task.hides_keys())
    for (int64_t j = seen.begin; j < seen.end; j++)
      if (!shows(task, r, first_key + j)) {
        hidden.keys[j] = 1;  // what was hidden before the text stays so
        scores[j] = -std::numeric_limits<float>::infinity();
      }
}

// The row's largest score becomes a logarithm's, and its sink joins the sum. Returns the factor that corrects what was summed before.
template <bool fused>
FLASHCORE_CPU_INLINE float end_row(const TileTask &task, int64_t r, TileStatistics &statistics) {
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  const float sink = task.rows[r].sink, scale = task.scale_at_last(), maximum = statistics.maximum[r];
  float &sum = statistics.sum[r];
  statistics.logarithm[r] = static_cast<double>(maximum) * static_cast<double>(scale);
  if (sink == minus_infinity) return 1.0f;
  const float ahead = maximum == minus_infinity ? minus_infinity : maximum * scale - sink;
  if (ahead >= 0.0f) {
    sum += exp2_nonpositive<fused>(-ahead * log2_of_e);
    return 1.0f;
  }
  const float correction = maximum == minus_infinity ? 0.0f : exp2_nonpositive<fused>(ahead * log2_of_e);
  sum = sum * correction + 1.0f;
  statistics.logarithm[r] = static_cast<double>(sink);
  return correction;
}

// Scores of one row become probabilities, rounded to the type; those of keys that it does not see become 0. Returns the factor
// that corrects what was summed before.
template <bool fused>
FLASHCORE_CPU_INLINE float softmax_row(float *__restrict scores, const BlockRun &seen, const TileTask &task,
                                       float &maximum, float &sum) {
  const int64_t padded = round_up_to_lanes(seen.end);
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  fill_outside(scores, seen, padded, minus_infinity);
  const float block_maximum = largest(scores, padded);
  const float old_maximum = maximum;
  maximum = block_maximum > old_maximum ? block_maximum : old_maximum;
  // Scores of -infinity alone: -infinity is subtracted from nothing, and every probability is 0.
  const float subtrahend = maximum == minus_infinity ? 0.0f : maximum;
  // The first keys have nothing to correct; -inf times a scale of 0 would make a NaN of it.
  const float scale = task.scale_at_last();
  const float correction =
      old_maximum == minus_infinity ? 0.0f : exp2_nonpositive<fused>((old_maximum - subtrahend) * scale * log2_of_e);
  for (int64_t j = 0; j < padded; j++)
    scores[j] = exp2_nonpositive<fused>((scores[j] - subtrahend) * scale * log2_of_e);
  fill_outside(scores, seen, padded, 0.0f);
  sum = sum * correction + sum_of(scores, padded);
  if (task.bfloat16) {
    for (int64_t j = 0; j < padded; j++) scores[j] = round_probability_to_bfloat16(scores[j]);
  } else {
    for (int64_t j = 0; j < padded; j++) scores[j] = round_probability_to_float16(scores[j]);
  }
  return correction;
}

FLASHCORE_CPU_INLINE void load_queries(const TileTask &task, TileScratch &scratch) {
  for (int64_t r = 0; r < task.row_count; r++) {
    float *query = scratch.query + r * task.head_dim;
    convert_to_float(task.rows[r].query, query, task.head_dim, task.bfloat16);
    if (task.negate)
      for (int64_t d = 0; d < task.head_dim; d++) query[d] = -query[d];
  }
}

FLASHCORE_CPU_INLINE bool all_finite(const TileTask &task, const TileScratch &scratch, int64_t count) {
  float zero = 0.0f;
  for (int64_t j = 0; j < count; j++)
    for (int64_t d = 0; d < task.head_dim_v; d++) zero += scratch.values[j * scratch.value_columns + d] * 0.0f;
  return zero == 0.0f;
}

// Keys [begin, begin + count) as columns and values as rows. No other key is read; missing columns are zero.
FLASHCORE_CPU_INLINE void load_block(const TileTask &task, TileScratch &scratch, int64_t begin, int64_t count) {
  for (int64_t j = 0; j < count; j++) {
    const uint16_t *key = task.keys.row(begin + j);
    convert_to_float(key, scratch.converted, task.head_dim, task.bfloat16);
    for (int64_t d = 0; d < task.head_dim; d++) scratch.key_columns[d * tile_keys + j] = scratch.converted[d];
    const uint16_t *value = task.values.row(begin + j);
    convert_to_float(value, scratch.values + j * scratch.value_columns, task.head_dim_v, task.bfloat16);
  }
  for (int64_t d = 0; d < task.head_dim; d++)
    for (int64_t j = count; j < round_up_to_lanes(count); j++) scratch.key_columns[d * tile_keys + j] = 0.0f;
  scratch.values_finite = !task.hides_keys() || all_finite(task, scratch, count);
}

// Keys of the block that row r sees, counted from the block's first.
FLASHCORE_CPU_INLINE BlockRun run_in_block(const TileTask &task, int64_t r, int64_t begin, int64_t count) {
  const auto held = [&](int64_t key) { return key < begin ? 0 : key < begin + count ? key - begin : count; };
  return {held(task.rows[r].keys.begin), held(task.rows[r].keys.end)};
}

// `rows` rows of O take in values first .. end - 1 of the block, if any. Only values of keys that a row
// sees are multiplied: a hidden one may be NaN, which a probability of 0 would not stop.
template <bool fused, int rows>
FLASHCORE_CPU_INLINE void add_values(float *__restrict output, const float *__restrict scores, TileScratch &scratch,
                                     int64_t first, int64_t end) {
  if (first >= end) return;
  accumulate<fused, rows>(output, scratch.value_columns, scores + first, tile_keys,
                          scratch.values + first * scratch.value_columns, scratch.value_columns, end - first,
                          scratch.value_columns);
}

// The same for row r alone, without the values of keys that are hidden from it.
template <bool fused>
FLASHCORE_CPU_INLINE void add_values_shown(const TileTask &task, TileScratch &scratch, int64_t r, const BlockRun &seen,
                                           int64_t first_key) {
  for (int64_t j = seen.begin; j < seen.end; j++)
    if (shows(task, r, first_key + j))
      add_values<fused, 1>(scratch.output + r * scratch.value_columns, scratch.scores + r * tile_keys, scratch, j,
                           j + 1);
}

// One row and a variant, which may leave it some of its keys.
template <bool fused>
FLASHCORE_CPU_INLINE void add_values_not_hidden(float *__restrict output, const float *__restrict scores,
                                                TileScratch &scratch, const BlockRun &seen, const HiddenKeys &hidden) {
  for (int64_t first = seen.begin, end; first < seen.end; first = end + 1) {
    for (end = first; end < seen.end && hidden.keys[end] == 0;) end++;
    add_values<fused, 1>(output, scores, scratch, first, end);
  }
}

// Rows r .. r + rows - 1 against the block in scratch.
template <bool fused, int rows>
FLASHCORE_CPU_INLINE void attend_rows(const TileTask &task, TileScratch &scratch, TileStatistics &statistics, int64_t r,
                                      int64_t begin, int64_t count) {
  float *scores = scratch.scores + r * tile_keys;
  float *output = scratch.output + r * scratch.value_columns;
  const int64_t columns = round_up_to_lanes(run_in_block(task, r + rows - 1, begin, count).end);
  for (int n = 0; n < rows; n++)
    for (int64_t j = 0; j < columns; j++) scores[n * tile_keys + j] = 0.0f;
  accumulate<fused, rows>(scores, tile_keys, scratch.query + r * task.head_dim, task.head_dim, scratch.key_columns,
                          tile_keys, task.head_dim, columns);
  BlockRun seen[rows];
  HiddenKeys hidden;
  for (int n = 0; n < rows; n++) {
    seen[n] = run_in_block(task, r + n, begin, count);
    if (seen[n].begin == seen[n].end) continue;  // nothing seen: a factor of 1 for what was summed before
    if (task.changes_scores() || task.hides_keys())
      change_scores<fused>(task, r + n, scores + n * tile_keys, seen[n], begin);
    if (task.variant != nullptr) change_by_variant(task, r + n, scores + n * tile_keys, seen[n], begin, hidden);
    const float correction =
        softmax_row<fused>(scores + n * tile_keys, seen[n], task, statistics.maximum[r + n], statistics.sum[r + n]);
    float *row = output + n * scratch.value_columns;
    for (int64_t d = 0; d < scratch.value_columns; d++) row[d] *= correction;
    if (task.variant != nullptr) add_values_not_hidden<fused>(row, scores + n * tile_keys, scratch, seen[n], hidden);
  }
  if (task.variant != nullptr) return;
  if (!scratch.values_finite) {
    for (int n = 0; n < rows; n++) add_values_shown<fused>(task, scratch, r + n, seen[n], begin);
    return;
  }
  // What the first row alone sees, what all rows see, and what those behind the first see after it.
  const int64_t all_begin = seen[rows - 1].begin, all_end = seen[0].end;
  add_values<fused, 1>(output, scores, scratch, seen[0].begin, all_begin < all_end ? all_begin : all_end);
  add_values<fused, rows>(output, scores, scratch, all_begin, all_end);
  for (int n = 1; n < rows; n++)
    add_values<fused, 1>(output + n * scratch.value_columns, scores + n * tile_keys, scratch,
                         all_begin > all_end ? all_begin : all_end, seen[n].end);
}

FLASHCORE_CPU_INLINE void store_output(const TileTask &task, const TileScratch &scratch,
                                       const TileStatistics &statistics) {
  for (int64_t r = 0; r < task.row_count; r++) {
    const float *row = scratch.output + r * scratch.value_columns;
    const float sum = statistics.sum[r] == 0.0f ? 1.0f : statistics.sum[r];  // no key, or none above -infinity: 0 / 1
    if (task.float32_output) {
      float *__restrict output = static_cast<float *>(task.rows[r].output);
      for (int64_t d = 0; d < task.head_dim_v; d++) output[d] = row[d] / sum;
      continue;
    }
    uint16_t *__restrict output = static_cast<uint16_t *>(task.rows[r].output);
    if (task.bfloat16) {
      for (int64_t d = 0; d < task.head_dim_v; d++) output[d] = float_to_bfloat16(row[d] / sum);
    } else {
      for (int64_t d = 0; d < task.head_dim_v; d++) output[d] = float_to_float16(row[d] / sum);
    }
  }
}

template <bool fused>
FLASHCORE_CPU_INLINE void end_rows(const TileTask &task, TileScratch &scratch, TileStatistics &statistics) {
  for (int64_t r = 0; r < task.row_count; r++) {
    const float correction = end_row<fused>(task, r, statistics);
    if (correction == 1.0f) continue;
    float *row = scratch.output + r * scratch.value_columns;
    for (int64_t d = 0; d < scratch.value_columns; d++) row[d] *= correction;
  }
}

// Before a row's first key.
FLASHCORE_CPU_INLINE void clear_rows(const TileTask &task, const TileScratch &scratch, float *__restrict output,
                                     TileStatistics &statistics) {
  for (int64_t r = 0; r < task.row_count; r++) {
    statistics.maximum[r] = -std::numeric_limits<float>::infinity();
    statistics.sum[r] = 0.0f;
  }
  for (int64_t d = 0; d < task.row_count * scratch.value_columns; d++) output[d] = 0.0f;
}

// Keys first .. last - 1, which are a piece or all there are. Blocks begin at multiples of their size from the first one on, whatever the tile
// sees, so that a row's bits do not depend on the rows beside it.
template <bool fused>
FLASHCORE_CPU_INLINE void attend_keys(const TileTask &task, TileScratch &scratch, TileStatistics &statistics,
                                      int64_t first, int64_t last) {
  const int64_t first_seen = task.rows[0].keys.begin, last_end = task.rows[task.row_count - 1].keys.end;
  const int64_t end = last_end < last ? last_end : last;
  int64_t first_row = 0;
  for (int64_t begin = first_seen > first ? first + (first_seen - first) / tile_keys * tile_keys : first; begin < end;
       begin += tile_keys) {
    const int64_t count = end - begin < tile_keys ? end - begin : tile_keys;
    load_block(task, scratch, begin, count);
    while (task.rows[first_row].keys.end <= begin) first_row++;  // these rows are done
    int64_t r = first_row;
    for (; r + 2 <= task.row_count; r += 2) attend_rows<fused, 2>(task, scratch, statistics, r, begin, count);
    if (r < task.row_count) attend_rows<fused, 1>(task, scratch, statistics, r, begin, count);
  }
}

// What the scratch holds of a piece joins what is merged of those before, relative to the larger of both maxima.
template <bool fused>
FLASHCORE_CPU_INLINE void add_piece(const TileTask &task, TileScratch &scratch, const TileStatistics &piece,
                                    TileStatistics &merged) {
  const float scale = task.scale_at_last(), minus_infinity = -std::numeric_limits<float>::infinity();
  for (int64_t r = 0; r < task.row_count; r++) {
    if (piece.sum[r] == 0.0f) continue;  // no key seen, or none above -infinity
    const float largest = piece.maximum[r] > merged.maximum[r] ? piece.maximum[r] : merged.maximum[r];
    const auto factor_of = [&](float maximum) {
      return maximum == minus_infinity ? 0.0f : exp2_nonpositive<fused>((maximum - largest) * scale * log2_of_e);
    };
    const float of_merged = factor_of(merged.maximum[r]), of_piece = factor_of(piece.maximum[r]);
    const bool is_first = merged.sum[r] == 0.0f;  // as it is then, to the bit
    merged.maximum[r] = largest;
    merged.sum[r] = is_first ? piece.sum[r] : multiply_add<fused>(piece.sum[r], of_piece, merged.sum[r] * of_merged);
    float *__restrict to = scratch.merged + r * scratch.value_columns;
    const float *__restrict from = scratch.output + r * scratch.value_columns;
    if (is_first) {
      for (int64_t d = 0; d < scratch.value_columns; d++) to[d] = from[d];
      continue;
    }
    for (int64_t d = 0; d < scratch.value_columns; d++)
      to[d] = multiply_add<fused>(from[d], of_piece, to[d] * of_merged);
  }
}

template <bool fused>
FLASHCORE_CPU_INLINE void attend_pieces(const TileTask &task, TileScratch &scratch, TileStatistics &statistics) {
  const int64_t end = task.rows[task.row_count - 1].keys.end;
  clear_rows(task, scratch, scratch.merged, statistics);
  for (int64_t first = task.rows[0].keys.begin / task.piece_keys * task.piece_keys; first < end;
       first += task.piece_keys) {
    TileStatistics piece;
    clear_rows(task, scratch, scratch.output, piece);
    attend_keys<fused>(task, scratch, piece, first, first + task.piece_keys);
    add_piece<fused>(task, scratch, piece, statistics);
  }
  for (int64_t d = 0; d < task.row_count * scratch.value_columns; d++) scratch.output[d] = scratch.merged[d];
}

template <bool fused>
FLASHCORE_CPU_INLINE void attend(const TileTask &task, TileScratch &scratch, TileStatistics &statistics) {
  load_queries(task, scratch);
  if (task.piece_keys != 0) {
    attend_pieces<fused>(task, scratch, statistics);
  } else {
    clear_rows(task, scratch, scratch.output, statistics);
    attend_keys<fused>(task, scratch, statistics, 0, task.rows[task.row_count - 1].keys.end);
  }
  end_rows<fused>(task, scratch, statistics);
  store_output(task, scratch, statistics);
}

// --- One entry point per instruction set ---------------------------------------------------------------------------

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool baseline_is_fused = true;
#else
constexpr bool baseline_is_fused = false;
#endif

void attend_tile_baseline(const TileTask &task, TileScratch &scratch, TileStatistics &statistics) {
  attend<baseline_is_fused>(task, scratch, statistics);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) void attend_tile_avx2(const TileTask &task, TileScratch &scratch,
                                                          TileStatistics &statistics) {
  attend<true>(task, scratch, statistics);
}

// Both compilers would stay with 256 bits unless told.
#ifdef __clang__
#define FLASHCORE_CPU_FULL_VECTORS min_vector_width(512), target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#else
#define FLASHCORE_CPU_FULL_VECTORS target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#endif
__attribute__((FLASHCORE_CPU_FULL_VECTORS)) void attend_tile_avx512(const TileTask &task, TileScratch &scratch,
                                                                    TileStatistics &statistics) {
  attend<true>(task, scratch, statistics);
}

bool have_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool have_avx512() {
  return have_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace

TileScratch::TileScratch(int64_t head_dim, int64_t head_dim_v, bool has_pieces)
    : value_columns(round_up_to_lanes(head_dim_v)) {
  const int64_t query_size = round_up_to_lanes(tile_rows * head_dim);
  const int64_t sizes = query_size + head_dim * tile_keys + tile_keys * value_columns + tile_rows * tile_keys +
                        tile_rows * value_columns * (has_pieces ? 2 : 1) + round_up_to_lanes(head_dim);
  memory_.resize(static_cast<size_t>(sizes + tile_lanes));
  const auto address = reinterpret_cast<uintptr_t>(memory_.data());
  constexpr uintptr_t vector_bytes = tile_lanes * sizeof(float);
  query = memory_.data() + (vector_bytes - address % vector_bytes) % vector_bytes / sizeof(float);
  key_columns = query + query_size;
  values = key_columns + head_dim * tile_keys;
  scores = values + tile_keys * value_columns;
  output = scores + tile_rows * tile_keys;
  converted = output + tile_rows * value_columns;
  merged = has_pieces ? converted + round_up_to_lanes(head_dim) : nullptr;
}

std::vector<AttendTileVariant> attend_tile_variants() {
  std::vector<AttendTileVariant> variants;
#ifdef __x86_64__
  variants.push_back({"avx512", attend_tile_avx512, have_avx512()});
  variants.push_back({"avx2", attend_tile_avx2, have_avx2()});
#endif
  variants.push_back({"baseline", attend_tile_baseline, true});
  return variants;
}

AttendTile fastest_attend_tile() {
#ifdef __x86_64__
  if (have_avx512()) return attend_tile_avx512;
  if (have_avx2()) return attend_tile_avx2;
#endif
  return attend_tile_baseline;
}

}  // namespace flashcore
