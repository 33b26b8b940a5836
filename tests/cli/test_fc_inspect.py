#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fc-inspect: its manners, its exit codes, and what it says about modules that are whole, damaged, foreign or missing."""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import cli
from cli import BAD_INPUT, FAILED, INTERRUPTED, OK, USAGE, Case


class CommandLine(cli.ToolTest):
    """What needs no module; the module folder is empty."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("empty"))
        self.environment["FLASHCORE_MODULE_PATH"] = self.path("empty")

    def test_help_fits_a_page(self):
        done = self.fc_inspect("--help", out=[r"fc-inspect list", r"fc-inspect verify \[PATH", r"--ptxas", r"Exit codes"])
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)
        examples = done.stdout.split("Examples\n")[1].split("\n\n")[0].splitlines()
        self.assertEqual(len(examples), 2)

    def test_help_of_a_subcommand(self):
        self.fc_inspect("show", "--help", out=[r"--cubin FILE"])

    def test_doctor_json(self):
        content = self.json_of(self.fc_inspect("doctor", "--json"), "flashcore.inspect.doctor/1")
        self.assertEqual(content["devices"], [])
        self.assertIn("/nonexistent/libcuda", content["device_remark"])
        self.assertIn("driver: none", content["environment"])
        self.assertTrue({"sm80_fwd_mma", "fwd_wmma_64x64"} <= {kernel["name"] for kernel in content["kernels"]})

    def test_list_json_of_nothing(self):
        content = self.json_of(self.fc_inspect("list", "--json"), "flashcore.inspect.list/1")
        self.assertEqual(content["modules"], [])

    def test_verify_json_of_nothing(self):
        content = self.json_of(self.fc_inspect("verify", "--json"), "flashcore.inspect.verify/1")
        self.assertEqual((content["checked"], content["bad"]), (0, 0))

    def test_compile_json_needs_an_architecture_that_exists(self):
        self.fc_inspect("compile", "sm_99x", "--output", self.path("out"), "--json", code=USAGE, err=[r"sm_99x", r"INVALID_ARGUMENT"])
        self.assertFalse(os.path.exists(self.path("out")) and os.listdir(self.path("out")))


cli.add_cases(CommandLine, cli.FC_INSPECT, [
    Case("version", "--version", OK, [r"^fc-inspect of flashcore \d+\.\d+\.\d+", r"library +\d+\.\d+\.\d+, /", r"driver +none", r"compiler +"]),
    Case("doctor", "doctor", OK, [r"What flashcore would use here", r"driver +none; .*nonexistent", r"user cache +", r"Kernels", r"sm80_fwd_mma"]),
    Case("list of nothing says what to do", "list", OK, [r"No module was found\. fc-inspect doctor says"]),
    Case("overview is the default", "", OK, [r"No module was found"]),
    Case("overview with options only", "--arch sm_89", OK, [r"No module was found"]),
    Case("verify of nothing", "verify", OK, [r"No module was found, so none was checked"]),
    Case("unknown subcommand", "lst", USAGE, (), [r'subcommand "lst" is unknown, but must be one of: list, show, verify, compile, warm, export, prune, clear, doctor']),
    Case("unknown option", "list --archs sm_89", USAGE, (), [r"unknown option --archs; did you mean --arch\?"]),
    Case("option of another subcommand", "list --ptxas", USAGE, (), [r"unknown option --ptxas"]),
    Case("word too many", "list sm_89", USAGE, (), [r'"sm_89" is one word too many for list']),
    Case("subcommand behind an option", "--json show", USAGE, (), [r"the subcommand must stand first"]),
    Case("bad origin", "list --origin here", USAGE, (), [r'--origin is "here", but must be one of: any, shipped, user']),
    Case("bad color", "list --color=red", USAGE, (), [r'--color is "red", but must be one of: auto, always, never']),
    Case("show without a name", "show", USAGE, (), [r"show takes one module, but 0 were given"]),
    Case("show of two", "show a b", USAGE, (), [r"show takes one module, but 2 were given"]),
    Case("model of an architecture", "show --model sm_89", OK, [r"NVIDIA L4, 58 multiprocessors", r"a prediction: nothing was measured", r"tensor cores +\d+\.\d\d us",
                                                               r"latency +\d", r"total +\d+\.\d\d us, .*bound by "]),
    Case("model of a kernel and a shape", "show fwd_scalar --model sm_90a --shape 1,8,8,512,512,64,fp16,none", OK,
         [r"fitted on this architecture", r"module +fwd_scalar-fp16-", r"tensor cores +not modelled"]),
    Case("model of a module as JSON", "show sm80_fwd_mma-fp16-d64-64x64-w4-qreg --model sm_89 --json", OK, [r'"module": "sm80_fwd_mma-fp16-d64-64x64-w4-qreg"', r'"fitted": false']),
    Case("model of an unknown architecture", "show --model sm_12", USAGE, (), [r'architecture "sm_12" has no GPU that stands for it; allowed: sm_80']),
    Case("model of an unknown kernel", "show fwd_magic --model sm_89", USAGE, (), [r'kernel is "fwd_magic"; allowed: ']),
    Case("model of a bad shape", "show --model sm_89 --shape 1", USAGE, (), [r'option --shape: "1" has 1 fields']),
    Case("model of a shape that no kernel serves", "show --model sm_89 --shape 1,8,8,512,512,999,fp16,none", USAGE, (), [r"head_dim"]),
    Case("shape without model", "show m --shape 1,8,8,512,512,64,fp16,none", USAGE, (), [r"option --shape goes with --model"]),
    Case("show of an unknown name", "show fwd_magic", USAGE, (), [r'no module is called "fwd_magic"']),
    Case("show of a file that is not there", "show {none.fcm}", BAD_INPUT, (), [r"none\.fcm", r"IO_ERROR"]),
    Case("verify of a path that is not there", "verify {nowhere}", BAD_INPUT, (), [r"nowhere: "]),
    Case("verify of a folder without modules", "verify {empty}", BAD_INPUT, (), [r"the folder holds no \.fcm file"]),
    Case("compile without architecture", "compile --output {out}", USAGE, (), [r"compile needs at least one architecture"]),
    Case("compile a kernel that there is not", "compile sm_89 --kernel fwd_scalr --output {out}", USAGE, (), [r'kernel is "fwd_scalr"']),
    Case("compile a kernel without a name", "compile sm_89 --kernel= --output {out}", USAGE, (), [r"option --kernel needs a value"]),
    Case("compile without folder", "compile sm_89", USAGE, (), [r"compile needs --output FOLDER"]),
    *[Case(f"architecture that is none, {arch}, of {call.split()[0]}", call.format(arch), USAGE, (),
           [rf'is "{arch}", but must be one of: sm_80, .*sm_90, sm_90a, sm_100, sm_100a, sm_100f, .*sm_121f']) for arch in
      ("sm_91", "sm_100x", "90", "compute_90", "sm_80a", "SM_90", "sm_90aa", "sm_75") for call in
      ("compile sm_89 {} --output {{out}}", "show m --arch {}")],
    *[Case(f"no module is of {arch}, says {call or 'the overview'}", f"{call} --arch {arch}", OK, [r"No module was found"],
           [rf'note: option --arch is "{arch}", but must be one of: sm_80, .*sm_121f']) for arch in ("sm_91", "90") for call in ("list", "")],
    Case("architecture by another name", "compile compute_90a --output {out}", USAGE, (), [r"; did you mean sm_90a\?"]),
    Case("subcommand that is nearly one", "verfy", USAGE, (), [r'"verfy" is unknown.*; did you mean verify\?']),
    Case("option as a value", "list --arch --json", USAGE, (), [r"option --arch needs a value, but the option --json follows"]),
    Case("compile without NVRTC", "compile sm_89 --output {out} --nvrtc /nonexistent/libnvrtc.so", FAILED, (),
         [r"cannot compile the modules of sm_89: .*/nonexistent/libnvrtc.so", r"COMPILER_UNAVAILABLE"]),
])


@unittest.skipUnless(cli.STAMPS, "no modules are shipped with this build")
class Modules(cli.ToolTest):
    """On the shipped modules and on copies of them."""

    def setUp(self):
        super().setUp()
        self.environment["FLASHCORE_MODULE_PATH"] = cli.MODULES
        self.arch = "sm_89"

    def modules(self, *arguments):
        return self.json_of(self.fc_inspect("list", "--json", *arguments), "flashcore.inspect.list/1")["modules"]

    def some_module(self):
        return self.modules("--arch", self.arch, "--kernel", "sm80_fwd_mma")[0]

    def copy_of(self, module, name=None):
        """A copy in a module folder of this test; returns its path."""
        folder = self.path(f"copies/{module['arch']}")
        os.makedirs(folder, mode=0o755, exist_ok=True)
        target = os.path.join(folder, name or os.path.basename(module["path"]))
        shutil.copyfile(module["path"], target)
        os.chmod(target, 0o644)
        return target

    def test_list(self):
        done = self.fc_inspect("list", "--arch", self.arch, out=[r"sm_89: \d+ modules, .* compiled by NVRTC \d+\.\d+, ptxas V", r"shipped: /",
                                                                r"module +regs +", r"sm80_fwd_mma-\S+ +\d+ +0 +[\d,]+ +0/0 ", r"0 are not usable"])
        self.assertLessEqual(max(len(line) for line in done.stdout.splitlines() if not line.startswith("  shipped: /")), 120)
        self.assertNotIn("sm_90a", done.stdout)

    def test_list_json_has_every_column(self):
        row = self.some_module()
        for key in ("module", "arch", "registers", "static_shared_bytes", "dynamic_shared_bytes", "spill_store_bytes", "spill_load_bytes", "stack_bytes",
                    "max_threads_per_block", "cubin_bytes", "compressed_bytes", "origin", "compiler"):
            self.assertIn(key, row)
        self.assertEqual((row["origin"], row["arch"], row["status"], row["current"]), ("shipped", "sm_89", "OK", True))
        self.assertEqual(row["shared_limit_bytes"], 99 * 1024)

    def test_filters(self):
        everything = self.modules()
        self.assertEqual(self.modules("--kernel", "fwd_wmma_64x64"), [row for row in everything if row["kernel"] == "fwd_wmma_64x64"])
        self.assertEqual(self.modules("--arch", "sm_90a"), [row for row in everything if row["arch"] == "sm_90a"])
        self.assertEqual(self.modules("--origin", "shipped"), everything)
        self.assertEqual(self.modules("--origin", "user"), [])
        self.fc_inspect("list", "--arch", "sm_01", out=[r"None of the \d+ modules found fits these options"])

    def test_show_by_name_prefix_key_and_path(self):
        row = self.some_module()
        shown = [self.json_of(self.fc_inspect("show", name, "--json", *more), "flashcore.inspect.show/1")["module"]
                 for name, more in ((row["module"], ["--arch", self.arch]), (f"{row['module']}@{self.arch}", []), (row["key"], []), (row["key"][:12], []),
                                    (row["path"], []))]
        for module in shown:
            self.assertEqual((module["module"], module["arch"], module["cubin_sha256"]), (row["module"], self.arch, row["cubin_sha256"]))

    def test_ambiguous_name(self):
        self.fc_inspect("show", "sm80_fwd_mma", code=USAGE, err=[r'"sm80_fwd_mma" may mean \d+ modules; give more of the name, or --arch:', r"\n  sm80_fwd_mma-\S+@sm_", r"and \d+ more"])

    def test_name_for_another_arch(self):
        self.fc_inspect("show", self.some_module()["module"], "--arch", "sm_01", code=USAGE, err=[r"no module is called .* for sm_01"])

    def test_show_fields(self):
        row = self.some_module()
        self.fc_inspect("show", row["key"], "--ptxas", "--specialization",
                        out=[rf"^{row['module']} for sm_89", rf"registers +{row['registers']} per thread", r"spills +0 bytes stored", r"options +\S*sm_89",
                             r"log of ptxas\n(.*\n)*.*Used \d+ registers", r"specialization\.h\n(.*\n)*.*head_dim", r"current +yes"])

    def test_sass_classes(self):
        row = self.some_module()
        self.fc_inspect("show", row["key"], "--sass-classes", out=[r"instructions of the steady loop.*\nclass +a pass +per 16x8 scores\nHMMA +\d+ +(8|16)\.00\n",
                                                                  r"\nMUFU +\d+ +4\.00\n", r"\d+ tiles of scores a pass"])
        loop = self.json_of(self.fc_inspect("show", row["key"], "--json"), "flashcore.inspect.show/1")["steady_loop"]
        counted = sum(loop[name] for name in ("hmma", "hgmma", "ldsm", "mufu", "ffma", "fmnmx", "other", "skipped"))
        self.assertEqual(loop["bytes"], counted * 16)
        scalar = self.modules("--arch", self.arch, "--kernel", "fwd_scalar")[0]["key"]
        self.fc_inspect("show", scalar, "--sass-classes", out=[r"this kernel has no loop with mma\.sync or wgmma instructions"])
        self.assertIsNone(self.json_of(self.fc_inspect("show", scalar, "--json"), "flashcore.inspect.show/1")["steady_loop"])

    def test_cubin_export(self):
        row = self.some_module()
        self.fc_inspect("show", row["key"], "--cubin", self.path("k.cubin"), err=[r"bytes of cubin written to"])
        cubin = self.read("k.cubin")
        self.assertEqual((len(cubin), hashlib.sha256(cubin).hexdigest(), cubin[:4]), (row["cubin_bytes"], row["cubin_sha256"], b"\x7fELF"))
        self.assertEqual(os.listdir(self.folder), ["k.cubin"])
        if shutil.which("zstd"):  # the promise of the file format to people without our tools
            self.assertEqual(subprocess.run(["zstd", "-dc", row["path"]], stdout=subprocess.PIPE, check=True).stdout, cubin)

    def test_cubin_into_a_folder_that_is_not_there(self):
        self.fc_inspect("show", self.some_module()["key"], "--cubin", self.path("nowhere/k.cubin"), code=BAD_INPUT, err=[r"option --cubin: the folder"])

    def test_verify_everything(self):
        done = self.fc_inspect("verify", out=[r"module files checked, 0 bad\n$"])
        self.assertEqual(len(re.findall(r"^OK ", done.stdout, re.MULTILINE)), len(self.modules("--all")))

    def test_verify_a_damaged_copy(self):
        path = self.copy_of(self.some_module())
        with open(path, "rb") as file:
            whole = file.read()
        self.fc_inspect("verify", path, out=[r"^OK ", r"1 module file checked, 0 bad"])
        for at in (0, 9, 200, len(whole) // 2, len(whole) - 33, len(whole) - 1):
            with self.subTest(flipped=at):
                self.damage(path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        for length in (0, 1, 100, len(whole) - 1):
            with self.subTest(length=length):
                self.damage(path, whole[:length])

    def damage(self, path, content):
        with open(path, "wb") as file:
            file.write(content)
        self.fc_inspect("verify", path, code=FAILED, out=[r"^BAD  \S+\.fcm\n     \S", r"1 module file checked, 1 bad"])
        content = self.json_of(self.fc_inspect("verify", self.path("copies"), "--json", code=FAILED), "flashcore.inspect.verify/1")
        self.assertEqual((content["bad"], content["files"][0]["ok"]), (1, False))

    def test_verify_tells_good_from_bad(self):
        rows = self.modules("--arch", self.arch)[:2]
        good, bad = self.copy_of(rows[0]), self.copy_of(rows[1])
        with open(bad, "r+b") as file:
            file.truncate(500)
        self.fc_inspect("verify", self.path("copies"), code=FAILED, out=[rf"OK +sm_89 +{rows[0]['module']}\n", rf"BAD  {re.escape(bad)}\n", r"2 module files checked, 1 bad"])
        self.fc_inspect("verify", good)

    def test_list_shows_a_damaged_file_and_goes_on(self):
        row = self.some_module()
        self.copy_of(row)
        with open(self.copy_of(row, "0" * 64 + ".0123456789abcdef.fcm"), "r+b") as file:
            file.truncate(300)
        self.fc_inspect("list", "--module-path", self.path("copies"), out=[row["module"], r"not usable\n  /\S+0123456789abcdef\.fcm\n    \S", r"1 are not usable"])

    def test_show_of_a_damaged_file(self):
        path = self.copy_of(self.some_module())
        with open(path, "r+b") as file:
            file.seek(1000)
            file.write(b"damaged")
        self.fc_inspect("show", path, code=BAD_INPUT, err=[r"cannot read the module .*MODULE_CORRUPT"])

    def test_file_that_nobody_may_read(self):
        path = self.copy_of(self.some_module())
        os.chmod(path, 0)
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        self.fc_inspect("verify", path, code=BAD_INPUT, out=[r"^BAD "])

    def copy_of_arch(self):
        for row in self.modules("--arch", self.arch):
            self.copy_of(row)
        return self.path("copies")

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_keeps_what_is_there(self):
        folder = self.copy_of_arch()
        before = {name: os.stat(os.path.join(folder, self.arch, name)).st_ino for name in os.listdir(os.path.join(folder, self.arch))}
        content = self.json_of(self.fc_inspect("compile", self.arch, "--output", folder, "--nvrtc", cli.NVRTC, "--json"), "flashcore.inspect.compile/1")
        self.assertEqual(len(content["architectures"][0]["modules"]), len(before))
        self.assertEqual(before, {name: os.stat(os.path.join(folder, self.arch, name)).st_ino for name in os.listdir(os.path.join(folder, self.arch))})

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_makes_again_what_is_missing_with_the_same_bits(self):
        folder = self.copy_of_arch()
        row = next(row for row in self.modules("--arch", self.arch) if row["kernel"] == "fwd_wmma_64x64")
        path = os.path.join(folder, self.arch, os.path.basename(row["path"]))
        os.remove(path)
        self.fc_inspect("compile", self.arch, "--output", folder, "--nvrtc", cli.NVRTC, out=[r"^sm_89: \d+ modules in "])
        again = self.json_of(self.fc_inspect("show", path, "--json"), "flashcore.inspect.show/1")["module"]
        self.assertEqual((again["key"], again["cubin_sha256"]), (row["key"], row["cubin_sha256"]))

    def compile_kernel(self, name, *archs):
        """What `compile --kernel` says of each module, by architecture."""
        done = self.fc_inspect("compile", *archs, "--kernel", name, "--output", self.path("out"), "--nvrtc", cli.NVRTC, "--json")
        return {row["arch"]: row["modules"] for row in self.json_of(done, "flashcore.inspect.compile/1")["architectures"]}

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_one_kernel(self):
        modules = self.compile_kernel("fwd_scalar", self.arch)[self.arch]
        self.assertEqual({module["kernel"] for module in modules}, {"fwd_scalar"})
        self.assertEqual({module["module"] for module in modules}, {row["module"] for row in self.modules("--arch", self.arch, "--kernel", "fwd_scalar")})
        for module in modules:
            self.assertTrue(os.path.samefile(os.path.dirname(module["path"]), self.path(f"out/{self.arch}")))
            self.assertGreater(module["compile_us"], 0)
            self.assertGreater(module["registers"], 0)
        self.assertEqual({module["compile_us"] for module in self.compile_kernel("fwd_scalar", self.arch)[self.arch]}, {0}, "they are kept")

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_one_kernel_shows_what_its_modules_need(self):
        arguments = ("compile", self.arch, "--kernel", "fwd_scalar", "--output", self.path("out"), "--nvrtc", cli.NVRTC)
        self.fc_inspect(*arguments, out=[r"\nmodule +regs +shared +shared +st/ld", r"\nfwd_scalar-bf16-\S+ +\d+ +0 +[\d,]+ +0/0 ",
                                         r"\nsm_89: \d modules in \S+/sm_89, [\d.]+ m?s in the compiler\n$"])
        self.fc_inspect(*arguments, out=[r"\nsm_89: \d modules in \S+/sm_89, all there before\n$"])

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_one_module_that_is_not_shipped(self):
        name = "sm80_fwd_mma-fp16-d64-64x16-w4"
        self.assertNotIn(name, {row["module"] for row in self.modules("--arch", self.arch)})
        self.assertEqual([module["module"] for module in self.compile_kernel(name, self.arch)[self.arch]], [name])

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_a_kernel_where_it_does_not_run(self):
        self.assertEqual(self.compile_kernel("sm90_fwd_decode", "sm_80"), {"sm_80": []})
        self.fc_inspect("compile", "sm_80", "--kernel", "sm90_fwd_decode", "--output", self.path("out"), "--nvrtc", cli.NVRTC,
                        out=[r"^sm_80: no modules of sm90_fwd_decode, which does not run there"])
        self.fc_inspect("compile", "sm_80", "--kernel", "sm90_fwd_decode-bf16-d128-8x16-w8-c2", "--output", self.path("out"), "--nvrtc", cli.NVRTC,
                        code=USAGE, err=[r'arch is "sm_80", where sm90_fwd_decode does not run; allowed: sm_90 or newer', r"INVALID_ARGUMENT"])

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_ctrl_c_ends_a_compilation_in_good_order(self):
        process = subprocess.Popen([cli.FC_INSPECT, "compile", self.arch, "--output", self.path("out"), "--nvrtc", cli.NVRTC], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment, text=True)
        deadline = time.monotonic() + 120
        while not any(name.endswith(".fcm") for _, _, names in os.walk(self.path("out")) for name in names):
            self.assertLess(time.monotonic(), deadline, "no module appeared")
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out), (INTERRUPTED, ""), err)
        self.assertRegex(err, r"stopped; \d+ modules for sm_89 are complete in ")
        self.fc_inspect("verify", self.path("out"))
        self.assertEqual([name for _, _, names in os.walk(self.path("out")) for name in names if not name.endswith(".fcm")], [])

    @unittest.skipUnless(cli.NVRTC, "no NVRTC")
    def test_compile_into_a_file(self):
        self.write("file", b"")
        self.fc_inspect("compile", self.arch, "--output", self.path("file"), "--nvrtc", cli.NVRTC, code=BAD_INPUT, err=[r"IO_ERROR"])

    def test_modules_of_another_version_are_hidden(self):
        row = self.some_module()
        stale = cli.make_stale_copy(self.copy_of(row))
        self.environment["FLASHCORE_MODULE_PATH"] = self.path("copies")
        self.fc_inspect("verify", stale, out=[r"^OK "])
        shown = self.json_of(self.fc_inspect("list", "--json"), "flashcore.inspect.list/1")
        self.assertEqual((shown["hidden_modules"], len(shown["modules"])), (1, 1))
        self.fc_inspect("list", out=[r"sm_89: 1 module, "], err=[r"note: 1 module of another version of flashcore not shown; --all shows them"])
        both = self.json_of(self.fc_inspect("list", "--all", "--json"), "flashcore.inspect.list/1")["modules"]
        self.assertEqual(sorted(module["current"] for module in both), [False, True])
        self.fc_inspect("list", "--all", out=[r"sm_89: 1 other version's module, "])
        self.fc_inspect("show", row["module"], out=[r"current +yes"], err=[r"1 other file holds the same module"])
        self.fc_inspect("show", stale, out=[r"current +no, "])
        os.remove(os.path.join(os.path.dirname(stale), os.path.basename(row["path"])))
        self.fc_inspect("list", out=[r"^1 of the 1 modules found are for another version of flashcore; --all shows them"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
