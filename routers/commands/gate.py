"""`steelyard gate`: refuse an artifact that is not worth its trouble."""

import json
from pathlib import Path

import click

from routers.commands._options import FILE, SEED, encoder, files, progress
from routers.files import printable


@click.command("gate")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes that the artifact was not trained on: wide .parquet or .jsonl.",
)
@click.option(
    "--train",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes of the training, which the baselines are fitted on.",
)
@click.option("--prices", type=FILE, help="Today's prices; those of the training without it.")
@click.option(
    "--max-p50-ms",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Limit of the median time to predict one request on this machine.",
)
@click.option(
    "--max-size-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    help="Limit of the artifact's files together.",
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--draws",
    type=click.IntRange(100, 10_000),
    default=1000,
    show_default=True,
    help="Resamplings behind the intervals.",
)
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(
    *,
    artifact: Path,
    data: list[Path],
    train: list[Path],
    prices: Path | None,
    max_p50_ms: float,
    max_size_mb: float,
    seed: int,
    draws: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Exit with 1, and reasons, unless the artifact beats every baseline beyond noise.

    The baselines are mixing single models at random, the best single model, prompt length, and
    kNN(k=100) on the same features.
    """
    from routers.evaluation.gate import Limits, judge  # noqa: PLC0415
    from routers.evaluation.replay import prepare  # noqa: PLC0415

    arena = prepare(
        [artifact],
        data,
        train=train,
        prices_file=prices,
        n_draws=draws,
        seed=seed,
        trusted=encoders,
        progress=progress,
    )
    progress("judging")
    checks = judge(arena, artifact, limits=Limits(max_p50_ms=max_p50_ms, max_size_mb=max_size_mb))
    passed = all(check.passed for check in checks)
    version = arena.artifacts[0].version
    if as_json:
        click.echo(
            json.dumps(
                {
                    "artifact": str(artifact),
                    "version": version,
                    "passed": passed,
                    "n_queries": len(arena.frame.rows),
                    "checks": [check.to_dict() for check in checks],
                    "notes": list(arena.notes),
                },
                allow_nan=False,
            )
        )
    else:
        verdict = "passes" if passed else "is REFUSED"
        click.echo(f"{artifact} (version {version}) {verdict} on {len(arena.frame.rows)} queries")
        for check in checks:
            found = printable(f"{check.name}: {check.finding}")
            click.echo(f"  {'pass' if check.passed else 'FAIL'}  {found}")
        for note in arena.notes:
            click.echo(f"  note: {printable(note)}")
    if not passed:
        raise SystemExit(1)
