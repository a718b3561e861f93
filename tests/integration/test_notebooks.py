"""Every notebook runs from its first cell to its last."""

import json

import pytest

from routers import ROUTERS
from tests.support.gateway import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _forgotten():
    """Take back what a notebook registers: no other test knows it."""
    yield
    for kind in [k for k, cls in ROUTERS._classes.items() if cls.__module__ == "__main__"]:
        del ROUTERS._classes[kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    cells = [each for each in content["cells"] if each["cell_type"] == "code"]
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        assert cell["outputs"] == [], "outputs are not kept: they would go stale"
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)  # noqa: S102
    assert len(cells) > 3
    assert list(tmp_path.iterdir()) == []


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["first-router", "own-router"]
