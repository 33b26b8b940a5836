// SPDX-License-Identifier: Apache-2.0
//
// The table of operands holds every tensor of the public struct that is not refused, once; and what walks a table walks all of it,
// also the rows of a table that this file has and the library has not.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>

#include "problem/known_operands.hpp"
#include "problem/operand_checks.hpp"
#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

// Of flashcore_attention_args, each flashcore_tensor: its name and offset, from the table that is made of the header.
std::map<std::string, size_t> tensors_of_the_header() {
  std::ifstream layout(ABI_LAYOUT);
  std::map<std::string, size_t> tensors;
  for (std::string line; std::getline(layout, line);) {
    std::istringstream words(line);
    std::string kind, record, field, type;
    size_t offset = 0;
    if (words >> kind >> record >> field >> type >> offset && kind == "field" && record == "flashcore_attention_args" &&
        type == "flashcore_tensor")
      tensors[field] = offset;
  }
  return tensors;
}

std::map<std::string, size_t> refused_tensors() {
  return {
#define NOT_BUILT_FIELD(field, reason)
#define RESERVED_FIELD(field)
#define NOT_BUILT_TENSOR(field, reason) {#field, offsetof(Args, field)},
#define NOT_BUILT_FLAG(flag, reason)
#include "problem/not_built_fields.inc"
#undef NOT_BUILT_FIELD
#undef RESERVED_FIELD
#undef NOT_BUILT_TENSOR
#undef NOT_BUILT_FLAG
  };
}

// An operation with more operands than the library's: an output (the public struct's bias will do for its place) and lengths, which the public struct gives as an address alone. Two inputs come behind outputs.
enum Operand : size_t { query, key, value, output, lse, bias, sinks, lengths, operand_count };

constexpr TensorShape bias_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.seqlen_kv};
}
constexpr TensorShape lengths_shape(const kernels::ProblemKey &sizes) { return {sizes.batch, 1, 1, 1}; }
flashcore_tensor given_lengths(const void *args) {
  return {static_cast<const Args *>(args)->seqused_kv, FLASHCORE_DTYPE_INT32, 0, {0, 0, 0, 0}};
}

constexpr OperandTable<operand_count> larger_table = {{
    fwd::operands[fwd::query],
    fwd::operands[fwd::key],
    fwd::operands[fwd::value],
    fwd::operands[fwd::output],
    fwd::operands[fwd::lse],
    {"bias", "bias.data", offsetof(Args, bias.data), OperandRole::optional_output, OperandOrder::rows, like_query, true,
     bias_shape},
    fwd::operands[fwd::sinks],
    {"seqused_kv", "seqused_kv", offsetof(Args, seqused_kv), OperandRole::optional_input, OperandOrder::row_values,
     kernels::dtype_int32, false, lengths_shape, given_lengths},
}};

// Every operand there, each in 4 GiB of its own.
Args larger_args() {
  Args args = contiguous_args();
  args.seqlen_kv = 8;
  args.bias.data = 0x600000000;
  args.sinks.data = 0x700000000;
  args.seqused_kv = 0x800000000;
  return args;
}

kernels::ProblemKey larger_key() {
  kernels::ProblemKey key = accepted(contiguous_args()).key;
  key.seqlen_kv = 8;
  return key;
}

using Operands = std::array<ProblemOperand, operand_count>;

Status check_all(const Args &args, Operands &operands, AddressRule rule = AddressRule::required) {
  operands = sized_operands<larger_table>(larger_key());
  FLASHCORE_TRY(check_dtypes<larger_table>(&args, FLASHCORE_DTYPE_FLOAT16));
  FLASHCORE_TRY(check_layouts<larger_table>(&args, rule, operands));
  return check_outputs_apart<larger_table>(operands);
}

Operands all_accepted(const Args &args, AddressRule rule = AddressRule::required) {
  Operands operands;
  const Status status = check_all(args, operands, rule);
  BOOST_REQUIRE_MESSAGE(status.ok(), (status.ok() ? std::string() : status.error().message));
  return operands;
}

