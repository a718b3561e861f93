"""A real browser on the page; skipped, with a reason, where there is none."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

_PATIENCE_MS = 60_000
"""How long a page may take on a busy machine to show what is expected of it."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser_path() -> str | None:
    """Return where the system's Chromium is, or the one that a variable names."""
    named = os.environ.get("STEELYARD_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


@dataclass
class Complaints:
    """What the browser complained of; `expected` are the words of those that belong to a test."""

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def unexpected(self) -> list[str]:
        """Return what nobody expected."""
        return [each for each in self.found if not any(word in each for word in self.expected)]


# Of a module, not of the run: while Playwright's synchronous API is open, its event loop counts as
# running in this thread, and no asynchronous test could.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = browser_path()
    if path is None:
        pytest.skip(f"no browser: install one of {', '.join(_NAMES)}, or set STEELYARD_CHROMIUM")
    # Chromium's own sandbox does not start for root, which containers often run as.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    playwright.expect.set_options(timeout=_PATIENCE_MS)
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Collect what the console of the browser says; a test fails for what it did not expect."""
    collected = Complaints()
    yield collected
    assert collected.unexpected() == []


@pytest.fixture
def open_page(
    browser: Any, complaints: Complaints, fresh_gateway: object
) -> Iterator[Callable[..., Any]]:
    """Open pages: ``open_page(url, color_scheme="dark", viewport=...)``.

    It needs `fresh_gateway` so that pages close before the gateways stop that they ask: a page that
    is still asking then complains of its connection.
    """
    contexts = []

    def open_page(url: str, **options: Any) -> Any:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()

        def said(message: Any) -> None:
            if message.type in {"error", "warning"}:
                complaints.found.append(message.text)

        page.on("console", said)
        page.on("pageerror", lambda error: complaints.found.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
