// SPDX-License-Identifier: Apache-2.0
//
// The threads of one call of the CPU device: started for it and ended with it.
#pragma once

#include <span>

namespace flashcore {

// Run work(argument) for every argument, the first on this thread; returns when all have ended. A thread that cannot be started leaves its
// share to the others: the work is what the arguments share, and not one argument's own.
void run_on_threads(void *(*work)(void *), std::span<void *const> arguments);

}  // namespace flashcore
