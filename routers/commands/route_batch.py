"""`steelyard route-batch`: decide every prompt of a file."""

import json
from pathlib import Path

import click

from routers.artifact.load import load_artifact
from routers.commands.base import FILE, encoder, knob_positions, progress, todays_prices
from routers.errors import DataError
from routers.files import shown


@click.command("route-batch")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--data",
    type=FILE,
    required=True,
    help="Prompts: .parquet with query_id and prompt, .csv or .jsonl with prompt or messages.",
)
@click.option(
    "--cost-quality",
    metavar="T[,T…]",
    callback=knob_positions,
    required=True,
    help="Knob positions from 0 (cheapest) to 1 (best).",
)
@click.option("--out", type=FILE, required=True, help="Parquet file to write.")
@todays_prices
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    *,
    artifact: Path,
    data: Path,
    cost_quality: list[float],
    out: Path,
    prices: Path | None,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Decide every prompt of a file at every knob position."""
    from routers.evaluation.batch import route_batch  # noqa: PLC0415

    if out.is_dir():
        raise DataError(f"{out}: is a folder, give a file name")
    router = load_artifact(artifact, trusted=encoders)
    progress(f"routing {data.name} with {artifact} (version {router.version})")
    report = route_batch(router, data, out, cost_quality=cost_quality, prices_file=prices)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "out": str(out),
                    "artifact_version": router.version,
                    "n_queries": report.n_queries,
                    "n_rows": report.n_rows,
                    "shares": report.shares,
                }
            )
        )
    else:
        click.echo(f"wrote {out}: {report.n_rows} decisions on {report.n_queries} queries")
        for position, shares in report.shares.items():
            ranked = sorted(shares.items(), key=lambda each: -each[1])
            click.echo(f"  knob {position}: " + ", ".join(f"{shown(m)} {s:.0%}" for m, s in ranked))
