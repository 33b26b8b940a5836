// SPDX-License-Identifier: Apache-2.0
//
// Candidates: names of modules as genes and back, how genes move, and whether a passport allows what comes out. Which choices a kernel
// has, what is worth trying of them and what a module is called the library knows; nothing of it is repeated here.
#include <algorithm>

#include "tune.hpp"

namespace flashcore::tools {
namespace {

Choices read_choices(const std::string &kernel) {
  Choices choices;
  flashcore_choice_info info{};
  info.struct_size = sizeof(info);
  for (int32_t i = 0; flashcore_kernel_choice(kernel.c_str(), i, &info, nullptr) == FLASHCORE_OK; ++i)
    choices.push_back(info);
  return choices;
}

int32_t index_of(const Choices &choices, const std::string &name) {
  const auto found = std::find_if(choices.begin(), choices.end(), [&](const auto &one) { return name == one.name; });
  return found == choices.end() ? -1 : static_cast<int32_t>(found - choices.begin());
}

std::vector<size_t> genes_of(const Choices &choices) {
  std::vector<size_t> genes;
  for (size_t i = 0; i < choices.size(); ++i)
    if (choices[i].tried_count > 1) genes.push_back(i);
  return genes;
}

void name_anew(Candidate &candidate) {
  char name[FLASHCORE_NAME_BYTES];
  const bool can_be =
      flashcore_module_name(candidate.kernel.c_str(), candidate.values.data(), name, nullptr) == FLASHCORE_OK;
  candidate.module = can_be ? name : "";
}

size_t below(Random &random, size_t count) { return static_cast<size_t>(random() % count); }

// A mutation moves to a neighbour among the values that are tried: mostly the next one, sometimes one further on.
int32_t moved(int32_t value, const flashcore_choice_info &choice, Random &random) {
  const int32_t *const end = choice.tried + choice.tried_count;
  const auto index = static_cast<int64_t>(std::lower_bound(choice.tried, end, value) - choice.tried);
  const int64_t distance = below(random, 4) == 0 ? 2 : 1,
                there = below(random, 2) == 0 ? index - distance : index + distance;
  return choice.tried[std::clamp<int64_t>(there, 0, choice.tried_count - 1)];
}

}  // namespace

const Choices &choices_of(const std::string &kernel) {
  static std::map<std::string, Choices> known;
  const auto found = known.find(kernel);
  return found != known.end() ? found->second : known.emplace(kernel, read_choices(kernel)).first->second;
}

int32_t Candidate::value(const std::string &choice) const {
  const int32_t index = index_of(choices_of(kernel), choice);
  return index < 0 ? 0 : values[static_cast<size_t>(index)];
}

void Candidate::set(const std::string &choice, int32_t value) {
  const int32_t index = index_of(choices_of(kernel), choice);
  if (index < 0) return;
  values[static_cast<size_t>(index)] = value;
  name_anew(*this);
}

void Candidate::take_problem_of(const Candidate &other) {
  const Choices &choices = choices_of(kernel);
  for (size_t i = 0; i < choices.size(); ++i)
    if (choices[i].tried_count == 0) values[i] = other.values[i];
  name_anew(*this);
}

std::optional<Candidate> parse_candidate(const std::string &module) {
  Candidate candidate{module.substr(0, module.find('-')), {}, module};
  if (flashcore_module_choices(module.c_str(), candidate.values.data(), nullptr) != FLASHCORE_OK) return std::nullopt;
  constexpr int32_t aligned = 16;
  if (const int32_t bytes = candidate.value("alignment_bytes"); bytes != 0 && bytes != aligned) return std::nullopt;
  return candidate;
}

Candidate mutated(const Candidate &parent, const std::vector<Candidate> &seeds, Random &random) {
  Candidate child = parent;
  // Another kernel is another way to split the keys; its own choice for the shape is where to begin.
  if (seeds.size() > 1 && below(random, 10) == 0) return seeds[below(random, seeds.size())];
  const Choices &choices = choices_of(parent.kernel);
  const std::vector<size_t> genes = genes_of(choices);
  if (genes.empty()) return child;
  for (size_t moves = below(random, 3) == 0 ? 2 : 1; moves > 0; --moves) {
    const size_t gene = genes[below(random, genes.size())];
    child.values[gene] = moved(child.values[gene], choices[gene], random);
  }
  name_anew(child);
  return child;
}

Candidate crossed(const Candidate &a, const Candidate &b, Random &random) {
  const bool of_a = below(random, 2) == 0;
  Candidate child = of_a ? a : b;
  const Candidate &other = of_a ? b : a;
  const Choices &choices = choices_of(child.kernel), &others = choices_of(other.kernel);
  for (const size_t gene : genes_of(choices)) {
    const int32_t there = index_of(others, choices[gene].name);
    if (there >= 0 && below(random, 2) == 0) child.values[gene] = other.values[static_cast<size_t>(there)];
  }
  name_anew(child);
  return child;
}

bool allowed(const Candidate &candidate) {
  return !candidate.module.empty() && flashcore_kernel_check_name(candidate.module.c_str(), nullptr) == FLASHCORE_OK;
}

}  // namespace flashcore::tools
