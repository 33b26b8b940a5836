// SPDX-License-Identifier: Apache-2.0
//
// Which call fails, and how often each function was called: shared by both stand-ins. Not thread-safe; they lock.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fake {

class FailurePlan {
 public:
  void fail(const std::string &function, int64_t nth, int32_t code, bool sticky) {
    rules_.push_back({function, nth, code, sticky});
  }
  void clear_failures() { rules_.clear(); }
  void reset_calls() {
    counts_.clear();
    names_.clear();
    total_ = 0;
  }
  void record_names(bool record) { record_names_ = record; }

  // Count one call; the code that it must give, 0: none.
  int32_t enter(const char *function) {
    if (const auto known = counts_.find(std::string_view(function)); known != counts_.end())
      ++known->second;
    else
      counts_.emplace(function, 1);
    ++total_;
    if (record_names_) names_.push_back(function);
    int32_t code = 0;
    for (Rule &rule : rules_) {
      if (!rule.function.empty() && rule.function != function) continue;
      if (rule.remaining > 0) --rule.remaining;
      if (rule.remaining != 0 || (rule.fired && !rule.sticky)) continue;
      rule.fired = true;
      if (code == 0) code = rule.code;
    }
    return code;
  }

  int64_t calls(const std::string &function) const {
    if (function.empty()) return total_;
    const auto found = counts_.find(function);
    return found == counts_.end() ? 0 : found->second;
  }
  const char *name(int64_t index) const {
    return index >= 0 && index < static_cast<int64_t>(names_.size()) ? names_[static_cast<size_t>(index)] : nullptr;
  }
  const std::map<std::string, int64_t, std::less<>> &counts() const { return counts_; }

 private:
  struct Rule {
    std::string function;  // empty: any
    int64_t remaining;
    int32_t code;
    bool sticky;
    bool fired = false;
  };
  std::vector<Rule> rules_;
  std::map<std::string, int64_t, std::less<>> counts_;  // looked up without making a string
  std::vector<const char *> names_;
  int64_t total_ = 0;
  bool record_names_ = true;
};

// "a=1;b=2": each pair to `set`; "fail=..." goes to the plan. A word that nobody knows ends the process: a test with a
// misspelt setting must not pass.
inline void read_settings(const char *variable, FailurePlan &plan,
                          const std::function<bool(const std::string &, const std::string &)> &set) {
  const char *text = std::getenv(variable);
  std::string rest = text != nullptr ? text : "";
  while (!rest.empty()) {
    const size_t end = rest.find(';');
    const std::string pair = rest.substr(0, end);
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
    const size_t equals = pair.find('=');
    const std::string name = pair.substr(0, equals), value = equals == std::string::npos ? "" : pair.substr(equals + 1);
    char function[64] = {}, sticky[16] = {};
    long long nth = 0;
    int code = 0;
    if (name == "fail" && std::sscanf(value.c_str(), "%63[^:]:%lld:%d:%15s", function, &nth, &code, sticky) >= 3)
      plan.fail(function, nth, code, std::string(sticky) == "sticky");
    else if (!pair.empty() && !set(name, value)) {
      std::fprintf(stderr, "%s: unknown setting \"%s\"\n", variable, pair.c_str());
      std::_Exit(120);
    }
  }
}

}  // namespace fake
