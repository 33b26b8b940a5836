# SPDX-License-Identifier: Apache-2.0
"""Stamps: the files by which ninja knows modules. One line for each module, `SHA-256  file below the module folder  module`,
sorted by module; lines that begin with '#' are for people."""
import hashlib
import os
from typing import NamedTuple


class Row(NamedTuple):
    digest: str
    file: str
    module: str


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read(path):
    with open(path, encoding="utf-8") as file:
        return [Row(*line.split()) for line in file if not line.startswith("#")]


def write(path, rows, of):
    """A stamp that would not change stays untouched, so that ninja goes no further."""
    lines = [f"# Modules shipped of {of}: SHA-256 of the file, the file below the module folder, the module.\n"]
    lines += [f"{row.digest}  {row.file}  {row.module}\n" for row in sorted(rows, key=lambda row: row.module)]
    text = "".join(lines)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    with open(path + ".part", "w", encoding="utf-8") as stamp:
        stamp.write(text)
    os.replace(path + ".part", path)
