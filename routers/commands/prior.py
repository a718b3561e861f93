"""`steelyard prior`: published results → artifact."""

from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import click

from routers.artifact.files import check_free
from routers.commands.base import FILE, files, overwrite, progress


@click.command("prior")
@click.option(
    "--abilities",
    type=FILE,
    default=Path("configs/abilities.yaml"),
    show_default=True,
    help="Published benchmark scores of models, with their sources.",
)
@click.option(
    "--catalogue",
    type=FILE,
    default=Path("configs/models.yaml"),
    show_default=True,
    help="List prices of models; its names are predicted too.",
)
@click.option(
    "--prompts",
    metavar="FILE[,FILE…]",
    callback=files,
    default="configs/graded_prompts/train.jsonl,configs/graded_prompts/test.jsonl",
    show_default=True,
    help="Graded prompts, over which the knob is spread.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@overwrite
def command(
    *, abilities: Path, catalogue: Path, prompts: list[Path], out: Path, overwrite: bool
) -> None:
    """Make a router from published results: it needs no outcomes of your own.

    Predictions of such a router say so (evidence: prior), are wide, and its knob is unverified
    until `steelyard calibrate` or `steelyard fit` have seen outcomes.
    """
    from routers.training.prior import build_prior  # noqa: PLC0415  (help should load no trainer)

    if not overwrite:
        check_free(out)
    report = build_prior(
        abilities,
        out,
        catalogue=catalogue,
        prompts=prompts,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        steelyard_version=metadata.version("steelyard"),
        progress=progress,
    )
    click.echo(f"{report.path}: {len(report.models)} models, version {report.version}")
    if report.without_scores:
        click.echo(f"by price and date only: {', '.join(report.without_scores)}")
    if report.unpriced:
        click.echo(f"no price known: {', '.join(report.unpriced)}")
