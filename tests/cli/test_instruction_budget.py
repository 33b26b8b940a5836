#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The instruction diet: what a warp issues per 16x8 tile of scores in the steady loop, by class, read from the machine code of the
shipped modules on sm_89 and sm_90a and held against instruction_budget.tsv. The budget may only fall.

usage: FC_INSPECT=... MODULES=... STAMPS=... test_instruction_budget.py [--update]

--update writes what falls and what is new into the table, never what rises: a rise is edited by hand, and explained in the commit.
bfloat16 modules differ from float16 ones in the conversions only, so the table has float16.
"""
import os
import sys
import unittest

import cli
from test_shipped_modules import arch_of, inspect

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instruction_budget.tsv")
CLASSES = ("hmma", "hgmma", "ldsm", "mufu", "ffma", "fmnmx", "other")
ARCHS = ("sm_89", "sm_90a")
# Those that issue slots hold up; the decode kernels wait for memory. And exponentials of a pass beside those of scores: a wgmma step takes
# the references of its two rows without a branch around them.
KERNELS = {"sm80_fwd_mma": 0, "sm80_fwd_small": 0, "sm90_fwd_wgmma": 2}
HEADER = "# Instructions of the steady loop per 16x8 tile of scores and warp, by class: test_instruction_budget.py holds the shipped modules to it.\n"


def read_table(text):
    """(compiler, {(arch, module): {class: budget}})"""
    compiler, rows = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# compiler: "):
            compiler = line[len("# compiler: "):]
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 2 + len(CLASSES):
            raise ValueError(f"{TABLE}:{number}: {len(fields)} fields, but arch, module and {len(CLASSES)} numbers are expected")
        if fields[:2] != ["arch", "module"]:
            rows[fields[0], fields[1]] = {name: float(value) for name, value in zip(CLASSES, fields[2:])}
    return compiler, rows


def table_text(compiler, rows):
    lines = ["\t".join([*key, *(f"{rows[key][name]:.2f}" for name in CLASSES)]) for key in sorted(rows)]
    return HEADER + f"# compiler: {compiler}\n" + "\t".join(["arch", "module", *CLASSES]) + "\n" + "\n".join(lines) + "\n"


def measured():
    """(compilers, {(arch, module): steady loop}) of the shipped float16 modules."""
    compilers, loops = set(), {}
    shipped = [arch_of(stamp) for stamp in cli.STAMPS]
    for arch in (arch for arch in ARCHS if arch in shipped):
        for module in inspect("list", "--all", "--arch", arch)["modules"]:
            if module["kernel"] not in KERNELS or "-fp16-" not in module["module"] or module["module"].endswith("-unaligned"):
                continue
            loop = inspect("show", module["path"])["steady_loop"]
            if loop is None or loop["score_tiles"] < 1:
                raise AssertionError(f"{module['module']} for {arch} has no steady loop with mma.sync or wgmma instructions")
            compilers.add(module["compiler"])
            loops[arch, module["module"]] = loop
    return compilers, loops


def rows_of(loops):
    """{(arch, module): {class: instructions per tile}}"""
    return {key: {name: round(loop[name] / loop["score_tiles"], 2) for name in CLASSES} for key, loop in loops.items()}


def exponentials_expected(module, score_tiles):
    """128 scores are four for each lane. Fewer would mean that the loop was not found, more that something is computed twice."""
    return 4 * score_tiles + KERNELS[module.partition("-")[0]]


def over_budget(rows, budgets):
    """Sentences about what rose."""
    return [f"{arch} {module}: {count:.2f} {name.upper()} per 16x8 tile of scores, the budget is {budgets[arch, module][name]:.2f}"
            for (arch, module), counts in sorted(rows.items()) for name, count in counts.items()
            if count > budgets.get((arch, module), counts)[name] + 0.005]


class Comparison(unittest.TestCase):
    """The judgement itself: one that lets everything pass would prove nothing."""
    budget = {("sm_89", "m"): dict.fromkeys(CLASSES, 4.0)}

    def test_equal_and_less_pass(self):
        self.assertEqual(over_budget({("sm_89", "m"): {**dict.fromkeys(CLASSES, 4.0), "mufu": 3.5}}, self.budget), [])

    def test_more_is_named(self):
        said = over_budget({("sm_89", "m"): {**dict.fromkeys(CLASSES, 4.0), "mufu": 4.01}}, self.budget)
        self.assertEqual(said, ["sm_89 m: 4.01 MUFU per 16x8 tile of scores, the budget is 4.00"])

    def test_table_round_trip(self):
        self.assertEqual(read_table(table_text("ptxas 1", self.budget)), ("ptxas 1", self.budget))
        self.assertRaises(ValueError, read_table, "sm_89\tm\t1\n")


class Budget(unittest.TestCase):
    def setUp(self):
        if not any(arch_of(stamp) in ARCHS for stamp in cli.STAMPS):
            self.skipTest("no modules are shipped with this build")
        with open(TABLE, encoding="utf-8") as file:
            self.compiler, self.budgets = read_table(file.read())
        compilers, self.loops = measured()
        self.rows = rows_of(self.loops)
        if compilers != {self.compiler}:
            self.skipTest(f"the budget is of {self.compiler}, the modules are of {', '.join(sorted(compilers))}")

    def test_nothing_rose(self):
        self.assertTrue(self.rows)
        self.assertEqual(over_budget(self.rows, self.budgets), [])

    def test_the_table_is_of_these_modules(self):
        shipped = {arch for arch, _ in self.rows}
        budgets = {key for key in self.budgets if key[0] in shipped}
        hint = "run tests/cli/test_instruction_budget.py --update in the test's environment (meson test -v instruction_budget shows it)"
        self.assertEqual(set(self.rows) - budgets, set(), f"modules without a budget; {hint}")
        self.assertEqual(budgets - set(self.rows), set(), f"budgets without a module; {hint}")

    def test_every_exponential_is_one_instruction(self):
        for (arch, module), loop in self.loops.items():
            self.assertEqual(loop["mufu"], exponentials_expected(module, loop["score_tiles"]), (arch, module))


def update():
    compilers, loops = measured()
    rows = rows_of(loops)
    if len(compilers) != 1:
        sys.exit(f"modules of one compiler are needed, not of {sorted(compilers)}")
    compiler = compilers.pop()
    budgets = {}
    if os.path.exists(TABLE):
        with open(TABLE, encoding="utf-8") as file:
            known, budgets = read_table(file.read())
        if known != compiler:
            budgets = {}
    new = {key: {name: min(count, budgets.get(key, counts)[name]) for name, count in counts.items()} for key, counts in rows.items()}
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write(table_text(compiler, new))
    for line in over_budget(rows, new):
        print(f"not raised: {line}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        update()
    else:
        unittest.main(verbosity=2)
