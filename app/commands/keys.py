"""`steelyard keys`: virtual keys from the console, in the store that the gateway reads."""

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.commands.config_option import config_option
from app.commands.keys_options import changes, clear_option, seconds, term_options, terms
from app.commands.keys_table import audit_lines, key_lines, list_lines, moment, told

if TYPE_CHECKING:
    from app.access.issuing import IssuedKey, Issuer
    from app.gateway.money.admission import Admission

_MAX_TRIES = 20
_T = TypeVar("_T")

_CONFIG = config_option("Configuration file; its store holds the keys.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_IF_VERSION = click.option(
    "--if-version", type=click.IntRange(min=1), help="Only if the key is still of this version."
)


@click.group()
def keys() -> None:
    """Make, list, change, rotate and revoke virtual keys, while the gateway runs or not."""


@keys.command()
@click.argument("name")
@term_options
@click.option("--disabled", is_flag=True, help="Refuse its requests until it is enabled.")
@_CONFIG
@_JSON
def create(*, file: Path, as_json: bool, **options: Any) -> None:
    """Make a key called NAME; its secret is printed now and never again."""
    wanted = terms(options)

    async def run(desk: "_Desk") -> tuple[dict[str, Any], str, list[str]]:
        same = await desk.called(wanted.name)
        key, secret = await desk.issuer.create(wanted, by=_user())
        return await desk.view(key), secret, same

    view, secret, same = _with_desk(file, run)
    _warn_of_same_name(wanted.name, same)
    _print_new(view, secret, as_json=as_json, verb="made")


@keys.command("list")
@_CONFIG
@_JSON
def list_(*, file: Path, as_json: bool) -> None:
    """List all keys, revoked ones too, oldest first.

    Limits are requests (r) and tokens (t) a minute and requests at a time (c); spent is what the
    period that runs now has taken of the budget that is used most.
    """

    async def run(desk: "_Desk") -> list[dict[str, Any]]:
        return await desk.views(await desk.issuer.all())

    views = _with_desk(file, run)
    if as_json:
        click.echo(json.dumps(views))
        return
    for line in list_lines(views):
        click.echo(line)


@keys.command()
@click.argument("key_id")
@_CONFIG
@_JSON
def show(key_id: str, *, file: Path, as_json: bool) -> None:
    """Tell all that is known of KEY_ID, but for its secret."""

    async def run(desk: "_Desk") -> dict[str, Any]:
        return await desk.view(await desk.issuer.get(key_id))

    view = _with_desk(file, run)
    if as_json:
        click.echo(json.dumps(view))
        return
    for line in key_lines(view):
        click.echo(line)


@keys.command()
@click.argument("key_id")
@click.option("--name", help="Another name.")
@term_options
@click.option("--disable/--enable", "disabled", default=None, help="Refuse its requests, or not.")
@clear_option
@_IF_VERSION
@_CONFIG
@_JSON
def update(
    key_id: str, *, if_version: int | None, file: Path, as_json: bool, **options: Any
) -> None:
    """Change what is said of KEY_ID; its secret, what it spent and its history stay.

    A --budget replaces that of its period; running gateways obey within seconds.
    """
    from app.errors import KeyVersionError  # noqa: PLC0415

    async def once(desk: "_Desk") -> "tuple[IssuedKey, IssuedKey]":
        old = await desk.issuer.get(key_id)
        # What is asked for may depend on what was read, so it is for that version alone.
        version = old.record.version if if_version is None else if_version
        new = await desk.issuer.update(
            key_id, changes(dict(options), old.record), versions={version}, by=_user()
        )
        return old, new

    async def run(desk: "_Desk") -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        for tries_left in reversed(range(_MAX_TRIES)):
            try:
                old, new = await once(desk)
            except KeyVersionError:
                if if_version is not None or not tries_left:
                    raise
                continue
            break
        same = await desk.called(new.record.name) if options["name"] else []
        return await desk.view(old), await desk.view(new), [each for each in same if each != key_id]

    before, after, same = _with_desk(file, run)
    _warn_of_same_name(after["name"], same)
    if as_json:
        click.echo(json.dumps(after))
        return
    if before["version"] == after["version"]:
        click.echo(f"{key_id} ({after['name']}) is as it was", err=True)
        return
    click.echo(f"{key_id} ({after['name']}) is changed, version {after['version']}", err=True)
    for name, value in after.items():
        if value != before[name] and name not in ("version", "status", "spending"):
            click.echo(f"  {name}: {told(name, before[name])} -> {told(name, value)}", err=True)


@keys.command()
@click.argument("key_id")
@_IF_VERSION
@_CONFIG
@_JSON
def revoke(key_id: str, *, if_version: int | None, file: Path, as_json: bool) -> None:
    """Make all secrets of KEY_ID useless for good; running gateways obey within seconds."""

    async def run(desk: "_Desk") -> dict[str, Any]:
        key = await desk.issuer.revoke(key_id, versions=_versions(if_version), by=_user())
        return await desk.view(key)

    view = _with_desk(file, run)
    if as_json:
        click.echo(json.dumps(view))
    else:
        click.echo(f"{view['key_id']} ({view['name']}) is revoked", err=True)


