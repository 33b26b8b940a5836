// SPDX-License-Identifier: Apache-2.0
//
// What must hold for every passport of the table, whatever it says.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "attention_fwd/decode.h"
#include "attention_fwd/wgmma.h"
#include "attention_fwd/wide.h"
#include "contract/arch.h"
#include "parts/block_work.cuh"
#include "parts/rounds.cuh"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using namespace flashcore::kernels;

namespace {

// A problem that the specialization was made for.
ProblemKey problem_for(const Passport &passport, const Specialization &s, int64_t seqlen) {
  const auto value = [&](const char *choice, int32_t otherwise) { return passport.value(s, choice, otherwise); };
  return {2,
          seqlen,
          seqlen,
          4,
          2,
          value("head_dim", 64),
          value("head_dim_v", 64),
          value("dtype", dtype_float16),
          value("causal", 0) != 0 ? causal_bottom_right : causal_none,
          value("alignment_bytes", 16),
          -1};
}

// Of attention.
template <typename Check>
void for_every_specialization(Check check) {
  for (const KernelRow &row : kernel_table()) {
    if (!is_attention(*row.passport)) continue;
    Specialization s;
    for (int32_t i = 0; row.passport->specialization(i, &s); ++i)
      BOOST_TEST_CONTEXT(row.passport->name << " specialization " << i) check(*row.passport, s);
  }
}

struct Row {
  int64_t batch, head, query, rank;
};

// Blocks that share the keys of a row, by how the kernels split them: those of a cluster, and parts over the grid.
int32_t ranks_of(const Passport &passport, const Specialization &s, const ProblemKey &key, const DeviceLimits &device) {
  const Launch launch = passport.plan(s, key, device).main_stage();
  if (passport.value(s, "packed", 0) != 0)
    return sm90_fwd_wgmma::cheapest_split(choices_of<sm90_fwd_wgmma::Choices>(s), key, device).split.parts;
  return launch.cluster * static_cast<int32_t>(launch.grid.y);
}

// Tiles of the rows of one head.
template <int32_t tile_q>
std::vector<Row> rows_of_tile(bool causal, const AttentionFwdParams &params, uint32_t block) {
  const BlockWork work =
      causal ? block_work<tile_q, causal_mask>(params, block) : block_work<tile_q, no_mask>(params, block);
  std::vector<Row> rows;
  for (int32_t query = work.first_query; query < work.first_query + tile_q && query < params.seqlen_q; ++query)
    rows.push_back({work.batch, work.head_q, query, 0});
  return rows;
}

// Those of all the rounds of a block that stays.
template <int32_t tile_q, Mask mask>
std::vector<Row> rows_of_rounds(const TileOrder &order, const AttentionFwdParams &params, uint32_t block,
                                uint32_t blocks) {
  const auto rounds = Rounds<tile_q, mask>::of(order, block, blocks);
  std::vector<Row> rows;
  for (int32_t round = 0; round < rounds.count; ++round) {
    const BlockWork work = rounds.work(params, round);
    for (int32_t query = work.first_query; query < work.first_query + tile_q && query < params.seqlen_q; ++query)
      rows.push_back({work.batch, work.head_q, query, 0});
  }
  return rows;
}
// The blocks of a cluster have the same, and a rank each; tiles are taken one after the other then.
template <int32_t tile_q>
std::vector<Row> rows_of_rounds(const TileOrder &order, bool causal, const AttentionFwdParams &params, uint32_t block,
                                const Launch &launch) {
  const auto cluster = static_cast<uint32_t>(launch.cluster), clusters = static_cast<uint32_t>(launch.grid.x) / cluster;
  auto rows = causal && cluster == 1 ? rows_of_rounds<tile_q, causal_mask>(order, params, block, clusters)
                                     : rows_of_rounds<tile_q, no_mask>(order, params, block / cluster, clusters);
  for (Row &row : rows) row.rank = static_cast<int32_t>(block % cluster);
  return rows;
}

// Tiles of the rows of all heads that share a key head, each for every part of its keys.
template <int32_t tile_q>
std::vector<Row> packed_rows_of_rounds(const AttentionFwdParams &params, uint32_t block, const Launch &launch,
                                       int32_t parts) {
  const auto rounds = PackedRounds<tile_q>::of(params, parts, block, static_cast<uint32_t>(launch.grid.x));
  std::vector<Row> rows;
  for (int32_t round = 0; round < rounds.count; ++round) {
    const PackedWork work = rounds.work(params, round);
    for (int32_t r = 0; r < tile_q / params.heads_per_kv * params.heads_per_kv; ++r)
      if (const int32_t query = work.first_query + r / params.heads_per_kv; query < params.seqlen_q)
        rows.push_back({work.batch, work.head_q + r % params.heads_per_kv, query, work.part});
  }
  return rows;
}
std::vector<Row> packed_rows(const AttentionFwdParams &params, const decode::BlockRows &work, int32_t tile_q) {
  std::vector<Row> rows;
  for (int32_t r = work.first_row; r < work.first_row + tile_q && r < work.row_count; ++r)
    rows.push_back(
        {work.batch, work.head_kv * params.heads_per_kv + r % params.heads_per_kv, r / params.heads_per_kv, work.rank});
  return rows;
}

template <int32_t cluster>
std::vector<Row> packed_rows(const AttentionFwdParams &params, uint32_t block) {
  return packed_rows(params, decode::block_rows<8, cluster>(params, block), 8);
}

std::vector<Row> rows_of_block(const Passport &passport, const Specialization &s, const AttentionFwdParams &params,
                               const TileOrder &order, uint32_t block, const Launch &launch, int32_t ranks) {
  if (std::string_view(passport.name).ends_with("_fwd_decode")) {
    BOOST_REQUIRE(passport.value(s, "tile_q", 0) == 8);
    switch (passport.value(s, "cluster", 0)) {
      case 1:
        return packed_rows<1>(params, block);
      case 2:
        return packed_rows<2>(params, block);
      case 4:
        return packed_rows<4>(params, block);
      case 8:
        return packed_rows<8>(params, block);
    }
  }
  if (std::string_view(passport.name).ends_with("_fwd_wide")) switch (passport.value(s, "tile_q", 0)) {
      case 16:
        return packed_rows(params, wide::dense_rows<16>(params, block), 16);
      case 32:
        return packed_rows(params, wide::dense_rows<32>(params, block), 32);
      case 64:
        return packed_rows(params, wide::dense_rows<64>(params, block), 64);
    }
  const bool causal = passport.value(s, "causal", 0) != 0;
  if (passport.value(s, "packed", 0) != 0) {
    BOOST_REQUIRE(passport.value(s, "tile_q", 0) == 128);
    return packed_rows_of_rounds<128>(params, block, launch, ranks);
  }
  if (std::string_view(passport.name).ends_with("_fwd_wgmma")) switch (passport.value(s, "tile_q", 0)) {
      case 128:
        return rows_of_rounds<128>(order, causal, params, block, launch);
      case 192:
        return rows_of_rounds<192>(order, causal, params, block, launch);
    }
  switch (passport.value(s, "tile_q", 0)) {
    case 1:
      return rows_of_tile<1>(causal, params, block);
    case 32:
      return rows_of_tile<32>(causal, params, block);
    case 64:
      return rows_of_tile<64>(causal, params, block);
    case 128:
      return rows_of_tile<128>(causal, params, block);
  }
  BOOST_FAIL("a tile of " << passport.value(s, "tile_q", 0) << " rows: a case is missing here");
  return {};
}

void check_plan(const Passport &passport, const Specialization &s, const ProblemKey &key, const DeviceLimits &device) {
  const Plan plan = passport.plan(s, key, device);
  BOOST_TEST((plan.stage_count >= 1 && plan.stage_count <= most_stages && plan.workspace_bytes >= 0));
  const bool has_workspace = std::any_of(passport.patches.begin(), passport.patches.end(),
                                         [](const AddressPatch &patch) { return patch.address == address_workspace; });
  BOOST_TEST((plan.workspace_bytes == 0 || has_workspace));
  BOOST_TEST(plan.main_stage().entry_point == 0);
  BOOST_TEST(plan.cost.total_us > 0);
  // The blocks that the model counts are those of the launch; clusters may leave a few places of a device empty.
  if (plan.cost.waves > 0) {
    const double counted = plan.cost.waves * plan.cost.blocks_per_multiprocessor * device.multiprocessors;
    const double least = plan.main_stage().cluster > 2 ? 0.8 : 1.0;
    const auto blocks = static_cast<double>(plan.main_stage().grid.x * plan.main_stage().grid.y);
    BOOST_TEST((blocks > counted * (least - 1e-9)), counted);
    BOOST_TEST((blocks < counted * (1 / least + 1e-9)), counted);
  }
  for (int32_t i = 0; i < plan.stage_count; ++i) {
    const Launch &launch = plan.stages[i];
    BOOST_TEST((launch.grid.x >= 1 && launch.grid.x <= 0x7fffffff));
    BOOST_TEST((launch.grid.y >= 1 && launch.grid.y <= 65535 && launch.grid.z >= 1 && launch.grid.z <= 65535));
    BOOST_TEST((launch.threads % 32 == 0 && launch.threads >= 32 && launch.threads <= 1024));
    BOOST_TEST((launch.cluster >= 1 && launch.cluster <= 8 && launch.grid.x % launch.cluster == 0));
    BOOST_TEST((launch.cluster == 1 || passport.minimum_arch >= 90));
    BOOST_TEST(launch.dynamic_shared_bytes <= passport.dynamic_shared_bytes(s));
    BOOST_REQUIRE(passport.entry_point(launch.entry_point) != nullptr);
    BOOST_TEST((launch.attributes & ~uint32_t{cluster_in_code | programmatic_dependent}) == 0u);
    BOOST_TEST(((launch.attributes & programmatic_dependent) == 0 || (device.arch >= 90 && i > 0)));
  }
  // What goes on to the next stage goes through a workspace.
  BOOST_TEST((plan.stage_count > 1) == (plan.workspace_bytes > 0));
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_specialization_serves_its_own_problem) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    const ProblemKey key = problem_for(passport, s, 512);
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

BOOST_AUTO_TEST_CASE(tables_of_choices_are_sound) {
  for (const KernelRow &row : kernel_table()) BOOST_TEST_CONTEXT(row.passport->name) {
      const ChoiceTable &table = row.passport->choices;
      BOOST_REQUIRE((table.count >= 1 && table.count <= most_choices));
      BOOST_TEST(table.first->least >= 1);  // what tells a module from none: ProblemKey::one_module
      std::set<std::string> names;
      for (const Choice &choice : table) {
        BOOST_TEST_CONTEXT(choice.name) {
          BOOST_TEST(names.insert(choice.name).second);
          BOOST_TEST(choice.least <= choice.most);
          BOOST_TEST((choice.form == Choice::word || choice.form == Choice::set || choice.least >= 1));
          BOOST_TEST((choice.form != Choice::joined || &choice != table.first));
          for (int32_t i = 0; i < choice.tries.count; ++i) {
            BOOST_TEST((choice.tries.values[i] >= choice.least && choice.tries.values[i] <= choice.most));
            BOOST_TEST((i == 0 || choice.tries.values[i] > choice.tries.values[i - 1]));
          }
        }
      }
    }
}

// Of a shipped specialization with one choice out of its range none is allowed, and the error names the choice and the range.
BOOST_AUTO_TEST_CASE(what_is_out_of_range_is_not_allowed) {
  for_every_specialization([](const Passport &passport, const Specialization &shipped) {
    for (int32_t i = 0; i < passport.choices.count; ++i) {
      const Choice &choice = passport.choices.first[i];
      for (const int32_t value : {choice.least - 1, choice.most + 1, 1016}) {
        if (value >= choice.least && value <= choice.most) continue;
        Specialization s = shipped;
        s.values[i] = value;
        const Status status = check_specialization(passport, s);
        BOOST_REQUIRE(!status.ok());
        BOOST_TEST(status.error().field == "kernel");
        const std::string part = std::string("whose ") + choice.name + " is " + std::to_string(value) + "; ";
        BOOST_TEST(status.error().message.find(part) != std::string::npos, status.error().message);
      }
    }
  });
}

// And what is within the ranges and no kernel's.
BOOST_AUTO_TEST_CASE(what_no_kernel_can_do_is_not_allowed) {
  const struct {
    const char *module, *expected;
  } cases[] = {
      {"sm80_fwd_mma-fp16-d72-64x64-w4", "whose head_dim is 72; sm80_fwd_mma allows: 32 to 256, by 32"},
      {"sm80_fwd_mma-fp16-d64v72-64x64-w4", "whose head_dim_v is 72; "},
      {"sm80_fwd_mma-fp16-d64-72x64-w4", "whose tile_q is 72; "},
      {"sm80_fwd_mma-fp16-d64-64x72-w4", "whose tile_kv is 72; "},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-s3", "whose stages is 3; sm80_fwd_mma allows: 1 to 2"},
      {"sm80_fwd_small-fp16-d64-32x64-w8-qreg", "whose tile_kv is 64; sm80_fwd_small allows: 32"},
      {"sm80_fwd_small-fp16-d64-32x32-w8", "whose q_in_registers is 0; sm80_fwd_small allows: 1"},
      {"sm80_fwd_decode-fp16-d64-12x16-w8", "whose tile_q is 12; sm80_fwd_decode allows: 8 or 16"},
      {"sm80_fwd_decode-fp16-d64-8x16-w3", "whose warps is 3; "},
      {"sm80_fwd_decode-fp16-d64-8x16-w8-c2", "whose cluster is 2; sm80_fwd_decode allows: 1"},
      {"sm90_fwd_decode-fp16-d64-8x16-w8", "whose cluster is 1; sm90_fwd_decode allows: 2 to 8"},
      {"sm90_fwd_decode-fp16-d64-8x16-w8-c6", "whose cluster is 6; sm90_fwd_decode allows: 1, 2, 4 or 8"},
      {"sm90_fwd_wgmma-fp16-d80-128x128", "whose head_dim is 80; sm90_fwd_wgmma allows: 64 to 256, by 32"},
      {"sm90_fwd_wgmma-fp16-d64v224-128x64",
       "whose head_dim_v is 224; sm90_fwd_wgmma allows: 64, 96, 128, 160, 192 or 256"},
      {"sm90_fwd_wgmma-fp16-d64-160x128", "whose tile_q is 160; sm90_fwd_wgmma allows: 128 or 192"},
      {"sm90_fwd_wgmma-fp16-d64-128x72", "whose tile_kv is 72; "},
      {"sm90_fwd_wgmma-fp16-d128-192x128", "whose tile_kv is 128; sm90_fwd_wgmma allows: fewer keys, for O and scores"},
      {"sm90_fwd_wgmma-fp16-d256v128-128x128",
       "whose tile_kv is 128; sm90_fwd_wgmma allows: fewer keys, for two stages"},
      {"fwd_scalar-fp16-d256-1x128-w4", "whose alignment_bytes is 16; fwd_scalar allows: 2"},
      {"fwd_wmma_64x64-fp16-d64-64x64-w8", "whose tile_q is 64; fwd_wmma_64x64 allows: one of the rung's tiles"},
  };
  for (const auto &one : cases) {
    const auto parsed = parse_module_name(one.module);
    BOOST_REQUIRE_MESSAGE(parsed.ok(), one.module);
    const Status status = check_specialization(passport_at(parsed.value().kernel_index), parsed.value().specialization);
    BOOST_REQUIRE_MESSAGE(!status.ok(), one.module);
    BOOST_TEST(status.error().message.find(one.expected) != std::string::npos, status.error().message);
  }
}

// Every specialization on every architecture that its kernel runs on: all of them are shipped there.
BOOST_AUTO_TEST_CASE(plans_are_launches_that_a_device_takes) {
  for (const Arch &arch : archs) {
    const DeviceLimits device{arch.number, 100, arch.shared_bytes_per_block, arch.shared_bytes_per_block + 1024};
    for_every_specialization([&](const Passport &passport, const Specialization &s) {
      if (arch.number < passport.minimum_arch || (passport.maximum_arch != 0 && arch.number > passport.maximum_arch))
        return;
      BOOST_TEST(passport.dynamic_shared_bytes(s) > 0);
      BOOST_TEST(passport.dynamic_shared_bytes(s) <= arch.shared_bytes_per_block, "on " << arch.number);
      for (const int64_t seqlen : {1, 63, 64, 65, 129, 1000})
        for (const int32_t key_parts : {0, 1, 4}) {
          DeviceLimits asked = device;
          asked.key_parts = key_parts;
          check_plan(passport, s, problem_for(passport, s, seqlen), asked);
        }
    });
  }
}

// A prepared call is launched again with other addresses: what pack puts where, the patches know.
BOOST_AUTO_TEST_CASE(patches_are_where_addresses_are_packed) {
  constexpr DeviceLimits device{90, 132, 232448, 233472, 62914560};
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    BOOST_REQUIRE((passport.parameter_bytes > 0 && passport.parameter_bytes <= most_parameter_bytes));
    const ProblemKey key = problem_for(passport, s, 300);
    AttentionCall first{}, second{};
    first.softmax_scale = second.softmax_scale = 0.1f;
    first.workspace = 0x100, second.workspace = 0x7ffff00;
    for (int32_t operand = 0; operand < operand_count; ++operand) {
      first.operands[operand] = second.operands[operand] = {uint64_t{0x1000} * (operand + 1), 11, 22, 33};
      second.operands[operand].data = 0x7fff0000u + uint64_t{0x100} * operand;
    }
    const auto packed = [&](const AttentionCall &call) {
      std::vector<unsigned char> bytes(static_cast<size_t>(passport.parameter_bytes) + 8, 0xab);
      passport.pack(s, key, call, device, bytes.data());
      return bytes;
    };
    std::vector<unsigned char> patched = packed(first);
    for (const AddressPatch &patch : passport.patches) {
      BOOST_REQUIRE((patch.byte_offset >= 0 && patch.byte_offset + 8 <= passport.parameter_bytes));
      const uint64_t address =
          patch.address == address_workspace ? second.workspace : second.operands[patch.address].data;
      std::memcpy(patched.data() + patch.byte_offset, &address, sizeof(uint64_t));
    }
    BOOST_TEST(patched == packed(second));
    BOOST_TEST(packed(first) != packed(second));
    BOOST_TEST(patched.back() == 0xab);  // nothing behind the struct
  });
}

