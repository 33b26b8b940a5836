// SPDX-License-Identifier: Apache-2.0
//
// The selector: what it chooses, what it refuses, and the words it uses.
#define BOOST_TEST_MODULE unit_plan
#include <array>
#include <boost/test/unit_test.hpp>
#include <utility>

#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using kernels::DeviceLimits;
using kernels::ProblemKey;

namespace {

constexpr DeviceLimits l4{89, 58, 101376, 102400}, h200{90, 132, 232448, 233472};

ProblemKey mission() {
  ProblemKey key{};
  key.batch = 1, key.seqlen_q = 512, key.seqlen_kv = 512, key.heads_q = 8, key.heads_kv = 8, key.head_dim = 64,
  key.head_dim_v = 64;
  key.dtype = kernels::dtype_float16, key.alignment_bytes = 16, key.kernel_index = -1;
  return key;
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

}  // namespace

std::string chosen_kernel(const ProblemKey &key, const DeviceLimits &device) {
  const auto chosen = select_kernel(key, device, {});
  BOOST_REQUIRE(chosen.ok());
  BOOST_TEST(chosen.value().plan.cost.total_us > 0);
  return kernel_table()[chosen.value().kernel_index].passport->name;
}

BOOST_AUTO_TEST_CASE(little_work_gets_the_latency_kernel_and_much_work_the_workhorse) {
  ProblemKey large = mission(), wide = mission();
  large.batch = 32, large.heads_q = large.heads_kv = 32;
  wide.head_dim = wide.head_dim_v = 128;
  BOOST_TEST(chosen_kernel(mission(), h200) == "sm80_fwd_small");
  BOOST_TEST(chosen_kernel(large, l4) == "sm80_fwd_mma");
  BOOST_TEST(chosen_kernel(wide, l4) == "sm80_fwd_mma");
  BOOST_TEST(chosen_kernel(large, h200) == "sm90_fwd_wgmma");
  BOOST_TEST(chosen_kernel(wide, h200) == "sm90_fwd_wgmma");
}

kernels::Plan chosen_plan(const ProblemKey &key, const DeviceLimits &device) {
  const auto chosen = select_kernel(key, device, {});
  BOOST_REQUIRE(chosen.ok());
  return chosen.value().plan;
}

// One key head with many keys: blocks enough for the whole device have a part of them each, and a second launch merges.
BOOST_AUTO_TEST_CASE(few_key_heads_with_many_keys_are_split_over_the_grid) {
  ProblemKey key = mission();
  key.seqlen_q = 1, key.seqlen_kv = 131072, key.heads_q = 8, key.heads_kv = 1, key.head_dim = key.head_dim_v = 128;
  for (const DeviceLimits &device : {h200, l4}) {
    const kernels::Plan plan = chosen_plan(key, device);
    BOOST_TEST(chosen_kernel(key, device).ends_with("_fwd_decode"));
    const kernels::Launch &work = plan.stages[0], &merge = plan.stages[1];
    BOOST_REQUIRE(plan.stage_count == 2);
    BOOST_TEST(work.grid.x * work.grid.y >= device.multiprocessors * 9 / 10);
    BOOST_TEST((merge.entry_point == 1 && merge.grid.x == 8 && merge.grid.y == 1));
    BOOST_TEST((merge.attributes != 0) == (device.arch >= 90));
    BOOST_TEST(plan.workspace_bytes == 8 * work.grid.y * (128 + 2) * 4);
  }
  key.batch = 256;  // key heads enough
  BOOST_TEST(chosen_plan(key, h200).stage_count == 1);
  BOOST_TEST(chosen_plan(key, h200).workspace_bytes == 0);
}

// A few queries of many heads are rows of one tile, which reads the keys once.
BOOST_AUTO_TEST_CASE(some_queries_with_many_keys_are_packed) {
  ProblemKey key = mission();
  key.seqlen_q = 16, key.seqlen_kv = 131072, key.heads_q = 64, key.heads_kv = 8, key.head_dim = key.head_dim_v = 128;
  for (const int32_t causal : {kernels::causal_none, kernels::causal_bottom_right}) {
    key.causal = causal;
    const auto chosen = select_kernel(key, h200, {});
    BOOST_REQUIRE(chosen.ok());
    const Selection &selection = chosen.value();
    BOOST_TEST(passport_at(selection.kernel_index).value(selection.specialization, "packed", 0) == 1);
    BOOST_TEST(selection.plan.stages[0].grid.x == 128);  // 16 parts of 8 tiles
    ProblemKey one = key;
    one.seqlen_q = 1;
    BOOST_TEST(selection.plan.cost.total_us < 1.25 * chosen_plan(one, h200).cost.total_us);
  }
  // A group of heads that no tile holds.
  key.heads_q = 200, key.heads_kv = 1;
  BOOST_REQUIRE(pin_kernel(key, "sm90_fwd_wgmma-fp16-d128-causal-128x128-packed").ok());
  const auto refused = select_kernel(key, h200, {});
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().field == "heads_q");
  BOOST_TEST(contains(refused.error().message, "up to 128 query heads of a key head, the call has 200"));
}

