// SPDX-License-Identifier: Apache-2.0
//
// Exported functions: merging states.
#include "api/api_guard.hpp"
#include "problem/merge_states_problem.hpp"

using namespace flashcore;

extern "C" {

flashcore_status flashcore_merge_states(flashcore_context context, const flashcore_merge_states_args *args,
                                        void *stream, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    FLASHCORE_TRY_ASSIGN(const MergeStatesProblem problem, validate_merge_states(args, AddressRule::required));
    return problem.empty() ? success() : self.device->merge_states(problem, stream);
  });
}

flashcore_status flashcore_merge_states_prepare(flashcore_context context, const flashcore_merge_states_args *args,
                                                flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    FLASHCORE_TRY_ASSIGN(const MergeStatesProblem problem, validate_merge_states(args, AddressRule::optional));
    return self.device->merge_states_prepare(problem);
  });
}

}  // extern "C"