void check_fault(const Args &args, const std::string &field, const std::string &part,
                 flashcore_status expected = FLASHCORE_INVALID_ARGUMENT) {
  Operands operands;
  const Status status = check_all(args, operands);
  BOOST_REQUIRE_MESSAGE(!status.ok(), field << " was accepted");
  BOOST_TEST(status.error().status == expected);
  BOOST_TEST(status.error().field == field, status.error().message);
  BOOST_TEST(status.error().message.find(part) != std::string::npos, status.error().message);
}

uint64_t extent(const ProblemOperand &operand) { return operand.range.end - operand.range.begin; }

using Known = KnownOperands<larger_table>;
const auto *bytes_of(const Args &args) { return reinterpret_cast<const unsigned char *>(&args); }
bool differ_in_addresses_only(const Args &a, const Args &b) {
  return Known::differ_in_addresses_only<sizeof(Args)>(bytes_of(a), bytes_of(b));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(operands_suite)

BOOST_AUTO_TEST_CASE(every_tensor_of_the_header_is_an_operand_or_refused) {
  std::map<std::string, size_t> expected = tensors_of_the_header();
  BOOST_REQUIRE(!expected.empty());
  std::map<std::string, size_t> found = refused_tensors();
  for (const OperandRule &rule : fwd::operands) {
    if (rule.given != nullptr) continue;  // an address alone
    BOOST_TEST(found.emplace(rule.name, rule.offset).second, rule.name << " is twice in the tables");
    BOOST_TEST(rule.address == std::string(rule.name) + ".data");
  }
  for (const auto &[name, offset] : expected) {
    BOOST_TEST(found.count(name) == 1u, name << " is no operand and not refused");
    BOOST_TEST(found[name] == offset, name);
  }
  BOOST_TEST(found.size() == expected.size());
}

// The places of the enumeration are those of the table.
BOOST_AUTO_TEST_CASE(operands_have_their_names) {
  const std::pair<fwd::Operand, const char *> names[] = {{fwd::query, "query"},
                                                         {fwd::key, "key"},
                                                         {fwd::value, "value"},
                                                         {fwd::output, "output"},
                                                         {fwd::lse, "lse"},
                                                         {fwd::alibi_slopes, "alibi_slopes"},
                                                         {fwd::sinks, "sinks"},
                                                         {fwd::cu_seqlens_q, "cu_seqlens_q"},
                                                         {fwd::cu_seqlens_kv, "cu_seqlens_kv"},
                                                         {fwd::seqused_q, "seqused_q"},
                                                         {fwd::seqused_kv, "seqused_kv"},
                                                         {fwd::leftpad_kv, "leftpad_kv"},
                                                         {fwd::kv_batch_index, "kv_batch_index"},
                                                         {fwd::page_table, "page_table"},
                                                         {fwd::page_table_value, "page_table_value"},
                                                         {fwd::bias, "bias"},
                                                         {fwd::mask, "mask"},
                                                         {fwd::variant_params, "variant_params"},
                                                         {fwd::new_key, "new_key"},
                                                         {fwd::new_value, "new_value"},
                                                         {fwd::rotary_cos, "rotary_cos"},
                                                         {fwd::rotary_sin, "rotary_sin"},
                                                         {fwd::rotary_positions, "rotary_positions"}};
  static_assert(std::size(names) == fwd::operand_count);
  for (const auto &[operand, name] : names) BOOST_TEST(fwd::operands[operand].name == std::string(name));
}

BOOST_AUTO_TEST_CASE(operands_of_a_problem_lie_where_the_caller_said) {
  Args args = contiguous_args();  // 3 sequences, 5 and 7 rows, 4 and 2 heads, 64 and 32
  args.alibi_slopes = 0x600000000, args.alibi_batch_stride = 9;
  args.sinks.data = 0x700000000, args.sinks.stride[2] = 3;
  args.bias.data = 0x800000000, args.bias.dtype = FLASHCORE_DTYPE_FLOAT32;
  set_strides(args.bias, 0, 1, 0, 5);  // of a row of queries for each key
  args.mask.data = 0x900000001 - 1;
  Variants variants;
  args.variant = variants.create("bool visible() {}", 72).value(), args.variant_params = 0xa00000000;
  const auto operands = operands_of(validate_attention(&args, AddressRule::required, &variants).value());
  const std::pair<fwd::Operand, uint64_t> bytes[] = {
      {fwd::query, 3 * 5 * 4 * 64 * 2}, {fwd::key, 3 * 7 * 2 * 64 * 2},
      {fwd::value, 3 * 7 * 2 * 32 * 2}, {fwd::output, 3 * 5 * 4 * 32 * 2},
      {fwd::lse, 3 * 5 * 4 * 4},        {fwd::alibi_slopes, (2 * 9 + 4) * 4},
      {fwd::sinks, (3 * 3 + 1) * 4},    {fwd::bias, (4 * 1 + 6 * 5 + 1) * 4},
      {fwd::mask, 3 * 5 * 4 * 7},       {fwd::variant_params, 72}};
  for (size_t n = 0; n < std::size(bytes); ++n) {
    const auto [i, size] = bytes[n];
    BOOST_TEST(operands[i].rule == &fwd::operands[i]);
    BOOST_TEST(operands[i].range.begin == 0x100000000 * (n + 1));
    BOOST_TEST(extent(operands[i]) == size, fwd::operands[i].name);
  }
  Args appended = args;
  appended.seqlen_new = 3, appended.new_key.data = 0xb00000000, appended.new_value.data = 0xc00000000;
  appended.rotary_dim = 20, appended.rotary_table_rows = 9, appended.rotary_cos = 0xd00000000;
  appended.rotary_sin = 0xe00000000, appended.rotary_positions = 0xf00000000;
  const auto more = operands_of(validate_attention(&appended, AddressRule::required, &variants).value());
  const std::pair<fwd::Operand, uint64_t> more_bytes[] = {{fwd::new_key, 3 * 3 * 2 * 64 * 2},
                                                          {fwd::new_value, 3 * 3 * 2 * 32 * 2},
                                                          {fwd::rotary_cos, 9 * 10 * 2},
                                                          {fwd::rotary_sin, 9 * 10 * 2},
                                                          {fwd::rotary_positions, 3 * 4}};
  for (size_t n = 0; n < std::size(more_bytes); ++n) {
    const auto [i, size] = more_bytes[n];
    BOOST_TEST(more[i].range.begin == 0x100000000 * (n + 11));
    BOOST_TEST(extent(more[i]) == size, fwd::operands[i].name);
  }
  for (const fwd::Operand cache : {fwd::key, fwd::value}) BOOST_TEST((more[cache].written && !operands[cache].written));
  Args without = args;
  without.lse.data = 0, without.seqlen_kv = 0, without.variant = without.variant_params = 0;
  const auto rest = operands_of(accepted(without));
  for (const fwd::Operand absent : {fwd::key, fwd::value, fwd::lse}) BOOST_TEST(extent(rest[absent]) == 0u);
}

BOOST_AUTO_TEST_CASE(element_bytes_of_every_type) {
  const std::pair<int32_t, int32_t> types[] = {{FLASHCORE_DTYPE_DEFAULT, 0},     {FLASHCORE_DTYPE_FLOAT16, 2},
                                               {FLASHCORE_DTYPE_BFLOAT16, 2},    {FLASHCORE_DTYPE_FLOAT32, 4},
                                               {FLASHCORE_DTYPE_FLOAT8_E4M3, 1}, {FLASHCORE_DTYPE_FLOAT8_E5M2, 1},
                                               {FLASHCORE_DTYPE_INT32, 4},       {FLASHCORE_DTYPE_INT64, 8},
                                               {FLASHCORE_DTYPE_INT64 + 1, 0},   {-1, 0}};
  for (const auto &[dtype, bytes] : types) BOOST_TEST(kernels::element_bytes(dtype) == bytes, dtype);
}

BOOST_AUTO_TEST_CASE(new_operands_get_their_shapes_and_places) {
  const Operands operands = all_accepted(larger_args());
  BOOST_TEST(extent(operands[bias]) == 3u * 5 * 4 * 8 * 2);
  BOOST_TEST(extent(operands[sinks]) == 4u * 4);
  BOOST_TEST(extent(operands[lengths]) == 3u * 4);
  BOOST_TEST(operands[lengths].range.begin == 0x800000000u);
  BOOST_TEST(operands[lengths].tensor.stride_batch == 1);
  Args args = larger_args();
  args.leftpad_kv = args.kv_batch_index = args.page_table =
      99;  // behind an address alone: no type and no strides of its own
  BOOST_TEST(extent(all_accepted(args)[lengths]) == 3u * 4);
  args = larger_args();
  args.bias.data = args.sinks.data = args.seqused_kv = 0;
  for (const Operand absent : {bias, sinks, lengths}) BOOST_TEST(extent(all_accepted(args)[absent]) == 0u);
}

BOOST_AUTO_TEST_CASE(new_operands_are_checked_alone) {
  Args args = larger_args();
  args.sinks.dtype = FLASHCORE_DTYPE_FLOAT16;
  check_fault(args, "sinks.dtype", "0 or FLASHCORE_DTYPE_FLOAT32 (3)", FLASHCORE_UNSUPPORTED);
  args = larger_args();
  args.bias.dtype = FLASHCORE_DTYPE_FLOAT32;
  check_fault(args, "bias.dtype", "0 or the query's, FLASHCORE_DTYPE_FLOAT16 (1)", FLASHCORE_UNSUPPORTED);
  args.bias.dtype = 99;
  check_fault(args, "bias.dtype", "is 99;");
  args = larger_args();
  args.bias.stride[0] = -1;
  check_fault(args, "bias.stride[0]", "0 or more");
  args = larger_args();
  set_strides(args.bias, 160, 32, 8, 1);
  all_accepted(args);
  args.bias.stride[2] = 7;
  check_fault(args, "bias.stride[2]", "at least 8");
  args = larger_args();
  set_strides(args.sinks, 0, 0, 0, 9);  // an input may say the same value for every head; and has no columns
  all_accepted(args);
  for (const uint64_t wrong : {1, 2}) {
    args = larger_args();
    args.seqused_kv += wrong;
    check_fault(args, "seqused_kv", "4 bytes");
    args = larger_args();
    args.sinks.data += wrong;
    check_fault(args, "sinks.data", "4 bytes");
  }
  args.seqused_kv = ~uint64_t{0} - 3, args.sinks.data = 0;
  check_fault(args, "seqused_kv", "address space");
}

BOOST_AUTO_TEST_CASE(new_operands_are_kept_apart) {
  // An input behind an output of the table, and one before it.
  Args args = larger_args();
  args.seqused_kv = args.bias.data + 8;
  check_fault(args, "bias.data", "apart from seqused_kv");
  args = larger_args();
  args.sinks.data = args.output.data;
  check_fault(args, "output.data", "apart from sinks");
  args = larger_args();
  args.bias.data = args.query.data;
  check_fault(args, "bias.data", "apart from query");
  // Of two outputs the later one.
  args = larger_args();
  args.bias.data = args.lse.data;
  check_fault(args, "bias.data", "apart from lse");
  args = larger_args();
  args.sinks.data = args.seqused_kv = args.query.data;
  all_accepted(args);

  const Operands operands = all_accepted(larger_args());
  const AddressRange at_lengths = {0x800000000, 0x800000010}, behind = {0x80000000c, 0x800000010};
  const Status refused = check_apart_from_operands("workspace", at_lengths, operands);
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().field == "workspace");
  BOOST_TEST(refused.error().message.find("seqused_kv") != std::string::npos);
  BOOST_TEST(check_apart_from_operands("workspace", behind, operands).ok());
}

