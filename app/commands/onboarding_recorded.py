"""`steelyard onboard --description … --edges …`: a model joins by what is known of it already."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from app.assembly import DEFAULT_ARTIFACT
from app.config import load_config
from app.errors import ConfigError
from routers.artifact.files import check_free
from routers.artifact.load import load_artifact
from routers.data.dataset import read_outcomes
from routers.training.onboarding.recorded import onboard_recorded as place


def onboard_recorded(
    model_id: str,
    *,
    file: Path,
    artifact_path: Path | None,
    out: Path,
    name: str | None,
    description: str | None,
    edges_file: Path | None,
    encoders: Sequence[str] = (),
    overwrite: bool = False,
    as_json: bool,
) -> None:
    """Read what there is, place the model and write the artifact; nobody is asked.

    Raises
    ------
    GatewayError
        If the configuration is wrong.
    RoutingError
        If the artifact, the description or the outcomes cannot be used.
    """
    config = load_config(file, secrets_needed=False)
    if model_id not in config.specs:
        known = ", ".join(config.specs)
        raise ConfigError(f"{config.path}: no model {model_id!r}; it has: {known}")
    spec = config.specs[model_id]
    if not overwrite:
        check_free(out)
    artifact = load_artifact(artifact_path or DEFAULT_ARTIFACT, trusted=encoders)
    report = place(
        artifact,
        name or spec.predicted_as,
        description=description,
        edges=None if edges_file is None else read_outcomes([edges_file]),
        prices=spec.prices,
        out=out,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trusted=encoders,
    )
    if as_json:
        summary = {**asdict(report), "path": str(report.path)}
        click.echo(msgspec.json.encode(summary).decode())
        return
    by = "the router's own rule" if report.rule == "router" else "what its outcomes tell"
    click.echo(f"wrote {report.path} (version {report.version})")
    click.echo(
        f"  {report.model}: quality {report.quality:.3f} expected on the traffic that the router "
        f"was calibrated on, by {by} and {report.n_edges} outcomes"
    )
    for peer, quality in sorted(report.peers.items(), key=lambda each: -each[1]):
        click.echo(f"  {'▶' if peer == report.model else ' '} {quality:.3f}  {peer}")
