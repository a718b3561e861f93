"""`steelyard insert`: further outcomes for a router that remembers queries, without a fit."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from routers.artifact.files import check_free
from routers.commands.base import FILE, encoder, files, overwrite, progress


@click.command("insert")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes to remember: .parquet, .csv or .jsonl, as for `fit`.",
)
@click.option(
    "--forget",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes whose prompts are to be forgotten, before anything is inserted.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@encoder
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    *,
    artifact: Path,
    data: list[Path],
    forget: list[Path],
    out: Path,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Have a router remember further outcomes, and forget others: nothing is fitted again.

    For guarded-knn, and for carrot with a knn head for quality. The knob keeps its calibration;
    `steelyard calibrate` renews it.
    """
    from routers.training.insert import insert  # noqa: PLC0415  (help should be quick)

    if not data and not forget:
        raise click.UsageError("give --data, --forget or both")
    if not overwrite:
        check_free(out)
    report = insert(
        artifact,
        out,
        data=data,
        forget=forget,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trusted=encoders,
        progress=progress,
    )
    if as_json:
        click.echo(json.dumps({"artifact": str(out), **asdict(report)}))
        return
    click.echo(f"wrote {out} (version {report.version})")
    click.echo(f"  {report.n_inserted} queries inserted, {report.n_forgotten} forgotten")
    if report.unknown_models:
        click.echo(
            f"  left out, as the router does not predict them: {', '.join(report.unknown_models)}"
        )
