"""The sweep of a goal as files: JSON, Markdown, CSV, and a page with its Pareto front."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from routers.evaluation.goal_sweep import MIXING, ORACLE
from routers.evaluation.page_style import STYLE
from routers.evaluation.report_files import as_json, write_files
from routers.files import shown

COLUMNS = ("router", "weight", "quality", "costs by the goal", "fact", "USD/1000", "most chosen")
_SHOWN = (0.0, 0.01, 0.1, 0.316228, 1.0, 10.0)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 440, 60, 20, 16, 48
_TICKS = 6


def write_report(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `pareto.json`, `pareto.md`, `pareto.csv` and `pareto.html` into the folder `out`.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    texts = {
        "pareto.json": as_json(report),
        "pareto.md": markdown(report),
        "pareto.csv": csv_text(report),
        "pareto.html": page(report),
    }
    return write_files(texts, out)


def title(report: Mapping[str, Any]) -> str:
    """Return what is swept, in one line."""
    return (
        f"{report['goal']} against quality: {report['n_queries']} queries, "
        f"{len(report['models'])} models, knob at {report['cost_quality']:g}"
    )


def rows(report: Mapping[str, Any], *, every: bool = False) -> list[list[str]]:
    """Return the table's rows, aligned with `COLUMNS`; some weights, or every one."""
    return [
        [
            router["name"],
            f"{point['weight']:g}",
            _number(point["quality"]),
            _number(point["goal_cost"]),
            _short(point["fact"]),
            _short(point["usd_per_1000"]),
            _likeliest(point["shares"]),
        ]
        for router in report["routers"]
        for point in router["points"]
        if every or _is_shown(point["weight"])
    ]


def summary(report: Mapping[str, Any]) -> list[str]:
    """Return what a router's front is worth beside mixing single models, a line each."""
    told = [f"mean quality under the front: {MIXING} {report['mixing_area']:.3f}"]
    for router in report["routers"]:
        if "area" not in router:
            continue
        over = router["over_mixing"]
        told.append(
            f"{shown(router['name'])}: {_number(router['area']['value'])}, "
            f"{over['value']:+.3f} [{over['low']:+.3f}, {over['high']:+.3f}] over mixing"
        )
    return told


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    head = [report["fact"] if name == "fact" else name for name in COLUMNS]
    lines = [f"# {title(report).capitalize()}", ""]
    lines += [f"- {_cell(line)}" for line in summary(report)]
    lines += ["", *_table(head, rows(report, every=True)), "", "## Single models", ""]
    lines += _table(
        ["model", "quality", "costs by the goal", report["fact"], "USD/1000"],
        [
            [
                each["model"],
                _number(each["quality"]),
                _number(each["goal_cost"]),
                _short(each["fact"]),
                _short(each["usd_per_1000"]),
            ]
            for each in sorted(report["models"], key=lambda each: each["goal_cost"])
        ],
    )
    lines += ["", "## Notes", "", *(f"- {_cell(note)}" for note in report["notes"])]
    return "\n".join(lines) + "\n"


def csv_text(report: Mapping[str, Any]) -> str:
    """Return every point of every router, and the single models, as one table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["router", "kind", "weight", "goal_cost", "fact", "quality", "usd_per_1000", "on_front"]
    )
    for router in report["routers"]:
        writer.writerows(
            [
                *(router["name"], router["kind"], point["weight"], point["goal_cost"]),
                *(point["fact"], point["quality"], point["usd_per_1000"], int(point["on_front"])),
            ]
            for point in router["points"]
        )
    writer.writerows(
        [
            *(each["model"], "single model", None, each["goal_cost"], each["fact"]),
            *(each["quality"], each["usd_per_1000"], int(each["on_hull"])),
        ]
        for each in report["models"]
    )
    return text.getvalue()


def page(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML page, which needs nothing from elsewhere."""
    head = [report["fact"] if name == "fact" else name for name in COLUMNS]
    files = ", ".join(each["file"] for each in report["data"])
    told = "".join(f"<li>{escape(line)}</li>" for line in (*summary(report), *report["notes"]))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Pareto front of {escape(report['goal'])}</title>\n<style>\n{STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n<h1>{escape(title(report).capitalize())}</h1>\n"
        f'<p class="soft">{escape(files)}. Each line is a router as the goal weighs more, from '
        "right to left; dots are single models, the dashed line mixes them at random. Point at a "
        f'dot for its values.</p>\n<section class="card">{_legend(report)}'
        f'<div class="box">{_chart(report)}</div></section>\n<section class="card"><h2>All numbers'
        f'</h2><div class="scroll">{_html_table(head, rows(report, every=True))}</div></section>\n'
        f'<section class="card"><h2>Notes</h2><ul class="soft">{told}</ul></section>\n'
        "</main>\n</body>\n</html>\n"
    )


