// SPDX-License-Identifier: Apache-2.0
//
// Workspace: the device memory that the stages of a plan share. A context has a block for each stream that needs one, as what runs on a
// stream runs one after another; it grows when a call needs more, and is freed with the context. Nothing here is asked for a plan without a
// workspace. Every function needs the CUDA context current.
//
//   - A stream is known by its handle. Of a stream that was destroyed the driver gives its resources, the handle among them, away only
//     when the work on it is done, so the next stream of that handle takes over a block that nobody uses.
//   - CU_STREAM_PER_THREAD is one handle of a stream in each thread, which the driver tells apart.
//   - Threads may call on one stream at once: whoever has the block keeps the others out until all stages are launched, else the stages of
//     one call would find what another one wrote, or a block that had to make room for a larger one.
//   - A graph that was captured on a stream launches with its block for as long as anybody has the graph: such a block is never freed
//     before the context, and a larger one takes its place. In a capture memory is allocated beside the graph, not as a node of it; what
//     prepare has reserved spares that, for the first stream in need of it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "driver/cuda_driver.hpp"

namespace flashcore {

class Workspace {
 public:
  // A stream's block, until the lease ends.
  class Lease {
   public:
    Lease() = default;
    Lease(std::unique_lock<std::mutex> lock, uint64_t address) : lock_(std::move(lock)), address_(address) {}
    uint64_t address() const { return address_; }

   private:
    std::unique_lock<std::mutex> lock_;
    uint64_t address_ = 0;
  };

  // `pooled`: the device has memory pools.
  Workspace(const CudaDriver &driver, bool pooled) : driver_(driver), pooled_(pooled) {}
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;
  ~Workspace();  // frees; the work on them must have ended

  // The stream's block, of `bytes` bytes or more. Where it has to grow outside of a capture the stream is waited for.
  // OUT_OF_DEVICE_MEMORY.
  Result<Lease> lease(CudaStream stream, int64_t bytes);
  // For prepare: whichever stream needs a block of up to `bytes` bytes next has one.
  Status reserve(int64_t bytes);

 private:
  struct Block {
    uint64_t address = 0;
    int64_t bytes = 0;
    bool pooled = false;    // of a memory pool
    bool captured = false;  // in a graph
  };
  struct StreamBlock {
    std::mutex mutex;
    Block block;
    std::vector<Block> kept;  // which a larger one replaced and a graph may use
  };

  StreamBlock &block_of(const StreamIdentity &stream);
  Status enlarge(StreamBlock &own, CudaStream stream, int64_t bytes);
  Status enlarge_in_capture(StreamBlock &own, int64_t bytes);
  Result<Block> allocate(CudaStream stream, int64_t bytes);
  Block take_reserved(int64_t bytes);

  const CudaDriver &driver_;
  const bool pooled_;
  std::mutex mutex_;  // of what follows, but not of what is in a StreamBlock
  std::map<StreamIdentity, StreamBlock> blocks_;
  Block reserved_;  // no stream's yet
};

}  // namespace flashcore
