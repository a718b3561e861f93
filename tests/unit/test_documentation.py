"""The documentation points at what is there, and every page of it is found from its index."""

import re
from pathlib import Path

import pytest

from app.calls import CallRole

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "README.md"
PATTERNS = ("*.md", "docs/**/*.md", "configs/**/*.md", "routers/**/*.md")
PAGES = sorted(
    page
    for pattern in PATTERNS
    for page in ROOT.glob(pattern)
    if "adr" not in page.parts and page.name != "CHANGELOG.md"  # they tell of what was
)
_ROOMS = "app|routers|loadtest|scripts|tests"
_PATH = re.compile(rf"(?<![\w/.-])((?:{_ROOMS}|configs|docs)/[\w/.*-]*[\w*])")
_MODULE = re.compile(rf"(?:python -m |`)((?:{_ROOMS})(?:\.(?!csv\b)[A-Za-z_]\w*)+)")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def strange_paths(text):
    return {path for path in _PATH.findall(text) if not any(ROOT.glob(path))}


def strange_modules(text):
    """Return modules that are not there; of what stands in one, the name is looked for."""
    for module in set(_MODULE.findall(text)):
        parts = module.split(".")
        for n in range(len(parts), 0, -1):
            at = ROOT.joinpath(*parts[:n])
            files = [each for each in (at.with_suffix(".py"), at / "__init__.py") if each.exists()]
            if files or at.is_dir():
                within = files[0].read_text(encoding="utf-8") if files else ""
                if n < len(parts) and not re.search(rf"\b{parts[n]}\b", within):
                    yield module
                break


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in headings}


def broken_links(page):
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_at_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert strange_paths(_LINK.sub("]", text)) == set()
    assert [*strange_modules(text)] == []
    assert [*broken_links(page)] == []


def test_what_is_not_there_is_found(tmp_path):
    text = "`app/nowhere.py`, `routers/base.py`, `python -m loadtest.nothing`, `app.calls.CallRole`"
    assert strange_paths(text) == {"app/nowhere.py"}
    assert [*strange_modules(text)] == ["loadtest.nothing"]
    page = tmp_path / "page.md"
    page.write_text("# One `a.b`\n[a](#one-ab) [b](#two) [c](page.md#one-ab) [d](other.md)\n")
    assert [*broken_links(page)] == ["#two", "other.md"]


def test_the_guide_to_spend_tells_every_role_of_a_call():
    text = (ROOT / "docs/guides/spend.md").read_text(encoding="utf-8")
    told = text.partition("**What calls were for.**")[2].partition("\n\n")[0]
    assert {role for role in CallRole if f"`{role.value}`" not in told} == set()


def test_the_index_names_every_page_once():
    links = _LINK.findall(INDEX.read_text(encoding="utf-8"))
    named = [(INDEX.parent / link).resolve() for link in links if link.endswith(".md")]
    pages = {page for page in PAGES if INDEX.parent in page.parents} - {INDEX}
    assert sorted(each for each in named if INDEX.parent in each.parents) == sorted(pages)
