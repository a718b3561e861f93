"""Measure what choosing a deployment costs: a lease, and what is learned of its call.

    python -m loadtest.bench_balance [--deployments 4] [--calls 100000] [--rounds 5]

Processor time on one core of everything that the pool does for a call, of which one in ten fails,
with 16 calls under way all the time. The hash of the prompt's beginning is
measured by itself: it is taken once a call, for a system prompt of 20 kB with tools.
"""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import itertools
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping

from app.errors import UpstreamUnavailableError
from app.gateway.deployments.balance import Balance, CallSize, Prefix
from app.gateway.deployments.balances import BALANCES
from app.gateway.deployments.bandit import Bandit, BanditRule
from app.gateway.deployments.pool import DeploymentPool, Lease
from app.gateway.deployments.prefix_affinity import prefix_number
from loadtest.sim.fleet import Place
from loadtest.sim.servers import SlotServer

UNDER_WAY = 16
_DOWN = UpstreamUnavailableError("simulated", status=503)
Make = Callable[[random.Random], Balance]


def makes() -> Mapping[str, Make]:
    """Return every way to balance, and every kind of bandit."""
    kinds = ("discounted-thompson", "sw-thompson", "d-ucb", "sw-ucb")
    bandits: dict[str, Make] = {
        f"bandit, {kind}": (lambda rng, kind=kind: Bandit(rng, BanditRule(kind=kind)))  # type: ignore[misc]
        for kind in kinds
    }
    return {name: make for name, make in BALANCES.items() if name != "bandit"} | bandits


def calls_per_s(make: Make, *, n_deployments: int, n_calls: int) -> float:
    """Return how many calls a second of processor time are placed and learned from."""
    ticks = itertools.count()
    places = [Place(name=f"{n}", server=SlotServer((), slots=1)) for n in range(n_deployments)]
    pool = DeploymentPool(
        {"model": [each.deployment() for each in places]},
        clock=lambda: next(ticks) * 1e-3,
        failures=2**40,
        rng=random.Random(1),
        balances={"model": make(random.Random(2))},
    )
    sizes = [
        CallSize(
            input_tokens=100.0 + 10 * number,
            output_tokens=50.0 + number,
            prefix=Prefix(opening=number % 12, conversation=number),
        )
        for number in range(100)
    ]
    chances = [random.Random(3).random() < 0.9 for _ in range(997)]
    under_way: deque[Lease] = deque()
    began = time.process_time()
    for number in range(n_calls):
        lease = pool.lease("model", size=sizes[number % 100])
        lease.first_token()
        under_way.append(lease)
        if len(under_way) > UNDER_WAY:
            ended = under_way.popleft()
            if chances[number % 997]:
                ended.succeeded()
            else:
                ended.failed(_DOWN)
            ended.release()
    return n_calls / (time.process_time() - began)


def hashes_us(n: int = 20_000) -> float:
    """Return the microseconds that it takes to tell what a prompt begins with."""
    system, question = "You are a careful assistant. " * 700, "What is a steelyard?" * 10
    tools = b'[{"type":"function","function":{"name":"weigh"}}]' * 200
    began = time.process_time()
    for _ in range(n):
        prefix_number(tools, [system], question)
    return (time.process_time() - began) / n * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_balance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--deployments", type=int, default=4)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in makes()}
    for _ in range(options.rounds):
        for name, make in makes().items():
            rates[name].append(
                calls_per_s(make, n_deployments=options.deployments, n_calls=options.calls)
            )
    print(f"{options.deployments} deployments: decisions and updates a second of one core")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"{name:28} {middle:>10,.0f}   {1e6 / middle:6.1f} us   (slowest {min(found):,.0f})")
    print(f"{'beginning of a prompt':28} {'':>10}   {hashes_us():6.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
