#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages and completions that tools/manual/make_manual.py makes: every option and subcommand of --help is in them, the
page is one that man can set, and the shells really complete. MANUAL is their folder, TOOLS "name=program" separated by ':'.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

MANUAL, TOOLS = os.environ["MANUAL"], dict(row.split("=", 1) for row in os.environ["TOOLS"].split(":"))
sys.path.insert(0, os.environ["MAKE_MANUAL"])
sys.dont_write_bytecode = True

import make_manual

WORD = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


def read(name):
    with open(os.path.join(MANUAL, name), encoding="utf-8") as file:
        return file.read()


def help_text(tool):
    return subprocess.run([TOOLS[tool], "--help"], capture_output=True, text=True, check=True).stdout


def declared_options(text):
    """The options at the beginning of a line; found without make_manual's own parser, which is what is tested."""
    names = set()
    for line in text.splitlines():
        if line.startswith("  -"):
            names.update(WORD.findall(line.split("  ")[1]))
    return {name for name in names if name.startswith("--")}


class Manual(unittest.TestCase):
    def each(self):
        for tool in TOOLS:
            yield tool, help_text(tool), declared_options(help_text(tool))

    def test_pages_hold_every_option(self):
        for tool, text, options in self.each():
            self.assertGreater(len(options), 8)
            page = read(f"{tool}.1").replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
            self.assertEqual(sorted(option for option in options if option not in WORD.findall(page)), [])
            for line in [line for line in text.splitlines() if line.startswith(f"  {tool} ")]:
                self.assertIn(" ".join(line.split()[:2]), page)
            self.assertIn("EXIT STATUS", page)

    def test_completions_hold_every_option(self):
        for tool, _, options in self.each():
            bash, zsh, fish = read(f"{tool}.bash"), read(f"_{tool}"), read(f"{tool}.fish")
            for option in options:
                self.assertIn(option, WORD.findall(bash))
                self.assertRegex(zsh, rf"'\*?{option}\[")
                self.assertRegex(fish, rf" -l {option[2:]} ")

    def test_pages_can_be_set(self):
        if not shutil.which("man") or not shutil.which("groff"):
            self.skipTest("man with groff is not installed")
        for tool, _, _ in self.each():
            done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", os.path.join(MANUAL, f"{tool}.1")],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def complete_in_bash(self, tool, *words):
        script = f'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _{tool.replace("-", "_")} 2>/dev/null; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", script, "bash", os.path.join(MANUAL, f"{tool}.bash"), tool, *words], capture_output=True, text=True, check=True)
        return done.stdout.split("\n")[:-1]

    def test_bash_completes(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "a folder"))
            with open(os.path.join(folder, "a file"), "w", encoding="utf-8"):
                pass
            begin = os.path.join(folder, "a")
            self.assertEqual(self.complete_in_bash("fc-run", "--seqlen"), ["--seqlen-q", "--seqlen-kv", "--seqlen"])
            self.assertEqual(self.complete_in_bash("fc-run", "--causal", ""), ["none", "top-left", "bottom-right"])
            self.assertEqual(sorted(self.complete_in_bash("fc-run", "--query", begin)), [begin + " file", begin + " folder"])
            self.assertEqual(self.complete_in_bash("fc-run", "--cache-dir", begin), [begin + " folder"])
            self.assertEqual(self.complete_in_bash("fc-run", "--batch", "")[:1], [""])
        self.assertEqual(self.complete_in_bash("fc-inspect", "s"), ["show"])
        self.assertEqual(self.complete_in_bash("fc-inspect", "list", "--origin", ""), ["any", "shipped", "user"])

    def test_zsh_reads_its_files(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        for tool, _, _ in self.each():
            subprocess.run(["zsh", "-n", os.path.join(MANUAL, f"_{tool}")], check=True)

    def test_fish_completes(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        with tempfile.TemporaryDirectory() as home:
            script = f"source {MANUAL}/fc-run.fish; complete -C 'fc-run --causal '"
            said = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "HOME": home}).stdout
        self.assertEqual(sorted(line.split("\t")[0] for line in said.splitlines()), ["bottom-right", "none", "top-left"])


class Parser(unittest.TestCase):
    """What the generator must not swallow."""

    def test_unknown_lines_are_errors(self):
        for text in ("intro\n\nGroup:\n  odd line\n\nExit codes: 0 ok.\n", "intro\n\nGroup:\n  --a     x\n\nan odd paragraph\nof two lines\n\nExit codes: 0\n",
                     "intro\n\nGroup:\n  --a     x\n"):
            self.assertRaises(ValueError, make_manual.Help, text)

    def test_options(self):
        said = make_manual.Help("x does it. More.\n\nGroup:\n  --long-option-name N SMs that it\n                     takes\n  -q [ --quiet ]       quiet\n\nExit codes: 0 ok.\n")
        self.assertEqual([(option.short, option.name, option.placeholder, option.text) for option in said.options],
                         [("", "long-option-name", "N", "SMs that it takes"), ("q", "quiet", "", "quiet")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