// Each map has its own room in the struct, where no address is patched, and a box that the copy engine takes.
BOOST_AUTO_TEST_CASE(tensor_maps_have_room) {
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    if (passport.tensor_maps == nullptr) return;
    TensorMapRule rules[most_tensor_maps];
    const int32_t count = passport.tensor_maps(s, rules);
    BOOST_REQUIRE((count >= 1 && count <= most_tensor_maps));
    std::set<int32_t> places;
    for (int32_t i = 0; i < count; ++i) {
      BOOST_TEST((rules[i].operand >= 0 && rules[i].operand < operand_lse));
      BOOST_TEST((rules[i].box_rows >= 1 && rules[i].box_rows <= 256));
      BOOST_TEST((rules[i].byte_offset % 64 == 0 && rules[i].byte_offset >= 0));
      BOOST_TEST(rules[i].byte_offset + static_cast<int32_t>(sizeof(TensorMap)) <= passport.parameter_bytes);
      BOOST_TEST(places.insert(rules[i].byte_offset / static_cast<int32_t>(sizeof(TensorMap))).second);
      for (const AddressPatch &patch : passport.patches)
        BOOST_TEST((patch.byte_offset + 8 <= rules[i].byte_offset ||
                    patch.byte_offset >= rules[i].byte_offset + static_cast<int32_t>(sizeof(TensorMap))));
    }
  });
}