// Few tiles of queries, many keys: the blocks of a cluster share them.
BOOST_AUTO_TEST_CASE(few_tiles_with_many_keys_are_split_over_clusters) {
  ProblemKey key = mission();
  key.seqlen_kv = 32768, key.head_dim = key.head_dim_v = 128;
  key.heads_q = key.heads_kv = 4, key.seqlen_q = 2048;
  for (const int32_t causal : {kernels::causal_none, kernels::causal_bottom_right}) {
    key.causal = causal;
    const auto chosen = select_kernel(key, h200, {});
    BOOST_REQUIRE(chosen.ok());
    const kernels::Launch &launch = chosen.value().plan.main_stage();
    BOOST_TEST(launch.cluster > 1);
    BOOST_TEST(launch.grid.x == 64 * launch.cluster);  // 4 heads of 16 tiles
    BOOST_TEST(launch.attributes == 0u);               // the launch, and not the code, says how many blocks share
  }
  key.batch = 64;  // tiles enough
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(chosen.ok());
  BOOST_TEST(chosen.value().plan.main_stage().cluster == 1);
  BOOST_TEST(chosen.value().plan.main_stage().grid.x == h200.multiprocessors);
}

// Who asks for it gets it where it runs, and the reason where it does not.
BOOST_AUTO_TEST_CASE(the_hopper_kernel_is_for_9_0_and_aligned_rows) {
  ProblemKey key = mission();
  BOOST_REQUIRE(pin_kernel(key, "sm90_fwd_wgmma").ok());
  BOOST_TEST(chosen_kernel(key, h200) == "sm90_fwd_wgmma");
  const auto refusal = [&](const DeviceLimits &device) {
    const auto chosen = select_kernel(key, device, {});
    return chosen.ok() ? std::string("served") : chosen.error().message;
  };
  BOOST_TEST(contains(refusal(l4), "9.0"), refusal(l4));
  BOOST_TEST(contains(refusal({120, 100, 101376, 102400, 1 << 25}), "9.0"),
             refusal({120, 100, 101376, 102400, 1 << 25}));
  key.alignment_bytes = 2;  // which the copy engine does not take
  BOOST_TEST(contains(refusal(h200), "multiples of 16 bytes"), refusal(h200));
  key.alignment_bytes = 16, key.seqlen_kv = 0;
  BOOST_TEST(contains(refusal(h200), "seqlen_kv"), refusal(h200));
}

BOOST_AUTO_TEST_CASE(few_queries_and_many_keys_get_the_decode_kernels) {
  ProblemKey key = mission();
  key.seqlen_q = 1, key.seqlen_kv = 4096, key.heads_q = 32, key.heads_kv = 8, key.head_dim = key.head_dim_v = 128;
  for (const int32_t causal : {kernels::causal_none, kernels::causal_bottom_right}) {
    key.causal = causal, key.batch = 1;
    BOOST_TEST(chosen_kernel(key, h200).ends_with("_fwd_decode"));
    BOOST_TEST(chosen_kernel(key, l4) == "sm80_fwd_decode");
    key.batch = 64;  // key heads enough for all multiprocessors
    BOOST_TEST(chosen_kernel(key, h200) == "sm80_fwd_decode");
  }
}

