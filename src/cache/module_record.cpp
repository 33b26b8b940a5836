// SPDX-License-Identifier: Apache-2.0
//
// One table per kind of field serves writing, reading and checking, so that the three cannot part. The record tells
// what was compiled and by whom, and nothing about where: no host, user or path.
#include "cache/module_record.hpp"

#include <cstring>
#include <nlohmann/json.hpp>

#include "cache/module_key.hpp"

namespace flashcore {
namespace {

using Json = nlohmann::json;  // keys sorted

constexpr int64_t schema = 1;
constexpr int maximum_depth = 2;  // of arrays and objects within the record

enum class Rule {
  name,  // 1 to `limit` of A-Z a-z 0-9 _ . -
  line,  // at most `limit` bytes
  hex,   // exactly `limit` digits 0-9 a-f
  arch,  // sm_<number>, with an optional a
  any
};

struct TextField {
  const char *name;
  std::string ModuleRecord::*member;
  Rule rule;
  size_t limit;
};
constexpr TextField text_fields[] = {
    {"module", &ModuleRecord::module, Rule::name, 127},
    {"kernel", &ModuleRecord::kernel, Rule::name, 63},
    {"arch", &ModuleRecord::arch, Rule::arch, 0},
    {"key", &ModuleRecord::key, Rule::hex, 64},
    {"compiler_id", &ModuleRecord::compiler_id, Rule::hex, 32},
    {"compiler", &ModuleRecord::compiler, Rule::line, 127},
    {"specialization", &ModuleRecord::specialization, Rule::any, 0},
    {"source_sha256", &ModuleRecord::source_sha256, Rule::hex, 64},
    {"headers_sha256", &ModuleRecord::headers_sha256, Rule::hex, 64},
    {"ptxas_log", &ModuleRecord::ptxas_log, Rule::any, 0},
    {"library_version", &ModuleRecord::library_version, Rule::line, 31},
    {"cubin_sha256", &ModuleRecord::cubin_sha256, Rule::hex, 64},
};

struct NumberField {
  const char *name;
  int64_t ModuleRecord::*member;
  int64_t minimum, maximum;
};
constexpr NumberField number_fields[] = {
    {"dynamic_shared_bytes", &ModuleRecord::dynamic_shared_bytes, 0, 1 << 30},
    {"compile_us", &ModuleRecord::compile_us, 0, int64_t{1} << 53},
    {"cubin_bytes", &ModuleRecord::cubin_bytes, 1, cubin_limit_bytes},
};

struct ResourceField {
  const char *name;
  int32_t KernelResources::*member;
};
constexpr ResourceField resource_fields[] = {
    {"registers", &KernelResources::registers},
    {"static_shared_bytes", &KernelResources::static_shared_bytes},
    {"stack_bytes", &KernelResources::stack_bytes},
    {"spill_store_bytes", &KernelResources::spill_store_bytes},
    {"spill_load_bytes", &KernelResources::spill_load_bytes},
    {"parameter_bytes", &KernelResources::parameter_bytes},
    {"max_threads_per_block", &KernelResources::max_threads_per_block},
    {"required_threads", &KernelResources::required_threads},
    {"barriers", &KernelResources::barriers},
    {"constant_bytes", &KernelResources::constant_bytes},
};

bool keeps_rule(const TextField &field, const std::string &text) {
  constexpr const char *name_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  switch (field.rule) {
    case Rule::name:
      return !text.empty() && text.size() <= field.limit && text.find_first_not_of(name_letters) == std::string::npos;
    case Rule::line:
      return text.size() <= field.limit && text.find_first_of("\r\n\0", 0, 3) == std::string::npos;
    case Rule::hex:
      return is_lower_hex(text, field.limit);
    case Rule::arch:
      return is_module_arch(text);
    case Rule::any:
      return true;
  }
  return false;
}

std::string allowed(const TextField &field) {
  const std::string limit = std::to_string(field.limit);
  switch (field.rule) {
    case Rule::name:
      return "1 to " + limit + " of A-Z a-z 0-9 _ . -";
    case Rule::line:
      return "one line of at most " + limit + " bytes";
    case Rule::hex:
      return limit + " digits 0-9 a-f";
    case Rule::arch:
      return "sm_<number>, with an optional a";
    case Rule::any:
      break;
  }
  return "any text";
}

Error corrupt(const std::string &reason) {
  return {FLASHCORE_MODULE_CORRUPT, "the module record is not sound: " + reason};
}

bool take_text(const Json &object, const char *name, std::string &out) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return false;
  out = found->get_ref<const std::string &>();
  return true;
}

bool take_number(const Json &object, const char *name, int64_t minimum, int64_t maximum, int64_t &out) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return false;
  // An unsigned number past 2^63 would wrap; it is past every maximum too.
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(maximum)) return false;
  out = found->get<int64_t>();
  return out >= minimum && out <= maximum;
}

