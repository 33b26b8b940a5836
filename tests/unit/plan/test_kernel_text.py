#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A kernel's digests: a comment changes the one over tokens nowhere, a token changes it in exactly the kernels that include its file,
and what a comment or the layout could change in a program is refused.

usage: test_kernel_text.py PLAN_FOLDER KERNELS_FOLDER CUDA_INCLUDE KERNEL_PATHS COMPILER...
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PLAN, KERNELS, CUDA_INCLUDE, PATHS, *COMPILER = sys.argv[1:]
PATHS = PATHS.split(",")
NAMES = [path.rsplit("/", 1)[-1] for path in PATHS]
GENERATOR = os.path.join(PLAN, "generate_kernel_table.py")
sys.path[:0] = [PLAN]
sys.dont_write_bytecode = True

import kernel_text

# (name, text, its normalised lines)
NORMALISED = [
    ("nothing", "", []),
    ("only comments", "// one\n/* two */\n\n", []),
    ("blanks", "  int \t a ;\n\n\n  int b;  \n", ["int a ; int b;"]),
    ("no newline at the end", "int a;", ["int a;"]),
    ("line comment", "int a;  // word\nint b;\n", ["int a; int b;"]),
    ("a block comment is one blank", "int/**/a;\nint /* x\n * y */ b;\n", ["int a; int b;"]),
    ("an operator is not made of two", "a +/**/+ b", ["a + + b"]),
    ("an operator is not split", "a ++ b", ["a ++ b"]),
    ("comment marks in strings", 's = "// no /* no */ comment";  // yes', ['s = "// no /* no */ comment";']),
    ("quotes in comments", "// it's \"so\na; /* ' \" */ b", ["a; b"]),
    ("comment marks in comments", "/* // */ a; // /*\nb; // */", ["a; b;"]),
    ("blanks in strings", '"a  b\t c"', ['"a  b\t c"']),
    ("escapes in strings", r'''"\"  // \\" "\\"  // end''', [r'''"\"  // \\" "\\"''']),
    ("character literals", "'\"'  '\\''  '//'  '  ' // end", ["'\"' '\\'' '//' '  '"]),
    ("prefixed literals", """u8"a  //"  L'  ' U"b  " """, ["""u8"a  //" L'  ' U"b  \""""]),
    ("digit separators", "1'000  + 0x1'0e+2 'a  b' // x'y", ["1'000 + 0x1'0e+2 'a  b'"]),
    ("raw string", 'R"(a  // b\n#define "  c\n)"  d', ['R"(a  // b\n#define "  c\n)" d']),
    ("raw string with a delimiter", 'u8R"x-(a)"  )x-"  // end', ['u8R"x-(a)"  )x-"']),
    ("a raw string keeps its backslashes", 'int \\\n  a; R"(b \\\n  c)" \\\n  // d \\\n e\nf', ['int a; R"(b \\\n  c)" f']),
    ("no raw string", 'FOUR"(a  b"  c // )"', ['FOUR"(a  b" c']),
    ("continued words and comments", "in\\\nt a; /\\\n/ b\nc; /\\\n* d *\\\n/ e", ["int a; c; e"]),
    ("continued line comment", "a; // b \\\nc\nd;", ["a; d;"]),
    ("directives keep their lines", "a\n#define b c\nd\n", ["a", "#define b c", "d"]),
    ("two directives", "#if a\n\n  #  define b\n#endif // a\n", ["#if a", "# define b", "#endif"]),
    ("a continued directive is one line", "#define a(b) \\\n  b;   \\\n  b\nc\nd", ["#define a(b) b; b", "c d"]),
    ("a directive goes on in a comment", "#define a /* one\n two */ b\nc", ["#define a b", "c"]),
    ("a directive behind a comment", "a /* one\n two */ #define b\nc", ["a #define b c"]),
    ("a directive behind a comment at the line's start", "a\n/* one\n two */ #define b\nc", ["a", "#define b", "c"]),
    ("no directive", "a # b\n", ["a # b"]),
    ("a macro with and without parameters", "#define a(b) b\n#define c (b)\n", ["#define a(b) b", "#define c (b)"]),
    ("an object-like macro by a comment", "#define a/**/(b) b\n", ["#define a (b) b"]),
    ("a name with a blank", '#include "a  b"  // c\n', ['#include "a  b"']),
]

