"""Requests under policies of several calls, of which much goes wrong; what must hold, holds.

    python -m loadtest.workflow_faults --requests 10000 [--seed 1] [--share 0.35] [--at-once 24]

Models fail in every way (`loadtest.faulty_models`), clients leave, repeat themselves and share
cached answers, budgets run out, keys are at their limits, and the configuration is loaded anew
meanwhile. At the end the accounts of clients, gateway and models are held against each other; ends
with exit code 1 where an invariant was broken (`loadtest.workflow_judge`).
"""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.outcomes.sqlite import read_outcomes
from loadtest.faulty_models import JUDGE, Fault, FaultyModels
from loadtest.workflow_judge import (
    BLOCKING,
    MAX_CALLS,
    MAX_COST_USD,
    MAX_TIME_S,
    POOL,
    RESTRICTING,
    Ask,
    End,
    Findings,
    answers,
    judge,
    look_at,
)
from routers.artifact.artifact import RouterArtifact
from tests.support.gateway import GatewayThread, RunningGateway, read_yaml, stub_config, write_yaml
from tests.support.odd_workflows import ODD_KINDS, odd_workflows
from tests.support.watching import assert_no_task_is_left

NANO, SMALL, LARGE = "sim-nano", "sim-small", "sim-large"
_CANDIDATES = [NANO, SMALL, LARGE]
_JUDGED = {"kind": "judge", "model": JUDGE, "deadline_s": 1.0}
_SURE = {"kind": "logprobs", "least_mean": -0.5}
_OPTION = {"normaliser": "option"}
_ROUNDS = {"kind": "rounds", "planner": JUDGE, "deadline_s": 1.0}
_AGENTS = {"kind": "agents", "max_agents": 3, "deadline_s": 1.0}
_CHAIN = {
    "kind": "chain",
    "stages": [{"task": "read", "models": [NANO, SMALL]}, {"task": "tell"}],
    "deadline_s": 1.0,
}
_GUARDED = {"kind": "guarded", "slow": {"model": JUDGE, "deadline_s": 1.0}}
_RESTRICTED = {
    **_GUARDED,
    "when_harmful": {"models": list(POOL)},
    "on_failure": {"models": list(POOL)},
}
_AFTER: Mapping[str, Mapping[str, Any]] = {
    "alone": {},
    "rounds": {"then": _ROUNDS},
    "chain": {"then": _CHAIN},
    "agents": {"then": _AGENTS},
    "cascade": {"then": {"kind": "cascade", "stages": _CANDIDATES, "acceptor": _JUDGED}},
    "vote": {"then": {"kind": "agree", "first": 3, **_OPTION}},
}
"""What comes after a guard."""
WORKFLOWS: Mapping[str, Mapping[str, Any]] = {
    "cascade_judge": {"kind": "cascade", "stages": _CANDIDATES, "acceptor": _JUDGED},
    "cascade_logprobs": {"kind": "cascade", "by": "cost", "acceptor": _SURE},
    "agree": {"kind": "agree", "models": [NANO, SMALL], "last": LARGE, **_OPTION},
    "vote": {"kind": "agree", "first": 3, **_OPTION},
    "samples": {"kind": "best_of", "model": NANO, "n": 4, **_OPTION},
    "best_judge": {"kind": "best_of", "models": [NANO, SMALL], "chooser": _JUDGED},
    "best_logprobs": {"kind": "best_of", "models": _CANDIDATES, "chooser": _SURE},
    "capped": {"kind": "agree", "max_calls": MAX_CALLS, **_OPTION},
    "frugal": {"kind": "cascade", "stages": _CANDIDATES, "acceptor": _JUDGED}
    | {"max_cost_usd": MAX_COST_USD},
    "hasty": {"kind": "cascade", "stages": _CANDIDATES, "acceptor": _JUDGED}
    | {"max_time_s": MAX_TIME_S},
    "rounds": _ROUNDS,
    "chain": _CHAIN,
    "frugal_rounds": {**_ROUNDS, "max_cost_usd": MAX_COST_USD},
    "hasty_rounds": {**_ROUNDS, "max_time_s": MAX_TIME_S},
    "agents": _AGENTS,
    "capped_agents": {**_AGENTS, "max_calls": MAX_CALLS},
    **{f"{BLOCKING}_{name}": {**_GUARDED, **rest} for name, rest in _AFTER.items()},
    **{f"{RESTRICTING}_{name}": {**_RESTRICTED, **rest} for name, rest in _AFTER.items()},
    **{kind.replace("-", "_"): {"kind": kind} for kind in ODD_KINDS},
}
_TIMEOUTS = {
    "connect_s": 1,
    "first_token_s": 1,
    "idle_s": 0.8,
    "whole_answer_s": 1.5,
    "total_s": 5,
}
_ADMIN = "an-admin-token-of-the-tests"
_MONTH = "month"
KEYS: tuple[Mapping[str, Any], ...] = (
    {"name": "wide", "budgets": [{"usd": 1000, "period": _MONTH}]},
    {"name": "tight", "budgets": [{"usd": 0.004, "period": _MONTH}]},
    {"name": "narrow", "budgets": [{"usd": 1000, "period": _MONTH}]}
    | {"limits": {"concurrent_requests": 2}},
    {"name": "slow", "limits": {"tokens_per_minute": 3000}},
)
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")


