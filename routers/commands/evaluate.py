"""`steelyard evaluate`: artifacts and baselines side by side on held-out outcomes."""

import json
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from routers.commands.base import (
    FILE,
    draws_option,
    encoder,
    files,
    progress,
    seed_option,
    todays_prices,
)

_FILES_ONLY = {
    "oracle gap",
    "arena",
    "APGR [95%]",
    "recall",
    "match cost [95%]",
    "CPT50",
    "CPT80",
    "Brier",
    "tokens ≤ p90",
}
"""Columns that a terminal has no room for."""


@click.command("evaluate")
@click.option(
    "--artifact",
    "artifacts",
    metavar="DIR[,DIR…]",
    callback=files,
    required=True,
    help="Folders that `fit` wrote.",
)
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes that no artifact was trained on: .parquet, .csv or .jsonl.",
)
@click.option(
    "--train",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes of the training: for kNN(k=100), prompt length and the best single model.",
)
@todays_prices
@click.option("--out", type=FILE, help="Folder for report.json, report.md and report.html.")
@seed_option
@draws_option
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def command(
    *,
    artifacts: list[Path],
    data: list[Path],
    train: list[Path],
    prices: Path | None,
    out: Path | None,
    seed: int,
    draws: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure artifacts and baselines on held-out outcomes."""
    from routers.evaluation.replay import evaluate, prepare  # noqa: PLC0415
    from routers.evaluation.report import write_report  # noqa: PLC0415

    arena = prepare(
        artifacts,
        data,
        train=train,
        prices_file=prices,
        n_draws=draws,
        seed=seed,
        trusted=encoders,
        progress=progress,
    )
    report = {
        "steelyard_version": metadata.version("steelyard"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **evaluate(arena, progress=progress),
    }
    written = [] if out is None else write_report(report, out)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        _print(report)
    for path in written:
        progress(f"wrote {path}")


def _print(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from routers.evaluation.report import COLUMNS, cells, tables  # noqa: PLC0415
    from routers.files import shown  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:  # there is no width to respect
        console = Console(width=170)
    best = report["best_single"]
    table = Table(
        title=f"{report['n_queries']} queries, {len(report['models'])} models; best single model "
        f"{escape(shown(best['model']))}: quality {best['quality']:.3f}, "
        f"${best['usd_per_1000']:.4g} per 1000 (chosen on {best['chosen_on']})",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    told = [i for i, (name, _) in enumerate(COLUMNS) if name not in _FILES_ONLY]
    for i in told:
        table.add_column(COLUMNS[i][0], justify="right" if i else "left", no_wrap=True)
    style = {"artifact": "bold", "baseline": None, "bound": "dim"}
    for router in report["routers"]:
        name, *numbers = cells(router)
        row = [shown(name), *numbers]
        table.add_row(*(Text(row[i]) for i in told), style=style[router["kind"]])
    console.print(table)
    for title, (head, body) in tables(report).items():
        further = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD)
        for i, name in enumerate(head):
            further.add_column(escape(shown(name)), justify="right" if i else "left")
        for cells_ in body:
            further.add_row(*(Text(shown(cell)) for cell in cells_))
        console.print(further)
    for note in report["notes"]:
        console.print(Text(" ".join(note.split()), style="dim"))
