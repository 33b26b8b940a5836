#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No circle of imports among the modules of the Python binding. usage: check_python_imports.py SOURCE_ROOT

Imports inside functions and under TYPE_CHECKING count as well: they hide a circle from Python, not from who reads the modules. The
package itself (__init__.py) joins its modules, and none of them may ask it for anything.
"""
import ast
import os
import sys
import tempfile

import house

PACKAGE = "bindings/python/flashcore"
INIT = "__init__"


def neighbours(text, package, names):
    """The modules of the package that a module's text imports; names: those that there are."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            words = (node.module or "").split(".") if node.module else []
            if node.level == 0:
                if not words or words[0] != package:
                    continue
                words = words[1:]
            # `from . import name` is a module or, where there is none of that name, something of the package.
            found.update([words[0]] if words else [alias.name if alias.name in names else INIT for alias in node.names])
        elif isinstance(node, ast.Import):
            whole = [alias.name.split(".") for alias in node.names]
            found.update((words + [INIT])[1] for words in whole if words[0] == package)
    return found & names


def import_graph(root):
    """{module: the modules that it imports}"""
    folder = os.path.join(root, PACKAGE)
    names = {name[:-len(".py")] for name in os.listdir(folder) if name.endswith(".py")}
    return {name: neighbours(house.read(folder, f"{name}.py"), os.path.basename(PACKAGE), names) for name in sorted(names)}


def circles(graph):
    """One text for each circle that a walk meets."""
    found, done = [], set()

    def walk(module, path):
        if module in path:
            found.append(" -> ".join([*path[path.index(module):], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                walk(other, [*path, module])
            done.add(module)

    for module in graph:
        walk(module, [])
    return found


WRONG = {"_one.py": "def late():\n    from ._two import name\n", "_two.py": "from . import _three\n",
         "_three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ._one import late\n",
         "_asks.py": "from . import version\n", "__init__.py": "from ._asks import something\nfrom flashcore import _one\n",
         "_alone.py": "import os\nfrom math import pi\nfrom . import _leaf\n", "_leaf.py": "import flashcore_other\n"}


def self_test(report):
    with tempfile.TemporaryDirectory() as root:
        house.plant(root, {f"{PACKAGE}/{name}": text for name, text in WRONG.items()})
        report.self_test("planted circles are found", circles(import_graph(root)),
                         ["_one -> _two -> _three -> _one", "__init__ -> _asks -> __init__"], silent=True)


def main(root):
    report = house.Report()
    self_test(report)
    graph = import_graph(root)
    report.case("no circle of imports in the Python binding", circles(graph) if len(graph) > 1 else [f"{PACKAGE} has no modules"])
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1])
