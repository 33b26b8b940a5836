#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Results as they are committed: quantiles and counts in the place of samples, a row per line.

usage: summarize_results.py RESULTS.json [RESULTS.json ...]

Rewrites each file, which fc-bench --json or a script of this folder has written; one that is a summary already keeps its bytes. The scripts
of this folder write summaries themselves, with summary() and write(). fc-bench writes every sample, because --compare needs them.
"""
import json
import math
import os
import statistics
import sys

BENCH, BENCH_SUMMARY = "flashcore.bench/1", "flashcore.bench.summary/1"
# Every list of samples of fc-bench's, and the quantiles beside it that stay.
SAMPLES = {"samples_us": "time_us", "host_samples_us": "host_us", "call_samples_us": "call_us", "bare_launch_samples_us": "bare_launch_us"}
SUMMARIES = (BENCH_SUMMARY, "flashcore.compare_features/1", "flashcore.compare_ragged/1", "flashcore.compare_torch/2", "flashcore.compare_versions/1",
             "flashcore.emulated_beside_measured/1", "flashcore.hard_scores/1", "flashcore.host_cost_torch/3", "flashcore.transformers_models/1")
DIGITS = 6  # more than any clock has


def quantile(ordered, share):
    """Between the two nearest ranks, as fc-bench works it out."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def summary(samples):
    ordered = sorted(samples)
    return {"n": len(ordered), "p10": quantile(ordered, 0.1), "p50": statistics.median(ordered), "p90": quantile(ordered, 0.9)}


def bench_row(row):
    """A row of fc-bench's results or of its host costs, without its samples."""
    short = {}
    for name, value in row.items():
        if name not in SAMPLES:
            short[name] = value
        elif value:
            short[SAMPLES[name]] = {"n": len(value), **row[SAMPLES[name]]}
    return short


def startup_case(case):
    """The few starts of a case, field by field."""
    runs = case["runs"]
    columns = {name: [run[name] for run in runs] for name in (runs[0] if runs else ())}
    times = {name: {"min": min(values), "p50": statistics.median(values), "max": max(values)} for name, values in columns.items()}
    return {**{name: value for name, value in case.items() if name != "runs"}, "n": len(runs), **times}


def summarized(report):
    """The report without samples."""
    schema = report.get("schema")
    if schema in SUMMARIES:
        return report
    if schema != BENCH:
        raise ValueError(f"schema is {schema!r}, but must be one of: {', '.join((BENCH, *SUMMARIES))}")
    shorten = {"results": bench_row, "host_cost": bench_row, "startup": startup_case}
    return {**{name: [shorten[name](row) for row in value] if name in shorten else value for name, value in report.items()}, "schema": BENCH_SUMMARY}


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        short = float(f"{value:.{DIGITS}g}")
        # JSON has no NaN and no infinity; a result that is one must not read as a number, nor be lost.
        return str(value) if not math.isfinite(value) else int(value) if value.is_integer() else int(short) if short.is_integer() else short
    return value


def text(report):
    """JSON with a line for each field, and for each row of a list, so that a difference shows the rows that changed."""
    one_line = lambda value: json.dumps(value, ensure_ascii=False, allow_nan=False)
    fields = []
    for name, value in rounded(report).items():
        rows = ",\n".join("  " + one_line(row) for row in value) if isinstance(value, list) else ""
        fields.append(f" {one_line(name)}: " + (f"[\n{rows}\n ]" if rows else one_line(value)))
    return "{\n" + ",\n".join(fields) + "\n}\n"


def write(path, report):
    """Never half a file: what is measured for an hour is written after every row."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text(report))
    os.replace(path + ".part", path)


def main(paths):
    if not paths or paths[0].startswith("-"):
        sys.exit(__doc__)
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                write(path, summarized(json.load(file)))
        except (OSError, ValueError, KeyError) as reason:
            sys.exit(f"{path}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
