// SPDX-License-Identifier: Apache-2.0
//
// The clock of fc-tune: modules of one shape, checked against float64 and timed as fc-bench's graph mode does.
#pragma once

#include <optional>

#include "../common/check.hpp"
#include "../common/inputs.hpp"
#include "../common/sampler.hpp"
#include "tune.hpp"

namespace flashcore::tools {

// A device that is tuned for: opened, without the tuned rows of the library.
struct TuningDevice {
  static Outcome<TuningDevice> open(const flashcore_context_options &options);

  Context context;
  flashcore_device_info info;
  std::string arch;  // of its modules
};

class ShapeClock {
 public:
  // Inputs on the device, and the reference.
  static Outcome<ShapeClock> make(const TuningDevice &device, Sampler &sampler, const Shape &shape, int64_t seed);

  const Shape &shape() const { return *shape_; }
  // Checked first: pruned where the result is wrong or the call fails. `best_us`: what is clearly slower than that (0: nothing is)
  // is timed with fewer samples. A failure: the device does not work any more.
  Outcome<Evaluation> evaluate(const std::string &module, double best_us);
  // Both in turns, so that a drifting clock is the same for both.
  struct Duel {
    std::vector<double> first_us, second_us;
  };
  Outcome<Duel> duel(const std::string &first, const std::string &second);

 private:
  ShapeClock(const TuningDevice &device, Sampler &sampler, const Shape &shape, Workload workload,
             ReferenceRows reference)
      : device_(&device),
        sampler_(&sampler),
        shape_(&shape),
        workload_(std::move(workload)),
        reference_(std::move(reference)) {}
  std::vector<Args> args_of(const std::string &module) const;
  Outcome<std::vector<double>> sample(const std::string &module, int64_t samples);

  const TuningDevice *device_;
  Sampler *sampler_;
  const Shape *shape_;
  Workload workload_;
  ReferenceRows reference_;
  double call_us_ = 0;  // of the module that was prepared last, to choose the calls of a graph
};

// What the library chooses for the shape, and what each of its own kernels would: where a search begins.
struct Seeds {
  std::string default_module;
  std::vector<Candidate> candidates;
};
Outcome<Seeds> seeds_of(const Context &context, const Shape &shape);

}  // namespace flashcore::tools
