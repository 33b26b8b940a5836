// SPDX-License-Identifier: Apache-2.0
//
// A bounded view of a 64-bit little-endian ELF image: header, sections, symbols. It knows the ELF of any machine; what
// CUDA puts into it is cubin_reader's. Nothing is copied: the image must outlive the view.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace flashcore {

struct ElfSection {
  std::string_view name;
  uint32_t type = 0;
  uint64_t flags = 0;
  uint64_t size = 0;  // of SHT_NOBITS too, which has no bytes
  uint32_t link = 0;
  std::span<const uint8_t> bytes;  // within the image
};

struct ElfSymbol {
  uint32_t index = 0;
  std::string_view name;
  uint8_t other = 0;  // st_other: visibility and what the machine puts beside it
};

struct ElfImage {
  uint16_t type = 0, machine = 0;
  uint8_t abi_version = 0;
  uint32_t version = 0, flags = 0;
  std::vector<ElfSection> sections;
  // Functions (STT_FUNC) of the symbol table, in its order.
  std::vector<ElfSymbol> functions;
};

// MODULE_CORRUPT names the rule that the image breaks.
Result<ElfImage> read_elf(std::span<const uint8_t> image);

// The little-endian integer at `offset`; false: it does not lie within `bytes`.
template <typename Integer>
bool load_integer(std::span<const uint8_t> bytes, uint64_t offset, Integer &value) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(Integer)) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof(Integer));
  return true;
}

}  // namespace flashcore
