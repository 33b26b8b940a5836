// SPDX-License-Identifier: Apache-2.0
//
// Every array of flashcore_attention_args besides Q, K, V, O and LSE, one row each: option, type, shape, and the fields
// that it fills. Whether the library can do anything with it is the library's answer, which names the field.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <limits>

#include "run.hpp"

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

enum class Kind {
  float32,      // '<f4'
  any_float,    // '<f2' or '<f4'
  bias,         // these, or '<u2' for the bits of bfloat16
  model,        // the type of the query
  boolean,      // '|b1' or '|u1'
  index,        // '<i4' or '<i8', all index arrays alike
  page_number,  // '<i4'
};

enum class Shape {
  per_head,          // [heads]
  heads_or_batches,  // [heads] or [batch, heads]
  scores,            // [batch, heads, queries, keys], leading ones may be missing or 1
  per_batch,         // [batch]
  bounds,            // [batch + 1]
  pages,             // [batch, pages]
  rotary,            // [positions, rotary dimension / 2]
  descale,           // [batch, key heads]
  new_keys,          // [batch, new keys, key heads, dimension]
  new_values,        // of the values' dimension
};

}  // namespace

struct ExtraArrayRow {
  const char *option, *help;
  Kind kind;
  Shape shape;
  uint64_t Args::*address;  // one of the two members is set
  flashcore_tensor Args::*tensor;
};

namespace {

constexpr ExtraArrayRow rows[] = {
    {"alibi", "ALiBi slopes, float32 [heads] or [batch, heads]", Kind::float32, Shape::heads_or_batches,
     &Args::alibi_slopes, nullptr},
    {"sinks", "one more logit per head in the sum, float32 or float16 [heads]", Kind::any_float, Shape::per_head,
     nullptr, &Args::sinks},
    {"bias",
     "added to the scores, float32, float16 or uint16 bits of bfloat16 [batch, heads, queries, keys]; leading ones may be 1 or missing",
     Kind::bias, Shape::scores, nullptr, &Args::bias},
    {"mask", "boolean, False hides a key; shaped as --bias", Kind::boolean, Shape::scores, nullptr, &Args::mask},
    {"cu-seqlens-q", "where sequences begin, int32 or int64 [batch + 1]", Kind::index, Shape::bounds,
     &Args::cu_seqlens_q, nullptr},
    {"cu-seqlens-kv", "the same of keys", Kind::index, Shape::bounds, &Args::cu_seqlens_kv, nullptr},
    {"seqused-q", "queries in use, int32 or int64 [batch]", Kind::index, Shape::per_batch, &Args::seqused_q, nullptr},
    {"seqused-kv", "keys in use [batch]", Kind::index, Shape::per_batch, &Args::seqused_kv, nullptr},
    {"leftpad-kv", "keys to skip at the start [batch]", Kind::index, Shape::per_batch, &Args::leftpad_kv, nullptr},
    {"kv-batch-index", "row of the cache for each sequence [batch]", Kind::index, Shape::per_batch,
     &Args::kv_batch_index, nullptr},
    {"page-table", "pages of each sequence, int32 [batch, pages]", Kind::page_number, Shape::pages, &Args::page_table,
     nullptr},
    {"page-table-value", "a separate table for values", Kind::page_number, Shape::pages, &Args::page_table_value,
     nullptr},
    {"new-key", "keys to append first, of the query's type [batch, new keys, key heads, dimension]", Kind::model,
     Shape::new_keys, nullptr, &Args::new_key},
    {"new-value", "values to append first", Kind::model, Shape::new_values, nullptr, &Args::new_value},
    {"rotary-cos", "cosines, of the query's type [positions, rotary dimension / 2]", Kind::model, Shape::rotary,
     &Args::rotary_cos, nullptr},
    {"rotary-sin", "sines", Kind::model, Shape::rotary, &Args::rotary_sin, nullptr},
    {"rotary-positions", "position of each sequence's first query [batch]", Kind::index, Shape::per_batch,
     &Args::rotary_positions, nullptr},
    {"query-descale", "factors of 8-bit queries, float32 [batch, key heads]", Kind::float32, Shape::descale,
     &Args::query_descale, nullptr},
    {"key-descale", "factors of 8-bit keys", Kind::float32, Shape::descale, &Args::key_descale, nullptr},
    {"value-descale", "factors of 8-bit values", Kind::float32, Shape::descale, &Args::value_descale, nullptr},
};

bool type_fits(Kind kind, NpyType type) {
  switch (kind) {
    case Kind::float32:
      return type == NpyType::float32;
    case Kind::any_float:
      return type == NpyType::float32 || type == NpyType::float16;
    case Kind::bias:
      return type == NpyType::float32 || type == NpyType::float16 || type == NpyType::uint16;
    case Kind::model:
      return type == NpyType::float16 || type == NpyType::uint16;
    case Kind::boolean:
      return type == NpyType::uint8;
    case Kind::index:
      return type == NpyType::int32 || type == NpyType::int64;
    case Kind::page_number:
      return type == NpyType::int32;
  }
  return false;
}

const char *type_words(Kind kind) {
  switch (kind) {
    case Kind::float32:
      return "float32";
    case Kind::any_float:
      return "float32 or float16";
    case Kind::bias:
      return "float32, float16, or uint16 bits of bfloat16";
    case Kind::model:
      return "float16, or uint16 bits of bfloat16";
    case Kind::boolean:
      return "bool";
    case Kind::index:
      return "int32 or int64";
    case Kind::page_number:
      return "int32";
  }
  return "";
}

using Dimensions = std::vector<int64_t>;

// Right-aligned against [batch, heads, queries, keys]; 1 or nothing stands for "the same for all", but not for the
// keys.
bool scores_fit(const Dimensions &shape, const Sizes &sizes) {
  const int64_t whole[4] = {sizes.batch, sizes.heads_q, sizes.seqlen_q, sizes.seqlen_kv};
  if (shape.size() < 2 || shape.size() > 4 || shape.back() != sizes.seqlen_kv) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t expected = whole[4 - shape.size() + i];
    if (shape[i] != expected && shape[i] != 1) return false;
  }
  return true;
}

