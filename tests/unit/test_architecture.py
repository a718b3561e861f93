"""The pictures of the house are held to the house."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MAP = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def floors():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (
        each
        for each in linter["importlinter"]["contracts"]
        if each["type"] == "layers" and each["containers"] == ["app"]
    )
    return contract["layers"]


def test_the_picture_shows_the_floors_of_the_contract():
    (picture,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()] == floors()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:app|routers)/[\w/.]*)`", PAGE))))
def test_what_the_page_names_is_there(path):
    assert (ROOT / path).exists()


def test_the_map_names_every_room():
    rooms = {room for floor in floors() for room in re.findall(r"\w+", floor)}
    folders = {room for room in rooms if (ROOT / "app" / room).is_dir()}
    assert {room for room in folders if f"`app/{room}/`" not in MAP} == set()