@dataclass(slots=True)
class Traffic:
    """Draws requests; the same seed draws the same."""

    seed: int
    policies: tuple[str, ...] = tuple(WORKFLOWS)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def draw(self, number: int) -> list[Ask]:
        """Return the next request, or two equal ones that share an answer."""
        rng, tag = self._rng, f"t{number:06d}"
        path, stream = rng.choice(PATHS), rng.random() < 0.5
        prompt = f"{tag}: A or B? " + "weigh the beam " * rng.randrange(6)
        body: dict[str, Any] = {"model": f"auto:{rng.choice(self.policies)}", "stream": stream}
        match path.rpartition("/")[2]:
            case "responses":
                body |= {"input": prompt, "max_output_tokens": rng.choice([80, 200])}
            case "completions" if path == PATHS[1]:
                body |= {"prompt": prompt, "max_tokens": rng.choice([80, 200])}
            case _:
                body |= {"messages": [{"role": "user", "content": prompt}]}
                body |= {"max_tokens": rng.choice([80, 200])}
        if stream and path in PATHS[:2] and rng.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        headers: dict[str, str] = {}
        if rng.random() < 0.15:
            headers["x-route-max-cost"] = f"{MAX_COST_USD:.6f}"
        if rng.random() < 0.1:
            headers["x-stainless-retry-count"] = "1"
        if rng.random() < 0.1:
            headers["x-session-id"] = f"session-{rng.randrange(20)}"
        twice = rng.random() < 0.1
        if twice:
            headers["x-route-cache"] = "on"
        leaves_s = rng.random() * 0.05 if rng.random() < 0.08 else None
        key = rng.choices(range(len(KEYS)), [6, 1, 1, 1])[0]
        return [
            Ask(
                tag=tag,
                request_id=f"{tag}-{nth}",
                path=path,
                body=body,
                headers=headers,
                key=key,
                leaves_s=leaves_s if nth == 0 else None,
            )
            for nth in range(2 if twice else 1)
        ]


async def _send(client: httpx.AsyncClient, ask: Ask, secret: str) -> End:
    headers = {
        "authorization": f"Bearer {secret}",
        "x-request-id": ask.request_id,
        **ask.headers,
    }
    end = End(ask=ask)
    try:
        async with asyncio.timeout(ask.leaves_s):
            answer = await client.post(ask.path, json=ask.body, headers=headers)
        end.status, end.headers, end.body = answer.status_code, answer.headers, answer.content
    except TimeoutError:
        end.left = True
    except httpx.HTTPError as error:
        end.problem = f"{type(error).__name__}: {error}"
    return end


