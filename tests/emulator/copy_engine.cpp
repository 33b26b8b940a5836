// SPDX-License-Identifier: Apache-2.0
#include "copy_engine.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "block_state.hpp"

namespace emulator {
namespace {

constexpr const char *copy_name = "cp.async.bulk.tensor";
constexpr int64_t barrier_bytes = 8, element_bytes = 2, row_bytes = 128, chunk_bytes = 16,
                  chunk_elements = chunk_bytes / element_bytes;
// Most arrivals, and most bytes under way either way.
constexpr int32_t most_arrivals = (1 << 20) - 1;

// Where the permutation of 128-byte rows puts a byte.
int64_t permuted(int64_t offset) { return offset ^ (offset >> 7 & 7) << 4; }

}  // namespace

std::string ByteRange::text() const {
  return "bytes " + std::to_string(begin) + " to " + std::to_string(end - 1) + " of shared memory";
}

// ---- Barriers ------------------------------------------------------------------------------------------------------
void CopyEngine::init(uint32_t at, int32_t arrivals, const Site &site) {
  unsigned char *const bytes = block_.shared_at(site.what, at, barrier_bytes);
  if (arrivals < 1 || arrivals > most_arrivals)
    block_.fault("mbarrier.init: " + std::to_string(arrivals) + " arrivals; allowed: 1 to " +
                 std::to_string(most_arrivals));
  if (barriers_.contains(at)) block_.fault("mbarrier.init: there is a barrier already");
  block_.races().by_thread(block_.races(), block_.thread(), Access::write,
                           {offset_of(at), offset_of(at) + barrier_bytes}, site);
  const uint64_t token = uint64_t{0xba221e50} << 32 | at;
  std::memcpy(bytes, &token, sizeof(token));
  Barrier barrier{token, arrivals, arrivals};
  barrier.number = static_cast<uint32_t>(barriers_.size()), barrier.initialiser = &block_.current();
  barriers_[at] = std::move(barrier);
}

void CopyEngine::fence_init() {
  for (auto &[at, barrier] : barriers_)
    if (barrier.initialiser == &block_.current()) barrier.fenced = true;
}

CopyEngine::Barrier &CopyEngine::find(uint32_t at, const Site &site) {
  const unsigned char *const bytes = block_.shared_at(site.what, at, barrier_bytes);
  const auto found = barriers_.find(at);
  if (found == barriers_.end())
    block_.fault(std::string(site.what) + ": no barrier was initialised at byte " + std::to_string(offset_of(at)));
  if (std::memcmp(bytes, &found->second.token, barrier_bytes) != 0)
    block_.fault(std::string(site.what) + ": the barrier at byte " + std::to_string(offset_of(at)) +
                 " was overwritten");
  return found->second;
}

CopyEngine::Barrier &CopyEngine::find_for_thread(uint32_t at, const Site &site) {
  Barrier &barrier = find(at, site);
  block_.races().by_thread(block_.races(), block_.thread(), Access::atomic,
                           {offset_of(at), offset_of(at) + barrier_bytes}, site);
  return barrier;
}

void CopyEngine::arrive(uint32_t at, uint32_t expected_bytes, const Site &site) {
  Barrier &barrier = find_for_thread(at, site);
  if (barrier.pending == 0)
    block_.fault(std::string(site.what) + ": the phase has had its " + std::to_string(barrier.arrivals) + " arrivals");
  barrier.bytes += expected_bytes;
  if (barrier.bytes > most_arrivals) block_.fault(std::string(site.what) + ": more bytes than a barrier counts");
  block_.races().release(block_.thread(), barrier.knowledge);
  --barrier.pending;
  end_phase_if_due(barrier);
}

void CopyEngine::end_phase_if_due(Barrier &barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  uint32_t arrived = barrier.phase;  // all boxes of earlier phases, as a rule
  for (const Box &box : boxes_)
    if (&barriers_.at(box.barrier) == &barrier) arrived = std::min(arrived, box.phase);
  barrier.knowledge.set(block_.races().copies_to(barrier.number), arrived);
  barrier.of_last_phase = barrier.knowledge.give();
  barrier.pending = barrier.arrivals;
  for (const Thread *thread : barrier.waiting) block_.wake(*thread);
  barrier.waiting.clear();
  block_.reorder();
}

// Whoever is woken looks again, and may find that it has come a phase too late.
void CopyEngine::wait(uint32_t at, uint32_t parity, const Site &site) {
  if (parity > 1) block_.fault(std::string(site.what) + ": the parity is " + std::to_string(parity));
  block_.let_others_go_first(site.what);
  find_for_thread(at, site);
  while (find(at, site).phase % 2 == parity) {
    find(at, site).waiting.push_back(&block_.current());
    block_.wait(site.what);
  }
  block_.races().acquire(block_.thread(), find(at, site).of_last_phase);
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

void CopyEngine::copy(uint32_t destination, const void *tensor_map, uint32_t barrier, const BoxPlace &place,
                      const Site &site) {
  check_tensor_map(copy_name, tensor_map);
  const Barrier &arrival = find_for_thread(barrier, site);
  Box box{{}, place, {}, barrier, arrival.phase, site};
  std::memcpy(&box.map, tensor_map, sizeof(box.map));
  const int64_t rows = int64_t{box.map.box[1]} * box.map.box[2] * box.map.box[3];
  if (!arrival.fenced)
    block_.fault(std::string(copy_name) + ": its barrier was initialised without fence.mbarrier_init");
  block_.shared_at(copy_name, destination, row_bytes);
  box.destination = {offset_of(destination), offset_of(destination) + rows * row_bytes};
  block_.shared_at(copy_name, block_.address_of(box.destination.end - row_bytes), row_bytes);
  for (const Box &other : boxes_)
    if (other.destination.meets(box.destination))
      block_.fault(std::string(copy_name) + " to " + box.destination.text() + ", where another is under way");
  block_.check_not_read(copy_name, box.destination);
  block_.races().by_copy_to(arrival.number, arrival.phase, block_.thread(), box.destination, site);
  block_.spoil(shared_window() + box.destination.begin, rows * row_bytes);
  ++in_background;
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
  Barrier &barrier = find(box.barrier, box.site);
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
