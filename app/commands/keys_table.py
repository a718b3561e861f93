"""Virtual keys and what was done to them, as `steelyard keys` prints them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

View = Mapping[str, Any]
"""A key as the admin API tells it."""

_COLUMNS = (
    ("key", 17),
    ("name", 14),
    ("team", 9),
    ("status", 9),
    ("ver", 4),
    ("limits", 12),
    ("spent", 15),
    ("models", 10),
    ("expires", 10),
)
"""A hundred characters together."""
_PERIODS = {"day": "day", "week": "wk", "month": "mo"}


def moment(at: float | None) -> str:
    """Return a time in UTC, to the minute."""
    return "never" if at is None else f"{_utc(at):%Y-%m-%d %H:%MZ}"


def list_lines(views: Iterable[View]) -> Iterator[str]:
    """Yield a table of keys, a line each."""
    yield _row(name for name, _ in _COLUMNS)
    for view in views:
        at = view["expires_at"]
        yield _row(
            (
                view["key_id"],
                view["name"],
                view["team"] or "-",
                view["status"],
                str(view["version"]),
                _limits(view["limits"]),
                _spent(view),
                _names(view["models"]),
                "never" if at is None else f"{_utc(at):%Y-%m-%d}",
            )
        )


def key_lines(view: View) -> Iterator[str]:
    """Yield all that is told of a key, a line for each term."""
    for name, value in view.items():
        if name in ("object", "budgets", "spending", "limits", "metadata"):
            continue
        yield f"{name:22}{_term(name, value)}"
    for name, limit in view["limits"].items():
        yield f"{name:22}{'no limit of its own' if limit is None else limit}"
    for budget in view["budgets"]:
        yield f"{'budget':22}{budget_text(budget)}, {budget['on_low']} when low"
    for each in view["spending"] or ():
        yield (
            f"{'spent':22}${each['spent_usd']:,.4f} of ${each['limit_usd']:,.2f} in "
            f"{each['period']}, ${each['reserved_usd']:,.4f} reserved, "
            f"${each['left_usd']:,.4f} left"
        )
    for name, text in view["metadata"].items():
        yield f"{'metadata':22}{name}={text}"


def audit_lines(entries: Iterable[View]) -> Iterator[str]:
    """Yield what was done to keys: a line each, and one for each term that changed."""
    for entry in entries:
        yield (
            f"{moment(entry['at'])}  {entry['done']:8} {entry['key_id']} ({entry['name']}) "
            f"by {entry['by']}"
        )
        if entry["done"] != "created":
            for name, (before, after) in entry["changes"].items():
                yield f"    {name}: {told(name, before)} -> {told(name, after)}"


def told(name: str, value: Any) -> str:
    """Return a term as it was or is."""
    if value is None:
        return "not said"
    if name == "budgets":
        return ", ".join(map(budget_text, value)) or "none"
    if name == "limits":
        return ", ".join(f"{each}={limit}" for each, limit in value.items()) or "none"
    return _term(name, value)


def budget_text(budget: View) -> str:
    """Return a budget as it is given on the command line."""
    usd = f"{budget['usd']:.9f}".rstrip("0").rstrip(".")
    return f"{usd}/{budget['period']}"


def _term(name: str, value: Any) -> str:
    if name in ("models", "policies"):
        return "all" if value is None else ", ".join(value)
    if name.endswith(("_at", "_until")):
        return moment(value) if value is not None or name == "expires_at" else "-"
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{each}={text}" for each, text in value.items())
    return str(value)


def _limits(limits: View) -> str:
    found = [
        f"{_short(limit)}{unit}"
        for name, unit in (
            ("requests_per_minute", "r"),
            ("tokens_per_minute", "t"),
            ("concurrent_requests", "c"),
        )
        if (limit := limits[name]) is not None
    ]
    return " ".join(found) or "-"


def _spent(view: View) -> str:
    """Return the budget that is used most, and how many others there are."""
    if view["spending"] is None:
        return "?" if view["budgets"] else "-"
    found = view["spending"]
    if not found:
        return "-"
    most = max(found, key=lambda each: each["spent_usd"] / each["limit_usd"])
    more = f"+{len(found) - 1}" if len(found) > 1 else ""
    period = _PERIODS[most["period"].partition(":")[0]]
    return f"{_usd(most['spent_usd'])}/{_usd(most['limit_usd'])} {period}{more}"


def _names(names: Sequence[str] | None) -> str:
    if names is None:
        return "all"
    return names[0] if len(names) == 1 else f"{len(names)} models"


def _usd(usd: float) -> str:
    if usd and usd < 10:
        return f"{usd:.2f}".rstrip("0").rstrip(".") if usd >= 0.01 else "<0.01"
    return _short(round(usd))


def _short(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _row(cells: Iterable[str]) -> str:
    *before, last = zip(cells, _COLUMNS, strict=True)
    row = "".join(f"{_cut(cell, width - 1):{width}}" for cell, (_, width) in before)
    return row + _cut(last[0], last[1][1])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
