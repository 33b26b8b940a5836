// SPDX-License-Identifier: Apache-2.0
//
// What must hold for every passport of the table, whatever it says.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "attention_fwd/decode.h"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using namespace flashcore::kernels;

namespace {

// A problem that the specialization was made for.
ProblemKey problem_for(const Specialization &s, int64_t seqlen) {
  return {2,
          seqlen,
          seqlen,
          4,
          2,
          s.head_dim,
          s.head_dim_v,
          s.dtype,
          s.causal != 0 ? causal_bottom_right : causal_none,
          s.alignment_bytes,
          -1};
}

template <typename Check>
void for_every_specialization(Check check) {
  for (const KernelRow &row : kernel_table()) {
    Specialization s;
    for (int32_t i = 0; row.passport->specialization(i, &s); ++i)
      BOOST_TEST_CONTEXT(row.passport->name << " specialization " << i) check(*row.passport, s);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_specialization_serves_its_own_problem) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    const ProblemKey key = problem_for(s, 512);
    BOOST_TEST(passport.refuse(key).field == nullptr);
    BOOST_TEST(passport.serves(s, key));
  });
}

BOOST_AUTO_TEST_CASE(what_is_shipped_is_allowed) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    const Status status = check_specialization(passport, s);
    BOOST_TEST(status.ok(), (status.ok() ? "" : status.error().message));
  });
}

// A passport that says nothing about a field would compile anything: of a shipped specialization with one field out of
// reach, none is allowed, and the error names the field.
BOOST_AUTO_TEST_CASE(what_no_kernel_can_do_is_not_allowed) {
  const struct {
    int32_t Specialization::*member;
    int32_t value;
    const char *field;
  } changes[] = {{&Specialization::head_dim, 1016, "head_dim"},
                 {&Specialization::head_dim_v, 1016, "head_dim_v"},
                 {&Specialization::tile_q, 1000, "tile_q"},
                 {&Specialization::tile_kv, 1000, "tile_kv"},
                 {&Specialization::warps, 31, ""},
                 {&Specialization::stages, 7, ""},
                 {&Specialization::dtype, 3, "dtype"}};
  for_every_specialization([&](const Passport &passport, const Specialization &shipped) {
    for (const auto &change : changes) {
      Specialization s = shipped;
      s.*change.member = change.value;
      const Status status = check_specialization(passport, s);
      BOOST_REQUIRE(!status.ok());
      BOOST_TEST(status.error().field == "kernel");
      const bool named = status.error().message.find(std::string("whose ") + change.field) != std::string::npos;
      // A rung allows whole tiles, and says so of tile_q.
      BOOST_TEST((named || passport.by_name_only), status.error().message);
    }
  });
}

BOOST_AUTO_TEST_CASE(the_grid_covers_every_query_row_once) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    for (const int64_t seqlen : {1, 63, 64, 65, 129, 1000}) {
      const ProblemKey key = problem_for(s, seqlen);
      const Grid grid = passport.grid(s, key);
      // The query rows of a head in tiles; or those of all heads that share a key head, for one block or a cluster of them.
      const int64_t by_head = ceil_div(seqlen, s.tile_q) * key.heads_q * key.batch;
      const int64_t packed =
          ceil_div(seqlen * (key.heads_q / key.heads_kv), s.tile_q) * key.heads_kv * key.batch * s.cluster;
      BOOST_TEST((grid.x == by_head || grid.x == packed), grid.x);
      BOOST_TEST((grid.y == 1 && grid.z == 1));
    }
  });
}

BOOST_AUTO_TEST_CASE(shared_memory_fits_the_smallest_architecture) {
  static constexpr int64_t ada_bytes = 101376;  // per block on 8.6, 8.9 and 12.x, after the opt-in
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    BOOST_TEST(passport.dynamic_shared_bytes(s) > 0);
    BOOST_TEST(passport.dynamic_shared_bytes(s) <= ada_bytes);
  });
}

// A problem without rows or without keys costs something finite, on the largest and the smallest device that a caller may describe.
BOOST_AUTO_TEST_CASE(cost_of_every_problem_is_a_number) {
  constexpr int32_t most = std::numeric_limits<int32_t>::max();
  for (const DeviceLimits &device :
       {DeviceLimits{90, 132, 232448, 233472}, DeviceLimits{120, most, most - 1024, most}, DeviceLimits{1, 1, 1, 1025}})
    for_every_specialization([&](const Passport &passport, const Specialization &s) {
      ProblemKey no_batch = problem_for(s, 512), no_queries = no_batch, no_keys = no_batch, empty = problem_for(s, 0);
      no_batch.batch = 0, no_queries.seqlen_q = 0, no_keys.seqlen_kv = 0;
      for (const ProblemKey &key : {no_batch, no_queries, no_keys, empty, problem_for(s, 512)}) {
        const Cost cost = passport.cost(s, key, device);
        for (const double figure :
             {cost.launch_us, cost.tensor_us, cost.mufu_us, cost.issue_us, cost.shared_us, cost.l2_us,
              cost.throughput_us, cost.latency_us, cost.total_us, cost.waves, cost.blocks_per_multiprocessor})
          BOOST_TEST((std::isfinite(figure) && figure >= 0),
                     "device " << device.arch << ", " << key.batch << " x " << key.seqlen_q << " x " << key.seqlen_kv);
      }
    });
}

// Evaluated by the compiler, which refuses an overflow.
static_assert(decode::cost({dtype_float16, 64, 64, 0, 16, 8, 16, 2, 1, 0, 1},
                           {1, 1, 64, 1, 1, 64, 64, dtype_float16, causal_none, 16, -1},
                           {90, 0x7fffffff, 1 << 20, 1 << 20})
                  .total_us > 0);

BOOST_AUTO_TEST_CASE(cost_grows_with_the_work) {
  constexpr DeviceLimits h200{90, 132, 232448, 233472};
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    const double small = passport.cost(s, problem_for(s, 512), h200).total_us,
                 large = passport.cost(s, problem_for(s, 16384), h200).total_us;
    BOOST_TEST(small > 0);
    BOOST_TEST(large > 4 * small);
  });
}