BOOST_AUTO_TEST_CASE(wide_heads_have_one_kernel) {
  const DeviceLimits a100{80, 108, 166912, 167936, 40 << 20}, rtx{120, 100, 101376, 102400, 1 << 25};
  for (const DeviceLimits &device : {a100, l4, h200, rtx})
    for (const auto &[head_dim, head_dim_v] :
         {std::pair{512, 512}, {264, 264}, {576, 512}, {64, 512}, {320, 128}, {512, 64}}) {
      ProblemKey key = mission();
      key.head_dim = head_dim, key.head_dim_v = head_dim_v;
      for (const int32_t alignment : {16, 2})
        for (const int32_t rows : {kernels::rows_dense, kernels::rows_ragged, kernels::rows_paged}) {
          key.alignment_bytes = alignment, key.rows = rows;
          key.scores = kernels::scores_softcap | kernels::scores_mask, key.window_left = 100;
          BOOST_TEST(chosen_kernel(key, device) == "sm80_fwd_wide");
          key.scores = 0, key.window_left = kernels::window_open;
          BOOST_TEST(chosen_kernel(key, device) == "sm80_fwd_wide");
        }
    }
  // Narrower ones have kernels of their own.
  ProblemKey key = mission();
  for (const int32_t head_dim : {64, 128, 256}) {
    key.head_dim = key.head_dim_v = head_dim;
    BOOST_TEST(chosen_kernel(key, h200) != "sm80_fwd_wide");
  }
  key.head_dim = 584, key.head_dim_v = 512;
  const auto refused = select_kernel(key, h200, {});
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(contains(refused.error().message, "sm80_fwd_wide: head_dim must be a multiple of 8 up to 576"),
             refused.error().message);
}

// Latent attention: one key head, whose rows are those of all query heads.
BOOST_AUTO_TEST_CASE(few_packed_rows_get_low_tiles_and_split_keys) {
  ProblemKey key = mission();
  key.batch = 1, key.seqlen_q = 1, key.seqlen_kv = 8192, key.heads_kv = 1, key.head_dim = 576, key.head_dim_v = 512;
  for (const DeviceLimits &device : {l4, h200})
    for (const auto &[heads, least_tile_q, most_tile_q] : {std::array{16, 16, 16}, std::array{128, 32, 64}}) {
      key.heads_q = heads;
      const auto chosen = select_kernel(key, device, {});
      BOOST_REQUIRE(chosen.ok());
      const int32_t tile_q = passport_at(chosen.value().kernel_index).value(chosen.value().specialization, "tile_q", 0);
      BOOST_TEST((tile_q >= least_tile_q && tile_q <= most_tile_q), heads << " heads, tiles of " << tile_q);
      BOOST_TEST(chosen.value().plan.main_stage().grid.y > 8);
    }
}

BOOST_AUTO_TEST_CASE(the_cheapest_specialization_wins) {
  // Little work wants many small thread blocks, much work wants large tiles.
  ProblemKey small = mission(), large = mission();
  BOOST_REQUIRE(pin_kernel(small, "sm80_fwd_mma").ok());
  BOOST_REQUIRE(pin_kernel(large, "sm80_fwd_mma").ok());
  large.batch = 64, large.seqlen_q = large.seqlen_kv = 4096;
  const auto tile_q = [](const Selection &selection) {
    return passport_at(selection.kernel_index).value(selection.specialization, "tile_q", 0);
  };
  const auto few = select_kernel(small, h200, {}), many = select_kernel(large, h200, {});
  BOOST_REQUIRE(few.ok());
  BOOST_REQUIRE(many.ok());
  BOOST_TEST(tile_q(few.value()) < tile_q(many.value()));
}

BOOST_AUTO_TEST_CASE(a_kernel_can_be_asked_for_by_name) {
  for (const KernelRow &row : kernel_table()) {
    if (!is_attention(*row.passport)) continue;
    ProblemKey key = mission();
    BOOST_REQUIRE(pin_kernel(key, row.passport->name).ok());
    const auto chosen = select_kernel(key, h200, {});
    BOOST_REQUIRE(chosen.ok());
    BOOST_TEST(kernel_table()[chosen.value().kernel_index].passport->name == row.passport->name);
  }
}

