// SPDX-License-Identifier: Apache-2.0
//
// One call of attention by a kernel on the emulator: its arguments, whose addresses are the host's, are checked and packed as for a GPU.
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <string>

#include "kernels/run_case.hpp"
#include "problem/variants.hpp"

namespace emulator {

struct Request {
  std::string kernel;
  std::string broken = "";  // the name of a broken kernel, or of a user's text; empty: the kernel as it is
  uint32_t seed = 0;
  int64_t shared_bytes_taken = 0;                 // launch with this much less than the layout needs
  std::string module = "";                        // this one alone; empty: of those that serve with the fewest columns,
  uint32_t turn = 0;                              // the one whose turn it is
  int32_t key_parts = 0;                          // kernels::DeviceLimits::key_parts, of modules that can
  std::string broken_ahead = "";                  // likewise of the launch ahead of attention
  const flashcore::Variants *variants = nullptr;  // the arguments' variant is one of these
};

// The seeds after which the ways to schedule threads and copies repeat themselves; others draw other random orders.
inline constexpr uint32_t ways_of_seeds = 6;

// Refused: by the kernel, or because no specialization that serves the problem was compiled for the emulator. Failed: a fault.
// Passed: it ran to its end.
flashcore::tests::CaseOutcome emulate(const flashcore_attention_args &args, const Request &request);

// And its output and LSE are held to the reference, its guards and inputs looked at.
flashcore::tests::CaseOutcome emulate_case(const flashcore::tests::Device &host,
                                           const flashcore::tests::AttentionCase &one, const Request &request);

}  // namespace emulator