Status take_options(const Json &object, std::vector<std::string> &options) {
  const auto found = object.find("options");
  if (found == object.end() || !found->is_array()) return corrupt("options is no list");
  for (const Json &option : *found) {
    if (!option.is_string()) return corrupt("options holds something else than texts");
    options.push_back(option.get_ref<const std::string &>());
  }
  return success();
}

Status take_resources(const Json &object, KernelResources &resources) {
  const auto found = object.find("resources");
  if (found == object.end() || !found->is_object()) return corrupt("resources is missing");
  int64_t number = 0;
  for (const ResourceField &field : resource_fields) {
    if (!take_number(*found, field.name, -1, INT32_MAX, number)) return corrupt(std::string("resources.") + field.name);
    resources.*field.member = static_cast<int32_t>(number);
  }
  if (!take_number(*found, "code_bytes", 0, cubin_limit_bytes, resources.code_bytes))
    return corrupt("resources.code_bytes");
  return success();
}

}  // namespace

std::string module_record_fault(const ModuleRecord &record) {
  for (const TextField &field : text_fields)
    if (const std::string &text = record.*field.member; !keeps_rule(field, text))
      return std::string(field.name) + " is \"" + text.substr(0, 128) + "\"; allowed: " + allowed(field);
  for (const NumberField &field : number_fields)
    if (const int64_t number = record.*field.member; number < field.minimum || number > field.maximum)
      return std::string(field.name) + " is " + std::to_string(number) + "; allowed: " + std::to_string(field.minimum) +
             " to " + std::to_string(field.maximum);
  return {};
}

std::string write_module_record(const ModuleRecord &record) {
  Json object = {{"schema", schema}, {"options", record.options}};
  for (const TextField &field : text_fields) object[field.name] = record.*field.member;
  for (const NumberField &field : number_fields) object[field.name] = record.*field.member;
  Json &resources = object["resources"];
  for (const ResourceField &field : resource_fields) resources[field.name] = record.resources.*field.member;
  resources["code_bytes"] = record.resources.code_bytes;
  // A compiler log in another encoding must not make an entry impossible: bytes that are no UTF-8 become U+FFFD.
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<ModuleRecord> parse_module_record(std::string_view text) {
  if (static_cast<int64_t>(text.size()) > record_limit_bytes) return corrupt("it has more than 1 MiB");
  const auto shallow = [](int depth, Json::parse_event_t, Json &) { return depth <= maximum_depth; };
  const Json object = Json::parse(text.begin(), text.end(), shallow, /*allow_exceptions=*/false);
  if (!object.is_object()) return corrupt("it is no JSON object");
  int64_t found_schema = 0;
  if (!take_number(object, "schema", 0, INT32_MAX, found_schema)) return corrupt("schema is missing");
  if (found_schema != schema) return corrupt("schema is " + std::to_string(found_schema) + "; this library knows 1");
  ModuleRecord record;
  for (const TextField &field : text_fields)
    if (!take_text(object, field.name, record.*field.member)) return corrupt(std::string(field.name) + " is missing");
  for (const NumberField &field : number_fields)
    if (!take_number(object, field.name, field.minimum, field.maximum, record.*field.member))
      return corrupt(std::string(field.name) + " is missing or out of range");
  FLASHCORE_TRY(take_options(object, record.options));
  FLASHCORE_TRY(take_resources(object, record.resources));
  record.resources.name = record.kernel;
  if (const std::string fault = module_record_fault(record); !fault.empty()) return corrupt(fault);
  return record;
}

const char *different_resource(const KernelResources &a, const KernelResources &b) {
  for (const ResourceField &field : resource_fields)
    if (a.*field.member != b.*field.member) return field.name;
  return a.code_bytes != b.code_bytes ? "code_bytes" : nullptr;
}

}  // namespace flashcore