BOOST_AUTO_TEST_CASE(a_module_can_be_asked_for_by_name) {
  for (const KernelRow &row : kernel_table()) {
    if (!is_attention(*row.passport)) continue;
    kernels::Specialization s;
    for (int32_t i = 0; row.passport->specialization(i, &s); ++i) {
      ProblemKey key = mission();
      const auto value = [&](const char *choice, int32_t otherwise) {
        return row.passport->value(s, choice, otherwise);
      };
      key.head_dim = value("head_dim", 64), key.head_dim_v = value("head_dim_v", 64);
      key.dtype = value("dtype", key.dtype), key.alignment_bytes = value("alignment_bytes", 16);
      key.causal = value("causal", 0) != 0 ? kernels::causal_top_left : kernels::causal_none;
      const std::string name = module_name(*row.passport, s);
      BOOST_REQUIRE(pin_kernel(key, name).ok());
      const auto chosen = select_kernel(key, h200, {});
      BOOST_REQUIRE(chosen.ok());
      BOOST_TEST(module_name(passport_at(chosen.value().kernel_index), chosen.value().specialization) == name);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_module_that_is_not_shipped_can_be_asked_for) {
  constexpr const char *name = "sm80_fwd_mma-fp16-d64-32x80-w2-qreg";
  const int32_t index = find_kernel("sm80_fwd_mma");
  kernels::Specialization s;
  for (int32_t i = 0; kernel_table()[index].passport->specialization(i, &s); ++i)
    BOOST_TEST(module_name(passport_at(index), s) != name);
  ProblemKey key = mission();
  BOOST_REQUIRE(pin_kernel(key, name).ok());
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(chosen.ok());
  BOOST_TEST(chosen.value().kernel_index == index);
  BOOST_TEST(passport_at(index).value(chosen.value().specialization, "tile_kv", 0) == 80);
  BOOST_TEST(chosen.value().plan.main_stage().grid.x == 16 * 8);
  BOOST_TEST(chosen.value().plan.cost.total_us > 0);
  BOOST_TEST(contains(explain_selection(key, h200, {}), "sm80_fwd_mma: chosen, sm80_fwd_mma-fp16-d64-32x80-w2-qreg"));
  // And the next call is free again.
  BOOST_REQUIRE(pin_kernel(key, "").ok());
  BOOST_TEST(!key.one_module());
  BOOST_TEST(chosen_kernel(key, h200) == "sm80_fwd_small");
}

BOOST_AUTO_TEST_CASE(a_module_that_its_kernel_does_not_allow_is_refused) {
  ProblemKey key = mission();
  const Status status = pin_kernel(key, "sm80_fwd_mma-fp16-d64-64x72-w4");
  BOOST_REQUIRE(!status.ok());
  BOOST_TEST(status.error().status == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(status.error().field == "kernel");
  BOOST_TEST(contains(status.error().message,
                      "\"sm80_fwd_mma-fp16-d64-64x72-w4\", whose tile_kv is 72; sm80_fwd_mma allows: "));
  BOOST_TEST(key.kernel_index == -1);
}

BOOST_AUTO_TEST_CASE(a_module_of_a_text_is_for_calls_with_that_text) {
  ProblemKey key = mission();
  const auto said = [&key](std::string_view name) {
    const Status status = pin_kernel(key, name);
    return status.ok() ? std::string("OK") : status.error().message;
  };
  BOOST_TEST(contains(said("sm80_fwd_mma-fp16-d64-nonsense"), "where TILE_QxTILE_KV must stand"));
  const char *name = "sm80_fwd_mma-fp16-d64-64x64-w4-variant-0123456789abcdef";
  BOOST_TEST(contains(said(name), "a module with another text than the call's variant has, which has none"));
  key.variant = 0x1111111111111111;
  BOOST_TEST(contains(said(name), "another text than the call's variant has, 1111111111111111"));
  key.variant = 0x0123456789abcdef;
  BOOST_TEST(said(name) == "OK");
}

BOOST_AUTO_TEST_CASE(a_module_that_does_not_serve_the_call_says_why) {
  const struct {
    const char *module;
    void (*change)(ProblemKey &);
    const char *field, *reason;
  } cases[] = {
      {"sm80_fwd_mma-bf16-d64-64x64-w4", [](ProblemKey &) {}, "query.dtype",
       "for query.dtype bfloat16, the call's is float16"},
      {"sm80_fwd_mma-fp16-d64-causal-64x64-w4", [](ProblemKey &) {}, "causal",
       "applies a causal mask, the call has none"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.causal = kernels::causal_top_left; }, "causal",
       "applies no mask"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.head_dim = key.head_dim_v = 128; }, "head_dim",
       "for head_dim 64, the call's is 128"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.alignment_bytes = 2; }, "kernel",
       "moves rows by 16 bytes"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-unaligned", [](ProblemKey &) {}, "kernel", "rows of any alignment"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.window_left = 9; }, "window_left",
       "for which there is sm80_fwd_mma-fp16-d64-window-64x64-w4"},
      {"sm80_fwd_mma-fp16-d64-causal-window-64x64-w4", [](ProblemKey &key) { key.attention_chunk = 9; },
       "attention_chunk", "for which there is sm80_fwd_mma-fp16-d64-causal-chunk-64x64-w4"},
      {"sm80_fwd_mma-fp16-d64-softcap-64x64-w4", [](ProblemKey &) {}, "softcap",
       "for which there is sm80_fwd_mma-fp16-d64-64x64-w4"},
      {"sm80_fwd_mma-fp16-d64-softcap-64x64-w4",
       [](ProblemKey &key) { key.scores = kernels::scores_softcap | kernels::scores_sinks; }, "sinks",
       "sm80_fwd_mma-fp16-d64-softcap_sinks-64x64-w4"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.output_dtype = kernels::dtype_float32; },
       "output.dtype", "for the call's there is sm80_fwd_mma-fp16-d64-out32-64x64-w4"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.head_dim_v = 128; }, "head_dim_v",
       "for head_dim_v 64, the call's is 128"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4", [](ProblemKey &key) { key.rows = kernels::rows_ragged; }, "kernel",
       "for sequences that lie otherwise than the call's, for which there is sm80_fwd_mma-fp16-d64-"},
      {"sm80_fwd_mma-fp16-d128-128x256-w4", [](ProblemKey &key) { key.head_dim = key.head_dim_v = 128; }, "",
       " bytes of shared memory per block, the device allows 101376"},
  };
  for (const auto &one : cases) {
    ProblemKey key = mission();
    one.change(key);
    BOOST_REQUIRE(pin_kernel(key, one.module).ok());
    const auto chosen = select_kernel(key, l4, {});
    BOOST_REQUIRE_MESSAGE(!chosen.ok(), one.module);
    BOOST_TEST(chosen.error().status == FLASHCORE_UNSUPPORTED);
    BOOST_TEST(chosen.error().field == one.field);
    BOOST_TEST(contains(chosen.error().message, one.reason), chosen.error().message);
    BOOST_TEST(contains(explain_selection(key, l4, {}), one.reason));
  }
}

