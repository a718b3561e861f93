"""What replayed tasks came to, as files: JSON, Markdown, CSV, and a page."""

import csv
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from routers.evaluation.agent_steps import Tally
from routers.evaluation.page_style import STYLE
from routers.evaluation.report_files import as_json, write_files

HEAD = (
    "way of choosing",
    "finished",
    "$ per finished task",
    "$ in all",
    "steps per task",
    "cache misses",
    "tokens read anew",
    "switches",
)


def as_row(tally: Tally) -> dict[str, Any]:
    """Return a tally as JSON-ready values."""
    return {
        "name": tally.name,
        "kind": tally.kind,
        "finished": tally.finished,
        "finished_share": tally.finished / tally.n_tasks,
        "usd_per_finished_task": tally.usd_per_finished,
        "cost_usd": tally.cost_usd,
        "steps_per_task": tally.steps / tally.n_tasks,
        "cache_misses": tally.misses,
        "reread_tokens": tally.reread_tokens,
        "switches": tally.switches,
        "shares": dict(tally.shares),
    }


def cells(way: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row, under `HEAD`."""
    per_task = way["usd_per_finished_task"]
    return [
        way["name"],
        f"{way['finished_share']:.1%}",
        "-" if per_task is None else f"{per_task:.4g}",
        f"{way['cost_usd']:.4g}",
        f"{way['steps_per_task']:.2f}",
        f"{way['cache_misses']:,.0f}",
        f"{way['reread_tokens']:,.0f}",
        f"{way['switches']:,}",
    ]


def write_report(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `steps.json`, `steps.md`, `steps.csv` and `steps.html` into the folder `out`.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    texts = {
        "steps.json": as_json(report),
        "steps.md": markdown(report),
        "steps.csv": _csv(report),
        "steps.html": page(report),
    }
    return write_files(texts, out)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    lines = ["# Tasks of many steps", "", _what(report)]
    for router in report["routers"]:
        lines += ["", f"## {_cell(router['name'])}", ""]
        lines += ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
        lines += ["| " + " | ".join(map(_cell, cells(way))) + " |" for way in router["ways"]]
        lines += ["", *(f"* {_cell(note)}" for note in router["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def page(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML page that needs nothing from elsewhere."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = ""
    for router in report["routers"]:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(way)) + "</tr>\n"
            for way in router["ways"]
        )
        notes = "".join(f"<p>{escape(note)}</p>\n" for note in router["notes"])
        body += (
            f"<h2>{escape(router['name'])}</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{rows}</tbody>\n</table>\n{notes}"
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Tasks of many steps</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Tasks of many steps</h1>\n<p>{escape(_what(report))}</p>\n{body}</main>\n</body>\n"
        "</html>\n"
    )


def _what(report: Mapping[str, Any]) -> str:
    again = report["retries"]
    return (
        f"{report['n_tasks']} tasks, {report['n_steps']} steps as they were logged, whichever "
        f"model is chosen; a prefix stays {report['cache_lifetime_s']:g} s in its model's cache; "
        "an "
        + (
            f"answer that is no good is asked again of the best model, {again} times at most."
            if again
            else "answer that is no good leaves its task unfinished."
        )
    )


def _csv(report: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [
        {"router": router["name"], **{k: v for k, v in way.items() if k != "shares"}}
        for router in report["routers"]
        for way in router["ways"]
    ]
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return text.getvalue()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
