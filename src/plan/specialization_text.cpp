// SPDX-License-Identifier: Apache-2.0
#include "plan/specialization_text.hpp"

namespace flashcore {
namespace {

using kernels::Specialization;

struct Field {
  const char *name;
  int32_t Specialization::*member;
};
constexpr Field fields[] = {
    {"dtype", &Specialization::dtype},
    {"head_dim", &Specialization::head_dim},
    {"head_dim_v", &Specialization::head_dim_v},
    {"causal", &Specialization::causal},
    {"alignment_bytes", &Specialization::alignment_bytes},
    {"tile_q", &Specialization::tile_q},
    {"tile_kv", &Specialization::tile_kv},
    {"warps", &Specialization::warps},
    {"stages", &Specialization::stages},
    {"q_in_registers", &Specialization::q_in_registers},
};
static_assert(sizeof(fields) / sizeof(fields[0]) * sizeof(int32_t) == sizeof(Specialization),
              "a field of Specialization is missing from the generated header");

}  // namespace

std::string specialization_header(const Specialization &specialization) {
  std::string text = "#pragma once\n#include \"contract/passport.h\"\nnamespace flashcore::kernels {\n"
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
  if (s.q_in_registers != 0) name += "-qreg";
  if (s.alignment_bytes < 16) name += "-unaligned";
  return name;
}

}  // namespace flashcore
