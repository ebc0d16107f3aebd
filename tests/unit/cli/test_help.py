"""What is written about the command line, against the command line: help, examples, the docs."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from zaptrace.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


PARSER = build_parser()
EVERY = {parser.prog: parser for parser in parsers(PARSER)}


@pytest.mark.parametrize("name", EVERY)
def test_help_says_what_it_does_and_fits_the_screen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = EVERY[name]
    assert parser.description
    lines = parser.format_help().splitlines()
    assert max(map(len, lines)) <= 80
    for action in parser._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action


def leaves() -> list[str]:
    return [name for name in EVERY if not any(other.startswith(f"{name} ") for other in EVERY)]


@pytest.mark.parametrize("name", leaves())
def test_a_command_has_an_example(name: str) -> None:
    assert f"{name.partition(' ')[2]}" in " ".join(commands(EVERY[name].epilog or "")), name


def commands(text: str) -> list[str]:
    """The lines of a text that are commands of ours, without what they are explained with."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"\$\([^)]*\)", "X", text)
    before = r"(?:\$ |\S.*\| |sudo |git bisect run |\.venv/bin/)?"
    found = re.findall(rf"^\s*{before}zaptrace (.+)$", text, re.MULTILINE)
    words = re.compile(r"""(?:'[^']*'|"[^"]*"|[^'"])*?(?=\s{2,}|\s*#|\s+[|>]|$)""")
    return [match[0] for line in found if (match := words.match(line))]


def refusal(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why the command line is not taken, or ""."""

    def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise ValueError(message)

    for parser in {type(parser) for parser in EVERY.values()}:
        monkeypatch.setattr(parser, "error", refuse)
    try:
        PARSER.parse_args(shlex.split(command))
    except ValueError as error:
        return str(error)
    except SystemExit:  # --help
        pass
    return ""


@pytest.mark.parametrize("name", EVERY)
def test_the_examples_of_the_help_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands(EVERY[name].epilog or ""):
        assert refusal(command, monkeypatch) == "", command


def typed(text: str) -> list[str]:
    """The commands in a page's blocks."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S))
    return commands(blocks.replace("...", ""))


def named(text: str) -> list[str]:
    """The commands in a page's sentences and tables."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [" ".join(one.split()) for one in re.findall(r"`(?:sudo )?zaptrace ([^`]+)`", prose)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_the_docs_are_taken(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text("utf-8")
    for command in typed(text):  # "[--arch s390x]" is what may be left out
        assert refusal(re.sub(r"[\[\]]", "", command), monkeypatch) == "", command
    for command in named(text):  # with a word left out, or as "[CAPTURE\|RUN]"
        said = refusal(re.sub(r"[\[\]\\]", "", command), monkeypatch)
        assert not said or said.startswith("the following arguments are required"), command


def test_the_readme_names_every_command() -> None:
    text = PAGES[0].read_text("utf-8")
    assert {command.split()[0] for command in typed(text) + named(text)} == set(COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        "s390x -- uname -a",
        "s390x --json -- uname -a",
        "--json s390x uname --fault batch -- -a",
        "--fault batch s390x -- uname -a",
    ],
)
def test_the_command_of_vm_boot_may_follow_options(words: str) -> None:
    args = build_parser().parse_args(["vm", "boot", *words.split()])
    assert (args.arch, args.command) == ("s390x", ["uname", "-a"])
