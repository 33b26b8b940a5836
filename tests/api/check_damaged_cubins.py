#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged cubins, one at a time in child processes: what the driver itself makes of them is told; what the library lets through is judged.
  file       the damage as a disk does it, the digests as they were: no check lets it through, and it is removed
  digests    the digests made anew, as no accident does it: the library's reader of the image, then the driver
  driver     the driver alone
Nothing damaged is launched. A child that ends or hangs is told with the damage, and the next begins.

usage: check_damaged_cubins.py SOURCE_ROOT LIBRARY [COUNT]     (FLASHCORE_LIBCUDA and FLASHCORE_LIBNVRTC as the library reads them)
"""
import collections
import concurrent.futures
import ctypes
import hashlib
import json
import os
import queue
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT, LIBRARY = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path[:0] = [os.path.join(ROOT, "tests/house"), os.path.join(ROOT, "tests/api")]
sys.dont_write_bytecode = True

import house
import public_library

STAGES = ("file", "digests", "driver")
SECONDS = 60  # after which a child counts as hung
CHILDREN = 4
SHAPES = [{"batch": 1, "seqlen_q": 64, "seqlen_kv": 64, "heads_q": 2, "head_dim": 64}, {"batch": 4, "seqlen_q": 1024, "seqlen_kv": 1024, "heads_q": 16,
          "head_dim": 128}]


def damaged(cubin, number):
    """The number-th damage, and what it is."""
    draw = random.Random(number)
    kind = ("a bit", "a bit of the headers", "cut", "a byte", "a run of zeros")[number % 5]
    if kind == "cut":
        size = draw.choice((draw.randrange(len(cubin)), draw.randrange(min(64, len(cubin))), len(cubin) - 1 - draw.randrange(64)))
        return cubin[:size], f"cut to {size} of {len(cubin)} bytes"
    data = bytearray(cubin)
    if kind == "a bit of the headers":  # the file's, and those of the sections and segments, which lie at its end
        first, (size, sections) = struct.unpack_from("<Q", cubin, 40)[0], struct.unpack_from("<HH", cubin, 58)
        at = draw.choice((draw.randrange(64), min(first + draw.randrange(max(1, sections * size)), len(data) - 1)))
    else:
        at = draw.randrange(len(data))
    if kind == "a byte":
        data[at] = (data[at] + 1 + draw.randrange(255)) % 256
    elif kind == "a run of zeros":
        size = min(draw.choice((16, 128, 1024)), len(data) - at)
        data[at:at + size] = bytes(size)
    else:
        data[at] ^= 1 << draw.randrange(8)
    return bytes(data), f"{kind} at byte {at} of {len(data)}"


def zstd_frame(data):
    """Uncompressed blocks, so that no library is needed."""
    out = bytearray(struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)))
    pieces = [data[i:i + (1 << 17)] for i in range(0, len(data), 1 << 17)] or [b""]
    for index, piece in enumerate(pieces):
        out += struct.pack("<I", len(piece) << 3 | (index + 1 == len(pieces)))[:3] + piece
    return bytes(out)


def entry_of(record, cubin, stage):
    """A module file. Stage "digests": of this cubin; else of the one that the record is about."""
    if stage == "digests":
        record = {**record, "cubin_sha256": hashlib.sha256(cubin).hexdigest(), "cubin_bytes": len(cubin)}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    body = struct.pack("<II", 0x184D2A5F, len(text)) + text + zstd_frame(cubin)
    return body + struct.pack("<II", 0x184D2A5E, 32) + hashlib.sha256(body).digest()


class Module:
    """A module of the library's choice for a shape: its cubin and record."""

    def __init__(self, library, folder, shape):
        with public_library.Context(library, device_kind=library.abi.DEVICE_CUDA, cache_directory=folder) as context:
            args = context.args(**shape)
            self.name = context.explain(args).module.decode()
            args.kernel = self.name.encode()
            context.prepare(args)
            arch = context.device().arch
        self.cubin, self.record = obtained(library, folder, self.name, arch)
        self.shape = shape


