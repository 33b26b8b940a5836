// SPDX-License-Identifier: Apache-2.0
//
// The state file: everything that was found out about each shape, as JSON and back.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "../common/output_file.hpp"
#include "tune.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char *schema = "flashcore.tune/1";

std::string shape_line(const Shape &shape) {
  return fmt::format("{} {} {} {} {} {} {} {} {}", shape.name, shape.batch, shape.heads_q, shape.heads_kv,
                     shape.seqlen_q, shape.seqlen_kv, shape.head_dim, dtype_word(shape.dtype),
                     causal_word(shape.causal));
}

Json evaluation_json(const std::string &module, const Evaluation &evaluation, const std::string &key) {
  Json json{{"module", module}, {"key", key}};
  if (evaluation.fate == Fate::timed)
    json["us"] = evaluation.us;
  else
    json["pruned"] = evaluation.reason;
  return json;
}

// A state was written by this tool; what does not fit is a damaged file, and which part is said.
struct Reader {
  const std::string &path;

  Failure damaged(const std::string &what) const {
    return input_failure(fmt::format("{}: {}; delete the file to begin anew", path, what));
  }
  Outcome<std::string> text(const Json &json, const char *name) const {
    const auto at = json.is_object() ? json.find(name) : json.end();
    if (!json.is_object() || at == json.end() || !at->is_string())
      return damaged(fmt::format("\"{}\" is missing or no text", name));
    return at->get<std::string>();
  }
  Outcome<bool> flag(const Json &json, const char *name) const {
    const auto at = json.is_object() ? json.find(name) : json.end();
    if (!json.is_object() || at == json.end() || !at->is_boolean())
      return damaged(fmt::format("\"{}\" is missing or neither true nor false", name));
    return at->get<bool>();
  }
  Outcome<Json> list(const Json &json, const char *name) const {
    const auto at = json.is_object() ? json.find(name) : json.end();
    if (!json.is_object() || at == json.end() || !at->is_array())
      return damaged(fmt::format("\"{}\" is missing or no list", name));
    return *at;
  }
  Outcome<Evaluation> evaluation(const Json &json) const {
    if (json.contains("pruned")) {
      TOOLS_TRY_ASSIGN(const std::string reason, text(json, "pruned"));
      return Evaluation{Fate::pruned, 0, reason};
    }
    const auto at = json.find("us");
    if (at == json.end() || !at->is_number() || at->get<double>() <= 0)
      return damaged("\"us\" is missing or no time above 0");
    return Evaluation{Fate::timed, at->get<double>(), ""};
  }
};

}  // namespace

ShapeState &State::of(const Shape &shape) {
  const auto found =
      std::find_if(shapes.begin(), shapes.end(), [&](const ShapeState &one) { return one.shape.same_problem(shape); });
  if (found != shapes.end()) return *found;
  shapes.push_back({shape, {}, {}, false});
  return shapes.back();
}

std::string state_json(const State &state) {
  Json json{{"schema", schema},
            {"arch", state.arch},
            {"device", state.device},
            {"static", state.is_static},
            {"shapes", Json::array()}};
  for (const ShapeState &one : state.shapes) {
    Json shape{{"shape", shape_line(one.shape)}, {"converged", one.converged}, {"candidates", Json::array()}};
    for (const auto &[module, evaluation] : one.evaluations) {
      const auto key = one.keys.find(module);
      shape["candidates"].push_back(evaluation_json(module, evaluation, key == one.keys.end() ? "" : key->second));
    }
    json["shapes"].push_back(std::move(shape));
  }
  return json.dump(1) + "\n";
}

Outcome<State> parse_state(const std::string &text, const std::string &path) {
  const Reader reader{path};
  const Json json = Json::parse(text, nullptr, false);
  TOOLS_TRY_ASSIGN(const std::string found, reader.text(json, "schema"));
  if (found != schema) return reader.damaged(fmt::format("its schema is \"{}\", not {}", found, schema));
  State state;
  TOOLS_TRY_ASSIGN(state.arch, reader.text(json, "arch"));
  TOOLS_TRY_ASSIGN(state.device, reader.text(json, "device"));
  TOOLS_TRY_ASSIGN(state.is_static, reader.flag(json, "static"));
  TOOLS_TRY_ASSIGN(const Json shapes, reader.list(json, "shapes"));
  for (const Json &one : shapes) {
    ShapeState shape;
    TOOLS_TRY_ASSIGN(const std::string line, reader.text(one, "shape"));
    Outcome<Shape> parsed = parse_shape(line, path);
    if (!parsed.ok()) return reader.damaged(parsed.failure().message);
    shape.shape = std::move(parsed).value();
    TOOLS_TRY_ASSIGN(shape.converged, reader.flag(one, "converged"));
    TOOLS_TRY_ASSIGN(const Json candidates, reader.list(one, "candidates"));
    for (const Json &candidate : candidates) {
      TOOLS_TRY_ASSIGN(const std::string module, reader.text(candidate, "module"));
      TOOLS_TRY_ASSIGN(shape.keys[module], reader.text(candidate, "key"));
      TOOLS_TRY_ASSIGN(shape.evaluations[module], reader.evaluation(candidate));
    }
    state.shapes.push_back(std::move(shape));
  }
  return state;
}

Outcome<State> read_state(const std::string &path, const State &expected) {
  std::error_code code;
  if (path.empty() || !std::filesystem::exists(path, code)) return expected;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf()))
    return input_failure(fmt::format("option --state: {} cannot be read, or holds nothing", path));
  TOOLS_TRY_ASSIGN(State state, parse_state(content.str(), path));
  if (state.arch != expected.arch || state.device != expected.device || state.is_static != expected.is_static)
    return input_failure(fmt::format(
        "option --state: {} is of a {} search on {} ({}), this is a {} search on {} ({}); name another file", path,
        state.is_static ? "static" : "timed", state.device, state.arch, expected.is_static ? "static" : "timed",
        expected.device, expected.arch));
  return state;
}

Step write_state(const State &state, const std::string &path) {
  if (path.empty()) return Done{};
  TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("state", path));
  const std::string json = state_json(state);
  const HeldInterrupts held;
  TOOLS_TRY(file.write({reinterpret_cast<const uint8_t *>(json.data()), json.size()}));
  return file.commit();
}

std::string state_file(const Request &request, const std::string &arch, const char *kind) {
  if (request.state == "none") return {};
  return request.state.empty() ? fmt::format("tune-{}{}.json", kind, arch) : request.state;
}

void remember_state(const ShapeState &known, const flashcore_context_options &context, const std::string &arch,
                    Search &search) {
  std::map<std::string, bool> kernel_is_current;
  for (const auto &[module, evaluation] : known.evaluations) {
    const std::string kernel = module.substr(0, module.find('-'));
    const auto key = known.keys.find(module);
    if (key == known.keys.end() || key->second.empty()) continue;
    if (kernel_is_current.count(kernel) == 0) {
      flashcore_module_info info{};
      info.struct_size = sizeof(info);
      const bool there = flashcore_module_obtain(&context, module.c_str(), arch.c_str(), &info, nullptr, nullptr,
                                                 nullptr) == FLASHCORE_OK;
      kernel_is_current[kernel] = there && key->second == info.key;
    }
    if (kernel_is_current[kernel]) search.remember(module, evaluation);
  }
}

}  // namespace flashcore::tools
