# SPDX-License-Identifier: Apache-2.0
"""What the tests of the tools share: run a tool and hold exit code, stdout and stderr against expectations; .npy files in
plain Python, so that nothing but the standard library is needed and no code of the tools judges itself.

Meson says in the environment where things are: FC_RUN, FC_INSPECT, GOLDEN (tests/golden/vectors), MODULES (folder of the
shipped modules), STAMPS (one per shipped architecture, separated by ':'; empty: none is shipped), NVRTC (may be empty),
FAKE_LIBCUDA (the stand-in driver of tests/fake_driver).
"""
import ast
import collections
import hashlib
import json
import os
import re
import struct
import subprocess
import tempfile
import unittest

FC_RUN, FC_INSPECT = os.environ["FC_RUN"], os.environ["FC_INSPECT"]
GOLDEN, MODULES = os.environ["GOLDEN"], os.environ["MODULES"]
STAMPS = [stamp for stamp in os.environ["STAMPS"].split(":") if stamp]
NVRTC, FAKE_LIBCUDA = os.environ["NVRTC"], os.environ["FAKE_LIBCUDA"]
NO_DRIVER = "/nonexistent/libcuda.so.1"

OK, FAILED, USAGE, NO_DEVICE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3, 4, 130

Case = collections.namedtuple("Case", "name arguments code out err", defaults=((), ()))


def clean_environment(home, gpu=False):
    """The caller's environment without what changes the library's or the tools' behaviour; without a driver unless gpu."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("FLASHCORE_", "XDG_")) and name not in ("NO_COLOR", "CUDA_HOME", "CUDA_PATH")}
    environment.update(HOME=home, LC_ALL="C")
    # Meson puts the folders of a test's libraries here, the stand-in driver's among them; that one is used only by its path.
    folders = [folder for folder in environment.pop("LD_LIBRARY_PATH", "").split(":") if folder and folder != os.path.dirname(FAKE_LIBCUDA)]
    if folders:
        environment["LD_LIBRARY_PATH"] = ":".join(folders)
    if not gpu:
        environment["FLASHCORE_LIBCUDA"] = NO_DRIVER
    return environment


class ToolTest(unittest.TestCase):
    """A test with a folder of its own, self.folder, that is also HOME."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        self.environment = clean_environment(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def assert_says(self, text, pattern, said):
        """As it stands there, or with the lines of a field joined: where they break hangs on how long the paths in them are."""
        if not re.search(pattern, re.sub(r"\n {4,}", " ", text)):
            self.assertRegex(text, pattern, said)

    def run_tool(self, tool, *arguments, code=OK, out=(), err=(), **more):
        """Run, and hold against the exit code and the patterns, which must all be found. code None: any."""
        done = subprocess.run([tool, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**self.environment, **more.pop("env", {})}, cwd=self.folder, timeout=300, text=True, check=False)
        said = f"{' '.join(done.args)}\nexit code {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        if code is not None:
            self.assertEqual(done.returncode, code, said)
        for pattern in out:
            self.assert_says(done.stdout, pattern, said)
        for pattern in err:
            self.assert_says(done.stderr, pattern, said)
        if done.returncode not in (OK, FAILED, INTERRUPTED):
            self.assertEqual(done.stdout, "", "a tool that could not do its work says so on stderr only\n" + said)
        return done

    def fc_run(self, *arguments, **expected):
        return self.run_tool(FC_RUN, *arguments, **expected)

    def fc_inspect(self, *arguments, **expected):
        return self.run_tool(FC_INSPECT, *arguments, **expected)

    def json_of(self, done, schema):
        """The JSON on stdout; its first key is the schema."""
        content = json.loads(done.stdout, object_pairs_hook=collections.OrderedDict)
        self.assertEqual(next(iter(content.items())), ("schema", schema))
        return content

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write_array(self, name, descr, shape, values=None):
        return self.write(name, npy_bytes(descr, shape, values))


def add_cases(cls, tool, cases):
    """One test method per row of a table. "{name}" in an argument is a file of the test's folder."""
    def method(case):
        def run(self):
            arguments = [re.sub(r"\{([\w.]+)\}", lambda match: self.path(match.group(1)), argument) for argument in case.arguments.split()]
            self.run_tool(tool, *arguments, code=case.code, out=case.out, err=case.err)
        return run
    for case in cases:
        name = "test_" + re.sub(r"\W+", "_", case.name)
        assert not hasattr(cls, name), name
        setattr(cls, name, method(case))


# --- Module files (ptx_cache/FORMAT.md) ----------------------------------------------------------------------------------

def make_stale_copy(path):
    """Beside a module file, a valid one that no library asks for: another key in its record, its name and its digest."""
    with open(path, "rb") as file:
        content = file.read()
    folder, name = os.path.split(path)
    key, rest = name[:64], name[64:]
    other = ("1" if key[0] == "0" else "0") + key[1:]
    body = content[:-40].replace(f'"key":"{key}"'.encode(), f'"key":"{other}"'.encode(), 1)
    assert body != content[:-40]
    stale = os.path.join(folder, other + rest)
    with open(stale, "wb") as file:
        file.write(body + content[-40:-32] + hashlib.sha256(body).digest())
    os.chmod(stale, 0o644)
    return stale


# --- .npy files ---------------------------------------------------------------------------------------------------------

FORMATS = {"<f2": "e", "<f4": "f", "<f8": "d", "<u2": "H", "<i4": "i", "<i8": "q", "|u1": "B", "|b1": "?"}


def count_of(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def npy_bytes(descr, shape, values=None, fortran_order=False):
    """A version 1 file. Values default to a few small numbers that every type can hold."""
    if values is None:
        values = [bool(i % 3) if descr == "|b1" else i % 3 for i in range(count_of(shape))]
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {tuple(shape)}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(values)}{FORMATS[descr]}", *values)


def read_npy(path):
    """(descr, shape, values); values of uint16 are bits."""
    with open(path, "rb") as file:
        content = file.read()
    assert content[:8] == b"\x93NUMPY\x01\x00", content[:8]
    length = struct.unpack("<H", content[8:10])[0]
    header = ast.literal_eval(content[10:10 + length].decode())
    assert not header["fortran_order"]
    count = count_of(header["shape"])
    return header["descr"], header["shape"], list(struct.unpack(f"<{count}{FORMATS[header['descr']]}", content[10 + length:]))


def bfloat16_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def numbers(path):
    """(shape, values) with bfloat16 bits as the numbers that they stand for."""
    descr, shape, values = read_npy(path)
    return shape, [bfloat16_value(value) for value in values] if descr == "<u2" else values
