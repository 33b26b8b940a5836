#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count test cases, not programs, in the log of a Meson test run, and end with one line: N passed, N failed, N skipped.

usage: count_cases.py build/meson-logs/testlog.json      (exit status 1 when a case failed or none was found)

What a program printed says how many cases it held:
  Boost.Test   its report at level "short" or above (BOOST_TEST_REPORT_LEVEL=short)
  TAP          "ok N - name", "not ok N - name", "ok N - name # SKIP reason", with a plan "1..N"
  unittest     "Ran N tests", "OK (skipped=N)", "FAILED (failures=N, errors=N, skipped=N)"
  cargo        "test result: ok. N passed; N failed; N ignored; ...", one line for each of its programs
  go test -v   "--- PASS: Name", "--- FAIL: Name", "--- SKIP: Name"; of a test with subtests only these
A program that reports none of these is one case. Meson's verdict always counts: a program that crashed, timed out or
failed without a failed case of its own adds one failure. The failed cases and the reasons of skipped ones are listed.
"""
import collections
import json
import re
import sys

BOOST_LINE = re.compile(r"^  (\d+) test cases? out of (\d+) (passed|failed|skipped)\b", re.MULTILINE)
BOOST_SKIP = re.compile(r'^.*Test (case|suite) ".*" is skipped because (?:precondition failed: )?(.*)$', re.MULTILINE)
TAP_PLAN = re.compile(r"^1\.\.\d+", re.MULTILINE)
TAP_LINE = re.compile(r"^(ok|not ok)\b[ \t]*\d*[ \t]*-?[ \t]*([^#\n]*)(?:#[ \t]*SKIP\S*[ \t]*(.*))?$", re.MULTILINE | re.IGNORECASE)
# What a program says about a failed case: Boost.Test's errors, TAP's failures and diagnostics, unittest's headings, what Rust's
# and Go's tests and compilers say.
FAILURE_LINE = re.compile(r"^(?:.*: (?:fatal )?error: .*|not ok .*|# .*|(?:FAIL|ERROR): .*|Bail out!.*|thread '.*' panicked at .*|"
                          r"error(?:\[E\d+\])?: .*| *--- FAIL: .*|\s+\w+_test\.go:\d+: .*|panic: .*|WARNING: DATA RACE)$", re.MULTILINE)
MOST_FAILURE_LINES = 20  # of one program; Meson's log has them all
UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_COUNT = re.compile(r"^(?:OK|FAILED) \((.*)\)$", re.MULTILINE)
UNITTEST_SKIP = re.compile(r"\.\.\. skipped ['\"](.*)['\"]$", re.MULTILINE)
CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.MULTILINE)
CARGO_SKIP = re.compile(r"^test .* \.\.\. ignored(?:, (.*))?$", re.MULTILINE)
GO_RUN = re.compile(r"^=== (?:RUN|CONT|NAME) +(\S+)$")
GO_RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): ((?:Test|Example|Fuzz)\S*) \(")  # and no benchmarks
GO_SAID = re.compile(r"^ +\w+\.go:\d+: (.*)$")
GO_PACKAGE = re.compile(r"^(?:ok  |FAIL|\?   )\t")


class Cases:
    def __init__(self, passed=0, failed=0, skipped=0, reasons=()):
        self.passed, self.failed, self.skipped, self.reasons = passed, failed, skipped, list(reasons)


def boost_cases(text):
    counts = collections.Counter()
    for number, _, kind in BOOST_LINE.findall(text):
        counts[kind] += int(number)
    if not counts:
        return None
    skips = BOOST_SKIP.findall(text)
    reasons = [reason for kind, reason in skips if kind == "case"]
    # A skipped suite has one line for all its cases.
    of_suites = " or ".join(dict.fromkeys(reason for kind, reason in skips if kind == "suite"))
    reasons += [of_suites] * (counts["skipped"] - len(reasons) if of_suites else 0)
    return Cases(counts["passed"], counts["failed"], counts["skipped"], reasons)


def tap_cases(text):
    lines = TAP_LINE.findall(text) if TAP_PLAN.search(text) else []
    cases = Cases()
    for verdict, _, reason in lines:
        if reason:
            cases.skipped += 1
            cases.reasons.append(reason.strip())
        elif verdict.lower() == "ok":
            cases.passed += 1
        else:
            cases.failed += 1
    return cases if lines else None


def unittest_cases(text):
    ran = UNITTEST_RAN.search(text)
    if not ran:
        return None
    parts = UNITTEST_COUNT.search(text)
    counts = dict(part.split("=") for part in parts.group(1).split(", ")) if parts else {}
    failed = sum(int(counts.get(kind, 0)) for kind in ("failures", "errors", "unexpected successes"))
    skipped = int(counts.get("skipped", 0))
    return Cases(int(ran.group(1)) - failed - skipped, failed, skipped, UNITTEST_SKIP.findall(text))


def cargo_cases(text):
    results = CARGO_RESULT.findall(text)
    if not results:
        return None
    passed, failed, skipped = (sum(map(int, column)) for column in zip(*results))
    return Cases(passed, failed, skipped, [reason or "no reason given" for reason in CARGO_SKIP.findall(text)])


def go_cases(text):
    """Names are told apart by package, which "ok" or "FAIL" with its name ends."""
    cases, results, said, current, found = Cases(), {}, {}, "", False
    for line in text.splitlines() + ["ok  \t"]:
        running, result, saying = GO_RUN.match(line), GO_RESULT.match(line), GO_SAID.match(line)
        if running:
            current = running.group(1)
        elif result:
            results[result.group(2)] = result.group(1)
        elif saying:
            said[current] = saying.group(1)
        elif GO_PACKAGE.match(line):
            found = found or bool(results)
            for name, verdict in results.items():
                if any(other.startswith(name + "/") for other in results):
                    continue
                cases.passed += verdict == "PASS"
                cases.failed += verdict == "FAIL"
                cases.skipped += verdict == "SKIP"
                cases.reasons += [said.get(name, "no reason given")] if verdict == "SKIP" else []
            results, said = {}, {}
    return cases if found else None


def program_cases(entry):
    """The cases of one line of the log."""
    output, result = entry.get("stdout", ""), entry["result"]
    text = output + "\n" + entry.get("stderr", "")
    cases = boost_cases(text) or tap_cases(output) or unittest_cases(text) or cargo_cases(output) or go_cases(output)
    if result == "SKIP" and (cases is None or cases.passed + cases.failed == 0):
        lines = [line for line in text.splitlines() if line.strip()]
        return Cases(skipped=max(1, cases.skipped if cases else 0), reasons=(cases.reasons if cases else lines[-1:]))
    if result in ("OK", "EXPECTEDFAIL", "SKIP"):
        return cases or Cases(passed=1)
    cases = cases or Cases()
    if cases.failed == 0:  # a crash or a time limit: the program's own report, if any, did not see it
        cases.failed = 1
    return cases


def main(path):
    total = Cases()
    failures, reasons = [], collections.Counter()
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            entry = json.loads(line)
            cases = program_cases(entry)
            total.passed += cases.passed
            total.failed += cases.failed
            total.skipped += cases.skipped
            for i in range(cases.skipped):
                reasons[cases.reasons[i] if i < len(cases.reasons) else "no reason given"] += 1
            if cases.failed:
                failures.append(f"failed: {entry['name']}: {cases.failed} failed ({entry['result']}, status {entry.get('returncode')})")
                said = FAILURE_LINE.findall(entry.get("stdout", "") + "\n" + entry.get("stderr", ""))
                failures += [f"  {line[:300]}" for line in said[:MOST_FAILURE_LINES]]
                failures += [f"  and {len(said) - MOST_FAILURE_LINES} more lines"] if len(said) > MOST_FAILURE_LINES else []
    print()
    for reason, count in sorted(reasons.items()):
        print(f"skipped {count}: {reason[:160]}{'...' if len(reason) > 160 else ''}")
    for failure in failures:
        print(failure)
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed or not (total.passed or total.skipped) else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