// By the kernels' own functions from a block's index to its rows: every query row of every head is some block's, and of one only, or
// of one block of each rank where the blocks of a cluster share rows.
BOOST_AUTO_TEST_CASE(the_grid_covers_every_query_row_once) {
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    struct Size {
      int64_t seqlen;
      int32_t key_parts, multiprocessors = 132;
      int64_t l2_cache_bytes = 1 << 20;
    };
    for (const auto &[seqlen, key_parts, multiprocessors, l2_cache_bytes] :
         {Size{1, 0}, Size{31, 0}, Size{64, 0}, Size{65, 1}, Size{200, 2}, Size{700, 3}, Size{700, 0, 3},
          Size{700, 0, 3, 1 << 16}}) {  // the last one's tiles come in pairs
      const DeviceLimits device{90, multiprocessors, 232448, 233472, l2_cache_bytes, key_parts};
      const ProblemKey key = problem_for(passport, s, seqlen);
      // Where the struct of the family lies in the kernel's own, the patch of its first member says.
      alignas(64) unsigned char parameters[most_parameter_bytes];
      passport.pack(s, key, {}, device, parameters);
      BOOST_REQUIRE(passport.patches.begin()->address == operand_query);
      AttentionFwdParams params;
      std::memcpy(&params, parameters + passport.patches.begin()->byte_offset, sizeof(params));
      const Launch launch = passport.plan(s, key, device).main_stage();
      const TileOrder order = std::string_view(passport.name).ends_with("_fwd_wgmma")
                                  ? sm90_fwd_wgmma::tile_order(choices_of<sm90_fwd_wgmma::Choices>(s), key, device)
                                  : TileOrder{};
      const int32_t ranks = ranks_of(passport, s, key, device);
      std::vector<int32_t> times(static_cast<size_t>(key.batch * key.heads_q * seqlen * ranks));
      for (int64_t part = 0; part < launch.grid.y; ++part)
        for (int64_t block = 0; block < launch.grid.x; ++block)
          for (const Row &row : rows_of_block(passport, s, params, order, static_cast<uint32_t>(block), launch, ranks))
            ++times.at(static_cast<size_t>(((row.batch * key.heads_q + row.head) * seqlen + row.query) * ranks +
                                           part * launch.cluster + row.rank));
      BOOST_TEST(std::count(times.begin(), times.end(), 1) == static_cast<int64_t>(times.size()), "of " << seqlen);
    }
  });
}