@keys.command()
@click.argument("key_id")
@click.option(
    "--grace",
    "grace_s",
    callback=seconds,
    default="1d",
    show_default=True,
    help="How long the old secret goes on working.",
)
@_IF_VERSION
@_CONFIG
@_JSON
def rotate(
    key_id: str, *, grace_s: float, if_version: int | None, file: Path, as_json: bool
) -> None:
    """Give KEY_ID a new secret, printed now and never again; limits and spending stay."""

    async def run(desk: "_Desk") -> tuple[dict[str, Any], str]:
        key, secret = await desk.issuer.rotate(
            key_id, grace_s=grace_s, versions=_versions(if_version), by=_user()
        )
        return await desk.view(key), secret

    view, secret = _with_desk(file, run)
    _print_new(view, secret, as_json=as_json, verb="rotated")


@keys.command()
@click.argument("key_id", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@_CONFIG
@_JSON
def audit(key_id: str | None, *, limit: int, file: Path, as_json: bool) -> None:
    """Tell who changed which key (or KEY_ID) and how, the latest first."""
    from app.access.view import AuditView  # noqa: PLC0415

    async def run(desk: "_Desk") -> list[dict[str, Any]]:
        entries = await desk.issuer.history(key_id=key_id, limit=limit)
        return [AuditView.of(entry).model_dump(mode="json") for entry in entries]

    entries = _with_desk(file, run)
    if as_json:
        click.echo(json.dumps(entries))
        return
    for line in audit_lines(entries):
        click.echo(line)


@dataclass(frozen=True, slots=True)
class _Desk:
    """The keys of an open store, and what they have spent."""

    issuer: "Issuer"
    admission: "Admission"

    async def called(self, name: str) -> list[str]:
        """Return the ids of the keys of a name that are in use."""
        found = [key.record for key in await self.issuer.all() if key.record.name == name]
        return [record.key_id for record in found if record.revoked_at is None]

    async def view(self, key: "IssuedKey") -> dict[str, Any]:
        """Return what is told of a key."""
        return (await self.views([key]))[0]

    async def views(self, keys: "Sequence[IssuedKey]") -> list[dict[str, Any]]:
        """Return what is told of keys."""
        from app.access.key_views import KeyViews  # noqa: PLC0415

        found = await KeyViews(self.admission.standings.of_keys).of(keys)
        return [view.model_dump(mode="json") for view in found]


def _with_desk(file: Path, run: "Callable[[_Desk], Awaitable[_T]]") -> _T:
    """Open the configured store, let `run` work on its keys, close it."""
    from app.access.issuing import Issuer  # noqa: PLC0415
    from app.access.terms import KnownNames  # noqa: PLC0415
    from app.assembly import build_allowances, build_store  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415
    from app.errors import ConfigError  # noqa: PLC0415
    from app.gateway.money.admission import Admission  # noqa: PLC0415
    from app.stores.base import StoreError  # noqa: PLC0415

    config = load_config(file, secrets_needed=False)
    if config.gateway.store.kind == "memory" and config.gateway.store.data_dir is None:
        raise ConfigError(
            f"{file} keeps no keys; set `store: {{data_dir: …}}` and `auth: {{mode: keys}}`"
        )
    lifecycle = build_store(config)

    async def opened() -> _T:
        await lifecycle.open()
        try:
            store = lifecycle.store
            issuer = Issuer(store.keys, partial(KnownNames.of, config.gateway))
            admission = Admission(
                counters=store.counters,
                allowances=build_allowances(config),
                specs=config.specs,
                lifetime_s=1.0,  # nothing is admitted here
            )
            return await run(_Desk(issuer, admission))
        finally:
            await lifecycle.aclose()

    try:
        return asyncio.run(opened())
    except StoreError as error:
        raise ConfigError(f"the store of {file} cannot be used: {error}") from error


def _versions(if_version: int | None) -> set[int] | None:
    return None if if_version is None else {if_version}


def _user() -> str:
    """Return who types, for the history of keys."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = f"user {os.getuid()}"
    return f"command line ({name}@{socket.gethostname()})"


def _warn_of_same_name(name: str, key_ids: Iterable[str]) -> None:
    told = ", ".join(key_ids)
    if told:
        click.echo(f"note: there is another key of the name {name!r}: {told}", err=True)


def _print_new(view: dict[str, Any], secret: str, *, as_json: bool, verb: str) -> None:
    """Print a secret alone on standard output, where a script takes it from."""
    if as_json:
        click.echo(json.dumps({**view, "secret": secret}))
        return
    click.echo(
        f"{verb} {view['key_id']} ({view['name']}); its secret is not shown again:", err=True
    )
    click.echo(secret)
    if view["old_secret_until"] is not None:
        click.echo(f"the old secret works until {moment(view['old_secret_until'])}", err=True)
