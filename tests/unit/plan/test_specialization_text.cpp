// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words: every field reaches the generated header, and names tell specializations apart.
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <set>

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

BOOST_AUTO_TEST_CASE(module_names_are_unique) {
  for (const KernelRow &row : kernel_table()) {
    std::set<std::string> names;
    Specialization specialization;
    int32_t index = 0;
    for (; row.passport->specialization(index, &specialization); ++index)
      BOOST_TEST(names.insert(module_name(row.passport->name, specialization)).second, row.passport->name << " " << index);
    BOOST_TEST(index > 0);
    BOOST_TEST(!row.passport->specialization(-1, &specialization));
  }
}
