"""The commands that train and try routers: `steelyard fit`, `steelyard route-batch`."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from routers.artifact import load_artifact
from routers.errors import DataError
from routers.training.recipe import EmbedderRecipe, Recipe, read_recipe

_FILE = click.Path(path_type=Path)


def _files(_: click.Context, __: click.Parameter, value: str | None) -> list[Path]:
    """Split file names at commas."""
    if value is None:
        return []
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty file name")
    return [Path(name) for name in names]


def _positions(_: click.Context, __: click.Parameter, value: str) -> list[float]:
    """Parse and check knob positions."""
    positions = []
    for part in value.split(","):
        try:
            t = float(part)
        except ValueError:
            raise click.BadParameter(f"{part.strip()!r} is not a number") from None
        if math.isnan(t) or not 0 <= t <= 1:
            raise click.BadParameter(f"{part.strip()} is not within 0 and 1")
        positions.append(t + 0.0)  # no negative zero
    return positions


@click.command("fit")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=_files,
    required=True,
    help="Outcomes: wide .parquet, or .jsonl with one outcome per line.",
)
@click.option("--out", type=_FILE, required=True, help="Folder to write the artifact to.")
@click.option(
    "--aux",
    metavar="FILE[,FILE…]",
    callback=_files,
    help="Outcomes of other models that may inform what models share (ignored by carrot).",
)
@click.option("--recipe", type=_FILE, help="What to train, as YAML (see configs/training).")
@click.option("--strategy", help="Kind of router, instead of a recipe.")
@click.option("--embedder", help="Kind of embedder, instead of a recipe.")
@click.option(
    "--prices",
    type=_FILE,
    help="USD per million tokens (JSON or YAML) of models whose costs the data does not tell.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Overrides the recipe's seed.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def fit_command(
    *,
    data: list[Path],
    out: Path,
    aux: list[Path],
    recipe: Path | None,
    strategy: str | None,
    embedder: str | None,
    prices: Path | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train a router from outcomes and write its artifact."""
    from routers.training.fit import fit  # noqa: PLC0415  (help should not load the trainer)

    if recipe is not None and (strategy is not None or embedder is not None):
        raise click.UsageError("give either --recipe or --strategy and --embedder")
    chosen = read_recipe(recipe) if recipe is not None else Recipe()
    if strategy is not None:
        chosen = chosen.model_copy(update={"strategy": strategy})
    if embedder is not None:
        chosen = chosen.model_copy(update={"embedder": EmbedderRecipe(kind=embedder)})
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    report = fit(
        data,
        out,
        recipe=chosen,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        steelyard_version=metadata.version("steelyard"),
        prices_file=prices,
        auxiliary=aux,
        progress=_progress,
    )
    manifest = report.manifest
    summary = {
        "artifact": str(report.path),
        "version": report.version,
        "strategy": manifest["strategy"]["kind"],
        "models": manifest["models"],
        "training": manifest["training"],
        "metrics": manifest["metrics"],
    }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print_fit(report.path, report.version, manifest)


def _print_fit(path: Path, version: str, manifest: Mapping[str, Any]) -> None:
    metrics, training = manifest["metrics"], manifest["training"]
    click.echo(f"wrote {path} (version {version})")
    click.echo(
        f"  {training['n_queries']} queries, {training['n_outcomes']} outcomes, "
        f"{len(manifest['models'])} models"
    )
    click.echo(
        f"  held out: AIQ {metrics['aiq']:.3f} (mixing single models "
        f"{metrics['aiq_zero_router']:.3f}, oracle {metrics['aiq_oracle']:.3f})"
    )
    click.echo(
        f"  best single model {metrics['best_single_model']} "
        f"{metrics['best_single_quality']:.3f}, router {metrics['best_routed_quality']:.3f}"
    )
    for step in metrics["knob"]:
        click.echo(
            f"  knob {step['cost_quality']:.1f}: quality {step['quality']:.3f}, "
            f"{step['share_of_gap']:.2f} of the gap"
        )


@click.command("route-batch")
@click.option("--artifact", type=_FILE, required=True, help="Folder that `fit` wrote.")
@click.option("--data", type=_FILE, required=True, help="Prompts: wide .parquet.")
@click.option(
    "--cost-quality",
    metavar="T[,T…]",
    callback=_positions,
    required=True,
    help="Knob positions from 0 (cheapest) to 1 (best).",
)
@click.option("--out", type=_FILE, required=True, help="Parquet file to write.")
@click.option("--prices", type=_FILE, help="Today's prices; those of the training without it.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def route_batch_command(
    *,
    artifact: Path,
    data: Path,
    cost_quality: list[float],
    out: Path,
    prices: Path | None,
    as_json: bool,
) -> None:
    """Decide every prompt of a file at every knob position."""
    from routers.training.batch import route_batch  # noqa: PLC0415

    if out.is_dir():
        raise DataError(f"{out}: is a folder, give a file name")
    router = load_artifact(artifact)
    _progress(f"routing {data.name} with {artifact} (version {router.version})")
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


def _progress(line: str) -> None:
    click.echo(line, err=True)


COMMANDS: Mapping[str, click.Command] = {
    "fit": fit_command,
    "route-batch": route_batch_command,
}
"""The commands of this module by their name; the console script collects them."""
