// SPDX-License-Identifier: Apache-2.0
//
// The tuned rows: those of the build are what their names say, and the selector obeys rows, where they hold and nowhere else.
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using kernels::DeviceLimits;
using kernels::ProblemKey;

namespace {

constexpr DeviceLimits l4{89, 58, 101376, 102400};
constexpr const char *module = "sm80_fwd_mma-fp16-d64-32x80-w2-qreg";  // allowed, and in no passport's list

TunedRow row() {
  TunedRow row{89,
               find_kernel("sm80_fwd_mma"),
               kernels::dtype_float16,
               false,
               64,
               64,
               parse_module_name(module).value().specialization,
               {4, 16},
               {256, 1024},
               {256, 1024},
               3.5,
               4.5,
               module,
               "sm_89.tsv:7"};
  return row;
}

ProblemKey mission() {
  ProblemKey key = row().smallest_problem();
  key.batch = 2, key.heads_q = key.heads_kv = 4, key.seqlen_q = key.seqlen_kv = 512;
  return key;
}

std::string chosen(const ProblemKey &key, const DeviceLimits &device, const TunedRow &one) {
  const auto selection = select_kernel(key, device, {&one, 1});
  BOOST_REQUIRE(selection.ok());
  BOOST_TEST((selection.value().tuned != nullptr) ==
             (std::memcmp(&selection.value().specialization, &one.module, sizeof(one.module)) == 0));
  return module_name(passport_at(selection.value().kernel_index), selection.value().specialization);
}

}  // namespace

BOOST_AUTO_TEST_CASE(rows_of_the_build_are_sound) {
  for (const TunedRow &row : tuned_rows()) BOOST_TEST_CONTEXT(row.origin) {
      const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(row.kernel_index)].passport;
      BOOST_TEST(module_name(passport, row.module) == row.module_name);
      BOOST_TEST(check_specialization(passport, row.module).ok());
      BOOST_TEST(row.holds(row.smallest_problem()));
      BOOST_TEST(row.measured_us < row.default_us);
      BOOST_TEST(!passport.by_name_only);
      ProblemKey key{};
      BOOST_TEST(pin_kernel(key, row.module_name).ok());
    }
}

BOOST_AUTO_TEST_CASE(a_row_decides_where_it_holds) {
  BOOST_TEST(chosen(mission(), l4, row()) == module);
  ProblemKey key = mission();
  for (const int64_t seqlen : {256, 1024}) {
    key.seqlen_q = key.seqlen_kv = seqlen;
    BOOST_TEST(chosen(key, l4, row()) == module);
  }
}

// A module that applies every mask serves rows of either kind, and each row its own problems only.
BOOST_AUTO_TEST_CASE(a_causal_row_may_have_a_module_that_applies_every_mask) {
  constexpr const char *decode = "sm80_fwd_decode-fp16-d64-8x16-w4";
  TunedRow causal = row();
  const ModuleName name = parse_module_name(decode).value();
  causal.kernel_index = name.kernel_index, causal.module = name.specialization, causal.module_name = decode;
  for (const bool masked : {true, false}) {
    causal.causal = masked;
    ProblemKey key = mission();
    BOOST_TEST((chosen(key, l4, causal) == decode) == !masked);
    key.causal = kernels::causal_bottom_right;
    BOOST_TEST((chosen(key, l4, causal) == decode) == masked);
  }
}

BOOST_AUTO_TEST_CASE(a_row_decides_nowhere_else) {
  void (*const changes[])(ProblemKey &) = {
      [](ProblemKey &key) { key.dtype = kernels::dtype_bfloat16; },
      [](ProblemKey &key) { key.causal = kernels::causal_top_left; },
      [](ProblemKey &key) { key.head_dim = key.head_dim_v = 128; },
      [](ProblemKey &key) { key.batch = 5; },
      [](ProblemKey &key) { key.batch = 1, key.heads_q = key.heads_kv = 3; },
      [](ProblemKey &key) { key.seqlen_q = 1025; },
      [](ProblemKey &key) { key.seqlen_kv = 255; },
      [](ProblemKey &key) { key.alignment_bytes = 2; },
      [](ProblemKey &key) { key.kernel_index = find_kernel("sm80_fwd_small"); },
  };
  for (const auto change : changes) {
    ProblemKey key = mission();
    change(key);
    BOOST_TEST(chosen(key, l4, row()) != module);
  }
  DeviceLimits other = l4;
  other.arch = 86;
  BOOST_TEST(chosen(mission(), other, row()) != module);
  BOOST_TEST(module_name(passport_at(find_kernel("sm80_fwd_mma")),
                         select_kernel(mission(), l4, {}).value().specialization) != module);
}

BOOST_AUTO_TEST_CASE(who_asks_for_the_rows_kernel_gets_its_module_and_who_asks_for_a_module_that_one) {
  ProblemKey key = mission();
  BOOST_REQUIRE(pin_kernel(key, "sm80_fwd_mma").ok());
  BOOST_TEST(chosen(key, l4, row()) == module);
  BOOST_REQUIRE(pin_kernel(key, "sm80_fwd_mma-fp16-d64-64x64-w4").ok());
  BOOST_TEST(chosen(key, l4, row()) == "sm80_fwd_mma-fp16-d64-64x64-w4");
}

BOOST_AUTO_TEST_CASE(a_module_that_does_not_fit_the_device_is_left_alone) {
  DeviceLimits tiny = l4;
  tiny.shared_bytes_per_block = 24000;  // the row's module needs 24,576
  const TunedRow one = row();
  const auto selection = select_kernel(mission(), tiny, {&one, 1});
  BOOST_TEST((!selection.ok() || selection.value().tuned == nullptr));
}

// A kernel that the model likes better than the row's is said to be passed over.
BOOST_AUTO_TEST_CASE(the_explanation_tells_who_would_be_cheaper_by_the_model) {
  const TunedRow one = row();
  const auto by_row = select_kernel(mission(), l4, {&one, 1}), by_model = select_kernel(mission(), l4, {});
  BOOST_REQUIRE((by_row.ok() && by_model.ok()));
  const std::string text = explain_selection(mission(), l4, {&one, 1});
  const bool another = by_model.value().kernel_index != by_row.value().kernel_index &&
                       by_model.value().plan.cost.total_us < by_row.value().plan.cost.total_us;
  const std::string told = std::string(passport_at(by_model.value().kernel_index).name) +
                           ": cheaper by the model, slower by the tuned row, ";
  BOOST_TEST((text.find(told) != std::string::npos) == another, text);
}

BOOST_AUTO_TEST_CASE(the_explanation_names_the_row) {
  const TunedRow one = row();
  const std::string text = explain_selection(mission(), l4, {&one, 1});
  BOOST_TEST(
      text.find(
          "sm80_fwd_mma: chosen, sm80_fwd_mma-fp16-d64-32x80-w2-qreg, by the tuned row sm_89.tsv:7 (3.5 us measured, "
          "4.5 us without it), ") != std::string::npos,
      text);
}
