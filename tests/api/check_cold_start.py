#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processes that start at once on an empty cache, spread over all GPUs that there are: each computes, one compiles, the others have its module,
all have the same bits, and the cache holds one file. Without the cache each compiles for itself; with the shipped modules none does.

usage: check_cold_start.py SOURCE_ROOT LIBRARY [PROCESSES [ROUNDS]]     (FLASHCORE_LIBCUDA and FLASHCORE_LIBNVRTC as the library reads them)
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT, LIBRARY = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path[:0] = [os.path.join(ROOT, "tests/house"), os.path.join(ROOT, "tests/api")]
sys.dont_write_bytecode = True

import house
import public_library

SHAPE = {"batch": 2, "seqlen_q": 96, "seqlen_kv": 160, "heads_q": 4, "heads_kv": 2, "head_dim": 64}


def worker(ordinal, cache, modules):
    """Waits for a line, then goes from nothing to a result as fast as it can, and tells."""
    library = public_library.Library(ROOT, LIBRARY)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    options = {"cache_directory": cache} if cache else {"cache_mode": library.abi.CACHE_OFF}
    with public_library.Context(library, device_kind=library.abi.DEVICE_CUDA, device_ordinal=ordinal, module_path=modules, **options) as context:
        args = context.args(**SHAPE)
        sizes = {"query": 2 * 96 * 4 * 64, "key": 2 * 160 * 2 * 64, "value": 2 * 160 * 2 * 64, "output": 2 * 96 * 4 * 64}
        for name, count in sizes.items():
            address = getattr(args, name).data = context.alloc(2 * count)
            context.write(address, public_library.halves(count, name))
        context.attend(args)
        context.synchronize()
        output, counters = context.read(args.output.data, 2 * sizes["output"]), context.counters()
        print(json.dumps({
            "seconds": time.monotonic() - began, "bits": hashlib.sha256(output).hexdigest(), "any": any(output),
            "compiled": counters.modules_compiled, "cached": counters.modules_from_user_cache, "shipped": counters.modules_from_shipped,
            "rejected": counters.cache_rejected, "warning": counters.cache_warning.decode(errors="replace")}), flush=True)


def start_together(processes, devices, cache, modules):
    """What each said: a dictionary, or a text of what went wrong."""
    command = [sys.executable, os.path.abspath(__file__), ROOT, LIBRARY, "--worker"]
    started = [subprocess.Popen([*command, str(index % devices), cache, modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for index in range(processes)]
    for one in started:
        one.stdout.readline()
    for one in started:
        one.stdin.write("\n")
        one.stdin.flush()
    said = []
    for one in started:
        try:
            out, err = one.communicate(timeout=300)
            said.append(json.loads(out) if one.returncode == 0 else f"exit code {one.returncode}: {err.strip()[-600:]}")
        except subprocess.TimeoutExpired:
            one.kill()
            said.append("it did not come to its end in 300 seconds")
    return said


def judged(said, expected_sum):
    """Problems; the sums of what the processes counted have to be these."""
    problems = [one for one in said if isinstance(one, str)]
    good = [one for one in said if not isinstance(one, str)]
    problems += [f"{name} in all: {total}, not {wanted}" for name, wanted in expected_sum.items() for total in [sum(one[name] for one in good)]
                 if total != wanted]
    problems += [f"a warning: {one['warning']}" for one in good if one["warning"] not in ("", "the user cache is off")]
    if len({one["bits"] for one in good}) != 1 or not all(one["any"] for one in good):
        problems.append("not the same bits in all processes, or zeros alone")
    return problems


def files_below(folder):
    return sorted(os.path.join(directory, name) for directory, _, names in os.walk(folder) for name in names if name != "lock")


def rounds_on_an_empty_cache(report, processes, devices, rounds, folder):
    problems, seconds = [], []
    for number in range(rounds):
        cache, empty = os.path.join(folder, f"cache{number}"), os.path.join(folder, "empty")
        os.makedirs(empty, exist_ok=True)
        said = start_together(processes, devices, cache, empty)
        problems += judged(said, {"compiled": 1, "cached": processes - 1, "shipped": 0, "rejected": 0})
        if len(files_below(cache)) != 1:
            problems.append(f"the cache holds {files_below(cache)}")
        seconds += [one["seconds"] for one in said if not isinstance(one, str)]
        problems += judged(start_together(1, 1, cache, empty), {"compiled": 0, "cached": 1})
    times = f"{min(seconds, default=0):.2f} to {max(seconds, default=0):.2f} s to the first result"
    report.case(f"{processes} processes cold at once on {devices} GPUs, {rounds} rounds: one compiles, all have its bits ({times})", problems)
    print(f"figure: {processes * rounds} processes", file=sys.stderr)


def main():
    processes, rounds = (int(word) for word in (sys.argv[3:5] + ["8", "5"][len(sys.argv[3:5]):]))
    report = house.Report()
    library = public_library.Library(ROOT, LIBRARY)
    reason = library.no_gpu()
    if reason:
        report.skip("processes that start cold at once", reason)
        report.finish()
    devices = library.device_count()
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "empty"))
        alone = start_together(1, 1, os.path.join(folder, "alone"), os.path.join(folder, "empty"))[0]
        if isinstance(alone, str) and "COMPILER_UNAVAILABLE" in alone:
            report.skip("processes that start cold at once", alone)
        else:
            rounds_on_an_empty_cache(report, processes, devices, rounds, folder)
            report.case(f"{processes} processes at once without a cache: each compiles",
                        judged(start_together(processes, devices, "", os.path.join(folder, "empty")), {"compiled": processes}))
        shipped = start_together(processes, devices, os.path.join(folder, "shipped"), "")
        if any(isinstance(one, str) or one["shipped"] == 0 for one in shipped):
            report.skip("processes at once on shipped modules", f"the library has none beside it for this GPU: {str(shipped[0])[:300]}")
        else:
            report.case(f"{processes} processes at once on shipped modules: none compiles", judged(shipped, {"compiled": 0, "shipped": processes}))
    report.finish()


if __name__ == "__main__":
    if sys.argv[3:4] == ["--worker"]:
        worker(int(sys.argv[4]), *sys.argv[5:7])
    else:
        main()
