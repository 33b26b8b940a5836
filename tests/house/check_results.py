#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Committed measurements are summaries. usage: check_results.py SOURCE_ROOT

A file of benchmarks/results says by which schema, of which commit and on which device; it holds quantiles, no samples; and its lines are
those that benchmarks/summarize_results.py writes, so that a difference shows what was measured anew.
"""
import json
import os
import sys
import tempfile

import house

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../benchmarks"))
import summarize_results

FOLDER = "benchmarks/results"
MOST_NUMBERS = 16


def long_lists(value, place):
    """Where more numbers stand in a row than a person reads."""
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in long_lists(item, f"{place}.{name}")]
    if not isinstance(value, list):
        return []
    numbers = sum(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value)
    here = [f"{place} holds {numbers} numbers; quantiles are committed, samples are not"] if numbers > MOST_NUMBERS else []
    return here + [found for i, item in enumerate(value) for found in long_lists(item, f"{place}[{i}]")]


def device_name(device):
    return device.get("name") if isinstance(device, dict) else device


def file_problems(root, path):
    text = house.read(root, path)
    try:
        report = json.loads(text)
    except ValueError as reason:
        return [f"{path} is not JSON: {reason}"]
    if not isinstance(report, dict):
        return [f"{path} is no JSON object"]
    problems = [f"{path}: {field} is {report.get(field)!r}" for field in ("schema", "commit") if not isinstance(report.get(field), str) or not report[field]]
    problems += [] if isinstance(device_name(report.get("device")), str) else [f"{path}: device is {report.get('device')!r}"]
    if report.get("schema") not in summarize_results.SUMMARIES:
        problems.append(f"{path}: schema is none of {', '.join(summarize_results.SUMMARIES)}; run benchmarks/summarize_results.py on it")
    problems += [f"{path}: {found}" for found in long_lists(report, "report")]
    return problems or ([] if summarize_results.text(report) == text else [f"{path} has other lines than benchmarks/summarize_results.py writes; run it"])


def checks(root):
    """{case name: problems}"""
    files = sorted(os.listdir(os.path.join(root, FOLDER)))
    return {f"{FOLDER} holds JSON alone": [f"{FOLDER}/{name} is no JSON file" for name in files if not name.endswith(".json")],
            **{f"{FOLDER}/{name} is a summary": file_problems(root, f"{FOLDER}/{name}") for name in files if name.endswith(".json")}}


GOOD = {"schema": summarize_results.BENCH_SUMMARY, "commit": "1234567", "device": {"name": "GPU"}, "results": [{"time_us": {"p50": 1.5}}]}
WRONG = {
    "samples.json": ({**GOOD, "results": [{"samples_us": [0.5] * 17}]}, "samples.json: report.results[0].samples_us holds 17 numbers"),
    "full.json": ({**GOOD, "schema": summarize_results.BENCH}, "full.json: schema is none of"),
    "schema.json": ({**GOOD, "schema": None}, "schema.json: schema is None"),
    "commit.json": ({**GOOD, "commit": ""}, "commit.json: commit is ''"),
    "device.json": ({**GOOD, "device": {"kind": "cuda"}}, "device.json: device is {'kind': 'cuda'}"),
    "list.json": ([1], "list.json is no JSON object"),
}
RIGHT = {"good.json": GOOD, "named.json": {**GOOD, "device": "GPU"}, "short.json": {**GOOD, "list": [1] * MOST_NUMBERS}}


def self_test(report):
    with tempfile.TemporaryDirectory() as root:
        planted = {name: content for name, (content, _) in WRONG.items()} | RIGHT
        texts = {name: summarize_results.text(content) if isinstance(content, dict) else json.dumps(content) for name, content in planted.items()}
        texts |= {"lines.json": json.dumps(GOOD), "broken.json": "{", "notes.txt": "none\n"}
        house.plant(root, {f"{FOLDER}/{name}": text for name, text in texts.items()})
        found = [problem for problems in checks(root).values() for problem in problems]
        # A schema that is none is also none of the known ones.
        fragments = [fragment for _, fragment in WRONG.values()] + ["schema.json: schema is none of", "lines.json has other lines", "broken.json is not JSON",
                                                                    "notes.txt is no JSON file"]
        report.self_test("planted files are caught", found, fragments, silent=True)


def main(root):
    report = house.Report()
    self_test(report)
    for name, problems in checks(root).items():
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1])
