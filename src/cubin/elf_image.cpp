// SPDX-License-Identifier: Apache-2.0
//
// Time and memory are bounded as well as offsets: names are cut at 4 KiB, and the sections' bytes may not add up to
// more than the image, of two kinds each, so that overlapping sections cannot make a small file slow.
#include "cubin/elf_image.hpp"

#include <algorithm>
#include <bit>
#include <string>

namespace flashcore {
namespace {

static_assert(std::endian::native == std::endian::little, "integers are loaded as they lie in the image");

constexpr size_t header_bytes = 64, section_header_bytes = 64, symbol_bytes = 24;
constexpr size_t name_limit_bytes = 4096, function_limit = 65536;
constexpr uint32_t section_symbols = 2, section_no_bits = 8;  // SHT_SYMTAB, SHT_NOBITS
constexpr uint64_t flags_of_processor = 0xf0000000;           // SHF_MASKPROC
constexpr uint8_t symbol_function = 2;                        // STT_FUNC

Error corrupt(const std::string &reason) {
  return {FLASHCORE_MODULE_CORRUPT, "the cubin is no sound ELF image: " + reason};
}

struct SectionHeader {
  uint32_t name, type;
  uint64_t flags, address, offset, size;
  uint32_t link, info;
  uint64_t alignment, entry_bytes;
};
static_assert(sizeof(SectionHeader) == section_header_bytes);

struct SymbolEntry {
  uint32_t name;
  uint8_t info, other;
  uint16_t section;
  uint64_t value, size;
};
static_assert(sizeof(SymbolEntry) == symbol_bytes);

bool string_at(std::span<const uint8_t> table, uint64_t offset, std::string_view &text) {
  if (offset >= table.size()) return false;
  const auto tail = table.subspan(offset, std::min<size_t>(table.size() - offset, name_limit_bytes));
  const void *end = std::memchr(tail.data(), 0, tail.size());
  if (end == nullptr) return false;
  text = {reinterpret_cast<const char *>(tail.data()),
          static_cast<size_t>(static_cast<const uint8_t *>(end) - tail.data())};
  return true;
}

Status read_header(std::span<const uint8_t> image, ElfImage &elf) {
  constexpr uint8_t magic[] = {0x7f, 'E', 'L', 'F', /* 64 bits */ 2, /* little-endian */ 1};
  if (image.size() < header_bytes) return corrupt("it is shorter than a header");
  if (std::memcmp(image.data(), magic, sizeof(magic)) != 0)
    return corrupt("its first bytes are not those of 64-bit ELF");
  elf.abi_version = image[8];
  load_integer(image, 16, elf.type);
  load_integer(image, 18, elf.machine);
  load_integer(image, 20, elf.version);
  load_integer(image, 48, elf.flags);
  return success();
}

Status read_sections(std::span<const uint8_t> image, ElfImage &elf) {
  uint64_t table = 0, total = 0, total_of_processor = 0;
  uint16_t entry_bytes = 0, count = 0, names_index = 0;
  load_integer(image, 40, table);
  load_integer(image, 58, entry_bytes);
  load_integer(image, 60, count);
  load_integer(image, 62, names_index);
  if (entry_bytes != section_header_bytes) return corrupt("its section headers do not have 64 bytes");
  if (names_index >= count) return corrupt("it has no table of section names");
  if (table > image.size() || image.size() - table < size_t{count} * section_header_bytes)
    return corrupt("its section headers lie outside of it");
  std::vector<uint32_t> name_offsets(count);
  elf.sections.resize(count);
  for (size_t i = 0; i < count; ++i) {
    SectionHeader header;
    load_integer(image, table + i * section_header_bytes, header);
    ElfSection &section = elf.sections[i];
    section.type = header.type, section.flags = header.flags, section.size = header.size, section.link = header.link;
    name_offsets[i] = header.name;
    if (header.type == section_no_bits || header.type == 0) continue;
    if (header.offset > image.size() || image.size() - header.offset < header.size)
      return corrupt("section " + std::to_string(i) + " lies outside of it");
    section.bytes = image.subspan(header.offset, header.size);
    // From sm_100 on sections .nv.merc.*, marked as the processor's own, are in part those of constants and globals once more.
    uint64_t &sum = (header.flags & flags_of_processor) != 0 ? total_of_processor : total;
    if (sum += header.size; sum > image.size()) return corrupt("its sections overlap");
  }
  for (size_t i = 0; i < count; ++i)
    if (!string_at(elf.sections[names_index].bytes, name_offsets[i], elf.sections[i].name))
      return corrupt("section " + std::to_string(i) + " has no sound name");
  return success();
}

Status read_functions(ElfImage &elf) {
  const ElfSection *symbols = nullptr;
  for (const ElfSection &section : elf.sections) {
    if (section.type != section_symbols) continue;
    if (symbols != nullptr) return corrupt("it has two symbol tables");
    symbols = &section;
  }
  if (symbols == nullptr) return corrupt("it has no symbol table");
  if (symbols->link >= elf.sections.size()) return corrupt("its symbol table has no names");
  const std::span<const uint8_t> names = elf.sections[symbols->link].bytes;
  SymbolEntry entry;
  for (uint32_t i = 0; load_integer(symbols->bytes, uint64_t{i} * symbol_bytes, entry); ++i) {
    if ((entry.info & 15) != symbol_function) continue;
    if (elf.functions.size() == function_limit) return corrupt("it has more than 65536 functions");
    ElfSymbol symbol{i, {}, entry.other};
    if (!string_at(names, entry.name, symbol.name))
      return corrupt("symbol " + std::to_string(i) + " has no sound name");
    elf.functions.push_back(symbol);
  }
  return success();
}

}  // namespace

Result<ElfImage> read_elf(std::span<const uint8_t> image) {
  ElfImage elf;
  FLASHCORE_TRY(read_header(image, elf));
  FLASHCORE_TRY(read_sections(image, elf));
  FLASHCORE_TRY(read_functions(elf));
  return elf;
}

}  // namespace flashcore