class _Scale:
    """Where costs by the goal and qualities are drawn."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        points = [*report["models"], *(p for each in report["routers"] for p in each["points"])]
        costs = [each["goal_cost"] for each in points if each["goal_cost"] is not None]
        qualities = [each["quality"] for each in points if each["quality"] is not None]
        self.x0, self.x1 = _padded(min(costs), max(costs))
        self.y0, self.y1 = _padded(min(qualities), max(qualities))

    def x(self, cost: float) -> float:
        return _LEFT + (cost - self.x0) / (self.x1 - self.x0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, quality: float) -> float:
        share = (quality - self.y0) / (self.y1 - self.y0)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = max(high - low, 0.02) * 0.06
    return low - pad, high + pad


def _chart(report: Mapping[str, Any]) -> str:
    scale = _Scale(report)
    over = f"Quality over what models cost by {escape(report['goal'])}"
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{over}">']
    for i in range(_TICKS + 1):
        cost = scale.x0 + (scale.x1 - scale.x0) * i / _TICKS
        quality = scale.y0 + (scale.y1 - scale.y0) * i / _TICKS
        x, y = scale.x(cost), scale.y(quality)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{cost:.2f}</text>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{quality:.2f}</text>'
        )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"costs by {escape(report['goal'])} (0 is best)</text>"
        f'<text transform="translate(15 {_HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">mean '
        "quality</text>"
    )
    mixed = sorted(
        (each["goal_cost"], each["quality"]) for each in report["models"] if each["on_hull"]
    )
    parts.append(_line(mixed, scale, "var(--b0)", 'stroke-dasharray="8 4" stroke-width="1.8"'))
    parts += [
        f'<circle cx="{scale.x(each["goal_cost"]):.1f}" cy="{scale.y(each["quality"]):.1f}" '
        'r="4" fill="var(--card)" stroke="var(--soft)" stroke-width="1.6">'
        f"<title>{escape(_told(each['model'], each, report))}</title></circle>"
        for each in report["models"]
    ]
    for router, color in _colours(report):
        style = 'stroke-width="2.6"'
        if router["name"] == ORACLE:
            style = 'stroke-width="1.8" stroke-dasharray="1.5 4"'
        points = [each for each in router["points"] if each["goal_cost"] is not None]
        along = [(each["goal_cost"], each["quality"]) for each in points]
        parts.append(_line(along, scale, color, style))
        parts += [
            f'<circle cx="{scale.x(each["goal_cost"]):.1f}" cy="{scale.y(each["quality"]):.1f}" '
            f'r="3" fill="{color}"><title>'
            f"{escape(_told(router['name'], each, report))}</title></circle>"
            for each in points
        ]
    return "".join([*parts, "</svg>"])


def _line(points: Sequence[tuple[float, float]], scale: _Scale, color: str, style: str) -> str:
    path = " ".join(f"{scale.x(cost):.1f},{scale.y(quality):.1f}" for cost, quality in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" {style}/>'


def _colours(report: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    found, n = [], 0
    for router in report["routers"]:
        if router["kind"] == "artifact":
            found.append((router, f"var(--s{n % 5})"))
            n += 1
        else:
            found.append((router, "var(--b2)"))
    return found


def _legend(report: Mapping[str, Any]) -> str:
    names = [(router["name"], color) for router, color in _colours(report)]
    return (
        '<p class="soft">'
        + " &nbsp; ".join(
            f'<span style="color:{color}">&#9644;</span> {escape(shown(name))}'
            for name, color in (*names, (MIXING, "var(--b0)"))
        )
        + "</p>"
    )


def _told(name: str, point: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    weight = f", weight {point['weight']:g}" if "weight" in point else ""
    return (
        f"{name}{weight}: quality {_number(point['quality'])}, {report['goal']} "
        f"{_number(point['goal_cost'])} ({report['fact']}: {_short(point['fact'])}), "
        f"${_short(point['usd_per_1000'])} per 1000"
    )


def _html_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(map(_cell, head)) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in body),
    ]


def _cell(text: str) -> str:
    line = "".join(each if each.isprintable() else " " for each in text)
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _is_shown(weight: float) -> bool:
    return any(abs(weight - each) <= 1e-6 for each in _SHOWN)


def _likeliest(shares: Mapping[str, float]) -> str:
    name = max(shares, key=lambda each: (shares[each], each))
    return f"{shown(name)} {shares[name]:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
