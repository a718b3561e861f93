"""How many cores a traffic needs, and where many replicas on one Redis meet their limit.

    python -m loadtest.capacity          prints the tables, and writes them into docs/scaling.md

Everything is derived from `results/overhead.json` and `results/scale.json`; nothing is measured
here. Redis serves one command at a time, so it is a queue with one server: arrivals of all
replicas together, each request two visits (admit, settle), the service time as measured.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np

from loadtest.processes import ROOT
from loadtest.report import OVERHEAD, SCALE, table

PAGE = ROOT / "docs" / "scaling.md"
_BEGIN, _END = "<!-- derived: begin -->", "<!-- derived: end -->"
_SHORT_TOKENS, _LONG_TOKENS, _BURST_CHUNKS, _PACED_CHUNKS = 64, 2_000, 200, 100
_VISITS = 2
UTILIZATION = 0.6
"""Of a core that is planned for; the rest is for bursts."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Processor time of the gateway, in microseconds.

    Attributes
    ----------
    request, request_token
        Of a pinned request, and of every token of its prompt.
    decision, decision_token
        What routing adds.
    chunk
        Of a streamed chunk that arrives by itself.
    """

    request: float
    request_token: float
    decision: float
    decision_token: float
    chunk: float

    @classmethod
    def fit(cls, overhead: Mapping[str, Any], *, name: str = "steelyard full") -> Self:
        """Return the model that goes through the measured scenarios."""

        def cpu_us(scenario: str) -> float:
            return float(overhead["scenarios"][scenario][name]["cpu_us"])

        span = _LONG_TOKENS - _SHORT_TOKENS
        pinned, long = cpu_us("pinned, 1 connection"), cpu_us("long prompt, pinned")
        routed, routed_long = cpu_us("routed, 1 connection"), cpu_us("long prompt, routed")
        token = max(0.0, (long - pinned) / span)
        both = max(token, (routed_long - routed) / span)
        request = pinned - token * _SHORT_TOKENS
        return cls(
            request=request,
            request_token=token,
            decision=routed - request - both * _SHORT_TOKENS,
            decision_token=both - token,
            chunk=max(0.0, (cpu_us("stream paced, pinned") - pinned) / _PACED_CHUNKS),
        )

    def cpu_us(self, *, tokens: float, chunks: float = 0, routed: bool = True) -> float:
        """Return what one request costs; without `chunks` its answer is not streamed."""
        cost = self.request + self.request_token * tokens + self.chunk * chunks
        if routed:
            cost += self.decision + self.decision_token * tokens
        return cost

    def per_core(self, **request: Any) -> float:
        """Return how many such requests a second one core is planned for."""
        return UTILIZATION * 1e6 / self.cpu_us(**request)


def redis_wait_ms(
    rate: float, service_us: float, *, visits: int = 200_000, seed: int = 0
) -> tuple[float, float]:
    """Return p50 and p99 of the time at Redis, in milliseconds, for `rate` requests a second.

    Poisson arrivals, exponential service around the measured mean: more spread than scripts of
    one kind have, so cautious. Lindley's recursion: what is left of the work before, plus own.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1e6 / (rate * _VISITS), size=visits)
    service = rng.exponential(service_us / _VISITS, size=visits)
    # The recursion w' = max(0, w + s - a) in closed form: the walk above its running minimum.
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - gaps[1:])])
    waits = walk - np.minimum.accumulate(walk)
    p50, p99 = np.percentile(waits + service, (50, 99)) / 1e3
    return float(p50), float(p99)


def _capacity_table(model: Capacity) -> str:
    rows = []
    for tokens in (64, 500, 2_000, 8_000):
        row = [f"{tokens:,}"]
        for routed in (False, True):
            for chunks in (0, 300):
                cost = model.cpu_us(tokens=tokens, chunks=chunks, routed=routed)
                rate = model.per_core(tokens=tokens, chunks=chunks, routed=routed)
                row.append(f"{cost / 1e3:,.2f} ms, {rate:,.0f}/s")
        rows.append(row)
    head = ["prompt tokens", "pinned, whole", "pinned, 300 chunks", "routed, whole"]
    return table([*head, "routed, 300 chunks"], rows)


def _redis_table(model: Capacity, service_us: float) -> str:
    rows = []
    for replicas in (1, 5, 10, 20, 50, 100):
        rate = replicas * model.per_core(tokens=500, chunks=300)
        busy = rate * service_us / 1e6
        row = [f"{replicas}", f"{rate:,.0f}", f"{rate * _VISITS:,.0f}", f"{100 * busy:,.0f} %"]
        if busy < 0.98:
            p50, p99 = redis_wait_ms(rate, service_us)
            row += [f"{p50:.2f}", f"{p99:.2f}"]
        else:
            row += ["grows", "without bound"]
        rows.append(row)
    head = ["replicas of one core", "requests/s", "visits/s", "Redis busy", "p50 ms", "p99 ms"]
    return table(head, rows)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    overhead = msgspec.json.decode(OVERHEAD.read_bytes())
    scale = msgspec.json.decode(SCALE.read_bytes())
    model = Capacity.fit(overhead)
    asked = scale["redis"]["rows"]["growing conversation, routed"]
    service_us = asked["redis_cpu_us"]
    most = 0.7 * 1e6 / service_us
    per_core = model.per_core(tokens=500, chunks=300)
    calls = ", ".join(f"{name} {count:g}" for name, count in asked["calls_per_request"].items())
    machine = overhead["machine"]
    costs = (
        f"Commit {machine['commit']} on {machine['cpu']}: a request costs {model.request:,.0f} µs "
        f"+ {model.request_token:.3f} µs a prompt token, its decision {model.decision:,.0f} µs "
        f"+ {model.decision_token:.3f} µs a prompt token, a streamed chunk {model.chunk:.0f} µs. "
        f"CPU per request, and requests/s of one core at {UTILIZATION:.0%}:"
    )
    shared = (
        f"A routed request of a conversation takes {service_us:.0f} µs of Redis' one thread "
        f"(commands per request: {calls}). Replicas at {UTILIZATION:.0%} of a core, routed, "
        "500-token prompts, answers of 300 streamed chunks:"
    )
    limit = (
        f"Redis is 70 % busy at {most:,.0f} requests/s, which is {most / per_core:,.0f} replicas "
        "of this traffic."
    )
    parts = [costs, _capacity_table(model), shared, _redis_table(model, service_us), limit]
    text = "\n\n".join(parts)
    print(text)
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    main()
