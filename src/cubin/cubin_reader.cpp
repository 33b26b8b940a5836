// SPDX-License-Identifier: Apache-2.0
//
// Where each fact stands in the image. NVIDIA documents none of it; the codes are those of public tables, and every
// value read here is compared in the tests with what ptxas prints for the same compile (NVRTC 12.4, 12.9 and 13.0).
//
//   header              e_machine 190. EI_ABIVERSION 7: CUDA 12, compute capability below 10. 8: CUDA 13, and CUDA 12 from
//                       10.0 on
//   architecture        e_flags, bits 0-7 (ABI 7) or 8-15 (ABI 8)
//   "a" target          e_flags 0x800 (ABI 7); ABI 8: e_flags 0x8 (CUDA 12.9) or section .nv.compat, attribute 9 == 1
//                       (CUDA 13)
//   kernels             function symbols with st_other & 0x10
//   .nv.info            records for all functions, by symbol index
//   .nv.info.<kernel>   records of one kernel
//   .text.<kernel>, .nv.shared.<kernel>, .nv.constant0.<kernel>: their sizes
#include "cubin/cubin_reader.hpp"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "cubin/elf_image.hpp"

namespace flashcore {
namespace {

constexpr uint16_t machine_cuda = 190, type_executable = 2;
constexpr uint8_t abi_cuda12 = 7, abi_cuda13 = 8;
constexpr uint8_t symbol_is_kernel = 0x10;
constexpr size_t kernel_limit = 1024;

// From compute capability 9.0 on the first 1024 bytes of every block's shared memory belong to the system; ptxas counts
// them in the section's size and not in what it prints.
constexpr int32_t reserved_shared_from_arch = 90;
constexpr int64_t reserved_shared_bytes = 1024;

// The first toolkit seen to list spill instructions: 12.4 does not, 12.9 does.
constexpr int32_t first_toolkit_with_spills = 129;

enum Attribute : uint8_t {
  max_threads = 0x05,         // u32 x, y, z
  required_threads = 0x10,    // u32 x, y, z
  frame_size = 0x11,          // u32 symbol, u32 bytes
  parameter_bytes = 0x19,     // u16
  register_count = 0x2f,      // u32 symbol, u32 registers
  toolkit_version = 0x37,     // u32: 130 for CUDA 13.0
  number_of_barriers = 0x4c,  // u8
  annotations = 0x55          // {u32 kind, u32 offset of an instruction}...; kind 1: the instruction spills
};
constexpr uint8_t compat_arch_specific = 0x09;

Error corrupt(const std::string &reason) { return {FLASHCORE_MODULE_CORRUPT, "the cubin is not sound: " + reason}; }

struct Kernel {
  KernelResources resources;
  std::span<const uint8_t> code;
  uint64_t code_flags = 0;
  std::vector<std::span<const uint8_t>> annotations;
};

struct Reader {
  ElfImage elf;
  CubinInfo info;
  std::vector<Kernel> kernels;
  std::unordered_map<std::string_view, size_t> kernel_by_name;
  std::unordered_map<uint32_t, size_t> kernel_by_symbol;
};

struct Record {
  uint8_t attribute;
  std::span<const uint8_t> value;
};

// Call `take` for every record: u8 format, u8 attribute, then u16 length and bytes (format 4) or two bytes (1, 2, 3).
template <typename Take>
Status for_each_record(const ElfSection &section, Take take) {
  std::span<const uint8_t> rest = section.bytes;
  while (!rest.empty()) {
    if (rest.size() < 4) return corrupt("a record of " + std::string(section.name) + " is cut off");
    const uint8_t format = rest[0];
    if (format < 1 || format > 4)
      return corrupt("a record of " + std::string(section.name) + " has the unknown format " + std::to_string(format));
    uint16_t length = 0;
    if (format == 4) load_integer(rest, 2, length);
    const size_t value_begin = format == 4 ? 4 : 2, value_bytes = format == 4 ? length : 2;
    if (rest.size() - value_begin < value_bytes)
      return corrupt("a record of " + std::string(section.name) + " is cut off");
    FLASHCORE_TRY(take(Record{rest[1], rest.subspan(value_begin, value_bytes)}));
    rest = rest.subspan(value_begin + value_bytes);
  }
  return success();
}

template <typename Integer>
Status load_value(const Record &record, size_t offset, Integer &value) {
  if (load_integer(record.value, offset, value)) return success();
  return corrupt("record 0x" + std::string(1, "0123456789abcdef"[record.attribute >> 4]) +
                 std::string(1, "0123456789abcdef"[record.attribute & 15]) + " is shorter than its value");
}

Status to_count(uint64_t value, const char *what, int32_t &out) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()))
    return corrupt(std::string(what) + " is " + std::to_string(value));
  out = static_cast<int32_t>(value);
  return success();
}

