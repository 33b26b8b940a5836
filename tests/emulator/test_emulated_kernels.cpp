// SPDX-License-Identifier: Apache-2.0
//
// Every kernel that is compiled for the emulator over the reduced grid, against the float64 reference: each case under three seeds,
// so that copies and products arrive at other times, or one where there are none; threads run in another order each time. Where several modules
// serve a case, they take turns. And every module at head dimensions of its own.
//
//   FLASHCORE_EMULATED_GRID=short|full   another grid (tests/kernels/attention_grid.hpp), each case under one seed
//   FLASHCORE_EMULATED_PART=3/40         of its cases the third and every 40th from there
//   FLASHCORE_EMULATED_ERRORS=FILE       writes the largest error of each module and case, for tests/kernels/measure_emulated.cpp
#define BOOST_TEST_NO_MAIN  // which kernels there are is known at run time
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "block.hpp"
#include "emulate.hpp"
#include "emulated_golden.hpp"
#include "emulated_invariance.hpp"
#include "emulated_parts.hpp"
#include "emulated_ragged.hpp"
#include "emulated_texts.hpp"
#include "emulated_variant.hpp"
#include "kernels/attention_grid.hpp"
#include "module.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore::tests;

namespace {

struct Grid {
  std::vector<AttentionCase> cases;
  uint32_t seeds_of_case;
  int least_passed;  // fewer runs and the kernel was not tested
};

std::vector<AttentionCase> part_of(const std::vector<AttentionCase> &cases) {
  const char *const part = std::getenv("FLASHCORE_EMULATED_PART");
  if (part == nullptr) return cases;
  size_t first = 0, step = 0;
  if (std::sscanf(part, "%zu/%zu", &first, &step) != 2 || first == 0 || first > step) {
    std::fprintf(stderr, "FLASHCORE_EMULATED_PART is \"%s\"; it is of the form 3/40\n", part);
    std::exit(EXIT_FAILURE);
  }
  std::vector<AttentionCase> result;
  for (size_t i = first - 1; i < cases.size(); i += step) result.push_back(cases[i]);
  return result;
}

// Of the reduced grid three seeds, one for each time at which copies may arrive; the order of threads changes from case to case.
Grid grid_from_environment() {
  const GridSize size = grid_size_from_environment("FLASHCORE_EMULATED_GRID", "reduced");
  const uint32_t seeds = size == GridSize::reduced ? 3 : 1;
  const bool whole = std::getenv("FLASHCORE_TEST_CASE") == nullptr && std::getenv("FLASHCORE_EMULATED_PART") == nullptr;
  return {part_of(attention_grid(size)), seeds, whole ? 20 : 0};
}

std::string kernel_of(const emulator::Module &module) { return module.name.substr(0, module.name.find('-')); }

// Of attention, as it is.
bool is_tested(const emulator::Module &module) {
  return module.broken.empty() &&
         flashcore::is_attention(flashcore::passport_at(flashcore::find_kernel(kernel_of(module))));
}

void write_error(const AttentionCase &one, const CaseOutcome &outcome) {
  const char *const name = std::getenv("FLASHCORE_EMULATED_ERRORS");
  if (name == nullptr || outcome.module.empty()) return;
  static std::ofstream file(name);
  static std::set<std::string> written;
  const std::string run = outcome.module + '\t' + one.describe();
  if (written.insert(run).second) file << run << '\t' << outcome.max_error << '\t' << outcome.max_error_gate << '\n';
}

struct Tally {
  int passed = 0, refused = 0;
  double gate_share = 0, lse_share = 0;