// A problem without rows or without keys costs something finite, on the largest and the smallest device that a caller may describe.
BOOST_AUTO_TEST_CASE(cost_of_every_problem_is_a_number) {
  constexpr int32_t most = std::numeric_limits<int32_t>::max();
  for (const DeviceLimits &device :
       {DeviceLimits{90, 132, 232448, 233472}, DeviceLimits{120, most, most - 1024, most}, DeviceLimits{1, 1, 1, 1025}})
    for_every_specialization([&](const Passport &passport, const Specialization &s) {
      ProblemKey no_batch = problem_for(passport, s, 512), no_queries = no_batch, no_keys = no_batch,
                 empty = problem_for(passport, s, 0);
      no_batch.batch = 0, no_queries.seqlen_q = 0, no_keys.seqlen_kv = 0;
      for (const ProblemKey &key : {no_batch, no_queries, no_keys, empty, problem_for(passport, s, 512)}) {
        const Cost cost = passport.plan(s, key, device).cost;
        for (const double figure :
             {cost.launch_us, cost.tensor_us, cost.mufu_us, cost.issue_us, cost.shared_us, cost.l2_us,
              cost.throughput_us, cost.latency_us, cost.total_us, cost.waves, cost.blocks_per_multiprocessor})
          BOOST_TEST((std::isfinite(figure) && figure >= 0),
                     "device " << device.arch << ", " << key.batch << " x " << key.seqlen_q << " x " << key.seqlen_kv);
      }
    });
}

