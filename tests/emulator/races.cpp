// SPDX-License-Identifier: Apache-2.0
#include "races.hpp"

#include <algorithm>
#include <bit>

#include "block_state.hpp"
#include "source_line.hpp"

namespace emulator {
namespace {

constexpr uint32_t most_barriers = 64;
constexpr int64_t chunk_bytes = 16;

void join_into(std::vector<uint32_t> &clock, const std::vector<uint32_t> &other) {
  for (size_t i = 0; i < clock.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

}  // namespace

// ---- Clocks --------------------------------------------------------------------------------------------------------
void Gathering::join(const Clock &clock) {
  if (clock_ == nullptr || given_) {
    clock_ = std::make_shared<std::vector<uint32_t>>(clock_ == nullptr ? *clock : *clock_);
    given_ = false;
  }
  if (clock != last_) join_into(*clock_, *clock);
  last_ = clock;
}

Clock Gathering::give() {
  given_ = true;
  return clock_;
}

// Actors are threads; the copies of each; products of each warpgroup; copies to each barrier in shared memory.
Races::Races(const Cluster &cluster, uint32_t rank, int32_t threads, int64_t shared_bytes)
    : cluster_(cluster),
      rank_(rank),
      threads_(static_cast<uint32_t>(threads)),
      clocks_(threads_, std::make_shared<std::vector<uint32_t>>(
                            2 * threads_ + threads_ / Warpgroup::threads + most_barriers, 0u)),
      epochs_(threads_, latest_),
      copies_arrived_(threads_, 0),
      joined_(8),
      chunks_(take_chunks(shared_bytes)) {}

Races::~Races() {
  for (Chunk &chunk : chunks_) chunk.records.clear(), chunk.newest_write = 0;
  free_chunks_.push_back(std::move(chunks_));
}

Races::Chunks Races::take_chunks(int64_t shared_bytes) {
  Chunks chunks;
  if (!free_chunks_.empty()) chunks = std::move(free_chunks_.back()), free_chunks_.pop_back();
  chunks.resize(std::max(chunks.size(), static_cast<size_t>((shared_bytes + chunk_bytes - 1) / chunk_bytes)));
  return chunks;
}

void Races::release(uint32_t thread, Gathering &to) {
  to.join(clocks_[thread]);
  to.set(thread, epochs_[thread]++);
  to.set(threads_ + thread, copies_arrived_[thread]);
  latest_ = std::max(latest_, epochs_[thread]);
}

void Races::acquire(uint32_t thread, const Clock &clock) {
  Clock &own = clocks_[thread];
  if (clock == nullptr || own == clock) return;
  for (const Joined &joined : joined_)
    if (joined.one == own && joined.other == clock) {
      own = joined.both;
      return;
    }
  auto both = std::make_shared<std::vector<uint32_t>>(*own);
  join_into(*both, *clock);
  joined_[next_joined_++ % joined_.size()] = {own, clock, both};
  own = both;
}

void Races::meet(std::span<const uint32_t> threads, Gathering &arrived) {
  for (const uint32_t thread : threads) release(thread, arrived);
  const Clock clock = arrived.give();
  ++latest_;
  for (const uint32_t thread : threads) clocks_[thread] = clock, epochs_[thread] = latest_;
  if (threads.size() == threads_) floor_ = latest_;
}

void Races::meet_warp(uint32_t warp) {
  uint32_t threads[warp_size];
  for (uint32_t lane = 0; lane < warp_size; ++lane) threads[lane] = warp * warp_size + lane;
  Gathering all;
  meet(threads, all);
}

void Races::meet_cluster() {
  std::vector<uint32_t> threads(threads_);
  for (uint32_t thread = 0; thread < threads_; ++thread) threads[thread] = thread;
  Gathering all;
  meet(threads, all);
  cluster_floor_ = floor_, at_cluster_barrier_ = clocks_[0];
}

Clock Races::products_done(uint32_t warpgroup, uint32_t products) const {
  auto clock = std::make_shared<std::vector<uint32_t>>(clocks_[0]->size(), 0u);
  (*clock)[products_of(warpgroup)] = products;
  return clock;
}

uint32_t Races::copies_to(uint32_t barrier) const {
  if (barrier >= most_barriers) emulator::fault("more barriers in shared memory than are emulated, 64");
  return 2 * threads_ + threads_ / Warpgroup::threads + barrier;
}

// ---- Accesses ------------------------------------------------------------------------------------------------------
Races::Actor Races::actor_of(uint32_t thread) const {
  return {thread / warp_size * warp_size, uint32_t{1} << thread % warp_size, epochs_[thread]};
}

void Races::by_thread(Races &owner, uint32_t thread, Access access, const ByteRange &range, const Site &site) const {
  owner.note({actor_of(thread), static_cast<uint8_t>(rank_), access, 0, site}, {*this, *clocks_[thread], thread},
             range);
}

void Races::by_lanes(uint32_t warp, uint32_t lanes, Access access, const ByteRange &range, const Site &site) {
  for_each_clock(warp, lanes, [&](uint32_t first, uint32_t same) {
    const Actor actor = {warp * warp_size, same, epochs_[first]};
    note({actor, static_cast<uint8_t>(rank_), access, 0, site},
         {*this, *clocks_[first], std::has_single_bit(same) ? int64_t{first} : -1}, range);
  });
}

void Races::by_copy(uint32_t thread, uint32_t group, const ByteRange &range, const Site &site) {
  note({{threads_ + thread, 1, group + 1}, static_cast<uint8_t>(rank_), Access::write, 0, site},
       {*this, *clocks_[thread], thread}, range);
}

void Races::by_copy_to(uint32_t barrier, uint32_t phase, uint32_t thread, const ByteRange &range, const Site &site) {
  note({{copies_to(barrier), 1, phase + 1}, static_cast<uint8_t>(rank_), Access::write, 0, site},
       {*this, *clocks_[thread], thread}, range);
}

bool Races::Record::same_but_for_lanes_and_bytes(const Record &other) const {
  return actor.first == other.actor.first && actor.epoch == other.actor.epoch && rank == other.rank &&
         access == other.access && site.caller == other.site.caller;
}

bool Races::Record::stands_in_for(const Record &other) const {
  return (other.actor.lanes & ~actor.lanes) == 0 && (other.bytes & ~bytes) == 0 && same_but_for_lanes_and_bytes(other);
}

bool Races::Record::take_in(const Record &other) {
  const bool same_bytes = bytes == other.bytes;
  if ((!same_bytes && actor.lanes != other.actor.lanes) || !same_but_for_lanes_and_bytes(other)) return false;
  actor.lanes |= other.actor.lanes, bytes |= other.bytes;
  return true;
}

void Races::note(Record record, const Issuer &issuer, const ByteRange &range) {
  for (int64_t at = range.begin; at < range.end;) {
    const int64_t chunk = at / chunk_bytes, end = std::min(range.end, (chunk + 1) * chunk_bytes);
    record.bytes = static_cast<uint16_t>(((1u << (end - at)) - 1) << at % chunk_bytes);
    note_chunk(record, issuer, chunk);
    at = end;
  }
}

// Most accesses are reads of what nobody writes any more. Those of a warp by one instruction come lane by lane, and bytes by bytes: one record is
// to be left of them, and it is among the last. With many records it is time to look which of them are still needed.
bool Races::is_noted_read(Chunk &chunk, const Record &now) const {
  constexpr size_t many = 48, looked_at = 6;
  std::vector<Record> &records = chunk.records;
  if (now.access != Access::read || now.rank != rank_ || chunk.newest_write >= floor_ || records.size() >= many)
    return false;
  const size_t end = records.size() - std::min(records.size(), looked_at);
  for (size_t i = records.size(); i-- > end;) {
    if (records[i].stands_in_for(now)) return true;
    if (!records[i].take_in(now)) continue;
    for (size_t other = i; other-- > end;)
      if (records[other].take_in(records[i])) {
        records.erase(records.begin() + static_cast<int64_t>(i));
        break;
      }
    return true;
  }
  records.push_back(now);
  return true;
}

// Records are those that an access to come may be in a race with: one that an ordered access stands in for is dropped.
void Races::note_chunk(const Record &now, const Issuer &issuer, int64_t chunk) {
  Chunk &of_chunk = chunks_[static_cast<size_t>(chunk)];
  if (is_noted_read(of_chunk, now)) return;
  std::vector<Record> &records = of_chunk.records;
  const bool alone = cluster_.is_alone();
  Record kept = now;
  of_chunk.newest_write = 0;
  for (size_t i = 0; i < records.size();) {
    Record &before = records[i];
    const bool same_actor = before.actor.first == now.actor.first && before.rank == now.rank;
    if (before.access == Access::read && now.access == Access::read) {
      if (!same_actor) {  // most of all pairs
        ++i;
        continue;
      }
      if (kept.take_in(before))
        before.bytes = 0;
      else if ((before.bytes & ~now.bytes) == 0)
        before.actor.lanes &= ~now.actor.lanes;
    } else if ((before.bytes & now.bytes) != 0 && (before.access != Access::atomic || now.access != Access::atomic)) {
      // A thread alone is in no race with itself.
      const bool itself = same_actor && now.actor.first < threads_ && std::has_single_bit(now.actor.lanes);
      const uint32_t others = itself ? before.actor.lanes & ~now.actor.lanes : before.actor.lanes;
      if (others != 0 && !happened_before(before, others, issuer)) fault(before, others, now, chunk);
      if (now.access == Access::write || before.access == Access::read)
        before.bytes = static_cast<uint16_t>(before.bytes & ~now.bytes);
    } else if (before.bytes == kept.bytes && kept.take_in(before)) {  // atomic ones
      before.bytes = 0;
    }
    const bool known_to_all = alone && before.actor.first < threads_ && before.actor.epoch < floor_;
    if (before.bytes == 0 || before.actor.lanes == 0 || known_to_all) {
      before = records.back();
      records.pop_back();
    } else {
      of_chunk.newest_write = std::max(of_chunk.newest_write, epoch_of_write(before));
      ++i;
    }
  }
  of_chunk.newest_write = std::max(of_chunk.newest_write, epoch_of_write(kept));
  records.push_back(kept);
}

uint32_t Races::epoch_of_write(const Record &record) const {
  if (record.access == Access::read) return 0;
  return record.rank == rank_ && record.actor.first < threads_ ? record.actor.epoch : never;
}

bool Races::happened_before(const Record &before, uint32_t lanes, const Issuer &issuer) const {
  const Races &by = issuer.races;
  const uint32_t first = before.actor.first, epoch = before.actor.epoch;
  if (before.rank != by.rank_) {
    const Races &other = cluster_.block(before.rank).races();
    return first < threads_ ? epoch < other.cluster_floor_
                            : other.at_cluster_barrier_ != nullptr && epoch <= (*other.at_cluster_barrier_)[first];
  }
  if (first >= threads_) {
    const bool own_copies = issuer.thread >= 0 && first == threads_ + static_cast<uint32_t>(issuer.thread);
    return epoch <= (own_copies ? by.copies_arrived_[static_cast<size_t>(issuer.thread)] : issuer.clock[first]);
  }
  if (epoch < by.floor_) return true;
  for (; lanes != 0; lanes &= lanes - 1)
    if (issuer.clock[first + static_cast<uint32_t>(std::countr_zero(lanes))] < epoch) return false;
  return true;
}

std::string Races::name_of(const Record &record, uint32_t lanes) const {
  const uint32_t first = record.actor.first;
  std::string name = record.access == Access::read ? "reads" : "writes";
  name += record.rank != rank_ ? " from block " + std::to_string(record.rank) + " of the cluster" : "";
  if (first < threads_)
    return "warp " + std::to_string(first / warp_size) + ", lane " + std::to_string(std::countr_zero(lanes)) + " " +
           name;
  if (first < 2 * threads_)
    return "a copy of warp " + std::to_string((first - threads_) / warp_size) + ", lane " +
           std::to_string((first - threads_) % warp_size) + " " + name;
  if (first < 2 * threads_ + threads_ / Warpgroup::threads)
    return "a product of warpgroup " + std::to_string(first - 2 * threads_) + " " + name;
  return "a copy of a box " + name;
}

void Races::fault(const Record &before, uint32_t lanes, const Record &now, int64_t chunk) const {
  const uint32_t both = before.bytes & now.bytes;
  const int64_t begin = chunk * chunk_bytes + std::countr_zero(both);
  const ByteRange range = {begin, chunk * chunk_bytes + std::bit_width(both)};
  emulator::fault("a race at " + range.text() + ": " + now.site.what + " " +
                  (now.access == Access::read ? "reads" : "writes") + " what " + name_of(before, lanes) + " by " +
                  before.site.what + " (" + source_line(before.site.caller) + "), and nothing orders the two");
}

}  // namespace emulator
