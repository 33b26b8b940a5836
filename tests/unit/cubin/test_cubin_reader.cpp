// SPDX-License-Identifier: Apache-2.0
//
// Every fact that the reader tells, every rule that it enforces, and that no damage to an image harms it.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE unit_cubin
#include "cubin/cubin_reader.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <functional>
#include <ostream>
#include <random>

#include "unit/cubin/synthetic_cubin.hpp"

namespace {

using namespace flashcore;
namespace data = boost::unit_test::data;

CubinInfo info_of(const synthetic::Cubin &cubin) {
  Result<CubinInfo> info = read_cubin(cubin.image());
  BOOST_REQUIRE_MESSAGE(info.ok(), (info.ok() ? "" : info.error().message));
  return std::move(info).value();
}

KernelResources kernel_of(const synthetic::Cubin &cubin) {
  const CubinInfo info = info_of(cubin);
  BOOST_REQUIRE(info.kernels.size() == 1u);
  return info.kernels[0];
}

void check_corrupt(const std::vector<uint8_t> &image, const std::string &part_of_message) {
  const Result<CubinInfo> info = read_cubin(image);
  BOOST_REQUIRE(!info.ok());
  BOOST_TEST(info.error().status == FLASHCORE_MODULE_CORRUPT);
  BOOST_TEST_CONTEXT(info.error().message) {
    BOOST_TEST(info.error().message.find(part_of_message) != std::string::npos);
  }
}

struct Target {
  uint8_t abi;
  uint32_t arch;
  bool arch_specific, in_flags;
};
std::ostream &operator<<(std::ostream &stream, const Target &target) {
  return stream << "ABI " << int{target.abi} << " sm_" << target.arch << (target.arch_specific ? "a" : "")
                << (target.in_flags ? " (in the flags)" : "");
}
const Target targets[] = {{7, 80, false, false}, {7, 86, false, false}, {7, 89, false, false}, {7, 90, false, false},
                          {7, 90, true, false},  {8, 80, false, false}, {8, 89, false, false}, {8, 90, false, false},
                          {8, 90, true, false},  {8, 100, true, true},  {8, 103, true, false}, {8, 120, false, false},
                          {8, 120, true, false}, {8, 120, true, true},  {8, 121, false, false}};

}  // namespace

BOOST_AUTO_TEST_SUITE(cubin_reader)

BOOST_DATA_TEST_CASE(architecture, data::make(targets), target) {
  synthetic::Cubin cubin;
  cubin.abi = target.abi, cubin.arch = target.arch;
  cubin.arch_specific = target.arch_specific, cubin.arch_specific_in_flags = target.in_flags;
  cubin.kernels[0].shared_bytes = 4936;
  cubin.kernels[0].barriers = 5;
  const CubinInfo info = info_of(cubin);
  BOOST_TEST(info.arch == static_cast<int32_t>(target.arch));
  BOOST_TEST(info.arch_specific == target.arch_specific);
  BOOST_REQUIRE(info.kernels.size() == 1u);
  BOOST_TEST(info.kernels[0].static_shared_bytes == 4936);  // the system's 1024 bytes from 9.0 on are not the kernel's
  BOOST_TEST(info.kernels[0].barriers == 5);
}

BOOST_AUTO_TEST_CASE(all_resources) {
  synthetic::Cubin cubin;
  synthetic::Kernel &kernel = cubin.kernels[0];
  kernel = {"attention", 168, 96, 2048, 320, {128, 2, 1}, {64, 3, 2}, 7, 528, {}, {}};
  kernel.spills = {{true, 1}, {true, 2}, {true, 4}, {true, 16}, {false, 4}, {false, 8}};
  const KernelResources resources = kernel_of(cubin);
  BOOST_TEST(resources.name == "attention");
  BOOST_TEST(resources.registers == 168);
  BOOST_TEST(resources.stack_bytes == 96);
  BOOST_TEST(resources.static_shared_bytes == 2048);
  BOOST_TEST(resources.parameter_bytes == 320);
  BOOST_TEST(resources.max_threads_per_block == 256);
  BOOST_TEST(resources.required_threads == 384);
  BOOST_TEST(resources.barriers == 7);
  BOOST_TEST(resources.constant_bytes == 528);
  BOOST_TEST(resources.code_bytes == 7 * 16);
  BOOST_TEST(resources.spill_store_bytes == 23);
  BOOST_TEST(resources.spill_load_bytes == 12);
}

