// SPDX-License-Identifier: Apache-2.0
//
// One table per kind of field serves writing, reading and checking, so that the three cannot part. The record tells
// what was compiled and by whom, and nothing about where: no host, user or path.
//
// No document tree: the JSON library's destructor allocates, which ends the process where memory is gone. Its parser tells of one token
// after the other; what is written is put together here.
#include "cache/module_record.hpp"

#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>

// A library never aborts its caller, in no kind of build; what is read here is checked anyway.
#define JSON_ASSERT(condition) static_cast<void>(0)
#include <nlohmann/json.hpp>

#include "base/cut_text.hpp"
#include "cache/module_key.hpp"

namespace flashcore {
namespace {

constexpr int64_t schema = 1;

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

template <size_t count, typename Field>
size_t index_of(const Field (&fields)[count], std::string_view name) {
  size_t i = 0;
  while (i < count && name != fields[i].name) ++i;
  return i;
}

// What a text says, field by field: the last one wins where a name comes twice, and a value of the wrong kind is none. Whether all are
// there and keep their rules is the caller's question.
class RecordTokens : public nlohmann::json_sax<nlohmann::json> {
 public:
  using Number = std::optional<int64_t>;

  bool is_object = false, options_are_texts = true;
  ModuleRecord record;
  std::array<bool, std::size(text_fields)> texts{};
  std::array<Number, std::size(number_fields)> numbers;
  std::array<Number, std::size(resource_fields)> resources;
  Number found_schema, code_bytes;
  bool has_options = false, has_resources = false;

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_float(double, const std::string &) override { return other(); }
  bool binary(binary_t &) override { return other(); }
  bool number_integer(int64_t value) override { return number(value); }
  // Past 2^63 it would wrap; it is past every maximum too.
  bool number_unsigned(uint64_t value) override {
    return value <= INT64_MAX ? number(static_cast<int64_t>(value)) : other();
  }
  bool string(std::string &value) override {
    if (place() == Place::options) {
      record.options.push_back(std::move(value));
      return true;
    }
    forget();
    if (const size_t i = index_of(text_fields, name_); place() == Place::record && i < std::size(text_fields)) {
      record.*text_fields[i].member = std::move(value);
      texts[i] = true;
    }
    return true;
  }
  bool key(std::string &name) override {
    if (place() == Place::record || place() == Place::resources) name_ = std::move(name);
    return true;
  }
  bool start_object(size_t) override { return start(true); }
  bool start_array(size_t) override { return start(false); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool parse_error(size_t, const std::string &, const nlohmann::detail::exception &) override { return false; }

 private:
  enum class Place { record, options, resources, elsewhere };

  // The field that is named has another value now.
  void forget() {
    if (place() == Place::resources) {
      if (Number *known = resource()) known->reset();
      return;
    }
    if (place() != Place::record) return;
    if (const size_t i = index_of(text_fields, name_); i < std::size(text_fields)) texts[i] = false;
    if (const size_t i = index_of(number_fields, name_); i < std::size(number_fields)) numbers[i].reset();
    if (name_ == "schema") found_schema.reset();
    if (name_ == "options") has_options = false;
    if (name_ == "resources") has_resources = false;
  }
  Number *resource() {
    if (name_ == "code_bytes") return &code_bytes;
    const size_t i = index_of(resource_fields, name_);
    return i < std::size(resource_fields) ? &resources[i] : nullptr;
  }
  bool other() {
    if (place() == Place::options) options_are_texts = false;
    forget();
    return true;
  }
  bool number(int64_t value) {
    other();
    if (place() == Place::resources) {
      if (Number *known = resource()) *known = value;
    } else if (place() == Place::record) {
      if (const size_t i = index_of(number_fields, name_); i < std::size(number_fields)) numbers[i] = value;
      if (name_ == "schema") found_schema = value;
    }
    return true;
  }
  bool start(bool object) {
    if (depth_ == 0) {
      is_object = object;
    } else {
      other();
      if (place() == Place::record) inner_ = open_field(object);
    }
    ++depth_;
    return true;
  }
  Place open_field(bool object) {
    if (object && name_ == "resources") {
      has_resources = true;
      resources = {}, code_bytes = {};
      return Place::resources;
    }
    if (object || name_ != "options") return Place::elsewhere;
    has_options = options_are_texts = true;
    record.options.clear();
    return Place::options;
  }
  bool end() {
    --depth_;
    return true;
  }
  // Where the next token belongs.
  Place place() const {
    if (depth_ == 1 && is_object) return Place::record;
    return depth_ == 2 ? inner_ : Place::elsewhere;
  }

  Place inner_ = Place::elsewhere;  // of the array or object that a field of the record holds
  int64_t depth_ = 0;
  std::string name_;
};

bool in_range(const RecordTokens::Number &number, int64_t minimum, int64_t maximum) {
  return number && *number >= minimum && *number <= maximum;
}

Status take_resources(const RecordTokens &tokens, KernelResources &resources) {
  if (!tokens.has_resources) return corrupt("resources is missing");
  for (size_t i = 0; i < std::size(resource_fields); ++i) {
    if (!in_range(tokens.resources[i], -1, INT32_MAX))
      return corrupt(std::string("resources.") + resource_fields[i].name);
    resources.*resource_fields[i].member = static_cast<int32_t>(*tokens.resources[i]);
  }
  if (!in_range(tokens.code_bytes, 0, cubin_limit_bytes)) return corrupt("resources.code_bytes");
  resources.code_bytes = *tokens.code_bytes;
  return success();
}

// Bytes of the character that begins at `at`, or 0 and in *bad how many bytes of a broken one to pass over.
size_t utf8_character(std::string_view text, size_t at, size_t *bad) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  *bad = 1;
  if (first < 0x80) return 1;
  const size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                        : (first & 0xf0) == 0xe0         ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length == 0) return 0;
  // Overlong forms, surrogates and what lies past the last character show in the second byte.
  unsigned char least = first == 0xe0   ? 0xa0
                        : first == 0xf0 ? 0x90
                                        : 0x80,
                most = first == 0xed   ? 0x9f
                       : first == 0xf4 ? 0x8f
                                       : 0xbf;
  for (size_t i = 1; i < length; ++i, least = 0x80, most = 0xbf) {
    if (at + i == text.size() || byte(i) < least || byte(i) > most) return 0;
    *bad = i + 1;
  }
  return length;
}

// A compiler log in another encoding must not make an entry impossible: bytes that are no UTF-8 become U+FFFD.
std::string json_text(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef", letters = "\"\\bfnrt", meanings = "\"\\\b\f\n\r\t";
  std::string out = "\"";
  for (size_t at = 0, bad = 0; at < text.size();) {
    const size_t length = utf8_character(text, at, &bad);
    const size_t known = length == 1 ? meanings.find(text[at]) : std::string_view::npos;
    if (length == 0)
      out += "\xef\xbf\xbd";
    else if (known != std::string_view::npos)
      out += {'\\', letters[known]};
    else if (const auto byte = static_cast<unsigned char>(text[at]); byte < 0x20)
      out += {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    else
      out += text.substr(at, length);
    at += length == 0 ? bad : length;
  }
  return out += '"';
}

using RenderedFields = std::map<std::string_view, std::string>;

std::string object_of(const RenderedFields &fields) {
  std::string out = "{";
  for (const auto &[name, value] : fields) {
    if (out.size() > 1) out += ',';
    out.append("\"").append(name).append("\":").append(value);
  }
  return out += '}';
}

}  // namespace

std::string module_record_fault(const ModuleRecord &record) {
  for (const TextField &field : text_fields)
    if (const std::string &text = record.*field.member; !keeps_rule(field, text))
      return std::string(field.name) + " is \"" + std::string(cut_text(text, 128)) + "\"; allowed: " + allowed(field);
  for (const NumberField &field : number_fields)
    if (const int64_t number = record.*field.member; number < field.minimum || number > field.maximum)
      return std::string(field.name) + " is " + std::to_string(number) + "; allowed: " + std::to_string(field.minimum) +
             " to " + std::to_string(field.maximum);
  return {};
}

std::string write_module_record(const ModuleRecord &record) {
  std::string options = "[";
  for (const std::string &option : record.options) options += (options.size() > 1 ? "," : "") + json_text(option);
  RenderedFields resources{{"code_bytes", std::to_string(record.resources.code_bytes)}};
  for (const ResourceField &field : resource_fields)
    resources[field.name] = std::to_string(record.resources.*field.member);
  RenderedFields fields{
      {"schema", std::to_string(schema)}, {"options", options + "]"}, {"resources", object_of(resources)}};
  for (const TextField &field : text_fields) fields[field.name] = json_text(record.*field.member);
  for (const NumberField &field : number_fields) fields[field.name] = std::to_string(record.*field.member);
  return object_of(fields);
}

Result<ModuleRecord> parse_module_record(std::string_view text) {
  if (static_cast<int64_t>(text.size()) > record_limit_bytes) return corrupt("it has more than 1 MiB");
  RecordTokens tokens;
  const bool whole = nlohmann::json::sax_parse(text.begin(), text.end(), &tokens);
  if (!whole || !tokens.is_object) return corrupt("it is no JSON object");
  if (!in_range(tokens.found_schema, 0, INT32_MAX)) return corrupt("schema is missing");
  if (*tokens.found_schema != schema)
    return corrupt("schema is " + std::to_string(*tokens.found_schema) + "; this library knows 1");
  ModuleRecord &record = tokens.record;
  for (size_t i = 0; i < std::size(text_fields); ++i)
    if (!tokens.texts[i]) return corrupt(std::string(text_fields[i].name) + " is missing");
  for (size_t i = 0; i < std::size(number_fields); ++i) {
    const NumberField &field = number_fields[i];
    if (!in_range(tokens.numbers[i], field.minimum, field.maximum))
      return corrupt(std::string(field.name) + " is missing or out of range");
    record.*field.member = *tokens.numbers[i];
  }
  if (!tokens.has_options) return corrupt("options is no list");
  if (!tokens.options_are_texts) return corrupt("options holds something else than texts");
  FLASHCORE_TRY(take_resources(tokens, record.resources));
  record.resources.name = record.kernel;
  if (const std::string fault = module_record_fault(record); !fault.empty()) return corrupt(fault);
  return std::move(record);
}

const char *different_resource(const KernelResources &a, const KernelResources &b) {
  for (const ResourceField &field : resource_fields)
    if (a.*field.member != b.*field.member) return field.name;
  return a.code_bytes != b.code_bytes ? "code_bytes" : nullptr;
}

}  // namespace flashcore
