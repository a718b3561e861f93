"""`steelyard watch`: whether models are still those that they were, and what to do about it."""

import json
from collections.abc import Callable
from typing import Any

import click

from app.commands.admin_client import ask_admin, token_option, url_option

_PATH = "/admin/watch"
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_Command = Callable[..., Any]


@click.group()
def watch() -> None:
    """Tell which models have changed, and clear, pin, freeze, relearn or check them."""


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