  void add(const AttentionCase &one, uint32_t seed, const CaseOutcome &outcome) {
    passed += outcome.verdict == Verdict::passed;
    refused += outcome.verdict == Verdict::refused;
    gate_share = std::max(gate_share, outcome.gate_share), lse_share = std::max(lse_share, outcome.lse_share);
    write_error(one, outcome);
    if (outcome.verdict == Verdict::failed) BOOST_ERROR(one.describe() << ", seed " << seed << ": " << outcome.message);
  }
};

// Keys in so many parts over the grid, where the kernel can; 0: as many as its plan takes, which of so little work is one.
int32_t key_parts_of(uint32_t seed) {
  constexpr int32_t parts[] = {0, 2, 0, 3, 0, 7};
  return parts[seed % 6];
}

void check_grid(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  const Grid grid = grid_from_environment();
  Tally tally;
  uint32_t seed = 0;
  for (const AttentionCase &one : grid.cases) {
    const int64_t before = emulator::background_operations();
    for (uint32_t i = 0; i < grid.seeds_of_case; ++i, ++seed) {
      if (i > 0 && emulator::background_operations() == before) break;
      tally.add(
          one, seed,
          emulator::emulate_case(
              host, one, {.kernel = kernel, .seed = seed, .turn = seed + i, .key_parts = key_parts_of(seed / 4 + i)}));
    }
  }
  std::printf("%-24s %d runs passed, %d refused; closest to a gate: %.2f of it, LSE %.2f\n", kernel.c_str(),
              tally.passed, tally.refused, tally.gate_share, tally.lse_share);
  BOOST_TEST(tally.passed >= grid.least_passed, kernel << " passed " << tally.passed << " runs only");
}

// At its own head dimensions and alignment, with keys for two steps of all warps, or all blocks of the largest cluster, and some more; with a
// mask, queries change their sign as well.
AttentionCase case_of(const emulator::Module &module) {
  using namespace flashcore::tools;
  const flashcore::ModuleName name = flashcore::parse_module_name(module.name).value();
  const auto choice = [&](const char *of, int32_t otherwise) {
    return flashcore::passport_at(name.kernel_index).value(name.specialization, of, otherwise);
  };
  const bool causal = choice("causal", 0) != 0;
  const int32_t scores = choice("scores", 0);
  const int32_t cluster = choice("cluster", 0), key_groups = choice("split", 0) != 0 ? emulator::most_cluster
                                                             : cluster != 0          ? cluster * choice("warps", 1)
                                                                                     : 1;
  return {
      .seqlen_q = choice("tile_q", 0) + 6,
      .seqlen_kv = 2 * choice("tile_kv", 32) * key_groups + 22,
      .heads_kv = 1,
      .head_dim = choice("head_dim", 0),
      .head_dim_v = choice("head_dim_v", 0),
      .dtype = choice("dtype", 0) == flashcore::kernels::dtype_bfloat16 ? Float16Type::bfloat16 : Float16Type::float16,
      .causal = causal ? ReferenceCausal::bottom_right : ReferenceCausal::none,
      .layout = choice("alignment_bytes", 16) == 2 ? Layout::odd : Layout::contiguous,
      .scale = causal ? std::optional(-0.1f) : std::nullopt,
      .window_left = choice("window", 0) == flashcore::kernels::window_moves ? 37 : -1,
      .attention_chunk = choice("window", 0) == flashcore::kernels::window_in_chunks ? 48 : 0,
      .softcap = (scores & flashcore::kernels::scores_softcap) != 0 ? 2.0f : 0.0f,
      .alibi = (scores & flashcore::kernels::scores_alibi) != 0 ? Alibi::by_head : Alibi::none,
      .sinks = (scores & flashcore::kernels::scores_sinks) != 0 ? std::optional(1.0f) : std::nullopt,
      .bias = (scores & flashcore::kernels::scores_bias) != 0 ? ScoreLayout::full : ScoreLayout::none,
      .bias_type = BiasType::float32,
      .mask = (scores & flashcore::kernels::scores_mask) != 0 ? ScoreLayout::full : ScoreLayout::none,
      .hidden = (scores & flashcore::kernels::scores_mask) != 0 ? Hidden::some : Hidden::nothing,
      .float32_output = (choice("calls", 0) & flashcore::kernels::calls_float32_output) != 0,
      .multiprocessor_limit = (choice("calls", 0) & flashcore::kernels::calls_stay) != 0 ? 2 : 0};
}

// check_ragged runs these.
bool is_ragged(const emulator::Module &module) {
  const flashcore::ModuleName name = flashcore::parse_module_name(module.name).value();
  return flashcore::passport_at(name.kernel_index).value(name.specialization, "rows", 0) != 0;
}

void check_module(const emulator::Module &module, uint32_t seed) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (const int32_t key_parts : {0, 2}) {
    const CaseOutcome outcome = emulator::emulate_case(
        host, case_of(module),
        {.kernel = kernel_of(module), .seed = seed, .module = module.name, .key_parts = key_parts});
    BOOST_TEST((outcome.verdict == Verdict::passed),
               module.name << ", seed " << seed << ", " << key_parts << " parts: " << outcome.message);
  }
}