BOOST_AUTO_TEST_CASE(what_is_absent_is_zero) {
  synthetic::Cubin cubin;
  cubin.arch = 120;
  cubin.tool_version = "";
  const KernelResources resources = kernel_of(cubin);
  BOOST_TEST(resources.max_threads_per_block == 0);
  BOOST_TEST(resources.required_threads == 0);
  BOOST_TEST(resources.static_shared_bytes == 0);
  BOOST_TEST(resources.spill_store_bytes == 0);
  BOOST_TEST(info_of(cubin).tool_version == "");
}

BOOST_AUTO_TEST_CASE(toolkit_and_tool_version) {
  synthetic::Cubin cubin;
  BOOST_TEST(info_of(cubin).toolkit == 130);
  BOOST_TEST(info_of(cubin).tool_version == "V13.0.88");
  cubin.abi = 7, cubin.toolkit = 129;
  BOOST_TEST(info_of(cubin).toolkit == 129);
}

// Older compilers do not list spills: a stack frame may then be an array or spills, and 0 would be a lie.
BOOST_AUTO_TEST_CASE(spills_of_an_old_compiler_are_unknown) {
  synthetic::Cubin cubin;
  cubin.abi = 7, cubin.toolkit = 124, cubin.kernels[0].stack_bytes = 8;
  BOOST_TEST(kernel_of(cubin).spill_store_bytes == -1);
  BOOST_TEST(kernel_of(cubin).spill_load_bytes == -1);
  cubin.kernels[0].stack_bytes = 0;
  BOOST_TEST(kernel_of(cubin).spill_store_bytes == 0);
  cubin.toolkit = 129, cubin.kernels[0].stack_bytes = 8;
  BOOST_TEST(kernel_of(cubin).spill_store_bytes == 0);
}

BOOST_AUTO_TEST_CASE(several_kernels_are_sorted_and_kept_apart) {
  synthetic::Cubin cubin;
  cubin.kernels = {{"zeta", 10, 0, 100}, {"alpha", 20, 0, 200}, {"alpha_2", 30, 0, 300}};
  const CubinInfo info = info_of(cubin);
  BOOST_REQUIRE(info.kernels.size() == 3u);
  const char *names[] = {"alpha", "alpha_2", "zeta"};
  for (size_t i = 0; i < 3; ++i) BOOST_TEST(info.kernels[i].name == names[i]);
  BOOST_TEST(info.kernels[0].registers == 20);
  BOOST_TEST(info.kernels[1].static_shared_bytes == 300);
  BOOST_TEST(info.kernels[2].registers == 10);
}

