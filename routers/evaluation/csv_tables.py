"""The numbers of a report as tables that spreadsheets and plotting programs read."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_INTERVALS = ("aiq", "aiq_over_zero", "auc_log_cost", "hull_apgr", "match_cost_share", "apgr")
_NUMBERS = (
    *("best_quality", "best_quality_usd_per_1000", "oracle_gap", "model_recall"),
    *("arena_score_best", "cpt50", "cpt80", "ece", "brier", "upper_tokens_coverage", "knob_error"),
)


def csv_files(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of a report by their file names.

    `routers.csv` has every number of every router and baseline, `curve.csv` every setting of each
    in US dollars per 1000 queries and quality (and whether it is on the hull), `knob.csv` what
    positions of the knob kept, `benchmarks.csv` quality and cost benchmark by benchmark. Empty
    fields are what is not known.
    """
    routers = report["routers"]
    return {
        "routers.csv": _text(
            [
                *("router", "kind"),
                *(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")),
                *_NUMBERS,
            ],
            ([each["name"], each["kind"], *_row(each)] for each in routers),
        ),
        "curve.csv": _text(
            ["router", "kind", "usd_per_1000", "quality", "on_hull"],
            (
                [each["name"], each["kind"], cost, quality, int([cost, quality] in hull)]
                for each in routers
                for hull in [each["curve"]["hull"]]
                for cost, quality in each["curve"]["points"]
            ),
        ),
        "knob.csv": _text(
            ["router", "knob", "quality", "usd_per_1000", "share", "share_low", "share_high"],
            (
                [
                    *(each["name"], step["cost_quality"], step["quality"], step["usd_per_1000"]),
                    *(step["share_of_gap"][end] for end in ("value", "low", "high")),
                ]
                for each in routers
                for step in each.get("knob", [])
            ),
        ),
        "benchmarks.csv": _text(
            ["benchmark", "n", "router", "quality", "cost_share_of_best_single"],
            (
                [each["benchmark"], each["n"], router["name"], router["quality"], share]
                for each in report["benchmarks"]
                for router in [
                    {"name": "cheapest", "quality": each["cheapest_quality"]},
                    {"name": "best single", "quality": each["best_single_quality"]},
                    *each["routers"],
                ]
                for share in [router.get("cost_share")]
            ),
        ),
    }


def _row(router: Mapping[str, Any]) -> list[float | None]:
    row: list[float | None] = []
    for name in _INTERVALS:
        interval = router.get(name) or {}
        row += [interval.get(end) for end in ("value", "low", "high")]
    return row + [router.get(name) for name in _NUMBERS]


def _text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
