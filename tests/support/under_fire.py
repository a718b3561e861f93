"""A gateway between mixed traffic and an upstream that fails, and all that is known afterwards."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loadtest.fault_proxy import Call, FaultProxy, ProxyFault
from loadtest.mixed_traffic import Ask, End, Ended, Kind, Mix, send_all
from routers.artifact.artifact import RouterArtifact
from tests.support.gateway import STUB_MODELS, GatewayThread, RunningGateway, stub_config
from tests.support.watching import assert_no_task_is_left

OPEN_FILES = Path("/proc/self/fd")
ADMIN_TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
KINDS = {
    Kind.SHORT: 4.0,
    Kind.STREAM: 4.0,
    Kind.CONVERSATION: 2.0,
    Kind.TOOLS: 1.0,
    Kind.LONG_PROMPT: 0.3,
    Kind.CANCELLED: 1.0,
    Kind.INVALID: 0.5,
    Kind.TOO_LONG: 0.05,
}
MODELS = ("auto", "auto:economy", "auto:quality", "router-carrot-0.5", *STUB_MODELS)
SHORT_TIMEOUTS = {
    "connect_s": 2,
    "first_token_s": 6,
    "idle_s": 2,
    "whole_answer_s": 6,
    "total_s": 20,
}
"""Short for who waits for a stall, and many times what the others take on a busy machine."""
AT_ONCE = 12
"""More would only wait for each other: all that takes part is in one process."""
_PATIENCE_S = 60.0
"""How long the last cleanups may take on a busy machine."""
_BUDGET = {"usd": 1000, "period": "month"}
_KEYS: tuple[Mapping[str, Any], ...] = (
    {"name": "wide", "budgets": [_BUDGET]},
    {"name": "team", "budgets": [_BUDGET]},
    {"name": "narrow", "budgets": [_BUDGET], "limits": {"concurrent_requests": 3}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """What one run left.

    Attributes
    ----------
    ends
        Of every request, as its client saw it.
    calls
        Every call of the upstream, as it saw and billed it.
    ledger
        Request id → the fields of its log line. A request's id is its tag.
    standings
        Key id → where its budget stands, as the admin API tells.
    metrics
        The text of `/metrics` at the end.
    sockets_left
        What this process opened meanwhile and did not close; each as the system names it.
    """

    ends: tuple[End, ...]
    calls: tuple[Call, ...]
    ledger: Mapping[str, tuple[Mapping[str, Any], ...]]
    standings: Mapping[str, Mapping[str, Any]]
    metrics: str
    sockets_left: frozenset[str]
    upstream_connections: int

    def of(self, *ended: Ended) -> list[End]:
        """Return the requests that ended like that."""
        return [end for end in self.ends if end.ended in ended]


@contextlib.contextmanager
def ledger_lines() -> Iterator[list[Mapping[str, Any]]]:
    """Collect the log lines of requests that were handled while the block runs."""
    lines: list[Mapping[str, Any]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = record.fields  # type: ignore[attr-defined]
            if "decision_id" in fields:
                lines.append(fields)

    logger, handler = logging.getLogger("app.requests"), Collect()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def fire_config(
    directory: Path,
    upstream: str,
    *,
    changes: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Any:
    """Load a configuration with keys, short timeouts and circuits that close again soon."""
    return stub_config(
        directory,
        upstream,
        changes={
            "auth": {"mode": "keys"},
            "store": {"data_dir": "data"},
            "breaker.cooldown_s": 0.2,
            "upstreams.stub.timeouts": SHORT_TIMEOUTS,
            **(changes or {}),
        },
        env={"STEELYARD_ADMIN_TOKEN": ADMIN_TOKEN, **(env or {})},
    )


def run_under_fire(
    directory: Path,
    stub_origin: str,
    artifacts: Mapping[str, RouterArtifact],
    *,
    n_requests: int,
    shares: Mapping[ProxyFault, float],
    seed: int,
    changes: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    at_once: int = AT_ONCE,
) -> Fire:
    """Send mixed requests of several keys and return what is known of them."""

    async def main() -> Fire:
        before = _open_sockets()
        async with FaultProxy(upstream=stub_origin, shares=shares, seed=seed) as proxy:
            config = fire_config(directory, proxy.origin, changes=changes, env=env)
            thread = GatewayThread(config, artifacts=artifacts)
            with ledger_lines() as lines, thread as gateway:
                secrets = await asyncio.to_thread(_make_keys, gateway)
                mix = Mix(seed=seed, models=MODELS, weights=KINDS)
                ends = await _traffic(gateway, mix, list(secrets.values()), n_requests, at_once)
                await asyncio.to_thread(assert_no_task_is_left, gateway)
                standings, metrics = await asyncio.to_thread(_look, gateway, list(secrets))
                upstream_connections = proxy.open_connections
        ledger: dict[str, tuple[Mapping[str, Any], ...]] = {}
        for line in lines:
            ledger[line["request_id"]] = (*ledger.get(line["request_id"], ()), line)
        return Fire(
            ends=tuple(ends),
            calls=tuple(proxy.calls),
            ledger=ledger,
            standings=standings,
            metrics=metrics,
            sockets_left=await _sockets_left(before),
            upstream_connections=upstream_connections,
        )

    return asyncio.run(main())


async def _traffic(
    gateway: RunningGateway, mix: Mix, secrets: list[str], n_requests: int, at_once: int
) -> list[End]:
    asks = []
    for i in range(n_requests):
        ask = mix.draw(f"r{i:04d}")
        headers = {
            "authorization": f"Bearer {secrets[i % len(secrets)]}",
            "x-request-id": ask.tag,
        }
        asks.append(
            Ask(
                tag=ask.tag,
                kind=ask.kind,
                body=ask.body,
                raw=ask.raw,
                leave_after_events=ask.leave_after_events,
                headers=headers,
            )
        )
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        return await send_all(client, asks, at_once=at_once)


def _make_keys(gateway: RunningGateway) -> dict[str, str]:
    secrets = {}
    with _admin(gateway) as admin:
        for terms in _KEYS:
            made = admin.post("/admin/keys", json=terms)
            assert made.status_code == 201, made.text
            secrets[made.json()["key_id"]] = made.json()["secret"]
    return secrets


def _look(gateway: RunningGateway, key_ids: list[str]) -> tuple[dict[str, Any], str]:
    with _admin(gateway) as admin:
        standings = {
            key_id: admin.get(f"/admin/keys/{key_id}/standing").json()["scopes"][0]
            for key_id in key_ids
        }
        return standings, admin.get("/metrics").text


def _admin(gateway: RunningGateway) -> httpx.Client:
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    return httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=30)


async def _sockets_left(before: frozenset[str]) -> frozenset[str]:
    """Return what is left; the stub closes its ends when it comes to it, after all it was asked."""
    deadline = time.monotonic() + _PATIENCE_S
    while (left := _open_sockets() - before) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return left


def _open_sockets() -> frozenset[str]:
    names = set()
    for descriptor in OPEN_FILES.iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            names.add(str(descriptor.readlink()))
    return frozenset(name for name in names if name.startswith("socket:"))
