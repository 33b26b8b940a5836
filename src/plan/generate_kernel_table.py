#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the kernel table: a C++ file with one row per kernel, its source text and digests, and every header it may include.

usage: generate_kernel_table.py --output FILE --depfile FILE --kernels DIR --cuda-include DIR PATH...

PATH is a kernel's file below the kernels folder, without .cu; the kernel has the file's name. Headers are found by following the
include directives in the text: quoted and <contract/...> ones in the kernels folder, <cuda/...> and <nv/...> ones in libcu++.
Other angle includes are left out on purpose: NVRTC builds in what libcu++ takes from the toolkit, and the toolkit's own headers may
not be passed on.

A kernel's digests are over its own file and those of the kernels folder that it includes, so that other files are free to change.
libcu++ is not in them: a toolkit at build time must not decide what a module is called.
"""
import argparse
import hashlib
import os
import re
import sys

sys.dont_write_bytecode = True  # a build leaves the source folder as it is
import kernel_text

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
GENERATED = {"specialization.h"}


def libcudacxx_root(cuda_include):
    for root in (os.path.join(cuda_include, "cccl"), cuda_include):
        if os.path.isfile(os.path.join(root, "cuda/std/cstdint")):
            return root
    sys.exit(f"generate_kernel_table: no cuda/std/cstdint (libcu++) under {cuda_include} or {cuda_include}/cccl")


def kernel_file(path, text):
    """(normalised text, includes) of a file of the kernels folder"""
    try:
        lines = kernel_text.normalise(text)
        return "\n".join(lines), kernel_text.includes(lines)
    except kernel_text.Refused as refused:
        sys.exit(f"generate_kernel_table: {path}: {refused}")


def collect(paths, kernels, cccl):
    """(sources by path of the kernel, headers by include name in order of name, (normalised text, includes) of each own file, files read)"""
    sources, headers, own, files, waiting = {}, {}, {}, [], []
    for kernel in paths:
        path = os.path.join(kernels, kernel + ".cu")
        sources[kernel] = open(path, encoding="utf-8").read()
        own[kernel + ".cu"] = kernel_file(path, sources[kernel])
        files.append(path)
        waiting.append((path, own[kernel + ".cu"][1]))
    while waiting:
        origin, includes = waiting.pop()
        for kind, include in includes:
            if include in GENERATED or include in headers:
                continue
            is_own = not include.startswith(("cuda/", "nv/"))
            path = os.path.join(kernels if is_own else cccl, include)
            if not os.path.isfile(path):
                if kind == '"' and origin.startswith(kernels):
                    sys.exit(f"generate_kernel_table: {origin} includes {include}, which is not in {kernels}")
                continue
            headers[include] = open(path, encoding="utf-8").read()
            files.append(path)
            if is_own:
                own[include] = kernel_file(path, headers[include])
            waiting.append((path, own[include][1] if is_own else INCLUDE.findall(headers[include])))
    return sources, dict(sorted(headers.items())), own, files


def name_of(path):
    return path.rsplit("/", 1)[-1]


def closure(name, own):
    """Names of the files of the kernels folder that this one includes, itself among them, in order of name."""
    found, waiting = {name}, [name]
    while waiting:
        for _, include in own[waiting.pop()][1]:
            if include in own and include not in found:
                found.add(include)
                waiting.append(include)
    return sorted(found)


def literal(text):
    """A raw string; split, because compilers limit the length of one literal."""
    assert ')FLASHCORE"' not in text
    return "\n".join(f'R"FLASHCORE({text[i:i + 15000]})FLASHCORE"' for i in range(0, max(len(text), 1), 15000))


def digest(texts):
    hashed = hashlib.sha256()
    for name, text in texts.items():
        for part in (name.encode(), text.encode()):
            hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    for option in ("--output", "--depfile", "--kernels", "--cuda-include"):
        parser.add_argument(option, required=True)
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    sources, headers, own, files = collect(arguments.paths, arguments.kernels, libcudacxx_root(arguments.cuda_include))
    rows = []
    for path, source in sources.items():
        name, texts, parts = name_of(path), {path + ".cu": source, **headers}, closure(path + ".cu", own)
        tokens_sha256, text_sha256 = digest({part: own[part][0] for part in parts}), digest({part: texts[part] for part in parts})
        rows.append(f'    {{&kernels::{name}::passport, {{source_{name}, sizeof(source_{name}) - 1}},\n'
                    f'     "{tokens_sha256}"sv,\n     "{text_sha256}"sv}},')

    out = ["// Generated by generate_kernel_table.py from kernels/meson.build.", '#include "plan/kernel_table.hpp"', ""]
    out += [f'#include "{path}.cu"' for path in sources]
    out += ["", "namespace flashcore {", "namespace {", "using namespace std::string_view_literals;", ""]
    out += [f"constexpr const char source_{name_of(path)}[] =\n{literal(text)};\n" for path, text in sources.items()]
    out += [f"constexpr const char header_{i}[] =\n{literal(text)};\n" for i, text in enumerate(headers.values())]
    out += ["constexpr KernelRow rows[] = {", *rows]
    out += ["};", "", "constexpr EmbeddedHeader headers[] = {"]
    out += [f'    {{"{name}"sv, {{header_{i}, sizeof(header_{i}) - 1}}}},' for i, name in enumerate(headers)]
    out += ["};", "", "}  // namespace", "",
            "std::span<const KernelRow> kernel_table() { return rows; }",
            "std::span<const EmbeddedHeader> kernel_headers() { return headers; }",
            f'std::string_view kernel_headers_sha256() {{ return "{digest(headers)}"sv; }}',
            "", "}  // namespace flashcore", ""]
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write("\n".join(out))
    with open(arguments.depfile, "w", encoding="utf-8") as file:
        file.write(f"{arguments.output}: " + " ".join(path.replace(" ", "\\ ") for path in files) + "\n")


if __name__ == "__main__":
    main()
