// SPDX-License-Identifier: Apache-2.0
//
// Kernels' choices as tools are told of them, and what is refused.
#define BOOST_TEST_DYN_LINK 1
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <iterator>
#include <string>

#include "bad_input_fixture.hpp"
#include "flashcore/flashcore_inspect.h"

BOOST_AUTO_TEST_SUITE(choices_suite)

// Every kernel's choices, as tools see them; names become values and names again.
BOOST_AUTO_TEST_CASE(choices_of_kernels) {
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info kernel{};
    kernel.struct_size = sizeof(kernel);
    BOOST_REQUIRE(flashcore_kernel_describe(index, &kernel, nullptr) == FLASHCORE_OK);
    BOOST_TEST((kernel.choices > 0 && kernel.choices <= FLASHCORE_MOST_CHOICES));
    for (int32_t i = 0; i < kernel.choices; ++i) {
      flashcore_choice_info choice{};
      choice.struct_size = sizeof(choice);
      BOOST_REQUIRE(flashcore_kernel_choice(kernel.name, i, &choice, nullptr) == FLASHCORE_OK);
      BOOST_TEST((choice.name[0] != 0 && choice.least <= choice.most && choice.tried_count <= FLASHCORE_MOST_TRIED));
    }
    for (const int32_t outside : {-1, kernel.choices}) {
      PoisonedError poisoned;
      flashcore_choice_info choice{};
      choice.struct_size = sizeof(choice);
      check_failure(poisoned, flashcore_kernel_choice(kernel.name, outside, &choice, &poisoned.error),
                    FLASHCORE_INVALID_ARGUMENT, "index");
    }
  }
  const std::string name = "sm80_fwd_mma-bf16-d192v128-causal-128x64-w8-s2-qreg";
  int32_t values[FLASHCORE_MOST_CHOICES];
  const int32_t expected[FLASHCORE_MOST_CHOICES] = {2, 192, 128, 1, 0, 0, 0, 0, 128, 64, 8, 2, 1, 16};
  BOOST_REQUIRE(flashcore_module_choices(name.c_str(), values, nullptr) == FLASHCORE_OK);
  BOOST_TEST(std::equal(std::begin(values), std::end(values), expected));
  char back[FLASHCORE_NAME_BYTES];
  BOOST_REQUIRE(flashcore_module_name("sm80_fwd_mma", values, back, nullptr) == FLASHCORE_OK);
  BOOST_TEST(back == name);
  PoisonedError poisoned;
  values[8] = 47;
  check_failure(poisoned, flashcore_module_name("sm80_fwd_mma", values, back, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "kernel");
  for (const char *no_kernel : {"", "sm80", "sm80_fwd_mma-fp16-d64-64x64-w4"}) {
    PoisonedError of_name, of_choice;
    flashcore_choice_info choice{};
    choice.struct_size = sizeof(choice);
    check_failure(of_name, flashcore_module_name(no_kernel, values, back, &of_name.error), FLASHCORE_INVALID_ARGUMENT,
                  "kernel");
    check_failure(of_choice, flashcore_kernel_choice(no_kernel, 0, &choice, &of_choice.error),
                  FLASHCORE_INVALID_ARGUMENT, "kernel");
  }
  for (const char *no_module : {"", "sm80_fwd_mma", "sm80_fwd_mma-fp16-d64", "sm81_fwd-fp16"}) {
    PoisonedError of_module;
    check_failure(of_module, flashcore_module_choices(no_module, values, &of_module.error), FLASHCORE_INVALID_ARGUMENT,
                  "kernel");
  }
  flashcore_choice_info choice{};
  choice.struct_size = sizeof(choice);
  BOOST_TEST(flashcore_kernel_choice(nullptr, 0, &choice, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_kernel_choice("fwd_scalar", 0, nullptr, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_module_choices(nullptr, values, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_module_choices(name.c_str(), nullptr, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_module_name(nullptr, values, back, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_module_name("fwd_scalar", nullptr, back, nullptr) == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_module_name("fwd_scalar", values, nullptr, nullptr) == FLASHCORE_INVALID_ARGUMENT);
}

BOOST_AUTO_TEST_SUITE_END()
