// SPDX-License-Identifier: Apache-2.0
#include "runtime/workspace.hpp"

#include <algorithm>
#include <new>
#include <string>

namespace flashcore {

Workspace::~Workspace() {
  const auto free = [this](const Block &block) {
    try {
      static_cast<void>(driver_.memory_free(block.address));
    } catch (const std::bad_alloc &) {  // it failed, and there is no memory for the words
    }
  };
  free(reserved_);
  for (const auto &[stream, own] : blocks_) {
    free(own.block);
    for (const Block &block : own.kept) free(block);
  }
}

Result<Workspace::Lease> Workspace::lease(CudaStream stream, int64_t bytes) {
  FLASHCORE_TRY_ASSIGN(const StreamIdentity identity, driver_.stream_identity(stream));
  StreamBlock &own = block_of(identity);
  std::unique_lock lock(own.mutex);
  FLASHCORE_TRY_ASSIGN(const bool capturing, driver_.stream_is_capturing(stream));
  if (own.block.bytes < bytes) FLASHCORE_TRY(capturing ? enlarge_in_capture(own, bytes) : enlarge(own, stream, bytes));
  own.block.captured |= capturing;
  return Lease(std::move(lock), own.block.address);
}

Status Workspace::reserve(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (reserved_.bytes >= bytes) return success();
  // Not of a pool: there is no stream yet for whose sake it would be ordered.
  FLASHCORE_TRY_ASSIGN(const uint64_t address, driver_.memory_alloc(bytes));
  return driver_.memory_free(std::exchange(reserved_, Block{address, bytes}).address);
}

Workspace::StreamBlock &Workspace::block_of(const StreamIdentity &stream) {
  const std::lock_guard lock(mutex_);
  return blocks_[stream];  // stays where it is
}

// Half as large again at the least: a growing key-value cache asks for a little more in every step.
Status Workspace::enlarge(StreamBlock &own, CudaStream stream, int64_t bytes) {
  own.kept.reserve(own.kept.size() + 1);  // so that nothing fails for want of host memory later
  Block larger = take_reserved(bytes);
  if (larger.bytes == 0) {
    FLASHCORE_TRY_ASSIGN(larger, allocate(stream, std::max(bytes, own.block.bytes + own.block.bytes / 2)));
  }
  const Block old = std::exchange(own.block, larger);
  // The stream has passed whatever used the old block, and come to the allocation of the new one, which a graph may use on any stream.
  Status passed = driver_.stream_synchronize(stream);
  if (!passed.ok() || old.captured) {
    own.kept.push_back(old);
    return passed;
  }
  return old.pooled ? driver_.memory_free_async(old.address, stream) : driver_.memory_free(old.address);
}

// The old block cannot be freed now: to wait for the stream, or to free on it, would end the capture or become a part of it.
Status Workspace::enlarge_in_capture(StreamBlock &own, int64_t bytes) {
  own.kept.reserve(own.kept.size() + 1);
  Block larger = take_reserved(bytes);
  if (larger.bytes == 0) {
    FLASHCORE_TRY_ASSIGN(const uint64_t address, driver_.memory_alloc_in_capture(bytes));
    larger = {address, bytes};
  }
  own.kept.push_back(std::exchange(own.block, larger));
  return success();
}

Result<Workspace::Block> Workspace::allocate(CudaStream stream, int64_t bytes) {
  FLASHCORE_TRY_ASSIGN(const uint64_t address,
                       pooled_ ? driver_.memory_alloc_async(bytes, stream) : driver_.memory_alloc(bytes));
  return Block{address, bytes, pooled_};
}

// One without bytes: what is reserved does not do.
Workspace::Block Workspace::take_reserved(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  return reserved_.bytes < bytes ? Block{} : std::exchange(reserved_, Block{});
}

}  // namespace flashcore
