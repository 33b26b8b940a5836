// SPDX-License-Identifier: Apache-2.0
//
// fc-tune, step by step: candidates (modules that the passports allow), a search over them (mutation, crossover, selection),
// a static check (compiled, registers, spills, occupancy), a clock (fc-bench's), a state that a later run resumes from, and
// rows for ptx_cache/tuned, which the library's selector obeys. docs/MEASURING.md says how to use it.
//
// Glossary
//   candidate  one module: a kernel and its compile-time choices, for one dtype, head dimension and mask
//   pruned     a candidate that is not timed: not allowed, spilling, too large, too few warps, or wrong
//   row        one line of ptx_cache/tuned/<arch>.tsv: a range of problems and the module for it
#pragma once

#include <flashcore/flashcore_inspect.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "../common/arch.hpp"
#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/measuring.hpp"
#include "../common/outcome.hpp"
#include "../common/statistics.hpp"

namespace flashcore::tools {

inline constexpr const char *tool_name = "fc-tune";

// --- candidate.cpp -------------------------------------------------------------------------------------------------

// A kernel's choices, as the library tells of them. Those that have values to try are the genes; the shape fixes the others.
using Choices = std::vector<flashcore_choice_info>;
const Choices &choices_of(const std::string &kernel);  // no such kernel: none; not for several threads

struct Candidate {
  std::string kernel;
  std::array<int32_t, FLASHCORE_MOST_CHOICES> values{};  // in the order of the kernel's choices
  std::string module;                                    // its name; empty: the kernel's passport allows no such module

  const std::string &name() const { return module; }
  int32_t value(const std::string &choice) const;  // 0: the kernel has no such choice
  void set(const std::string &choice, int32_t value);
  // What the shape fixes as in `other`, which is of the same kernel.
  void take_problem_of(const Candidate &other);
  bool operator==(const Candidate &) const = default;
};
// nullopt: no name of a module for 16-byte aligned rows.
std::optional<Candidate> parse_candidate(const std::string &module);

using Random = std::mt19937_64;
// One gene or two moved to a neighbouring value. `kernels` are what the kernel gene may become: seeds of the shape.
Candidate mutated(const Candidate &parent, const std::vector<Candidate> &seeds, Random &random);
// Every gene of either parent; kernel and problem of one of them.
Candidate crossed(const Candidate &a, const Candidate &b, Random &random);
// Does the kernel's passport allow it, by the library itself?
bool allowed(const Candidate &candidate);

// --- search.cpp ----------------------------------------------------------------------------------------------------

enum class Fate { pruned, timed };
struct Evaluation {
  Fate fate = Fate::pruned;
  double us = 0;       // timed: the median; in a static search the model's figure
  std::string reason;  // pruned: why
};

struct SearchOptions {
  int32_t population = 24;
  int32_t patience = 4;  // generations without a better candidate after which a search has converged
};

// One evolutionary search. It only decides what to look at next; evaluating is the caller's business, so that a search can
// be resumed from evaluations and tested without a clock.
class Search {
 public:
  Search(std::vector<Candidate> seeds, uint64_t seed, const SearchOptions &options);

  // What an earlier run found out; before the first generation.
  void remember(const std::string &module, const Evaluation &evaluation);
  // The next candidates, none seen before, each allowed. Empty: converged, or nothing is left.
  std::vector<Candidate> next_generation();
  void record(const Candidate &candidate, const Evaluation &evaluation);

  int32_t generation() const { return generation_; }
  const std::map<std::string, Evaluation> &evaluations() const { return evaluations_; }
  // The fastest that was timed.
  const std::string *best() const { return best_.empty() ? nullptr : &best_; }
  double best_us() const { return best_us_; }
  int64_t timed() const;

 private:
  std::vector<Candidate> parents() const;  // timed, fastest first, at most `population`
  std::optional<Candidate> child(const std::vector<Candidate> &parents);