// One problem under each way to schedule, twice: the sums of all are in the kernel's own order, and so are the bits.
void check_seeds(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  const AttentionCase one = {.seqlen_q = 70, .seqlen_kv = 150, .heads_q = 1, .heads_kv = 1};
  CaseOnDevice run(host, one, "");
  for (const int32_t key_parts : {0, 2}) {
    BOOST_REQUIRE(emulator::emulate(run.args(), {.kernel = kernel, .key_parts = key_parts}).verdict == Verdict::passed);
    const auto output = run.read_output();
    for (uint32_t seed = 1; seed < 2 * emulator::ways_of_seeds; ++seed) {
      run.poison_outputs();
      const CaseOutcome outcome =
          emulator::emulate(run.args(), {.kernel = kernel, .seed = seed, .key_parts = key_parts});
      BOOST_TEST((outcome.verdict == Verdict::passed), outcome.message);
      BOOST_TEST((run.read_output() == output), "seed " << seed << " gave other bits in " << key_parts << " parts");
    }
  }
}

// Of the table, less those whose instructions are not emulated so far.
void check_list() {
  const std::set<std::string_view> not_emulated;
  for (const flashcore::KernelRow &row : flashcore::kernel_table()) {
    const std::string_view kernel = row.passport->name;
    bool here = false;
    for (const emulator::Module &module : emulator::modules()) here |= kernel_of(module) == kernel;
    BOOST_TEST(here != not_emulated.contains(kernel),
               kernel << (here ? " is emulated, and listed as if it were not"
                               : " has no module in tests/emulator/modules.txt"));
  }
}

bool add_cases() {
  auto &suite = boost::unit_test::framework::master_test_suite();
  suite.p_name.value = "test_emulated_kernels";
  std::set<std::string> kernels;
  for (const emulator::Module &module : emulator::modules())
    if (is_tested(module)) kernels.insert(kernel_of(module));
  for (const std::string &kernel : kernels) {
    auto *const of_kernel = BOOST_TEST_SUITE(kernel);
    of_kernel->add(boost::unit_test::make_test_case([kernel] { check_grid(kernel); }, "grid", __FILE__, __LINE__));
    of_kernel->add(boost::unit_test::make_test_case([kernel] { check_seeds(kernel); }, "seeds", __FILE__, __LINE__));
    of_kernel->add(
        boost::unit_test::make_test_case([kernel] { emulator::check_golden(kernel); }, "golden", __FILE__, __LINE__));
    of_kernel->add(boost::unit_test::make_test_case([kernel] { emulator::check_infinite_values(kernel); },
                                                    "infinite_values", __FILE__, __LINE__));
    of_kernel->add(boost::unit_test::make_test_case([kernel] { emulator::check_long_rows(kernel); }, "long_rows",
                                                    __FILE__, __LINE__));
    of_kernel->add(
        boost::unit_test::make_test_case([kernel] { emulator::check_variant(kernel); }, "variant", __FILE__, __LINE__));
    of_kernel->add(boost::unit_test::make_test_case([kernel] { emulator::check_batch_invariance(kernel); },
                                                    "batch_invariance", __FILE__, __LINE__));
    if (flashcore::kernel_table()[static_cast<size_t>(flashcore::find_kernel(kernel))].passport->largest("calls") != 0)
      of_kernel->add(boost::unit_test::make_test_case([kernel] { emulator::check_shards_of_keys(kernel); }, "shards",
                                                      __FILE__, __LINE__));
    const auto *const passport =
        flashcore::kernel_table()[static_cast<size_t>(flashcore::find_kernel(kernel))].passport;
    if (passport->takes_variants)
      of_kernel->add(
          boost::unit_test::make_test_case([kernel] { emulator::check_texts(kernel); }, "texts", __FILE__, __LINE__));
    if (passport->entry_point(1) != nullptr)
      of_kernel->add(
          boost::unit_test::make_test_case([kernel] { emulator::check_parts(kernel); }, "parts", __FILE__, __LINE__));
    if (passport->largest("rows") != 0)
      of_kernel->add(
          boost::unit_test::make_test_case([kernel] { emulator::check_ragged(kernel); }, "ragged", __FILE__, __LINE__));
    suite.add(of_kernel);
  }
  suite.add(boost::unit_test::make_test_case(
      [] {
        uint32_t seed = 0;
        for (const emulator::Module &module : emulator::modules())
          if (is_tested(module) && !is_ragged(module)) check_module(module, seed++);
      },
      "every_module", __FILE__, __LINE__));
  suite.add(boost::unit_test::make_test_case(check_list, "every_kernel", __FILE__, __LINE__));
  return !kernels.empty();
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
