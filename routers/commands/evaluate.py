"""`steelyard evaluate`: artifacts and baselines side by side on held-out outcomes."""

import json
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from routers.commands.base import (
    FILE,
    FiniteRange,
    draws_option,
    encoder,
    files,
    progress,
    seed_option,
    todays_prices,
)

if TYPE_CHECKING:
    from routers.evaluation.replay import Arena
    from routers.wishes import Goal

_FILES_ONLY = {
    "oracle gap",
    "arena",
    "APGR [95%]",
    "recall",
    "match cost [95%]",
    "CPT50",
    "CPT80",
    "Brier",
    "tokens ≤ p90",
}
"""Columns that a terminal has no room for."""


_OF_THE_SUITE = {
    "gateway": "--gateway",
    "policy": "--policy",
    "key": "--key",
    "models": "--models",
    "safe": "--safety-tier",
    "private": "--private-models",
}


_CATALOGUE = Path("configs/models.yaml")


def _swept(_: click.Context, __: click.Parameter, value: str | None) -> "Goal | None":
    """Read what is swept."""
    if value is None:
        return None
    from routers.wishes import Goal  # noqa: PLC0415  (help should be quick)

    kind, _colon, name = value.partition(":")
    if kind != "flag" or name not in tuple(Goal):
        known = ", ".join(f"flag:{goal}" for goal in Goal)
        demand = "security is met or not and has no weight; " if name == "security" else ""
        raise click.BadParameter(f"{value!r}: {demand}known: {known}")
    return Goal(name)


def _renamed(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, str]:
    """Read `NAME=MODEL,…`; the last equals sign counts, as names of models may hold others."""
    pairs = [] if value is None else [each.rpartition("=") for each in value.split(",")]
    names = {name.strip(): model.strip() for name, _, model in pairs}
    if not all(names) or not all(names.values()) or len(names) < len(pairs):
        raise click.BadParameter(f"{value!r} is not NAME=MODEL[,NAME=MODEL…], every name once")
    return names


