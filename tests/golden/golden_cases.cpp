// SPDX-License-Identifier: Apache-2.0
#include "golden/golden_cases.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/npy.hpp"

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

[[noreturn]] void give_up(const std::string &why) {
  std::fprintf(stderr, "golden vectors: %s\n", why.c_str());
  std::exit(EXIT_FAILURE);
}

std::vector<double> load(const std::string &path, const std::vector<int64_t> &shape) {
  auto array = tools::read_npy(path);
  if (!array.ok()) give_up(array.failure().message);
  if (array.value().shape != shape)
    give_up(path + ": not the shape that cases.json gives: " + array.value().describe());
  return tools::values_of(array.value());
}

std::vector<float> to_floats(const std::vector<double> &values) { return {values.begin(), values.end()}; }

std::vector<float> load_input(const std::string &folder, const char *name, Float16Type dtype,
                              const std::vector<int64_t> &shape) {
  if (dtype == Float16Type::float16) return to_floats(load(folder + name + ".npy", shape));
  std::vector<float> values;
  for (double bits : load(folder + name + "_bf16bits.npy", shape))
    values.push_back(static_cast<float>(tools::bfloat16_to_double(static_cast<uint16_t>(bits))));
  return values;
}

ReferenceCausal causal_from(const std::string &word) {
  if (word == "none") return ReferenceCausal::none;
  if (word == "top_left") return ReferenceCausal::top_left;
  if (word == "bottom_right") return ReferenceCausal::bottom_right;
  give_up("unknown causal '" + word + "'");
}

GoldenCase load_case(const nlohmann::json &row) {
  GoldenCase result;
  result.name = row.at("name");
  result.dtype = row.at("dtype") == "bfloat16" ? Float16Type::bfloat16 : Float16Type::float16;
  result.input_std = row.at("std");
  tools::ReferenceAttention &problem = result.problem;
  problem.batch = row.at("b");
  problem.heads_q = row.at("hq");
  problem.heads_kv = row.at("hk");
  problem.seqlen_q = row.at("sq");
  problem.seqlen_kv = row.at("sk");
  problem.head_dim = row.at("d");
  problem.head_dim_v = row.at("dv");
  problem.scale = row.at("scale");
  problem.softcap = row.at("softcap");
  problem.causal = causal_from(row.at("causal"));
  problem.window_left = row.at("window").at(0);
  problem.window_right = row.at("window").at(1);
  problem.attention_chunk = row.at("chunk");

  const std::string folder = std::string(GOLDEN_DIRECTORY) + "/" + result.name + "/";
  const int64_t b = problem.batch, sq = problem.seqlen_q, sk = problem.seqlen_kv, hq = problem.heads_q;
  problem.query = load_input(folder, "q", result.dtype, {b, sq, hq, problem.head_dim});
  problem.key = load_input(folder, "k", result.dtype, {b, sk, problem.heads_kv, problem.head_dim});
  problem.value = load_input(folder, "v", result.dtype, {b, sk, problem.heads_kv, problem.head_dim_v});
  if (row.at("alibi")) problem.alibi_slopes = to_floats(load(folder + "alibi.npy", {hq}));
  if (row.at("bias")) problem.bias = to_floats(load(folder + "bias.npy", {hq, sq, sk}));
  if (row.at("mask"))
    for (const double shown : load(folder + "mask.npy", {b, hq, sq, sk})) problem.mask.push_back(shown != 0);
  if (row.at("sink")) problem.sinks = to_floats(load(folder + "sink.npy", {hq}));
  result.expected.output = load(folder + "o.npy", {b, sq, hq, problem.head_dim_v});
  result.expected.lse = load(folder + "lse.npy", {b, hq, sq});
  return result;
}

}  // namespace

std::vector<GoldenCase> load_golden_cases() {
  const std::string path = std::string(GOLDEN_DIRECTORY) + "/cases.json";
  std::ifstream stream(path);
  const nlohmann::json rows = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!rows.is_array() || rows.empty()) give_up(path + " is missing or damaged");
  std::vector<GoldenCase> cases;
  for (const nlohmann::json &row : rows) cases.push_back(load_case(row));
  return cases;
}

}  // namespace flashcore::tests
