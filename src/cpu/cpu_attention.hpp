// SPDX-License-Identifier: Apache-2.0
//
// The CPU backend: the numeric contract of flashcore.h on host memory, multi-threaded, blocked and vectorised.
#pragma once

#include <span>

#include "base/error.hpp"
#include "cpu/variant_source.hpp"
#include "problem/attention_problem.hpp"
#include "problem/merge_states_problem.hpp"

namespace flashcore {

// Number of threads that `requested` (0: default) gives on this machine: what the process may run on (affinity mask).
int32_t cpu_thread_count(int32_t requested);

// Compute the problem with `threads` threads; returns when the output is complete. A problem that the validator passed
// and whose addresses are readable and writable host memory cannot fail but for memory. The result does not depend on
// `threads`, bit for bit. `variant`: what was compiled of the problem's variant, nullptr where it has none.
Status cpu_attention(const AttentionProblem &problem, int32_t threads, ChangeRow variant = nullptr);

// The same of states that are merged; it throws for want of memory alone.
void cpu_merge_states(const MergeStatesProblem &problem, int32_t threads);

// Can every operand of a problem be read by this process, and the outputs be written? INVALID_ARGUMENT names the first that cannot
// (a device pointer given to the CPU device, say). Asked of the kernel, so a bad address never faults.
Status check_host_addresses(const AttentionProblem &problem);
Status check_host_addresses(const MergeStatesProblem &problem);
// The same of the rows of the cache that the problem writes, as its arrays say, which can be read.
Status check_appended_rows(const AttentionProblem &problem);

// Can this process read the byte? False where the kernel does not say.
bool is_host_memory(uint64_t address);

}  // namespace flashcore
