"""Every page of the documentation is found from its index, and no link leads nowhere."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INDEX = REPOSITORY / "docs" / "README.md"
PAGES = sorted({*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")})
_LINK = re.compile(r"\]\(([^)\s#]+)[^)\s]*\)")


def links(page):
    """Return the files of the repository that a page links to."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    return [(page.parent / each).resolve() for each in targets if "://" not in each]


def test_the_index_names_every_page_once():
    named = [each for each in links(INDEX) if each.suffix == ".md"]
    pages = {
        each for each in PAGES if INDEX.parent in each.parents and each.parent.name != "adr"
    } - {INDEX}
    assert sorted(each for each in named if INDEX.parent in each.parents) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    assert [str(each) for each in links(page) if not each.exists()] == []