BOOST_AUTO_TEST_CASE(new_operands_count_for_the_alignment_as_their_rows_say) {
  BOOST_TEST(common_alignment<larger_table>(all_accepted(larger_args())) == 16);
  Args args = larger_args();
  args.sinks.data += 4, args.seqused_kv += 4;
  BOOST_TEST(common_alignment<larger_table>(all_accepted(args)) == 16);
  args.bias.data += 4;
  BOOST_TEST(common_alignment<larger_table>(all_accepted(args)) == 2);
}

BOOST_AUTO_TEST_CASE(known_operands_skip_the_addresses_of_the_table_alone) {
  const Args args = larger_args();
  std::set<size_t> free;
  for (const OperandRule &rule : larger_table)
    for (size_t byte = 0; byte < sizeof(uint64_t); ++byte) free.insert(rule.offset + byte);
  for (size_t byte = 0; byte < sizeof(Args); ++byte) {
    Args other = args;
    reinterpret_cast<unsigned char *>(&other)[byte] ^= 0x10;
    BOOST_TEST(differ_in_addresses_only(args, other) == (free.count(byte) == 1), "byte " << byte);
  }
  for (size_t i = 0; i < operand_count; ++i)
    BOOST_TEST(Known::addresses_in(bytes_of(args))[i] == 0x100000000 * (i + 1), larger_table[i].name);
}

