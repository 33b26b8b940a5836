// SPDX-License-Identifier: Apache-2.0
#include "problem/validate_rows.hpp"

#include <limits>
#include <string>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;
using kernels::ProblemKey;

constexpr int64_t largest_size = std::numeric_limits<int32_t>::max();  // kernels count rows and pages in 32 bits

struct Count {
  const char *field;
  int64_t value;
};

// A number that belongs to an array, which is there.
Status check_count(const Count &count, int64_t least) {
  if (count.value >= least && count.value <= largest_size) return success();
  return invalid_field(count.field, std::to_string(count.value),
                       std::to_string(least) + " to " + std::to_string(largest_size));
}
// ... or is not, so that the number would be ignored.
Status check_unused(const Count &count, const char *array) {
  if (count.value == 0) return success();
  return invalid_field(count.field, std::to_string(count.value), std::string("0 without ") + array + ", which is 0");
}

Error together(const char *field, uint64_t value, const char *other, const char *why) {
  return invalid_field(field, hex_text(value), std::string("0 with ") + other + ", " + why);
}

Status check_total(const Count &total, const char *array, uint64_t address, int64_t &in_key) {
  if (address == 0) return check_unused(total, array);
  FLASHCORE_TRY(check_count(total, 1));
  in_key = total.value;
  return success();
}

Status check_index_dtype(const Args &args, ProblemKey &key) {
  if (args.index_dtype == FLASHCORE_DTYPE_DEFAULT || args.index_dtype == FLASHCORE_DTYPE_INT32) return success();
  if (args.index_dtype != FLASHCORE_DTYPE_INT64)
    return invalid_field("index_dtype", std::to_string(args.index_dtype),
                         "0 or FLASHCORE_DTYPE_INT32 (6), or FLASHCORE_DTYPE_INT64 (7)");
  if (key.ragged_by != kernels::by_nothing || args.rotary_positions != 0) key.index_dtype = kernels::dtype_int64;
  return success();
}

int32_t first_array(const Args &args) {
  return args.leftpad_kv != 0       ? kernels::by_leftpad_kv
         : args.cu_seqlens_q != 0   ? kernels::by_cu_seqlens_q
         : args.cu_seqlens_kv != 0  ? kernels::by_cu_seqlens_kv
         : args.seqused_q != 0      ? kernels::by_seqused_q
         : args.seqused_kv != 0     ? kernels::by_seqused_kv
         : args.kv_batch_index != 0 ? kernels::by_kv_batch_index
                                    : kernels::by_nothing;
}

Status check_pages(const Args &args, ProblemKey &key) {
  if (args.page_table == 0) {
    FLASHCORE_TRY(check_unused({"page_table_stride", args.page_table_stride}, "page_table"));
    FLASHCORE_TRY(check_unused({"page_count", args.page_count}, "page_table"));
    FLASHCORE_TRY(check_unused({"page_size", args.page_size}, "page_table"));
    if (args.page_table_value == 0) return success();
    return invalid_field("page_table_value", hex_text(args.page_table_value), "0 without page_table, which is 0");
  }
  FLASHCORE_TRY(check_count({"page_size", args.page_size}, 1));
  FLASHCORE_TRY(check_count({"page_count", args.page_count}, 1));
  if (args.cu_seqlens_kv != 0)
    return together("cu_seqlens_kv", args.cu_seqlens_kv, "page_table",
                    "whose keys follow one another by the table alone");
  if (args.kv_batch_index != 0)
    return together("kv_batch_index", args.kv_batch_index, "page_table", "whose rows say where each sequence lies");
  key.rows = kernels::rows_paged;
  key.kv_batches = args.page_count;
  key.page_size = args.page_size;
  return success();
}

Status check_cache_entries(const Args &args, ProblemKey &key) {
  const Count count = {"kv_batch_count", args.kv_batch_count};
  if (args.kv_batch_index == 0) return check_unused(count, "kv_batch_index");
  FLASHCORE_TRY(check_count(count, 1));
  if (args.cu_seqlens_kv != 0)
    return together("kv_batch_index", args.kv_batch_index, "cu_seqlens_kv", "which says where each sequence lies");
  key.kv_batches = args.kv_batch_count;
  return success();
}

}  // namespace

Status check_rows(const Args &args, ProblemKey &key) {
  key.kv_batches = key.batch;
  key.ragged_by = first_array(args);
  if (key.ragged_by != kernels::by_nothing) key.rows = kernels::rows_ragged;
  FLASHCORE_TRY(check_index_dtype(args, key));
  FLASHCORE_TRY(check_total({"total_q", args.total_q}, "cu_seqlens_q", args.cu_seqlens_q, key.total_q));
  FLASHCORE_TRY(check_total({"total_kv", args.total_kv}, "cu_seqlens_kv", args.cu_seqlens_kv, key.total_kv));
  FLASHCORE_TRY(check_cache_entries(args, key));
  return check_pages(args, key);
}

}  // namespace flashcore
