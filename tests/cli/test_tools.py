#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the four tools have in common: how they read options, what --json means, how wide they write, and that they ask for memory before
they take it."""
import fcntl
import json
import os
import pty
import re
import resource
import struct
import subprocess
import termios
import unittest

import cli
from cli import BAD_INPUT, FAILED, OK, USAGE

TOOLS = {name: os.environ[name.upper().replace("-", "_")] for name in ("fc-run", "fc-inspect", "fc-bench", "fc-tune")}
TINY = "tiny,1,2,2,33,33,16,fp16,none"
# Something that each tool can do everywhere, and the schema of what it then says.
QUICK = {
    "fc-run": (["--random", "1", "--heads", "2", "--seqlen", "33", "--head-dim", "16", "--device", "cpu"], "flashcore.run/1"),
    "fc-inspect": (["doctor"], "flashcore.inspect.doctor/1"),
    "fc-bench": (["--device", "cpu", "--shape", TINY, "--samples", "2", "--warmup", "0"], "flashcore.bench/1"),
}
if cli.NVRTC:
    QUICK["fc-tune"] = (["--arch", "sm_89", "--shape", "t 1 1 1 64 64 64 fp16 none", "--population", "2", "--budget", "500ms", "--state", "none"],
                        "flashcore.tune.static/1")


class Options(cli.ToolTest):
    def value_options(self, tool):
        """Options that take a value, as --help shows them: "  --name PLACEHOLDER"."""
        for line in self.run_tool(TOOLS[tool], "--help").stdout.splitlines():
            words = line.split()
            if line.startswith("  --") and len(words) > 1 and re.fullmatch("[A-Z|]+", words[1]):
                yield words[0]

    def test_no_option_takes_another_as_its_value(self):
        for tool in TOOLS:
            subcommands = ["list", "show", "compile", "prune"] if tool == "fc-inspect" else [None]
            options = list(self.value_options(tool))
            self.assertGreater(len(options), 7)
            for option in options:
                for following in ("--json", "--quiet", "-q", "--no-such-option"):
                    with self.subTest(tool, option=option, following=following):
                        answers = [self.run_tool(TOOLS[tool], *filter(None, [subcommand]), option, following, code=USAGE).stderr for subcommand in subcommands]
                        self.assertTrue(any(f"option {option} needs a value, but the option {following} follows" in answer for answer in answers), answers)
            self.assertEqual(os.listdir(self.folder), [])

    def test_a_value_may_look_like_an_option_behind_an_equals_sign(self):
        self.run_tool(TOOLS["fc-run"], *QUICK["fc-run"][0], "--output=--check")
        self.assertEqual(os.listdir(self.folder), ["--check"])

    def test_unknown_options_are_named_with_the_nearest(self):
        for tool in TOOLS:
            for given, meant in (("--colour", "--color"), ("--verison", "--version"), ("--module-pth", "--module-path"), ("--jsno", "--json"), ("--nvrtcc=x", "--nvrtc")):
                self.run_tool(TOOLS[tool], given, code=USAGE, err=[rf"unknown option {given.split('=')[0]}; did you mean {meant}\?"])

    def test_stray_words_are_quoted(self):
        for tool in ("fc-run", "fc-bench", "fc-tune"):
            self.run_tool(TOOLS[tool], "quite", code=USAGE, err=[r'the word "quite" belongs to no option; did you mean --quiet\?'])
            self.run_tool(TOOLS[tool], "--", code=USAGE, err=[r'the word "--" belongs to no option'])

    def test_other_words_for_types_and_masks(self):
        for dtype, said in (("float16", "fp16"), ("half", "fp16"), ("bfloat16", "bf16"), ("BF16", "bf16")):
            for causal, mask in (("top_left", "top-left"), ("BOTTOM-RIGHT", "bottom-right"), ("none", "none")):
                run = json.loads(self.run_tool(TOOLS["fc-run"], *QUICK["fc-run"][0], "--dtype", dtype, "--causal", causal, "--json").stdout)
                self.assertEqual((run["problem"]["dtype"], run["problem"]["causal"]), (said, mask))
                shape, = json.loads(self.run_tool(TOOLS["fc-bench"], "--list", "--json", "--shape", f"1 1 1 4 4 8 {dtype} {causal}").stdout)["shapes"]
                self.assertEqual((shape["dtype"], shape["causal"]), (said, mask))


class JsonOption(cli.ToolTest):
    def test_on_stdout_instead_of_the_report(self):
        for tool, (arguments, schema) in QUICK.items():
            for option in (["--json"], ["--json=-"]):
                done = self.run_tool(TOOLS[tool], *arguments, *option)
                self.json_of(done, schema)

    def test_before_another_option(self):
        for tool, (arguments, schema) in QUICK.items():
            first = [arguments[0]] if tool == "fc-inspect" else []
            done = self.run_tool(TOOLS[tool], *first, "--json", *(arguments[len(first):] or ["--quiet"]))
            self.json_of(done, schema)
            self.assertEqual(os.listdir(self.folder), [".cache"] if os.path.exists(self.path(".cache")) else [])

    def test_into_a_file_beside_the_report(self):
        for tool, (arguments, schema) in QUICK.items():
            done = self.run_tool(TOOLS[tool], *arguments, f"--json={self.path(tool)}")
            self.assertNotIn('"schema"', done.stdout)
            self.assertGreater(len(done.stdout.splitlines()), 3)
            self.assertEqual(json.loads(self.read(tool))["schema"], schema)

    def test_a_file_that_cannot_be_written(self):
        for tool, (arguments, _) in QUICK.items():
            self.run_tool(TOOLS[tool], *arguments, "--json=/nonexistent/a.json", code=BAD_INPUT, err=[r"option --json: the folder of /nonexistent/a\.json"])
            self.run_tool(TOOLS[tool], *arguments, "--json=", code=USAGE, err=[r"option --json needs a value"])

    def test_as_a_word_of_its_own_where_no_words_are_taken(self):
        self.run_tool(TOOLS["fc-bench"], *QUICK["fc-bench"][0], "--json", self.path("b"))
        self.run_tool(TOOLS["fc-run"], *QUICK["fc-run"][0], "--json", self.path("r"))
        self.assertEqual(json.loads(self.read("r"))["schema"], "flashcore.run/1")
        self.json_of(self.run_tool(TOOLS["fc-bench"], *QUICK["fc-bench"][0], "--json", "-"), "flashcore.bench/1")

    def test_startup(self):
        done = self.run_tool(TOOLS["fc-bench"], "--json", "--startup", "--device", "cpu", "--shape", TINY, "--samples", "1")
        self.assertEqual(self.json_of(done, "flashcore.bench/1")["action"], "startup")
        self.assertEqual(os.listdir(self.folder), [])


class Width(cli.ToolTest):
    def lines(self, tool, *arguments, columns):
        return self.run_tool(TOOLS[tool], *arguments, env={"COLUMNS": str(columns)}).stdout.splitlines()

    def test_reports_follow_the_terminal(self):
        for tool, (arguments, _) in QUICK.items():
            if tool == "fc-inspect":  # its paths are longer words
                continue
            for columns in (80, 100):
                wide = [line for line in self.lines(tool, *arguments, columns=columns) if len(line) > columns and len(line.split()) > 3]
                self.assertEqual(wide, [])
            self.assertLess(len(self.lines(tool, *arguments, columns=300)), len(self.lines(tool, *arguments, columns=60)))

    def test_help_follows_the_terminal(self):
        for tool in TOOLS:
            for columns in (80, 150):
                lines = [line for line in self.lines(tool, "--help", columns=columns) if not line.startswith(f"  {tool} ")]
                self.assertLessEqual(max(map(len, lines)), columns)

    def test_a_real_terminal(self):
        try:
            master, slave = pty.openpty()
        except OSError as reason:  # a container without /dev/pts
            self.skipTest(f"no pseudo terminal: {reason}")
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 72, 0, 0))
        environment = {name: value for name, value in self.environment.items() if name != "COLUMNS"}
        with subprocess.Popen([TOOLS["fc-bench"], "--help"], stdin=subprocess.DEVNULL, stdout=slave, env=environment) as process:
            os.close(slave)
            text = b""
            try:
                while block := os.read(master, 65536):
                    text += block
            except OSError:  # the other end is closed
                pass
        os.close(master)
        lines = [line for line in text.decode().splitlines() if not line.startswith("  fc-bench ")]
        self.assertEqual(process.returncode, OK)
        self.assertTrue(60 < max(map(len, lines)) <= 72, max(map(len, lines)))

    def test_nothing_in_a_name_steers_the_terminal(self):
        hostile = "a\x1b[2K\r\u009bOK   sm_89\u202e.fcm"
        os.mkdir(self.path("folder"))
        self.write(f"folder/{hostile}", b"no module")
        done = self.run_tool(TOOLS["fc-inspect"], "verify", self.path("folder"), code=FAILED, out=[r"BAD  .*a\\x1b\[2K\\x0d\\xc2\\x9bOK", r"1 bad"])
        for steering in ("\x1b", "\r", "\u009b", "\u202e"):
            self.assertNotIn(steering, done.stdout)
        for tool in ("fc-run", "fc-bench", "fc-tune"):
            self.assertNotIn("\x1b", self.run_tool(TOOLS[tool], "--color", "\x1b[2Kred", code=USAGE, err=[r"\\x1b\[2Kred"]).stderr)
        self.assertNotIn("\x1b", self.run_tool(TOOLS["fc-inspect"], "show", self.path(f"folder/{hostile}"), code=BAD_INPUT).stderr)


@unittest.skipUnless(os.environ.get("SANITIZE", "none") == "none", "a sanitizer takes more addresses than these limits leave")
class Memory(cli.ToolTest):
    """Within 1 GiB of addresses, so that the answer does not depend on the machine."""

    def refused(self, tool, *arguments, code, streams):
        done = subprocess.run([TOOLS[tool], *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
                              cwd=self.folder, timeout=120, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
        said = " ".join((done.stdout + done.stderr).split())
        self.assertEqual(done.returncode, code, said)
        self.assertRegex(said, rf"this needs \d+\.\d [GT]iB of host memory \({streams}.*\), but [\d.]+ [GM]iB are available; take smaller sizes")

    def test_run(self):
        for size in (["--seqlen", "4000000"], ["--batch", "40000"], ["--heads", "40000"], ["--head-dim", "300000"], ["--seqlen-kv", "4000000"],
                     ["--seqlen-q", "4000000"], ["--head-dim-v", "400000"]):
            for device in ("cpu", "auto"):
                with self.subTest(size, device=device):
                    self.refused("fc-run", "--random", "1", "--device", device, *size, code=USAGE, streams=r"inputs .*output .*what the CPU device computes on ")

    def test_run_with_the_reference(self):
        arguments = ["--random", "1", "--device", "cpu", "--heads", "8", "--seqlen", "100000"]
        self.refused("fc-run", *arguments, "--check", code=USAGE, streams=r"inputs .*the reference of --check ")
        self.run_tool(TOOLS["fc-run"], *arguments, "--check", "--explain")  # takes no memory

    def test_files(self):
        name = self.path("q.npy")
        with open(name, "wb") as file:
            file.write(cli.npy_bytes("<f2", (1, 8000000, 64, 8), []))
            file.truncate(file.tell() + 8000000 * 64 * 8 * 2)  # holes take no room
        done = subprocess.run([TOOLS["fc-run"], "--query", name, "--key", name, "--value", name, "--check", "--device", "cpu"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
        self.assertEqual(done.returncode, BAD_INPUT, done.stderr)
        self.assertRegex(done.stderr, r"cannot read .*q\.npy: this needs 7\.6 GiB of host memory")

    def test_bench(self):
        for shape in ("1,8,8,4000000,4000000,64,fp16,none", "4000,8,8,512,512,64,fp16,none", "1,4000,4000,512,512,64,bf16,top-left"):
            self.refused("fc-bench", "--device", "cpu", "--shape", shape, code=FAILED, streams=r"inputs .*results to compare .*what the CPU device computes on ")

    def test_many_queries(self):
        """Nothing on the way to the refusal counts them one by one."""
        self.refused("fc-bench", "--device", "cpu", "--shape", f"1,1,1,{2**31 - 1},1,8,fp16,bottom-right", code=FAILED, streams=r"inputs ")


@unittest.skipUnless(cli.NVRTC, "no NVRTC")
class Architectures(cli.ToolTest):
    """A module compiled for a family or for one architecture alone, from NVRTC to the device that runs it."""

    def module_for(self, arch):
        """Compiled into the user cache, as fc-tune does it."""
        model = json.loads(self.run_tool(TOOLS["fc-inspect"], "show", "fwd_scalar", "--model", "sm_80", "--json").stdout)
        self.run_tool(TOOLS["fc-tune"], "--compile-worker", arch, "--worker-module", model["module"], "--nvrtc", cli.NVRTC, "--cache-dir", self.path(arch))
        return model["module"]

    def test_family_and_specific_modules_are_found(self):
        os.mkdir(self.path("none"))  # instead of the shipped modules
        self.environment["FLASHCORE_MODULE_PATH"] = self.path("none")
        for arch, devices, others in (("sm_100f", (100, 103), (110, 120, 90)), ("sm_103a", (103,), (100,)), ("sm_120f", (120, 121), (100,)), ("sm_90", (90,), (100, 89))):
            module = self.module_for(arch)
            row, = json.loads(self.run_tool(TOOLS["fc-inspect"], "list", "--arch", arch, "--cache-dir", self.path(arch), "--json").stdout)["modules"]
            self.assertEqual((row["arch"], row["module"], row["status"], row["current"]), (arch, module, "OK", True))
            # The table of architectures is for the host.
            self.run_tool(TOOLS["fc-inspect"], "show", row["path"], "--cubin", self.path("cubin"))
            self.assertNotIn(b"sm_121a", self.read("cubin"))
            self.run_tool(TOOLS["fc-inspect"], "verify", self.path(arch), out=[rf"OK +{arch} +fwd_scalar"])
            self.run_tool(TOOLS["fc-inspect"], "--cache-dir", self.path(arch), out=[rf"{arch} +fwd_scalar +1 "])
            for device in devices + others:
                with self.subTest(arch, device=device):
                    done = self.run_tool(TOOLS["fc-run"], "--random", "1", "--seqlen", "512", "--kernel", module, "--cache-dir", self.path(arch), "--jit", "off", "--json",
                                         code=None, env={"FLASHCORE_LIBCUDA": cli.FAKE_LIBCUDA, "FAKE_CUDA": f"arch={device};attend=1"})
                    if device in devices:
                        content = json.loads(done.stdout)
                        self.assertEqual(content["module_origin"], "user cache", done.stderr)
                        cache = content["cache"]
                        self.assertEqual((cache["modules_from_user_cache"], cache["modules_compiled"], cache["rejected"]), (1, 0, 0), cache)
                    else:
                        self.assertRegex(done.stderr, rf"no module folder and no cache holds {module} for sm_{device}")


class Device(cli.ToolTest):
    def test_why_there_is_no_gpu_is_said_once(self):
        for tool, arguments in (("fc-run", "--random 1 --seqlen 16"), ("fc-run", "--random 1 --seqlen 16 --explain"), ("fc-inspect", "doctor"),
                                ("fc-bench", f"--shape {TINY} --samples 1 --kernel all"), ("fc-run", "--version")):
            said = self.run_tool(TOOLS[tool], *arguments.split()).stdout
            self.assertEqual(said.count("/nonexistent/libcuda.so.1"), 1, said)


class Sizes(cli.ToolTest):
    def test_heads_and_dimensions_beyond_32_bits(self):
        """Empty arrays may state any sizes; narrowed to 32 bits these would be 4 heads and 8 columns."""
        many = 2**32
        for shapes, said in ((((0, 1, many + 4, 8),) * 3, rf"--query \(float16 \[0, 1, {many + 4}, 8\]\) has {many + 4} heads, but at most {2**31 - 1}"),
                             (((0, 1, 4, 8), (0, 1, 4, 8), (0, 1, 4, many + 8)), rf"--value .* has {many + 8} dimensions, but at most {2**31 - 1}"),
                             (((0, 2**31, 2**31 - 1, 2**31 - 1),) * 3, r"cannot be counted in 64 bits")):
            arguments = ["--device", "cpu", "--explain"]
            for option, shape in zip(("query", "key", "value"), shapes):
                arguments += [f"--{option}", self.write_array(f"{option}.npy", "<f2", shape, [])]
            self.run_tool(TOOLS["fc-run"], *arguments, code=BAD_INPUT, err=[said])


if __name__ == "__main__":
    unittest.main(verbosity=2)
