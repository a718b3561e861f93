"""Measure what a request costs more where the gateway looks at time and load.

    python -m loadtest.bench_time [--turns 60] [--count] [--only "all, balance: bandit"]

One application for each thing that can be on, all of them in this process, asked by turns in
batches of 40 requests, so that what the machine does besides falls on all alike: processor time of
the event loop's thread, as `loadtest.bench_path` measures it, and the difference to the plain one
in the same turn. In all of them every model is served at two places. `--count` tells calls of
functions and bytecodes per request in place of times. `--only` asks the plain one and one other.

What the watch has seen is put away before each batch: where that waits, it looks at no more
answers, and requests are cheaper for it.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from loadtest.bench_path import Counter, Instant, application, ask, bodies, call_through

_CHAT = "/v1/chat/completions"
_BATCH, _WARM_UP, _COUNTED = 40, 300, 50
_MANY = 1_000_000_000

Document = dict[str, Any]


def plain(document: Document) -> None:
    """Serve every model at two places, and measure nothing of them that can be left out."""
    document["upstreams"]["other"] = dict(document["upstreams"]["mock"])
    for name, model in document["models"].items():
        model.setdefault("spec", name)
        model.pop("upstream")
        model["deployments"] = [{"upstream": "mock"}, {"upstream": "other"}]


def places(document: Document) -> None:
    """Say where places are, what they cost, and what they take: quotas, and calls at once."""
    for model in document["models"].values():
        for each in model["deployments"]:
            each |= {
                "region": "here",
                "usd_per_hour": 1.0,
                "max_rps": 1_000_000.0,
                "requests_per_minute": _MANY,
                "tokens_per_minute": _MANY,
                "max_outstanding": 10_000,
            }


def latency(document: Document) -> None:
    """Limit the predicted time of answers, and give it a price."""
    for policy in document["policies"].values():
        policy["latency"] = {"max_total_s": 600, "max_ttft_s": 600, "usd_per_s": 1e-6}


def keys(document: Document) -> None:
    """Give keys classes and weights."""
    document["allowances"]["key"] = {"priorities": ["interactive", "batch"], "weight": 2.0}


def balance(name: str) -> Callable[[Document], None]:
    """Spread calls in a way."""

    def change(document: Document) -> None:
        for model in document["models"].values():
            model["balance"] = name

    return change


def best_effort(document: Document) -> None:
    """Have the policy choose among three tiers."""
    for policy in document["policies"].values():
        tiers = policy["candidates"][:3]
        policy["best_effort"] = {"deadline_ms": 600_000, "tiers": tiers}


ALL = (places, latency, keys, balance("bandit"))
VARIANTS: Mapping[str, tuple[Callable[[Document], None], ...]] = {
    "plain": (),
    "places, quotas, queues": (places,),
    "limits and price of time": (latency,),
    "classes and weights": (keys,),
    **{f"balance: {name}": (balance(name),) for name in ("predicted-impact", "bandit")},
    "balance: prefix-affinity": (balance("prefix-affinity"),),
    "all, balance: bandit": ALL,
    "all and best effort": (*ALL, best_effort),
}
BATCH_HEADER = (b"x-route-priority", b"batch")
LIMIT_HEADERS = [
    (b"x-route-max-latency-ms", b"600000"),
    (b"x-route-max-ttft-ms", b"600000"),
    (b"x-route-latency-weight", b"0.000001"),
]


def headers_of(name: str) -> list[tuple[bytes, bytes]]:
    """Return what requests of a variant ask for besides."""
    if not name.startswith("all"):
        return []
    return [BATCH_HEADER] if "best effort" in name else [BATCH_HEADER, *LIMIT_HEADERS]


Apps = Mapping[str, tuple[Any, list[tuple[bytes, bytes]]]]


@contextlib.asynccontextmanager
async def applications(asked: Sequence[bytes], *, only: str | None = None) -> AsyncIterator[Apps]:
    """Run an application for every variant, warm; yields each with what its clients send."""
    chosen = VARIANTS if only is None else {name: VARIANTS[name] for name in ("plain", only)}
    async with contextlib.AsyncExitStack() as running:
        apps = {}
        for name, changes in chosen.items():

            def change(document: Document, changes: Any = changes) -> None:
                for each in (plain, *changes):
                    each(document)

            app, headers = await running.enter_async_context(application(change=change))
            call_through(app, Instant())
            apps[name] = app, [*headers, *headers_of(name)]
            for body in asked:
                await ask(app, apps[name][1], body, _CHAT)
        yield apps


async def put_away(app: Any) -> None:
    """Have what was seen of models put away, and writers have their turn."""
    await app.state.steelyard.gateway.watch.keep()
    await asyncio.sleep(0.01)


async def measure(apps: Apps, asked: Sequence[bytes], n_turns: int) -> None:
    """Print what every variant takes, and how much more than the plain one."""
    took_us: dict[str, list[float]] = {name: [] for name in apps}
    order = list(apps)
    for turn in range(n_turns):
        some = [asked[(turn * _BATCH + i) % len(asked)] for i in range(_BATCH)]
        # Nobody always comes after the same one.
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            app, headers = apps[name]
            await put_away(app)
            began = time.thread_time()
            for body in some:
                await ask(app, headers, body, _CHAT)
            took_us[name].append((time.thread_time() - began) / _BATCH * 1e6)
    base = took_us["plain"]
    for name, times in took_us.items():
        more = [mine - plain for mine, plain in zip(times, base, strict=True)]
        low, middle, high = statistics.quantiles(more, n=4)
        print(
            f"{name:26} {min(times):6,.0f} us at least, {statistics.median(times):6,.0f} median; "
            f"{middle:+6.1f} to the plain one in the same turn ({low:+.1f} to {high:+.1f}), "
            f"{min(times) - min(base):+.1f} of the least"
        )


async def count(apps: Apps, asked: Sequence[bytes]) -> None:
    """Print how many functions are called for a request, and how many bytecodes are run."""
    first: tuple[float, float] | None = None
    for name, (app, headers) in apps.items():
        counter = Counter()
        for watched in (counter.calls, counter.bytecodes):
            await put_away(app)
            with watched():
                for body in asked:
                    await ask(app, headers, body, _CHAT)
        found = counter.n_calls / len(asked), counter.n_bytecodes / len(asked)
        first = first or found
        print(
            f"{name:28} {found[0]:8,.1f} calls ({found[0] - first[0]:+.0f}), "
            f"{found[1]:9,.1f} bytecodes ({found[1] - first[1]:+.0f})"
        )


async def run(model: str, n_turns: int, *, counts: bool, only: str | None) -> None:
    """Measure requests for one model."""
    asked = bodies(model, _WARM_UP)
    async with applications(asked, only=only) as apps:
        if counts:
            await count(apps, asked[:_COUNTED])
        else:
            await measure(apps, asked, n_turns)


def main() -> None:
    """Measure requests that name a model, and such that are routed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--count", action="store_true", help="calls and bytecodes, no times")
    parser.add_argument("--only", choices=[*VARIANTS][1:], help="the plain one and this one")
    options = parser.parse_args()
    for name, model in (("pinned", "gpt-4-1106-preview"), ("routed", "auto")):
        print(f"-- {name}")
        asyncio.run(run(model, options.turns, counts=options.count, only=options.only))


if __name__ == "__main__":
    main()
