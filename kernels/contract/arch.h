// SPDX-License-Identifier: Apache-2.0
//
// The architectures: every name that modules are compiled for, and what is taken for granted of each compute capability.
// Whoever is given a name, looks for modules, compiles or asks for a limit reads these tables; a new architecture is a row of
// each. They hold what NVRTC 12.9 and 13.0 compile for, from 8.0 on, the least that a kernel needs.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// What a multiprocessor does in a clock, and its clock.
struct Rates {
  double clock_mhz;    // under this load; boost where nothing was measured
  double tensor_flop;  // dense 16-bit products with float32 sums, as mma.sync reaches them
  double exponentials;
  double instructions;  // issued, each for a warp
  double shared_bytes;
  double l2_bytes;      // its share of what the L2 cache delivers
  double memory_bytes;  // its share of what memory delivers
};

// A compute capability. Shared memory is a block's after the opt-in: capacity less the 1 KiB that CUDA keeps.
struct Arch {
  int32_t number;  // 89 for 8.9
  bool tegra;      // its modules run nowhere else, and no others run there
  int32_t shared_bytes_per_block;
  int32_t resident_threads;  // of a multiprocessor
  Rates rates;
};

#ifdef __CUDACC_RTC__
// NVRTC reads the cost functions of the passports, and nothing on the device calls them: tables would only become data of every module.
constexpr Arch arch_like(int32_t) { return {}; }
#else
inline constexpr Rates a100_rates = {1410, 2048, 16, 4, 128, 33, 9.5};  // 312 TFLOP/s on 108 multiprocessors
inline constexpr Rates a10_rates = {1695, 1024, 16, 4, 128, 16, 4.5};   // 125 TFLOP/s on 72
inline constexpr Rates h200_rates = {1755, 2560, 16,  4,
                                     128,  40,   18.8};               // mma.sync reaches about 62 % of the wgmma rate
inline constexpr Rates l4_rates = {2040, 1024, 16, 4, 128, 16, 2.4};  // 121 TFLOP/s on 58; and its neighbours
inline constexpr Arch archs[] = {
    {80, false, 163 << 10, 2048, a100_rates},  {86, false, 99 << 10, 1536, a10_rates},
    {87, true, 163 << 10, 1536, l4_rates},     {88, false, 99 << 10, 1536, l4_rates},
    {89, false, 99 << 10, 1536, l4_rates},     {90, false, 227 << 10, 2048, h200_rates},
    {100, false, 227 << 10, 2048, h200_rates}, {101, true, 227 << 10, 2048, h200_rates},
    {103, false, 227 << 10, 2048, h200_rates}, {110, true, 227 << 10, 2048, h200_rates},
    {120, false, 99 << 10, 1536, l4_rates},    {121, false, 99 << 10, 1536, l4_rates},
};

// A name as NVRTC's --gpu-architecture takes it. Modules of "sm_89" run on 8.9 and on higher minors of its major; with an "f" on the
// same devices, with the instructions of the family; with an "a" on exactly this compute capability, with all of its instructions.
struct ArchName {
  const char *text;
  int32_t number;
  char suffix;  // 0, 'a' or 'f'
};
inline constexpr ArchName arch_names[] = {
    {"sm_80", 80, 0},      {"sm_86", 86, 0},      {"sm_87", 87, 0},      {"sm_88", 88, 0},      {"sm_89", 89, 0},
    {"sm_90", 90, 0},      {"sm_90a", 90, 'a'},   {"sm_100", 100, 0},    {"sm_100a", 100, 'a'}, {"sm_100f", 100, 'f'},
    {"sm_101", 101, 0},    {"sm_101a", 101, 'a'}, {"sm_101f", 101, 'f'}, {"sm_103", 103, 0},    {"sm_103a", 103, 'a'},
    {"sm_103f", 103, 'f'}, {"sm_110", 110, 0},    {"sm_110a", 110, 'a'}, {"sm_110f", 110, 'f'}, {"sm_120", 120, 0},
    {"sm_120a", 120, 'a'}, {"sm_120f", 120, 'f'}, {"sm_121", 121, 0},    {"sm_121a", 121, 'a'}, {"sm_121f", 121, 'f'},
};

// What devices of a compute capability have their modules compiled for, where the plain name is not it.
constexpr char usual_suffix(int32_t number) { return number == 90 ? 'a' : '\0'; }

// nullptr: this version knows no such architecture. A newer driver's device may be one.
constexpr const Arch *find_arch(int32_t number) {
  for (const Arch &arch : archs)
    if (arch.number == number) return &arch;
  return nullptr;
}

// The facts of a compute capability, or of the nearest one below it that is known.
constexpr Arch arch_like(int32_t number) {
  const Arch *nearest = &archs[0];
  for (const Arch &arch : archs)
    if (arch.number <= number) nearest = &arch;
  return *nearest;
}

constexpr bool same_text(const char *a, const char *b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

constexpr bool is_arch_name(const char *text) {
  for (const ArchName &name : arch_names)
    if (same_text(name.text, text)) return true;
  return false;
}

// 90 of "sm_90a"; 0 where `text` has another form than the table's names: sm_, two or three digits, at most one a or f. A name may be well
// formed and not in the table: folders may hold what a newer version of the library left there.
constexpr int32_t arch_number(const char *text) {
  const char prefix[] = "sm_";
  for (int32_t i = 0; i < 3; ++i, ++text)
    if (*text != prefix[i]) return 0;
  int32_t number = 0, digits = 0;
  for (; *text >= '0' && *text <= '9' && digits < 4; ++text, ++digits) number = number * 10 + (*text - '0');
  if (*text == 'a' || *text == 'f') ++text;
  return *text == '\0' && number >= 10 && ((digits == 2 && number < 100) || (digits == 3 && number >= 100)) ? number
                                                                                                            : 0;
}

// Without addresses: g++ 12 with -fsanitize=undefined takes no comparison of one with nullptr for a constant.
constexpr bool tables_agree() {
  for (const ArchName &name : arch_names)
    if (arch_like(name.number).number != name.number || arch_number(name.text) != name.number) return false;
  for (const Arch &arch : archs) {
    bool named = false;
    for (const ArchName &name : arch_names)
      named = named || (name.number == arch.number && name.suffix == usual_suffix(arch.number));
    if (!named) return false;
  }
  return true;
}
static_assert(tables_agree(),
              "every name has its compute capability, and every one of these the name that its devices use");
#endif

}  // namespace flashcore::kernels
