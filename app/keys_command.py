"""`steelyard keys`: virtual keys from the console, in the store that the gateway reads."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from app.access.issuing import IssuedKey, Issuer
    from app.access.terms import KeyTerms

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])")
_T = TypeVar("_T")


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration such as 90d, 12h, 30m or 0s")
    return float(found[1]) * _UNITS_S[found[2]]


def _budgets(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[dict[str, Any]]:
    budgets = []
    for value in values:
        usd, _slash, period = value.partition("/")
        try:
            budgets.append({"usd": float(usd), "period": period})
        except ValueError:
            raise click.BadParameter(f"{value!r} is no budget such as 20/month") from None
    return budgets


def _metadata(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    metadata = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator or name in metadata:
            raise click.BadParameter(f"{value!r} is no NAME=VALUE, or its name stands twice")
        metadata[name] = text
    return metadata


_CONFIG = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path("configs/gateway.yaml"),
    show_default=True,
    envvar="STEELYARD_CONFIG",
    help="Configuration file; its store holds the keys.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke virtual keys, while the gateway runs or not."""


@keys.command()
@click.argument("name")
@click.option("--owner", default="", help="Whom to ask about it.")
@click.option("--team", help="A configured team, whose limits and budgets hold too.")
@click.option(
    "--expires-in", "expires_in_s", callback=_seconds, metavar="90d", help="Default: never."
)
@click.option("--model", "models", multiple=True, help="May be used; repeat. Default: all.")
@click.option("--policy", "policies", multiple=True, help="May be used; repeat. Default: all.")
@click.option("--cost-quality", type=float, help="Where the knob stands if a request says nothing.")
@click.option("--least-cost-quality", type=float, default=0.0, help="Lowest position of the knob.")
@click.option("--most-cost-quality", type=float, default=1.0, help="Highest position of the knob.")
@click.option("--requests-per-minute", type=int)
@click.option("--tokens-per-minute", type=int)
@click.option("--concurrent-requests", type=int)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    callback=_budgets,
    metavar="USD/PERIOD",
    help="Such as 20/month; periods are day, week, month. Repeat for another period.",
)
@click.option(
    "--on-low",
    type=click.Choice(["reject", "degrade"]),
    default="reject",
    show_default=True,
    help="As a budget runs low: nothing, or lower the knob.",
)
@click.option("--cache", is_flag=True, help="Cache answers unless a request says otherwise.")
@click.option("--metadata", multiple=True, callback=_metadata, metavar="NAME=VALUE")
@_CONFIG
@_JSON
def create(*, file: Path, as_json: bool, **options: Any) -> None:
    """Make a key called NAME; its secret is printed now and never again."""
    terms = _terms(options)

    async def run(issuer: "Issuer") -> "tuple[IssuedKey, str]":
        return await issuer.create(terms)

    key, secret = _with_issuer(file, run)
    _print_new(key, secret, as_json=as_json, verb="made")


@keys.command("list")
@_CONFIG
@_JSON
def list_(*, file: Path, as_json: bool) -> None:
    """List all keys, revoked ones too, oldest first."""

    async def run(issuer: "Issuer") -> "tuple[IssuedKey, ...]":
        return await issuer.all()

    views = [_view(key) for key in _with_issuer(file, run)]
    if as_json:
        click.echo(json.dumps(views))
        return
    click.echo(f"{'key':18}{'status':9}{'created':18}{'expires':18}{'owner':20}name")
    for view in views:
        click.echo(
            f"{view['key_id']:18}{view['status']:9}{_day(view['created_at']):18}"
            f"{_day(view['expires_at']):18}{view['owner'][:19]:20}{view['name']}"
        )


@keys.command()
@click.argument("key_id")
@_CONFIG
@_JSON
def revoke(key_id: str, *, file: Path, as_json: bool) -> None:
    """Make all secrets of KEY_ID useless for good; running gateways obey within seconds."""

    async def run(issuer: "Issuer") -> "IssuedKey":
        return await issuer.revoke(key_id)

    view = _view(_with_issuer(file, run))
    if as_json:
        click.echo(json.dumps(view))
    else:
        click.echo(f"{view['key_id']} ({view['name']}) is revoked", err=True)


@keys.command()
@click.argument("key_id")
@click.option(
    "--grace",
    "grace_s",
    callback=_seconds,
    default="1d",
    show_default=True,
    help="How long the old secret goes on working.",
)
@_CONFIG
@_JSON
def rotate(key_id: str, *, grace_s: float, file: Path, as_json: bool) -> None:
    """Give KEY_ID a new secret, printed now and never again; limits and spending stay."""

    async def run(issuer: "Issuer") -> "tuple[IssuedKey, str]":
        return await issuer.rotate(key_id, grace_s=grace_s)

    key, secret = _with_issuer(file, run)
    _print_new(key, secret, as_json=as_json, verb="rotated")


def _terms(options: dict[str, Any]) -> "KeyTerms":
    from pydantic import ValidationError  # noqa: PLC0415

    from app.access.terms import KeyTerms  # noqa: PLC0415

    limits = {
        name: options.pop(name)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    }
    on_low = options.pop("on_low")
    options["budgets"] = [{**budget, "on_low": on_low} for budget in options["budgets"]]
    for several in ("models", "policies"):
        options[several] = options[several] or None
    try:
        return KeyTerms.model_validate({**options, "limits": limits})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"{where}: {message}" if where else message) from None


def _with_issuer(file: Path, run: "Callable[[Issuer], Awaitable[_T]]") -> _T:
    """Open the configured store, let `run` work on its keys, close it."""
    from app.access.issuing import Issuer  # noqa: PLC0415
    from app.access.terms import KnownNames  # noqa: PLC0415
    from app.build import build_store  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415
    from app.errors import ConfigError  # noqa: PLC0415
    from app.stores._base import StoreError  # noqa: PLC0415

    config = load_config(file, secrets_needed=False)
    if config.gateway.store.kind == "memory" and config.gateway.store.data_dir is None:
        raise ConfigError(
            f"{file} keeps no keys; set `store: {{data_dir: …}}` and `auth: {{mode: keys}}`"
        )
    lifecycle = build_store(config)

    async def opened() -> _T:
        await lifecycle.open()
        try:
            issuer = Issuer(lifecycle.store.keys, partial(KnownNames.of, config.gateway))
            return await run(issuer)
        finally:
            await lifecycle.aclose()

    try:
        return asyncio.run(opened())
    except StoreError as error:
        raise ConfigError(f"the store of {file} cannot be used: {error}") from error


def _view(key: "IssuedKey") -> dict[str, Any]:
    from app.access.view import KeyView  # noqa: PLC0415

    return KeyView.of(key, now=datetime.now(UTC).timestamp()).model_dump(mode="json")


def _print_new(key: "IssuedKey", secret: str, *, as_json: bool, verb: str) -> None:
    """Print a secret alone on standard output, where a script takes it from."""
    view = _view(key)
    if as_json:
        click.echo(json.dumps({**view, "secret": secret}))
        return
    click.echo(
        f"{verb} {view['key_id']} ({view['name']}); its secret is not shown again:", err=True
    )
    click.echo(secret)
    if view["old_secret_until"] is not None:
        click.echo(f"the old secret works until {_day(view['old_secret_until'])}", err=True)


def _day(moment: float | None) -> str:
    if moment is None:
        return "never"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%MZ")
