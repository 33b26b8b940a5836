// SPDX-License-Identifier: Apache-2.0
#include "plan/specialization_text.hpp"

#include <algorithm>
#include <charconv>

namespace flashcore {
namespace {

using kernels::Specialization;

struct Field {
  const char *name;
  int32_t Specialization::*member;
  int32_t smallest, largest;
};
constexpr Field fields[] = {
    {"dtype", &Specialization::dtype, kernels::dtype_float16, kernels::dtype_bfloat16},
    {"head_dim", &Specialization::head_dim, 1, 1024},
    {"head_dim_v", &Specialization::head_dim_v, 1, 1024},
    {"causal", &Specialization::causal, 0, 1},
    {"alignment_bytes", &Specialization::alignment_bytes, 2, 16},
    {"tile_q", &Specialization::tile_q, 1, 1024},
    {"tile_kv", &Specialization::tile_kv, 1, 1024},
    {"warps", &Specialization::warps, 1, 32},
    {"stages", &Specialization::stages, 1, 8},
    {"q_in_registers", &Specialization::q_in_registers, 0, 1},
    {"cluster", &Specialization::cluster, 1, 8},
};
static_assert(sizeof(fields) / sizeof(fields[0]) * sizeof(int32_t) == sizeof(Specialization),
              "a field of Specialization is missing from the generated header");

constexpr char grammar[] =
    "KERNEL-fp16|bf16-dHEAD_DIM[vHEAD_DIM_V][-causal]-TILE_QxTILE_KV-wWARPS[-sSTAGES][-cCLUSTER][-qreg][-unaligned]";

// The parts of a module's name, one after another.
class NameParts {
 public:
  explicit NameParts(std::string_view name) : name_(name), rest_(name) { next(); }

  std::string_view part() const { return part_; }
  bool at_end() const { return at_end_; }
  void next() {
    at_end_ = ended_;
    const size_t dash = std::min(rest_.find('-'), rest_.size());
    ended_ = dash == rest_.size();
    part_ = rest_.substr(0, dash);
    rest_.remove_prefix(ended_ ? dash : dash + 1);
  }
  // The part if it is this word; then the next.
  bool take(std::string_view word) {
    if (at_end_ || part_ != word) return false;
    next();
    return true;
  }
  // A part of one number or two, with a letter before each. No letter before the first: '\0'; before the second: there is
  // none. *second stays as it is where it is absent.
  bool take_numbers(char before_first, int32_t *first, char before_second, int32_t *second) {
    std::string_view text = at_end_ ? std::string_view{} : part_;
    if (before_first != '\0' && !take_letter(text, before_first)) return false;
    if (!take_number(text, first)) return false;
    if (!text.empty() && (before_second == '\0' || !take_letter(text, before_second) || !take_number(text, second)))
      return false;
    if (!text.empty()) return false;
    next();
    return true;
  }
  Error expected(const char *what) const {
    const std::string found = at_end_ ? "ends" : "has \"" + std::string(part_) + "\"";
    return {FLASHCORE_INVALID_ARGUMENT,
            "kernel is \"" + std::string(name_) + "\", which " + found + " where " + what +
                " must stand; a module's name is " + grammar,
            "kernel"};
  }

 private:
  static bool take_letter(std::string_view &text, char letter) {
    if (text.empty() || text.front() != letter) return false;
    text.remove_prefix(1);
    return true;
  }
  // As module_name writes them: no sign, no leading zero.
  static bool take_number(std::string_view &text, int32_t *number) {
    if (text.empty() || text.front() < '1' || text.front() > '9') return false;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), *number);
    if (read.ec != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(read.ptr - text.data()));
    return true;
  }

  std::string_view name_, rest_, part_;
  bool ended_ = false, at_end_ = false;
};

}  // namespace

