// SPDX-License-Identifier: Apache-2.0
#include "runtime/host_variants.hpp"

#include <string>

#include "jit/host_compiler.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {
namespace {

Error of_variant(Error error) {
  error.field = "variant";
  return error;
}

}  // namespace

Result<ChangeRow> HostVariants::function_of(const Variant &variant) {
  FLASHCORE_TRY_ASSIGN(const ProcessMutex::Lock lock, mutex_.lock("compiled a variant"));
  const auto known = compiled_.find(variant.digest);
  if (known != compiled_.end()) return known->second.change_row;
  Result<Compiled> compiled = compile(variant);
  if (!compiled.ok()) return of_variant(std::move(compiled.error()));
  return compiled_.emplace(variant.digest, std::move(compiled).value()).first->second.change_row;
}

Result<HostVariants::Compiled> HostVariants::compile(const Variant &variant) const {
  if (settings_.environment.privileged)
    return Error{FLASHCORE_UNSUPPORTED,
                 "a variant on the CPU device needs a C++ compiler, and none is run by a program with more rights than "
                 "the user who started it"};
  if (!settings_.jit_allowed)
    return Error{FLASHCORE_COMPILER_UNAVAILABLE,
                 "a variant on the CPU device is compiled, and compiling is forbidden (" + settings_.jit_refusal + ")"};
  Result<std::string> compiler = find_host_compiler(settings_.environment.host_compiler);
  if (!compiler.ok()) {
    compiler.error().message = "a variant on the CPU device needs a C++ compiler: " + compiler.error().message;
    return std::move(compiler.error());
  }
  const std::string text = std::string(variant_text_begin) + variant.code.text;
  Compiled compiled;
  FLASHCORE_TRY_ASSIGN(compiled.object,
                       compile_for_host(compiler.value(), variant_source(variant.code), {variant_text_file, text}));
  compiled.change_row = reinterpret_cast<ChangeRow>(compiled.object.symbol(change_row_name));
  if (compiled.change_row == nullptr)
    return Error{FLASHCORE_COMPILE_FAILED, compiler.value() + " made a library without " + change_row_name};
  return compiled;
}

}  // namespace flashcore
