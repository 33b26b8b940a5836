// SPDX-License-Identifier: Apache-2.0
//
// As much of a cubin as the stand-in needs to load it as a driver would: is it one, for which architecture, which
// kernels. Independent of src/cubin, so that a mistake there does not hide here.
#pragma once

#include <elf.h>

#include <cstring>
#include <set>
#include <string>

namespace fake {

struct CubinImage {
  bool valid = false;
  int arch = 0;
  std::set<std::string> kernels;
};

inline CubinImage read_cubin_image(const void *image) {
  CubinImage cubin;
  const auto *bytes = static_cast<const unsigned char *>(image);
  if (std::memcmp(bytes, ELFMAG, SELFMAG) != 0) return cubin;
  Elf64_Ehdr header;
  std::memcpy(&header, bytes, sizeof(header));
  constexpr int machine_cuda = 190;
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != machine_cuda) return cubin;
  const bool new_flags = header.e_ident[EI_ABIVERSION] >= 8;  // CUDA 13 moved the architecture up by a byte
  cubin.arch = static_cast<int>(new_flags ? header.e_flags >> 8 & 0xff : header.e_flags & 0xff);
  const auto *sections = reinterpret_cast<const Elf64_Shdr *>(bytes + header.e_shoff);
  for (int i = 0; i < header.e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto *names = reinterpret_cast<const char *>(bytes + sections[sections[i].sh_link].sh_offset);
    const auto *symbols = reinterpret_cast<const Elf64_Sym *>(bytes + sections[i].sh_offset);
    for (size_t k = 0; k < sections[i].sh_size / sizeof(Elf64_Sym); ++k)
      if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC) cubin.kernels.insert(names + symbols[k].st_name);
  }
  cubin.valid = true;
  return cubin;
}

}  // namespace fake