@click.command("evaluate")
@click.option(
    "--artifact",
    "artifacts",
    metavar="DIR[,DIR…]",
    callback=files,
    help="Folders that `fit` wrote.",
)
@click.option(
    "--suite",
    type=click.Choice(["quality", "robustness"]),
    default="quality",
    show_default=True,
    help="What is measured; robustness needs no --data, and exits with 1 where a check fails.",
)
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes that no artifact was trained on: .parquet, .csv or .jsonl.",
)
@click.option(
    "--train",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Outcomes of the training: for kNN(k=100), prompt length and the best single model.",
)
@click.option(
    "--sweep",
    metavar="flag:GOAL",
    callback=_swept,
    help="Instead of costs, weigh a goal more and more: flag:size, recency, licence, verbosity or "
    "readability.",
)
@click.option(
    "--catalogue",
    type=FILE,
    help=f"Sweep: says what is known of models; {_CATALOGUE} where that is there.",
)
@click.option(
    "--cost-quality",
    type=FiniteRange(0, 1),
    default=1.0,
    show_default=True,
    help="Sweep: position of the knob; at 1 costs count nothing.",
)
@click.option(
    "--predicted-as",
    "served_as",
    metavar="NAME=MODEL[,…]",
    callback=_renamed,
    help="Take these models of --data for models of the artifacts: another pair, untrained.",
)
@click.option("--gateway", metavar="URL", help="Robustness: ask a running gateway.")
@click.option("--policy", metavar="NAME", help="Robustness: its model name.  [default: auto]")
@click.option("--key", envvar="STEELYARD_KEY", help="Robustness: its key, or $STEELYARD_KEY.")
@click.option("--models", metavar="M[,M…]", help="Robustness: look at these models only.")
@click.option(
    "--safety-tier",
    "safe",
    metavar="M[,M…]",
    help="Robustness: the only models for harmful requests and jailbreaks.",
)
@click.option(
    "--private-models",
    "private",
    metavar="M[,M…]",
    help="Robustness: the only models for personal data.",
)
@todays_prices
@click.option("--out", type=FILE, help="Folder for the report as JSON, Markdown and HTML.")
@seed_option
@draws_option
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@click.pass_context
def command(
    context: click.Context,
    *,
    artifacts: list[Path],
    suite: str,
    data: list[Path],
    sweep: "Goal | None",
    catalogue: Path | None,
    cost_quality: float,
    served_as: dict[str, str],
    gateway: str | None,
    policy: str | None,
    key: str | None,
    models: str | None,
    safe: str | None,
    private: str | None,
    train: list[Path],
    prices: Path | None,
    out: Path | None,
    seed: int,
    draws: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure artifacts and baselines on held-out outcomes, or whether they can be fooled."""
    if suite == "robustness":
        if data or train or served_as:
            raise click.UsageError(
                "--suite robustness asks requests of its own: leave --predicted-as out, and --data "
                "and --train to `steelyard gate --suite robustness`, which looks at training too"
            )
        _robustness(
            artifacts,
            out=out,
            as_json=as_json,
            gateway=gateway,
            policy=policy or "auto",
            key=key,
            prices=prices,
            models=_names(models),
            safe=_names(safe),
            private=_names(private),
            seed=seed,
            trusted=encoders,
        )
        return
    _check(context, artifacts, data, sweep=sweep)
    from routers.evaluation.replay import evaluate, prepare  # noqa: PLC0415
    from routers.evaluation.report import write_report  # noqa: PLC0415

    arena = prepare(
        artifacts,
        data,
        train=train,
        prices_file=prices,
        n_draws=draws,
        seed=seed,
        trusted=encoders,
        served_as=served_as,
        progress=progress,
    )
    if sweep is not None:
        _sweep(arena, sweep, catalogue, cost_quality=cost_quality, out=out, as_json=as_json)
        return
    report = {
        "steelyard_version": metadata.version("steelyard"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **evaluate(arena, progress=progress),
    }
    written = [] if out is None else write_report(report, out)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        _print(report)
    for path in written:
        progress(f"wrote {path}")


def _check(
    context: click.Context, artifacts: list[Path], data: list[Path], *, sweep: "Goal | None"
) -> None:
    """Refuse options of the suite, those of a sweep without one, and missing ones."""
    others = dict.fromkeys(("catalogue", "cost_quality"), "--sweep flag:GOAL")
    owners = dict.fromkeys(_OF_THE_SUITE, "--suite robustness")
    for name, owner in (owners if sweep is not None else owners | others).items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = _OF_THE_SUITE.get(name, f"--{name.replace('_', '-')}")
            raise click.UsageError(f"{option} goes with {owner}")
    if not artifacts:
        raise click.UsageError("Missing option '--artifact'.")
    if not data:
        raise click.UsageError("Missing option '--data'.")


def _sweep(
    arena: "Arena",
    goal: "Goal",
    catalogue: Path | None,
    *,
    cost_quality: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Tell what a goal costs in quality."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from routers.data.facts import read_traits  # noqa: PLC0415
    from routers.evaluation import goal_report  # noqa: PLC0415
    from routers.evaluation.goal_sweep import sweep_goal  # noqa: PLC0415

    if catalogue is None and _CATALOGUE.is_file():
        catalogue = _CATALOGUE
    models = arena.frame.rows.models
    traits = {} if catalogue is None else read_traits(catalogue, models)
    report = {
        "steelyard_version": metadata.version("steelyard"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **sweep_goal(arena, goal, traits, cost_quality=cost_quality),
    }
    written = [] if out is None else goal_report.write_report(report, out)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        console = Console()
        if not console.is_terminal:  # there is no width to respect
            console = Console(width=170)
        table = Table(title=Text(goal_report.title(report)), title_justify="left")
        for name in goal_report.COLUMNS:
            table.add_column(report["fact"] if name == "fact" else name)
        for row in goal_report.rows(report):
            table.add_row(*map(Text, row))
        console.print(table)
        for line in (*goal_report.summary(report), *report["notes"]):
            console.print(Text(" ".join(line.split())))
    for path in written:
        progress(f"wrote {path}")


def _names(listed: str | None) -> tuple[str, ...]:
    names = [] if listed is None else [name.strip() for name in listed.split(",")]
    if not all(names):
        raise click.UsageError(f"{listed!r} has an empty model name")
    return tuple(names)


def _robustness(artifacts: list[Path], *, out: Path | None, as_json: bool, **options: Any) -> None:
    from routers.commands._robustness import examined, tell  # noqa: PLC0415
    from routers.robustness.report import write_report  # noqa: PLC0415

    report = examined(artifacts, **options)
    written = [] if out is None else write_report(report, out)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        for router in report["routers"]:
            tell(router)
    for path in written:
        progress(f"wrote {path}")
    if not report["passed"]:
        raise SystemExit(1)


def _print(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from routers.evaluation.report import COLUMNS, cells, tables  # noqa: PLC0415
    from routers.files import shown  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:  # there is no width to respect
        console = Console(width=170)
    best = report["best_single"]
    table = Table(
        title=f"{report['n_queries']} queries, {len(report['models'])} models; best single model "
        f"{escape(shown(best['model']))}: quality {best['quality']:.3f}, "
        f"${best['usd_per_1000']:.4g} per 1000 (chosen on {best['chosen_on']})",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    told = [i for i, (name, _) in enumerate(COLUMNS) if name not in _FILES_ONLY]
    for i in told:
        table.add_column(COLUMNS[i][0], justify="right" if i else "left", no_wrap=True)
    style = {"artifact": "bold", "baseline": None, "bound": "dim"}
    for router in report["routers"]:
        name, *numbers = cells(router)
        row = [shown(name), *numbers]
        table.add_row(*(Text(row[i]) for i in told), style=style[router["kind"]])
    console.print(table)
    for title, (head, body) in tables(report).items():
        further = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD)
        for i, name in enumerate(head):
            further.add_column(escape(shown(name)), justify="right" if i else "left")
        for cells_ in body:
            further.add_row(*(Text(shown(cell)) for cell in cells_))
        console.print(further)
    for note in report["notes"]:
        console.print(Text(" ".join(note.split()), style="dim"))
