// SPDX-License-Identifier: Apache-2.0
#include "copy_engine.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "block_state.hpp"

namespace emulator {
namespace {

constexpr const char *copy_name = "cp.async.bulk.tensor", *wait_name = "mbarrier.try_wait";
constexpr int64_t element_bytes = 2, row_bytes = 128, chunk_bytes = 16, chunk_elements = chunk_bytes / element_bytes;
// Most arrivals, and most bytes under way either way.
constexpr int32_t most_arrivals = (1 << 20) - 1;

int64_t offset_of(uint32_t address) { return int64_t{without_rank(address)} - window_begins; }

// Where the permutation of 128-byte rows puts a byte.
int64_t permuted(int64_t offset) { return offset ^ (offset >> 7 & 7) << 4; }

}  // namespace

std::string ByteRange::text() const {
  return "bytes " + std::to_string(begin) + " to " + std::to_string(end - 1) + " of shared memory";
}

// ---- Barriers ------------------------------------------------------------------------------------------------------
void CopyEngine::init(uint32_t at, int32_t arrivals) {
  unsigned char *const bytes = block_.shared_at("mbarrier.init", at, 8);
  if (arrivals < 1 || arrivals > most_arrivals)
    block_.fault("mbarrier.init: " + std::to_string(arrivals) + " arrivals; allowed: 1 to " +
                 std::to_string(most_arrivals));
  if (barriers_.contains(at)) block_.fault("mbarrier.init: there is a barrier already");
  const uint64_t token = uint64_t{0xba221e50} << 32 | at;
  std::memcpy(bytes, &token, sizeof(token));
  barriers_[at] = {token, arrivals, arrivals, 0, 0, &block_.current(), false, {}};
}

void CopyEngine::fence_init() {
  for (auto &[at, barrier] : barriers_)
    if (barrier.initialiser == &block_.current()) barrier.fenced = true;
}

CopyEngine::Barrier &CopyEngine::find(const char *what, uint32_t at) {
  const unsigned char *const bytes = block_.shared_at(what, at, 8);
  const auto found = barriers_.find(at);
  if (found == barriers_.end())
    block_.fault(std::string(what) + ": no barrier was initialised at byte " + std::to_string(offset_of(at)));
  if (std::memcmp(bytes, &found->second.token, 8) != 0)
    block_.fault(std::string(what) + ": the barrier at byte " + std::to_string(offset_of(at)) + " was overwritten");
  return found->second;
}

void CopyEngine::arrive(uint32_t at, uint32_t expected_bytes) {
  const char *const what = expected_bytes != 0 ? "mbarrier.arrive.expect_tx" : "mbarrier.arrive";
  Barrier &barrier = find(what, at);
  if (barrier.pending == 0)
    block_.fault(std::string(what) + ": the phase has had its " + std::to_string(barrier.arrivals) + " arrivals");
  barrier.bytes += expected_bytes;
  if (barrier.bytes > most_arrivals) block_.fault(std::string(what) + ": more bytes than a barrier counts");
  --barrier.pending;
  end_phase_if_due(barrier);
}

void CopyEngine::end_phase_if_due(Barrier &barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.arrivals;
  for (const Thread *thread : barrier.waiting) block_.wake(*thread);
  barrier.waiting.clear();
  block_.reorder();
}

// Whoever is woken looks again, and may find that it has come a phase too late.
void CopyEngine::wait(uint32_t at, uint32_t parity) {
  if (parity > 1) block_.fault(std::string(wait_name) + ": the parity is " + std::to_string(parity));
  block_.let_others_go_first(wait_name);
  while (find(wait_name, at).phase % 2 == parity) {
    find(wait_name, at).waiting.push_back(&block_.current());
    block_.wait(wait_name);
  }
}

// ---- Copies --------------------------------------------------------------------------------------------------------
void check_tensor_map(const char *what, const void *tensor_map) {
  fake::TensorMapImage map;
  std::memcpy(&map, tensor_map, sizeof(map));
  const std::string name = what;
  if (reinterpret_cast<uintptr_t>(tensor_map) % 64 != 0) fault(name + ": the tensor map is at no multiple of 64");
  if (map.mark != fake::TensorMapImage::is_one) fault(name + ": this is no tensor map");
  const bool plain =
      std::all_of(map.element_strides, map.element_strides + map.rank, [](uint32_t s) { return s == 1; });
  if (map.rank != 4 || (map.type != CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && map.type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16) ||
      map.interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || map.swizzle != CU_TENSOR_MAP_SWIZZLE_128B ||
      map.fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE || map.box[0] * element_bytes != row_bytes || !plain)
    fault(name + ": only boxes of 16-bit tensors of four dimensions, with rows of 128 permuted bytes, are emulated");
}

void CopyEngine::copy(uint32_t destination, const void *tensor_map, uint32_t barrier, const BoxPlace &place) {
  check_tensor_map(copy_name, tensor_map);
  Box box{{}, place, {}, barrier};
  std::memcpy(&box.map, tensor_map, sizeof(box.map));
  const int64_t rows = int64_t{box.map.box[1]} * box.map.box[2] * box.map.box[3];
  if (!find(copy_name, barrier).fenced)
    block_.fault(std::string(copy_name) + ": its barrier was initialised without fence.mbarrier_init");
  block_.shared_at(copy_name, destination, row_bytes);
  box.destination = {offset_of(destination), offset_of(destination) + rows * row_bytes};
  block_.shared_at(copy_name, block_.address_of(box.destination.end - row_bytes), row_bytes);
  for (const Box &other : boxes_)
    if (other.destination.meets(box.destination))
      block_.fault(std::string(copy_name) + " to " + box.destination.text() + ", where another is under way");
  block_.check_not_read(copy_name, box.destination);
  block_.spoil(shared_window() + box.destination.begin, rows * row_bytes);
  if (block_.now(block_.copy_time()))
    land(box);
  else
    boxes_.push_back(box);
}

// What lies outside of the tensor is zeros.
void CopyEngine::land(const Box &box) {
  const fake::TensorMapImage &map = box.map;
  int64_t offset = box.destination.begin;
  for (uint32_t b = 0; b < map.box[3]; ++b)
    for (uint32_t h = 0; h < map.box[2]; ++h)
      for (uint32_t r = 0; r < map.box[1]; ++r) {
        const int64_t at[4] = {box.place.column, int64_t{box.place.row} + r, int64_t{box.place.head} + h,
                               int64_t{box.place.batch} + b};
        bool inside = true;
        auto source = static_cast<int64_t>(map.address);
        for (size_t i = 1; i < 4; ++i) {
          inside &= at[i] >= 0 && at[i] < static_cast<int64_t>(map.sizes[i]);
          source += at[i] * static_cast<int64_t>(map.strides_bytes[i - 1]);
        }
        const auto *const row = reinterpret_cast<const uint16_t *>(source);
        for (int64_t chunk = 0; chunk < row_bytes / chunk_bytes; ++chunk, offset += chunk_bytes) {
          uint16_t elements[chunk_elements];
          for (int64_t i = 0; i < chunk_elements; ++i) {
            const int64_t column = at[0] + chunk * chunk_elements + i;
            elements[i] = inside && column >= 0 && column < static_cast<int64_t>(map.sizes[0]) ? row[column] : 0;
          }
          std::memcpy(shared_window() + permuted(offset), elements, sizeof(elements));
        }
      }
  if (!unfenced_.empty())
    std::fill(unfenced_.begin() + box.destination.begin / chunk_bytes,
              unfenced_.begin() + box.destination.end / chunk_bytes, uint16_t{0});
  Barrier &barrier = find(copy_name, box.barrier);
  barrier.bytes -= box.destination.end - box.destination.begin;
  if (barrier.bytes < -most_arrivals) block_.fault(std::string(copy_name) + ": more bytes than a barrier counts");
  end_phase_if_due(barrier);
}

void CopyEngine::land_one() {
  const size_t i = block_.random() % boxes_.size();
  const Box box = boxes_[i];
  boxes_.erase(boxes_.begin() + static_cast<int64_t>(i));
  land(box);
}

// ---- Stores --------------------------------------------------------------------------------------------------------
void CopyEngine::stored(uint32_t address, int32_t bytes) {
  block_.check_not_read("st.shared", {offset_of(address), offset_of(address) + bytes});
  if (unfenced_.empty()) unfenced_.resize(arena_bytes / chunk_bytes);
  for (int64_t at = offset_of(address); at < offset_of(address) + bytes; at += chunk_bytes)
    unfenced_[static_cast<size_t>(at / chunk_bytes)] = static_cast<uint16_t>(block_.place().thread.x + 1);
}

void CopyEngine::fence_stores() {
  std::replace(unfenced_.begin(), unfenced_.end(), static_cast<uint16_t>(block_.place().thread.x + 1), uint16_t{0});
}

void CopyEngine::check_read(const char *what, const ByteRange &range) const {
  for (const Box &box : boxes_)
    if (box.destination.meets(range))
      block_.fault(std::string(what) + " reads " + range.text() + ", where a copy is under way");
  if (unfenced_.empty()) return;
  const auto begin = unfenced_.begin() + range.begin / chunk_bytes, end = unfenced_.begin() + range.end / chunk_bytes;
  const auto stored = std::find_if(begin, end, [](uint16_t who) { return who != 0; });
  if (stored != end)
    block_.fault(std::string(what) + " reads " + range.text() + ", where thread " + std::to_string(*stored - 1) +
                 " has stored without fence.proxy.async");
}

}  // namespace emulator
