"""`steelyard spend`: who spent how much on what, from the decision log."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.commands.config_option import config_option
from app.commands.moment_option import moment
from app.spend.moments import month_begin

if TYPE_CHECKING:
    from app.config import LoadedConfig
    from app.spend.question import Dimension, SpendSource

_MOST_GROUPS = 1_000_000


def _by(_: click.Context, __: click.Parameter, value: str) -> "tuple[Dimension, ...]":
    from app.spend.question import parse_dimensions  # noqa: PLC0415

    try:
        return parse_dimensions(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--by",
    callback=_by,
    default="",
    metavar="key,model",
    help="What to tell apart: key, team, model, base_model (variants as their model), upstream, "
    "policy, session, agent, role, hour, day, month.",
)
@click.option("--since", callback=moment, metavar="30d", help="A date (UTC) or an age.")
@click.option("--until", callback=moment, metavar="2026-11-22", help="Likewise; excluded.")
@click.option("--key", help="Of this key only; its id.")
@click.option("--team", help="Of this team only.")
@click.option("--model", help="Of this model only.")
@click.option("--upstream", help="Of this upstream only.")
@click.option("--policy", help="Of this policy only.")
@click.option("--session", help="Of this session of a coding agent only, as --by session tells it.")
@click.option("--agent", help="Of this one of its agents only, as --by agent tells it.")
@click.option("--role", help="Of this role only: answer, draft, judge, guard, hedge or shadow.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@config_option("Configuration file of the gateway; says where the log is.")
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read what `steelyard collect` wrote there instead.",
)
def spend(
    *,
    by: "tuple[Dimension, ...]",
    since: float | None,
    until: float | None,
    form: str,
    file: Path,
    folder: Path | None,
    **only: str | None,
) -> None:
    """Add up requests, tokens and dollars from the decision log, since this month's beginning.

    It only reads, beside a running gateway or without one. Times are UTC.
    """
    from app.config import load_config  # noqa: PLC0415
    from app.errors import ConfigError  # noqa: PLC0415
    from app.spend.question import Dimension, Question, SourceError  # noqa: PLC0415
    from app.spend.report import Report  # noqa: PLC0415

    config = load_config(file, secrets_needed=False)
    now = time.time()
    question = Question(
        since=month_begin(now) if since is None else since,
        until=now if until is None else until,
        by=by,
        only={Dimension(name): value for name, value in only.items() if value is not None},
        most_groups=_MOST_GROUPS,
    )
    if question.since >= question.until:
        raise click.UsageError("--since is not before --until")
    source = _source(config, folder)
    try:
        found = source.read(question, deadline=float("inf"))
    except SourceError as error:
        raise ConfigError(str(error)) from error
    names = _key_names(config) if Dimension.KEY in by else {}
    report = Report.of(question, found, key_names=names, source=source.name, covers=source.covers)
    if source.covers is not None:
        click.echo(f"note: this is {source.covers}", err=True)
    match form:
        case "json":
            click.echo(report.json(object="spend"))
        case "csv":
            click.echo(report.csv(), nl=False)
        case _:
            for line in report.lines():
                click.echo(line)


def _source(config: "LoadedConfig", folder: Path | None) -> "SpendSource":
    from app.errors import ConfigError  # noqa: PLC0415
    from app.spend.source import NO_LOG, spend_source  # noqa: PLC0415

    if folder is not None:
        from app.spend.parquet import ParquetSpend  # noqa: PLC0415

        return ParquetSpend(folder)
    source = spend_source(config)
    if source is None:
        raise ConfigError(f"{config.path}: {NO_LOG}")
    return source


def _key_names(config: "LoadedConfig") -> Mapping[str, str]:
    """Return the name of every key by its id; nothing where the store cannot be asked."""
    from app.assembly import build_store  # noqa: PLC0415
    from app.errors import ConfigError  # noqa: PLC0415
    from app.stores.base import StoreError  # noqa: PLC0415

    async def names() -> dict[str, str]:
        lifecycle = build_store(config)
        await lifecycle.open()
        try:
            return {each.key_id: each.name for each in await lifecycle.store.keys.all()}
        finally:
            await lifecycle.aclose()

    try:
        return asyncio.run(names())
    except (ConfigError, StoreError) as error:
        click.echo(f"note: the names of keys are not known: {error}", err=True)
        return {}
