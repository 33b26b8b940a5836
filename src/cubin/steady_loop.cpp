// SPDX-License-Identifier: Apache-2.0
#include "cubin/steady_loop.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace flashcore {
namespace {

constexpr int64_t instruction_bytes = 16;

// Bits 0-8; bits 9-11 say whether the operands are registers, constants or immediates.
enum Opcode : uint32_t {
  op_fmnmx = 0x009,
  op_ffma = 0x023,
  op_ldsm = 0x03b,
  op_hmma = 0x03c,
  op_mufu = 0x108,
  op_branch = 0x147,
  op_exit = 0x14d,
  op_hgmma = 0x1f0,
};

struct Instruction {
  uint64_t low, high;

  uint32_t opcode() const { return low & 0x1ff; }
  // Bits 12-15: the predicate, 7 is "always".
  bool conditional() const { return (low >> 12 & 0xf) != 7; }
  // Of a branch: bytes from its own end. A 48-bit multiple of 4 from bit 34 on; from 9.0 on its low 8 bits stand at bit 16
  // and the rest from bit 34 on. BRA.DIV has other bits at 24 and is never a loop's.
  int64_t displacement_bytes(int32_t arch) const {
    const uint64_t field = low >> 34 | (high & 0x3ffff) << 30;
    const int64_t high_part = static_cast<int64_t>(field << 16) >> 16;  // sign of bit 47
    return (arch >= 90 ? high_part * 256 + static_cast<int64_t>(low >> 16 & 0xff) : high_part) * 4;
  }
};

struct Branch {
  int64_t at, target;  // indices of instructions
  bool conditional;
};

struct Code {
  std::vector<Instruction> instructions;
  std::vector<Branch> branches;  // in the order of `at`
  // How many matrix products, ldmatrix and exits that are always taken stand before an instruction, and one more for the end.
  std::vector<int32_t> products_before, ldsm_before, ends_before;
};

bool is_product(const Instruction &instruction) {
  return instruction.opcode() == op_hmma || instruction.opcode() == op_hgmma;
}

Code decode(std::span<const uint8_t> bytes, int32_t arch) {
  Code code;
  const auto count = static_cast<int64_t>(bytes.size()) / instruction_bytes;
  const auto count_also = [](std::vector<int32_t> &before, bool here) {
    before.push_back(before.back() + (here ? 1 : 0));
  };
  code.products_before.push_back(0), code.ldsm_before.push_back(0), code.ends_before.push_back(0);
  for (int64_t i = 0; i < count; ++i) {
    Instruction instruction;
    std::memcpy(&instruction, bytes.data() + i * instruction_bytes, sizeof(instruction));
    code.instructions.push_back(instruction);
    count_also(code.products_before, is_product(instruction));
    count_also(code.ldsm_before, instruction.opcode() == op_ldsm);
    count_also(code.ends_before, instruction.opcode() == op_exit && !instruction.conditional());
    if (instruction.opcode() != op_branch) continue;
    const int64_t displacement = instruction.displacement_bytes(arch);
    const int64_t target = i + 1 + displacement / instruction_bytes;
    if (displacement % instruction_bytes == 0 && target >= 0 && target < count)
      code.branches.push_back({i, target, instruction.conditional()});
  }
  return code;
}

int32_t count(const std::vector<int32_t> &before, int64_t begin, int64_t end) {
  return before[static_cast<size_t>(end)] - before[static_cast<size_t>(begin)];
}

// One pass over branches and instructions together: the file may be made to have as many of both as fit in. What a branch may jump
// over is beside the work when it has no matrix product, or when it loads no matrix in a loop that does.
SteadyLoop count_classes(const Code &code, const Branch &loop) {
  const bool loads_matrices = count(code.ldsm_before, loop.target, loop.at + 1) > 0;
  const auto is_beside_the_work = [&](int64_t begin, int64_t end) {
    return count(code.products_before, begin, end) == 0 || (loads_matrices && count(code.ldsm_before, begin, end) == 0);
  };
  auto branch = std::lower_bound(code.branches.begin(), code.branches.end(), loop.target,
                                 [](const Branch &one, int64_t at) { return one.at < at; });
  int64_t skipped_until = 0;
  SteadyLoop counts;
  counts.first_byte = loop.target * instruction_bytes;
  counts.bytes = (loop.at + 1 - loop.target) * instruction_bytes;
  for (int64_t i = loop.target; i <= loop.at; ++i) {
    const bool skipped = i < skipped_until;
    if (branch != code.branches.end() && branch->at == i) {
      if (branch->conditional && branch->target > i && branch->target <= loop.at &&
          is_beside_the_work(i, branch->target))
        skipped_until = std::max(skipped_until, branch->target);
      ++branch;
    }
    if (skipped) {
      ++counts.skipped;
      continue;
    }
    switch (code.instructions[static_cast<size_t>(i)].opcode()) {
      case op_hmma:
        ++counts.hmma;
        break;
      case op_hgmma:
        ++counts.hgmma;
        break;
      case op_ldsm:
        ++counts.ldsm;
        break;
      case op_mufu:
        ++counts.mufu;
        break;
      case op_ffma:
        ++counts.ffma;
        break;
      case op_fmnmx:
        ++counts.fmnmx;
        break;
      default:
        ++counts.other;
        break;
    }
  }
  return counts;
}

// Whether a branch goes back over products, and over no end of the code's way.
bool is_loop_with_products(const Code &code, const Branch &branch) {
  return branch.target <= branch.at && count(code.products_before, branch.target, branch.at + 1) > 0 &&
         count(code.ends_before, branch.target, branch.at + 1) == 0;
}

}  // namespace

std::optional<SteadyLoop> find_steady_loop(std::span<const uint8_t> bytes, int32_t arch) {
  const Code code = decode(bytes, arch);
  std::optional<SteadyLoop> best;
  int64_t last_end = -1;  // of the innermost loops so far; one that begins before it holds or crosses one of them
  for (const Branch &loop : code.branches) {
    if (!is_loop_with_products(code, loop) || loop.target <= last_end) continue;
    last_end = loop.at;  // so that each instruction is counted once
    const SteadyLoop counts = count_classes(code, loop);
    if (counts.products() == 0) continue;  // few passes make any
    const auto all = [](const SteadyLoop &one) {
      return one.products() + one.ldsm + one.mufu + one.ffma + one.fmnmx + one.other;
    };
    if (!best || counts.products() > best->products() ||
        (counts.products() == best->products() && all(counts) < all(*best)))
      best = counts;
  }
  return best;
}

}  // namespace flashcore
