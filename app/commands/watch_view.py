"""What is known of models under watch, as a table and lines beneath it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES = {"warning": "yellow", "demoted": "bold red", "returning": "cyan"}
_WIDTH = 120


def print_watched(told: Mapping[str, Any], *, whole: bool) -> None:
    """Print what `/admin/watch` tells.

    Parameters
    ----------
    whole
        Whether all that is known of every model is told, not only of those that have changed.
    """
    console = Console(width=_WIDTH, highlight=False)
    if told["mode"] == "off":
        console.print("the watch is off (watch.mode)")
        return
    bounds = f"warning at evidence {_short(told['warns_at'])}"
    if told["demotes_at"] is not None:
        bounds += f", demoted at {_short(told['demotes_at'])} (times apart)"
    console.print(f"mode {told['mode']}: {bounds}; back at {_short(told['returns_at'])}")
    console.print(_table(told))
    for each in told["data"]:
        if whole or each["level"] != "ok" or len(each["answered_as"]) > 1:
            console.print()
            for line in _details(each):
                console.print(line)


def _table(told: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "at", "level", "since (UTC)"):
        table.add_column(name)
    for name in ("evidence", "answers", "learned", "canaries", "known"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in told["data"]:
        held = [word for word in ("pinned", "frozen") if each[word]]
        table.add_row(
            escape(each["model"]),
            escape(_at(each)),
            ", ".join((each["level"], *held)),
            moment(each["since"]),
            f"{_short(each['evidence'])} of {_short(told['warns_at'])}",
            f"{each['answers']:,}",
            f"{each['answers_learned']:,}",
            f"{each['canaries']:,}",
            f"{each['canaries_known']:,}",
            style=_STYLES.get(each["level"], ""),
        )
    return table


def _details(each: Mapping[str, Any]) -> Iterable[str]:
    yield escape(f"{each['model']} at {_at(each)}: {each['level']}")
    if each["why"]:
        yield f"  changed    {escape(', '.join(each['why']))}"
    alone = each["alone_at"]
    strongest = sorted(
        each["evidence_by_signal"].items(), key=lambda item: -item[1] / alone.get(item[0], 1.0)
    )
    for at, (signal, evidence) in enumerate(strongest):
        yield (
            f"  {'' if at else 'evidence':<10} {signal:<10} {_short(evidence):>8} "
            f"(alone a warning at {_short(alone[signal])})"
        )
    if each["level"] in ("warning", "demoted"):
        yield f"  to return  {_short(each['return_evidence'])}"
    if each["answered_as"]:
        names = sorted(each["answered_as"].items(), key=lambda item: -item[1])
        yield escape(f"  answers as {', '.join(f'{name} ({n:,})' for name, n in names)}")
    if each["canaries"] and each["canaries_needed"]:
        yield f"  canaries   {each['canaries_needed']:,} more until they are tested"
    yield f"  next       {escape(each['next'])}"
    if each["tried_at"] is not None:
        yield f"  tried      {moment(each['tried_at'])}, if nothing is known by then"


def _at(each: Mapping[str, Any]) -> str:
    same = each["upstream_model"] == each["model"]
    return each["upstream"] if same else f"{each['upstream']} ({each['upstream_model']})"


def moment(at: float | None) -> str:
    """Return seconds since the epoch as people read them, in UTC."""
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < 1e5 and (number >= 10 or number == 0) else f"{number:.2g}"
