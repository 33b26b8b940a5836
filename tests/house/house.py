# SPDX-License-Identifier: Apache-2.0
"""What the house checks share: a report in TAP, the list of our source files, and C++ text without comments.

Every check proves first that it can fail: it is run on something planted wrong, and the case fails if nothing is found.
"""
import os
import sys

OUR_FOLDERS = ("include", "src", "kernels", "ptx_cache", "tools", "examples", "bindings", "benchmarks", "tests")
CPP_SUFFIXES = (".c", ".cpp", ".h", ".hpp", ".cu", ".cuh", ".inc")


class Report:
    """One TAP line per case, and the exit status."""

    def __init__(self):
        self.cases = 0
        self.failed = 0

    def case(self, name, problems):
        """A case that passed when `problems` is empty."""
        self.cases += 1
        self.failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.cases} - {name}")
        for problem in problems:
            print(f"# {problem}", file=sys.stderr)

    def skip(self, name, reason):
        self.cases += 1
        print(f"ok {self.cases} - {name} # SKIP {reason}")

    def self_test(self, name, found, fragments, silent=False):
        """What a check found on the planted tree must hold every fragment and, if silent, nothing else."""
        text = "\n".join(found)
        problems = [f"not caught: {fragment}" for fragment in fragments if fragment not in text]
        if silent:
            problems += [f"false alarm: {line}" for line in found if not any(fragment in line for fragment in fragments)]
        self.case(f"self-test: {name}", problems)

    def finish(self):
        print(f"1..{self.cases}", flush=True)
        sys.exit(1 if self.failed else 0)


def source_files(root, suffixes=CPP_SUFFIXES, folders=OUR_FOLDERS):
    """Paths, relative to root, with '/'."""
    found = []
    for folder in folders:
        for directory, names, files in os.walk(os.path.join(root, folder)):
            names[:] = sorted(name for name in names if not name.startswith((".", "build", "__pycache__", "target")))
            for file in sorted(files):
                if file.endswith(suffixes):
                    found.append(os.path.relpath(os.path.join(directory, file), root).replace(os.sep, "/"))
    return found


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text, keep_strings=True):
    """C++ text with comments blanked, line numbers kept; string contents blanked as well unless kept."""
    out, i, length = [], 0, len(text)
    while i < length:
        two = text[i:i + 2]
        if two == "//":
            end = text.find("\n", i)
            i = length if end < 0 else end
        elif two == "/*":
            end = text.find("*/", i + 2)
            end = length if end < 0 else end + 2
            out.append("\n" * text.count("\n", i, end) or " ")
            i = end
        elif text.startswith('R"', i) and not (i and (text[i - 1].isalnum() or text[i - 1] == "_")):
            opened = text.find("(", i)
            close = ")" + text[i + 2:opened] + '"'
            end = text.find(close, opened)
            end = length if end < 0 else end + len(close)
            out.append(text[i:end] if keep_strings else '""' + "\n" * text.count("\n", i, end))
            i = end
        elif text[i] == '"' or (text[i] == "'" and not (i and text[i - 1].isalnum())):
            quote, end = text[i], i + 1
            while end < length and text[end] not in (quote, "\n"):
                end += 2 if text[end] == "\\" else 1
            end = min(end + 1, length)
            out.append(text[i:end] if keep_strings else quote + quote)
            i = end
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def plant(root, files):
    """Write {path: text} under root."""
    for path, text in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