BOOST_AUTO_TEST_CASE(unknown_records_and_annotations_are_skipped) {
  synthetic::Cubin cubin;
  synthetic::append_record(cubin.kernels[0].more_records, 0x7e, {1, 2, 3});
  synthetic::append_short_record(cubin.kernels[0].more_records, 1, 0x7d, 0xffff);
  synthetic::append_record(cubin.kernels[0].more_records, 0x55, {2, 0xffffffff});  // a kind that is no spill
  BOOST_TEST(kernel_of(cubin).spill_store_bytes == 0);
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

struct Damage {
  const char *name, *message;
  std::function<std::vector<uint8_t>()> image;
};
std::ostream &operator<<(std::ostream &stream, const Damage &damage) { return stream << damage.name; }

std::vector<uint8_t> patched(size_t offset, uint64_t value, size_t size) {
  std::vector<uint8_t> image = synthetic::Cubin().image();
  for (size_t i = 0; i < size; ++i) image[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  return image;
}

// Change one field of the header of section `index`.
std::vector<uint8_t> patched_section(size_t index, size_t field_offset, uint64_t value, size_t size) {
  const std::vector<uint8_t> image = synthetic::Cubin().image();
  uint64_t table = 0;
  std::memcpy(&table, image.data() + 40, 8);
  return patched(table + 64 * index + field_offset, value, size);
}

std::vector<uint8_t> with_records(const std::function<void(synthetic::Bytes &)> &add) {
  synthetic::Cubin cubin;
  add(cubin.kernels[0].more_records);
  return cubin.image();
}

const Damage damages[] = {
    {"empty", "shorter than a header", [] { return std::vector<uint8_t>(); }},
    {"63 bytes", "shorter than a header",
     [] {
       auto image = patched(0, 0x7f, 1);
       image.resize(63);
       return image;
     }},
    {"magic", "not those of 64-bit ELF", [] { return patched(0, 0, 1); }},
    {"32 bits", "not those of 64-bit ELF", [] { return patched(4, 1, 1); }},
    {"big-endian", "not those of 64-bit ELF", [] { return patched(5, 2, 1); }},
    {"x86 machine", "machine is 62", [] { return patched(18, 62, 2); }},
    {"relocatable", "not linked", [] { return patched(16, 1, 2); }},
    {"ABI 6", "ABI version is 6", [] { return patched(8, 6, 1); }},
    {"ABI 9", "ABI version is 9", [] { return patched(8, 9, 1); }},
    {"section header size", "do not have 64 bytes", [] { return patched(58, 63, 2); }},
    {"section table far away", "lie outside", [] { return patched(40, 0xfffffffffffffff0, 8); }},
    {"too many sections", "lie outside", [] { return patched(60, 0xffff, 2); }},
    {"no sections", "no table of section names", [] { return patched(60, 0, 2); }},
    {"names index", "no table of section names", [] { return patched(62, 200, 2); }},
    {"section offset", "section 4 lies outside", [] { return patched_section(4, 24, 0xffffffffffffff00, 8); }},
    {"section size", "section 4 lies outside", [] { return patched_section(4, 32, 0xffffffffffffff00, 8); }},
    {"sections overlap", "overlap",
     [] {
       std::vector<uint8_t> image = synthetic::Cubin().image();
       uint64_t table = 0;
       std::memcpy(&table, image.data() + 40, 8);
       synthetic::put<uint64_t>(image, table + 64 * 5 + 24, 0);
       synthetic::put<uint64_t>(image, table + 64 * 5 + 32, image.size());
       return image;
     }},
    {"sections of the processor overlap", "overlap",
     [] {
       std::vector<uint8_t> image = synthetic::Cubin().image();
       uint64_t table = 0;
       std::memcpy(&table, image.data() + 40, 8);
       for (const uint64_t section : {4, 5}) {
         synthetic::put<uint64_t>(image, table + 64 * section + 8, 0x10000000);
         synthetic::put<uint64_t>(image, table + 64 * section + 24, 0);
         synthetic::put<uint64_t>(image, table + 64 * section + 32, image.size());
       }
       return image;
     }},
    {"section name", "no sound name", [] { return patched_section(4, 0, 0xffffff, 4); }},
    {"no symbol table", "no symbol table", [] { return patched_section(3, 4, 1, 4); }},
    {"two symbol tables", "two symbol tables", [] { return patched_section(2, 4, 2, 4); }},
    {"symbol names index", "no names", [] { return patched_section(3, 40, 99, 4); }},
    {"symbol names elsewhere", "no sound name", [] { return patched_section(3, 40, 0, 4); }},
    {"two kernels of one name", "two kernels of the same name",
     [] {
       synthetic::Cubin cubin;
       cubin.kernels.resize(2);
       return cubin.image();
     }},
    {"record format", "unknown format 9",
     [] { return with_records([](auto &bytes) { synthetic::append_short_record(bytes, 9, 1, 1); }); }},
    {"record cut in its head", "cut off", [] { return with_records([](auto &bytes) {
                                                 bytes = {4, 1};
                                               }); }},
    {"record cut in its value", "cut off",
     [] { return with_records([](auto &bytes) { bytes = {4, 1, 8, 0, 1, 2, 3}; }); }},
    {"short launch bounds", "0x05 is shorter",
     [] { return with_records([](auto &bytes) {
            synthetic::append_record(bytes, 5, {8, 8});
          }); }},
    {"short parameter size", "0x19 is shorter",
     [] { return with_records([](auto &bytes) {
            bytes = {4, 0x19, 1, 0, 7};
          }); }},
    {"huge launch bounds", "largest thread block",
     [] { return with_records([](auto &bytes) {
            synthetic::append_record(bytes, 5, {65536, 65536, 65536});
          }); }},
    {"overflowing launch bounds", "largest thread block",
     [] {
       return with_records([](auto &bytes) {
         synthetic::append_record(bytes, 5, {0xffffffff, 0xffffffff, 0xffffffff});
       });
     }},
    {"annotation outside", "outside of the code",
     [] { return with_records([](auto &bytes) {
            synthetic::append_record(bytes, 0x55, {1, 4096});
          }); }},
    {"annotation half outside", "outside of the code",
     [] { return with_records([](auto &bytes) {
            synthetic::append_record(bytes, 0x55, {1, 8});
          }); }},
    {"annotation at the end of numbers", "outside of the code",
     [] { return with_records([](auto &bytes) {
            synthetic::append_record(bytes, 0x55, {1, 0xfffffff8});
          }); }},
    {"huge shared memory", "static shared memory",
     [] {
       synthetic::Cubin cubin;
       cubin.more_sections = {{".nv.shared.kernel", 8, 0, {}, uint64_t{1} << 40, 0}};
       return cubin.image();
     }},
    {"huge register count", "number of registers",
     [] {
       synthetic::Cubin cubin;
       cubin.kernels[0].registers = 0xffffffff;
       return cubin.image();
     }},
    {"huge stack", "stack frame",
     [] {
       synthetic::Cubin cubin;
       cubin.kernels[0].stack_bytes = 0x80000000;
       return cubin.image();
     }},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(cubin_damage)

BOOST_DATA_TEST_CASE(is_named, data::make(damages), damage) { check_corrupt(damage.image(), damage.message); }

BOOST_AUTO_TEST_CASE(note_of_any_shape_is_harmless) {
  for (size_t size = 0; size < 90; ++size) {
    synthetic::Cubin cubin;
    cubin.tool_version = "";
    cubin.more_sections = {{".note.nv.tkinfo", 7, 0, synthetic::Bytes(size, 0xff), 0, 0}};
    BOOST_TEST(info_of(cubin).tool_version == "");
  }
}

// A value or MODULE_CORRUPT, whatever the bytes; a sanitizer build sees any read outside.
BOOST_AUTO_TEST_CASE(no_truncation_or_flip_harms) {
  synthetic::Cubin cubin;
  cubin.arch = 90;
  cubin.kernels = {{"a", 32, 64, 128, 24, {128, 1, 1}, {}, 1, 16, {{true, 4}, {false, 8}}, {}}, {"b"}};
  cubin.kernels[1].constant_bytes = 16;
  const std::vector<uint8_t> image = cubin.image();
  size_t refused = 0;
  for (size_t size = 0; size < image.size(); ++size) refused += !read_cubin(std::span(image).first(size)).ok();
  BOOST_TEST(refused == image.size());  // the section headers stand last, so every cut is seen
  for (size_t bit = 0; bit < image.size() * 8; ++bit) {
    std::vector<uint8_t> flipped = image;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ 1u << bit % 8);
    const Result<CubinInfo> info = read_cubin(flipped);
    if (!info.ok() && info.error().status != FLASHCORE_MODULE_CORRUPT)
      BOOST_ERROR("bit " << bit << ": " << info.error().message);
  }
}

BOOST_AUTO_TEST_CASE(random_damage_is_harmless) {
  std::mt19937 random(20240607);
  const std::vector<uint8_t> image = synthetic::Cubin().image();
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> damaged = image;
    for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    const Result<CubinInfo> info = read_cubin(damaged);
    if (!info.ok() && info.error().status != FLASHCORE_MODULE_CORRUPT)
      BOOST_ERROR("round " << round << ": " << info.error().message);
  }
}

// Many sections over the same bytes would multiply the work; many kernels would multiply the memory.
BOOST_AUTO_TEST_CASE(work_is_bounded) {
  synthetic::Cubin cubin;
  cubin.kernels.resize(1025);
  for (size_t i = 0; i < cubin.kernels.size(); ++i) cubin.kernels[i].name = "k" + std::to_string(i);
  check_corrupt(cubin.image(), "more than 1024 kernels");
  cubin.kernels.pop_back();
  BOOST_TEST(info_of(cubin).kernels.size() == 1024u);
}

BOOST_AUTO_TEST_SUITE_END()
