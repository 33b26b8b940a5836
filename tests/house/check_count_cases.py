#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/count_cases.py counts what programs print, and never hides a failure."""
import contextlib
import io
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import count_cases
import house

BOOST = """Test module "problem" has {verdict} with:
  {passed} test cases out of 9 passed
  1 test case out of 9 passed with warnings
  {failed} test cases out of 9 failed
  2 test cases out of 9 skipped
  40 assertions out of 42 passed
"""
BOOST_LOG = 'x.cpp(1): Test case "s/g" is skipped because precondition failed: no GPU\nx.cpp(2): Test case "s/h" is skipped because disabled\n'
TAP = "ok 1 - a\nok 2 - b # SKIP no strace\nnoise\n{third} 3 - c\n1..3\n"
UNITTEST = "test_a (x.A) ... skipped 'no GPU'\nRan 5 tests in 0.1s\n\nOK (skipped=1)\n"
CARGO = """test a ... ok
test b ... ignored, needs a GPU
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
"""
GO = """=== RUN   TestA
=== RUN   TestA/cpu
=== RUN   TestA/gpu
    a_test.go:3: needs a GPU
--- {verdict}: TestA (0.00s)
    --- {verdict}: TestA/cpu (0.00s)
    --- SKIP: TestA/gpu (0.00s)
=== RUN   TestAlone
--- PASS: TestAlone (0.00s)
--- SKIP: BenchmarkA
PASS
ok  \tx\t0.1s
=== RUN   TestA
--- PASS: TestA (0.00s)
ok  \tx/y\t0.1s
"""

# name, result, stdout, stderr; expected last line, expected exit status, a line that must be there
RUNS = [
    ("Boost", "OK", BOOST_LOG, BOOST.format(verdict="passed", passed=6, failed=0), "7 passed, 0 failed, 2 skipped", 0, "skipped 1: no GPU"),
    ("Boost with a skipped suite", "OK", 'x.cpp(1): Test suite "s" is skipped because precondition failed: no NVRTC\n',
     BOOST.format(verdict="passed", passed=6, failed=0), "7 passed, 0 failed, 2 skipped", 0, "skipped 2: no NVRTC"),
    ("Boost failing", "FAIL", 'x.cpp(3): error: in "s/c": check 1 == 2 has failed\n', BOOST.format(verdict="failed", passed=4, failed=2),
     "5 passed, 2 failed, 2 skipped", 1, 'failed: t: 2 failed (FAIL, status 0)\n  x.cpp(3): error: in "s/c"'),
    ("Boost crashing after its cases", "FAIL", "", BOOST.format(verdict="passed", passed=6, failed=0), "7 passed, 1 failed, 2 skipped", 1, ""),
    ("TAP", "OK", TAP.format(third="ok"), "", "2 passed, 0 failed, 1 skipped", 0, "skipped 1: no strace"),
    ("TAP failing", "FAIL", TAP.format(third="not ok"), "# why", "1 passed, 1 failed, 1 skipped", 1, "  not ok 3 - c\n  # why\n"),
    ("no plan, so no TAP", "OK", "ok 1\nok 2\n", "", "1 passed, 0 failed, 0 skipped", 0, ""),
    ("unittest", "OK", "", UNITTEST, "4 passed, 0 failed, 1 skipped", 0, "skipped 1: no GPU"),
    ("unittest failing", "FAIL", "", "Ran 5 tests in 1s\n\nFAILED (failures=1, errors=1)\n", "3 passed, 2 failed, 0 skipped", 1, ""),
    ("cargo", "OK", CARGO.format(verdict="ok", passed=2, failed=0), "", "5 passed, 0 failed, 1 skipped", 0, "skipped 1: needs a GPU"),
    ("cargo failing", "FAIL", CARGO.format(verdict="FAILED", passed=1, failed=2) + "thread 'b' panicked at 'no'\n", "",
     "4 passed, 2 failed, 1 skipped", 1, "  thread 'b' panicked at 'no'\n"),
    ("cargo that does not compile", "FAIL", "", "error[E0308]: mismatched types\n", "0 passed, 1 failed, 0 skipped", 1, "  error[E0308]: mis"),
    ("go", "OK", GO.format(verdict="PASS"), "", "3 passed, 0 failed, 1 skipped", 0, "skipped 1: needs a GPU"),
    ("go failing", "FAIL", GO.format(verdict="FAIL"), "", "2 passed, 1 failed, 1 skipped", 1, "      --- FAIL: TestA/cpu"),
    ("go with a race outside its cases", "FAIL", GO.format(verdict="PASS") + "WARNING: DATA RACE\n", "", "3 passed, 1 failed, 1 skipped", 1,
     "  WARNING: DATA RACE\n"),
    ("a plain program", "OK", "hello\n", "", "1 passed, 0 failed, 0 skipped", 0, ""),
    ("a plain program skipped", "SKIP", "", "no GPU here\n", "0 passed, 0 failed, 1 skipped", 0, "skipped 1: no GPU here"),
    ("a time limit", "TIMEOUT", TAP.format(third="ok")[:8], "", "0 passed, 1 failed, 0 skipped", 1, "failed: t: 1 failed (TIMEOUT"),
]


def count(result, stdout, stderr):
    """(what count_cases.py prints, its exit status) for a log of one program"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "testlog.json")
        with open(path, "w", encoding="utf-8") as log:
            log.write(json.dumps({"name": "t", "result": result, "stdout": stdout, "stderr": stderr, "returncode": 0}) + "\n")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = count_cases.main(path)
        return output.getvalue(), status


def main():
    report = house.Report()
    for name, result, stdout, stderr, expected, expected_status, line in RUNS:
        text, status = count(result, stdout, stderr)
        problems = [] if text.endswith("\n" + expected + "\n") else [f"expected '{expected}' at the end of: {text!r}"]
        problems += [] if status == expected_status else [f"expected exit status {expected_status}, not {status}"]
        problems += [] if line in text else [f"expected '{line}' in: {text!r}"]
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main()
