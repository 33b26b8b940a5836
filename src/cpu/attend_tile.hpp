// SPDX-License-Identifier: Apache-2.0
//
// One tile of the CPU backend: up to 64 query rows that share one key head, against all keys that they see, in blocks of
// 64. Which rows make a tile, and on which thread, is cpu_attention.cpp's business; a row's bits depend on neither.
//
//   row      one query row of one head. Query heads that share a key head are packed into the same tile, position by
//            position, so that grouped heads (decode above all) convert each key and value once.
//   keys     the run of keys that a row sees, which is all there is to a mask (contract/visibility.h). Neither of its ends falls
//            from one row of a tile to the next.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "contract/sequence.h"
#include "cpu/variant_source.hpp"

namespace flashcore {

inline constexpr int64_t tile_rows = 64;
inline constexpr int64_t tile_keys = 64;
inline constexpr int64_t tile_lanes = 16;  // columns are padded to a multiple of this: one AVX-512 vector

struct TileRow {
  const uint16_t *query;
  void *output;  // of the task's type
  kernels::Visibility<kernels::any_mask>::Run keys;
  float slope;       // of ALiBi; 0: none
  int64_t position;  // among the keys, from which ALiBi counts
  float sink;        // a logit without a value; -infinity: none
  const void *bias;  // key 0's, of the task's type
  const uint8_t *mask;
  int32_t head_q, index;  // the query's, for a variant
};

// Keys or values of the tile's own sequence and head, by rows.
struct TileKeyRows {
  const uint16_t *first;  // of the sequence, or of page 0
  int64_t stride_row;     // elements
  const int32_t *pages = nullptr;
  int64_t stride_page = 0;
  const kernels::RaggedRows *ragged = nullptr;  // of pages
  int64_t first_row = 0;                        // the sequence's, through its pages

  const uint16_t *row(int64_t row) const {
    if (pages == nullptr) return first + row * stride_row;
    const auto place = static_cast<int32_t>(first_row + row);
    const int32_t page = kernels::page_of(*ragged, place);
    return first + kernels::held_page(pages[page], ragged->kv_batches) * stride_page +
           (place - page * ragged->page_size) * stride_row;
  }
};

// What a tile reads and writes.
struct TileTask {
  TileKeyRows keys, values;
  int64_t head_dim, head_dim_v;
  float scale;                               // at least 0; scores times this go into exp
  float softcap;                             // 0: none
  bool alibi;                                // rows have slopes
  int32_t bias_dtype;                        // kernels::Dtype; 0: rows have no bias
  bool has_mask;                             // rows have masks
  int64_t bias_stride_key, mask_stride_key;  // elements
  int64_t piece_keys;  // of which each is computed by itself, and all are merged; 0: there is one piece
  bool negate;         // the scale was negative: its sign goes to the queries
  bool bfloat16;
  bool float32_output;         // in place of the inputs' type
  ChangeRow variant;           // nullptr: none
  const void *variant_params;  // its block
  int32_t batch;               // the tile's, for a variant
  int64_t row_count;
  TileRow rows[tile_rows];

  // What is done to scores is done to scaled ones.
  bool changes_scores() const { return softcap != 0.0f || alibi || bias_dtype != 0 || variant != nullptr; }
  // Keys among those of a row's run may be hidden, by tensors.
  bool hides_keys() const { return bias_dtype != 0 || has_mask; }
  // What scores are multiplied by at last.
  float scale_at_last() const { return changes_scores() ? 1.0f : scale; }
};

// Softmax statistics of the rows: the largest score (-inf: no key seen, or none above it), not scaled unless scores are changed, and the
// sum of exp. At last the logarithm that the sum is relative to: that score's, or the sink's.
struct TileStatistics {
  float maximum[tile_rows];
  float sum[tile_rows];
  double logarithm[tile_rows];
};

// Working memory of one thread; carved from one allocation that is made before any thread starts.
class TileScratch {
 public:
  // has_pieces: of which rows keep a merged output beside that at hand.
  TileScratch(int64_t head_dim, int64_t head_dim_v, bool has_pieces = false);
  TileScratch(TileScratch &&) = default;  // the pointers lead into the heap and stay good; a copy's would not

  int64_t value_columns;  // head_dim_v, padded
  float *query;           // [tile_rows][head_dim]
  float *key_columns;     // [head_dim][tile_keys]: keys transposed, so that scores of neighbouring keys share a vector
  float *values;          // [tile_keys][value_columns]
  float *scores;          // [tile_rows][tile_keys], then probabilities
  float *output;          // [tile_rows][value_columns]
  float *merged;          // likewise, of the pieces before; nullptr without pieces
  float *converted;       // [head_dim], one key
  bool values_finite;     // of the block, where keys may be hidden

 private:
  std::vector<float> memory_;
};

using AttendTile = void (*)(const TileTask &task, TileScratch &scratch, TileStatistics &statistics);

struct AttendTileVariant {
  std::string_view name;  // instruction set
  AttendTile attend;
  bool runnable;  // on this machine
};

// Every variant of this build, fastest first; the last one runs everywhere.
std::vector<AttendTileVariant> attend_tile_variants();
AttendTile fastest_attend_tile();

}  // namespace flashcore
