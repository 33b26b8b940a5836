#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose folders the library uses: the shipped modules under every way of installing them, another user's HOME, and programs that have more
rights than their caller. Each case with its control: the same program where the folder is right, or without the rights.

usage: check_trust.py SOURCE_ROOT LIBRARY REPORT_ENVIRONMENT
"""
import os
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT, LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:4])
sys.path[:0] = [os.path.join(ROOT, "tests/house")]
sys.dont_write_bytecode = True

import house

MODULE, ARCH = "sm80_fwd_decode-fp16-d64-8x16-w8", "sm_89"
INSTALLER, STRANGER, CALLER = 12345, 23456, 34567  # ids that no account has
# Looked for in every report that must not depend on the caller.
CHOSEN_BY_THE_CALLER = ("FLASHCORE_CACHE_DIR", "FLASHCORE_MODULE_PATH", "FLASHCORE_LIBNVRTC", "FLASHCORE_LIBCUDA", "XDG_CACHE_HOME", "HOME",
                        "CUDA_HOME")


def run(program, library, *arguments, user=None, cwd=None, **environment):
    """What it prints. The environment is this one and no other."""
    rights = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run([program, library, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, **rights)
    return done.stdout + done.stderr + (f"status {done.returncode}\n" if done.returncode else "")


def lacks(text, *fragments):
    return [f"lacks {fragment!r}: {text}" for fragment in fragments if fragment not in text]


def holds(text, *fragments):
    return [f"holds {fragment!r}: {text}" for fragment in fragments if fragment in text]


def files_below(folder):
    return sorted(os.path.join(directory, name) for directory, _, names in os.walk(folder) for name in names)


def set_all(folder, directory_mode, file_mode, owner=None, group=None):
    for directory, _, names in os.walk(folder):
        for path, mode in [(directory, directory_mode)] + [(os.path.join(directory, name), file_mode) for name in names]:
            if owner is not None:
                os.chown(path, owner, owner if group is None else group)
            os.chmod(path, mode)


class Installation:
    """<folder>/lib with a copy of the library and, where there is one, a module beside it."""

    def __init__(self, folder, name, module=None):
        self.lib = os.path.join(folder, name, "lib")
        self.modules = os.path.join(self.lib, "flashcore/modules")
        os.makedirs(os.path.join(self.modules, ARCH))
        self.library = shutil.copy(LIBRARY, os.path.join(self.lib, "libflashcore.so.1"))
        if module:
            shutil.copy(module, os.path.join(self.modules, ARCH))
        os.chmod(os.path.dirname(self.lib), 0o755)
        set_all(self.lib, 0o755, 0o644)

    def report(self, user=None, **options):
        return run(PROGRAM, self.library, "--obtain", MODULE, ARCH, user=user, FLASHCORE_CACHE="off", FLASHCORE_JIT="off", **options)

    def used(self, user=None):
        """Problems unless the module is found here."""
        text = self.report(user)
        return lacks(text, f"module folder: {self.modules}, 1 modules\n", f"module: {self.modules}/{ARCH}/")

    def refused(self, reason, user=None):
        """Problems unless the report and the error name a path below and the reason."""
        text = self.report(user)
        folder, module = (next((line for line in text.splitlines() if line.startswith(head)), "")
                          for head in ("module folder: ", "module: "))
        return [problem for line in (folder, module) for problem in lacks(line, self.modules, reason)] + holds(folder, "1 modules\n")


def shipped_modules(report, folder, module):
    def installation(name):
        return Installation(folder, name, module)

    report.case("modules beside the library are used", installation("usual").used())
    wide = installation("umask-002")
    set_all(wide.lib, 0o775, 0o664)
    report.case("after an installation under umask 002 they are used", wide.used())
    narrow = installation("narrow")
    os.chmod(narrow.modules, 0o775)
    report.case("a folder that is more open than the library is refused by name",
                narrow.refused("group or others may write to it (mode 0775), and it belongs to user"))
    file = installation("file")
    path = files_below(file.modules)[0]
    os.chmod(path, 0o666)
    report.case("a file that is more open than the library is refused by name", file.refused("group or others may write to it (mode 0666)"))
    sticky = installation("sticky")
    os.chmod(sticky.lib, 0o1777)
    os.chmod(sticky.modules, 0o777)
    report.case("a sticky folder around the library is no leave to write", sticky.refused("(mode 0777)"))
    linked = installation("linked")
    os.rename(linked.modules, linked.modules + ".real")
    os.symlink(linked.modules + ".real", linked.modules)
    report.case("a link in the place of the folder is refused by name", linked.refused("it is a symbolic link"))
    moved = installation("moved")
    text = run(PROGRAM, "./libflashcore.so.1", "--folder", "/", "--obtain", MODULE, ARCH, cwd=moved.lib, FLASHCORE_CACHE="off", FLASHCORE_JIT="off")
    report.case("a library that was opened by a relative path finds them from any folder",
                lacks(text, f"module folder: {moved.modules}, 1 modules\n", f"module: {moved.modules}/{ARCH}/"))
    if os.geteuid() != 0:
        return report.skip("other owners and groups", "only root can give files away")
    foreign = installation("foreign")
    set_all(foreign.lib, 0o755, 0o644, INSTALLER)
    report.case("modules of the library's owner are used by others", foreign.used() + foreign.used(CALLER))
    os.chown(foreign.modules, STRANGER, STRANGER)
    report.case("modules of somebody else are not", foreign.refused(f"it belongs to user {STRANGER}", CALLER))
    group = installation("group")
    set_all(group.lib, 0o775, 0o664, INSTALLER, INSTALLER)
    report.case("the library's group may write to them", group.used(CALLER))
    os.chown(group.modules, INSTALLER, STRANGER)
    return report.case("another group may not", group.refused(f"group {STRANGER}", CALLER))


def homes(report, folder, module):
    installation = Installation(folder, "homes", module)
    own, foreign = (os.path.join(folder, name) for name in ("own-home", "foreign-home"))
    for path in (own, foreign):
        os.mkdir(path)

    def cache_line(**environment):
        text = run(PROGRAM, installation.library, FLASHCORE_JIT="off", **environment)
        return next((line for line in text.splitlines() if line.startswith("user cache: ")), text)

    report.case("one's own HOME holds the cache", lacks(cache_line(HOME=own), f"user cache: {own}/.cache/flashcore, "))
    for name, value in (("HOME", "//"), ("HOME", "/."), ("XDG_CACHE_HOME", "/"), ("XDG_CACHE_HOME", "//"), ("XDG_CACHE_HOME", "/../.")):
        report.case(f"{name}={value} does not lead to the root folder", holds(cache_line(**{name: value}), "user cache: //", "user cache: /.", "user cache: /flashcore"))
    text = run(PROGRAM, installation.library, FLASHCORE_CACHE_DIR="//")
    report.case("FLASHCORE_CACHE_DIR=// is refused", lacks(text, "FLASHCORE_CACHE_DIR is \"//\"; allowed: an absolute path, and not the root folder"))
    if os.geteuid() != 0:
        return report.skip("another user's HOME", "only root can give files away")
    os.chown(foreign, CALLER, CALLER)
    problems = []
    for variable in ("HOME", "XDG_CACHE_HOME"):
        for value in (foreign, f"{foreign}/", f"{foreign}/missing", f"{foreign}/missing/too"):
            problems += holds(cache_line(**{variable: value}), foreign)
    report.case("another user's HOME or XDG_CACHE_HOME does not", problems + [f"made: {os.listdir(foreign)}"] * bool(os.listdir(foreign)))


def give_rights(path, kind):
    """True if a file can have them here."""
    if kind == "file capabilities":
        try:  # version 2, effective; CAP_NET_BIND_SERVICE
            os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
        except OSError:
            return False
        return True
    os.chown(path, INSTALLER, INSTALLER)
    os.chmod(path, 0o4755 if kind == "set-uid" else 0o2755)
    return True


def privileged_programs(report, folder, module):
    if os.geteuid() != 0:
        return report.skip("programs with more rights than their caller", "only root can give a program rights")
    if os.statvfs(folder).f_flag & os.ST_NOSUID:
        return report.skip("programs with more rights than their caller", f"{folder} is mounted nosuid")
    installation = Installation(folder, "privileged", module)
    home = os.path.join(folder, "caller")
    for name in ("cache", "modules", "xdg", "cuda"):
        os.makedirs(os.path.join(home, name))
    environment = {"FLASHCORE_CACHE_DIR": f"{home}/cache", "FLASHCORE_MODULE_PATH": f"{home}/modules", "FLASHCORE_LIBNVRTC": f"{home}/nvrtc.so",
                   "FLASHCORE_LIBCUDA": f"{home}/cuda.so", "XDG_CACHE_HOME": f"{home}/xdg", "HOME": home, "CUDA_HOME": f"{home}/cuda"}
    assert set(environment) == set(CHOSEN_BY_THE_CALLER)
    set_all(home, 0o755, 0o644, CALLER)
    plain = os.path.join(folder, "plain")
    shutil.copy(PROGRAM, plain)
    os.chmod(plain, 0o755)
    text = run(plain, installation.library, user=CALLER, **environment)
    report.case("a plain program obeys its caller", lacks(text, "privileged: 0\n", f"module folder: {home}/modules", f"user cache: {home}/cache",
                                                          f"{home}/nvrtc.so", f"{home}/cuda.so"))
    for kind in ("set-gid", "set-uid", "file capabilities"):
        program = os.path.join(folder, kind.replace(" ", "-"))
        shutil.copy(PROGRAM, program)
        os.chmod(program, 0o755)
        if not give_rights(program, kind):
            report.skip(f"{kind}", "the file system keeps no such rights")
            continue
        try:
            text = run(program, installation.library, "--obtain", MODULE, ARCH, user=CALLER, **environment)
        except OSError as error:
            report.skip(f"{kind}", f"no such program can be started: {error}")
            continue
        if "privileged: 0\n" in text:
            report.skip(f"{kind}", "the rights have no effect here")
            continue
        report.case(f"{kind}: nothing that the caller may choose is used",
                    holds(text, home) + lacks(text, "privileged: 1\n", f"module folder: {installation.modules}, ",
                                              "user cache: no user cache: this program has more rights than the user who started it"))
        report.case(f"{kind}: nothing is written for the caller", [f"made: {path}" for path in files_below(home)])
        # Not shipped, so it would have to be compiled.
        text = run(program, installation.library, "--obtain", MODULE, "sm_86", user=CALLER, NVRTC_APPEND_FLAGS="--maxrregcount=16")
        report.case(f"{kind}: the caller's flags do not reach the compiler",
                    lacks(text, "compiler: not used", "module: no module folder and no cache holds", "NVRTC_APPEND_FLAGS"))


def main():
    report = house.Report()
    folder = tempfile.mkdtemp(prefix="flashcore-trust-")
    try:
        os.chmod(folder, 0o755)
        for _ in range(2):  # the first one compiles, the second knows the file
            text = run(PROGRAM, LIBRARY, "--obtain", MODULE, ARCH, FLASHCORE_CACHE_DIR=os.path.join(folder, "cache"))
        path = next((line[len("module: "):] for line in text.splitlines() if line.startswith("module: ")), text)
        if os.path.isfile(path):
            shipped_modules(report, folder, path)
        else:
            report.skip("shipped modules", f"there is none to ship: {path}")
        module = path if os.path.isfile(path) else None
        homes(report, folder, module)
        privileged_programs(report, folder, module)
    finally:
        shutil.rmtree(folder)
    report.finish()


if __name__ == "__main__":
    main()
