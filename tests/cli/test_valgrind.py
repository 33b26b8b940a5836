#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tools under valgrind's memcheck: no bad access, nothing that is not set, no leak, whether the work ends well or is refused. A usual
run takes three commands, the setup "long" all of them.
"""
import os
import shutil
import subprocess
import sys
import unittest

import cli
from cli import BAD_INPUT, FAILED, OK, USAGE

FC_BENCH, FC_TUNE = os.environ["FC_BENCH"], os.environ["FC_TUNE"]
VALGRIND = shutil.which("valgrind")
REPORTED = 99
LONG = os.environ.get("FLASHCORE_TEST_EXTENT") == "long"

# (tool, arguments, exit code), the usual ones first. {name}: a path in the test's folder.
COMMANDS = [
    (cli.FC_RUN, "--device cpu --threads 2 --random 1 --batch 2 --heads 4 --heads-kv 2 --seqlen-q 5 --seqlen-kv 9 --head-dim 16 --causal top-left --check", OK),
    (cli.FC_INSPECT, "doctor", OK),
    (cli.FC_RUN, "--query {none.npy} --key {none.npy} --value {none.npy} --check", BAD_INPUT),
    (cli.FC_RUN, "--query {q.npy} --key {q.npy} --value {q.npy} --device cpu --output {o.npy} --lse {lse.npy} --json", OK),
    (cli.FC_RUN, "--query {bad.npy} --key {q.npy} --value {q.npy} --device cpu --check", BAD_INPUT),
    (cli.FC_RUN, "--random 1 --seqlen 4 --device cpu --explain", OK),
    (cli.FC_RUN, "--random x", USAGE),
    (cli.FC_INSPECT, "--help", OK), (cli.FC_INSPECT, "--version", OK), (cli.FC_INSPECT, "doctor --json", OK),
    (cli.FC_INSPECT, "list", OK), (cli.FC_INSPECT, "overview --json", OK), (cli.FC_INSPECT, "verify", OK),
    (cli.FC_INSPECT, "verify {bad.fcm}", FAILED), (cli.FC_INSPECT, "show {bad.fcm}", BAD_INPUT), (cli.FC_INSPECT, "show fwd_magic", USAGE),
    (cli.FC_INSPECT, "show --model sm_89", OK), (cli.FC_INSPECT, "clear", OK), (cli.FC_INSPECT, "prune --limit 1 --json", OK),
    (cli.FC_INSPECT, "export {pack}", OK), (cli.FC_INSPECT, "compile sm_89 --output {out} --nvrtc {none.so}", FAILED),
    (FC_BENCH, "--help", OK), (FC_BENCH, "--device cpu --shape 1,1,1,8,8,16,fp16,none --samples 2 --json", None), (FC_BENCH, "--shape 1", USAGE),
    (FC_TUNE, "--help", OK), (FC_TUNE, "--shape 1", USAGE),
]


@unittest.skipUnless(VALGRIND, "valgrind is not installed")
@unittest.skipUnless(os.environ["SANITIZE"] == "none", "a sanitizer looks already")
class Memcheck(cli.ToolTest):
    def check(self, tool, arguments, code):
        words = [word.replace("{", self.folder + "/").replace("}", "") for word in arguments.split()]
        done = subprocess.run([VALGRIND, "-q", f"--error-exitcode={REPORTED}", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect", tool, *words],
                              env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        said = f"{tool} {arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        self.assertNotEqual(done.returncode, REPORTED, said)
        self.assertNotIn("\n==", "\n" + done.stderr.lstrip("="), said)
        if code is not None:
            self.assertEqual(done.returncode, code, said)

    def test_a_bad_access_would_be_seen(self):
        done = subprocess.run([VALGRIND, "-q", f"--error-exitcode={REPORTED}", sys.executable, "-c", "import ctypes; ctypes.string_at(8)"],
                              capture_output=True, timeout=300, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"Invalid read", done.stderr)

    def test_commands(self):
        self.write("bad.fcm", os.urandom(3000))
        self.write("bad.npy", b"\x93NUMPY\x01\x00" + b"\xff" * 40)
        self.write_array("q.npy", "<f2", (1, 3, 2, 8))
        commands = COMMANDS if LONG else COMMANDS[:3]
        for tool, arguments, code in commands:
            with self.subTest(arguments):
                self.check(tool, arguments, code)
        print(f"figure: {len(commands)} commands", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
