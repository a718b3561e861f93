"""Draw docs/images/dashboard-*.svg: panels of the dashboards, with data of a real Prometheus.

    python -m scripts.draw_dashboards

Runs a gateway on simulated models for about two minutes, with `prometheus` (which must be
installed) beside it, and asks the queries of the panels as they stand in configs/dashboards.
"""

import asyncio
import json
import math
import random
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from scripts.dashboards.drawing import Plot, Series, draw
from tests.support.processes import ADMIN_TOKEN, gateway_process, write_config
from tests.support.prometheus_server import PrometheusServer
from tests.support.stub import StubProcess, stub_process

_ROOT = Path(__file__).resolve().parents[1]
_SOURCE = _ROOT / "configs" / "dashboards"
_TARGET = _ROOT / "docs" / "images"

PANELS = {
    "routing": (
        "Saved against always the strongest model",
        "Saved against always the default model",
        "Cost per hour: paid, and what other rules would have paid",
        "Answers by model",
        "Knob",
        "Share of the quality gap: promised and chosen",
    ),
    "service": ("Requests by status", "Tokens per second", "Overhead", "Decision by stage"),
    "spend": (
        "Spent",
        "Lost on hedges",
        "By model",
        "By team",
        "Left",
        "Refused by limits and budgets",
    ),
    "reliability": ("Failed calls by error", "Circuits", "Fallbacks", "Hedges"),
}
"""Of each dashboard, by their titles."""

LEAD_S, DURATION_S = 20.0, 90.0
"""Traffic before what is drawn, so that rates are right from its beginning; what is drawn."""

RATE_S, WINDOW_S = 6.0, 15
"""Requests per second, and what Grafana would put for $__rate_interval."""

BROKEN_S, STALLED_S = (20.0, 40.0), (50.0, 65.0)
"""When one model fails, and when answers sometimes do not begin."""

TEAMS = {"search": 0.5, "support": 0.2}
"""Their budgets in US dollars."""

CHANGES = {
    "auth": {"mode": "keys"},
    "store": {"data_dir": "data"},
    "breaker": {"failures": 3, "cooldown_s": 5},
    "upstreams.stub.timeouts": {"first_token_s": 4, "whole_answer_s": 8},
    "policies.default.hedge_after_s": 2.0,
    "policies.quality.hedge_after_s": 2.0,
    "allowances.gateway.budgets": [{"usd": 1.0, "period": "day"}],
    "allowances.teams": {
        team: {"budgets": [{"usd": usd, "period": "day"}]} for team, usd in TEAMS.items()
    },
}

PROMPTS = (
    "What is the capital of Australia?",
    "Say hello in French.",
    "What is 17 times 23? Think step by step.",
    "Write a Python function that merges two sorted lists in linear time.",
    "Prove that the square root of 2 is irrational.",
    "Summarise the causes of the First World War in three sentences.",
    "A train leaves at 9:40 at 80 km/h, another at 10:10 at 110 km/h. When do they meet?",
    "Which of these is not a mammal: whale, bat, penguin, otter?",
    "Translate 'the weather is fine today' into German.",
    "Why does my SQL query with LEFT JOIN return more rows than the left table has?",
    "Complete: the man put on his shoes and then he",
    "Explain the difference between a mutex and a semaphore to a beginner.",
)


async def traffic(url: str, stub: StubProcess, *, begin: float) -> None:
    """Ask until what is drawn is over; `begin` is in seconds of `time.time`."""
    rng = random.Random(7)  # noqa: S311 - no secret
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        secrets = [await _key(client, team) for team in TEAMS]
        group.create_task(_trouble(stub, begin))
        while (now_s := time.time() - begin) < DURATION_S:
            group.create_task(_ask(client, rng, rng.choice(secrets), now_s=now_s))
            await asyncio.sleep(rng.expovariate(RATE_S))


async def _key(client: httpx.AsyncClient, team: str) -> str:
    answer = await client.post(
        "/admin/keys",
        json={"name": team, "team": team},
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
    )
    answer.raise_for_status()
    secret: str = answer.json()["secret"]
    return secret


