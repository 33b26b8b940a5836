/* SPDX-License-Identifier: Apache-2.0
 *
 * Variants: attention with a few lines of the caller's own, compiled into the library's kernels. A part of flashcore.h, which includes it.
 */
#ifndef FLASHCORE_VARIANT_H
#define FLASHCORE_VARIANT_H

#include "flashcore.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flashcore_variant_options {
  uint32_t struct_size; /* set by the caller; FLASHCORE_VARIANT_OPTIONS_INIT does it */
  uint32_t reserved;    /* 0 */
  int64_t params_bytes; /* of the block that each call gives in variant_params, a multiple of 8; 0: calls give none */
} flashcore_variant_options;
#ifdef __cplusplus
#define FLASHCORE_VARIANT_OPTIONS_INIT \
  { sizeof(flashcore_variant_options), 0, 0 }
#else
#define FLASHCORE_VARIANT_OPTIONS_INIT \
  { .struct_size = sizeof(flashcore_variant_options) }
#endif

/* Make a variant of a text in C++ with one or more of these functions, at its outermost level:
 *
 *     float    score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const T *params)
 *     bool     visible(int32_t batch, int32_t head, int32_t query, int32_t key, const T *params)
 *     KeyRange key_range(int32_t batch, int32_t head, int32_t query, const T *params)      -- { begin, end }
 *
 * score gives what a score becomes: it gets scale * q.k, in natural units, after softcap, ALiBi and bias. A key counts for a query when
 * visible says so, when it is one of begin .. end - 1, and when masks of every kind, windows and chunks have nothing against it; what a function
 * that is not there would say is yes. Keys are hidden by selection: nothing of a hidden key or value, not even NaN, reaches the output.
 * A query that sees no key has output 0 and LSE -inf. Sinks come after. The kernel sm80_fwd_mma reads no tile of keys that is outside of the
 * ranges of a block's queries; others read all, so that a call with short ranges names it in args.kernel.
 *
 * head is the query's; query and key are indices in their sequences, 0 .. seqlen - 1, and query + seqlen_kv - seqlen_q is p. T is any type:
 * params is the call's variant_params. The functions may be called for any pair of the sequences, hidden ones too, in any order, more
 * than once or not at all; the same arguments must give the same answer while a call is under way. They must not write to memory,
 * synchronise or loop for ever.
 *
 * The text is UTF-8 without NUL, of up to 65536 bytes (text_bytes; 0: up to its terminating zero), and stands alone: no #include. It
 * has int32_t, int64_t, uint16_t, uint32_t, uint64_t, infinity, KeyRange and the float functions of C's math.h, and may have types,
 * constants, macros and functions of its own. It is code, and runs with the caller's rights.
 *
 * `options` may be NULL. *variant is a number that no other variant of the process ever has. Nothing is compiled here: the first call (or
 * flashcore_attention_prepare) of a shape compiles the text into the kernel that it takes, once for all processes that use the same
 * cache, and says COMPILE_FAILED with the compiler's first error in the text's own lines ("variant(3): error: ..."). INVALID_ARGUMENT
 * names `text` and its line, or options.params_bytes. A captured graph, and the modules of a text, stay good until the context goes.
 * In a forked child whose parent was making, looking up or compiling a variant at the fork, calls with variants are FORKED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_variant_create(flashcore_context context, const char *text,
                                                                            int64_t text_bytes,
                                                                            const flashcore_variant_options *options,
                                                                            uint64_t *variant, flashcore_error *error);

/* Forget a variant; 0 is accepted. Calls of other threads that have begun with it finish; later ones are INVALID_ARGUMENT, which names
 * `variant`, as is its second end. What is left goes with the context. */
FLASHCORE_API flashcore_status flashcore_variant_destroy(flashcore_context context, uint64_t variant,
                                                         flashcore_error *error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif
