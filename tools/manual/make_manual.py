#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tool's man page and its completions for bash, zsh and fish, made from what the tool itself says: --help for the options,
and the refusal of a wrong word for the words that an option allows. So they cannot drift from the tool.

usage: make_manual.py TOOL PROGRAM VERSION FOLDER      writes TOOL.1, TOOL.bash, _TOOL and TOOL.fish into FOLDER
"""
import os
import re
import subprocess
import sys

OPTION = re.compile(r"^  (?:-(\w) \[ )?--([a-z0-9-]+)(?: \])?(?: ([A-Z][A-Z|]*|\[=[A-Z]+\])(?= ))? +(\S.*)$")
COMMAND = re.compile(r"^  \S+ ([a-z]+)((?: [A-Z.\[\]]+)?)  +(\S.*)$")
ALLOWED = re.compile(r"must be (?:one of: |all or some of: )([\w:, -]+)$", re.MULTILINE)
WORDS_OF = {"WHERE", "WHEN", "MODE", "TYPE", "ORDER", "BASE", "LIST"}  # placeholders of options that allow few words


class Option:
    def __init__(self, short, name, placeholder, text):
        self.short, self.name, self.placeholder, self.text = short, name, placeholder, text
        self.words = []  # allowed values, where they are few

    @property
    def kind(self):
        """"flag", "words", "folder", "file" or "value": what may follow"""
        if not self.placeholder or self.placeholder.startswith("["):  # a value that may be left out stands behind "="
            return "flag"
        if self.words:
            return "words"
        return "folder" if self.placeholder.startswith("FOLDER") else "file" if "FILE" in self.placeholder else "value"


class Help:
    """The parts of a --help text."""

    def __init__(self, text):
        self.introduction, self.commands, self.groups, self.examples, self.exit_codes = "", [], [], [], ""
        for paragraph in text.strip().split("\n\n"):
            self.read_paragraph(paragraph.splitlines())
        if not self.introduction or not self.groups or not self.exit_codes:
            raise ValueError("--help has no introduction, no options or no exit codes")

    def read_paragraph(self, lines):
        if lines[0] == "Usage":
            self.commands = [COMMAND.match(line).groups() for line in lines[1:]]
        elif lines[0] == "Examples":
            self.examples = [line.strip() for line in lines[1:]]
        elif lines[0].startswith("Exit codes: "):
            self.exit_codes = " ".join(lines).partition(": ")[2]
        elif lines[0].endswith(":") and len(lines) > 1:
            self.groups.append((lines[0][:-1], self.read_options(lines[1:])))
        elif not self.groups:
            self.introduction += ("\n\n" if self.introduction else "") + " ".join(lines)
        else:
            raise ValueError(f"--help has a paragraph of no known kind: {lines[0]}")

    @staticmethod
    def read_options(lines):
        options = []
        for line in lines:
            match = OPTION.match(line)
            if match:
                options.append(Option(*match.groups(default="")))
            elif options and line.startswith(" " * 10):
                options[-1].text += " " + line.strip()
            else:
                raise ValueError(f"--help has a line of no known kind: {line}")
            options[-1].text = options[-1].text.strip()
        return options

    @property
    def options(self):
        """One of each name, in order."""
        return list({option.name: option for _, group in self.groups for option in group}.values())


def ask(program, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # the page is no terminal
    result = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return result.returncode, result.stdout, result.stderr


def read_help(program):
    code, text, complaint = ask(program, "--help")
    if code != 0:
        sys.exit(f"make_manual.py: {program} --help ended with {code}: {complaint}")
    said = Help(text)
    commands = [name for name, _, _ in said.commands] or [""]
    for option in said.options:
        for command in commands if option.placeholder in WORDS_OF else []:
            match = ALLOWED.search(ask(program, *([command] if command else []), f"--{option.name}", "?")[2])
            if match and not option.words:
                option.words = [word.replace("cuda:N", "cuda:0") for word in re.split(r", ?", match.group(1))]
    return said


# ---- man ------------------------------------------------------------------------------------------------------------
def roff(text):
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


def man_option(option):
    names = ([f"\\fB\\-{option.short}\\fR"] if option.short else []) + [f"\\fB\\-\\-{roff(option.name)}\\fR"]
    return [".TP", ", ".join(names) + (f"{'' if option.placeholder.startswith('[') else ' '}\\fI{roff(option.placeholder)}\\fR" if option.placeholder else ""), roff(option.text)]


def man_page(tool, version, said, others):
    first = re.split(r"(?<=\w)(?:\. (?=[A-Z])|[:;] )|\.$", said.introduction.replace("\n\n", " "), maxsplit=1)[0]
    lines = [f'.TH {tool.upper()} 1 "" "flashcore {version}" "User Commands"', ".SH NAME",
             f"{roff(tool)} \\- {roff(first.removeprefix(tool).strip())}", ".SH SYNOPSIS"]
    if said.commands:
        for name, arguments, _ in said.commands:
            lines += [f"\\fB{roff(tool)} {name}\\fR{roff(arguments)} [\\fIOPTION\\fR]...", ".br"]
    else:
        lines.append(f"\\fB{roff(tool)}\\fR [\\fIOPTION\\fR]...")
    lines += [".SH DESCRIPTION", *[f".PP\n{roff(paragraph)}" for paragraph in said.introduction.split("\n\n")]]
    if said.commands:
        lines.append(".SH COMMANDS")
        for name, arguments, text in said.commands:
            lines += [".TP", f"\\fB{name}\\fR{roff(arguments)}", roff(text)]
    lines.append(".SH OPTIONS")
    for title, options in said.groups:
        lines += [f".SS {roff(title)}"] + [line for option in options for line in man_option(option)]
    lines += [".SH EXIT STATUS", roff(said.exit_codes)]
    if said.examples:
        lines += [".SH EXAMPLES", ".nf", *map(roff, said.examples), ".fi"]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{roff(other)}\\fR(1)" for other in others)] if others else []
    return "\n".join(lines) + "\n"


# ---- Completions ----------------------------------------------------------------------------------------------------
def names_of(option):
    return ([f"-{option.short}"] if option.short else []) + [f"--{option.name}"]


def bash_completion(tool, said):
    function = "_" + tool.replace("-", "_")
    words = " ".join(name for option in said.options for name in names_of(option))
    commands = " ".join(name for name, _, _ in said.commands)
    cases = []
    for kind, action in (("file", "-f"), ("folder", "-d")):
        names = "|".join(f"--{option.name}" for option in said.options if option.kind == kind)
        if names:
            cases.append(f'    {names}) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen {action} -- "$current"); return ;;')
    for option in said.options:
        if option.kind == "words":
            cases.append(f"    --{option.name}) mapfile -t COMPREPLY < <(compgen -W '{' '.join(option.words)}' -- \"$current\"); return ;;")
    names = "|".join(f"--{option.name}" for option in said.options if option.kind == "value")
    cases += [f"    {names}) return ;; # a value that cannot be guessed"] if names else []
    lines = [f"# bash completion for {tool}, made from its --help", f"{function}() {{", "  local current=${COMP_WORDS[COMP_CWORD]}",
             "  case ${COMP_WORDS[COMP_CWORD-1]} in", *cases, "  esac"]
    if commands:
        lines += ["  if [ \"$COMP_CWORD\" = 1 ] && [[ $current != -* ]]; then",
                  f"    mapfile -t COMPREPLY < <(compgen -W '{commands}' -- \"$current\")", "  elif [[ $current != -* ]]; then",
                  "    compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$current\")", "  else",
                  f"    mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$current\")", "  fi"]
    else:
        lines.append(f"  mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$current\")")
    return "\n".join([*lines, "}", f"complete -F {function} {tool}", ""])


def zsh_text(text):
    return re.sub(r"([\\\[\]:])", r"\\\1", text).replace("'", "'\\''")


def zsh_completion(tool, said):
    lines = [f"#compdef {tool}", f"# made from {tool} --help", "_arguments -s \\"]
    after = {"flag": "", "file": ":file:_files", "folder": ":folder:_files -/", "value": ":value: "}
    for option in said.options:
        follows = f":word:({' '.join(word.replace(':', chr(92) + ':') for word in option.words)})" if option.kind == "words" else after[option.kind]
        star = "*" if "repeatable" in option.text else ""
        text = f"[{zsh_text(option.text)}]{follows}"
        lines += [f"  '{star}{name}{text}' \\" for name in names_of(option)]
    if said.commands:
        commands = " ".join(f'{name}\\:"{zsh_text(text)}"' for name, _, text in said.commands)
        lines += [f"  '1:command:(({commands}))' \\", "  '*:file:_files'"]
    else:
        lines[-1] = lines[-1].removesuffix(" \\")
    return "\n".join(lines) + "\n"


def fish_text(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_completion(tool, said):
    lines = [f"# fish completion for {tool}, made from its --help", f"complete -c {tool} -f"]
    for name, _, text in said.commands:
        lines.append(f"complete -c {tool} -n __fish_use_subcommand -a {name} -d {fish_text(text)}")
    if said.commands:
        lines.append(f"complete -c {tool} -n 'not __fish_use_subcommand' -F")
    for option in said.options:
        follows = {"flag": "", "file": " -r -F", "folder": " -x -a '(__fish_complete_directories)'", "value": " -x",
                   "words": f" -x -a '{' '.join(option.words)}'"}[option.kind]
        short = f" -s {option.short}" if option.short else ""
        lines.append(f"complete -c {tool}{short} -l {option.name}{follows} -d {fish_text(option.text)}")
    return "\n".join(lines) + "\n"


def main(tool, program, version, folder, *others):
    said = read_help(program)
    texts = {f"{tool}.1": man_page(tool, version, said, [other for other in others if other != tool]), f"{tool}.bash": bash_completion(tool, said),
             f"_{tool}": zsh_completion(tool, said), f"{tool}.fish": fish_completion(tool, said)}
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
