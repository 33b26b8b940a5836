// SPDX-License-Identifier: Apache-2.0
//
// What cgo cannot say itself. Go keeps memory in place during a call only when the call is given a pointer to it, and the
// structs of the interface hold addresses as numbers: these functions take the pointers and write the numbers.
#ifndef FLASHCORE_GO_SHIM_H
#define FLASHCORE_GO_SHIM_H

#include <flashcore/flashcore.h>

// The tensors' memory in Go is NULL where a tensor lies in a buffer or is absent. Bytes and not void: for a type without
// pointers cgo does not search the memory behind it. Handles are numbers, because cgo allocates to check a pointer to an
// incomplete type.
typedef struct shim_call {
  flashcore_attention_args args;
  flashcore_error error;
} shim_call;

static inline void shim_set(uint64_t *address, const uint8_t *memory) {
  if (memory != NULL) *address = (uint64_t)(uintptr_t)memory;
}

static inline void shim_set_all(flashcore_attention_args *args, const uint8_t *query, const uint8_t *key,
                                const uint8_t *value, uint8_t *output, uint8_t *lse, const uint8_t *alibi,
                                const uint8_t *bias, const uint8_t *mask, const uint8_t *sinks, const uint8_t *params) {
  shim_set(&args->query.data, query);
  shim_set(&args->key.data, key);
  shim_set(&args->value.data, value);
  shim_set(&args->output.data, output);
  shim_set(&args->lse.data, lse);
  shim_set(&args->alibi_slopes, alibi);
  shim_set(&args->bias.data, bias);
  shim_set(&args->mask.data, mask);
  shim_set(&args->sinks.data, sinks);
  shim_set(&args->variant_params, params);
}

static inline flashcore_status shim_attention_fwd(uintptr_t context, shim_call *call, const uint8_t *query,
                                                  const uint8_t *key, const uint8_t *value, uint8_t *output,
                                                  uint8_t *lse, const uint8_t *alibi, const uint8_t *bias,
                                                  const uint8_t *mask, const uint8_t *sinks, const uint8_t *params,
                                                  uintptr_t stream) {
  shim_set_all(&call->args, query, key, value, output, lse, alibi, bias, mask, sinks, params);
  return flashcore_attention_fwd((flashcore_context)context, &call->args, (void *)stream, &call->error);
}

static inline flashcore_status shim_attention_prepare(uintptr_t context, shim_call *call, const uint8_t *query,
                                                      const uint8_t *key, const uint8_t *value, uint8_t *output,
                                                      uint8_t *lse, const uint8_t *alibi, const uint8_t *bias,
                                                      const uint8_t *mask, const uint8_t *sinks,
                                                      const uint8_t *params) {
  shim_set_all(&call->args, query, key, value, output, lse, alibi, bias, mask, sinks, params);
  return flashcore_attention_prepare((flashcore_context)context, &call->args, &call->error);
}

static inline flashcore_status shim_attention_workspace_bytes(uintptr_t context, shim_call *call, const uint8_t *query,
                                                              const uint8_t *key, const uint8_t *value, uint8_t *output,
                                                              uint8_t *lse, const uint8_t *alibi, const uint8_t *bias,
                                                              const uint8_t *mask, const uint8_t *sinks,
                                                              const uint8_t *params, int64_t *bytes) {
  shim_set_all(&call->args, query, key, value, output, lse, alibi, bias, mask, sinks, params);
  return flashcore_attention_workspace_bytes((flashcore_context)context, &call->args, bytes, &call->error);
}

static inline flashcore_status shim_attention_explain(uintptr_t context, shim_call *call, const uint8_t *query,
                                                      const uint8_t *key, const uint8_t *value, uint8_t *output,
                                                      uint8_t *lse, const uint8_t *alibi, const uint8_t *bias,
                                                      const uint8_t *mask, const uint8_t *sinks, const uint8_t *params,
                                                      flashcore_attention_explanation *explanation) {
  shim_set_all(&call->args, query, key, value, output, lse, alibi, bias, mask, sinks, params);
  return flashcore_attention_explain((flashcore_context)context, &call->args, explanation, &call->error);
}

typedef struct shim_merge_call {
  flashcore_merge_states_args args;
  flashcore_error error;
} shim_merge_call;

static inline void shim_set_states(flashcore_merge_states_args *args, const uint8_t *outputs, const uint8_t *logarithms,
                                   uint8_t *output, uint8_t *lse) {
  shim_set(&args->output_states.data, outputs);
  shim_set(&args->lse_states.data, logarithms);
  shim_set(&args->output.data, output);
  shim_set(&args->lse.data, lse);
}

static inline flashcore_status shim_merge_states(uintptr_t context, shim_merge_call *call, const uint8_t *outputs,
                                                 const uint8_t *logarithms, uint8_t *output, uint8_t *lse,
                                                 uintptr_t stream) {
  shim_set_states(&call->args, outputs, logarithms, output, lse);
  return flashcore_merge_states((flashcore_context)context, &call->args, (void *)stream, &call->error);
}

static inline flashcore_status shim_merge_states_prepare(uintptr_t context, shim_merge_call *call,
                                                         const uint8_t *outputs, const uint8_t *logarithms,
                                                         uint8_t *output, uint8_t *lse) {
  shim_set_states(&call->args, outputs, logarithms, output, lse);
  return flashcore_merge_states_prepare((flashcore_context)context, &call->args, &call->error);
}

#endif
