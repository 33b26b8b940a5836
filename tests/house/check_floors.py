#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The floors of the house: who may include whom. usage: check_floors.py SOURCE_ROOT

Every include directive of our C and C++ files is checked against the tables below; a folder without a row is an error.
That includes only point down a floor is proved from the table itself, so there is no circle.
"""
import os
import re
import sys
import tempfile

import house

# Lowest first. A room may include rooms of lower floors only, so two rooms of one floor never know each other.
FLOORS = [
    ["include", "contract"],
    ["families", "base"],
    ["parts"],
    ["kernels", "driver", "problem", "cubin"],
    ["plan", "jit", "cache", "cpu"],
    ["runtime"],
    ["api"],
]

# Room: the other rooms that it may include. A folder of kernels/ beside contract/ and parts/ is a family: its kernels are in the room
# "kernels", and its headers, which say what they are given and have in common, in "families" below the parts.
ROOMS = {
    "include": [],
    "contract": [],
    "families": ["contract"],
    "parts": ["contract", "families"],
    "kernels": ["contract", "families", "parts"],
    "base": ["include"],
    "driver": ["base"],
    "problem": ["base", "include", "contract"],
    "cubin": ["base"],
    "cpu": ["problem", "base", "contract"],
    "plan": ["problem", "base", "kernels", "families", "contract"],
    "jit": ["driver", "base", "contract"],
    "cache": ["cubin", "base", "contract"],
    "runtime": ["plan", "jit", "cache", "cpu", "driver", "problem", "cubin", "base", "families", "contract", "include"],
    "api": ["runtime", "plan", "problem", "base", "contract", "include"],  # plan: flashcore_kernel_* list the kernel table
}

FAMILIES = ["append_kv", "attention_fwd", "merge_states"]

# Outside the library: public headers only, and what the folder itself holds. The tools' common part also reads the table of
# architectures (contract/arch.h), which is constants and nothing else.
GUESTS = {
    "tools/common": ["include", "contract"],
    "tools": ["include", "tools/common"],
    "examples": ["include"],
    "bindings": ["include"],
    "benchmarks": ["include"],
}

# Headers from outside: the rooms that may include them. What no row matches is free for all but the kernels.
OUTSIDE = [
    (re.compile(r"^(cuda|nvrtc|cuda_\w+|cuda[A-Z]\w*|nvJitLink|nvml)\.h$"), ["driver"]),
    (re.compile(r"^z(std|dict)\w*\.h$"), ["cache"]),
    (re.compile(r"^nlohmann/"), ["cache", "tools", "tools/common"]),
    (re.compile(r"^(boost|fmt)/"), ["tools", "tools/common"]),
    (re.compile(r"^(cuda|nv)/"), ["contract", "families", "parts", "kernels"]),
]
# The only headers from outside that kernels see. <cstdint> is for the host compiler, which reads the passports too.
KERNELS_OUTSIDE = re.compile(r"^(cuda/.*|cstdint)$")
# Written by the build, found in no folder.
GENERATED = {"specialization.h": ["kernels", "parts"]}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')


def kernels_room_of(parts):
    if len(parts) == 3 and parts[1] in ("contract", "parts"):
        return parts[1]
    if len(parts) == 3 and parts[1] in FAMILIES:
        return {".cu": "kernels", ".h": "families"}.get(os.path.splitext(parts[2])[1], "?" + "/".join(parts))
    return "?" + "/".join(parts[:2])


def room_of(path):
    """The row that a file belongs to; None for tests, which may include anything; '?FOLDER' where there is no row."""
    parts = path.split("/")
    if parts[0] == "tests":
        return None
    if parts[0] == "include":
        return "include"
    if parts[0] == "kernels":
        return kernels_room_of(parts)
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 and parts[1] in ROOMS else "?" + "/".join(parts[:2])
    if parts[:2] == ["tools", "common"]:
        return "tools/common"
    return parts[0] if parts[0] in GUESTS else "?" + parts[0]


def resolve(root, path, name):
    """The file of ours that an include names, relative to root, or None."""
    for folder in (os.path.dirname(path), "include", "src", "kernels", "tools"):
        candidate = os.path.normpath(os.path.join(folder, name)).replace(os.sep, "/")
        if not candidate.startswith("..") and os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def same_house(room, path, target):
    """Inside one room; a tool or an example sees its own folder only."""
    if room in ("tools", "examples", "bindings", "benchmarks"):
        return os.path.dirname(path) == os.path.dirname(target) or path.split("/")[:2] == target.split("/")[:2]
    return True


def problem_of(root, path, room, quote, name):
    """What is wrong with one include directive; '' when nothing is."""
    target = resolve(root, path, name)
    if target is None:
        if name in GENERATED:
            return "" if room in GENERATED[name] else f"{name} is for kernels"
        if quote == '"':
            return f'"{name}" is no file of the project'
        if room in ("contract", "families", "parts", "kernels") and not KERNELS_OUTSIDE.match(name):
            return f"kernels include <cuda/...> and nothing else from outside, not <{name}>"
        for pattern, rooms in OUTSIDE:
            if pattern.match(name) and room not in rooms:
                return f"<{name}> is for {', '.join(rooms)}"
        return ""
    other = room_of(target)
    if other == room:
        return "" if same_house(room, path, target) else f"{target} belongs to another folder"
    allowed = ROOMS[room] if room in ROOMS else GUESTS[room]
    return "" if other in allowed else f"{room} may include {', '.join(allowed) or 'no other room'}; {target} is in {other or 'tests'}"


def include_problems(root):
    problems = []
    for path in house.source_files(root):
        room = room_of(path)
        if room is None:
            continue
        if room.startswith("?"):
            problems.append(f"{path}: {room[1:]} has no row in the table of check_floors.py")
            continue
        for number, line in enumerate(house.without_comments(house.read(root, path)).splitlines(), 1):
            match = INCLUDE.match(line)
            problem = match and problem_of(root, path, room, *match.groups())
            if problem:
                problems.append(f"{path}:{number}: {problem}")
    return problems


def table_problems(rooms, floors):
    """Includes must point down, which leaves no circle; every room has one floor."""
    level = {room: number for number, floor in enumerate(floors) for room in floor}
    problems = [f"{room} has no floor" for room in rooms if room not in level]
    problems += [f"floor names {room}, which has no row" for room in level if room not in rooms]
    for room, others in rooms.items():
        for other in others:
            if level.get(other, 99) >= level.get(room, -1):
                problems.append(f"{room} includes {other}, which is not below it")
    return problems


WRONG = {
    # path: (include line, what the check must say)
    "src/plan/a.cpp": ('#include "cache/module_store.hpp"', "src/plan/a.cpp:2: plan may include"),
    "src/cache/b.cpp": ('#include "cpu/cpu.hpp"', "src/cache/b.cpp:2: cache may include"),
    "src/base/c.cpp": ('#include "runtime/context.hpp"', "src/base/c.cpp:2: base may include"),
    "src/base/d.cpp": ('#include "../runtime/context.hpp"', "src/base/d.cpp:2: base may include"),
    "src/runtime/e.cpp": ("#include <cuda.h>", "src/runtime/e.cpp:2: <cuda.h> is for driver"),
    "src/jit/f.cpp": ("  #  include <nvrtc.h>", "src/jit/f.cpp:2: <nvrtc.h> is for driver"),
    "src/jit/g.cpp": ("#include <zstd.h>", "src/jit/g.cpp:2: <zstd.h> is for cache"),
    "src/attic/h.cpp": ("", "src/attic has no row"),
    "src/cpu/i.cpp": ('#include "nowhere.hpp"', '"nowhere.hpp" is no file'),
    "src/api/j.cpp": ("#include <boost/any.hpp>", "<boost/any.hpp> is for tools"),
    "tools/fc-x/k.cpp": ('#include "base/error.hpp"', "tools/fc-x/k.cpp:2: tools may include"),
    "tools/fc-x/l.cpp": ('#include "../fc-y/y.hpp"', "tools/fc-y/y.hpp belongs to another folder"),
    "tools/common/m.cpp": ('#include "fc-y/y.hpp"', "tools/common/m.cpp:2: tools/common may include include"),
    "examples/n.c": ('#include "contract/types.h"', "examples/n.c:2: examples may include"),
    "kernels/attention_fwd/o.cu": ("#include <cuda_fp16.h>", "not <cuda_fp16.h>"),
    "kernels/parts/p.cuh": ('#include "attention_fwd/o.cu"', "kernels/parts/p.cuh:2: parts may include contract"),
    "kernels/attention_fwd/q.cu": ('#include "flashcore/flashcore.h"', "kernels/attention_fwd/q.cu:2: kernels may include"),
    "kernels/contract/u.h": ('#include "attention_fwd/params.h"', "kernels/contract/u.h:2: contract may include no other room"),
    "kernels/attention_fwd/v.h": ('#include "parts/mma.cuh"', "kernels/attention_fwd/v.h:2: families may include contract"),
    "kernels/attention_fwd/w.cuh": ("", "kernels/attention_fwd/w.cuh has no row"),
    "kernels/x.cu": ("", "kernels/x.cu has no row"),
    "kernels/attention_xyz/y.cu": ("", "kernels/attention_xyz has no row"),
    "include/flashcore/r.h": ('#include "base/error.hpp"', "include/flashcore/r.h:2: include may include"),
    "src/problem/s.cpp": ('#include "tests/helper.hpp"', '"tests/helper.hpp" is no file'),
    "src/problem/t.cpp": ('#include "../../tests/helper.hpp"', "tests/helper.hpp is in tests"),
}
RIGHT = {
    "src/base/error.hpp": "", "src/runtime/context.hpp": '#include "plan/plan.hpp"\n', "src/plan/plan.hpp": "",
    "src/cache/module_store.hpp": "#include <zstd.h>\n", "src/cpu/cpu.hpp": '// #include "cache/module_store.hpp"\n',
    "src/driver/driver.cpp": "#include <cuda.h>\n#include <nvrtc.h>\n", "tools/common/npy.hpp": "#include <boost/any.hpp>\n",
    "tools/fc-y/y.hpp": '#include "common/npy.hpp"\n#include <flashcore/flashcore.h>\n', "include/flashcore/flashcore.h": "",
    "kernels/contract/types.h": "#include <cuda/std/cstdint>\n", "tests/helper.hpp": '#include "runtime/context.hpp"\n',
    "kernels/parts/mma.cuh": '#include "attention_fwd/params.h"\n#include "contract/types.h"\n#include "specialization.h"\n',
    "kernels/attention_fwd/params.h": '#include "contract/types.h"\n',
    "kernels/attention_fwd/fwd.cu": '#include "attention_fwd/params.h"\n#include "parts/mma.cuh"\n',
}


def self_test(report):
    with tempfile.TemporaryDirectory() as root:
        house.plant(root, RIGHT)
        report.case("self-test: includes that are allowed", include_problems(root))
        house.plant(root, {path: "// planted\n" + line + "\n" for path, (line, _) in WRONG.items()})
        report.self_test("planted includes are caught", include_problems(root), [e for _, e in WRONG.values()], silent=True)
    wrong = {**ROOMS, "plan": ["cache"], "base": ["runtime"], "attic": []}
    report.self_test("a wrong table is caught", table_problems(wrong, FLOORS),
                     ["plan includes cache", "base includes runtime", "attic has no floor"])


def main(root):
    report = house.Report()
    self_test(report)
    report.case("the table points down, so it has no circle", table_problems(ROOMS, FLOORS))
    report.case("every include follows the table", include_problems(root))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1])
