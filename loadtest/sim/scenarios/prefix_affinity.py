"""Conversations that grow, on instances that keep what they have read."""

import math
import random
from collections.abc import Sequence

import numpy as np

from app.gateway.deployments.balance import CallSize, LeastOutstanding
from app.gateway.deployments.prefix_affinity import MAX_LOAD, PrefixAffinity
from app.gateway.deployments.slots import Slot
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.mixes import conversations
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.servers import EIGHT_BILLION, BatchServer
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import MakeBalance, World

N_INSTANCES = 4
APPLICATIONS = {
    "twelve applications": (12, 8, 6, 5, 4, 3, 3, 2, 2, 2, 1, 1),
    "one application": (1,),
}
"""How often conversations are of each."""


class Bounded(PrefixAffinity):
    """The gateway's own, and how far a choice of it went beyond its bound."""

    over = 0

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:
        """Return what the gateway does."""
        slot = super().pick(slots, now, size)
        total = 1 + sum(each.outstanding for each in slots)
        bound = math.ceil(MAX_LOAD * total / len(slots))
        self.over = max(self.over, slot.outstanding + 1 - bound)
        return slot


def traffic_of(applications: Sequence[float], setting: Setting) -> Traffic:
    """Return the turns of conversations of some applications, with system prompts of 1,200."""
    rng = np.random.default_rng(setting.seed)
    seconds = 300.0 if setting.short else 900.0
    return conversations(
        poisson(0.6, seconds, rng),
        rng,
        mean_turns=8.0,
        system_tokens=1_200,
        question_tokens=150.0,
        answer_tokens=150.0,
        pause_s=15.0,
        applications=applications,
    )


def run(traffic: Traffic, make: MakeBalance, *, seed: int) -> tuple[Result, float]:
    """Simulate one way to balance; return also which part of the prompts was not read again."""
    places = [
        Place(name=f"instance {number + 1}", server=BatchServer(traffic, EIGHT_BILLION))
        for number in range(N_INSTANCES)
    ]
    result = World(traffic, places, seed=seed, balances={"model": make}).run()
    cached = sum(each.server.account.cached_tokens for each in places)
    return result, cached / float(traffic.input_tokens.sum())


@SCENARIOS.register("prefix-affinity")
class Prefixes(Scenario):
    """Growing conversations on 4 instances with prefix caches: what keeping them together saves.

    Once with twelve applications, whose system prompts are shared by their conversations, and once
    with one, which all instances have to take.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate both, and least outstanding on the same requests."""
        rows, verdicts, plots, duration_s = [], [], [], 0.0
        for name, applications in APPLICATIONS.items():
            traffic = traffic_of(applications, setting)
            bounded: list[Bounded] = []

            def affine(rng: random.Random, kept: list[Bounded] = bounded) -> Bounded:
                kept.append(Bounded(rng))
                return kept[-1]

            results = {
                "least-outstanding": run(traffic, LeastOutstanding, seed=setting.seed),
                "prefix-affinity": run(traffic, affine, seed=setting.seed),
            }
            rows += [
                times(f"{name}, {balance}", result)
                | {"tokens cached %": 100 * cached, "max/mean got": result.imbalance(window=500)}
                for balance, (result, cached) in results.items()
            ]
            (plain, least), (kept, most) = results.values()
            verdicts += [
                Verdict(
                    claim=f"{name}: points of prompts' tokens cached, above least outstanding",
                    measured=100 * (most - least),
                    at_least=10.0,
                ),
                Verdict(
                    claim=f"{name}: calls of an instance beyond its bound",
                    measured=float(max(each.over for each in bounded)),
                    at_most=0.0,
                ),
                Verdict(
                    claim=f"{name}: mean time to the answer / least outstanding",
                    measured=kept.mean_s / plain.mean_s,
                    at_most=1.0,
                ),
            ]
            duration_s = float(traffic.arrives_s[-1])
            edges = np.linspace(0, duration_s, 31)
            plots.append(
                plot(
                    f"First token, {name}",
                    "mean time to it, by when it was asked for",
                    [
                        line(
                            balance,
                            edges[:-1],
                            averaged(traffic.arrives_s, result.first_token_s, edges),
                        )
                        for balance, (result, _) in results.items()
                    ],
                    unit="s",
                )
            )
        return Report(rows=rows, verdicts=verdicts, plots=plots, duration_s=duration_s)
