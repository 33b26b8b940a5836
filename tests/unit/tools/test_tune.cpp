// SPDX-License-Identifier: Apache-2.0
//
// fc-tune without a device: names and genes, the search on a landscape that is known, pruning, the state file, the rows.
#define BOOST_TEST_MODULE unit_tune
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <set>

#include "../fc-tune/tune.hpp"

using namespace flashcore::tools;

namespace {

constexpr const char *mission_module = "sm80_fwd_mma-fp16-d64-64x64-w4-qreg";

Candidate mission() { return *parse_candidate(mission_module); }

// Fastest at 128x96, eight warps, Q in shared memory: far from where the search begins.
double landscape_us(const Candidate &c) {
  const auto octaves = [](int32_t value, int32_t best) {
    return std::fabs(std::log2(static_cast<double>(value) / best));
  };
  return 4 + octaves(c.value("tile_q"), 128) + octaves(c.value("tile_kv"), 96) + 0.5 * octaves(c.value("warps"), 8) +
         0.3 * c.value("q_in_registers") + (c.kernel == "sm80_fwd_mma" ? 0 : 2);
}

Shape shape(int64_t heads, int64_t seqlen, int32_t causal = FLASHCORE_CAUSAL_NONE) {
  Shape made;
  made.name = "s" + std::to_string(seqlen);
  made.heads_q = made.heads_kv = heads;
  made.seqlen_q = made.seqlen_kv = seqlen;
  made.causal = causal;
  return made;
}

TunedShape faster(const Shape &of) {
  TunedShape tuned;
  tuned.shape = of;
  tuned.default_module = mission_module;
  tuned.best_module =
      of.causal == FLASHCORE_CAUSAL_NONE ? "sm80_fwd_mma-fp16-d64-128x64-w4" : "sm80_fwd_mma-fp16-d64-causal-128x64-w4";
  tuned.default_us = 5, tuned.best_us = 4;
  tuned.verdict = Verdict::faster;
  return tuned;
}

bool holds(const Row &row, const Shape &of) {
  const auto within = [](const Range &range, int64_t value) { return value >= range.first && value <= range.last; };
  return within(row.batch_heads, of.batch * of.heads_q) && within(row.seqlen_q, of.seqlen_q) &&
         within(row.seqlen_kv, of.seqlen_kv);
}

flashcore_device_info l4() {
  flashcore_device_info device{};
  device.arch = 89, device.multiprocessors = 58, device.shared_memory_per_block_optin_bytes = 101376;
  return device;
}

}  // namespace

BOOST_AUTO_TEST_CASE(names_are_read_and_written) {
  for (const char *name :
       {mission_module, "sm80_fwd_mma-bf16-d192v128-causal-128x48-w8-s2-qreg", "sm80_fwd_small-fp16-d64-32x32-w8"}) {
    const auto candidate = parse_candidate(name);
    BOOST_REQUIRE(candidate.has_value());
    BOOST_TEST(candidate->name() == name);
  }
  for (const char *name : {"", "sm80_fwd_mma", "sm80_fwd_mma-fp16-d64-64x64",
                           "sm80_fwd_mma-fp16-d64-64x64-w4-unaligned", "sm80_fwd_mma-fp32-d64-64x64-w4"})
    BOOST_TEST(!parse_candidate(name).has_value(), name);
}

BOOST_AUTO_TEST_CASE(the_librarys_own_names_are_candidates) {
  for (const char *name : {mission_module, "sm80_fwd_small-fp16-d64-32x32-w8-qreg"})
    BOOST_TEST(allowed(*parse_candidate(name)), name);
  Candidate odd = mission();
  odd.set("tile_kv", 17);
  BOOST_TEST(!allowed(odd));
}

BOOST_AUTO_TEST_CASE(children_keep_what_the_shape_fixes) {
  Random random(3);
  const Candidate a = mission();
  Candidate b = a;
  b.set("tile_q", 128), b.set("tile_kv", 32), b.set("warps", 8);
  std::set<decltype(a.values)> seen;
  for (int i = 0; i < 500; ++i) {
    const Candidate mutant = mutated(a, {a}, random), child = crossed(a, b, random);
    for (const char *fixed : {"dtype", "head_dim", "head_dim_v", "causal", "alignment_bytes"})
      BOOST_TEST(mutant.value(fixed) == a.value(fixed), fixed);
    BOOST_TEST(mutant.kernel == a.kernel);
    BOOST_TEST((child.value("tile_q") == 64 || child.value("tile_q") == 128));
    BOOST_TEST((child.value("tile_kv") == 64 || child.value("tile_kv") == 32));
    seen.insert(mutant.values);
  }
  BOOST_TEST(seen.size() > 20u);
}

