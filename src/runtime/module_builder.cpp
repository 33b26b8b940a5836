// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_builder.hpp"

#include "base/sha256.hpp"
#include "cache/module_key.hpp"
#include "contract/arch.h"
#include "flashcore/flashcore_version.h"
#include "jit/compile_options.hpp"
#include "jit/kernel_compiler.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {
namespace {

constexpr const char *specialization_file = "specialization.h", *variant_file = "variant.h",
                     *text_file = "variant.text";

std::string program_name(const kernels::Passport &passport) { return std::string(passport.name) + ".cu"; }

std::string library_version() {
  return std::to_string(FLASHCORE_VERSION_MAJOR) + "." + std::to_string(FLASHCORE_VERSION_MINOR) + "." +
         std::to_string(FLASHCORE_VERSION_PATCH);
}

// "V13.0.88" is in the cubin's tool note; NVRTC itself only tells "13.0".
std::string compiler_text(const NvrtcLibrary &nvrtc, std::span<const uint8_t> cubin) {
  std::string text =
      "NVRTC " + std::to_string(nvrtc.version() / 1000) + "." + std::to_string(nvrtc.version() % 1000 / 10);
  if (const auto info = read_cubin(cubin); info.ok() && !info.value().tool_version.empty())
    text += ", ptxas " + info.value().tool_version;
  return text;
}

// A fault in the user's text is the variant's, and not this library's.
Error named(Error error, const ModuleRequest &request) {
  const bool in_text = error.message.find("variant(") != std::string::npos;
  if (error.status == FLASHCORE_COMPILE_FAILED && request.variant != nullptr && in_text) error.field = "variant";
  return error;
}

}  // namespace

ModuleRequest make_module_request(int32_t kernel_index, const kernels::Specialization &specialization,
                                  std::string_view arch, std::string_view nvrtc_append_flags, uint64_t variant_digest) {
  const KernelRow &row = kernel_table()[static_cast<size_t>(kernel_index)];
  const std::string name = program_name(*row.passport),
                    header = specialization_header(*row.passport, specialization, variant_digest != 0);
  const std::vector<std::string> options = canonical_compile_options(arch);
  ModuleRequest request{
      kernel_index, specialization, std::string(arch), module_name(*row.passport, specialization, variant_digest),
      {},           variant_digest};
  // Flags of the user's own may ask for line numbers (-lineinfo), and then comments count.
  const std::string_view kernel_sha256 = nvrtc_append_flags.empty() ? row.tokens_sha256 : row.text_sha256;
  const std::string variant = variant_digest == 0 ? "" : variant_digest_text(variant_digest);
  request.key = logical_module_key({name, kernel_sha256, header, arch, options, nvrtc_append_flags, variant});
  return request;
}

Result<BuiltModule> build_module(const ModuleRequest &request, const NvrtcLibrary &nvrtc) {
  const KernelRow &row = kernel_table()[static_cast<size_t>(request.kernel_index)];
  const std::string name = program_name(*row.passport),
                    header = specialization_header(*row.passport, request.specialization, request.variant_digest != 0),
                    variant = request.variant == nullptr ? "" : variant_header(request.variant->code),
                    text =
                        request.variant == nullptr ? "" : std::string(variant_text_begin) + request.variant->code.text;
  std::vector<NamedText> headers;
  for (const EmbeddedHeader &embedded : kernel_headers()) headers.push_back({embedded.name, embedded.text});
  headers.push_back({specialization_file, header});
  if (request.variant != nullptr) {
    headers.push_back({variant_file, variant});
    headers.push_back({text_file, text});
  }
  Result<CompiledKernel> result = compile_kernel(nvrtc, {name, row.source, headers, request.arch});
  if (!result.ok()) return named(std::move(result.error()), request);
  CompiledKernel compiled = std::move(result).value();

  BuiltModule built;
  built.cubin = std::move(compiled.cubin);
  ModuleRecord &record = built.record;
  record.module = request.module;
  record.kernel = row.passport->name;
  record.arch = request.arch;
  record.key = request.key;
  record.compiler_id = nvrtc.compiler_id();
  record.compiler = compiler_text(nvrtc, built.cubin);
  record.specialization = header;
  record.options = std::move(compiled.options);
  record.source_sha256 = to_hex(sha256({reinterpret_cast<const uint8_t *>(row.source.data()), row.source.size()}));
  record.headers_sha256 = kernel_headers_sha256();
  record.dynamic_shared_bytes = row.passport->dynamic_shared_bytes(request.specialization);
  record.ptxas_log = std::move(compiled.log);
  record.compile_us = compiled.compile_us;
  record.library_version = library_version();
  FLASHCORE_TRY_ASSIGN(built.encoded, encode_module_entry(record, built.cubin));
  return built;
}

std::vector<std::string> module_archs(int32_t arch) {
  const char usual = kernels::usual_suffix(arch);
  std::vector<std::string> archs{"sm_" + std::to_string(arch) + std::string(usual == 0 ? 0 : 1, usual)};
  const auto add = [&](int32_t number, auto wanted) {
    for (const kernels::ArchName &name : kernels::arch_names)
      if (name.number == number && wanted(name.suffix) && name.text != archs.front()) archs.emplace_back(name.text);
  };
  add(arch, [](char) { return true; });
  const kernels::Arch *own = kernels::find_arch(arch);
  for (int32_t lower = arch - 1; (own == nullptr || !own->tegra) && lower >= arch / 10 * 10; --lower) {
    const kernels::Arch *other = kernels::find_arch(lower);
    if (other != nullptr && !other->tegra) add(lower, [](char suffix) { return suffix != 'a'; });
  }
  return archs;
}

}  // namespace flashcore