// rotary_dim: 0 where the library will ask for it.
bool shape_fits(Shape kind, const Dimensions &shape, const Sizes &sizes, int64_t rotary_dim) {
  switch (kind) {
    case Shape::per_head:
      return shape == Dimensions{sizes.heads_q};
    case Shape::heads_or_batches:
      return shape == Dimensions{sizes.heads_q} || shape == Dimensions{sizes.batch, sizes.heads_q};
    case Shape::scores:
      return scores_fit(shape, sizes);
    case Shape::per_batch:
      return shape == Dimensions{sizes.batch};
    case Shape::bounds:
      return shape == Dimensions{sizes.batch + 1};
    case Shape::pages:
      return shape.size() == 2 && shape[0] == sizes.batch;
    case Shape::rotary:
      return shape.size() == 2 && (rotary_dim == 0 || 2 * shape[1] == rotary_dim);
    case Shape::descale:
      return shape == Dimensions{sizes.batch, sizes.heads_kv};
    case Shape::new_keys:
    case Shape::new_values:
      return shape.size() == 4 && shape[0] == sizes.batch && shape[2] == sizes.heads_kv &&
             shape[3] == (kind == Shape::new_keys ? sizes.head_dim : sizes.head_dim_v);
  }
  return false;
}

std::string shape_words(Shape kind, const Sizes &sizes) {
  switch (kind) {
    case Shape::per_head:
      return fmt::format("[{}]", sizes.heads_q);
    case Shape::heads_or_batches:
      return fmt::format("[{}] or [{}, {}]", sizes.heads_q, sizes.batch, sizes.heads_q);
    case Shape::scores:
      return fmt::format("[{}, {}, {}, {}], where the first three may be 1 and the first two missing", sizes.batch,
                         sizes.heads_q, sizes.seqlen_q, sizes.seqlen_kv);
    case Shape::per_batch:
      return fmt::format("[{}]", sizes.batch);
    case Shape::bounds:
      return fmt::format("[{}]", sizes.batch + 1);
    case Shape::pages:
      return fmt::format("[{}, pages]", sizes.batch);
    case Shape::rotary:
      return "[positions, rotary dimension / 2]";
    case Shape::descale:
      return fmt::format("[{}, {}]", sizes.batch, sizes.heads_kv);
    case Shape::new_keys:
    case Shape::new_values:
      return fmt::format("[{}, new keys, {}, {}]", sizes.batch, sizes.heads_kv,
                         kind == Shape::new_keys ? sizes.head_dim : sizes.head_dim_v);
  }
  return "";
}

