"""A report of the suite as files: JSON, Markdown, and a page that needs nothing from elsewhere."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from routers.evaluation.page_style import STYLE
from routers.evaluation.report_files import as_json, write_files

MARKS = {"passed": "pass", "failed": "FAIL", "told": "told"}


def write_report(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `robustness.json`, `robustness.md` and `robustness.html` into the folder `out`.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    texts = {
        "robustness.json": as_json(report),
        "robustness.md": markdown(report),
        "robustness.html": page(report),
    }
    return write_files(texts, out)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    lines = ["# Robustness", ""]
    for router in report["routers"]:
        lines += [f"## {_cell(router['name'])}", "", _summary(router), ""]
        lines += ["| check | | found | bar |", "|---|---|---|---|"]
        lines += [
            f"| {each['name']} | {MARKS[each['verdict']]} | {_cell(each['finding'])} | "
            f"{_cell(each['bar'])} |"
            for each in router["checks"]
        ]
        for each in router["checks"]:
            if each["rows"]:
                lines += ["", f"### {each['name']}", ""]
                lines += ["| " + " | ".join(each["head"]) + " |"]
                lines += ["|---" + "|---:" * (len(each["head"]) - 1) + "|"]
                lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in each["rows"]]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def page(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML page."""
    body = "".join(_section(router) for router in report["routers"])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Robustness</title>\n<style>\n{STYLE}{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Robustness</h1>\n{body}</main>\n</body>\n</html>\n"
    )


_STYLE = """
td.mark { font-weight: 650; white-space: nowrap; }
td.failed { color: var(--bad); } td.passed { color: var(--good); } td.told { color: var(--soft); }
table.checks td, table.checks th, table.rows td, table.rows th {
  text-align: left; white-space: normal; vertical-align: top; }
details { margin-top: 12px; } summary { cursor: pointer; }
"""


def _section(router: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each['name'])}</td>"
        f'<td class="mark {each["verdict"]}">{MARKS[each["verdict"]]}</td>'
        f"<td>{escape(each['finding'])}</td><td class='soft'>{escape(each['bar'])}</td></tr>"
        for each in router["checks"]
    )
    more = "".join(
        f"<details><summary>{escape(each['name'])}</summary><div class='scroll'>"
        "<table class='rows'><tr>"
        + "".join(f"<th>{escape(name)}</th>" for name in each["head"])
        + "</tr>"
        + "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in each["rows"]
        )
        + "</table></div></details>"
        for each in router["checks"]
        if each["rows"]
    )
    return (
        f'<section class="card"><h2>{escape(router["name"])}</h2>'
        f'<p class="soft">{escape(_summary(router))}</p><div class="scroll">'
        "<table class='checks'><tr><th>check</th><th></th><th>found</th><th>bar</th></tr>"
        f"{rows}</table></div>{more}</section>\n"
    )


def _summary(router: Mapping[str, Any]) -> str:
    verdict = "Passes" if router["passed"] else "Fails"
    strong = ", ".join(each["model"] for each in router["models"] if each["strong"])
    if len(strong) > 200:
        strong = f"{sum(each['strong'] for each in router['models'])} of {len(router['models'])}"
    return (
        f"{verdict}. Strong models: {strong}. Tiers are compared where the knob sends half of the "
        f"core requests to them, or just fewer: at {router['cost_quality']:g}."
    )


def _cell(text: str) -> str:
    line = "".join(each if each.isprintable() else " " for each in text)
    return escape(line, quote=False).replace("|", "&#124;").replace("*", "&#42;")
