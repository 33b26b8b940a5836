# SPDX-License-Identifier: Apache-2.0
"""What the compiler sees of a file in kernels/: its tokens. Comments and layout are what it does not see.

normalise() gives the text with every run of comments and blanks as one blank, and each preprocessor directive on a line of its own.
It is still the same program, so that two texts which are equal then make the same cubin: read by C++'s own rules (line
continuations first, except in raw strings; then comments), and refused where a program could tell its layout all the same.
"""
import bisect
import re

TOKEN = re.compile(r"""
    (?P<newline>\n)
  | (?P<blank>(?:[ \t\v\f]|//[^\n]*|/\*.*?\*/)+)
  | (?P<raw>(?:u8|[uUL])?R(?="))
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\.?\d(?:[eEpP][+-]|'?\w|\.)*)
  | (?P<literal>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')
  | (?P<other>.)
""", re.VERBOSE | re.DOTALL)
RAW_STRING = re.compile(r'"([^ ()\\\t\v\f\n]{0,16})\(.*?\)\1"', re.DOTALL)
# Words that tell a line, a file or the time, and those that see a file without including it.
LAYOUT = re.compile(r"__LINE__|__FILE__|__FILE_NAME__|__BASE_FILE__|__INCLUDE_LEVEL__|__DATE__|__TIME__|__TIMESTAMP__"
                    r"|__builtin_(?:LINE|FILE|FILE_NAME|COLUMN|source_location)|source_location"
                    r"|assert|__assert\w*|_CCCL_(?:ASSERT|VERIFY)\w*|__has_include(?:_next)?|__has_embed")
INCLUDING = re.compile(r"# ?(?:include|include_next|import|embed)\b")
INCLUDE = re.compile(r'# ?include ?(?:"([^"\\]+)"|<([\w./+-]+)>)')


class Refused(ValueError):
    """The text has something whose meaning may depend on comments, layout or files outside its closure."""


def line_of(text, index):
    return text.count("\n", 0, index) + 1


def normalise(text):
    """The lines of the normalised text: one for each directive, one for all that stands between two directives."""
    unclear = re.search(r"\\[ \t\v\f]+(?:\n|\Z)", text)
    if unclear is not None:
        raise Refused(f"{line_of(text, unclear.start())}: a backslash and blanks end the line: does it go on?")
    origin = [i for i in range(len(text)) if not text.startswith("\\\n", i) and (i == 0 or not text.startswith("\\\n", i - 1))]
    spliced = "".join(text[i] for i in origin)
    lines, line, at = [], "", 0
    directive, line_start, gap = False, True, False

    def refuse(why):
        raise Refused(f"{line_of(text, origin[at])}: {why}")

    while at < len(spliced):
        match = TOKEN.match(spliced, at)
        kind, token, end = match.lastgroup, match.group(), match.end()
        if kind == "newline":
            if directive:
                lines.append(line)
                line, directive = "", False
            line_start = gap = True
        elif kind == "blank":
            gap = True
        else:
            if kind == "raw":
                string = RAW_STRING.match(text, origin[end])
                if string is None:
                    refuse("a raw string does not end")
                token += string.group()
                end = bisect.bisect_left(origin, string.end())
            elif kind == "word" and LAYOUT.fullmatch(token):
                refuse(f"{token} is not allowed in kernels: two texts that differ in comments only would be two programs")
            elif token in ("'", '"'):
                refuse(f"a literal does not end: {token}")
            elif line_start and spliced.startswith("%:", at):
                refuse("a directive begins with #, not with %:")
            if line_start and token == "#":
                if line:
                    lines.append(line)
                line, directive = "", True
            line += (" " if gap and line else "") + token
            line_start = gap = False
        at = end
    return lines + [line] if line else lines


def includes(lines):
    """(" or <, name) of each file that the normalised lines include, whatever the conditions around it."""
    found = []
    for line in lines:
        if not INCLUDING.match(line):
            continue
        include = INCLUDE.fullmatch(line)
        if include is None:
            raise Refused(f'"{line}" is not allowed in kernels: files are included as #include "name" or #include <name>')
        found.append(('"', include.group(1)) if include.group(1) else ("<", include.group(2)))
    return found
