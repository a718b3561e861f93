"""Everything that stops `serve`, found before it listens; `check-config` asks the same."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from app.assembly import build_decision_log, build_deployments, build_store, require_traces
from app.assembly.active_config import prepare
from app.config import GatewayConfig, LoadedConfig
from app.config.load import missing_variables
from app.config.settings import is_loopback
from app.errors import ConfigError
from app.gateway.names import Names
from app.gateway.policy import Policy
from routers.artifact.artifact import RouterArtifact

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
"""Options in Redis' address that name files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a configuration that can be served decides by."""

    policies: Mapping[str, Policy]
    names: Names


def check_servable(
    config: LoadedConfig,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int = 1,
    here: bool = True,
    artifacts: Mapping[str, RouterArtifact] | None = None,
) -> Prepared:
    """Refuse whatever could not be served, all of it at once.

    Parameters
    ----------
    host, port
        Where it would listen; default: where the configuration says.
    workers
        How many processes would serve.
    here
        False leaves out what depends on the machine: environment variables, folders, files.
    artifacts
        Router name → loaded artifact; default: those that the configuration names.

    Raises
    ------
    ConfigError
        In one line, with every reason.
    """
    problems = list(_problems(config, host=host, port=port, workers=workers, here=here))
    try:
        policies, names = prepare(config, artifacts)
    except ConfigError as error:
        problems.append(_without_path(error, config))
        raise _all_of(problems, config) from error
    if problems:
        raise _all_of(problems, config)
    return Prepared(policies=policies, names=names)


def check_start(config: LoadedConfig, *, host: str, port: int, workers: int) -> None:
    """Refuse whatever could not be served, but for artifacts: those take a second to load.

    Raises
    ------
    ConfigError
        In one line, with every reason.
    """
    problems = list(_problems(config, host=host, port=port, workers=workers, here=True))
    if problems:
        raise _all_of(problems, config)


def _all_of(problems: Sequence[str], config: LoadedConfig) -> ConfigError:
    return ConfigError(f"{config.path}: {'; '.join(problems)}")


def check_who_may_ask(config: GatewayConfig, host: str) -> None:
    """Refuse to be reached from other machines unless the configuration says by whom.

    Raises
    ------
    ConfigError
    """
    if config.auth.mode is None and not is_loopback(host):
        raise ConfigError(
            f"{host or 'every address'} can be reached from other machines; write into the "
            "configuration who may ask: `auth: {mode: keys}` for virtual keys "
            "(`steelyard keys create`), or `auth: {mode: none}` for everybody"
        )


def check_workers(config: GatewayConfig, workers: int) -> None:
    """Refuse several processes that could not share what they count.

    Raises
    ------
    ConfigError
    """
    store = config.store
    if workers > 1 and store.kind != "redis":
        raise ConfigError(
            f"{workers} workers need a store that they share; write `store: {{kind: redis}}` into "
            f"the configuration and its address into {store.redis_url_env}"
        )


def _problems(
    config: LoadedConfig, *, host: str | None, port: int | None, workers: int, here: bool
) -> Iterator[str]:
    server = config.gateway.server
    host = server.host if host is None else host
    checks: list[Callable[[], object]] = [
        lambda: check_who_may_ask(config.gateway, host),
        lambda: check_workers(config.gateway, workers),
        lambda: _check_ports(config, server.port if port is None else port),
        lambda: build_deployments(config),
    ]
    if here:
        yield from (config.document.told(*each) for each in missing_variables(config))
        checks += [
            lambda: _check_folder(config),
            lambda: _check_redis_files(config),
            lambda: require_traces(config),
        ]
    if here or config.redis_url is not None or config.gateway.store.kind == "memory":
        checks += [lambda: build_store(config), lambda: build_decision_log(config)]
    for check in checks:
        try:
            check()
        except ConfigError as error:
            yield _without_path(error, config)


def _without_path(error: ConfigError, config: LoadedConfig) -> str:
    return error.message.removeprefix(f"{config.path}: ")


def _check_ports(config: LoadedConfig, port: int) -> None:
    """Look at what `--port` makes of the ports; the file alone was validated."""
    if port and port == config.gateway.server.metrics_port:
        raise config.error(
            ("server", "metrics_port"), f"{port} is where requests are taken; choose another"
        )


def _check_folder(config: LoadedConfig) -> None:
    """Refuse a folder that cannot be made or written."""
    folder = config.data_dir
    if folder is None:
        return
    nearest = folder
    try:
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise config.error(("store", "data_dir"), f"{nearest} is no folder")
    except OSError as error:  # a name that is too long, a folder that is closed
        raise config.error(("store", "data_dir"), f"cannot be used ({error.strerror})") from error
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise config.error(("store", "data_dir"), f"{nearest} cannot be written")


def _check_redis_files(config: LoadedConfig) -> None:
    if config.redis_url is None or config.gateway.store.kind != "redis":
        return
    for option, name in parse_qsl(urlsplit(config.redis_url).query):
        if option in _TLS_FILES and not os.access(Path(name), os.R_OK):
            raise config.error(
                ("store", "redis_url_env"),
                f"{config.gateway.store.redis_url_env} names {name} as {option}, which cannot be "
                "read",
            )