// What a problem needs beyond what is shipped is a word in the name of the module that is chosen, of whichever kernel.
BOOST_AUTO_TEST_CASE(features_choose_modules_that_are_not_shipped) {
  const struct {
    void (*change)(ProblemKey &);
    const char *words;  // behind the head dimensions
  } cases[] = {
      {[](ProblemKey &key) { key.window_right = 9; }, "-causal-"},
      {[](ProblemKey &key) { key.window_left = 9; }, "-window-"},
      {[](ProblemKey &key) { key.window_left = 9, key.causal = kernels::causal_bottom_right; }, "-causal-window-"},
      {[](ProblemKey &key) { key.attention_chunk = 9; }, "-causal-chunk-"},
      {[](ProblemKey &key) { key.scores = kernels::scores_sinks; }, "-sinks-"},
      {[](ProblemKey &key) { key.window_left = 9, key.scores = 7; }, "-window-softcap_alibi_sinks-"},
      {[](ProblemKey &key) { key.scores = kernels::scores_mask; }, "-mask-"},
      {[](ProblemKey &key) { key.causal = kernels::causal_top_left, key.scores = 31; },
       "-causal-softcap_alibi_sinks_bias_mask-"},
      {[](ProblemKey &key) { key.output_dtype = kernels::dtype_float32; }, "-out32-"},
  };
  for (const auto &one : cases)
    for (const bool large : {false, true})
      for (const DeviceLimits &device : {l4, h200}) {
        ProblemKey key = mission();
        if (large) key.batch = 32, key.head_dim = key.head_dim_v = 128;
        one.change(key);
        const auto chosen = select_kernel(key, device, {});
        BOOST_REQUIRE(chosen.ok());
        const kernels::Passport &passport = passport_at(chosen.value().kernel_index);
        const std::string name = module_name(passport, chosen.value().specialization);
        BOOST_TEST(contains(name, (std::string(large ? "d128" : "d64") + one.words).c_str()), name);
        BOOST_TEST(passport.serves(chosen.value().specialization, key));
        BOOST_TEST(passport.allows(chosen.value().specialization).field == nullptr);
      }
  // One query with a window reads few keys; nobody chooses by the others.
  ProblemKey few = mission();
  few.seqlen_q = 1, few.seqlen_kv = 100000;
  const double all_us = select_kernel(few, h200, {}).value().plan.cost.total_us;
  few.window_left = 500;
  BOOST_TEST(select_kernel(few, h200, {}).value().plan.cost.total_us < all_us / 2);
}

