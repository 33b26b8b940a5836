# SPDX-License-Identifier: Apache-2.0
"""Small slips in device code, as a tired hand makes them: each is a change of a few characters, by text alone. mutate.py applies them."""
import re
from typing import Callable, Iterator, List, NamedTuple, Tuple


class Slip(NamedTuple):
    file: str  # below the source root
    line: int
    kind: str
    start: int  # of what is replaced, in the file's text
    end: int
    text: str

    def shown(self, source):
        """What was replaced by what, within its line."""
        begin = source.rfind("\n", 0, self.start) + 1
        stop = source.find("\n", self.end)
        before, after = source[begin:stop], source[begin:self.start] + self.text + source[self.end:stop]
        return " ".join(before.split()), " ".join(after.split())


Change = Tuple[int, int, str]  # start, end, text
Finder = Callable[[str], Iterator[Change]]


def blanked(text):
    """Comments, preprocessor lines and what only the compiler asks for as spaces, so that offsets stay."""
    patterns = (r"//[^\n]*", r"/\*.*?\*/", r"^[ \t]*#[^\n]*", r"\bstatic_assert\([^;]*;", r"^[ \t]*template <[^\n]*", r"\"[^\"\n]*\"")
    for pattern in patterns:
        text = re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.MULTILINE | re.DOTALL)
    return text


def device_code(path, text):
    """A kernel's second half; the whole of a part."""
    if not path.endswith(".cu"):
        return blanked(text)
    begin = text.index("---- Device ----")
    return re.sub(r"[^\n]", " ", text[:begin]) + blanked(text[begin:])


def closing(code, opened):
    """Behind the bracket that closes the one at `opened`."""
    depth = 0
    for at in range(opened, len(code)):
        depth += (code[at] in "([{") - (code[at] in ")]}")
        if depth == 0:
            return at + 1
    return len(code)


def pattern(expression, *replacements) -> Finder:
    """Each replacement of each match."""
    compiled = re.compile(expression)

    def find(code):
        for match in compiled.finditer(code):
            for replacement in replacements:
                yield match.start(), match.end(), replacement
    return find


def both_ways(*pairs) -> Finder:
    """One operator for the other."""
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    operators = re.compile(r"(?<= )(" + "|".join(map(re.escape, other)) + r")(?= )")

    def find(code):
        for match in operators.finditer(code):
            yield match.start(), match.end(), other[match.group()]
    return find


def any_of(*finders) -> Finder:
    def find(code):
        for finder in finders:
            yield from finder(code)
    return find


NEAR = 400  # characters


def other_name(*pairs) -> Finder:
    """A name for one like it, where that stands nearby."""
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    names = re.compile(r"\b(" + "|".join(sorted(map(re.escape, other), key=len, reverse=True)) + r")\b(?!\()")

    def find(code):
        for match in names.finditer(code):
            new = other[match.group()]
            declared = re.search(r"(?:_t|float|bool|auto|Address|Loader|uint4) [&*]?(?:const )?$", code[:match.start()][-40:])
            near = code[max(0, match.start() - NEAR):match.end() + NEAR]
            if not declared and re.search(rf"\b{new}\b", near):
                yield match.start(), match.end(), new
    return find


def off_by_one(code):
    for match in re.finditer(r"(?<![\w.])\d+(?![\w.])", code):
        number = int(match.group())
        yield match.start(), match.end(), str(number + 1)
        if number > 0:
            yield match.start(), match.end(), str(number - 1)


def one_of_two(code):
    """fmaxf(a, b) becomes a or b."""
    for match in re.finditer(r"\b(?:fmaxf|fminf|min)\(", code):
        end, depth, comma = closing(code, match.end() - 1), 0, 0
        for at in range(match.end(), end):
            depth += (code[at] in "([{") - (code[at] in ")]}")
            if code[at] == "," and depth == 0:
                comma = at
        if comma:
            yield match.start(), end, "(" + code[match.end():comma] + ")"
            yield match.start(), end, "(" + code[comma + 1:end - 1].strip() + ")"


