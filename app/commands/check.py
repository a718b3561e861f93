"""`steelyard check-config`: what would stop `serve`, or fail at the first request."""

import datetime as dt
from pathlib import Path

import click


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--config", type=click.Path(path_type=Path), help="FILE, as other commands have it.")
@click.option(
    "--no-env",
    is_flag=True,
    help="Leave out what depends on the machine: environment variables, folders, extras.",
)
@click.option("--strict", is_flag=True, help="Exit 2 for what may be a mistake, too.")
def check_config(file: Path | None, *, config: Path | None, no_env: bool, strict: bool) -> None:
    """Check a configuration file and everything it names, and say what it amounts to.

    What `serve` would refuse is one line and exit 2. What may be a mistake is listed.
    """
    file = file or config
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    from app.check.doubts import doubts  # noqa: PLC0415
    from app.check.servable import check_servable  # noqa: PLC0415
    from app.check.summary import count, summary  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415
    from app.errors import ConfigError  # noqa: PLC0415

    loaded = load_config(file, env={} if no_env else None, secrets_needed=False)
    prepared = check_servable(loaded, here=not no_env)
    today = dt.datetime.now(dt.UTC).date()
    found = doubts(loaded, prepared, here=not no_env, today=today)
    if found and strict:
        raise ConfigError("; ".join(found))
    gateway = loaded.gateway
    counts = [
        count(len(gateway.upstreams), "upstream"),
        count(len(gateway.models), "model"),
        count(len(gateway.policies), "policy"),
    ]
    click.echo(f"{file} is fine: {', '.join(counts)}")
    for line in summary(loaded, prepared, here=not no_env, today=today):
        click.echo(line)
    for each in found:
        click.echo(f"warning: {each}", err=True)