def obtained(library, folder, name, arch):
    options, error = library.abi.ContextOptions(cache_directory=folder.encode()), library.abi.Error()
    for arch_name in (f"sm_{arch}a", f"sm_{arch}", f"sm_{arch // 10 * 10}"):
        info, cubin, record = ctypes.create_string_buffer(16384), ctypes.c_void_p(), ctypes.c_void_p()
        struct.pack_into("=I", info, 0, len(info))
        status = library.loaded.flashcore_module_obtain(ctypes.byref(options), name.encode(), arch_name.encode(), info, ctypes.byref(cubin),
                                                        ctypes.byref(record), ctypes.byref(error))
        if status == 0:
            text = json.loads(ctypes.string_at(record.value))
            return ctypes.string_at(cubin.value, text["cubin_bytes"]), text
    raise public_library.Refused("module_obtain", "status", error)


class Child:
    """Does one thing at a time for its parent; what it answers, or how it ended."""

    def __init__(self, module_path):
        self.command = [sys.executable, os.path.abspath(__file__), ROOT, LIBRARY, "--worker", module_path]
        self.process = None

    def ask(self, stage, number):
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.process.stdin.write(f"{stage} {number}\n")
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if line.endswith("\n"):
            return json.loads(line)
        if not ready:
            self.process.kill()
        code = self.process.wait()
        self.process = None
        return {"outcome": f"the child ended with {code}" if ready else "the child hung"}

    def stop(self):
        if self.process is not None:
            self.process.communicate()


def worker(path):
    """A child: lines of a stage and a number, answered each by a line."""
    with open(path, encoding="utf-8") as file:
        saved = json.load(file)
    cubin, record = bytes.fromhex(saved["cubin"]), saved["record"]
    library = public_library.Library(ROOT, LIBRARY)
    driver = ctypes.CDLL(os.environ.get("FLASHCORE_LIBCUDA") or "libcuda.so.1")
    device, primary = ctypes.c_int(), ctypes.c_void_p()
    for code in (driver.cuInit(0), driver.cuDeviceGet(ctypes.byref(device), 0), driver.cuDevicePrimaryCtxRetain(ctypes.byref(primary), device),
                 driver.cuCtxSetCurrent(primary)):
        if code != 0:
            sys.exit(f"no driver: {code}")
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            stage, number = line.split()
            bad = cubin if number == "none" else damaged(cubin, int(number))[0]
            if stage == "driver":
                answer = {"outcome": load_by_driver(driver, bad, record["kernel"])}
            else:
                answer = load_by_library(library, folder, record, entry_of(record, bad, stage), saved["shape"])
            answer["after"] = load_by_driver(driver, cubin, record["kernel"])  # does a good one load still?
            print(json.dumps(answer), flush=True)


def load_by_driver(driver, image, kernel):
    module, function, registers = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
    held = ctypes.create_string_buffer(image, len(image) + 1)
    code = driver.cuModuleLoadData(ctypes.byref(module), held)
    if code != 0:
        return f"refused with {code}"
    code = driver.cuModuleGetFunction(ctypes.byref(function), module, kernel.encode())
    said = f"loaded, its kernel refused with {code}" if code != 0 else "loaded"
    if code == 0:
        code = driver.cuFuncGetAttribute(ctypes.byref(registers), ctypes.c_int(4), function)  # CU_FUNC_ATTRIBUTE_NUM_REGS
        said = f"loaded, its attributes refused with {code}" if code != 0 else said
    driver.cuModuleUnload(module)
    return said


def load_by_library(library, folder, record, entry, shape):
    """The outcome of a prepare that can use nothing else, and whether the file is still there."""
    cache, empty = os.path.join(folder, "cache"), os.path.join(folder, "empty")
    shutil.rmtree(cache, ignore_errors=True)
    os.makedirs(empty, exist_ok=True)
    place = os.path.join(cache, "v1", record["arch"], record["key"][:2])
    os.makedirs(place)
    for directory, _, _ in os.walk(cache):
        os.chmod(directory, 0o700)
    path = os.path.join(place, f"{record['key']}.{record['compiler_id'][:16]}.fcm")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
        file.write(entry)
    with public_library.Context(library, device_kind=library.abi.DEVICE_CUDA, cache_directory=cache, module_path=empty,
                                jit_mode=library.abi.JIT_FORBIDDEN) as context:
        args = context.args(kernel=record["module"], **shape)
        try:
            context.prepare(args)
            outcome = "OK"
        except public_library.Refused as refused:
            outcome = f"{refused.status} {refused.driver_code}"
        counters = context.counters()
    return {"outcome": outcome, "rejected": counters.cache_rejected, "there": os.path.exists(path)}