BOOST_AUTO_TEST_CASE(the_search_finds_the_valley) {
  const Candidate split = *parse_candidate("sm80_fwd_small-fp16-d64-32x32-w8-qreg");
  Search search({mission(), split}, 1, {16, 6});
  int64_t looked_at = 0;
  std::set<std::string> names;
  for (auto generation = search.next_generation(); !generation.empty(); generation = search.next_generation())
    for (const Candidate &candidate : generation) {
      BOOST_TEST(allowed(candidate));
      BOOST_TEST(names.insert(candidate.name()).second, candidate.name() << " a second time");
      search.record(candidate, {Fate::timed, landscape_us(candidate), ""});
      ++looked_at;
    }
  BOOST_REQUIRE(search.best() != nullptr);
  BOOST_TEST(names.count(split.name()) == 1u);
  BOOST_TEST(search.best_us() < landscape_us(mission()) - 1.5);
  BOOST_TEST(search.best_us() < 4.5);
  BOOST_TEST(search.timed() == looked_at);
  BOOST_TEST(search.generation() > 2);
}

BOOST_AUTO_TEST_CASE(pruned_candidates_are_no_parents_and_never_the_best) {
  Search search({mission()}, 1, {8, 2});
  for (const Candidate &candidate : search.next_generation())
    search.record(candidate,
                  candidate == mission() ? Evaluation{Fate::timed, 10, ""} : Evaluation{Fate::pruned, 0, "spills"});
  BOOST_REQUIRE(search.best() != nullptr);
  BOOST_TEST(*search.best() == mission_module);
  BOOST_TEST(search.timed() == 1);
}

BOOST_AUTO_TEST_CASE(a_resumed_search_looks_at_nothing_twice_and_knows_the_best) {
  Search first({mission()}, 1, {8, 4});
  for (const Candidate &candidate : first.next_generation())
    first.record(candidate, {Fate::timed, landscape_us(candidate), ""});
  Search second({mission()}, 1, {8, 4});
  for (const auto &[module, evaluation] : first.evaluations()) second.remember(module, evaluation);
  BOOST_TEST(second.best_us() == first.best_us());
  for (const Candidate &candidate : second.next_generation())
    BOOST_TEST(first.evaluations().count(candidate.name()) == 0u, candidate.name());
}

BOOST_AUTO_TEST_CASE(a_search_without_progress_ends) {
  Search search({mission()}, 1, {4, 3});
  int32_t generations = 0;
  for (auto generation = search.next_generation(); !generation.empty();
       generation = search.next_generation(), ++generations)
    for (const Candidate &candidate : generation)
      search.record(candidate, {Fate::timed, candidate == mission() ? 1.0 : 2.0, ""});
  BOOST_TEST(generations >= 1);
  BOOST_TEST(generations <= 4);
}

BOOST_AUTO_TEST_CASE(pruning_by_the_cubin) {
  flashcore_kernel_resources good{};
  good.registers = 168, good.dynamic_shared_bytes = 24576;
  BOOST_TEST(prune_reason(good, 128, l4()) == "");
  BOOST_TEST(blocks_per_multiprocessor(168, 128, 24576, l4()) == 3);
  BOOST_TEST(blocks_per_multiprocessor(255, 128, 24576, l4()) == 2);
  BOOST_TEST(blocks_per_multiprocessor(32, 1024, 1024, l4()) == 1);  // 1536 threads
  BOOST_TEST(blocks_per_multiprocessor(32, 128, 60000, l4()) == 1);  // 102,400 bytes
  const struct {
    void (*change)(flashcore_kernel_resources &);
    int32_t threads;
    const char *reason;
  } cases[] = {
      {[](flashcore_kernel_resources &r) { r.spill_store_bytes = 8; }, 128, "spills 8 bytes"},
      {[](flashcore_kernel_resources &r) { r.spill_store_bytes = r.spill_load_bytes = -1; }, 128,
       "does not say whether it spills"},
      {[](flashcore_kernel_resources &r) { r.dynamic_shared_bytes = 101377; }, 128, "the device allows 101376"},
      {[](flashcore_kernel_resources &r) { r.registers = 255; }, 512, "255 registers in 512 threads"},
      {[](flashcore_kernel_resources &r) { r.dynamic_shared_bytes = 60000; }, 64,
       "1 blocks of 2 warps leave schedulers"},
  };
  for (const auto &one : cases) {
    flashcore_kernel_resources bad = good;
    one.change(bad);
    BOOST_TEST(prune_reason(bad, one.threads, l4()).find(one.reason) != std::string::npos,
               prune_reason(bad, one.threads, l4()));
  }
}

