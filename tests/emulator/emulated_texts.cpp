// SPDX-License-Identifier: Apache-2.0
#include "emulated_texts.hpp"

#include <boost/test/unit_test.hpp>

#include "emulate.hpp"
#include "kernels/variant_cases.hpp"
#include "plan/kernel_table.hpp"

namespace emulator {

using namespace flashcore::tests;

// Every case that some module with its text serves, by each such module, whole and with the keys in two parts.
void check_texts(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  flashcore::Variants variants;
  int passed = 0;
  uint32_t seed = 0;
  for (const VariantCase &one : variant_cases()) {
    const auto id = variants.create(variant_text(one.name), static_cast<int64_t>(one.params.size()));
    BOOST_REQUIRE_MESSAGE(id.ok(), (id.ok() ? std::string() : id.error().message));
    for (uint32_t turn = 0; turn < 3; ++turn) {
      VariantRun run(host, one, "");
      run.run().args().variant = id.value();
      const CaseOutcome emulated = emulate(run.run().args(), {.kernel = kernel,
                                                              .broken = one.name,
                                                              .seed = seed++,
                                                              .turn = turn,
                                                              .key_parts = turn == 1 ? 2 : 0,
                                                              .variants = &variants});
      if (emulated.verdict == Verdict::refused) continue;
      BOOST_REQUIRE_MESSAGE(emulated.verdict == Verdict::passed, one.describe() << ": " << emulated.message);
      const CaseOutcome outcome = run.judge();
      BOOST_TEST((outcome.verdict == Verdict::passed), emulated.module << ", " << outcome.message);
      ++passed;
    }
  }
  int ragged = 0;
  for (const RaggedVariantCase &one : ragged_variant_cases()) {
    const auto id = variants.create(variant_text(one.variant.name), static_cast<int64_t>(one.variant.params.size()));
    BOOST_REQUIRE(id.ok());
    RaggedOnDevice run(host, one.rows, "");
    run.set_variant(one.variant.score, one.variant.visible);
    run.args().variant = id.value();
    run.args().variant_params = reinterpret_cast<uint64_t>(one.variant.params.data());
    const CaseOutcome emulated =
        emulate(run.args(), {.kernel = kernel, .broken = one.variant.name, .seed = seed++, .variants = &variants});
    if (emulated.verdict == Verdict::refused) continue;
    BOOST_REQUIRE_MESSAGE(emulated.verdict == Verdict::passed, one.rows.describe() << ": " << emulated.message);
    const CaseOutcome outcome = run.judge();
    BOOST_TEST((outcome.verdict == Verdict::passed), emulated.module << ", " << outcome.message);
    ++ragged;
  }
  const auto &table = flashcore::passport_at(flashcore::find_kernel(kernel)).choices;
  const int32_t rows = flashcore::kernels::find_choice(table, "rows");
  const int most = rows < 0 ? 0 : table.first[rows].most == flashcore::kernels::rows_paged ? 3 : 2;
  BOOST_TEST(ragged == most, kernel << " ran " << ragged << " of the ragged batches");
  BOOST_TEST(passed >= 4, kernel << " ran " << passed << " of the texts only");
}

}  // namespace emulator
