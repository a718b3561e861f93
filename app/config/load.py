"""From the file to the loaded configuration."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app.config.catalogue import Catalogue
from app.config.document import Remark
from app.config.gateway import GatewayConfig
from app.config.kinds import check_kinds
from app.config.loaded import LoadedConfig
from app.config.problems import parse_file
from app.config.specs import model_specs
from app.config.variants import with_variants
from app.errors import ConfigError

_DEFAULT_FILE = Path("configs/gateway.yaml")
"""What every command reads where nothing else is named; there only in a checkout."""

MIN_ADMIN_TOKEN_CHARS = 16
"""Of a token that may make keys; sixteen random hexadecimal digits are 64 bits."""


def load_config(
    path: Path, *, env: Mapping[str, str] | None = None, secrets_needed: bool = True
) -> LoadedConfig:
    """Read and check a configuration file, its catalogue and the secrets it names.

    Parameters
    ----------
    path
        The YAML file; paths in it are relative to its folder.
    env
        Where secrets are looked up; default: the process environment.
    secrets_needed
        False where no upstream will be called: a secret that is not set is then no error.

    Raises
    ------
    ConfigError
        In one line: which file, which key, what is wrong, what would help.
    """
    environment = os.environ if env is None else env
    if path == _DEFAULT_FILE and _reason_not_to_read(path) is not None:
        raise ConfigError(
            f"{path}: cannot be read, there is no such file here; name yours with --config, or in "
            "STEELYARD_CONFIG"
        )
    gateway, document = parse_file(path, GatewayConfig)
    catalogue_path = path.parent / gateway.catalogue
    if (reason := _reason_not_to_read(catalogue_path)) is not None:
        raise document.error(
            ("catalogue",),
            f"{catalogue_path} cannot be read ({reason}); paths in a configuration start at the "
            "folder that it is in",
        )
    catalogue, catalogue_document = parse_file(catalogue_path, Catalogue)
    gateway, catalogue, variants = with_variants(gateway, catalogue, document)
    specs = model_specs(gateway, catalogue, variants, document)
    config = LoadedConfig(
        path=path,
        gateway=gateway,
        specs=specs,
        variants=dict(variants),
        document=document,
        catalogue=catalogue,
        catalogue_document=catalogue_document,
        secrets={
            name: secret
            for name, upstream in gateway.upstreams.items()
            if (secret := _secret(upstream.api_key_env, environment))
        },
        decision_keys={
            name: secret
            for name, policy in gateway.policies.items()
            if policy.decision_model is not None
            and (secret := _secret(policy.decision_model.api_key_env, environment))
        },
        admin_token=_admin_token(gateway.auth.admin_token_env, environment),
        metrics_token=_secret(gateway.server.metrics_token_env, environment) or None,
        redis_url=_address(gateway.store.redis_url_env, environment),
        cache_url=_address(gateway.store.cache_url_env or "", environment),
        semconv_opt_in=environment.get("OTEL_SEMCONV_STABILITY_OPT_IN", ""),
    )
    check_kinds(config)
    if secrets_needed and (missing := missing_variables(config)):
        raise ConfigError(f"{path}: {'; '.join(document.told(*each) for each in missing)}")
    return config


def missing_variables(config: LoadedConfig) -> list[Remark]:
    """Return where a secret is named that is not set, and what to do about it."""
    missing = [
        Remark(
            ("upstreams", name, "api_key_env"),
            f"the key comes from {upstream.api_key_env}, which is not set; export it, or use "
            "configs/gateway.yaml, which needs no key",
        )
        for name, upstream in config.gateway.upstreams.items()
        if upstream.api_key_env is not None and name not in config.secrets
    ]
    missing += [
        Remark(
            ("policies", name, "decision_model", "api_key_env"),
            f"the key comes from {policy.decision_model.api_key_env}, which is not set; export it",
        )
        for name, policy in config.gateway.policies.items()
        if policy.decision_model is not None
        and policy.decision_model.api_key_env is not None
        and name not in config.decision_keys
    ]
    variable = config.gateway.server.metrics_token_env
    if variable is not None and config.metrics_token is None:
        message = f"{variable} is not set; export the token that /metrics is to ask for"
        missing.append(Remark(("server", "metrics_token_env"), message))
    store = config.gateway.store
    variable = store.cache_url_env
    if variable is not None and store.kind == "redis" and config.cache_url is None:
        message = f"{variable} is not set; export the address of the Redis for cached answers"
        missing.append(Remark(("store", "cache_url_env"), message))
    return missing


def _reason_not_to_read(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return error.strerror
    return None


def _address(variable: str, env: Mapping[str, str]) -> str | None:
    url = env.get(variable)
    if not url:
        return None
    try:
        urlsplit(url)
    except ValueError as error:  # which may repeat a password
        raise ConfigError(f"{variable} holds no address: redis://host:6379/0") from error
    return url


def _secret(variable: str | None, env: Mapping[str, str]) -> str:
    secret = "" if variable is None else env.get(variable, "")
    _check_secret(variable or "", secret)
    return secret


def _admin_token(variable: str, env: Mapping[str, str]) -> str | None:
    token = env.get(variable, "")
    if not token:
        return None
    _check_secret(variable, token)
    if len(token) < MIN_ADMIN_TOKEN_CHARS:
        raise ConfigError(
            f"{variable} must have at least {MIN_ADMIN_TOKEN_CHARS} characters, not {len(token)}; "
            "`openssl rand -hex 32` makes a good one"
        )
    return token


def _check_secret(variable: str, secret: str) -> None:
    if not secret.isascii() or any(character.isspace() for character in secret):
        raise ConfigError(f"{variable} contains blanks or non-ASCII characters")