# Each pair is two programs, or could be.
DIFFERENT = [
    ("a ++ b", "a + + b"), ("ab", "a b"), ('"a b"', '"a  b"'), ("'  '", "' '"), ('R"(a\nb)"', 'R"(a b)"'), ('R"(\\\na)"', 'R"(a)"'),
    ("#define a\nb", "#define a b"), ("#define a (b)", "#define a(b)"), ("a\n#b", "a #b"), ("#if a\nb\n#endif", "#if a b\n#endif"),
    ('"// a"', '"// b"'), ("s(a+b)", "s(a + b)"), ("a // b \\\nc", "a // b\nc"), ("1'000", "1000"),
]

# (text, why it is refused)
REFUSED = [
    *((f"int a;\nint b = std::{word}(c);", f"2: {word} is not allowed") for word in
      ("__LINE__", "__FILE__", "__FILE_NAME__", "__BASE_FILE__", "__INCLUDE_LEVEL__", "__DATE__", "__TIME__", "__TIMESTAMP__",
       "__builtin_LINE", "__builtin_FILE", "__builtin_COLUMN", "assert", "__assertfail", "_CCCL_ASSERT", "source_location")),
    ("#if 0\n#define a __LI\\\nNE__\n#endif", "2: __LINE__ is not allowed"),
    ("#if __has_include(<a.h>)\n#endif", "1: __has_include is not allowed"),
    ("#define a \\ \n  b", "1: a backslash and blanks end the line"),
    ("a\n// b \\\t\nc", "2: a backslash and blanks end the line"),
    ("a\n%:define b", "2: a directive begins with #"),
    ("a\n\n'b", "3: a literal does not end: '"), ("#error it's", "1: a literal does not end: '"), ('"a\n"', '1: a literal does not end: "'),
    ('R"(a', "1: a raw string does not end"), ('a;\nR"a b()a b"', "2: a raw string does not end"),
    ("#include NAME", '"#include NAME" is not allowed'), ('#include_next "a.h"', "is not allowed"), ("#import <a.h>", "is not allowed"),
    ('#embed "a.bin"', "is not allowed"), ("#include <a//b.h>\n", "is not allowed"), ('#include "a\\\\b.h"', "is not allowed"),
    ('#include "a.h" b', "is not allowed"), ("#include <a'b.h>'", "is not allowed"),
]
ALLOWED = ["static_assert(a);", '"__LINE__"', "// __LINE__ assert(a)", "my__LINE__", "asserted(a)", "#pragma once", "__COUNTER__"]


def why_refused(text):
    try:
        kernel_text.includes(kernel_text.normalise(text))
    except kernel_text.Refused as refused:
        return str(refused)
    return ""


class Normalise(unittest.TestCase):
    def test_cases(self):
        for name, text, lines in NORMALISED:
            with self.subTest(name):
                self.assertEqual(kernel_text.normalise(text), lines)
                self.assertEqual(kernel_text.normalise("\n".join(lines)), lines)

    def test_two_programs_stay_two(self):
        for one, other in DIFFERENT:
            with self.subTest(one=one, other=other):
                self.assertNotEqual(kernel_text.normalise(one), kernel_text.normalise(other))

    def test_what_is_refused(self):
        for text, why in REFUSED:
            with self.subTest(text):
                self.assertIn(why, why_refused(text))
        for text in ALLOWED:
            with self.subTest(text):
                self.assertEqual(why_refused(text), "")

    def test_includes(self):
        text = '#include "a  b"\n# /* x */ include <c/d.h> // y\n// #include "e"\n/*\n#include "f"\n*/\n"\\\n#include g";\n#if 0\n#inc\\\nlude "h"\n#endif\n'
        self.assertEqual(kernel_text.includes(kernel_text.normalise(text)), [('"', "a  b"), ("<", "c/d.h"), ('"', "h")])


