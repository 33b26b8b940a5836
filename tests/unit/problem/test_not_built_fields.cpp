// SPDX-License-Identifier: Apache-2.0
//
// Nothing in the public struct is ever ignored: each field that this build does not serve is refused by its own name,
// and a walk over the struct shows that every byte of it is either read or refused.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <cstring>
#include <functional>

#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

struct SetField {
  const char *name;
  std::function<void(Args &)> set;
  const char *value;
};

#define SET(field, number, text)                           \
  SetField {                                               \
#field, [](Args & args) { args.field = number; }, text \
  }

const std::vector<SetField> &not_built() {
  static const std::vector<SetField> fields = {
      SET(query_descale, 16, "is 0x10;"),     SET(key_descale, 16, "is 0x10;"),
      SET(value_descale, 16, "is 0x10;"),     SET(descale_batch_stride, 16, "is 16;"),
      SET(descale_head_stride, 16, "is 16;"),
  };
  return fields;
}

const std::vector<SetField> &reserved() {
  static const std::vector<SetField> fields = {
      SET(query.reserved, 1, "is 1;"),   SET(key.reserved, -1, "is -1;"),     SET(value.reserved, 1, "is 1;"),
      SET(output.reserved, 1, "is 1;"),  SET(lse.reserved, 1, "is 1;"),       SET(bias.reserved, 1, "is 1;"),
      SET(mask.reserved, 1, "is 1;"),    SET(sinks.reserved, 1, "is 1;"),     SET(reserved0, 1, "is 1;"),
      SET(new_key.reserved, 1, "is 1;"), SET(new_value.reserved, 1, "is 1;"),
  };
  return fields;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(not_built_fields_suite)

BOOST_AUTO_TEST_CASE(fields_that_are_not_built_are_unsupported) {
  for (const SetField &field : not_built()) {
    Args args = explicit_args();
    field.set(args);
    check_unsupported(args, field.name, {field.value, "allowed: 0, this build"});
  }
}

BOOST_AUTO_TEST_CASE(reserved_fields_are_invalid) {
  for (const SetField &field : reserved()) {
    Args args = explicit_args();
    field.set(args);
    check_invalid(args, field.name, {field.value, "reserved"});
  }
}

BOOST_AUTO_TEST_CASE(windows_without_their_flag) {
  Args args = contiguous_args();
  args.window_left = 128;
  check_invalid(args, "window_left", {"128", "FLASHCORE_FLAG_WINDOW_LEFT", "ignored"});
  args = contiguous_args();
  args.window_right = -1;
  check_invalid(args, "window_right", {"-1", "FLASHCORE_FLAG_WINDOW_RIGHT", "ignored"});
}

BOOST_AUTO_TEST_CASE(flags) {
  Args args = contiguous_args();
  for (int bit = 6; bit < 32; ++bit) {
    args.flags = uint32_t{1} << bit;
    check_unsupported(args, "flags", {"FLASHCORE_FLAG_*", "0x3f"});
  }
}

// What a build does not have must not be judged by the rules of a build that has not got it.
BOOST_AUTO_TEST_CASE(refused_fields_come_before_strides_and_sizes) {
  Args args = contiguous_args();
  args.query_descale = 16;
  args.batch = -1;
  args.query.stride[0] = -1;
  check_unsupported(args, "query_descale");
}

namespace {

bool within(size_t byte, size_t offset, size_t size) { return byte >= offset && byte < offset + size; }

// Every byte of the struct, changed in three ways. 2, and not 1, as the smallest: a dtype of 1 is what these args mean
// by 0.
bool is_read(size_t byte, const Args &base, size_t kernel_bytes_in_use) {
  if (within(byte, offsetof(Args, lse.stride[3]), sizeof(int64_t))) return false;  // flashcore.h: it is ignored
  if (within(byte, offsetof(Args, kernel) + kernel_bytes_in_use, sizeof(Args::kernel) - kernel_bytes_in_use))
    return false;  // behind the terminator
  // A chunk of all keys is as none.
  if (base.attention_chunk == 0 && within(byte, offsetof(Args, attention_chunk), sizeof(int64_t))) return false;
  // Sinks are one for each head: of their dimensions the others have one element.
  for (const size_t one : {0, 1, 3})
    if (base.sinks.data != 0 && within(byte, offsetof(Args, sinks.stride) + one * sizeof(int64_t), sizeof(int64_t)))
      return false;
  return true;
}

void walk(const Args &base, size_t kernel_bytes_in_use) {
  const std::string expected = outcome(base);
  for (size_t byte = offsetof(Args, flags); byte < sizeof(Args); ++byte) {
    if (!is_read(byte, base, kernel_bytes_in_use)) continue;
    for (unsigned char change : {0x02, 0x80, 0xff}) {
      Args args = base;
      reinterpret_cast<unsigned char *>(&args)[byte] ^= change;
      BOOST_TEST(outcome(args) != expected, "byte " << byte << " changed by " << int{change} << " makes no difference");
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_byte_counts_where_all_is_written_out) { walk(explicit_args(), sizeof(Args::kernel)); }

BOOST_AUTO_TEST_CASE(every_byte_counts_where_rows_are_appended) { walk(appending_args(), sizeof(Args::kernel)); }

BOOST_AUTO_TEST_CASE(every_byte_counts_where_all_is_left_out) { walk(contiguous_args(), 1); }

BOOST_AUTO_TEST_CASE(the_column_stride_of_the_lse_does_not_count) {
  for (const Args &base : {explicit_args(), contiguous_args()}) {
    for (int64_t stride : {1, -1, 77}) {
      Args args = base;
      args.lse.stride[3] = stride;
      BOOST_TEST(outcome(args) == outcome(base));
    }
  }
}

// The walk would miss bytes that no field owns.
static_assert(offsetof(Args, key_position) + sizeof(Args::key_position) == sizeof(Args));

BOOST_AUTO_TEST_SUITE_END()
