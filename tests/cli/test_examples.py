#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples in C, C++ and Python: the device that a word names, or an error. Those in Rust and Go: bindings/run_suite.py. EXAMPLES holds
the programs, separated by ':'; PYTHON_EXAMPLE the one in Python."""
import importlib.util
import os
import sys

import cli
from cli import OK

EXAMPLES = os.environ["EXAMPLES"].split(":")


class Devices(cli.ToolTest):
    """There is no driver here."""

    def commands(self):
        for program in EXAMPLES:
            yield [program]
        if importlib.util.find_spec("numpy"):
            yield [sys.executable, os.environ["PYTHON_EXAMPLE"]]

    def setUp(self):
        super().setUp()
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(os.environ["PYTHON_EXAMPLE"]))))
        self.environment.update(PYTHONPATH=os.path.join(root, "python"), FLASHCORE_LIBRARY=os.environ["LIBRARY"])

    def each(self, *words, code, err=()):
        for command in self.commands():
            with self.subTest(command[-1], words=words):
                done = self.run_tool(*command, *words, code=None, err=err)
                self.assertEqual(done.returncode == OK, code == OK, done.stderr)

    def test_the_cpu(self):
        self.each("cpu", code=OK)

    def test_what_there_is(self):
        self.each("auto", code=OK)
        self.each(code=OK)

    def test_a_gpu_or_an_error(self):
        self.each("cuda", code=None, err=[r"/nonexistent/libcuda\.so\.1"])

    def test_devices_that_there_are_not(self):
        for word in ("tpu", "CPU", "cuda0", ""):
            self.each(word, code=None, err=[rf"device is ['\"]{word}['\"]"])

    def test_one_device_at_most(self):
        for program in EXAMPLES:
            self.run_tool(program, "cpu", "cuda", code=2, err=[r"usage: "])


if __name__ == "__main__":
    cli.unittest.main(verbosity=2)
