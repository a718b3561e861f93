"""`steelyard onboard`: ask a new model some anchors, teach a trained router what it is worth."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.assembly import DEFAULT_ARTIFACT, build_deployments, providers_of
from app.commands.anchor_calls import AnchorClient
from app.config import LoadedConfig, load_config
from app.errors import ConfigError
from routers.artifact.artifact import RouterArtifact
from routers.artifact.files import check_free
from routers.artifact.load import load_artifact
from routers.models import ModelSpec
from routers.training.onboarding.anchors import SHIPPED_ANCHORS, read_anchors
from routers.training.onboarding.run import (
    Answer,
    Interval,
    OnboardReport,
    Plan,
    ingest,
    make_plan,
)


def onboard(
    model_id: str,
    *,
    file: Path,
    artifact_path: Path | None,
    out: Path,
    anchors_file: Path | None,
    n_anchors: int,
    name: str | None,
    max_cost_usd: float | None,
    max_output_tokens: int,
    limit_field: str,
    concurrency: int,
    peers: Sequence[str] = (),
    yes: bool,
    as_json: bool,
    encoders: Sequence[str] = (),
    overwrite: bool = False,
    console: Console | None = None,
) -> None:
    """Ask, estimate and write the artifact.

    Raises
    ------
    GatewayError
        If the configuration is wrong, or the upstream answers nothing.
    RoutingError
        If the artifact or the anchors cannot be used, or too few were answered.
    ClickException
        If the cost was not agreed to.
    """
    config = load_config(file, secrets_needed=False)
    spec = _spec(config, model_id)
    model = name or spec.predicted_as
    if not overwrite:
        check_free(out)
    artifact = load_artifact(artifact_path or DEFAULT_ARTIFACT, trusted=encoders)
    artifact.check_onboarding(model)
    plan = make_plan(artifact, read_anchors(anchors_file or SHIPPED_ANCHORS), n=n_anchors)
    peer_specs = [_peer(config, peer, artifact) for peer in peers]
    _agree(
        plan,
        [spec, *peer_specs],
        max_cost_usd=max_cost_usd,
        max_output_tokens=max_output_tokens,
        yes=yes,
    )
    fields = {limit_field: str(max_output_tokens).encode()}
    clients = [
        AnchorClient(each, fields=fields, concurrency=concurrency, tell=_tell)
        for each in (spec, *peer_specs)
    ]
    answers, *others = asyncio.run(_ask(config, clients, plan))
    for peer, given in zip(peer_specs, others, strict=True):
        plan = plan.with_peer(peer.predicted_as, given)
    spent = [client.spent_usd for client in clients]
    spent_usd = None if None in spent else sum(each or 0.0 for each in spent)
    report = ingest(
        plan,
        answers,
        artifact=artifact,
        model=model,
        prices=spec.prices,
        out=out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trusted=encoders,
    )
    if as_json:
        summary = {**asdict(report), "path": str(report.path), "cost_usd": spent_usd}
        summary["unanswered"] = sum(answer is None for answer in answers)
        click.echo(msgspec.json.encode(summary).decode())
    else:
        _print(report, spent_usd, console or Console(highlight=False))


def _spec(config: LoadedConfig, model_id: str) -> ModelSpec:
    if model_id not in config.specs:
        known = ", ".join(config.specs)
        raise ConfigError(f"{config.path}: no model {model_id!r}; it has: {known}")
    upstream = config.gateway.models[model_id].places[0].upstream
    variable = config.gateway.upstreams[upstream].api_key_env
    if variable is not None and upstream not in config.secrets:
        raise ConfigError(
            f"{config.path}: upstreams.{upstream} takes its key from {variable}, which is not set"
        )
    return config.specs[model_id]


def _peer(config: LoadedConfig, model_id: str, artifact: RouterArtifact) -> ModelSpec:
    """Return a model that the router was trained on and that can be asked, too."""
    spec = _spec(config, model_id)
    if spec.predicted_as not in artifact.router.models_:
        raise ConfigError(
            f"{config.path}: {model_id} is predicted as {spec.predicted_as!r}, which the router "
            "was not trained on; --peer takes models that it was"
        )
    return spec


def _agree(
    plan: Plan,
    specs: Sequence[ModelSpec],
    *,
    max_cost_usd: float | None,
    max_output_tokens: int,
    yes: bool,
) -> None:
    """Tell the cost, and go on only where it was agreed to."""
    expected = most = 0.0
    unknown = []
    for spec in specs:
        about, limit = plan.cost_usd(spec.prices, max_output_tokens=max_output_tokens)
        if about is None or limit is None:
            unknown.append(spec.model_id)
            _tell(f"{len(plan)} calls to {spec.model_id} at an unknown price")
            continue
        _tell(
            f"{len(plan)} calls to {spec.model_id}: about {about:.4f} USD, at most {limit:.4f} USD"
        )
        expected, most = expected + about, most + limit
    if max_cost_usd is not None and unknown:
        raise click.UsageError(
            f"the price of {', '.join(unknown)} is unknown, so --max-cost cannot be kept; "
            "enter it in the catalogue"
        )
    if max_cost_usd is not None and most > max_cost_usd:
        raise click.UsageError(
            f"it may cost {most:.4f} USD, more than --max-cost {max_cost_usd:g}; lower "
            "--n-anchors or --max-output-tokens"
        )
    if len(specs) > 1:
        _tell(f"together: about {expected:.4f} USD, at most {most:.4f} USD")
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to agree to the cost; give --yes")
    click.confirm("Go on?", abort=True, err=True)


async def _ask(
    config: LoadedConfig, clients: Sequence[AnchorClient], plan: Plan
) -> list[list[Answer | None]]:
    deployments = build_deployments(config)
    try:
        return [
            await client.all(deployments[client.spec.model_id][0], plan.anchors)
            for client in clients
        ]
    finally:
        for provider in providers_of(deployments):
            await provider.aclose()


def _print(report: OnboardReport, spent_usd: float | None, console: Console) -> None:
    console.print(f"wrote {escape(str(report.path))} (version {report.version})")
    console.print(
        f"  [bold]{escape(report.model)}[/]: quality {_told(report.quality)} expected on the "
        "traffic that the router was calibrated on"
    )
    console.print(
        f"  anchors: {_told(report.anchor_quality)} over {report.anchor_quality.n}; "
        f"{report.median_output_tokens:.0f} output tokens, {report.median_duration_s:.2f} s "
        f"(90 %: {report.p90_duration_s:.2f} s); cost "
        + ("unknown" if spent_usd is None else f"{spent_usd:.4f} USD")
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("anchors", "n", "quality", "95 %"):
        table.add_column(heading, justify="left" if heading == "anchors" else "right")
    for kind, found in report.by_kind.items():
        row = (f"{found.mean:.2f}", f"{found.low:.2f} - {found.high:.2f}")
        table.add_row(escape(kind), str(found.n), *row)
    console.print(table)
    peers: list[tuple[str, Any]] = sorted(report.peers.items(), key=lambda each: -each[1])
    for model, quality in peers:
        mark = "▶" if model == report.model else " "
        console.print(f"  {mark} {quality:.3f}  {escape(model)}")


def _told(found: Interval) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _tell(line: str) -> None:
    click.echo(line, err=True)
