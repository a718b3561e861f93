"""The pictures of the house are held to the house."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MAP = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


PACKAGES = ("app", "routers")
DRAWN = (*PACKAGES, "app.gateway")
PICTURES = dict(zip(DRAWN, re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL), strict=True))


def floors(package):
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (
        each
        for each in linter["importlinter"]["contracts"]
        if each["type"] == "layers" and each["containers"] == [package]
    )
    assert contract.get("exhaustive") or package not in PACKAGES
    return contract["layers"]


@pytest.mark.parametrize("package", DRAWN)
def test_the_pictures_show_the_floors_of_the_contracts(package):
    drawn = [re.split(r"\s{2,}", line)[0] for line in PICTURES[package].splitlines()]
    assert drawn == floors(package)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:app|routers)/[\w/.]*)`", PAGE))))
def test_what_the_page_names_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_every_room(package):
    rooms = {room for floor in floors(package) for room in re.findall(r"\w+", floor)}
    folders = {room for room in rooms if (ROOT / package / room).is_dir()}
    assert {room for room in folders if f"`{package}/{room}/`" not in MAP} == set()


def test_every_room_of_the_gateway_has_a_floor():
    rooms = {room for floor in floors("app.gateway") for room in re.findall(r"\w+", floor)}
    assert rooms == {each.parent.name for each in (ROOT / "app/gateway").glob("*/__init__.py")}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_private_to_a_room_is_imported_there_alone(package):
    strangers = set()
    for file in (ROOT / package).rglob("*.py"):
        room = ".".join(file.parent.relative_to(ROOT).parts)
        for name in imported(file):
            owner, _, private = re.sub(r"\.__\w+__", "", name).partition("._")
            if name.startswith(("app.", "routers.")) and private and owner != room:
                strangers.add(f"{file.relative_to(ROOT)}: {name}")
    assert strangers == set()