BOOST_AUTO_TEST_CASE(kernels_without_code_for_a_feature_name_it) {
  const std::pair<void (*)(ProblemKey &), const char *> cases[] = {
      {[](ProblemKey &key) { key.window_left = 9; }, "window_left"},
      {[](ProblemKey &key) { key.attention_chunk = 9; }, "attention_chunk"},
      {[](ProblemKey &key) { key.scores = kernels::scores_softcap; }, "softcap"},
      {[](ProblemKey &key) { key.scores = kernels::scores_alibi; }, "alibi_slopes"},
      {[](ProblemKey &key) { key.scores = kernels::scores_sinks; }, "sinks"},
      {[](ProblemKey &key) { key.scores = kernels::scores_bias; }, "bias"},
      {[](ProblemKey &key) { key.scores = kernels::scores_mask; }, "mask"},
  };
  for (const auto &[change, field] : cases)
    for (const char *kernel : {"fwd_scalar", "fwd_wmma_64x64"}) {
      ProblemKey key = mission();
      change(key);
      BOOST_REQUIRE(pin_kernel(key, kernel).ok());
      const auto chosen = select_kernel(key, h200, {});
      BOOST_REQUIRE(!chosen.ok());
      BOOST_TEST(chosen.error().field == field);
      BOOST_TEST(contains(chosen.error().message, "left out, the kernel has no code for it"));
    }
}

