#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-inspect warm, export, prune and clear: the user cache filled, copied, tidied and emptied, by a kernel of few small modules; and the
verdict of doctor on the stand-in driver.
"""
import os
import re
import shutil
import unittest

import cli
from cli import BAD_INPUT, FAILED, NO_DEVICE, OK, USAGE, Case

KERNEL, MODULES = "merge_states", 7


class Cache(cli.ToolTest):
    def setUp(self):
        super().setUp()
        self.environment["FLASHCORE_MODULE_PATH"] = self.path("none")
        self.cache = self.path(".cache/flashcore")
        if cli.NVRTC:
            self.environment["FLASHCORE_LIBNVRTC"] = cli.NVRTC

    def files(self):
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.cache) for name in names if name.endswith(".fcm"))

    def warm(self, **expected):
        done = self.fc_inspect("warm", "sm_89", "--kernel", KERNEL, "--json", code=None, **expected)
        if "COMPILER_UNAVAILABLE" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, OK, done.stderr)
        return self.json_of(done, "flashcore.inspect.warm/1")["architectures"][0]

    def test_a_cache_is_warmed_once(self):
        first, second = self.warm(), self.warm()
        self.assertEqual(len(self.files()), MODULES)
        self.assertTrue(all(module["compile_us"] > 0 for module in first["modules"]))
        self.assertEqual((second["compile_us"], len(second["modules"])), (0, MODULES))

    def test_what_folders_hold_is_not_compiled_again(self):
        self.warm()
        self.fc_inspect("export", self.path("pack"), out=[rf"^{MODULES} modules in .*/pack\n$"])
        shutil.rmtree(self.cache)
        self.environment["FLASHCORE_MODULE_PATH"] = self.path("pack")
        self.assertEqual(self.warm()["compile_us"], 0)
        self.assertEqual(self.files(), [])
        self.fc_inspect("verify", out=[rf"{MODULES} module files checked, 0 bad"])
        # What is shipped is exported when it is asked for.
        self.fc_inspect("export", self.path("again"), out=[r"^0 modules in "])
        self.fc_inspect("export", self.path("again"), "--origin", "shipped", "--arch", "sm_89", out=[rf"^{MODULES} modules in "])
        self.fc_inspect("export", self.path("other"), "--origin", "any", "--arch", "sm_90a", out=[r"^0 modules in "])

    def test_a_folder_that_cannot_be_written_to_is_told(self):
        self.warm()
        self.write("file", b"")
        content = self.json_of(self.fc_inspect("export", self.path("file"), "--json", code=FAILED), "flashcore.inspect.export/1")
        self.assertEqual({module["ok"] for module in content["modules"]}, {False})

    def test_what_is_of_no_use_is_pruned(self):
        self.warm()
        damaged, *good = self.files()
        with open(damaged, "r+b") as file:
            file.truncate(100)
        told = self.json_of(self.fc_inspect("prune", "--dry-run", "--json"), "flashcore.inspect.prune/1")
        self.assertEqual((told["dry_run"], told["removed_files"], told["removed_bytes"], told["kept_files"]), (True, 1, 100, MODULES - 1))
        self.assertEqual(len(self.files()), MODULES)
        self.fc_inspect("prune", out=[rf"removed: 1 module, 100 bytes\nkept: {MODULES - 1} modules"])
        self.assertEqual(self.files(), good)
        # Entries of other sources: nobody asks for them here.
        other = self.path("other")
        self.environment["NVRTC_APPEND_FLAGS"] = "-lineinfo"
        self.fc_inspect("prune", "--dry-run", out=[rf"would be removed: {MODULES - 1} modules"])
        del self.environment["NVRTC_APPEND_FLAGS"]
        self.fc_inspect("prune", "--limit", "0", out=[rf"removed: {MODULES - 1} modules"])
        self.assertEqual((self.files(), os.path.exists(other)), ([], False))

    def test_what_stands_in_the_way_is_told(self):
        self.warm()
        self.write("file", b"")
        for path in self.files()[:2]:
            with open(path, "r+b") as file:
                file.truncate(100)
        self.fc_inspect("list", out=[r"does not end with its digest"])
        missing = ["--nvrtc", self.path("none.so")]
        self.fc_inspect("warm", "sm_80", "--kernel", KERNEL, *missing, code=FAILED, err=[r"COMPILER_UNAVAILABLE", r"none\.so"])
        self.fc_inspect("warm", "sm_89", "--kernel", KERNEL, "--cache-dir", self.path("file"), code=BAD_INPUT, err=[r"the user cache is not used: ", r"IO_ERROR"])
        self.fc_inspect("compile", "sm_89", "--kernel", KERNEL, "--output", self.path("file"), code=BAD_INPUT, err=[r"IO_ERROR"])
        self.fc_inspect("compile", "sm_120", "--kernel", "sm90_fwd_wgmma-fp16-d64-128x128", "--output", self.path("out"), code=USAGE,
                        err=[r"where sm90_fwd_wgmma does not run; allowed: sm_90"])
        os.mkdir(self.path("open"))
        os.chmod(self.path("open"), 0o777)
        self.fc_inspect("list", "--module-path", self.path("open"), code=None, err=[r"group or others may write"])

    def test_a_cache_is_cleared(self):
        self.warm()
        self.fc_inspect("clear", "--dry-run", out=[rf"would be removed: {MODULES} modules"])
        content = self.json_of(self.fc_inspect("clear", "--json"), "flashcore.inspect.clear/1")
        self.assertEqual((content["removed_files"], content["kept_files"], self.files()), (MODULES, 0, []))
        self.fc_inspect("clear", out=[r"removed: 0 modules"])

    def test_the_doctors_verdict_on_a_gpu(self):
        self.environment.update(FLASHCORE_LIBCUDA=cli.FAKE_LIBCUDA, FAKE_CUDA="arch=89")
        done = self.fc_inspect("doctor", code=None)
        if "COMPILER_UNAVAILABLE" in done.stdout or "compiler       none" in done.stdout:
            self.skipTest(done.stdout)
        said = " ".join(done.stdout.split())  # lines break where the paths end
        self.assert_says(said, rf"driver {re.escape(cli.FAKE_LIBCUDA)}, CUDA 13\.0 ", done.stdout)
        self.assert_says(said, r"verdict calls are computed on Stand-in GPU 0; sm80_fwd_\S+ was loaded, compiled now", done.stdout)
        self.fc_inspect("doctor", out=[r"was loaded, from the user cache"])
        self.environment["FAKE_CUDA"] += ";fail=cuModuleLoadData:1:2:sticky"
        self.fc_inspect("doctor", code=FAILED, out=[r"verdict +calls on Stand-in GPU 0 fail: cuModuleLoadData failed with CUDA_ERROR_OUT_OF_MEMORY"])
        content = self.json_of(self.fc_inspect("doctor", "--json", code=FAILED), "flashcore.inspect.doctor/1")
        self.assertFalse(content["verdict"]["works"])


cli.add_cases(Cache, cli.FC_INSPECT, [
    Case("warm without a GPU", "warm", NO_DEVICE, (), [r"there is no GPU here to compile modules for; name an architecture"]),
    Case("warm of an architecture that is none", "warm sm_91", USAGE, (), [r'is "sm_91", but must be one of']),
    Case("warm of a kernel that there is not", "warm sm_89 --kernel fwd_magic", USAGE, (), [r'kernel is "fwd_magic"']),
    Case("export without a folder", "export", USAGE, (), [r"export takes one folder, but 0 were given"]),
    Case("export to two", "export a b", USAGE, (), [r"export takes one folder, but 2 were given"]),
    Case("a limit that is no number", "prune --limit much", USAGE, (), [r'option --limit is "much", but must be a whole number']),
    Case("a word too many", "clear all", USAGE, (), [r'"all" is one word too many for clear']),
    Case("the doctor's verdict without a GPU", "doctor", OK, [r"verdict +calls are computed on the CPU device, .*: there is no usable GPU"]),
])


class NoCache(cli.ToolTest):
    def test_a_cache_that_is_not_written_to_is_told(self):
        for mode, said in (("off", "the user cache is off"), ("ro", "the user cache is only read")):
            self.environment["FLASHCORE_CACHE"] = mode
            for words in (["clear"], ["prune"], ["warm", "sm_89", "--kernel", KERNEL]):
                self.fc_inspect(*words, code=USAGE, err=[said])


if __name__ == "__main__":
    unittest.main(verbosity=2)
