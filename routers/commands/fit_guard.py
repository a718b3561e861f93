"""`steelyard fit-guard`: labelled prompts and a slow guard's verdicts → artifact with a guard."""

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
    overwrite,
    progress,
    seed_option,
)


@click.command("fit-guard")
@click.option(
    "--fast",
    "artifact",
    type=FILE,
    required=True,
    help="Artifact whose view of a prompt the fast guard learns from: a folder, or `default`.",
)
@click.option(
    "--data",
    type=FILE,
    required=True,
    help="Prompts with labels and verdicts: .jsonl, or .csv with a line of names.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@click.option(
    "--label",
    metavar="FIELD",
    default="harmful",
    show_default=True,
    help="The field that says whether a prompt is harmful.",
)
@click.option(
    "--slow",
    metavar="FIELD",
    default="slow",
    show_default=True,
    help="The field that holds the slow guard's verdict.",
)
@click.option("--slow-model", metavar="MODEL", help="Its name in `models` of the configuration.")
@click.option(
    "--slow-share",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="The share of requests that it may be asked about. [default: by chance above 0.5]",
)
@seed_option
@encoder
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    *,
    artifact: Path,
    data: Path,
    out: Path,
    label: str,
    slow: str,
    slow_model: str | None,
    slow_share: float | None,
    seed: int,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Fit a fast guard, and a router that tells where the slow one puts it right."""
    from routers.training.fit_guard import fit_guard  # noqa: PLC0415  (help loads no trainer)

    if not overwrite:
        check_free(out)
    report = fit_guard(
        artifact,
        data,
        out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        label=label,
        slow=slow,
        slow_model=slow_model,
        slow_share=slow_share,
        seed=seed,
        trusted=encoders,
        progress=progress,
    )
    if as_json:
        click.echo(json.dumps({"artifact": str(out), **asdict(report)}, allow_nan=False))
        return
    found = report.figures
    click.echo(f"wrote {out} (version {report.version}), from {report.n_prompts} prompts")
    click.echo(
        f"  the slow guard is asked about {found['slow_share']:.1%} of requests "
        f"(epsilon {report.epsilon:.3f})"
    )
    click.echo("  right, on prompts unseen:")
    for name in ("fast", "random", "entropy", "router", "slow"):
        click.echo(f"    {name:<8}{found[name]:.3f}")
    click.echo(
        f"  F1 of routing {found['router_routing_f1']:.3f}, by uncertainty "
        f"{found['entropy_routing_f1']:.3f}"
    )
    if found["router"] <= found["entropy"]:
        click.echo(
            "  by uncertainty it would be as good: there is little to learn in these prompts"
        )
