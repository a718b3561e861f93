"""`steelyard fit`: outcomes → artifact."""

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from routers.artifact.evidence import abstention_note
from routers.artifact.files import check_free
from routers.commands.base import FILE, SEED, files, overwrite, progress
from routers.data.support import Support
from routers.files import shown
from routers.training.recipe import EmbedderRecipe, Recipe, find_recipe

_THIN = 200
"""Fewer queries are called few: the standard error of a mean is .035 then."""

_ROUGH, _NAMED = 0.1, 3
"""Relative error of derived prices from which on it is told, and of how many models by name."""


@click.command("fit")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes: .parquet or .csv (q:MODEL columns), or .jsonl, one a line.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@click.option(
    "--aux",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes of other models that inform what is shared: domains, a hidden layer.",
)
@click.option(
    "--answers",
    metavar="FILE[,FILE…]",
    callback=files,
    help="What the models answered, for recipes with a workflow; else the answers in --data.",
)
@click.option(
    "--recipe",
    type=FILE,
    help="What to train: a YAML file, or the name of one of configs/training.",
)
@click.option("--strategy", help="Kind of router, instead of a recipe.")
@click.option("--embedder", help="Kind of embedder, instead of a recipe.")
@click.option(
    "--prices",
    type=FILE,
    help="USD per million tokens (JSON or YAML) of models whose costs the data does not tell.",
)
@click.option(
    "--descriptions",
    type=FILE,
    help="What is written of each model (JSON, YAML or a catalogue), for graph, mirt and nirt.",
)
@click.option("--seed", type=SEED, help="Overrides the recipe's seed.")
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    *,
    data: list[Path],
    out: Path,
    aux: list[Path],
    answers: list[Path],
    recipe: Path | None,
    strategy: str | None,
    embedder: str | None,
    prices: Path | None,
    descriptions: Path | None,
    seed: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a router from outcomes and write its artifact."""
    from routers.training.fit import fit  # noqa: PLC0415  (help should not load the trainer)

    if recipe is not None and (strategy is not None or embedder is not None):
        raise click.UsageError("give either --recipe or --strategy and --embedder")
    check_free(out, overwrite=overwrite)
    given: dict[str, Any] = {}
    if strategy is not None:
        given["strategy"] = strategy
    if embedder is not None:
        given["embedder"] = EmbedderRecipe(kind=embedder)
    chosen = find_recipe(recipe) if recipe is not None else Recipe(**given)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    with warnings.catch_warnings(record=True) as caught:
        report = fit(
            data,
            out,
            recipe=chosen,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            steelyard_version=metadata.version("steelyard"),
            prices_file=prices,
            descriptions_file=descriptions,
            auxiliary=aux,
            answers=answers,
            progress=progress,
        )
    for line in dict.fromkeys(str(each.message).split("\n")[0] for each in caught):
        progress(f"warning: {line.rstrip(':')}")
    manifest = report.manifest
    summary = {
        "artifact": str(report.path),
        "version": report.version,
        "strategy": manifest["strategy"]["kind"],
        "models": manifest["models"],
        "training": manifest["training"],
        "metrics": manifest["metrics"],
        "doubts": list(report.doubts),
    }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print_fit(report.path, report.version, manifest, report.doubts)


def _print_fit(path: Path, version: str, manifest: Mapping[str, Any], odd: Sequence[str]) -> None:
    from routers.evaluation.promises import knob_lines  # noqa: PLC0415

    metrics, training = manifest["metrics"], manifest["training"]
    click.echo(f"wrote {path} (version {version})")
    click.echo(
        f"  {training['n_queries']} queries, {training['n_outcomes']} outcomes, "
        f"{len(manifest['models'])} models"
    )
    for doubt in (*odd, *_doubts(training)):
        click.echo(f"  WARNING: {doubt}")
    support = Support(
        **{field.name: metrics["support"][field.name] for field in dataclasses.fields(Support)}
    )
    if support.warning is not None:
        click.echo(f"  WARNING: {support.warning}")
    if not support.comparable:
        told = ", ".join(
            f"{shown(model)} {each['quality']:.3f} (n={each['n']})"
            for model, each in metrics["single_models"].items()
        )
        click.echo(f"  mean quality of each model on the prompts that it answered: {told}")
        click.echo(f"  held out: calibration error {metrics['quality_calibration_error']:.3f}")
        return
    oracle = metrics["aiq_oracle"]
    click.echo(
        f"  held out: AIQ {metrics['aiq']:.3f} (mixing single models "
        f"{metrics['aiq_zero_router']:.3f}" + (")" if oracle is None else f", oracle {oracle:.3f})")
    )
    for name, key in (("mixing", "aiq_over_zero"), ("prompt length", "aiq_over_prompt_length")):
        click.echo(f"  {_over(name, metrics[key])}")
    abstention = abstention_note(manifest)
    if abstention is not None:
        click.echo(f"  {abstention}")
    if "workflow" in metrics:
        click.echo(f"  {_several_calls(metrics['workflow'])}")
    click.echo(
        f"  best single model {shown(metrics['best_single_model'])} "
        f"{metrics['best_single_quality']:.3f}, router {metrics['best_routed_quality']:.3f}"
    )
    for line in knob_lines(metrics["knob"], metrics["knob_no_share"]):
        click.echo(f"  {line}")


def _over(name: str, area: Mapping[str, float]) -> str:
    told = (
        f"over {name}, at settings chosen on other rows: "
        f"{area['value']:+.4f} [{area['low']:+.4f}, {area['high']:+.4f}]"
    )
    if area["low"] > 0:
        return told
    if area["high"] > 0:
        return f"{told}: within noise, {name} is as good"
    return f"{told}: {name} is better"


def _several_calls(found: Mapping[str, Any]) -> str:
    area = found["aiq_over_single_choice"]
    told = (
        f"several calls over single choice at equal cost: {area['value']:+.4f} "
        f"[{area['low']:+.4f}, {area['high']:+.4f}]"
    )
    return told if found.get("ships", True) else f"{told}: single choice serves"


def _doubts(training: Mapping[str, Any]) -> list[str]:
    """Say what of the data makes every number below less certain than it looks."""
    doubts = []
    n = training["n_queries"]
    if n < _THIN:
        doubts.append(
            f"{n} queries are few: a mean quality is known to about {0.5 / math.sqrt(n):.2f}, so "
            "which model is best is itself uncertain; some hundred queries tell more"
        )
    rough = {m: e for m, e in training["price_fit_error"].items() if e > _ROUGH}
    if rough:
        worst = sorted(rough, key=lambda model: (-rough[model], model))[:_NAMED]
        told = ", ".join(f"{shown(model)} by {rough[model]:.0%}" for model in worst)
        more = f" and {len(rough) - _NAMED} more" if len(rough) > _NAMED else ""
        doubts.append(
            f"prices per token miss the recorded costs of {told}{more} (root mean square): their "
            "costs do not follow from tokens, and neither do the predicted ones"
        )
    return doubts