Status read_header(Reader &reader) {
  const ElfImage &elf = reader.elf;
  if (elf.machine != machine_cuda) return corrupt("its machine is " + std::to_string(elf.machine) + ", not 190 (CUDA)");
  if (elf.type != type_executable) return corrupt("it is not linked (ELF type " + std::to_string(elf.type) + ")");
  if (elf.abi_version == abi_cuda12) {
    reader.info.arch = static_cast<int32_t>(elf.flags & 0xff);
    reader.info.arch_specific = (elf.flags & 0x800) != 0;
    reader.info.toolkit = static_cast<int32_t>(elf.version & 0xffff);
    return success();
  }
  if (elf.abi_version == abi_cuda13) {
    reader.info.arch = static_cast<int32_t>(elf.flags >> 8 & 0xff);
    reader.info.arch_specific = (elf.flags & 0x8) != 0;
    return success();
  }
  return corrupt("its ELF ABI version is " + std::to_string(elf.abi_version) + "; known are 7 and 8 (CUDA 12 and 13)");
}

Status collect_kernels(Reader &reader) {
  for (const ElfSymbol &symbol : reader.elf.functions) {
    if ((symbol.other & symbol_is_kernel) == 0) continue;
    if (reader.kernels.size() == kernel_limit) return corrupt("it has more than 1024 kernels");
    if (!reader.kernel_by_name.emplace(symbol.name, reader.kernels.size()).second)
      return corrupt("it has two kernels of the same name");
    reader.kernel_by_symbol.emplace(symbol.index, reader.kernels.size());
    reader.kernels.emplace_back().resources.name = symbol.name;
  }
  return success();
}

Status read_product(const Record &record, const char *what, int32_t &out) {
  uint64_t product = 1;
  for (size_t i = 0; i < 3; ++i) {
    uint32_t factor = 0;
    FLASHCORE_TRY(load_value(record, 4 * i, factor));
    // Each step stays below 2^63: a product past 2^31 is refused before the next factor.
    FLASHCORE_TRY(to_count(product *= factor, what, out));
  }
  return success();
}

Status read_module_record(Reader &reader, const Record &record) {
  if (record.attribute != register_count && record.attribute != frame_size) return success();
  uint32_t symbol = 0, value = 0;
  FLASHCORE_TRY(load_value(record, 0, symbol));
  FLASHCORE_TRY(load_value(record, 4, value));
  const auto found = reader.kernel_by_symbol.find(symbol);
  if (found == reader.kernel_by_symbol.end()) return success();  // a device function
  KernelResources &resources = reader.kernels[found->second].resources;
  if (record.attribute == register_count) return to_count(value, "a number of registers", resources.registers);
  return to_count(value, "a stack frame", resources.stack_bytes);
}

Status read_kernel_record(Reader &reader, Kernel &kernel, const Record &record) {
  KernelResources &resources = kernel.resources;
  switch (record.attribute) {
    case max_threads:
      return read_product(record, "the largest thread block", resources.max_threads_per_block);
    case required_threads:
      return read_product(record, "the required thread block", resources.required_threads);
    case parameter_bytes: {
      uint16_t bytes = 0;
      FLASHCORE_TRY(load_value(record, 0, bytes));
      resources.parameter_bytes = bytes;
      return success();
    }
    case toolkit_version: {
      uint32_t version = 0;
      FLASHCORE_TRY(load_value(record, 0, version));
      return to_count(version, "the toolkit version", reader.info.toolkit);
    }
    case number_of_barriers: {
      uint8_t barriers = 0;
      FLASHCORE_TRY(load_value(record, 0, barriers));
      resources.barriers = barriers;
      return success();
    }
    case annotations:
      kernel.annotations.push_back(record.value);
      return success();
    default:
      return success();
  }
}

// "Cuda compilation tools, release 13.0, V13.0.88": a note of type 2000 whose fourth word says where this text begins
// behind six words. Told for information only, so a note of another shape is no error.
std::string tool_version(std::span<const uint8_t> note) {
  uint32_t name_bytes = 0, description_bytes = 0, type = 0, text_offset = 0;
  if (!load_integer(note, 0, name_bytes) || !load_integer(note, 4, description_bytes) || !load_integer(note, 8, type))
    return {};
  const uint64_t begin = 12 + (uint64_t{name_bytes} + 3) / 4 * 4;
  if (type != 2000 || begin > note.size() || !load_integer(note, begin + 12, text_offset)) return {};
  const uint64_t text_begin = begin + 24 + text_offset;
  if (text_begin >= note.size()) return {};
  std::string_view text(reinterpret_cast<const char *>(note.data() + text_begin), note.size() - text_begin);
  text = text.substr(0, std::min<size_t>(text.find('\0'), 256));
  const size_t version = text.rfind(", V");
  return version == std::string_view::npos ? std::string() : std::string(text.substr(version + 2));
}

