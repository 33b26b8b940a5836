// SPDX-License-Identifier: Apache-2.0
//
// The smallest file that the stand-in driver loads as a module: an ELF for a CUDA machine with one kernel symbol and no
// code. No real driver would take it.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

inline std::vector<uint8_t> tiny_cubin(const std::string &kernel, int arch) {
  const std::string names = std::string(1, '\0') + kernel + '\0';
  Elf64_Sym symbols[2] = {};
  symbols[1].st_name = 1;
  symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_ABIVERSION] = 8;
  header.e_machine = 190;
  header.e_flags = static_cast<Elf64_Word>(0x06000004 | arch << 8);
  header.e_shoff = sizeof(header);
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  Elf64_Shdr sections[3] = {};
  sections[1].sh_type = SHT_SYMTAB;
  sections[1].sh_link = 2;
  sections[1].sh_offset = sizeof(header) + sizeof(sections);
  sections[1].sh_size = sizeof(symbols);
  sections[2].sh_type = SHT_STRTAB;
  sections[2].sh_offset = sections[1].sh_offset + sizeof(symbols);
  sections[2].sh_size = names.size();
  std::vector<uint8_t> image;
  const auto append = [&image](const void *bytes, size_t count) {
    image.insert(image.end(), static_cast<const uint8_t *>(bytes), static_cast<const uint8_t *>(bytes) + count);
  };
  append(&header, sizeof(header));
  append(sections, sizeof(sections));
  append(symbols, sizeof(symbols));
  append(names.data(), names.size());
  return image;
}
