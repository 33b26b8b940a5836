// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words: every field reaches the generated header, and names tell specializations apart.
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <set>

#include "flashcore/flashcore.h"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using kernels::Specialization;

BOOST_AUTO_TEST_CASE(every_field_reaches_the_header) {
  const Specialization base{};
  const std::string plain = specialization_header(base);
  for (size_t i = 0; i < sizeof(base) / sizeof(int32_t); ++i) {
    Specialization changed = base;
    const int32_t seven = 7;
    std::memcpy(reinterpret_cast<char *>(&changed) + i * sizeof(int32_t), &seven, sizeof(seven));
    BOOST_TEST(specialization_header(changed) != plain, "field " << i);
  }
}

BOOST_AUTO_TEST_CASE(names_read_back) {
  for (const KernelRow &row : kernel_table()) {
    Specialization shipped;
    for (int32_t index = 0; row.passport->specialization(index, &shipped); ++index)
      for (const int32_t stages : {1, 2, 3})
        for (const int32_t flags : {0, 1}) {
          Specialization s = shipped;
          s.stages = stages, s.q_in_registers = flags, s.head_dim_v += flags * 8, s.cluster = stages * 2 - 1;
          const std::string name = module_name(row.passport->name, s);
          const auto parsed = parse_module_name(name);
          BOOST_REQUIRE_MESSAGE(parsed.ok(), name);
          BOOST_TEST(parsed.value().kernel == row.passport->name);
          BOOST_TEST(std::memcmp(&parsed.value().specialization, &s, sizeof(s)) == 0, name);
        }
  }
}

BOOST_AUTO_TEST_CASE(malformed_names_are_refused_with_the_part_at_fault) {
  const struct {
    const char *name, *expected;
  } cases[] = {
      {"sm80_fwd_mma-", "has \"\" where fp16 or bf16 must stand"},
      {"sm80_fwd_mma-fp32-d64-64x64-w4", "has \"fp32\" where fp16 or bf16"},
      {"sm80_fwd_mma-fp16", "ends where the head dimension"},
      {"sm80_fwd_mma-fp16-d", "has \"d\" where the head dimension"},
      {"sm80_fwd_mma-fp16-d064-64x64-w4", "has \"d064\" where the head dimension"},
      {"sm80_fwd_mma-fp16-d64v64-64x64-w4", "has \"d64v64\" where the head dimension"},
      {"sm80_fwd_mma-fp16-d64-64x-w4", "has \"64x\" where the tile"},
      {"sm80_fwd_mma-fp16-d64-64-w4", "has \"64\" where the tile"},
      {"sm80_fwd_mma-fp16-d64-+64x64-w4", "has \"+64x64\" where the tile"},
      {"sm80_fwd_mma-fp16-d64-64x64", "ends where the number of warps"},
      {"sm80_fwd_mma-fp16-d64-64x64-w", "has \"w\" where the number of warps"},
      {"sm80_fwd_mma-fp16-d64-64x64-w99999999999", "where the number of warps"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4x2", "has \"w4x2\" where the number of warps"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-s1", "has \"s1\" where the number of stages"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-qreg-s2", "has \"s2\" where the end"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-c1", "has \"c1\" where the thread blocks of a cluster"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-c2-s2", "has \"s2\" where the end"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-o2", "has \"o2\" where the end"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-", "has \"\" where the end"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-qreg ", "has \"qreg \" where the end"},
  };
  for (const auto &one : cases) {
    const auto parsed = parse_module_name(one.name);
    BOOST_REQUIRE_MESSAGE(!parsed.ok(), one.name);
    BOOST_TEST(parsed.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(parsed.error().field == "kernel");
    BOOST_TEST(parsed.error().message.find(one.expected) != std::string::npos, parsed.error().message);
  }
}

BOOST_AUTO_TEST_CASE(every_shipped_name_can_be_asked_for) {
  for (const KernelRow &row : kernel_table()) {
    Specialization s;
    for (int32_t index = 0; row.passport->specialization(index, &s); ++index)
      BOOST_TEST(module_name(row.passport->name, s).size() < size_t{FLASHCORE_NAME_BYTES});
  }
}

BOOST_AUTO_TEST_CASE(module_names_are_unique) {
  for (const KernelRow &row : kernel_table()) {
    std::set<std::string> names;
    Specialization specialization;
    int32_t index = 0;
    for (; row.passport->specialization(index, &specialization); ++index)
      BOOST_TEST(names.insert(module_name(row.passport->name, specialization)).second,
                 row.passport->name << " " << index);
    BOOST_TEST(index > 0);
    BOOST_TEST(!row.passport->specialization(-1, &specialization));
  }
}