async def _ask(client: httpx.AsyncClient, rng: random.Random, secret: str, *, now_s: float) -> None:
    policy = rng.choices(("default", "economy", "quality"), (5, 3, 2))[0]
    headers = {"authorization": f"Bearer {secret}"}
    if policy == "default":  # somebody slides the weight, in steps, from cheap to good
        headers["x-cost-quality"] = f"{min(1.0, max(0, int(now_s / 15)) * 0.2):.1f}"
    body = {
        "model": f"auto:{policy}",
        "messages": [{"role": "user", "content": f"{rng.choice(PROMPTS)} ({rng.random():.6f})"}],
        "max_tokens": rng.randrange(20, 120),
        "stream": rng.random() < 0.8,
    }
    # Refusals and failures are what panels show, too.
    await client.post("/v1/chat/completions", json=body, headers=headers)


async def _trouble(stub: StubProcess, begin: float) -> None:
    # Prometheus sees no increase in a counter's first value: once before what is drawn.
    await stub.add_fault(fault="status", status=503, model="sim-medium")
    await asyncio.sleep(begin + BROKEN_S[0] - time.time())
    await stub.add_fault(fault="status", status=503, model="sim-medium", times=10_000)
    await asyncio.sleep(begin + BROKEN_S[1] - time.time())
    await stub.reset()
    while (now_s := time.time() - begin) < STALLED_S[1]:
        if now_s > STALLED_S[0]:
            await stub.add_fault(fault="stall_before_headers")
        await asyncio.sleep(1.0)


def plots(prometheus: PrometheusServer, name: str, *, begin: float) -> list[Plot]:
    """Return the panels of one dashboard with what Prometheus says to their queries."""
    file = _SOURCE / "grafana" / f"{name}.json"
    panels = {
        panel["title"]: panel for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]
    }
    return [_plot(prometheus, panels[title], begin) for title in PANELS[name]]


def _plot(prometheus: PrometheusServer, panel: Mapping[str, Any], begin: float) -> Plot:
    series = []
    for number, target in enumerate(panel["targets"]):
        expression = target["expr"].replace("$__rate_interval", f"{WINDOW_S}s")
        expression = expression.replace("$__range", f"{DURATION_S:.0f}s")
        expression = re.sub(r'=~"\$\w+"', '=~".*"', expression)
        end = begin + DURATION_S
        found = prometheus.query_range(
            expression, start=end if target.get("instant") else begin, end=end, step_s=1.0
        )
        for each in found:
            labels = dict(each["labels"])
            points = [(at - begin, value) for at, value in each["points"] if math.isfinite(value)]
            if points:
                text = target["legendFormat"]
                for label, value in labels.items():
                    text = text.replace(f"{{{{{label}}}}}", value)
                kin = " ".join(labels[key] for key in sorted(labels)) or text
                series.append(Series(name=text, kin=kin, query=number, points=points))
    if not series:
        raise SystemExit(f"{panel['title']}: nothing to draw")
    defaults = panel["fieldConfig"]["defaults"]
    # A colour of its own for every query where no label tells series apart within one.
    single = len({each.kin for each in series}) == len(series)
    return Plot(
        title=panel["title"],
        note=panel["description"],
        kind=panel["type"],
        unit=defaults["unit"],
        stacked="stacking" in defaults.get("custom", {}),
        maximum=defaults.get("max"),
        series=[
            Series(name=s.name, kin=s.kin, query=0 if single else s.query, points=s.points)
            for s in series
        ],
    )


async def main() -> None:
    """Run, ask, draw."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with stub_process(speed=1.0) as stub:
            config = write_config(directory / "gateway.yaml", stub.origin, CHANGES)
            async with gateway_process(config, env={}) as gateway:
                prometheus = PrometheusServer(
                    directory,
                    target=gateway.url.removeprefix("http://"),
                    token=ADMIN_TOKEN,
                    rules=sorted((_SOURCE / "rules").glob("*.yml")),
                )
                with prometheus:
                    begin = time.time() + LEAD_S
                    await traffic(gateway.url, stub, begin=begin)
                    for name in PANELS:
                        _write(name, plots(prometheus, name, begin=begin))


def _write(name: str, drawn: list[Plot]) -> None:
    note = f"{DURATION_S:.0f} s of simulated models, rates over {WINDOW_S} s"
    file = _TARGET / f"dashboard-{name}.svg"
    text = draw(f"Steelyard: {name}", note, drawn, duration_s=DURATION_S)
    file.write_text(text, encoding="utf-8")
    print(f"{file.relative_to(_ROOT)}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())
