// SPDX-License-Identifier: Apache-2.0
//
// What chooses for batch-invariant calls, for pieces of keys, and under a limit of multiprocessors.
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <set>

#include "attention_fwd/decode.h"
#include "attention_fwd/wgmma.h"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using kernels::DeviceLimits;
using kernels::ProblemKey;

namespace {

constexpr DeviceLimits l4{89, 58, 101376, 102400, 48 << 20}, h200{90, 132, 232448, 233472, 50 << 20};

ProblemKey problem(int64_t queries, int64_t keys, int32_t columns) {
  ProblemKey key{};
  key.batch = key.kv_batches = 1, key.seqlen_q = queries, key.seqlen_kv = keys, key.heads_q = 8, key.heads_kv = 2;
  key.head_dim = key.head_dim_v = columns;
  key.dtype = kernels::dtype_float16, key.alignment_bytes = 16, key.kernel_index = -1;
  key.causal = kernels::causal_bottom_right;
  return key;
}

Selection selected(const ProblemKey &key, const DeviceLimits &device) {
  const auto chosen = select_kernel(key, device, {});
  if (!chosen.ok()) BOOST_FAIL(chosen.error().message);
  return chosen.value();
}
const kernels::Passport &passport_of(const Selection &selection) { return passport_at(selection.kernel_index); }
std::string name_of(const Selection &selection) {
  return module_name(passport_of(selection), selection.specialization);
}
std::string chosen_kernel_name(const ProblemKey &key) { return passport_of(selected(key, h200)).name; }

// Keys of a part, as the kernel is told; 0: it does not cut.
int32_t keys_of_part(const Selection &selection, const ProblemKey &key, const DeviceLimits &device) {
  alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
  const kernels::Passport &passport = passport_of(selection);
  passport.pack(selection.specialization, key, {}, limited(device, key), parameters);
  kernels::GridSplit split{};
  if (passport.entry_point(1) == nullptr) return 0;
  const bool wgmma = std::string_view(passport.name) == "sm90_fwd_wgmma";
  std::memcpy(
      &split,
      parameters + (wgmma ? offsetof(kernels::sm90_fwd_wgmma::Params, split) : sizeof(kernels::AttentionFwdParams)),
      sizeof(split));
  return split.parts == 1 ? 0x7fffffff : split.keys_per_part;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(batch_invariance_suite)

BOOST_AUTO_TEST_CASE(batches_heads_and_multiprocessors_choose_nothing) {
  int different_without = 0;
  for (const DeviceLimits &device : {l4, h200})
    for (const int64_t queries : {1, 3, 64, 300, 4096})
      for (const int64_t keys : {100, 1000, 5000, 40000})
        for (const int32_t columns : {64, 128, 256}) {
          std::set<std::string> modules, free_modules;
          std::set<int32_t> parts;
          for (const int64_t batch : {1, 2, 7, 64, 500})
            for (const int32_t heads : {1, 4, 16})
              for (const int32_t multiprocessors : {20, device.multiprocessors}) {
                DeviceLimits other = device;
                other.multiprocessors = multiprocessors;
                ProblemKey key = problem(queries, keys, columns);
                key.batch = key.kv_batches = batch, key.heads_q = 4 * heads, key.heads_kv = heads;
                free_modules.insert(name_of(selected(key, other)));
                key.batch_invariant = 1;
                const Selection selection = selected(key, other);
                modules.insert(name_of(selection)), parts.insert(keys_of_part(selection, key, other));
              }
          BOOST_TEST(modules.size() == 1u, *modules.begin() << " and others for " << queries << " x " << keys);
          BOOST_TEST(parts.size() == 1u, *modules.begin());
          different_without += free_modules.size() > 1;
        }
  BOOST_TEST(different_without > 40);  // else there is nothing to keep
}

BOOST_AUTO_TEST_CASE(other_sequences_of_a_ragged_batch_choose_nothing) {
  for (const DeviceLimits &device : {l4, h200})
    for (const int32_t rows : {kernels::rows_ragged, kernels::rows_paged})
      for (const bool many : {false, true}) {
        std::set<std::string> modules;
        std::set<int32_t> parts;
        for (const int64_t batch : {1, 3, 200})
          for (const int64_t queries : {many ? 9 : 1, many ? 700 : 8})
            for (const int64_t keys : {300, 2000, 100000}) {
              ProblemKey key = problem(queries, keys, 128);
              key.batch = batch, key.kv_batches = 4000, key.rows = rows, key.batch_invariant = 1;
              key.ragged_by = kernels::by_seqused_kv, key.page_size = rows == kernels::rows_paged ? 16 : 0;
              key.total_q = many ? queries * batch / 2 + 1 : kernels::no_total;
              const Selection selection = selected(key, device);
              modules.insert(name_of(selection));
              // All keys of a sequence in one part is what a part of more keys than it has means, too.
              if (const int32_t of_part = keys_of_part(selection, key, device); of_part != 0x7fffffff)
                parts.insert(of_part);
            }
        BOOST_TEST(modules.size() == 1u, *modules.begin());
        BOOST_TEST(parts.size() == 1u, *modules.begin());
        BOOST_TEST((modules.begin()->find("decode") == std::string::npos) == many, *modules.begin());
      }
}

BOOST_AUTO_TEST_CASE(the_price_is_no_more_than_a_third) {
  const struct {
    int64_t batch, queries, keys;
    int32_t heads, columns;
  } calls[] = {{1, 1, 4096, 8, 128},  {32, 1, 4096, 8, 128},  {8, 1, 8192, 8, 128},
               {1, 1, 16384, 1, 128}, {64, 1, 1024, 8, 128},  {4, 4096, 4096, 4, 128},
               {32, 512, 512, 4, 64}, {1, 2048, 2048, 8, 64}, {8, 2048, 2048, 8, 128}};
  for (const DeviceLimits &device : {l4, h200})
    for (const auto &call : calls) {
      ProblemKey key = problem(call.queries, call.keys, call.columns);
      key.batch = key.kv_batches = call.batch, key.heads_kv = call.heads, key.heads_q = 4 * call.heads;
      const double free_us = selected(key, device).plan.cost.total_us;
      key.batch_invariant = 1;
      const Selection selection = selected(key, device);
      BOOST_TEST(selection.plan.cost.total_us <= 1.3 * free_us,
                 name_of(selection) << ": " << selection.plan.cost.total_us << " us for " << free_us);
    }
}

BOOST_AUTO_TEST_CASE(keys_are_cut_as_the_caller_says) {
  ProblemKey key = problem(1, 10000, 128);
  key.split_count = 5;
  for (const DeviceLimits &device : {l4, h200}) {
    const Selection selection = selected(key, device);
    BOOST_TEST(selection.plan.stages[0].grid.y * (selection.plan.stages[0].grid.y > 1 ? 1 : 5) == 5,
               name_of(selection));
    BOOST_TEST(keys_of_part(selection, key, device) >= 2000);
  }
  key.split_count = 0, key.split_tokens = 1000, key.batch_invariant = 1;
  const Selection selection = selected(key, h200);
  BOOST_TEST(keys_of_part(selection, key, h200) == 1000);
  BOOST_TEST(selection.plan.stages[0].grid.y == 10);
  BOOST_TEST(selection.plan.workspace_bytes == 8 * 10 * (128 + 2) * 4);
  key.window_left = 500;
  const auto refused = select_kernel(key, h200, {});
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().field == "split_tokens");
  BOOST_TEST(refused.error().message.find("the first key that a query sees moves") != std::string::npos);
  key.window_left = kernels::window_open, key.split_tokens = 0, key.split_count = 2, key.batch_invariant = 0;
  BOOST_REQUIRE(pin_kernel(key, "sm80_fwd_mma").ok());
  const auto uncut = select_kernel(key, h200, {});
  BOOST_REQUIRE(!uncut.ok());
  BOOST_TEST(uncut.error().field == "split_count");
  key.split_count = 1;
  BOOST_TEST(select_kernel(key, h200, {}).ok());
}

BOOST_AUTO_TEST_CASE(no_launch_has_more_blocks_than_the_limit) {
  int stay = 0;
  for (const DeviceLimits &device : {l4, h200})
    for (const int32_t limit : {1, 10, 50})
      for (const int64_t queries : {1, 40, 3000})
        for (const int32_t columns : {64, 128}) {
          ProblemKey key = problem(queries, 5000, columns);
          key.batch = key.kv_batches = 4, key.multiprocessor_limit = limit;
          const Selection selection = selected(key, device);
          BOOST_TEST(most_blocks_at_once(selection.plan) <= limit, name_of(selection));
          for (int32_t i = 0; i < selection.plan.stage_count; ++i)
            BOOST_TEST((selection.plan.stages[i].attributes & kernels::programmatic_dependent) == 0u);
          stay += name_of(selection).find("-stay-") != std::string::npos;
          // What is packed is the same plan.
          const int32_t of_part = keys_of_part(selection, key, device);
          if (selection.plan.stages[0].grid.y > 1) BOOST_TEST(of_part * selection.plan.stages[0].grid.y >= 5000);
        }
  BOOST_TEST(stay > 5);
}

BOOST_AUTO_TEST_CASE(a_limit_that_nothing_holds_is_named) {
  ProblemKey key = problem(300, 300, 64);
  key.multiprocessor_limit = 3;
  BOOST_REQUIRE(pin_kernel(key, "sm80_fwd_small").ok());
  const auto refused = select_kernel(key, h200, {});
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().field == "multiprocessor_limit");
  BOOST_TEST(refused.error().message.find("must be 80 or more") != std::string::npos, refused.error().message);
  key.multiprocessor_limit = 132;
  drop_needless_limit(key, h200);
  BOOST_TEST(key.multiprocessor_limit == 0);
  // Few queries of a batch-invariant call have one kernel, which no limit may change.
  ProblemKey few = problem(1, 5000, 128);
  few.batch = few.kv_batches = 50, few.batch_invariant = 1, few.multiprocessor_limit = 100;
  const auto invariant = select_kernel(few, h200, {});
  BOOST_REQUIRE(!invariant.ok());
  BOOST_TEST(invariant.error().field == "multiprocessor_limit");
  BOOST_TEST(chosen_kernel_name(problem(1, 5000, 128)).find("decode") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(kernels_that_write_16_bits_alone_say_so) {
  ProblemKey key = problem(300, 300, 64);
  key.output_dtype = kernels::dtype_float32;
  BOOST_REQUIRE(pin_kernel(key, "fwd_scalar").ok());
  const auto chosen = select_kernel(key, h200, {});
  BOOST_REQUIRE(!chosen.ok());
  BOOST_TEST(chosen.error().field == "output.dtype");
  BOOST_TEST(chosen.error().message.find("0 or the query's, the kernel writes no other") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
