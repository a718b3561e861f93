"""`steelyard replay`: what a policy, of one call or of several, would have been worth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from routers.commands.base import (
    FILE,
    draws_option,
    encoder,
    files,
    knob_positions,
    not_over,
    progress,
    seed_option,
    todays_prices,
)

if TYPE_CHECKING:
    from routers.evaluation.policy import Policy

_ALL = ",".join(f"{0.05 * step:.2f}".rstrip("0").rstrip(".") for step in range(21))


@click.command()
@click.option("--artifact", type=FILE, help="Folder that `fit` wrote.")
@click.option(
    "--policy",
    "policy_file",
    type=FILE,
    help="In its place: a gateway's configuration, or a file with `workflow` and `candidates`.",
)
@click.option("--name", help="Which policy of a configuration, where several have a workflow.")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes that nothing was fitted on: .parquet, .csv or .jsonl.",
)
@click.option(
    "--answers",
    metavar="FILE[,FILE…]",
    callback=files,
    help="What the models answered, joined by query_id; without it the answers in --data.",
)
@click.option(
    "--cost-quality",
    metavar="T[,T…]",
    callback=knob_positions,
    default=_ALL,
    help="Knob positions from 0 (cheapest) to 1 (best).  [default: 0,0.05,…,1]",
)
@click.option(
    "--out", type=FILE, help="Parquet file for what was called and served, query by query."
)
@todays_prices
@seed_option
@draws_option
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def replay(
    *,
    artifact: Path | None,
    policy_file: Path | None,
    name: str | None,
    data: list[Path],
    answers: list[Path],
    cost_quality: list[float],
    out: Path | None,
    prices: Path | None,
    seed: int,
    draws: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Replay a policy on recorded answers: quality, cost, calls and latency, and all at equal cost.

    Nothing is called. What decides sees the answers that it asks for, never how good they were.
    """
    from routers.errors import DataError  # noqa: PLC0415
    from routers.evaluation.policy import replay as run  # noqa: PLC0415
    from routers.evaluation.policy_report import report, write_decisions  # noqa: PLC0415

    if (artifact is None) == (policy_file is None):
        raise click.UsageError("give either --artifact or --policy")
    if name is not None and policy_file is None:
        raise click.UsageError("--name is about the policies of a configuration; give --policy")
    if out is not None and out.is_dir():
        raise DataError(f"{out}: is a folder, give a file name")
    not_over(out, *data, *answers)
    policy = _policy(artifact, policy_file, name, encoders)
    replayed = run(
        policy,
        data,
        answers,
        cost_quality=cost_quality,
        prices_file=prices,
        seed=seed,
        progress=progress,
    )
    n_rows = None if out is None else write_decisions(replayed, out)
    progress("measuring")
    found = report(replayed, n_draws=draws, seed=seed)
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
    else:
        _print(found)
    if out is not None:
        progress(f"wrote {out}: {n_rows} rows")


def _policy(
    artifact: Path | None, file: Path | None, name: str | None, trusted: tuple[str, ...]
) -> "Policy":
    from routers.artifact.load import load_artifact  # noqa: PLC0415
    from routers.evaluation.policy import Policy  # noqa: PLC0415
    from routers.evaluation.policy_file import read_content, read_policy  # noqa: PLC0415

    if file is None:
        assert artifact is not None  # noqa: S101  (one of the two is there)
        loaded = load_artifact(artifact, trusted=trusted)
        return Policy(artifact=loaded, workflow=loaded.workflow)
    content = read_content(file)
    if isinstance(content, dict) and "policies" in content:
        return _configured(file, name)
    if name is not None:
        raise click.UsageError(f"{file} holds one policy; --name is about a configuration")
    return read_policy(file, content, trusted=trusted)


def _configured(file: Path, name: str | None) -> "Policy":
    """Return a policy of a gateway's configuration, with what the gateway decides by."""
    from app.assembly.artifacts import load_artifacts  # noqa: PLC0415
    from app.assembly.policies import build_policies  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415
    from routers.evaluation.policy import Policy  # noqa: PLC0415
    from routers.evaluation.scene import Ceilings  # noqa: PLC0415

    config = load_config(file, secrets_needed=False)
    policies = build_policies(config, load_artifacts(config))
    several = [each for each, policy in policies.items() if policy.workflow is not None]
    if name is None and len(several) != 1:
        told = ", ".join(several) or "none"
        raise click.UsageError(f"{file}: say by --name which policy; with a workflow: {told}")
    chosen = policies.get(name or several[0])
    if chosen is None:
        raise click.UsageError(f"{file}: has no policy {name!r}; known: {', '.join(policies)}")
    rule = chosen.workflow
    ceilings = Ceilings()
    if rule is not None:
        ceilings = Ceilings(
            calls=rule.max_calls, cost_usd=rule.max_cost_usd, time_s=rule.max_time_s
        )
    return Policy(
        artifact=chosen.artifact,
        workflow=None if rule is None else rule.workflow,
        candidates=chosen.candidates,
        recorded_as={spec.model_id: spec.predicted_as for spec in chosen.candidates},
        others={model_id: spec.prices for model_id, spec in config.specs.items()},
        default_model=chosen.default_model_id,
        ceilings=ceilings,
    )


def _print(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from routers.files import shown  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:  # there is no width to respect
        console = Console(width=170)
    best = report["best_single"]
    kind = report["workflow"]
    table = Table(
        title=f"{'single choice' if kind is None else escape(kind)} on {report['n_compared']} "
        f"queries; best single model {escape(shown(best['model']))}: quality "
        f"{best['quality']:.3f}, ${best['usd_per_1000']:.4g} per 1000",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for head in (
        "knob",
        "quality [95%]",
        "$/1000",
        "at equal cost [95%]",
        "calls",
        "latency s",
        "p95 s",
        "summed s",
        "of the gap",
    ):
        table.add_column(escape(head), justify="right", no_wrap=True)
    for each in report["positions"]:
        gap = each["share_of_gap"]
        table.add_row(
            f"{each['cost_quality']:g}",
            Text(_interval(each["quality"], "")),
            f"{each['usd_per_1000']:.4g}",
            Text(_interval(each["over_single_choice"], "+")),
            f"{each['calls']:.2f}",
            f"{each['latency_s']:.2f}",
            f"{each['latency_p95_s']:.2f}",
            f"{each['latency_sum_s']:.2f}",
            "" if gap is None else f"{gap['value']:.2f}",
        )
    console.print(table)
    over = report["aiq_over_single_choice"]
    console.print(
        Text(
            f"AIQ {report['aiq']:.4f}, of single choice {report['aiq_single_choice']:.4f}; "
            f"difference, at settings chosen on other rows: {_interval(over, '+')}"
        )
    )
    for each in report["cost_to_match"]:
        share = f"{each['share_of_best_single']:.0%} of the best single model's quality"
        console.print(
            Text(
                f"{share}, per 1000: {_usd(each['usd_per_1000'])}, single choice "
                f"{_usd(each['usd_per_1000_single_choice'])}"
            )
        )
    for note in report["notes"]:
        console.print(Text(note, style="dim"))


def _usd(value: float | None) -> str:
    return "never" if value is None else f"${value:.4g}"


def _interval(found: dict[str, float | None], sign: str) -> str:
    value, low, high = (
        "?" if found[name] is None else f"{found[name]:{sign}.4f}"
        for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"
