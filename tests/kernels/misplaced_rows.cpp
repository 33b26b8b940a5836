// SPDX-License-Identifier: Apache-2.0
#include "kernels/misplaced_rows.hpp"

#include <limits>

namespace flashcore::tests {
namespace {

constexpr int64_t sequences = 2, new_rows = 7, room = 16, columns = 64, guard = 512;
constexpr int64_t page_rows = 4, pages_of_sequence = room / page_rows, page_count = 9, cache_entries = 3;
constexpr int64_t least = std::numeric_limits<int64_t>::min(), most = std::numeric_limits<int64_t>::max();

// The bits of a new row's number: distinct, and of small numbers.
uint16_t new_bits(int64_t sequence, int64_t row, int64_t column, bool value) {
  return static_cast<uint16_t>(0x1000 + (value ? 0x800 : 0) + sequence * 0x400 + row * 0x40 + column);
}
constexpr uint16_t old_bits = 0x2c00;

std::vector<Place> rows_from(int64_t entry, int64_t first, int64_t there) {
  std::vector<Place> places;
  for (int64_t i = 0; i < new_rows; i++) places.push_back(i < there ? Place{entry, first + i} : Place{-1, 0});
  return places;
}
std::vector<Place> nowhere() { return rows_from(0, 0, 0); }

}  // namespace

std::vector<MisplacedRows> misplaced_rows() {
  std::vector<MisplacedRows> cases;
  cases.push_back({.name = "all in their place", .seqused = {3, 9}, .keys = {rows_from(0, 3, 7), rows_from(1, 9, 7)}});
  cases.push_back({.name = "no room", .seqused = {16, 12}, .keys = {nowhere(), rows_from(1, 12, 4)}});
  cases.push_back({.name = "more than there is", .seqused = {17, most}, .keys = {nowhere(), nowhere()}});
  cases.push_back(
      {.name = "less than nothing", .seqused = {-1, least}, .keys = {rows_from(0, 0, 7), rows_from(1, 0, 7)}});
  cases.push_back(
      {.name = "2^32 more", .seqused = {(int64_t{1} << 32) + 3, 9}, .keys = {nowhere(), rows_from(1, 9, 7)}});
  cases.push_back(
      {.name = "no such entry", .seqused = {3, 3}, .entries = {-1, cache_entries}, .keys = {nowhere(), nowhere()}});
  cases.push_back({.name = "entries far away",
                   .seqused = {3, 3},
                   .entries = {most, (int64_t{1} << 32) + 1},
                   .keys = {nowhere(), nowhere()}});
  cases.push_back({.name = "one entry", .entries = {2, least}, .keys = {rows_from(2, 9, 7), nowhere()}});
  cases.push_back({.name = "bounds fall", .bounds = {20, 5, 25}, .keys = {nowhere(), rows_from(0, 14, 7)}});
  cases.push_back({.name = "bounds behind the end",
                   .bounds = {30, 34, most},
                   .keys = {{{0, 30}, {0, 31}, {-1, 0}, {-1, 0}, {-1, 0}, {-1, 0}, {-1, 0}}, nowhere()}});
  // New rows 5 to 11, of a sequence's second page and of its third.
  const auto paged = [](int64_t first, int64_t second) {
    std::vector<Place> places;
    for (int64_t row = 5; row < 8; row++) places.push_back({first, row % page_rows});
    for (int64_t row = 8; row < 12; row++) places.push_back({second, row % page_rows});
    return places;
  };
  cases.push_back({.name = "pages that are not there",
                   .seqused = {5, 5},
                   .pages = {0, -1, 8, 1, 2, 3, 9, 4},
                   .keys = {paged(-1, 8), paged(3, -1)}});
  cases.push_back(
      {.name = "pages far away",
       .seqused = {5, 5},
       .pages = {0, std::numeric_limits<int32_t>::min(), 1, 2, 3, std::numeric_limits<int32_t>::max(), 4, 5},
       .keys = {paged(-1, 1), paged(-1, 4)}});
  cases.push_back({.name = "pages of values that are not there",
                   .seqused = {5, 5},
                   .pages = {0, 1, 2, 3, 4, 5, 6, 7},
                   .value_pages = {0, 9, 2, 3, 4, 5, -7, 7},
                   .keys = {paged(1, 2), paged(5, 6)},
                   .values = {paged(-1, 2), paged(5, -1)}});
  return cases;
}

uint64_t MisplacedOnDevice::put(const void *bytes, int64_t count) {
  buffers_.push_back(std::make_unique<DeviceBuffer>(device_, count));
  buffers_.back()->write(bytes);
  return buffers_.back()->address();
}

MisplacedOnDevice::MisplacedOnDevice(const Device &device, const MisplacedRows &one)
    : device_(device), case_(one), args_(FLASHCORE_ATTENTION_ARGS_INIT) {
  args_.batch = sequences, args_.seqlen_q = 1, args_.seqlen_kv = room, args_.seqlen_new = new_rows;
  args_.heads_q = 1, args_.head_dim = columns;
  args_.query.dtype = FLASHCORE_DTYPE_FLOAT16, args_.index_dtype = FLASHCORE_DTYPE_INT64;
  const auto numbers = [&](const std::vector<int64_t> &array) {
    return array.empty() ? 0 : put(array.data(), static_cast<int64_t>(array.size()) * 8);
  };
  const auto pages = [&](const std::vector<int32_t> &table) {
    return table.empty() ? 0 : put(table.data(), static_cast<int64_t>(table.size()) * 4);
  };
  args_.seqused_kv = numbers(one.seqused);
  args_.kv_batch_index = numbers(one.entries), args_.kv_batch_count = one.entries.empty() ? 0 : cache_entries;
  args_.cu_seqlens_kv = numbers(one.bounds), args_.total_kv = one.bounds.empty() ? 0 : sequences * room;
  if (!one.pages.empty()) {
    args_.page_table = pages(one.pages), args_.page_table_value = pages(one.value_pages);
    args_.page_count = page_count, args_.page_size = page_rows;
  }
  const std::vector<uint16_t> query(sequences * columns, old_bits), output(sequences * columns, 0);
  args_.query.data = put(query.data(), static_cast<int64_t>(query.size()) * 2);
  args_.output.data = put(output.data(), static_cast<int64_t>(output.size()) * 2);
  for (const bool value : {false, true}) {
    std::vector<uint16_t> rows;
    for (int64_t b = 0; b < sequences; b++)
      for (int64_t row = 0; row < new_rows; row++)
        for (int64_t column = 0; column < columns; column++) rows.push_back(new_bits(b, row, column, value));
    (value ? args_.new_value : args_.new_key).data = put(rows.data(), static_cast<int64_t>(rows.size()) * 2);
    const std::vector<uint16_t> cache(cache_entries * room * columns + 2 * guard, old_bits);
    (value ? args_.value : args_.key).data = put(cache.data(), static_cast<int64_t>(cache.size()) * 2) + guard * 2;
    (value ? value_ : key_) = buffers_.back().get();
  }
}

std::string MisplacedOnDevice::judge() const {
  device_.synchronize();
  for (const bool value : {false, true}) {
    const auto &places = value && !case_.values.empty() ? case_.values : case_.keys;
    std::vector<uint16_t> found(cache_entries * room * columns + 2 * guard), expected(found.size(), old_bits);
    (value ? value_ : key_)->read(found.data());
    const int64_t rows_of_entry = case_.pages.empty() ? room : page_rows;
    for (size_t b = 0; b < places.size(); b++)
      for (size_t row = 0; row < places[b].size(); row++) {
        const Place place = places[b][row];
        if (place.entry < 0) continue;
        for (int64_t column = 0; column < columns; column++)
          expected[static_cast<size_t>(guard + (place.entry * rows_of_entry + place.row) * columns + column)] =
              new_bits(static_cast<int64_t>(b), static_cast<int64_t>(row), column, value);
      }
    for (size_t i = 0; i < found.size(); i++)
      if (found[i] != expected[i])
        return std::string(value ? "value" : "key") + " element " + std::to_string(static_cast<int64_t>(i) - guard) +
               " is " + std::to_string(found[i]) + " in place of " + std::to_string(expected[i]);
  }
  return {};
}

}  // namespace flashcore::tests