// Evaluated by the compiler, which refuses an overflow.
static_assert(decode::cost({dtype_float16, 64, 64, window_none, 0, rows_dense, 0, 8, 16, 2, 1},
                           {1, 1, 64, 1, 1, 64, 64, dtype_float16, causal_none, 16, -1},
                           {90, 0x7fffffff, 1 << 20, 1 << 20})
                  .total_us > 0);

BOOST_AUTO_TEST_CASE(cost_grows_with_the_work) {
  constexpr DeviceLimits h200{90, 132, 232448, 233472};
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    const double small = passport.plan(s, problem_for(passport, s, 512), h200).cost.total_us,
                 large = passport.plan(s, problem_for(passport, s, 16384), h200).cost.total_us;
    BOOST_TEST(small > 0);
    BOOST_TEST(large > 4 * small);
  });
}

// A mask costs what it leaves of the keys: few queries at the end of many keys see nearly all of them, at the beginning hardly any.
BOOST_AUTO_TEST_CASE(cost_counts_the_keys_that_are_seen) {
  constexpr DeviceLimits h200{90, 132, 232448, 233472};
  for_every_specialization([&](const Passport &passport, const Specialization &s) {
    const auto total_us = [&](int64_t seqlen_q, int64_t seqlen_kv, int32_t causal) {
      ProblemKey key = problem_for(passport, s, seqlen_q);
      key.batch = 16, key.heads_q = key.heads_kv = 16, key.seqlen_kv = seqlen_kv, key.causal = causal;
      return passport.plan(s, key, h200).cost.total_us;
    };
    BOOST_TEST(total_us(64, 16384, causal_bottom_right) <= total_us(64, 16384, causal_none));
    BOOST_TEST(total_us(64, 16384, causal_bottom_right) > 0.99 * total_us(64, 16384, causal_none));
    BOOST_TEST(total_us(64, 16384, causal_top_left) == total_us(64, 64, causal_top_left));
    BOOST_TEST(total_us(4096, 4096, causal_top_left) < 0.9 * total_us(4096, 4096, causal_none));
    BOOST_TEST(total_us(4096, 4096, causal_top_left) > 0.45 * total_us(4096, 4096, causal_none));
    BOOST_TEST(total_us(4096, 64, causal_bottom_right) < total_us(4096, 64, causal_none));
  });
}
