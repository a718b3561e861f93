"""What is known of models under watch, as a table and lines beneath it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.gateway.watch.answered_as import shown

if TYPE_CHECKING:
    from app.commands.watch_replay import Replay, ReplayedChange
    from app.gateway.watch.watched_answers import Place

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


def print_replayed(found: "Replay") -> None:
    """Print what a watch over a log has found."""
    console = Console(width=_WIDTH, highlight=False)
    canaries = f" and {found.n_canaries:,} canaries" if found.n_canaries else ""
    console.print(
        f"{found.n_answers:,} answers{canaries} from {moment(found.first)} to "
        f"{moment(found.last)} (UTC); warning at evidence {_short(found.rule.alarm)}"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("model", "at", "level in the end", "answers as"):
        table.add_column(name)
    for name in ("answers", "learned", "canaries", "evidence"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, known in sorted(found.known.items()):
        table.add_row(
            escape(place[0]),
            escape(_served_at(place)),
            known.level.value,
            escape(", ".join(name for name, _ in _names(found, place))),
            f"{known.n_seen:,}",
            f"{known.profile.n:,}",
            f"{known.n_canaries:,}",
            _short(known.evidence()),
            style=_STYLES.get(known.level.value, ""),
        )
    console.print(table)
    console.print()
    for each in found.changes:
        console.print(escape(_told(each)))
    if not found.changes:
        console.print("no model is seen to have changed")


def replayed_as_json(found: "Replay") -> dict[str, Any]:
    """Return what a watch over a log has found as values of JSON; times in s since the epoch."""
    return {
        "answers": found.n_answers,
        "canaries": found.n_canaries,
        "first": found.first,
        "last": found.last,
        "warns_at": found.rule.alarm,
        "data": [
            {
                **_place(place),
                "level": known.level.value,
                "since": known.since or None,
                "why": list(known.why),
                "answers": known.n_seen,
                "answers_learned": known.profile.n,
                "canaries": known.n_canaries,
                "evidence": known.evidence(),
                "evidence_by_signal": {
                    signal.value: each.evidence for signal, each in known.detectors.items()
                },
                "answered_as": dict(_names(found, place)),
            }
            for place, known in sorted(found.known.items())
        ],
        "changes": [
            {
                **_place(each.place),
                "time": each.time,
                "answers": each.n_answers,
                "level": None if each.change.level is None else each.change.level.value,
                "why": [signal.value for signal in each.change.signals],
                "evidence": each.change.evidence,
                "answered_as": each.change.answered,
            }
            for each in found.changes
        ],
    }


def _told(each: "ReplayedChange") -> str:
    change = each.change
    begins = f"{moment(each.time)}  {each.place[0]} at {_served_at(each.place)}"
    after = f"after {each.n_answers:,} answers"
    if change.level is None:
        return f"{begins}: another name answers {after}: {shown(change.answered or '')}"
    why = ", ".join(signal.value for signal in change.signals) or change.why
    return f"{begins}: {change.level.value} {after}: {why}; evidence {_short(change.evidence)}"


def _place(place: "Place") -> dict[str, str | None]:
    return {"model": place[0], "upstream": place[1], "deployment": place[2] or None}


def _served_at(place: "Place") -> str:
    return f"{place[1]} ({place[2]})" if place[2] else place[1]


def _names(found: "Replay", place: "Place") -> list[tuple[str, int]]:
    return found.names.get(place, Counter()).most_common(8)


def _at(each: Mapping[str, Any]) -> str:
    same = each["upstream_model"] == each["model"]
    return each["upstream"] if same else f"{each['upstream']} ({each['upstream_model']})"


def moment(at: float | None) -> str:
    """Return seconds since the epoch as people read them, in UTC."""
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < 1e5 and (number >= 10 or number == 0) else f"{number:.2g}"
