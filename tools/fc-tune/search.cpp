// SPDX-License-Identifier: Apache-2.0
//
// The evolution: who becomes a parent, which children are looked at next, when a search has converged.
#include <algorithm>
#include <set>

#include "tune.hpp"

namespace flashcore::tools {
namespace {

constexpr int32_t most_tries = 400;  // to find a child that is allowed and new
constexpr size_t tournament = 3;

}  // namespace

Search::Search(std::vector<Candidate> seeds, uint64_t seed, const SearchOptions &options)
    : seeds_(std::move(seeds)), random_(seed), options_(options) {}

void Search::remember(const std::string &module, const Evaluation &evaluation) {
  evaluations_[module] = evaluation;
  if (evaluation.fate != Fate::timed || (!best_.empty() && evaluation.us >= best_us_)) return;
  best_ = module, best_us_ = evaluation.us;
}

void Search::record(const Candidate &candidate, const Evaluation &evaluation) {
  const std::string before = best_;
  remember(candidate.name(), evaluation);
  if (best_ != before) since_better_ = 0;
}

int64_t Search::timed() const {
  return std::count_if(evaluations_.begin(), evaluations_.end(),
                       [](const auto &one) { return one.second.fate == Fate::timed; });
}

std::vector<Candidate> Search::parents() const {
  std::vector<std::pair<double, Candidate>> timed;
  for (const auto &[module, evaluation] : evaluations_)
    if (const auto candidate = parse_candidate(module); candidate && evaluation.fate == Fate::timed)
      timed.emplace_back(evaluation.us, *candidate);
  std::sort(timed.begin(), timed.end(), [](const auto &a, const auto &b) { return a.first < b.first; });
  std::vector<Candidate> fastest;
  for (const auto &[us, candidate] : timed)
    if (fastest.size() < static_cast<size_t>(options_.population)) fastest.push_back(candidate);
  return fastest;
}

// By tournament: of a few parents the fastest.
std::optional<Candidate> Search::child(const std::vector<Candidate> &parents) {
  const auto pick = [&]() -> const Candidate & {
    size_t best = parents.size() - 1;
    for (size_t i = 0; i < tournament; ++i) best = std::min(best, static_cast<size_t>(random_() % parents.size()));
    return parents[best];
  };
  const Candidate &a = pick();
  Candidate made = random_() % 3 == 0 ? crossed(a, pick(), random_) : a;
  if (made == a || random_() % 2 == 0) made = mutated(made, seeds_, random_);
  if (evaluations_.count(made.name()) != 0 || !allowed(made)) return std::nullopt;
  return made;
}

std::vector<Candidate> Search::next_generation() {
  std::vector<Candidate> next;
  std::set<std::string> names;
  const auto take = [&](const Candidate &candidate) {
    if (next.size() < static_cast<size_t>(options_.population) && evaluations_.count(candidate.name()) == 0 &&
        names.insert(candidate.name()).second)
      next.push_back(candidate);
  };
  if (generation_ > 0 && ++since_better_ > options_.patience) return {};
  ++generation_;
  for (const Candidate &seed : seeds_)
    if (allowed(seed)) take(seed);
  std::vector<Candidate> from = parents();
  if (from.empty()) from = seeds_;
  for (int32_t tries = 0; !from.empty() && tries < most_tries && next.size() < static_cast<size_t>(options_.population);
       ++tries)
    if (const auto made = child(from)) take(*made);
  return next;
}

}  // namespace flashcore::tools