// What may lie at an address is what the checks accept there, for addresses near those of other operands, and near the ends.
BOOST_AUTO_TEST_CASE(known_operands_agree_with_the_checks) {
  Known known;
  BOOST_REQUIRE(known.remember(all_accepted(larger_args())));
  int accepted_count = 0, refused_count = 0;
  for (size_t moved = 0; moved < operand_count; ++moved)
    for (size_t other = 0; other < operand_count; ++other)
      for (const int64_t shift : {-100000, -4096, -64, -16, -12, -4, -2, 0, 4, 8, 12, 16, 64, 4096, 100000})
        for (const uint64_t base : {0x100000000 * (other + 1), uint64_t{100000}, ~uint64_t{0} - 100015}) {
          Args args = larger_args();
          const uint64_t address = base + static_cast<uint64_t>(shift);
          std::memcpy(reinterpret_cast<char *>(&args) + larger_table[moved].offset, &address, sizeof(address));
          Operands operands;
          const bool valid = check_all(args, operands).ok() && common_alignment<larger_table>(operands) == 16;
          const bool may = known.may_lie_at(Known::addresses_in(bytes_of(args)));
          BOOST_TEST(may == (valid && address != 0), larger_table[moved].name << " at " << std::hex << address);
          ++(may ? accepted_count : refused_count);
        }
  BOOST_TEST(accepted_count > 100);
  BOOST_TEST(refused_count > 100);
}

BOOST_AUTO_TEST_CASE(known_operands_that_were_absent_stay_absent) {
  Args without = larger_args();
  without.sinks.data = 0;
  Known known;
  BOOST_REQUIRE(known.remember(all_accepted(without)));
  BOOST_TEST(known.may_lie_at(Known::addresses_in(bytes_of(without))));
  BOOST_TEST(!known.may_lie_at(Known::addresses_in(bytes_of(larger_args()))));
  without.seqused_kv = 0;
  BOOST_TEST(!known.may_lie_at(Known::addresses_in(bytes_of(without))));
  // One that must be there and has no elements: not a call to remember.
  kernels::ProblemKey no_rows = larger_key();
  no_rows.batch = 0;
  BOOST_TEST(!known.remember(sized_operands<larger_table>(no_rows)));
}

BOOST_AUTO_TEST_SUITE_END()