async def _traffic(
    gateway: RunningGateway,
    file: Path,
    asks: list[Ask],
    secrets: list[str],
    *,
    at_once: int,
) -> list[End]:
    """Send all requests, loading the configuration anew in between."""
    places, ends = asyncio.Semaphore(at_once), list[End]()
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(
        base_url=gateway.url, trust_env=False, timeout=60, limits=limits
    ) as client:

        async def one(ask: Ask) -> None:
            try:
                ends.append(await _send(client, ask, secrets[ask.key]))
            finally:
                places.release()

        async with asyncio.TaskGroup() as tasks:
            for at, ask in enumerate(asks):
                await places.acquire()
                tasks.create_task(one(ask))
                if at in {len(asks) // 3, 2 * len(asks) // 3}:
                    await _reload(gateway, file, max_attempts=2 + at % 2)
    return ends


async def _reload(gateway: RunningGateway, file: Path, *, max_attempts: int) -> None:
    document = read_yaml(file)
    for policy in document["policies"].values():
        policy["max_attempts"] = max_attempts
    write_yaml(file, document)
    reloading = asyncio.run_coroutine_threadsafe(gateway.app.state.reloader.reload(), gateway.loop)
    await asyncio.wrap_future(reloading)


def _admin(gateway: RunningGateway) -> httpx.Client:
    headers = {"authorization": f"Bearer {_ADMIN}"}
    return httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=30)


def _make_keys(gateway: RunningGateway) -> dict[str, str]:
    with _admin(gateway) as admin:
        made = [admin.post("/admin/keys", json=terms).json() for terms in KEYS]
    return {each["key_id"]: each["secret"] for each in made}


def _changes(url: str) -> dict[str, Any]:
    policies = {
        name: {
            "router": "carrot",
            "candidates": _CANDIDATES,
            "default_model": LARGE,
            "router_deadline_s": 20.0,
            "workflow": dict(workflow),
        }
        for name, workflow in WORKFLOWS.items()
    }
    return {
        "upstreams.stub": {
            "kind": "openai",
            "base_url": f"{url}/v1",
            "retries": 0,
            "timeouts": _TIMEOUTS,
        },
        "auth": {"mode": "keys"},
        "store": {"data_dir": "data"},
        "breaker.cooldown_s": 0.05,
        "server.hold_back": {"max_bytes": 50_000, "max_s": 3.0, "headers_after_s": 0.3},
        "routers": {"carrot": {"artifact": "default"}},
        "policies": policies,
        "default_policy": "agree",
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of what workflows of ours do wrong on purpose."""
    loggers = [logging.getLogger(f"app.gateway.{name}") for name in ("plan", "workflows", "course")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)


def run(
    directory: Path,
    *,
    n_requests: int,
    seed: int,
    share: float,
    at_once: int,
    artifacts: Mapping[str, RouterArtifact] | None = None,
    longer: str = "escalate",
    without: frozenset[Fault] = frozenset(),
) -> Findings:
    """Send so many requests and return what was found."""
    traffic, asks, number = Traffic(seed), list[Ask](), 0
    while len(asks) < n_requests:
        asks += traffic.draw(number)
        number += 1
    with odd_workflows(), _quiet(), FaultyModels(seed=seed, share=share, without=without) as models:
        config = stub_config(
            directory,
            models.url,
            changes={**_changes(models.url), "server.hold_back.longer": longer},
            env={"STEELYARD_ADMIN_TOKEN": _ADMIN},
        )
        before = answers()
        with GatewayThread(config, artifacts=artifacts) as gateway:
            secrets = _make_keys(gateway)
            ends = asyncio.run(
                _traffic(
                    gateway,
                    directory / "gateway.yaml",
                    asks,
                    list(secrets.values()),
                    at_once=at_once,
                )
            )
            assert_no_task_is_left(gateway)
            with _admin(gateway) as admin:
                left = look_at(gateway, admin, list(secrets), before=before)
    rows = [row for _, row in read_outcomes(directory / "data")]
    return judge(ends, rows, models.calls, left)


def main() -> int:
    """Run and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.35, help="of the calls that fail")
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--longer", choices=("escalate", "serve"), default="escalate")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        findings = run(
            Path(name),
            n_requests=options.requests,
            seed=options.seed,
            share=options.share,
            at_once=options.at_once,
            longer=options.longer,
        )
    print(findings.told())
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