int32_t library_dtype(const NpyArray &array) {
  switch (array.type) {
    case NpyType::float16:
      return FLASHCORE_DTYPE_FLOAT16;
    case NpyType::uint16:
      return FLASHCORE_DTYPE_BFLOAT16;
    case NpyType::float32:
      return FLASHCORE_DTYPE_FLOAT32;
    default:
      return FLASHCORE_DTYPE_DEFAULT;
  }
}

// Strides [batch, queries, heads, keys] of an array that scores_fit accepted.
void set_score_strides(const Dimensions &shape, flashcore_tensor &tensor) {
  int64_t dense[4] = {0, 0, 0, 0}, stride = 1;  // in the order of the file: batch, heads, queries, keys
  for (size_t back = 1; back <= shape.size(); ++back) {
    const int64_t size = shape[shape.size() - back];
    dense[4 - back] = size == 1 && back > 1 ? 0 : stride;
    stride *= size;
  }
  tensor.stride[0] = dense[0];
  tensor.stride[1] = dense[2];
  tensor.stride[2] = dense[1];
  tensor.stride[3] = 1;
}

// The numbers that go with an array.
void apply_shape(const ExtraArray &extra, const Sizes &sizes, Args &args) {
  const Dimensions &shape = extra.array.shape;
  switch (extra.row->shape) {
    case Shape::heads_or_batches:
      args.alibi_batch_stride = shape.size() == 2 ? sizes.heads_q : 0;
      break;
    case Shape::scores:
      set_score_strides(shape, args.*extra.row->tensor);
      break;
    case Shape::pages:
      args.page_table_stride = shape[1];
      break;
    case Shape::new_keys:
    case Shape::new_values:  // of as many rows as both have
      args.seqlen_new = args.seqlen_new == 0 ? shape[1] : std::min(args.seqlen_new, shape[1]);
      break;
    case Shape::rotary:
      args.rotary_table_rows = args.rotary_table_rows == 0 ? shape[0] : std::min(args.rotary_table_rows, shape[0]);
      break;
    case Shape::descale:
      args.descale_batch_stride = sizes.heads_kv;
      args.descale_head_stride = 1;
      break;
    default:
      break;
  }
  if (extra.row->kind == Kind::index)
    args.index_dtype = extra.array.type == NpyType::int64 ? FLASHCORE_DTYPE_INT64 : FLASHCORE_DTYPE_INT32;
}

}  // namespace

void declare_extra_arrays(po::options_description &group) {
  for (const ExtraArrayRow &row : rows) add_value(group, row.option, "FILE", row.help);
}

Outcome<std::vector<ExtraArray>> read_extra_arrays(const Options &options, const Sizes &sizes, Words &problems) {
  std::vector<ExtraArray> extras;
  const ExtraArray *first_index = nullptr;
  TOOLS_TRY_ASSIGN(const std::optional<int64_t> rotary_dim,
                   options.integer("rotary-dim", 1, std::numeric_limits<int32_t>::max()));
  extras.reserve(std::size(rows));  // first_index points into it
  for (const ExtraArrayRow &row : rows) {
    if (!options.has(row.option)) continue;
    TOOLS_TRY_ASSIGN(NpyArray array, read_npy(options.text(row.option)));
    if (!type_fits(row.kind, array.type))
      problems.push_back(fmt::format("--{} is {}, but must be {}", row.option, array.describe(), type_words(row.kind)));
    if (!shape_fits(row.shape, array.shape, sizes, rotary_dim.value_or(0)))
      problems.push_back(fmt::format("--{} is {}, but must have the shape {}", row.option, array.describe(),
                                     shape_words(row.shape, sizes)));
    extras.push_back({&row, row.option, std::move(array)});
    if (row.kind != Kind::index) continue;
    if (first_index != nullptr && first_index->array.type != extras.back().array.type)
      problems.push_back(fmt::format("--{} and --{} are int32 and int64, but all index arrays must be alike",
                                     first_index->option, row.option));
    if (first_index == nullptr) first_index = &extras.back();
  }
  return extras;
}

void apply_extra_array(const ExtraArray &extra, const Sizes &sizes, uint64_t address, Args &args) {
  if (extra.row->address != nullptr) args.*extra.row->address = address;
  if (extra.row->tensor != nullptr) {
    flashcore_tensor &tensor = args.*extra.row->tensor;
    tensor.data = address;
    tensor.dtype = library_dtype(extra.array);
  }
  apply_shape(extra, sizes, args);
}

}  // namespace flashcore::tools
