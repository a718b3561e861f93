"""A report as JSON for machines, Markdown for repositories, and one HTML file for people."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routers.evaluation._page import page
from routers.evaluation.csv_tables import csv_files
from routers.evaluation.report_files import as_json, write_files

_NOTHING = "-"
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&@!#]|(?<=www)\.|:(?=//)")
"""What means something to Markdown, or to those who make links and mentions of plain text."""

COLUMNS = (
    ("router", "The artifact's folder, or a baseline."),
    ("AIQ [95%]", "Area under the hull of quality over cost, divided by the range of costs."),
    (
        "over Zero [95%]",
        "Area above mixing single models at random, at settings chosen on other queries.",
    ),
    (
        "AUC log [95%]",
        "The area of AIQ over the logarithm of cost: every doubling counts alike.",
    ),
    (
        "hull APGR [95%]",
        "Mean share of the gap recovered between neighbours on the hull of single models.",
    ),
    ("best quality", "Highest mean quality over all settings."),
    ("match cost [95%]", "Least cost that reaches the best single model, as a share of its cost."),
    ("oracle gap", "Best quality of an oracle minus best quality."),
    ("recall", "Of queries that one or two models solve: how often one of them was chosen."),
    ("arena", "RouterArena score of the best setting."),
    ("APGR [95%]", "Mean share of the quality gap over shares of strong calls, best pair."),
    ("CPT50", "Share of strong calls that recovers half of the gap."),
    ("CPT80", "Share of strong calls that recovers 80 % of the gap."),
    ("ECE", "Expected calibration error of predicted quality, 10 equal-mass bins."),
    ("Brier", "Mean squared error of predicted quality."),
    ("tokens ≤ p90", "Share of answers not longer than the upper estimate; 0.90 is right."),
    ("knob error", "Largest distance of what the knob promises and keeps."),
)
"""Columns of the tables and what they mean."""


def cells(router: Mapping[str, Any]) -> list[str]:
    """Return the row of one router, aligned with `COLUMNS`."""
    return [
        router["name"],
        _interval(router["aiq"]),
        _interval(router["aiq_over_zero"], sign=True),
        _interval(router["auc_log_cost"]),
        _interval(router["hull_apgr"]),
        _number(router["best_quality"]),
        _interval(router["match_cost_share"], percent=True, never="never"),
        _number(router["oracle_gap"]),
        _number(router["model_recall"]),
        _number(router["arena_score_best"]),
        _interval(router.get("apgr")),
        _number(router.get("cpt50")),
        _number(router.get("cpt80")),
        _number(router.get("ece")),
        _number(router.get("brier")),
        _number(router.get("upper_tokens_coverage")),
        _number(router.get("knob_error")),
    ]


def write_report(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `report.json`, `report.md`, `report.html` and tables of CSV into the folder `out`.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    texts = {
        "report.json": as_json(report),
        "report.md": markdown(report),
        "report.html": html(report),
        **csv_files(report),
    }
    return write_files(texts, out)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    best = report["best_single"]
    strong, weak = (_text(report["pair"][name]) for name in ("strong", "weak"))
    lines = [
        "# Routing quality",
        "",
        f"{report['n_queries']} queries, {len(report['models'])} models"
        + (f"; files: {_files(report['data'])}. " if report["data"] else ". ")
        + (f"Training rows: {_files(report['train'])}. " if report["train"] else "")
        + f"Best single model (chosen on {best['chosen_on']}): {_text(best['model'])}, quality "
        f"{best['quality']:.3f}, ${best['usd_per_1000']:.4g} per 1000 queries. Intervals: "
        f"{report['n_draws']} resamplings of the queries, seed {report['seed']}.",
        "",
        *_table([name for name, _ in COLUMNS], [_row(each) for each in report["routers"]]),
        "",
        *(f"- **{name}**: {meaning}" for name, meaning in COLUMNS[1:]),
        f"- APGR and CPT are about {strong} (strong) and {weak} (weak).",
    ]
    if report["notes"]:
        lines += ["", "## Notes", "", *(f"- {_text(note)}" for note in report["notes"])]
    for router in report["routers"]:
        if "knob" in router:
            lines += ["", *_knob(router)]
    for title, (head, body) in tables(report).items():
        rows = [[_text(cell) for cell in row] for row in body]
        lines += ["", f"## {title}", "", *_table([_text(each) for each in head], rows)]
    lines += ["", "## Single models", ""]
    lines += _table(
        ["model", "quality", "USD per 1000 queries", "input USD/M", "output USD/M"],
        [
            [
                _text(each["model"]),
                f"{each['quality']:.3f}",
                f"{each['usd_per_1000']:.4g}",
                _usd(each["input_usd_per_mtok"], sign=""),
                _usd(each["output_usd_per_mtok"], sign=""),
            ]
            for each in sorted(report["models"], key=lambda each: each["usd_per_1000"])
        ],
    )
    return "\n".join(lines) + "\n"


def tables(report: Mapping[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return the further tables of a report by their titles: a heading and rows of plain text."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    names = ("area", "auc_log_cost", "hull_apgr")
    if report["paired"]:
        found["Differences between artifacts, paired [95%]"] = (
            ["first - second", "area, settings chosen on other queries", "AUC log", "hull APGR"],
            [
                [
                    f"{each['first']} - {each['second']}",
                    *(_interval(each[name], sign=True) for name in names),
                ]
                for each in report["paired"]
            ],
        )
    if report["benchmarks"]:
        routers = [each["name"] for each in report["benchmarks"][0]["routers"]]
        found["Benchmark by benchmark, knob at 0.5: quality, share of the best single's cost"] = (
            ["benchmark", "n", "cheapest", "best single", *routers],
            [
                [
                    each["benchmark"],
                    str(each["n"]),
                    _number(each["cheapest_quality"]),
                    _number(each["best_single_quality"]),
                    *(
                        f"{_number(router['quality'])}, {_share(router['cost_share'])}"
                        for router in each["routers"]
                    ),
                ]
                for each in report["benchmarks"]
            ],
        )
    return found


def html(report: Mapping[str, Any]) -> str:
    """Return the report as one page that needs nothing from elsewhere."""
    content = {
        "report": report,
        "columns": [{"name": name, "meaning": meaning} for name, meaning in COLUMNS],
        "cells": [cells(each) for each in report["routers"]],
    }
    # "<" could end the script element; names come from data files.
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return page(text)


def _knob(router: Mapping[str, Any]) -> list[str]:
    middle = router["at_middle"]
    shares = ", ".join(
        f"{_text(model)} {share:.0%}"
        for model, share in sorted(middle["shares"].items(), key=lambda each: -each[1])
    )
    at_middle = (
        f"At {middle['cost_quality']:g}: quality {_number(middle['quality'])}, "
        f"{_usd(middle['usd_per_1000'])} per 1000 queries, "
        f"arena {_number(middle['arena_score'])}; {shares}."
    )
    return [
        f"## The knob of {_text(router['name'])}",
        "",
        at_middle,
        "",
        *_table(
            ["knob", "quality", "USD per 1000", "share of the gap kept [95%]", "promise"],
            [
                [
                    f"{step['cost_quality']:g}",
                    _number(step["quality"]),
                    _usd(step["usd_per_1000"], sign=""),
                    _interval(step["share_of_gap"]),
                    step["promise"] or _NOTHING,
                ]
                for step in router["knob"]
            ],
        ),
        *([] if router["knob_no_share"] is None else ["", _text(router["knob_no_share"])]),
    ]


def _row(router: Mapping[str, Any]) -> list[str]:
    name, *numbers = cells(router)
    return [_text(name), *numbers]


def _text(text: str) -> str:
    """Return a name or sentence so that Markdown shows it as it is, in one line.

    Names come from files: they hold what they like, line breaks and markup included.
    """
    line = "".join(each if each.isprintable() else " " for each in text)
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", line)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return [lines[0], "|---" + "|---:" * (len(head) - 1) + "|", *lines[1:]]


def _files(files: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{_text(each['file'])} ({each['rows']} rows)" for each in files)


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0%}"


def _usd(value: float | None, *, sign: str = "$") -> str:
    return _NOTHING if value is None else f"{sign}{value:.4g}"


def _interval(
    interval: Mapping[str, float | None] | None,
    *,
    percent: bool = False,
    sign: bool = False,
    never: str = _NOTHING,
) -> str:
    if interval is None:
        return _NOTHING
    value, low, high = interval["value"], interval["low"], interval["high"]

    def text(number: float | None) -> str:
        if number is None:
            return never
        return f"{number:.0%}" if percent else f"{number:{'+' if sign else ''}.3f}"

    if value is None and low is None:
        return never
    return f"{text(value)} [{text(low)}, {text(high)}]"
