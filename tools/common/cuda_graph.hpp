// SPDX-License-Identifier: Apache-2.0
//
// What a benchmark needs of the CUDA driver beyond the library: graphs of calls and launches of a captured kernel
// without the library. cuda_graph.cpp is the only file of the tools that talks to the driver itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "outcome.hpp"

namespace flashcore::tools {

struct GraphFunctions;  // the driver's functions

// Calls that were captured from a stream, to be launched as one.
class Graph {
 public:
  Graph(Graph &&other) noexcept
      : driver_(std::move(other.driver_)),
        graph_(std::exchange(other.graph_, nullptr)),
        executable_(std::exchange(other.executable_, nullptr)) {}
  Graph &operator=(Graph &&) = delete;
  ~Graph();
  Step launch(void *stream) const;

  // The graph's only kernel, launched with the very parameters that were captured: by cuLaunchKernel, or by cuLaunchKernelEx where the launch
  // says how large a cluster is.
  class Kernel {
   public:
    // Returns the CUresult and nothing else: this is what is timed.
    int32_t launch(void *stream) const;
    std::string describe() const;  // "grid 32 x 1 x 1, block 128, 34816 bytes of dynamic shared memory"

   private:
    friend class Graph;
    std::shared_ptr<const GraphFunctions> driver_;
    void *function_ = nullptr;
    uint32_t grid_[3] = {}, block_[3] = {}, cluster_[3] = {}, dynamic_shared_bytes_ = 0;
    void **parameters_ = nullptr;  // the graph's memory: the graph must live
    void **extra_ = nullptr;
  };
  // A failure where the graph is not one kernel.
  Outcome<Kernel> only_kernel() const;
  Failure launch_failure(int32_t result) const;

 private:
  friend class GraphDriver;
  explicit Graph(std::shared_ptr<const GraphFunctions> driver) : driver_(std::move(driver)) {}
  std::shared_ptr<const GraphFunctions> driver_;
  void *graph_ = nullptr, *executable_ = nullptr;
};

class GraphDriver {
 public:
  // The driver library that the library itself has loaded: a GPU context must have been opened.
  static Outcome<GraphDriver> load();
  // The stream's CUDA context becomes this thread's current one, as it is in a program that uses CUDA.
  Step make_current(void *stream) const;
  Outcome<std::string> pci_bus_id() const;  // of the current context's device
  Outcome<Graph> capture(void *stream, const std::function<Step()> &calls) const;

 private:
  explicit GraphDriver(std::shared_ptr<const GraphFunctions> functions) : functions_(std::move(functions)) {}
  std::shared_ptr<const GraphFunctions> functions_;
};

// What the driver alone takes to be ready, in a process that has not touched it: load the library, cuInit, primary
// context.
Outcome<double> start_driver_alone_us(int32_t ordinal);

}  // namespace flashcore::tools