BOOST_AUTO_TEST_CASE(the_state_reads_back) {
  State state{"sm_89", "NVIDIA L4", false, {}};
  ShapeState &known = state.of(shape(8, 512));
  known.evaluations["m-1"] = {Fate::timed, 3.25, ""};
  known.evaluations["m-2"] = {Fate::pruned, 0, "spills \"8\" bytes"};
  known.keys["m-1"] = "abc", known.keys["m-2"] = "";
  known.converged = true;
  BOOST_TEST(&state.of(shape(8, 512)) == &known);
  const auto read = parse_state(state_json(state), "s.json");
  BOOST_REQUIRE(read.ok());
  BOOST_TEST(state_json(read.value()) == state_json(state));
  BOOST_TEST(read.value().shapes.front().evaluations.at("m-1").us == 3.25);
  BOOST_TEST(read.value().shapes.front().converged);
}

BOOST_AUTO_TEST_CASE(a_damaged_state_says_what_is_wrong) {
  State state{"sm_89", "NVIDIA L4", false, {}};
  state.of(shape(8, 512)).evaluations["m"] = {Fate::timed, 3, ""};
  const std::string good = state_json(state);
  const auto damaged = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    BOOST_REQUIRE(text.find(from) != std::string::npos);
    text.replace(text.find(from), from.size(), to);
    const auto read = parse_state(text, "s.json");
    BOOST_REQUIRE(!read.ok());
    BOOST_TEST(read.failure().exit_code == exit_bad_input);
    return read.failure().message;
  };
  BOOST_TEST(damaged("flashcore.tune/1", "flashcore.tune/9").find("its schema is") != std::string::npos);
  BOOST_TEST(damaged("\"us\": 3.0", "\"us\": -1").find("\"us\" is missing or no time") != std::string::npos);
  BOOST_TEST(damaged("\"static\": false", "\"static\": 0").find("\"static\"") != std::string::npos);
  BOOST_TEST(damaged("1 8 8 512", "1 8 8 0").find("seqlen_q is \"0\"") != std::string::npos);
  BOOST_TEST(!parse_state("", "s.json").ok());
  BOOST_TEST(!parse_state("[]", "s.json").ok());
}

BOOST_AUTO_TEST_CASE(a_row_is_for_the_problems_around_its_shape) {
  const std::vector<Row> rows = rows_of({faster(shape(8, 512))});
  BOOST_REQUIRE(rows.size() == 1u);
  BOOST_TEST(holds(rows[0], shape(8, 512)));
  BOOST_TEST((rows[0].seqlen_q == Range{363, 724}));
  BOOST_TEST((rows[0].batch_heads == Range{6, 11}));
  BOOST_TEST(!holds(rows[0], shape(8, 1024)));
  BOOST_TEST(shape_of(rows[0], "r").seqlen_q > 500);
  BOOST_TEST(shape_of(rows[0], "r").heads_q == 8);
  BOOST_TEST(rows_of({faster(shape(1, 1))}).front().seqlen_q.first == 1);
}

