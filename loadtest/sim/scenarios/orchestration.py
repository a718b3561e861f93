"""Five unlike deployments: by cost while the cheapest has capacity, by turns while it has none."""

import random
from dataclasses import dataclass

import numpy as np

from app.gateway.deployments.orchestration import Orchestration
from app.gateway.deployments.orchestrator import Mode, OrchestrationRule
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.mixes import pieces_of_work
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats
from loadtest.sim.world import World

UNITS = {
    "inf2": (0.7582, 105.0, 0.67),
    "trn1": (1.3438, 130.0, 0.51),
    "g5-triton": (1.006, 90.0, 0.68),
    "g6": (0.8048, 61.0, 0.96),
    "g5-cuda": (1.006, 60.0, 0.92),
}
"""US dollars an hour, calls a second, and seconds of an answer, as published."""

POLL_S, CYCLE_S = 10.0, 120.0
RULE = OrchestrationRule(poll_s=POLL_S, cycle_s=CYCLE_S, max_latency_s=5.0)
"""Answers of a simulated unit come whole: their time is no sign here."""


@dataclass
class Watch:
    """What a run's modes and weights were, poll by poll."""

    at_s: list[float]
    by_cost: list[float]
    shares: list[tuple[float, ...]]
    n_switches: list[int]


def run(
    rate_per_s: float, away: list[tuple[float, float]], duration_s: float, seed: int
) -> tuple[Result, Watch]:
    """Simulate one load, while the cheapest unit answers 503 in some stretches of time."""
    rng = np.random.default_rng([seed, round(rate_per_s)])
    traffic = pieces_of_work(poisson(rate_per_s, duration_s, rng), rng)
    places = [
        Place(
            name=name,
            # As many places as keep up with what it takes at most.
            server=SlotServer((traffic.effort * answer_s).tolist(), slots=round(rps * answer_s)),
            usd_per_hour=usd_per_hour,
            max_rps=rps,
        )
        for name, (usd_per_hour, rps, answer_s) in UNITS.items()
    ]
    made: list[Orchestration] = []

    def balance(chance: random.Random) -> Orchestration:
        made.append(Orchestration(chance, RULE))
        return made[-1]

    world = World(traffic, places, seed=seed, balances={"model": balance}, fails=True)
    for begins_s, ends_s in away:
        world.at(begins_s, lambda: setattr(places[0], "succeeds", 0.0))
        world.at(ends_s, lambda: setattr(places[0], "succeeds", 1.0))
    watch = Watch([], [], [], [])

    def look() -> None:
        state = made[0].state(world.clock.now)
        watch.at_s.append(world.clock.now)
        watch.by_cost.append(float(state.mode is Mode.COST))
        watch.shares.append(tuple(each.weight for each in state.units))
        watch.n_switches.append(state.n_switches)

    world.every(POLL_S / 10, look)
    return world.run(), watch


def shares(result: Result, from_s: float, to_s: float) -> Floats:
    """Return what each unit got of the requests in a stretch of time."""
    within = (result.traffic.arrives_s >= from_s) & (result.traffic.arrives_s < to_s)
    got = np.bincount(result.place[within], minlength=len(UNITS))
    return got / max(1, got.sum())


@SCENARIOS.register("orchestration")
class OrchestrationScenario(Scenario):
    """The published five units, whose cheapest loses its capacity: modes, weights and refusals."""

    def run(self, setting: Setting) -> Report:
        """Simulate an outage, and one that comes and goes faster than a load cycle."""
        rate_per_s = 20.0 if setting.short else 100.0
        duration_s = 7 * CYCLE_S
        gone_s, back_s = 1.25 * CYCLE_S + 3, 1.75 * CYCLE_S
        once, watched = run(rate_per_s, [(gone_s, back_s)], duration_s, setting.seed)
        period_s = 0.4 * CYCLE_S
        blinks = [
            (at, at + period_s / 2) for at in np.arange(gone_s, duration_s - period_s, period_s)
        ]
        often, blinked = run(rate_per_s, blinks, duration_s, setting.seed)
        at = np.array(watched.at_s)
        by_cost = np.array(watched.by_cost)
        flipped_s = float(at[(at >= gone_s) & (by_cost == 0)][0])
        again_s = float(at[(at > flipped_s) & (by_cost == 1)][0])
        calm, outage = shares(once, 0, gone_s), shares(once, flipped_s, back_s)
        cycles = np.array(blinked.at_s) // CYCLE_S
        switched = np.flatnonzero(np.diff(blinked.n_switches, prepend=0))
        most = int(np.bincount(cycles[switched].astype(np.int64), minlength=1).max())
        target = np.array([0.4, 0.2, 0.15, 0.1, 0.15])
        return Report(
            rows=[
                times("one outage", once),
                times("comes and goes", often),
                {
                    "": "by cost, % of requests",
                    **{name: 100 * share for name, share in zip(UNITS, calm, strict=True)},
                },
                {
                    "": "outage, % of requests",
                    **{name: 100 * share for name, share in zip(UNITS, outage, strict=True)},
                },
            ],
            verdicts=[
                Verdict(
                    claim="largest difference from the published weights 40, 20, 15, 10, 15 %",
                    measured=float(np.abs(np.array(watched.shares[0]) - target).max()),
                    at_most=1e-12,
                ),
                Verdict(
                    claim="the same of the requests that units got",
                    measured=float(np.abs(calm - target).max()),
                    at_most=0.02,
                ),
                Verdict(
                    claim="seconds from the loss to the other mode",
                    measured=flipped_s - gone_s,
                    at_most=POLL_S + POLL_S / 10,
                ),
                Verdict(
                    claim="cost decides again as a load cycle begins: seconds into it",
                    measured=again_s % CYCLE_S,
                    at_most=POLL_S + POLL_S / 10,
                ),
                Verdict(
                    claim="switches in a load cycle, while capacity comes and goes",
                    measured=float(most),
                    at_most=1.0,
                    at_least=1.0,
                ),
                Verdict(
                    claim="requests that were refused, in either",
                    measured=float((~once.answered).sum() + (~often.answered).sum()),
                    at_most=0.0,
                ),
            ],
            plots=[
                plot(
                    "By cost",
                    "1: cost decides; 0: capacity",
                    [
                        line("one outage", at, by_cost),
                        line("comes and goes", np.array(blinked.at_s), np.array(blinked.by_cost)),
                    ],
                    maximum=1.0,
                ),
                plot(
                    "Requests at the cheapest unit",
                    "share, by when they came",
                    [
                        line(
                            name,
                            edges[:-1],
                            averaged(each.traffic.arrives_s, (each.place == 0) * 1.0, edges),
                        )
                        for name, each in (("one outage", once), ("comes and goes", often))
                        for edges in (np.arange(0.0, duration_s, 10.0),)
                    ],
                    maximum=1.0,
                ),
            ],
            duration_s=duration_s,
        )