std::string specialization_header(const Specialization &specialization) {
  std::string text =
      "#pragma once\n#include \"contract/passport.h\"\nnamespace flashcore::kernels {\n"
      "inline constexpr Specialization chosen = {\n";
  for (const Field &field : fields)
    text += std::string("    .") + field.name + " = " + std::to_string(specialization.*field.member) + ",\n";
  return text + "};\n}  // namespace flashcore::kernels\n";
}

std::string module_name(std::string_view kernel, const Specialization &s) {
  std::string name(kernel);
  name += s.dtype == kernels::dtype_bfloat16 ? "-bf16" : "-fp16";
  name += "-d" + std::to_string(s.head_dim);
  if (s.head_dim_v != s.head_dim) name += "v" + std::to_string(s.head_dim_v);
  if (s.causal != 0) name += "-causal";
  name += "-" + std::to_string(s.tile_q) + "x" + std::to_string(s.tile_kv) + "-w" + std::to_string(s.warps);
  if (s.stages > 1) name += "-s" + std::to_string(s.stages);
  if (s.cluster > 1) name += "-c" + std::to_string(s.cluster);
  if (s.q_in_registers != 0) name += "-qreg";
  if (s.alignment_bytes < 16) name += "-unaligned";
  return name;
}

Result<ModuleName> parse_module_name(std::string_view name) {
  NameParts parts(name);
  ModuleName module{parts.part()};
  Specialization &s = module.specialization;
  parts.next();
  if (parts.take("fp16"))
    s.dtype = kernels::dtype_float16;
  else if (parts.take("bf16"))
    s.dtype = kernels::dtype_bfloat16;
  else
    return parts.expected("fp16 or bf16");
  NameParts before = parts;
  if (!parts.take_numbers('d', &s.head_dim, 'v', &s.head_dim_v) || s.head_dim_v == s.head_dim)
    return before.expected("the head dimension (d64, or d192v128 where that of V differs)");
  if (s.head_dim_v == 0) s.head_dim_v = s.head_dim;
  s.causal = parts.take("causal") ? 1 : 0;
  before = parts;
  if (!parts.take_numbers('\0', &s.tile_q, 'x', &s.tile_kv) || s.tile_kv == 0)
    return before.expected("the tile, queries by keys (128x64)");
  if (!parts.take_numbers('w', &s.warps, '\0', nullptr)) return parts.expected("the number of warps (w4)");
  s.stages = 1;
  before = parts;
  if (!parts.at_end() && parts.part().starts_with('s') &&
      (!parts.take_numbers('s', &s.stages, '\0', nullptr) || s.stages == 1))
    return before.expected("the number of stages, 2 or more (s2)");
  before = parts;
  if (!parts.at_end() && parts.part().starts_with('c') &&
      (!parts.take_numbers('c', &s.cluster, '\0', nullptr) || s.cluster == 1))
    return before.expected("the thread blocks of a cluster, 2 or more (c2)");
  s.q_in_registers = parts.take("qreg") ? 1 : 0;
  s.alignment_bytes = parts.take("unaligned") ? 2 : 16;
  if (!parts.at_end()) return parts.expected("the end or, in this order, s2, c2, qreg, unaligned");
  return module;
}

Status check_specialization(const kernels::Passport &passport, const Specialization &specialization) {
  const auto error = [&](std::string_view name, std::string_view allowed) {
    std::string text = "kernel is \"" + module_name(passport.name, specialization) + "\"";
    for (const Field &field : fields)
      if (field.name == name)
        text += ", whose " + std::string(name) + " is " + std::to_string(specialization.*field.member);
    return Error{FLASHCORE_INVALID_ARGUMENT, text + "; " + passport.name + " allows: " + std::string(allowed),
                 "kernel"};
  };
  for (const Field &field : fields)
    if (const int32_t value = specialization.*field.member; value < field.smallest || value > field.largest)
      return error(field.name, std::to_string(field.smallest) + " to " + std::to_string(field.largest));
  if (const kernels::Refusal refusal = passport.allows(specialization); refusal.field != nullptr)
    return error(refusal.field, refusal.reason);
  return success();
}

}  // namespace flashcore
