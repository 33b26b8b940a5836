// SPDX-License-Identifier: Apache-2.0
//
// The launch: cluster after cluster, whose blocks take turns; and what kernels ask of the block that runs.
#include <algorithm>
#include <cstring>

#include "block_state.hpp"

namespace emulator {
namespace {
const WrittenAhead *awaited = nullptr;  // by the cluster that runs

// No block runs between launches, nor after one that a fault has ended.
struct Running {
  ~Running() { running = nullptr; }
};

// Of the function that it stands in, which a kernel calls.
#define SITE(what) (Site{what, __builtin_return_address(0)})

void take_back(const WrittenAhead *ahead) {
  awaited = ahead;
  if (ahead != nullptr) std::memset(ahead->memory, fresh, ahead->bytes.size());
}
}  // namespace

Cluster::Cluster(const Launch &launch, const Index &first_block)
    : random_(launch.seed * 6007u + first_block.x * 7907u + first_block.y * 15487u + 1u),
      threads_(static_cast<size_t>(launch.cluster) * static_cast<size_t>(launch.threads)) {
  write_guard(launch.shared_bytes);
  for (uint32_t rank = 0; rank < static_cast<uint32_t>(launch.cluster); ++rank)
    blocks_.push_back(std::make_unique<Block>(launch, *this, Index{first_block.x + rank, first_block.y, 0}));
}

void Cluster::run() {
  std::vector<Block *> able;
  for (;;) {
    able.clear();
    for (const auto &block : blocks_)
      if (block->can_run()) able.push_back(block.get());
    if (able.empty()) break;
    running = able[random_() % able.size()];
    running->run();
  }
  for (const auto &block : blocks_) {
    running = block.get();
    block->check_not_stuck();
  }
}

// Threads that have ended count as arrived.
void Cluster::release() {
  if (waiting_.empty() || waiting_.size() + ended_ != threads_) return;
  for (const Waiting &one : waiting_) one.block->wake(*one.thread);
  waiting_.clear();
  for (const auto &block : blocks_) block->races().meet_cluster();
}

void Cluster::barrier(Block &block, const char *what) {
  waiting_.push_back({&block, &block.current()});
  release();
  block.wait(what);
}

void run(const Launch &launch) {
  if (launch.threads < 1 || launch.threads > most_threads || launch.threads % warp_size != 0)
    throw Fault("threads is " + std::to_string(launch.threads) + "; allowed: multiples of 32 up to 1024");
  if (launch.shared_bytes < 0 || launch.shared_bytes > most_shared_bytes)
    throw Fault("shared_bytes is " + std::to_string(launch.shared_bytes) + "; allowed: 0 to " +
                std::to_string(most_shared_bytes));
  if (launch.cluster < 1 || launch.cluster > most_cluster || launch.blocks % launch.cluster != 0)
    throw Fault("cluster is " + std::to_string(launch.cluster) + " for " + std::to_string(launch.blocks) +
                " blocks; allowed: 1 to " + std::to_string(most_cluster) + ", of which the blocks are a multiple");
  forget_global_writes();
  const Running until_the_end;
  for (int64_t y = 0; y < launch.blocks_y; ++y)
    for (int64_t first = 0; first < launch.blocks; first += launch.cluster) {
      take_back(launch.ahead);
      Cluster(launch, {static_cast<uint32_t>(first), static_cast<uint32_t>(y), 0}).run();
    }
  wait_for_launch_ahead();
}
void wait_for_launch_ahead() {
  if (awaited != nullptr) std::memcpy(awaited->memory, awaited->bytes.data(), awaited->bytes.size());
  awaited = nullptr;
}

int64_t background_operations() { return in_background; }
int64_t rows_computed_again() { return computed_again; }
void note_row_computed_again() { ++computed_again; }

const Place &place() { return running->place(); }
void fault(const char *what) { running->fault(what); }
void fault(const std::string &what) { running->fault(what); }
bool barrier(const char *what, int32_t id, int32_t threads, bool value) {
  return running->barrier(what, id, threads, value);
}
bool block_barrier(const char *what, bool value) { return running->block_barrier(what, value); }
void warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size])) {
  running->warp_operation(what, of_lane, perform);
}
unsigned char *shared_at(const char *what, uint32_t address, int32_t bytes) {
  return running->shared_at(what, address, bytes);
}
void load_shared(const char *what, uint32_t address, void *to, int32_t bytes) {
  running->load_shared(address, to, bytes, SITE(what));
}
void store_shared(const char *what, uint32_t address, const void *from, int32_t bytes) {
  running->store_shared(address, from, bytes, SITE(what));
}
void or_shared(const char *what, uint32_t address, uint32_t bits) { running->or_shared(address, bits, SITE(what)); }
void load_cluster_shared(const char *what, uint32_t address, void *to, int32_t bytes) {
  running->load_cluster_shared(address, to, bytes, SITE(what));
}
void copy_in_background(uint32_t destination, const void *source, int32_t source_bytes) {
  running->copy_in_background(destination, source, source_bytes, SITE("cp.async"));
}
void end_copy_group() { running->end_copy_group(); }
void wait_for_copies(int32_t groups_pending) { running->wait_for_copies(groups_pending); }
void arrive_at_barrier(const char *what, int32_t id, int32_t threads) { running->arrive_at_barrier(what, id, threads); }
void give_registers_back(int32_t count) { running->give_registers_back(count); }
void take_registers(int32_t count) { running->take_registers(count); }
void shared_barrier_init(uint32_t at, int32_t arrivals) { running->engine().init(at, arrivals, SITE("mbarrier.init")); }
void shared_barrier_fence() { running->engine().fence_init(); }
void shared_barrier_arrive(uint32_t at, uint32_t expected_bytes) {
  running->engine().arrive(at, expected_bytes,
                           SITE(expected_bytes != 0 ? "mbarrier.arrive.expect_tx" : "mbarrier.arrive"));
}
void shared_barrier_wait(uint32_t at, uint32_t parity) {
  running->engine().wait(at, parity, SITE("mbarrier.try_wait"));
}
void copy_box(uint32_t destination, const void *tensor_map, uint32_t barrier, const BoxPlace &place) {
  running->engine().copy(destination, tensor_map, barrier, place, SITE("cp.async.bulk.tensor"));
}
void fence_stores_for_async() { running->engine().fence_stores(); }
void cluster_barrier(const char *what) { running->cluster_barrier(what); }
int32_t cluster_rank() { return static_cast<int32_t>(running->rank()); }
int32_t cluster_size() { return static_cast<int32_t>(running->cluster_size()); }
void check_alignment(const char *what, const void *pointer, int32_t bytes) {
  if (reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) != 0)
    fault(std::string(what) + ": an address of global memory is no multiple of " + std::to_string(bytes));
}

}  // namespace emulator
