#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One version everywhere. usage: check_versions.py SOURCE_ROOT

include/flashcore/flashcore_version.h says it. Meson and the wheel read that header; what cannot is compared here: the crates, their lock
file, and CHANGELOG.md, which has a section for it behind the one of what is unreleased.
"""
import re
import sys
import tempfile

import house

HEADER = "include/flashcore/flashcore_version.h"
CRATES = ("bindings/rust/flashcore-sys/Cargo.toml", "bindings/rust/flashcore/Cargo.toml")
LOCK = "bindings/rust/Cargo.lock"
CHANGELOG = "CHANGELOG.md"


def header_version(root):
    """("1", "2", "3")"""
    return tuple(re.findall(r"^#define FLASHCORE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", house.read(root, HEADER), re.MULTILINE))


def crate_problems(root):
    version = ".".join(header_version(root))
    problems = []
    for path in CRATES:
        found = re.findall(r'^version = "([^"]*)"$', house.read(root, path), re.MULTILINE)
        problems += [] if found == [version] else [f"{path} says {found}, {HEADER} {version}"]
    locked = re.findall(r'^name = "(flashcore[\w-]*)"\nversion = "([^"]*)"$', house.read(root, LOCK), re.MULTILINE)
    problems += [f"{LOCK}: {name} is {found}, {HEADER} says {version}" for name, found in locked if found != version]
    if len(locked) != len(CRATES):
        problems.append(f"{LOCK} has {len(locked)} crates of ours, but must have {len(CRATES)}")
    wanted = re.findall(r'^flashcore-sys = \{.*\bversion = "([^"]*)"', house.read(root, CRATES[1]), re.MULTILINE)
    major_minor = ".".join(header_version(root)[:2])
    return problems + ([] if wanted == [major_minor] else [f"{CRATES[1]} asks for flashcore-sys {wanted}, but must for {major_minor}"])


def changelog_problems(root):
    sections = re.findall(r"^## (.*)$", house.read(root, CHANGELOG), re.MULTILINE)
    version = ".".join(header_version(root))
    problems = [] if sections[:1] == ["Unreleased"] else [f"{CHANGELOG} does not begin with Unreleased: {sections[:1]}"]
    problems += [f"{CHANGELOG}: '{section}' is no version with a date" for section in sections[1:] if not re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", section)]
    newest = sections[1].split(" ")[0] if len(sections) > 1 else None
    return problems + ([] if newest == version else [f"{CHANGELOG}: the newest version is {newest}, {HEADER} says {version}"])


def checks(root):
    """{case name: problems}"""
    return {"the crates have the header's version": crate_problems(root), "the changelog knows the header's version": changelog_problems(root)}


PLANTED = {
    HEADER: "#define FLASHCORE_VERSION_MAJOR 1\n#define FLASHCORE_VERSION_MINOR 2\n#define FLASHCORE_VERSION_PATCH 3\n",
    CRATES[0]: '[package]\nversion = "1.2.0"\n',
    CRATES[1]: '[package]\nversion = "1.2.3"\n[dependencies]\nflashcore-sys = { path = "../flashcore-sys", version = "1.1" }\n',
    LOCK: '[[package]]\nname = "flashcore"\nversion = "1.2.2"\n',
    CHANGELOG: "# Changelog\n\n## 1.2.2 - 2026-01-01\n\n## soon\n",
}
CAUGHT = [f"{CRATES[0]} says ['1.2.0']", f"{LOCK}: flashcore is 1.2.2", f"{LOCK} has 1 crates", "asks for flashcore-sys ['1.1']", "does not begin with Unreleased",
          "'soon' is no version", "the newest version is soon"]


def main(root):
    report = house.Report()
    with tempfile.TemporaryDirectory() as folder:
        house.plant(folder, PLANTED)
        report.self_test("planted versions are caught", [problem for problems in checks(folder).values() for problem in problems], CAUGHT, silent=True)
    for name, problems in checks(root).items():
        report.case(name, problems)
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1])