def judge(stage, answer, by_driver):
    """Empty, or what is wrong with the library's answer."""
    outcome = answer["outcome"]
    if stage == "file" and not (outcome.startswith("COMPILER_UNAVAILABLE 0") and answer["rejected"] == 1 and not answer["there"]):
        return f"a damaged file: {answer}"
    if stage == "digests":
        if outcome.startswith("the child") and not by_driver.startswith("the child"):
            return f"the library {outcome}, the driver alone: {by_driver}"
        if outcome == "OK" and by_driver != "loaded":
            return f"the library loads what the driver alone does not: {by_driver}"
        if not outcome.startswith(("OK", "COMPILER_UNAVAILABLE", "CUDA_ERROR", "CONTEXT_LOST", "the child")):
            return f"a status that nobody expects: {outcome}"
    return ""


def check_module(report, folder, module, count):
    path = os.path.join(folder, module.name + ".json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"cubin": module.cubin.hex(), "record": module.record, "shape": module.shape}, file)
    idle = queue.Queue()
    for _ in range(CHILDREN):
        idle.put(Child(path))
    tally, problems = {stage: collections.Counter() for stage in STAGES}, []

    def one(number):
        child = idle.get()
        answers = {stage: child.ask(stage, number) for stage in ("driver", "file", "digests")}
        idle.put(child)
        return number, answers

    control = Child(path)
    for stage, wanted in (("driver", "loaded"), ("file", "OK"), ("digests", "OK")):
        said = control.ask(stage, "none")
        if said["outcome"] != wanted:
            problems.append(f"undamaged, {stage}: {said}")
    control.stop()
    after = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(CHILDREN) as pool:
        for number, answers in pool.map(one, range(count) if not problems else []):
            by_driver, what = answers["driver"]["outcome"], damaged(module.cubin, number)[1]
            for stage, answer in answers.items():
                tally[stage][answer["outcome"]] += 1
                if (wrong := judge(stage, answer, by_driver)):
                    problems.append(f"damage {number}, {what}: {wrong}")
                if answer["outcome"].startswith("the child"):
                    print(f"# {module.name}: damage {number}, {what}: {stage}: {answer['outcome']}")
                elif answer["after"] != "loaded":
                    after[f"{stage}: {answer['after']}"] += 1
    while not idle.empty():
        idle.get().stop()
    for stage in STAGES:
        print(f"# {module.name}, {len(module.cubin)} bytes, {stage}: " + ", ".join(f"{outcome}: {times}" for outcome, times in tally[stage].most_common()))
    if after:
        print(f"# {module.name}: an undamaged cubin after it: {dict(after)}")
    report.case(f"{module.name}: {count} damages, none of a file gets through, and none of an image ends the process before the driver would", problems)
    print(f"figure: {count} damaged cubins\nfigure: {count} damaged files", file=sys.stderr)


def main():
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    report = house.Report()
    library = public_library.Library(ROOT, LIBRARY)
    reason = library.no_gpu()
    if reason:
        report.skip("damaged cubins", reason)
        report.finish()
    with tempfile.TemporaryDirectory() as folder:
        modules = {}
        for shape in SHAPES:
            try:
                module = Module(library, os.path.join(folder, "good"), shape)
                modules[module.name] = module
            except public_library.Refused as refused:
                report.skip("damaged cubins", str(refused))
        for module in modules.values():
            check_module(report, folder, module, count // len(modules))
    report.finish()


if __name__ == "__main__":
    if sys.argv[3:4] == ["--worker"]:
        worker(sys.argv[4])
    else:
        main()
