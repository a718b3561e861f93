"""`steelyard calibrate`: refit what an artifact promises on fresh outcomes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from routers.artifact.files import check_free
from routers.commands.base import (
    FILE,
    FiniteRange,
    Percent,
    encoder,
    files,
    overwrite,
    progress,
    seed_option,
)


@click.command("calibrate")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes that the artifact was not trained on: .parquet, .csv or .jsonl.",
)
@click.option(
    "--answers",
    metavar="FILE[,FILE…]",
    callback=files,
    help="What the models answered, to refit the knob of a workflow; else the answers in --data.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@click.option("--strong", metavar="MODEL", help="With --weak: find thresholds between the two.")
@click.option("--weak", metavar="MODEL", help="See --strong.")
@click.option(
    "--strong-share",
    type=FiniteRange(0, 1),
    help="Print the threshold that sends this share of requests to the strong model.",
)
@click.option(
    "--max-drop",
    type=Percent(),
    metavar="PERCENT",
    help="Find the threshold of fewest strong calls whose mean quality dropped by at most this "
    "share of the strong model's on the data; nothing is promised.",
)
@click.option(
    "--max-quality-drop",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Promise that the weak model costs at most this much, its gains not counted; exit 1 if "
    "nothing can be promised.",
)
@click.option(
    "--confidence",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Of the promise, where outcomes are right or wrong.",
)
@click.option(
    "--method",
    type=click.Choice(["clopper-pearson", "conformal-risk"]),
    help="Default: the first for right and wrong, the second for graded outcomes.",
)
@seed_option
@encoder
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    *,
    artifact: Path,
    data: list[Path],
    answers: list[Path],
    out: Path,
    strong: str | None,
    weak: str | None,
    strong_share: float | None,
    max_drop: float | None,
    max_quality_drop: float | None,
    confidence: float,
    method: Any,
    seed: int,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Correct predicted quality, refit the knob, find thresholds and promises."""
    from routers.training.calibrate import PairGoal, calibrate  # noqa: PLC0415

    if (strong is None) != (weak is None):
        raise click.UsageError("give --strong and --weak together")
    about_two = {
        "--strong-share": strong_share,
        "--max-drop": max_drop,
        "--max-quality-drop": max_quality_drop,
    }
    given = [option for option, value in about_two.items() if value is not None]
    if strong is None and given:
        raise click.UsageError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} about two models: give "
            "--strong and --weak"
        )
    if not overwrite:
        check_free(out)
    pair = None
    if strong is not None and weak is not None:
        pair = PairGoal(
            strong=strong,
            weak=weak,
            strong_share=strong_share,
            max_drop=max_drop,
            max_quality_drop=max_quality_drop,
            confidence=confidence,
            method=method,
        )
    report = calibrate(
        artifact,
        data,
        out,
        answers=answers,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        pair=pair,
        seed=seed,
        trusted=encoders,
        progress=progress,
    )
    written = report.version is not None
    if as_json:
        found = {"artifact": str(out) if written else None, "version": report.version}
        click.echo(json.dumps({**found, **report.record}, allow_nan=False))
    else:
        if written:
            click.echo(f"wrote {out} (version {report.version})")
        _print(report.record)
    if not written:
        raise SystemExit(1)


def _print(record: dict[str, Any]) -> None:
    before, after = record["before"], record["after"]
    click.echo(
        f"  held out: ECE {before['ece']:.4f} -> {after['ece']:.4f}, "
        f"Brier {before['brier']:.4f} -> {after['brier']:.4f}"
        + ("" if record["corrected"] else " (left out: it does not help)")
    )
    if "workflow_knob" in record:
        found = record["workflow_knob"]
        click.echo(
            f"  knob of the workflow refitted on {found['n_queries']} queries"
            if found["refitted"]
            else f"  knob of the workflow as it was: {found['why']}"
        )
    if "thresholds" in record and "threshold" in record["thresholds"]:
        found = record["thresholds"]
        click.echo(
            f"  threshold {found['threshold']:.6g} sends {found['strong_share']:.0%} "
            f"to {found['strong']}"
        )
    if "drop" in record:
        click.echo(f"  threshold {record['drop']['threshold']:.6g}: {record['drop']['statement']}")
    if "guarantee" in record:
        click.echo(f"  promised: {record['guarantee']['statement']}")
    if "refused" in record:
        click.echo(f"  nothing written: {record['refused']}")
