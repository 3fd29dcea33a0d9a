"""Command lines held against the program, without running them."""

import configparser
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from typer.main import get_command

from tests.support import ROOT
from yolo_edge.cli.app import app

# whatever they are told is theirs
_OTHERS = {
    "adb",
    "apt",
    "cat",
    "cd",
    "nohup",
    "pkg",
    "python",
    "python3",
    "scp",
    "source",
    "ssh",
    "ssh-copy-id",
    "sshd",
    "sudo",
    "unzip",
    "whoami",
}


@cache
def options() -> dict[str, set[str]]:
    """Command, or command and sub-command → its options."""
    return {name: {option for found in spellings(name) for option in found} for name, _ in _walk(get_command(app), "")}


@cache
def spellings(command: str) -> list[list[str]]:
    """The ways to write each option of a command."""
    params = dict(_walk(get_command(app), ""))[command].params
    found = [[*param.opts, *param.secondary_opts] for param in params]
    return [words for words in found if words[0].startswith("-")]


def _walk(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _walk(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def complaints(text: str) -> list[str]:
    """What is wrong with one line for a shell."""
    found = []
    for part in re.split(r"\s(?:&&|\|\||;)\s", text):
        words = shlex.split(part, comments=True)
        words = words[: words.index(">")] if ">" in words else words
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            found += _complaints(words)
    return found


def _complaints(words: Sequence[str]) -> list[str]:
    program, *arguments = words
    program = program.removeprefix(".venv-dev/bin/").removeprefix(".venv/bin/")
    if program == "yolo-edge":
        return _refusal(arguments)
    if program == "pip":
        return [f"no extra {extra!r}" for word in arguments for extra in _extras(word) if extra not in _known_extras()]
    if program == "make":
        targets = re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text())
        return [f"no target {word!r}" for word in arguments if "=" not in word and word not in targets]
    if program in ("python", "python3") and arguments and arguments[0].endswith(".py"):
        return script_complaints(arguments)
    return [] if program in _OTHERS else [f"what is {program!r}?"]


def script_complaints(words: Sequence[str]) -> list[str]:
    """Of a script in the repository and its arguments."""
    script = ROOT / words[0]
    if not script.is_file():
        return [f"no file {words[0]}"]
    named = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    return [f"{words[0]} has no {option}" for option in named if option not in script.read_text()]


def _refusal(arguments: Sequence[str]) -> list[str]:
    """What the real parser says; nothing runs."""
    command, name, words = get_command(app), "yolo-edge", list(arguments)
    try:
        context = command.make_context(name, list(words[:1]))
        while hasattr(command, "commands"):
            if not words or words[0] not in command.commands:
                return [f"no command {' '.join(words[:1])!r}"]
            name, *words = words
            command = command.commands[name]
            context = command.make_context(
                name, list(words if not hasattr(command, "commands") else words[:1]), parent=context
            )
    except Exception as error:  # noqa: BLE001 - whatever the parser raises is the answer
        return [f"{type(error).__name__}: {error.format_message() if hasattr(error, 'format_message') else error}"]
    return []


def unknown_options(text: str) -> list[str]:
    """Options in a synopsis, or in a line with placeholders, that no command that it names has."""
    names = named_commands(text)
    known = set().union(*(options()[name] for name in names)) | {"--help", "--version"}
    return [option for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text) if option not in known]


def named_commands(text: str) -> list[str]:
    """The commands that a synopsis is of."""
    head = text.removeprefix("$ ").removeprefix("yolo-edge ").split("--")[0]
    words = re.findall(r"[a-z]+", head)
    if words[:1] == ["devices"]:
        return [
            name
            for name in options()
            if name.startswith("devices ") and (name.split()[1] in words or words == ["devices"])
        ]
    return [name for name in options() if name == words[0] or ("|" in head and name in words)]


def _extras(word: str) -> list[str]:
    match = re.search(r"(?:^\.|yolo-edge|\.whl)\[([\w,-]+)\]$", word)
    return match[1].split(",") if match else []


@cache
def _known_extras() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return set(parser["options.extras_require"])
