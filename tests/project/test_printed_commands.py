"""The commands that the texts print: they exist, take the options that stand behind them, and accept the values."""

import itertools
import re
import shlex

import nbformat
import typer
from cases import ROOT

from patchscape import cli
from patchscape.book import chapters

COMMANDS = typer.main.get_command(cli.app).commands
CHAPTERS = chapters.find_chapters(ROOT / "chapters")
BOX = re.compile(r"^```\{admonition\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # its end begins no code
CODE = re.compile(r"^```\w*\n(.*?)^```$|(?<![`\\])`([^`]+)`(?!`)", re.MULTILINE | re.DOTALL)


def texts():
    """Yields the name and the text of every page, of every README and of the chapters' markdown."""
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[dw]*/**/README.md")):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for name, path in CHAPTERS.items():
        cells = nbformat.read(path, 4).cells
        yield name, "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def printed(program):
    """Returns where each call of a program stands, and the words behind its name."""
    calls = []
    for name, text in texts():
        for block, inline in CODE.findall(BOX.sub(r"\1", text)):
            lines = block.replace("\\\n", " ").splitlines() if block else [" ".join(inline.split())]
            calls += [(name, words[1:]) for words in (_words(line) for line in lines) if words[:1] == [program]]
    return calls


def _words(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # prose in a block, with an apostrophe
        return []


def test_every_make_command_that_is_printed_has_its_target():
    targets = set(re.findall(r"^([a-z.][^\s:=]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    calls = printed("make")
    assert len(calls) > 20
    names = [(where, word) for where, words in calls for word in words if "=" not in word]
    assert [(where, name) for where, name in names if name not in targets] == []


def test_every_patchscape_command_that_is_printed_exists_and_takes_its_options():
    calls = [(where, words) for where, words in printed("patchscape") if words]
    assert len(calls) > 20
    assert [(where, words[0]) for where, words in calls if words[0] not in COMMANDS] == []
    for where, (command, *words) in calls:
        known = {option for parameter in COMMANDS[command].params for option in parameter.opts} | {"--help"}
        assert (where, {word for word in words if word.startswith("-")} - known) == (where, set())


def test_every_parameter_that_is_printed_is_accepted_by_the_chapters_that_are_named():
    calls = [words for _, words in printed("patchscape") if "-p" in words]
    assert calls
    for words in calls:
        pairs = list(itertools.pairwise(words))
        values = chapters.read_values([value for option, value in pairs if option == "-p"])
        for path in chapters.choose([value for option, value in pairs if option == "--chapter"], CHAPTERS).values():
            chapters.validate_parameters(path, values)


def test_every_parameter_that_is_printed_alone_is_accepted_by_some_chapter():
    calls = [(where, words[0]) for where, words in printed("-p") if words]
    assert calls
    for where, value in calls:
        accepted = [name for name, path in CHAPTERS.items() if _accepts(path, chapters.read_values([value]))]
        assert accepted, f"{where}: no chapter accepts -p {value}"


def _accepts(path, values):
    try:
        chapters.validate_parameters(path, values)
    except ValueError:
        return False
    return True
