/* SPDX-License-Identifier: Apache-2.0
 *
 * flashcore: results of attention over parts of the keys, made one. A part of flashcore.h, which includes this header and has
 * the manners of all functions.
 */
#ifndef FLASHCORE_MERGE_STATES_H
#define FLASHCORE_MERGE_STATES_H

#include "flashcore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Pieces of the keys within one call of flashcore_attention_fwd, which cuts a row's keys, computes each piece by thread blocks of its own and
 * merges what they have in float32, before anything is rounded:
 *   - args.split_count: as many pieces as this, 1 to 65535, of a number of whole steps of the kernel (128 keys, or a few times that), so that
 *     fewer keys are in fewer pieces. 1: none are cut.
 *   - args.split_tokens: pieces of so many keys, whose borders are at its multiples from key 0 on, of up to 65535 pieces.
 * What cannot cut refuses more than one piece: kernels for many queries (a GPU's choice is then a kernel for few), windows that move the
 * first key, and chunks. The CPU device cuts always. A call whose keys are one piece alone goes to any kernel.
 *
 * Batch invariance: with FLASHCORE_FLAG_BATCH_INVARIANT, or split_tokens, which includes it, the bits of a sequence's output and LSE do not
 * depend on the other sequences of the batch, their number, its own place among them, the number of heads (at the same heads_q / heads_kv)
 * or the multiprocessors of the device or of multiprocessor_limit: kernel, tile and pieces are chosen by the sequence's own lengths, types, masks,
 * features and head dimensions, alignment to 16 bytes, and the architecture. In a ragged batch lengths are other sequences' business: there it is
 * one choice for calls whose seqlen_q is up to 8, and another for more; whoever compares must call with the same. Nothing is promised
 * between versions of the library, architectures, the CPU and GPUs, dense, ragged and paged calls, or for the same query among other
 * queries of its sequence. Values that are not finite, and scores beyond what 16-bit probabilities hold, may have the queries of a tile computed
 * more exactly, all of one sequence and head.
 *
 * Shards: where keys lie on several devices, args.query_position and key_position say where a call's queries and keys are in the sequence, and
 * output.dtype FLOAT32 keeps its state from being rounded. Whatever is hidden, shards in any order, empty ones too, merge to what
 * all keys give. */

/* How many states one call merges at most. */
enum { FLASHCORE_MOST_STATES = 1024 };

/* Attention over a part of the keys leaves a state of each row: its output O_i, divided by the row's sum as every output is, and its
 * LSE_i. States of the same rows over parts that share no key (split keys, shards of a cache, ring and context parallelism) become
 * that of all keys:
 *
 *     LSE = log(sum_i exp(LSE_i))          O = sum_i exp(LSE_i - LSE) . O_i
 *
 * A sink belongs to one of the parts, else it is counted in each. Zeroed fields are defaults, but for the sizes and state_count. */
typedef struct flashcore_merge_states_args {
  uint32_t struct_size; /* set by the caller; FLASHCORE_MERGE_STATES_ARGS_INIT does it */
  int32_t state_count;  /* 1 to FLASHCORE_MOST_STATES */

  /* Sizes, up to 2^31 - 1. batch and seqlen_q may be 0: an empty output. On a GPU batch * seqlen_q * heads_q is below 2^31. */
  int64_t batch;
  int64_t seqlen_q;
  int32_t heads_q;
  int32_t head_dim_v; /* of the outputs, up to 65536 */

  /* The states: state 0 as a tensor, and how far the next one is. Sizes and contiguous order as of attention's output,
   * [batch, seqlen_q, heads_q, head_dim_v], in float16, bfloat16 or float32 (one must be named), and of its lse, float32
   * [batch, heads_q, seqlen_q].
   * State strides count elements and are never negative; 0: contiguous states, one behind the other, which the strides of
   * the tensor must then say too (all four 0) unless there is one state. */
  flashcore_tensor output_states;
  flashcore_tensor lse_states;
  int64_t output_state_stride;
  int64_t lse_state_stride;

  /* The merged state. output: float16, bfloat16 or float32, whatever the states are; 0: their type. lse: optional, float32.
   * Either may be its state 0 itself (the same address, strides and type), which is then overwritten; else they share no memory with the
   * states or with each other. */
  flashcore_tensor output;
  flashcore_tensor lse;
  int32_t lse_base; /* FLASHCORE_LSE_*: of the states and of the result */
  int32_t reserved; /* 0 */
} flashcore_merge_states_args;
#ifdef __cplusplus
#define FLASHCORE_MERGE_STATES_ARGS_INIT flashcore_merge_states_args_init()
#else
#define FLASHCORE_MERGE_STATES_ARGS_INIT \
  { .struct_size = sizeof(flashcore_merge_states_args) }
#endif

/* Merge states on `stream` (as of flashcore_attention_fwd). Returns after the launch, of which there is one. No workspace; once a
 * pair of types was seen or prepared, a call allocates nothing and may be captured.
 *
 * Numbers: float32, with the largest LSE of the row subtracted. One state alone comes out as it is. The order of the states changes the
 * rounding of sums and nothing else.
 *   - A state whose LSE is -infinity has seen no key: it weighs nothing, whatever its output holds, NaN too. Where all
 *     are such, the output is 0 and the LSE -infinity.
 *   - An LSE of +infinity makes the row's LSE +infinity and its output NaN; one that is NaN makes both NaN.
 *   - Outputs of other states count even where their weight is too small for a float32: an infinity or a NaN there reaches the output.
 *
 * INVALID_ARGUMENT and UNSUPPORTED name the field; NOT_PREPARED in a capture of a pair of types that is not prepared;
 * COMPILER_UNAVAILABLE, COMPILE_FAILED, OUT_OF_*_MEMORY, CUDA_ERROR, CONTEXT_LOST, FORKED. Addresses: as of flashcore_attention_fwd. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_merge_states(flashcore_context context,
                                                                          const flashcore_merge_states_args *args,
                                                                          void *stream, flashcore_error *error);

/* Load or compile what these arguments need, so that flashcore_merge_states is only a launch, also while a stream is captured. Only
 * the types of output_states and output decide what that is. Addresses may be 0. Statuses as flashcore_merge_states. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_merge_states_prepare(
    flashcore_context context, const flashcore_merge_states_args *args, flashcore_error *error);

#ifdef __cplusplus
} /* extern "C" */

inline flashcore_merge_states_args flashcore_merge_states_args_init() {
  flashcore_merge_states_args args{};
  args.struct_size = sizeof(args);
  return args;
}
#endif

#endif