  std::vector<Candidate> seeds_;
  Random random_;
  SearchOptions options_;
  std::map<std::string, Evaluation> evaluations_;
  std::string best_;
  double best_us_ = 0;
  int32_t generation_ = 0, since_better_ = 0;
};

// --- static_check.cpp: what the cubin says before anything is timed ------------------------------------------------

struct StaticResult {
  flashcore_module_info info{};
  int32_t blocks_per_multiprocessor = 0;
  std::string pruned;  // why; empty: worth timing
};
// Thread blocks of these resources that a multiprocessor holds at once.
int32_t blocks_per_multiprocessor(int32_t registers, int32_t threads, int64_t shared_bytes,
                                  const flashcore_device_info &device);
// Why a compiled module is not worth timing; empty: it is.
std::string prune_reason(const flashcore_kernel_resources &resources, int32_t threads,
                         const flashcore_device_info &device);

// Compiles what no cache holds, `jobs` processes at once, into the user cache; then judges each.
std::vector<StaticResult> check_statically(const std::vector<Candidate> &candidates,
                                           const flashcore_device_info &device, const std::string &arch,
                                           const flashcore_context_options &context, int64_t jobs,
                                           const Words &library_words);
// One process of it: compiles one module.
Outcome<int> run_compile_worker(const flashcore_context_options &context, const std::string &arch,
                                const std::string &module);

// --- timing.cpp: one shape on the device ---------------------------------------------------------------------------

struct TunedShape {
  Shape shape;
  std::string default_module, best_module;
  double default_us = 0, best_us = 0;  // timed in turns
  int64_t timed = 0, pruned = 0;
  Verdict verdict = Verdict::same;  // of the best against the default
  std::string problem;              // why it could not be tuned
  bool better() const { return verdict == Verdict::faster; }
};

// --- state.cpp: what was found out, in a file ----------------------------------------------------------------------

struct ShapeState {
  Shape shape;
  std::map<std::string, Evaluation> evaluations;  // by module
  std::map<std::string, std::string> keys;  // of the modules' sources and options: another one is another candidate
  bool converged = false;
};
struct State {
  std::string arch, device;  // results of another device are no results
  bool is_static = false;
  std::vector<ShapeState> shapes;

  ShapeState &of(const Shape &shape);
};
std::string state_json(const State &state);
Outcome<State> parse_state(const std::string &json, const std::string &path);
// An empty state where there is no such file. A failure where it is of another device, architecture or kind of search.
Outcome<State> read_state(const std::string &path, const State &expected);
Step write_state(const State &state, const std::string &path);  // no path: nothing is written

// --- rows.cpp ------------------------------------------------------------------------------------------------------

struct Range {
  int64_t first = 1, last = 1;
  bool operator==(const Range &) const = default;
};
struct Row {
  std::string dtype, causal;  // "fp16" or "bf16"; "none" or "causal"
  int64_t head_dim = 0, head_dim_v = 0;
  Range batch_heads, seqlen_q, seqlen_kv;
  std::string module;
  double measured_us = 0, default_us = 0;
};

// Rows for the shapes that became faster, each for the problems around its shape: a factor of the root of 2 in every size,
// and less where another shape's problems begin.
std::vector<Row> rows_of(const std::vector<TunedShape> &shapes);
bool overlap(const Row &a, const Row &b);
// The problem in the middle of a row's ranges.
Shape shape_of(const Row &row, const std::string &name);
std::string table_text(const std::vector<Row> &rows);
Outcome<std::vector<Row>> read_table(const std::string &path);  // no rows where there is no such file
Outcome<std::vector<Row>> parse_table(const std::string &text, const std::string &path);
// The older rows, without those that speak of problems of a shape that was tuned now, and the new ones.
std::vector<Row> merged(std::vector<Row> older, const std::vector<Row> &newer, const std::vector<Shape> &tuned_now);

// --- tune_request.cpp ----------------------------------------------------------------------------------------------

enum class Action { search, search_statically, verify, compile_worker };
struct Request {
  Action action = Action::search;
  std::vector<Shape> shapes;
  double budget_us = 6e8;
  std::string state,
      output;        // files; output empty: ptx_cache/tuned/<arch>.tsv where that folder is, else tuned-<arch>.tsv
  std::string arch;  // of a static search and of a compile worker
  int64_t jobs = 0;
  uint64_t seed = 1;
  double threshold = 0.01;
  SearchOptions search;
  flashcore_context_options context = FLASHCORE_CONTEXT_OPTIONS_INIT;
  std::string worker_module;
  Words library_words;  // options that say where the library looks, for the compile workers
  Words notes;
};
boost::program_options::options_description all_options();
std::vector<boost::program_options::options_description> shown_option_groups();
Outcome<Request> make_request(const Options &options);
// "90s", "10m", "1h", "500ms"; microseconds.
Outcome<double> parse_duration_us(const std::string &option, const std::string &text);

// The file of a request: what --state says, or a name of its own for each architecture and kind of search ("static-").
std::string state_file(const Request &request, const std::string &arch, const char *kind);
// What of an earlier run still holds: a module's key covers its source, its headers and its options, and all modules of a kernel
// share those, so that one of each kernel tells.
void remember_state(const ShapeState &known, const flashcore_context_options &context, const std::string &arch,
                    Search &search);

// --- run_search.cpp, run_static_search.cpp, verify.cpp: the actions. Each returns the exit code. -------------------

Outcome<int> run_search(const Request &request, const Console &console, JsonOutput &json);
Outcome<int> run_static_search(const Request &request, const Console &console, JsonOutput &json);
Outcome<int> run_verify(const Request &request, const Console &console, JsonOutput &json);
// Where the rows of an architecture go and come from when --output does not say.
std::string default_table(const std::string &arch);

}  // namespace flashcore::tools