Status read_shared_size(const Reader &reader, const ElfSection &section, KernelResources &resources) {
  FLASHCORE_TRY(to_count(section.size, "static shared memory", resources.static_shared_bytes));
  if (reader.info.arch >= reserved_shared_from_arch)
    resources.static_shared_bytes =
        static_cast<int32_t>(std::max<int64_t>(0, resources.static_shared_bytes - reserved_shared_bytes));
  return success();
}

Status read_kernel_section(Reader &reader, const ElfSection &section) {
  static constexpr std::string_view prefixes[] = {".nv.info.", ".text.", ".nv.shared.", ".nv.constant0."};
  for (size_t i = 0; i < std::size(prefixes); ++i) {
    if (!section.name.starts_with(prefixes[i])) continue;
    const auto found = reader.kernel_by_name.find(section.name.substr(prefixes[i].size()));
    if (found == reader.kernel_by_name.end()) continue;
    Kernel &kernel = reader.kernels[found->second];
    if (i == 0)
      return for_each_record(section, [&](const Record &record) { return read_kernel_record(reader, kernel, record); });
    if (i == 2) return read_shared_size(reader, section, kernel.resources);
    if (i == 3) return to_count(section.size, "constant bank 0", kernel.resources.constant_bytes);
    kernel.code = section.bytes, kernel.code_flags = section.flags;
    kernel.resources.code_bytes = static_cast<int64_t>(section.bytes.size());
    return success();
  }
  return success();
}

Status read_section(Reader &reader, const ElfSection &section) {
  if (section.name == ".nv.info")
    return for_each_record(section, [&](const Record &record) { return read_module_record(reader, record); });
  if (section.name == ".nv.compat")
    return for_each_record(section, [&](const Record &record) {
      if (record.attribute == compat_arch_specific && !record.value.empty() && record.value[0] == 1)
        reader.info.arch_specific = true;
      return success();
    });
  if (section.name == ".note.nv.tkinfo") reader.info.tool_version = tool_version(section.bytes);
  return read_kernel_section(reader, section);
}

// Bytes that the annotated instructions move: STL stores, LDL loads, bits 9-11 of the high word give the width. The
// annotations cover the kernel's whole section, so functions that ptxas placed in it count too.
Status count_spills(const Reader &reader, Kernel &kernel) {
  constexpr uint32_t kind_spill = 1, opcode_store = 0x387, opcode_load = 0x983;
  constexpr int32_t width_bytes[8] = {1, 1, 2, 2, 4, 8, 16, 0};
  KernelResources &resources = kernel.resources;
  if (kernel.annotations.empty() && resources.stack_bytes > 0 && reader.info.toolkit < first_toolkit_with_spills)
    resources.spill_store_bytes = resources.spill_load_bytes = -1;
  for (const std::span<const uint8_t> list : kernel.annotations) {
    for (size_t at = 0; at + 8 <= list.size(); at += 8) {
      uint32_t kind = 0, offset = 0;
      uint64_t low = 0, high = 0;
      load_integer(list, at, kind);
      load_integer(list, at + 4, offset);
      if (kind != kind_spill) continue;
      if (!load_integer(kernel.code, offset, low) || !load_integer(kernel.code, uint64_t{offset} + 8, high))
        return corrupt("an annotation points outside of the code of " + resources.name);
      const int32_t bytes = width_bytes[high >> 9 & 7];
      if ((low & 0xfff) == opcode_store) resources.spill_store_bytes += bytes;
      if ((low & 0xfff) == opcode_load) resources.spill_load_bytes += bytes;
    }
  }
  return success();
}

}  // namespace

Result<CubinInfo> read_cubin(std::span<const uint8_t> image) {
  Reader reader;
  FLASHCORE_TRY_ASSIGN(reader.elf, read_elf(image));
  FLASHCORE_TRY(read_header(reader));
  FLASHCORE_TRY(collect_kernels(reader));
  for (const ElfSection &section : reader.elf.sections) FLASHCORE_TRY(read_section(reader, section));
  for (Kernel &kernel : reader.kernels) {
    FLASHCORE_TRY(count_spills(reader, kernel));
    // ABI 7 has no record of the barriers; they stand in the flags of the code's section.
    if (reader.elf.abi_version == abi_cuda12)
      kernel.resources.barriers = static_cast<int32_t>(kernel.code_flags >> 20 & 0x7f);
    reader.info.kernels.push_back(std::move(kernel.resources));
  }
  std::sort(reader.info.kernels.begin(), reader.info.kernels.end(),
            [](const KernelResources &a, const KernelResources &b) { return a.name < b.name; });
  return std::move(reader.info);
}

Result<std::span<const uint8_t>> kernel_code(std::span<const uint8_t> image, std::string_view kernel) {
  FLASHCORE_TRY_ASSIGN(const ElfImage elf, read_elf(image));
  for (const ElfSection &section : elf.sections)
    if (section.name.starts_with(".text.") && section.name.substr(6) == kernel) return section.bytes;
  return corrupt("it has no code of " + std::string(kernel));
}

}  // namespace flashcore
