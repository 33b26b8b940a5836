// SPDX-License-Identifier: Apache-2.0
//
// --compare: two results row by row. A row is slower when its median grew by more than the threshold and the rank test
// says that this is no chance; either alone is noise.
#include <fmt/format.h>

#include <algorithm>

#include "../common/statistics.hpp"
#include "bench.hpp"

namespace flashcore::tools {
namespace {

bool same_row(const Row &a, const Row &b) {
  return a.shape.same_problem(b.shape) && a.kernel_asked == b.kernel_asked && a.mode == b.mode;
}

const Row *find_row(const Results &results, const Row &wanted) {
  const auto found = std::find_if(results.rows.begin(), results.rows.end(),
                                  [&](const Row &row) { return row.status == RowStatus::ok && same_row(row, wanted); });
  return found == results.rows.end() ? nullptr : &*found;
}

// "auto: sm80_fwd_mma", and both where the choice has changed.
std::string kernel_text(const Row &older, const Row &newer) {
  if (newer.kernel_asked != "auto") return newer.kernel;
  if (older.kernel == newer.kernel) return "auto: " + newer.kernel;
  return fmt::format("auto: {} (was {})", newer.kernel, older.kernel);
}

std::string header_text(const Results &older, const Results &newer, double threshold, const Console &console) {
  FieldList fields;
  fields.add("older", fmt::format("commit {}, {}", older.commit, older.context.device.name));
  fields.add("newer", fmt::format("commit {}, {}", newer.commit, newer.context.device.name));
  fields.add(
      "ratio",
      fmt::format("median of the newer by that of the older: below 1 is faster; noise is within {:.3g} %, or where "
                  "the rank test gives {} or more",
                  threshold * 100, significance));
  if (std::string(older.context.device.name) != newer.context.device.name)
    fields.add("careful", "the devices differ: the ratios compare machines, not versions", Mark::warning);
  return console.paint(Mark::heading, "comparison") + "\n" + fields.render(console);
}

void add_missing(const Results &here, const Results &there, const char *text, Table &table) {
  for (const Row &row : here.rows)
    if (row.status == RowStatus::ok && find_row(there, row) == nullptr)
      table.add_row({{row.shape.name}, {row.kernel_asked}, {row.mode}, {}, {}, {}, {}, {text, Mark::warning}});
}

}  // namespace

Comparison compare_results(const Results &older, const Results &newer, double threshold, const Console &console) {
  Comparison comparison;
  Table table({{"shape", Align::left},
               {"kernel", Align::left},
               {"mode", Align::left},
               {"older us"},
               {"newer us"},
               {"ratio"},
               {"chance"},
               {"verdict", Align::left}});
  for (const Row &row : newer.rows) {
    const Row *before = row.status == RowStatus::ok ? find_row(older, row) : nullptr;
    if (before == nullptr) continue;
    const double old_us = median(before->samples_us), new_us = median(row.samples_us);
    const Verdict verdict = judge(before->samples_us, row.samples_us, threshold);
    const double chance =
        new_us > old_us ? rank_test(before->samples_us, row.samples_us) : rank_test(row.samples_us, before->samples_us);
    ++comparison.compared;
    if (verdict == Verdict::slower) ++comparison.slower;
    table.add_row({{row.shape.name},
                   {kernel_text(*before, row)},
                   {row.mode},
                   {fmt::format("{:.2f}", old_us)},
                   {fmt::format("{:.2f}", new_us)},
                   {fmt::format("{:.3f}", new_us / old_us)},
                   {fmt::format("{:.1g}", chance)},
                   verdict_cell(verdict)});
  }
  add_missing(older, newer, "only in the older", table);
  add_missing(newer, older, "only in the newer", table);
  const std::string sum = fmt::format("{} rows compared, {} slower\n", comparison.compared, comparison.slower);
  comparison.text = header_text(older, newer, threshold, console) + "\n" + table.render(console, 2) + "\n" +
                    console.paint(comparison.slower > 0 ? Mark::bad : Mark::good, sum.substr(0, sum.size() - 1)) + "\n";
  return comparison;
}

}  // namespace flashcore::tools
