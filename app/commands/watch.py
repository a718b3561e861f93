"""`steelyard watch`: whether models are still those that they were, and what to do about it."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from app.commands.admin_client import ask_admin, token_option, url_option
from app.commands.config_option import DEFAULT_FILE
from app.commands.log_options import log_options
from app.commands.moment_option import moment

_PATH = "/admin/watch"
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_Command = Callable[..., Any]


@click.group()
def watch() -> None:
    """Tell which models have changed, now or in a log; clear, pin, freeze, relearn, check them."""


def _orders(command: _Command) -> _Command:
    """Give a command the model that it is about, and the gateway."""
    for option in (
        _JSON,
        token_option,
        url_option,
        click.option("--upstream-model", help="By what name it is served there."),
        click.option("--upstream", help="Only there; default: wherever it is served."),
        click.argument("model"),
    ):
        command = option(command)
    return command


@watch.command("list")
@click.argument("model", required=False)
@url_option
@token_option
@_JSON
def list_(model: str | None, *, url: str, token: str | None, as_json: bool) -> None:
    """Show every model at every place, or MODEL alone with all that is known of it.

    Evidence stands before what a warning takes; of a demotion it has to be a hundred times as
    strong, times apart.
    """
    from app.errors import GatewayError  # noqa: PLC0415

    told = ask_admin(url, _PATH, token=token)
    known = sorted({each["model"] for each in told["data"]})
    if model is not None:
        told["data"] = [each for each in told["data"] if each["model"] == model]
        if not told["data"]:
            names = ", ".join(known) or "none, the watch is off"
            raise GatewayError(f"nothing is watched under the name {model!r}; known: {names}")
    _show(told, as_json=as_json, whole=model is not None)


@watch.command()
@_orders
def clear(**options: Any) -> None:
    """Trust MODEL again, and take back what held it."""
    _order("clear", **options)


@watch.command()
@_orders
@click.argument("level", type=click.Choice(["ok", "warning", "demoted", "returning"]))
def pin(*, level: str, **options: Any) -> None:
    """Hold MODEL at LEVEL whatever its answers say."""
    _order("pin", extra={"level": level}, **options)


@watch.command()
@_orders
def freeze(**options: Any) -> None:
    """Learn nothing more of MODEL: its reference stays as it is."""
    _order("freeze", **options)


@watch.command()
@_orders
def relearn(**options: Any) -> None:
    """Forget MODEL, and learn it as it is now."""
    _order("relearn", **options)


@watch.command()
@_orders
@click.option("-n", type=click.IntRange(1, 200), default=1, show_default=True, help="How many.")
def check(*, n: int, **options: Any) -> None:
    """Ask MODEL canaries now, as far as their budget goes."""
    _order("check", extra={"n": n}, **options)


@watch.command()
@click.option("--since", callback=moment, metavar="30d", help="A date (UTC) or an age.")
@click.option("--until", callback=moment, metavar="2026-11-22", help="Likewise; excluded.")
@log_options(also=", its `watch` says how to look")
@click.option(
    "--texts",
    is_flag=True,
    help="Tell refusals by kept answers; those that are not kept say nothing of them.",
)
@_JSON
def replay(
    *,
    since: float | None,
    until: float | None,
    file: Path | None,
    folder: Path | None,
    texts: bool,
    as_json: bool,
) -> None:
    """Look at a decision log as the watch would have: which model changed, and when.

    It only reads, beside a running gateway or without one; nothing has to be watched there. Models
    are warned of and trusted again, never demoted. Canaries count as far as rows tell how they did,
    which those of earlier releases do not. Nor do they tell what clients wanted at most: answers
    cut at a limit say nothing of lengths.
    """
    from app.assembly.provider_watch import configured_rule  # noqa: PLC0415
    from app.commands.open_log import open_log  # noqa: PLC0415
    from app.commands.watch_replay import Replay  # noqa: PLC0415
    from app.commands.watch_view import print_replayed, replayed_as_json  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415
    from routers.errors import DataError  # noqa: PLC0415
    from routers.watch.watched import Rule  # noqa: PLC0415

    config = None
    if folder is None or file is not None:
        config = load_config(file or DEFAULT_FILE, secrets_needed=False)
    rule = Rule() if config is None else configured_rule(config)
    log = open_log(config, folder, since=since or 0.0, until=until or float("inf"))
    found = Replay(rule=replace(rule, demotes=False), texts=log.contents.get if texts else None)
    try:
        found.take(log.outcomes)
    except sqlite3.Error as error:
        raise DataError(f"the decision log cannot be read: {error}") from error
    finally:
        log.contents.close()
    if not found.known:
        raise DataError("the log has no answers of that time that were read to their end")
    if as_json:
        click.echo(json.dumps(replayed_as_json(found)))
    else:
        print_replayed(found)


def _order(
    action: str,
    *,
    model: str,
    upstream: str | None,
    upstream_model: str | None,
    url: str,
    token: str | None,
    as_json: bool,
    extra: dict[str, Any] | None = None,
) -> None:
    order = {"action": action, "model": model, **(extra or {})}
    order |= {"upstream": upstream, "upstream_model": upstream_model}
    _show(ask_admin(url, _PATH, token=token, body=order), as_json=as_json, whole=True)


def _show(told: dict[str, Any], *, as_json: bool, whole: bool) -> None:
    """Print what is known; where it is not `whole`, details of what has changed alone."""
    if as_json:
        click.echo(json.dumps(told))
        return
    from app.commands.watch_view import print_watched  # noqa: PLC0415

    print_watched(told, whole=whole)
