// SPDX-License-Identifier: Apache-2.0
//
// Candidates: names of modules as genes and back, how genes move, and whether a passport allows what comes out.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <regex>

#include "tune.hpp"

namespace flashcore::tools {
namespace {

// The values that a gene may have, in order: a mutation moves to a neighbour.
struct Gene {
  int32_t Candidate::*member;
  std::vector<int32_t> values;
};
const std::vector<Gene> &genes() {
  static const std::vector<Gene> all = {
      {&Candidate::tile_q, {8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256}},
      {&Candidate::tile_kv, {16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 256}},
      {&Candidate::warps, {1, 2, 3, 4, 6, 8, 12, 16}},
      {&Candidate::stages, {1, 2, 3, 4}},
      {&Candidate::cluster, {1, 2, 4, 8}},
      {&Candidate::q_in_registers, {0, 1}},
  };
  return all;
}

size_t below(Random &random, size_t count) { return static_cast<size_t>(random() % count); }

void move_gene(Candidate &candidate, const Gene &gene, Random &random) {
  const auto above = std::lower_bound(gene.values.begin(), gene.values.end(), candidate.*gene.member);
  const auto index = static_cast<int64_t>(above - gene.values.begin());
  // Mostly the next value, sometimes one further on.
  const int64_t distance = below(random, 4) == 0 ? 2 : 1,
                moved = below(random, 2) == 0 ? index - distance : index + distance;
  candidate.*gene.member =
      gene.values[static_cast<size_t>(std::clamp<int64_t>(moved, 0, static_cast<int64_t>(gene.values.size()) - 1))];
}

int32_t number(const std::ssub_match &match, int32_t absent) {
  if (!match.matched) return absent;
  int32_t value = 0;
  const std::string text = match.str();
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::string Candidate::name() const {
  std::string text = fmt::format("{}-{}-{}x{}-w{}", kernel, problem, tile_q, tile_kv, warps);
  if (stages > 1) text += fmt::format("-s{}", stages);
  if (cluster > 1) text += fmt::format("-c{}", cluster);
  if (q_in_registers != 0) text += "-qreg";
  return text;
}

std::optional<Candidate> parse_candidate(const std::string &module) {
  static const std::regex form(
      "(\\w+)-((?:fp16|bf16)-d\\d+(?:v\\d+)?(?:-causal)?)-(\\d{1,4})x(\\d{1,4})-w(\\d{1,2})(?:-s(\\d{1,2}))?(?:-c(\\d))?(-qreg)?");
  std::smatch match;
  if (!std::regex_match(module, match, form)) return std::nullopt;
  return Candidate{match[1],
                   match[2],
                   number(match[3], 0),
                   number(match[4], 0),
                   number(match[5], 0),
                   number(match[6], 1),
                   number(match[7], 1),
                   match[8].matched ? 1 : 0};
}

Candidate mutated(const Candidate &parent, const std::vector<Candidate> &seeds, Random &random) {
  Candidate child = parent;
  // Another kernel is another way to split the keys; its own choice for the shape is where to begin.
  if (seeds.size() > 1 && below(random, 10) == 0) return seeds[below(random, seeds.size())];
  for (size_t moves = below(random, 3) == 0 ? 2 : 1; moves > 0; --moves)
    move_gene(child, genes()[below(random, genes().size())], random);
  return child;
}

Candidate crossed(const Candidate &a, const Candidate &b, Random &random) {
  Candidate child = below(random, 2) == 0 ? a : b;
  for (const Gene &gene : genes()) child.*gene.member = below(random, 2) == 0 ? a.*gene.member : b.*gene.member;
  return child;
}

bool allowed(const Candidate &candidate) {
  return flashcore_kernel_check_name(candidate.name().c_str(), nullptr) == FLASHCORE_OK;
}

}  // namespace flashcore::tools
