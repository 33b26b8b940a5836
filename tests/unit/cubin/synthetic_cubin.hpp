// SPDX-License-Identifier: Apache-2.0
//
// Writes small CUDA ELF images with chosen contents, so that the reader and the cache can be tested where there is no
// NVRTC, and with images that no compiler makes. The layout is that of NVRTC 12 (ABI 7) and 13 (ABI 8); that real
// images look like this is what test_cubin_nvrtc.cpp shows.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace synthetic {

using Bytes = std::vector<uint8_t>;

template <typename Integer>
void append(Bytes &bytes, Integer value) {
  for (size_t i = 0; i < sizeof(Integer); ++i)
    bytes.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <typename Integer>
void put(Bytes &bytes, size_t offset, Integer value) {
  for (size_t i = 0; i < sizeof(Integer); ++i)
    bytes.at(offset + i) = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
}

inline void append_record(Bytes &bytes, uint8_t attribute, const std::vector<uint32_t> &words) {
  append<uint8_t>(bytes, 4);
  append(bytes, attribute);
  append(bytes, static_cast<uint16_t>(4 * words.size()));
  for (const uint32_t word : words) append(bytes, word);
}

inline void append_short_record(Bytes &bytes, uint8_t format, uint8_t attribute, uint16_t value) {
  append(bytes, format);
  append(bytes, attribute);
  append(bytes, value);
}

struct Spill {
  bool store;
  int width_bytes;
};

struct Kernel {
  std::string name = "kernel";
  uint32_t registers = 32;
  uint32_t stack_bytes = 0;
  uint32_t shared_bytes = 0;  // without the system's share
  uint16_t parameter_bytes = 24;
  std::vector<uint32_t> max_threads;       // x, y, z; empty: no record
  std::vector<uint32_t> required_threads;  // x, y, z; empty: no record
  uint8_t barriers = 0;
  uint32_t constant_bytes = 384;
  std::vector<Spill> spills;
  Bytes more_records;  // appended to .nv.info.<name>
};

struct Section {
  std::string name;
  uint32_t type = 1;
  uint64_t flags = 0;
  Bytes bytes;
  uint64_t no_bits_size = 0;  // for type 8
  uint32_t link = 0;
};

struct Cubin {
  uint8_t abi = 8;
  uint32_t arch = 89;
  bool arch_specific = false;
  bool arch_specific_in_flags = false;  // as CUDA 12.9 does for ABI 8
  uint32_t toolkit = 130;
  std::string tool_version = "V13.0.88";  // empty: no note
  std::vector<Kernel> kernels = {Kernel{}};
  std::vector<Section> more_sections;

  Bytes image() const;

 private:
  uint32_t flags() const;
  Section info_section() const;
  Section note_section() const;
  void add_kernel(const Kernel &kernel, std::vector<Section> &sections) const;
  void add_symbols(std::vector<Section> &sections) const;
};

inline uint32_t Cubin::flags() const {
  if (abi == 7) return arch | 0x500u | (arch_specific ? 0x800u : 0u) | arch << 16;
  return 0x06000000u | arch << 8 | (arch < 100 ? 4u : 2u) | (arch_specific && arch_specific_in_flags ? 8u : 0u);
}

// Symbol 0 is the null symbol and symbol 1 a device function, so a kernel's symbol is its index plus two.
inline Section Cubin::info_section() const {
  Section section{".nv.info", 0x70000000, 0, {}, 0, 0};
  append_record(section.bytes, 0x2f, {1, 255});
  append_record(section.bytes, 0x11, {1, 4096});
  for (uint32_t i = 0; i < kernels.size(); ++i) {
    append_record(section.bytes, 0x2f, {i + 2, kernels[i].registers});
    append_record(section.bytes, 0x11, {i + 2, kernels[i].stack_bytes});
    append_record(section.bytes, 0x12, {i + 2, 0});
  }
  return section;
}

inline Section Cubin::note_section() const {
  Bytes description;
  const std::string tool = "ptxas", text = "Cuda compilation tools, release 13.0, " + tool_version;
  const auto text_offset = static_cast<uint32_t>(1 + tool.size() + 1);
  for (const uint32_t word : {2u, 0u, 1u, text_offset, 0u, 0u}) append(description, word);
  description.push_back(0);
  for (const std::string &string : {tool, text}) {
    description.insert(description.end(), string.begin(), string.end());
    description.push_back(0);
  }
  while (description.size() % 4 != 0) description.push_back(0);
  Section section{".note.nv.tkinfo", 7, 0, {}, 0, 0};
  for (const uint32_t word : {12u, static_cast<uint32_t>(description.size()), 2000u}) append(section.bytes, word);
  const char owner[12] = "NVIDIA Corp";
  section.bytes.insert(section.bytes.end(), owner, owner + 12);
  section.bytes.insert(section.bytes.end(), description.begin(), description.end());
  return section;
}

// One instruction of 16 bytes per spill, after one that spills nothing.
inline void Cubin::add_kernel(const Kernel &kernel, std::vector<Section> &sections) const {
  Section text{".text." + kernel.name, 1, 6, Bytes(16, 0), 0, 0};
  if (abi == 7) text.flags |= uint64_t{kernel.barriers} << 20;
  std::vector<uint32_t> annotations;
  for (const Spill &spill : kernel.spills) {
    annotations.insert(annotations.end(), {1, static_cast<uint32_t>(text.bytes.size())});
    const uint64_t width = spill.width_bytes == 16  ? 6
                           : spill.width_bytes == 8 ? 5
                           : spill.width_bytes == 4 ? 4
                           : spill.width_bytes == 2 ? 2
                                                    : 0;
    append<uint64_t>(text.bytes, 0xabcd0000u | (spill.store ? 0x387u : 0x983u));
    append<uint64_t>(text.bytes, 0xff00000000000000u | width << 9);
  }
  Section info{".nv.info." + kernel.name, 0x70000000, 0, {}, 0, 0};
  append_record(info.bytes, 0x37, {toolkit});
  append_short_record(info.bytes, 3, 0x19, kernel.parameter_bytes);
  append_short_record(info.bytes, 1, 0x35, 0);
  if (abi != 7) append_short_record(info.bytes, 2, 0x4c, kernel.barriers);
  if (!kernel.max_threads.empty()) append_record(info.bytes, 0x05, kernel.max_threads);
  if (!kernel.required_threads.empty()) append_record(info.bytes, 0x10, kernel.required_threads);
  if (!annotations.empty()) append_record(info.bytes, 0x55, annotations);
  info.bytes.insert(info.bytes.end(), kernel.more_records.begin(), kernel.more_records.end());
  sections.push_back(std::move(info));
  sections.push_back(std::move(text));
  if (arch >= 90 || kernel.shared_bytes > 0)
    sections.push_back({".nv.shared." + kernel.name, 8, 3, {}, kernel.shared_bytes + (arch >= 90 ? 1024u : 0u), 0});
  sections.push_back({".nv.constant0." + kernel.name, 1, 2, Bytes(kernel.constant_bytes, 0), 0, 0});
}

inline void Cubin::add_symbols(std::vector<Section> &sections) const {
  Section names{".strtab", 3, 0, Bytes(1, 0), 0, 0}, symbols{".symtab", 2, 0, Bytes(24, 0), 0, 0};
  const auto add = [&](const std::string &name, uint8_t other) {
    append(symbols.bytes, static_cast<uint32_t>(names.bytes.size()));
    append<uint8_t>(symbols.bytes, 0x12);
    append(symbols.bytes, other);
    symbols.bytes.resize(symbols.bytes.size() + 18, 0);
    names.bytes.insert(names.bytes.end(), name.begin(), name.end());
    names.bytes.push_back(0);
  };
  add("device_function", 0);
  for (const Kernel &kernel : kernels) add(kernel.name, 0x10);
  symbols.link = static_cast<uint32_t>(sections.size());
  sections.push_back(std::move(names));
  sections.push_back(std::move(symbols));
}

inline Bytes Cubin::image() const {
  std::vector<Section> sections{{"", 0, 0, {}, 0, 0}, {".shstrtab", 3, 0, Bytes(1, 0), 0, 0}};
  add_symbols(sections);
  if (!tool_version.empty()) sections.push_back(note_section());
  sections.push_back(info_section());
  if (abi != 7 && arch >= 90) {
    Section compat{".nv.compat", 0x70000086, 0, {}, 0, 0};
    append_short_record(compat.bytes, 2, 0x09, arch_specific && !arch_specific_in_flags ? 1 : 0);
    append_record(compat.bytes, 0x0b, {0, 0});
    sections.push_back(std::move(compat));
  }
  for (const Kernel &kernel : kernels) add_kernel(kernel, sections);
  sections.insert(sections.end(), more_sections.begin(), more_sections.end());

  std::vector<uint32_t> name_offsets;
  for (const Section &section : sections) {
    Bytes &names = sections[1].bytes;
    name_offsets.push_back(section.name.empty() ? 0 : static_cast<uint32_t>(names.size()));
    if (section.name.empty()) continue;
    names.insert(names.end(), section.name.begin(), section.name.end());
    names.push_back(0);
  }
  Bytes out(64, 0), headers;
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section &section = sections[i];
    while (out.size() % 8 != 0) out.push_back(0);
    append(headers, name_offsets[i]);
    append(headers, section.type);
    for (const uint64_t word : {section.flags, uint64_t{0}, uint64_t{out.size()},
                                section.type == 8 ? section.no_bits_size : section.bytes.size()})
      append(headers, word);
    append(headers, section.link);
    append<uint32_t>(headers, 0);
    append<uint64_t>(headers, 1);
    append<uint64_t>(headers, section.type == 2 ? 24 : 0);
    out.insert(out.end(), section.bytes.begin(), section.bytes.end());
  }
  while (out.size() % 8 != 0) out.push_back(0);
  const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1, static_cast<uint8_t>(abi == 7 ? 0x33 : 0x41), abi};
  std::copy(std::begin(ident), std::end(ident), out.begin());
  put<uint16_t>(out, 16, 2);    // executable
  put<uint16_t>(out, 18, 190);  // CUDA
  put<uint32_t>(out, 20, abi == 7 ? toolkit : 1);
  put<uint64_t>(out, 40, out.size());
  put<uint32_t>(out, 48, flags());
  put<uint16_t>(out, 52, 64);
  put<uint16_t>(out, 58, 64);
  put<uint16_t>(out, 60, static_cast<uint16_t>(sections.size()));
  put<uint16_t>(out, 62, 1);
  out.insert(out.end(), headers.begin(), headers.end());
  return out;
}

}  // namespace synthetic
