"""`steelyard fit-agents`: logged runs of agents → artifact with a controller."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from routers.artifact.files import check_free
from routers.commands.base import (
    FILE,
    FiniteRange,
    encoder,
    files,
    overwrite,
    progress,
    seed_option,
)


@click.command("fit-agents")
@click.option(
    "--artifact",
    type=FILE,
    required=True,
    help="Artifact whose view of a request the controller learns from: a folder, or `default`.",
)
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Runs with what their answers were worth, .jsonl, as `steelyard export` writes them.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@click.option(
    "--usd-per-quality",
    type=FiniteRange(0, 1e6, min_open=True),
    required=True,
    help="What a right answer may cost, in US dollars.",
)
@seed_option
@encoder
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    *,
    artifact: Path,
    data: list[Path],
    out: Path,
    usd_per_quality: float,
    seed: int,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Fit which agents work on a request, and how, on runs that were logged."""
    from routers.training.fit_agents import fit_agents  # noqa: PLC0415  (help loads no trainer)

    if not overwrite:
        check_free(out)
    report = fit_agents(
        artifact,
        data,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        usd_per_quality=usd_per_quality,
        seed=seed,
        trusted=encoders,
        progress=progress,
    )
    if as_json:
        click.echo(json.dumps({"artifact": str(out), **asdict(report)}, allow_nan=False))
        return
    click.echo(f"wrote {out} (version {report.version}), from {report.n_runs} runs")
    for mode, found in report.modes.items():
        click.echo(
            f"  {mode:<12}{found['runs']:>7.0f} runs, quality {found['quality']:.3f}, "
            f"${1000 * found['cost_usd']:.3f} for a thousand"
        )
    for name, found in (("as logged", report.logged), ("as learned", report.learned)):
        click.echo(
            f"  {name:<12}quality {found['quality']:.3f}, ${1000 * found['cost_usd']:.3f} for a "
            "thousand"
        )
    click.echo(
        f"  the latter by an estimate on runs unseen, as good as {report.effective_runs:.0f} runs"
    )
