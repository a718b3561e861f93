"""Every `steelyard` command line of the documentation has the options that it names."""

import re
from pathlib import Path

import click
import pytest

from app.cli import cli

REPOSITORY = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "configs/**/*.md", "configs/**/*.yaml", "routers/**/*.md")
PAGES = sorted(page for pattern in PATTERNS for page in REPOSITORY.glob(pattern))
_CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
_COMMAND = re.compile(r"(?:^|[\s`/(])(?<!-n )steelyard ((?:[a-z][a-z-]+)(?: [^`\n|;&#]*)?)")
_OPTION = re.compile(r"^(--?[a-z][a-z-]*)(?:=.*)?$")


def commands(page):
    """Return what follows `steelyard` wherever the page shows code; comments of YAML count."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = [text] if page.suffix == ".yaml" else _CODE.findall(text)
    for each in shown:
        for found in _COMMAND.findall(each):
            yield found.split()


def mistake(words):
    """Return what is wrong with a command line; None where all of it exists."""
    context = click.Context(cli)
    command = cli
    for word in words:
        if isinstance(command, click.Group):
            name, command = word, command.get_command(context, word)
            if command is None:
                return f"no command {name}"
            continue
        option = _OPTION.match(word)
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        if option is not None and option[1] not in {*known, "-h", "--help"}:
            return f"{command.name} has no option {option[1]}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_documented_commands_exist(page):
    wrong = {" ".join(words): mistake(words) for words in commands(page)}
    assert {line: why for line, why in wrong.items() if why is not None} == {}


def test_commands_are_found_at_all():
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) > 40
    assert {"fit", "export", "keys", "serve", "calibrate"} <= {words[0] for words in found}
    assert mistake(["keys", "create", "me", "--modell", "a"]) is not None