def condition(code):
    for match in re.finditer(r"\bif \(", code):
        end = closing(code, match.end() - 1)
        for text in ("(true)", "(false)"):
            yield match.end() - 1, end, text


STATEMENT = re.compile(r"(?:(?<=[;{}\n])|(?<=\) )|(?<=else ))[ \t]*(?P<text>(?!return|if|for|while|using|const|static|break|continue|else)"
                       r"[\w:.<>\[\]\->*]+(?: [-+*|^&]?= |\()[^;{}]*;)")


def dropped(words, without=r"\A\Z"):
    """Dropped, where its text holds one of the words and none of the others."""
    having, lacking = re.compile(words), re.compile(without)

    def find(code):
        for match in STATEMENT.finditer(code):
            text = match.group("text")
            if having.search(text) and not lacking.search(text) and text.count("(") == text.count(")"):
                yield match.start("text"), match.end("text"), ";"
    return find


KINDS = {
    "bound": both_ways(("<", "<="), (">", ">=")),
    "comparison": both_ways(("==", "!=")),
    "+ and -": both_ways(("+", "-")),
    "/ and %": both_ways(("/", "%")),
    "bits": any_of(both_ways(("^", "|"), ("<<", ">>")), pattern(r"(?<= )&(?= )", "|"), pattern(r"~(?=\w)", "")),
    "&& and ||": both_ways(("&&", "||")),
    "dropped !": pattern(r"!(?=[\w(])", ""),
    "dropped sign": pattern(r"(?<=[=?:,] )-(?=\w)|(?<=\()-(?=\w)", ""),
    "assignment": any_of(pattern(r"(?<= )[-+*|^]=(?= )", "="), pattern(r"(?<= )-=(?= )", "+=")),
    "off by one": off_by_one,
    "0 or 1": any_of(pattern(r"\b0\.0f", "1.0f"), pattern(r"\b1\.0f", "0.0f")),
    "true and false": any_of(pattern(r"\btrue\b", "false"), pattern(r"\bfalse\b", "true")),
    "dropped factor": pattern(r"(?<=[\w)\]]) \* [\w.:]+(?:\(\))?(?=[;,)\]])", ""),
    "dropped term": pattern(r"(?<=[\w)\]]) [-+] [\w.:]+(?:\(\))?(?=[;,)\]])", ""),
    "one of two": one_of_two,
    "condition": condition,
    "other name": other_name(
        ("key", "value"), ("key_tile", "value_tile"), ("key_loader", "value_loader"), ("key_rows", "value_rows"), ("key_lane", "value_lane"),
        ("head_q", "head_kv"), ("heads_q", "heads_kv"), ("seqlen_q", "seqlen_kv"), ("head_dim", "head_dim_v"), ("tile_q", "tile_kv"),
        ("row", "column"), ("low", "high"), ("begin", "end"), ("first_key", "first_row"), ("old_max", "new_max"), ("x", "y"), ("z", "w"),
        ("lane", "thread"), ("half", "c"), ("stride_row", "stride_head"), ("reference", "sum"), ("row_max", "row_sum"), ("Rows", "ValueRows"),
        ("i", "j"), ("n", "r")),
    "dropped barrier": dropped(r"barrier|__sync(threads|warp)\("),
    "dropped wait": dropped(r"_wait"),
    "dropped commit": dropped(r"_commit"),
    "wait for fewer": any_of(*(pattern(rf"(?<=_wait<){count}(?=>)", str(count + 1)) for count in range(3))),
    "dropped statement": dropped(r".", r"barrier|__sync|_wait|_commit"),
}


def slips_of(path, text) -> List[Slip]:
    code = device_code(path, text)
    return [Slip(path, text.count("\n", 0, start) + 1, kind, start, end, new)
            for kind, find in KINDS.items() for start, end, new in find(code)]