class Digests(unittest.TestCase):
    """The generator on a copy of the kernels folder."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.kernels = os.path.join(self.folder.name, "kernels")
        shutil.copytree(KERNELS, self.kernels)

    def generate(self, toolkit=CUDA_INCLUDE):
        output = os.path.join(self.folder.name, "kernel_table.cpp")
        return output, subprocess.run([sys.executable, GENERATOR, "--output", output, "--depfile", output + ".d", "--kernels", self.kernels,
                                       "--cuda-include", toolkit, *PATHS], stderr=subprocess.PIPE, text=True, check=False)

    def digests(self, toolkit=CUDA_INCLUDE):
        """{kernel: (digest of tokens, digest of text)}"""
        output, done = self.generate(toolkit)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(output, encoding="utf-8") as file:
            rows = re.findall(r'kernels::(\w+)::passport, \{.*\},\s*"([0-9a-f]{64})"sv,\s*"([0-9a-f]{64})"sv\}', file.read())
        self.assertEqual([row[0] for row in rows], NAMES)
        return {name: digests for name, *digests in rows}

    def files(self):
        found = [os.path.relpath(path, self.kernels) for path in glob.glob(os.path.join(self.kernels, "**/*"), recursive=True)]
        return sorted(name for name in found if name.endswith((".cu", ".cuh", ".h")))

    def rewrite(self, name, change):
        path = os.path.join(self.kernels, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(change(text))

    def includers(self):
        """{file: kernels that include it}, by a compiler's own word."""
        found = {name: set() for name in self.files()}
        for kernel in PATHS:
            done = subprocess.run([*COMPILER, "-x", "c++", "-std=c++20", "-M", "-MG", "-D__CUDACC_RTC__", "-D__CUDACC__", "-D__CUDA_ARCH__=900",
                                   "-nostdinc++", "-I", self.kernels, os.path.join(self.kernels, kernel + ".cu")],
                                  stdout=subprocess.PIPE, text=True, check=True)
            for path in done.stdout.replace("\\\n", " ").split():
                name = os.path.relpath(path, self.kernels)
                if name in found:
                    found[name].add(kernel.rsplit("/", 1)[-1])
        return found

    def changed(self, before, after, digest):
        return {name for name in NAMES if before[name][digest] != after[name][digest]}

    def test_a_comment_changes_no_key_and_a_token_those_of_its_includers(self):
        before, includers = self.digests(), self.includers()
        self.assertEqual(len({row[0] for row in before.values()}), len(NAMES))
        self.assertTrue(any(0 < len(kernels) < len(NAMES) for name, kernels in includers.items() if name.startswith("parts/")))
        for name in self.files():
            with self.subTest(name):
                with open(os.path.join(self.kernels, name), encoding="utf-8") as file:
                    original = file.read()
                self.rewrite(name, lambda text: "// it's \"a word\n/* and\n   another */\n" + text.replace("\n", "  // x\n", 1) + "\n\n")
                after = self.digests()
                self.assertEqual(self.changed(before, after, 0), set())
                self.assertEqual(self.changed(before, after, 1), includers[name])
                self.rewrite(name, lambda text: original + "struct OneMore;\n")
                after = self.digests()
                self.assertEqual(self.changed(before, after, 0), includers[name])
                self.rewrite(name, lambda text: original)
        self.assertEqual(self.digests(), before)

    def test_an_include_that_is_spelled_oddly_counts(self):
        """What a directive's layout hides from a search for the usual spelling the compiler includes all the same."""
        odd = '/* x */ # /* y */ inc\\\nlude "parts/odd.cuh"\n'
        with open(os.path.join(self.kernels, "parts/odd.cuh"), "w", encoding="utf-8") as file:
            file.write("#pragma once\nstruct Odd;\n")
        self.rewrite(PATHS[-1] + ".cu", lambda text: text + odd)
        before = self.digests()
        self.rewrite("parts/odd.cuh", lambda text: text.replace("Odd", "Even"))
        self.assertEqual(self.changed(before, self.digests(), 0), {NAMES[-1]})

    def test_the_folders_place_and_libcudacxx_have_no_say(self):
        """Two machines with two toolkits give a kernel one key."""
        before, root = self.digests(), os.path.realpath(CUDA_INCLUDE)
        root = os.path.join(root, "cccl") if os.path.isdir(os.path.join(root, "cccl/cuda/std")) else root
        with open(os.path.join(self.folder.name, "kernel_table.cpp.d"), encoding="utf-8") as file:
            read = [os.path.realpath(path) for path in file.read().split(": ", 1)[1].split()]
        toolkit = os.path.join(self.folder.name, "toolkit")
        copied = [path for path in read if path.startswith(root + os.sep)]
        self.assertIn(os.path.join(root, "cuda/std/cstdint"), copied)
        for path in copied:
            copy = os.path.join(toolkit, os.path.relpath(path, root))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with open(path, encoding="utf-8") as file, open(copy, "w", encoding="utf-8") as other:
                other.write(file.read() + "struct OtherToolkit;\n")
        moved = os.path.join(self.folder.name, "elsewhere")
        os.rename(self.kernels, moved)
        self.kernels = moved
        self.assertEqual(self.digests(toolkit), before)

    def test_a_file_that_tells_its_lines_ends_the_build(self):
        self.rewrite("parts/numeric.cuh", lambda text: text + "inline int line() { return __LINE__; }\n")
        _, done = self.generate()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"generate_kernel_table: .*/parts/numeric\.cuh: \d+: __LINE__ is not allowed in kernels")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
