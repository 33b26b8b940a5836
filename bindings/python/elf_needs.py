# SPDX-License-Identifier: Apache-2.0
"""What an ELF file needs from the machine that it runs on, for setup.py: a wheel says the oldest C library it works with in its name."""
import struct
from typing import NamedTuple

# What a manylinux wheel may count on: the C library, and the compiler's runtime, whose symbols are old.
EVERYWHERE = frozenset(("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
                        "libgcc_s.so.1"))
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 1, 5, 0x6ffffffe, 0x6fffffff


class Needs(NamedTuple):
    libraries: tuple[str, ...]  # DT_NEEDED
    versions: tuple[str, ...]  # of symbols: "GLIBC_2.34"

    def glibc(self):
        """(2, 34): the oldest C library that has all its symbols; None where it needs none."""
        numbers = [tuple(map(int, version[len("GLIBC_"):].split(".")[:2])) for version in self.versions
                   if version.startswith("GLIBC_") and version[len("GLIBC_")].isdigit()]
        if "GLIBC_ABI_DT_RELR" in self.versions:
            numbers.append((2, 36))
        return max(numbers, default=None)

    def foreign(self):
        """Libraries that a machine may lack."""
        return tuple(library for library in self.libraries if library not in EVERYWHERE)


def read_needs(path):
    """Needs of a 64-bit little-endian ELF file; ValueError for another."""
    with open(path, "rb") as file:
        image = file.read()
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no 64-bit little-endian ELF file")
    offset, = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", image, offset + i * size) for i in range(count)]

    def place(address):
        for kind, _, start, begin, _, length, _, _ in headers:
            if kind == _PT_LOAD and begin <= address < begin + length:
                return start + address - begin
        raise ValueError(f"{path} has no byte at address {address:#x}")
    entries = []
    for kind, _, start, _, _, length, _, _ in headers:
        if kind == _PT_DYNAMIC:
            entries = [struct.unpack_from("<QQ", image, start + i) for i in range(0, length, 16)]
    values = dict(entries)

    def text(index):
        begin = place(values[_DT_STRTAB]) + index
        return image[begin:image.index(b"\0", begin)].decode()
    versions = set()
    at = place(values[_DT_VERNEED]) if _DT_VERNEED in values else 0
    for _ in range(values.get(_DT_VERNEEDNUM, 0)):
        _, names, _, first, following = struct.unpack_from("<HHIII", image, at)
        one = at + first
        for _ in range(names):
            _, _, _, name, step = struct.unpack_from("<IHHII", image, one)
            versions.add(text(name))
            one += step
        at += following
    return Needs(tuple(text(value) for tag, value in entries if tag == _DT_NEEDED), tuple(sorted(versions)))
