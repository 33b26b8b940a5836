#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The order of products, waits and exponentials in the steady loop of sm90_fwd_wgmma, read from the machine code of the shipped
modules. A compiler that waits for a product too early, or splits a group, leaves every number right and costs time.

A pass issues all of Q.K, then all of P.V, each as one group; it waits until one group is left, so that the scores are there, and only
then begins with exponentials. How many of them come before the wait for P.V is not held here: the compiler may move them behind it.
"""
import collections
import os
import re
import struct
import tempfile
import unittest

import cli
from test_shipped_modules import arch_of, inspect

KERNEL = "sm90_fwd_wgmma"
ARCH = "sm_90a"
INSTRUCTION_BYTES = 16
# Low 9 bits of an instruction; bit 10 of a product says that its first operand lies in registers, as P does and Q does not.
MUFU, WARPGROUP, HGMMA = 0x108, 0x1c5, 0x1f0
FIRST_OPERAND_IN_REGISTERS = 1 << 10
ALWAYS = 7 << 12  # the predicate
# Low words, whole: with a predicate or other operands they are none of these. The groups that a wait leaves are bits 8-10 of its high word.
ARRIVE, WAIT = 0x00000000000079c5, 0x00008000000079c5

Tile = collections.namedtuple("Tile", "head_dim tile_kv")


def kernel_code(cubin, kernel):
    """The bytes of a kernel's section."""
    sections_at, = struct.unpack_from("<Q", cubin, 0x28)
    entry_bytes, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, sections_at + i * entry_bytes) for i in range(count)]
    for name_at, _, _, _, begin, size in sections:
        at = sections[names][4] + name_at
        if cubin[at:cubin.index(b"\0", at)].decode() == f".text.{kernel}":
            return cubin[begin:begin + size]
    raise ValueError(f"no section .text.{kernel}")


def closes_group(high):
    return high >> 20 & 7 != 7  # the scoreboard that the group counts on; 7 is none


def event(low, high):
    """One letter: q and p are products Q.K and P.V, capitals where they close a group; a digit is a wait that leaves as many groups; e is an
    exponential, ? what should not be there, and nothing all else."""
    opcode = low & 0x1ff
    if opcode == MUFU:
        return "e"
    if opcode == WARPGROUP and low != ARRIVE:
        return str(high >> 8 & 7) if low == WAIT else "?"
    if opcode != HGMMA:
        return ""
    if low & 0xf000 != ALWAYS:
        return "?"
    letter = "p" if low & FIRST_OPERAND_IN_REGISTERS else "q"
    return letter.upper() if closes_group(high) else letter


def events(code):
    return "".join(event(*words) for words in struct.iter_unpack("<QQ", code))


def is_in_order(said, tile):
    """Whether the events of a loop are those of one pass."""
    query_key, probability_value = tile.head_dim // 16, tile.tile_kv // 16
    return re.fullmatch(f"q{{{query_key - 1}}}Qp{{{probability_value - 1}}}P1(e+0e*|0e+)", said) is not None


def steady_loop(module):
    """(machine code of the steady loop, tile) of a module in the shipped folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cubin")
        shown = inspect("show", module["path"], "--quiet", "--cubin", path)
        with open(path, "rb") as file:
            code = kernel_code(file.read(), module["kernel"])
    loop = shown["steady_loop"]
    choices = dict(re.findall(r"\.(\w+) = (\d+),", shown["record"]["specialization"]))
    return code[loop["first_byte"]:loop["first_byte"] + loop["bytes"]], Tile(int(choices["head_dim"]), int(choices["tile_kv"]))


def code_of(said):
    """Machine code with these events, and others around them."""
    scoreboard = 7 << 20
    words = {"q": (0x01e00000185879f0, scoreboard), "Q": (0x01e00000185879f0, 0), "p": (0x41e0001898187df0, scoreboard), "P": (0x41e0001898187df0, 0),
             "e": (0x0000005800587308, 0), "0": (WAIT, 0x10000), "1": (WAIT, 0x10100), "2": (WAIT, 0x10200)}
    move = struct.pack("<QQ", 0x0000000500047202, 0)
    return b"".join(struct.pack("<QQ", ARRIVE, 0) + struct.pack("<QQ", *words[letter]) + move for letter in said)


class Judgement(unittest.TestCase):
    """The judgement itself, on loops of 64 columns and 48 keys."""
    tile = Tile(64, 48)

    def in_order(self, said):
        self.assertEqual(events(code_of(said)), said)
        return is_in_order(said, self.tile)

    def test_good_orders(self):
        for said in ("qqqQppP1eee0eee", "qqqQppP1eeeeee0", "qqqQppP10eeeeee"):
            self.assertTrue(self.in_order(said), said)

    def test_wrong_orders(self):
        for wrong, said in (("P.V first", "ppPqqqQ1eee0eee"), ("products mixed", "qqpqQpP1eee0eee"), ("everything waited for at once", "qqqQppP0eeeeee"),
                            ("Q.K waited for before P.V is issued", "qqqQ0ppP1eee0"), ("no wait for P.V", "qqqQppP1eeeeee"), ("no wait", "qqqQppPeeeeee"),
                            ("two groups left", "qqqQppP2eee0eee"), ("an exponential before the scores", "qqqQppPe1ee0eee"), ("no exponentials", "qqqQppP10"),
                            ("a product of Q.K too few", "qqQppP1eee0eee"), ("one of P.V too many", "qqqQpppP1eee0eee"), ("one group", "qqqqppP1eee0eee"),
                            ("a group for each product", "QQQQPPP1eee0eee"), ("two passes", "qqqQppP1eee0eeeqqqQppP1eee0eee")):
            self.assertFalse(self.in_order(said), wrong)

    def test_conditional_products_and_waits_are_strange(self):
        for low, high in ((0x01e00000185809f0, 0), (WAIT & ~0xf000, 0x10100), (0x00004000000079c5, 0)):
            self.assertEqual(event(low, high), "?")


@unittest.skipIf(ARCH not in map(arch_of, cli.STAMPS), f"no modules for {ARCH} are shipped with this build")
class Shipped(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        modules = [module for module in inspect("list", "--all", "--arch", ARCH)["modules"] if module["kernel"] == KERNEL]
        cls.loops = {module["module"]: steady_loop(module) for module in modules}

    def test_every_loop_is_in_order(self):
        self.assertTrue(self.loops)
        for name, (code, tile) in self.loops.items():
            with self.subTest(module=name):
                self.assertTrue(is_in_order(events(code), tile), events(code))

    def test_a_planted_wait_is_caught(self):
        # Where one group is left, none: in the machine code itself, so that the bits are the compiler's.
        for name, (code, tile) in self.loops.items():
            at = next(at for at in range(0, len(code), INSTRUCTION_BYTES) if event(*struct.unpack_from("<QQ", code, at)) == "1")
            low, high = struct.unpack_from("<QQ", code, at)
            planted = code[:at] + struct.pack("<QQ", low, high & ~0x700) + code[at + INSTRUCTION_BYTES:]
            self.assertFalse(is_in_order(events(planted), tile), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
