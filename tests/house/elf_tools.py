# SPDX-License-Identifier: Apache-2.0
"""What nm and readelf say about a library, as Python values, and a compiler for planted ones."""
import collections
import os
import re
import subprocess

Symbol = collections.namedtuple("Symbol", "name node kind")  # kind: nm's letter, "T" for a function


def tool(*command):
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def exported_symbols(library):
    """Defined dynamic symbols, without the version nodes themselves."""
    symbols = []
    for line in tool("nm", "--dynamic", "--defined-only", "--with-symbol-versions", library).splitlines():
        fields = line.split()
        kind, (name, _, node) = fields[-2], fields[-1].partition("@")
        if kind != "A":
            symbols.append(Symbol(name, node.lstrip("@"), kind))
    return symbols


def needed_symbols(library):
    return [line.split()[-1].partition("@")[0] for line in tool("nm", "--dynamic", "--undefined-only", library).splitlines()]


def dynamic_section(library):
    """[(tag, value)]: ("NEEDED", "libc.so.6"), ("FLAGS", "BIND_NOW"), ..."""
    rows = re.findall(r"^ 0x[0-9a-f]+ \((\w+)\)\s+(.*)$", tool("readelf", "--dynamic", "--wide", library), re.MULTILINE)
    return [(tag, (re.search(r"\[(.*)\]", value) or [None, value])[1]) for tag, value in rows]


def program_headers(library):
    """{type: flags}: {"GNU_STACK": "RW", "GNU_RELRO": "R"}"""
    rows = re.findall(r"^  (\w+)\s+(?:0x[0-9a-f]+\s+){5}([RWE ]{3})", tool("readelf", "--segments", "--wide", library), re.MULTILINE)
    return {kind: flags.replace(" ", "") for kind, flags in rows}


def array_functions(library, section):
    """Names of the functions that a section of pointers (.init_array, .fini_array) lists: run at load, at unload."""
    rows = re.findall(r"^\s*\[\s*\d+\] (\S+)\s+\S+\s+([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)",
                      tool("readelf", "--sections", "--wide", library), re.MULTILINE)
    ranges = [(int(address, 16), int(address, 16) + int(size, 16)) for name, address, size in rows if name == section]
    names = {}
    for line in tool("nm", library).splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tTwW":
            names.setdefault(int(fields[0], 16), fields[2])
    entries = re.findall(r"^([0-9a-f]+)\s+[0-9a-f]+\s+R_\w+RELATIVE\s+([0-9a-f]+)$", tool("readelf", "--relocs", "--wide", library), re.MULTILINE)
    return [names.get(int(target, 16), f"0x{target}") for offset, target in entries
            if any(begin <= int(offset, 16) < end for begin, end in ranges)]


def build_library(compiler, folder, text, *arguments):
    """Compile `text` into a shared library; returns its path."""
    source, library = os.path.join(folder, "planted.cpp"), os.path.join(folder, "libplanted.so")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    tool(*compiler, "-std=c++20", "-fPIC", "-shared", source, "-o", library, *arguments)
    return library