BOOST_AUTO_TEST_CASE(an_unknown_name_lists_the_kernels) {
  ProblemKey key = mission();
  const Status status = pin_kernel(key, "fwd_magic");
  BOOST_REQUIRE(!status.ok());
  BOOST_TEST(status.error().status == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(status.error().field == "kernel");
  for (const KernelRow &row : kernel_table()) BOOST_TEST(contains(status.error().message, row.passport->name));
  const Status of_module = pin_kernel(key, "fwd_magic-fp16-d64-64x64-w4");
  BOOST_REQUIRE(!of_module.ok());
  BOOST_TEST(
      contains(of_module.error().message, "kernel is \"fwd_magic-fp16-d64-64x64-w4\"; allowed: empty, sm80_fwd_mma"));
}

BOOST_AUTO_TEST_CASE(a_refusal_names_the_field_and_every_kernel) {
  ProblemKey key = mission();
  key.head_dim = key.head_dim_v = 333;
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(chosen.error().status == FLASHCORE_UNSUPPORTED);
  BOOST_TEST(chosen.error().field == "head_dim");
  for (const KernelRow &row : kernel_table())
    BOOST_TEST(contains(chosen.error().message, row.passport->name) == is_attention(*row.passport));
}

BOOST_AUTO_TEST_CASE(a_ladder_kernel_is_never_the_librarys_own_choice) {
  ProblemKey key = mission();
  key.head_dim = key.head_dim_v = 41;  // only fwd_scalar could
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(contains(chosen.error().message, "fwd_scalar: could, but is only used when asked for by name"));
  BOOST_REQUIRE(pin_kernel(key, "fwd_scalar").ok());
  BOOST_TEST(select_kernel(key, h200, {}).ok());
}

BOOST_AUTO_TEST_CASE(too_little_shared_memory_names_the_need_and_the_limit) {
  ProblemKey key = mission();
  BOOST_REQUIRE(pin_kernel(key, "fwd_wmma_64x64").ok());
  DeviceLimits small = l4;
  small.shared_bytes_per_block = 65536;  // as on compute capability 7.5
  const auto chosen = select_kernel(key, small, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(contains(chosen.error().message, "needs 90624 bytes of shared memory per block, the device allows 65536"));
}

BOOST_AUTO_TEST_CASE(a_device_too_small_for_every_configuration_is_told_each_kernels_smallest_need) {
  DeviceLimits tiny = l4;
  tiny.shared_bytes_per_block = 1024;
  const auto chosen = select_kernel(mission(), tiny, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(chosen.error().status == FLASHCORE_UNSUPPORTED);
  for (const KernelRow &row : kernel_table()) {
    const kernels::Passport &passport = *row.passport;
    if (!is_attention(passport) || passport.minimum_arch > l4.arch) continue;
    int64_t smallest = -1;
    kernels::Specialization s;
    for (int32_t i = 0; passport.specialization(i, &s); ++i)
      if (passport.serves(s, mission()) && (smallest < 0 || passport.dynamic_shared_bytes(s) < smallest))
        smallest = passport.dynamic_shared_bytes(s);
    const std::string need = std::string(passport.name) + ": needs " + std::to_string(smallest) +
                             " bytes of shared memory per block, the device allows 1024";
    BOOST_TEST(contains(chosen.error().message, need.c_str()), chosen.error().message);
  }
}

BOOST_AUTO_TEST_CASE(an_old_device_is_told_what_is_needed) {
  DeviceLimits turing = l4;
  turing.arch = 75;
  const auto chosen = select_kernel(mission(), turing, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(contains(chosen.error().message, "needs compute capability 8.0 or newer, the device has 7.5"));
}

BOOST_AUTO_TEST_CASE(a_grid_beyond_the_hardware_is_refused) {
  ProblemKey key = mission();
  key.batch = 1 << 20, key.seqlen_q = 1 << 20;
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(chosen.error().field == "batch");
}

BOOST_AUTO_TEST_CASE(the_explanation_has_a_line_for_every_kernel) {
  const std::string text = explain_selection(mission(), h200, {});
  BOOST_TEST(contains(text, "sm80_fwd_small: chosen"));
  BOOST_TEST(contains(text, "fwd_scalar: only by name"));
  const auto table = kernel_table();
  BOOST_TEST(
      std::count(text.begin(), text.end(), '\n') ==
      std::count_if(table.begin(), table.end(), [](const KernelRow &row) { return is_attention(*row.passport); }));
  BOOST_TEST(!contains(text, "merge_states"));
}

BOOST_AUTO_TEST_CASE(a_kernel_of_another_operation_is_no_kernel_for_attention) {
  for (const char *name : {"merge_states", "merge_states-fp16-fp32"}) {
    BOOST_TEST(read_kernel_name(name).ok());
    ProblemKey key = mission();
    const Status status = pin_kernel(key, name);
    BOOST_REQUIRE(!status.ok());
    BOOST_TEST(status.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(status.error().field == "kernel");
    BOOST_TEST(key.kernel_index == -1);
    BOOST_TEST(contains(status.error().message, "which computes no attention"));
  }
}
