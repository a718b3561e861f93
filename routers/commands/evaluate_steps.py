"""`steelyard evaluate-steps`: what tasks of many steps would have cost with a router."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from routers.commands.base import (
    FILE,
    FiniteRange,
    encoder,
    files,
    knob_positions,
    progress,
    seed_option,
    todays_prices,
)
from routers.errors import DataError

_SECONDS = FiniteRange(0, 86_400)


def _runs(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Path]:
    """Split `model=path,model=path`."""
    found: dict[str, Path] = {}
    for part in [] if value is None else value.split(","):
        model, equals, path = (each.strip() for each in part.partition("="))
        if not (model and equals and path) or model in found:
            raise click.BadParameter(f"{part.strip()!r} is no MODEL=PATH, or stands there twice")
        found[model] = Path(path)
    return found


@click.command("evaluate-steps")
@click.option(
    "--artifact",
    "artifacts",
    metavar="DIR[,DIR…]",
    required=True,
    callback=files,
    help="Folders that `fit` wrote, or `default`.",
)
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Steps of tasks, one a line (JSONL): task, step, messages, quality by model.",
)
@click.option(
    "--runs",
    metavar="MODEL=PATH[,…]",
    callback=_runs,
    help="Instead: one published run of each model on the same tasks: tau-bench's results (JSON), "
    "or a folder of SWE-agent's .traj files with SWE-bench's report as results.json.",
)
@click.option(
    "--knob",
    "positions",
    default="0.2,0.4,0.6,0.8,0.9,1",
    show_default=True,
    callback=knob_positions,
    help="Positions of the knob to replay.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 10),
    default=0,
    show_default=True,
    help="How often the best model is asked after an answer that was no good.",
)
@click.option(
    "--cache-lifetime",
    "cache_lifetime_s",
    type=_SECONDS,
    default=300.0,
    show_default=True,
    help="Seconds that a provider keeps a prefix.",
)
@click.option(
    "--step-seconds",
    "step_s",
    type=_SECONDS,
    default=20.0,
    show_default=True,
    help="Time between two steps where the data do not tell.",
)
@todays_prices
@click.option("--out", type=FILE, help="Folder for the report as JSON, Markdown, CSV and HTML.")
@seed_option
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def command(
    *,
    artifacts: list[Path],
    data: list[Path],
    runs: dict[str, Path],
    positions: list[float],
    retries: int,
    cache_lifetime_s: float,
    step_s: float,
    prices: Path | None,
    out: Path | None,
    seed: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Replay agents' tasks: the cost of a finished one, steps, cache misses, beside baselines."""
    from routers.evaluation.agent_report import write_report  # noqa: PLC0415

    if bool(data) == bool(runs):
        raise click.UsageError("give either --data or --runs")
    report = replayed(
        artifacts,
        data,
        runs=runs,
        positions=positions,
        prices=prices,
        retries=retries,
        cache_lifetime_s=cache_lifetime_s,
        step_s=step_s,
        seed=seed,
        trusted=encoders,
    )
    written = [] if out is None else write_report(report, out)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        for router in report["routers"]:
            _tell(router, report)
    for path in written:
        progress(f"wrote {path}")


def replayed(
    artifacts: Sequence[Path],
    data: Sequence[Path],
    *,
    runs: Mapping[str, Path] | None = None,
    positions: Sequence[float],
    prices: Path | None,
    retries: int,
    cache_lifetime_s: float,
    step_s: float,
    seed: int,
    trusted: Collection[str],
) -> dict[str, Any]:
    """Replay the tasks of files with each artifact; return the report.

    Raises
    ------
    DataError
        If the files cannot be understood, or tell of fewer than two of an artifact's models.
    """
    from routers.artifact.load import load_artifact  # noqa: PLC0415
    from routers.data.agent_releases import read_runs  # noqa: PLC0415
    from routers.data.prices import read_prices  # noqa: PLC0415
    from routers.data.trajectories import models_of, read_trajectories  # noqa: PLC0415
    from routers.evaluation.agent_report import as_row  # noqa: PLC0415
    from routers.evaluation.agent_steps import Terms, arrange_steps  # noqa: PLC0415
    from routers.evaluation.agent_ways import compare_steps  # noqa: PLC0415

    loaded = [(path, load_artifact(path, trusted=trusted)) for path in artifacts]
    trajectories = read_runs(runs) if runs else read_trajectories(data)
    tried = models_of(trajectories)
    terms = Terms(cache_lifetime_s=cache_lifetime_s, step_s=step_s, retries=retries)
    conversations = [step.conversation for each in trajectories for step in each.steps]
    routers = []
    for path, artifact in loaded:
        models = [model for model in artifact.models if model in tried]
        if len(models) < 2:
            raise DataError(
                f"{path}: its models are {', '.join(artifact.models)}; the steps tell of "
                f"{', '.join(tried)}, so there is nothing to choose from"
            )
        progress(f"{path}: {len(conversations)} steps of {len(trajectories)} tasks")
        listed = dict(artifact.prices)
        if prices is not None:
            listed |= read_prices(prices, artifact.models)
        predictions = artifact.predict_conversations(conversations)
        columns = [artifact.models.index(model) for model in models]
        scene = arrange_steps(
            trajectories,
            models,
            listed,
            terms=terms,
            predicted_tokens=predictions.columns(columns).output_tokens,
        )
        tallies = compare_steps(scene, artifact, predictions, positions=positions, seed=seed)
        routers.append(
            {
                "name": str(path),
                "models": models,
                "notes": scene.notes,
                "ways": [as_row(tally) for tally in tallies],
            }
        )
    return {
        "steelyard_version": metadata.version("steelyard"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": "steps",
        "seed": seed,
        "n_tasks": len(trajectories),
        "n_steps": len(conversations),
        "cache_lifetime_s": cache_lifetime_s,
        "step_s": step_s,
        "retries": retries,
        "routers": routers,
    }


def _tell(router: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Print a table of one router."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from routers.evaluation.agent_report import HEAD, cells  # noqa: PLC0415
    from routers.files import shown  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:  # there is no width to respect
        console = Console(width=150)
    table = Table(
        title=f"{escape(shown(router['name']))}: {report['n_tasks']} tasks, "
        f"{report['n_steps']} steps",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for position, name in enumerate(HEAD):
        table.add_column(name, justify="right" if position else "left")
    style = {"router": "bold", "bound": "dim"}
    for way in router["ways"]:
        table.add_row(*(Text(shown(cell)) for cell in cells(way)), style=style.get(way["kind"]))
    console.print(table)
    for note in router["notes"]:
        console.print(Text(note, style="dim"))
