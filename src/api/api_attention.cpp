// SPDX-License-Identifier: Apache-2.0
//
// Exported functions: attention.
#include "api/api_guard.hpp"
#include "base/struct_size.hpp"
#include "problem/attention_problem.hpp"

using namespace flashcore;

extern "C" {

flashcore_status flashcore_attention_fwd(flashcore_context context, const flashcore_attention_args *args, void *stream,
                                         flashcore_error *error) {
  // The device defers cancellation where it has more to do than to launch a call that it knows, which this would cost 10 ns more.
  return reported(error, [&]() -> Status {
    if (context == nullptr) return null_argument("context");
    return reinterpret_cast<Context *>(context)->device->attention_fwd(args, stream);
  });
}

flashcore_status flashcore_attention_prepare(flashcore_context context, const flashcore_attention_args *args,
                                             flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    FLASHCORE_TRY_ASSIGN(const AttentionProblem problem,
                         validate_attention(args, AddressRule::optional, &self.device->variants()));
    return self.device->attention_prepare(problem);
  });
}

flashcore_status flashcore_attention_workspace_bytes(flashcore_context context, const flashcore_attention_args *args,
                                                     int64_t *bytes, flashcore_error *error) {
  clear(bytes);
  return with_context(context, error, [&](Context &self) -> Status {
    if (bytes == nullptr) return null_argument("bytes");
    FLASHCORE_TRY_ASSIGN(const AttentionProblem problem,
                         validate_attention(args, AddressRule::optional, &self.device->variants()));
    return store_result(self.device->attention_workspace_bytes(problem), bytes);
  });
}

flashcore_status flashcore_attention_explain(flashcore_context context, const flashcore_attention_args *args,
                                             flashcore_attention_explanation *explanation, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    if (explanation == nullptr) return null_argument("explanation");
    flashcore_attention_explanation content{};
    const Result<AttentionProblem> problem = validate_attention(args, AddressRule::optional, &self.device->variants());
    Status explained =
        problem.ok() ? self.device->attention_explain(problem.value(), &content) : Status(problem.error());
    if (!explained.ok()) {
      if (explained.error().status != FLASHCORE_UNSUPPORTED) return explained;
      copy_text(content.reasons, explained.error().message + "\n");
    }
    return write_sized_struct(explanation, content, "explanation", sizeof(flashcore_attention_explanation));
  });
}

}  // extern "C"