BOOST_AUTO_TEST_CASE(rows_of_neighbours_do_not_overlap) {
  std::vector<TunedShape> tuned;
  for (const int64_t heads : {8, 9, 32})
    for (const int64_t seqlen : {256, 300, 512, 513, 1024})
      for (const int32_t causal : {FLASHCORE_CAUSAL_NONE, FLASHCORE_CAUSAL_TOP_LEFT})
        tuned.push_back(faster(shape(heads, seqlen, causal)));
  const std::vector<Row> rows = rows_of(tuned);
  BOOST_TEST(rows.size() == tuned.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    BOOST_TEST(holds(rows[i], tuned[i].shape));
    for (size_t j = 0; j < i; ++j) BOOST_TEST(!overlap(rows[i], rows[j]));
  }
}

BOOST_AUTO_TEST_CASE(a_shape_that_keeps_its_default_has_no_row_but_its_ground) {
  TunedShape keeps = faster(shape(8, 600));
  keeps.verdict = Verdict::same;
  const std::vector<Row> rows = rows_of({faster(shape(8, 512)), keeps});
  BOOST_REQUIRE(rows.size() == 1u);
  BOOST_TEST(holds(rows[0], shape(8, 512)));
  BOOST_TEST(!holds(rows[0], shape(8, 600)));
}

BOOST_AUTO_TEST_CASE(the_table_reads_back) {
  const std::vector<Row> rows = rows_of({faster(shape(8, 512)), faster(shape(8, 1024, FLASHCORE_CAUSAL_TOP_LEFT))});
  const auto read = parse_table(table_text(rows), "t.tsv");
  BOOST_REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.failure().message));
  BOOST_TEST(table_text(read.value()) == table_text(rows));
  BOOST_TEST(parse_table(table_text({}), "t.tsv").value().empty());
}

BOOST_AUTO_TEST_CASE(a_malformed_table_names_line_and_column) {
  const std::string good = table_text(rows_of({faster(shape(8, 512))}));
  const auto complaint = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    BOOST_REQUIRE(text.rfind(from) != std::string::npos);
    text.replace(text.rfind(from), from.size(), to);
    const auto read = parse_table(text, "t.tsv");
    return read.ok() ? std::string("accepted") : read.failure().message;
  };
  BOOST_TEST(complaint("fp16\t64", "fp32\t64") == "t.tsv:3: dtype is \"fp32\", but must be fp16 or bf16");
  BOOST_TEST(complaint("6-11", "11-6").find("t.tsv:3: batch_heads is \"11-6\"") == 0u);
  BOOST_TEST(complaint("128x64-w4", "128x7-w4").find("t.tsv:3: module: ") == 0u);
  BOOST_TEST(complaint("4.00", "-4.00").find("t.tsv:3: measured_us is \"-4.00\"") == 0u);
  BOOST_TEST(complaint("dtype", "type").find("t.tsv:2: the first line must name the columns") == 0u);
  BOOST_TEST(complaint("\t5.00", "").find("t.tsv:3: 9 columns, but 10") == 0u);
  BOOST_TEST(parse_table(good + good.substr(good.find("fp16")), "t.tsv")
                 .failure()
                 .message.find("t.tsv:4: its problems are partly") == 0u);
}

BOOST_AUTO_TEST_CASE(merging_replaces_what_is_spoken_of_and_keeps_the_rest) {
  const std::vector<Row> older = rows_of({faster(shape(8, 512)), faster(shape(8, 2048))});
  const std::vector<Row> newer = rows_of({faster(shape(8, 512)), faster(shape(8, 1024))});
  BOOST_TEST(merged(older, newer, {shape(8, 512), shape(8, 1024)}).size() == 3u);
  // A shape that keeps its default now: its older row is wrong today.
  BOOST_TEST(merged(older, {}, {shape(8, 512)}).size() == 1u);
  BOOST_TEST(merged(older, {}, {shape(8, 512, FLASHCORE_CAUSAL_TOP_LEFT)}).size() == 2u);
}

BOOST_AUTO_TEST_CASE(durations) {
  BOOST_TEST(parse_duration_us("budget", "10m").value() == 6e8);
  BOOST_TEST(parse_duration_us("budget", "1.5s").value() == 1.5e6);
  BOOST_TEST(parse_duration_us("budget", "500ms").value() == 5e5);
  BOOST_TEST(parse_duration_us("budget", "1h").value() == 3.6e9);
  for (const char *bad : {"", "10", "m", "-1m", "0s", "10 m", "10min", "nans", "infs"})
    BOOST_TEST(!parse_duration_us("budget", bad).ok(), bad);
}
