"""Deployments whose success changes, and bandits that follow it; or the ones of a decision log."""

import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from app.gateway.deployments.bandit import Bandit, BanditKind, BanditRule
from loadtest.sim.calls_log import read_calls_log
from loadtest.sim.scenarios.base import (
    SCENARIOS,
    Report,
    Row,
    Scenario,
    Setting,
    Verdict,
    averaged,
    line,
    plot,
)
from loadtest.sim.traffic import Floats
from loadtest.sim.trials import Priority, Trials, run
from loadtest.sim.world import MakeBalance
from scripts.dashboards.drawing import Plot

FOUR_PHASES = np.array(
    [[0.95, 0.90, 0.85], [0.60, 0.90, 0.95], [0.95, 0.90, 0.85], [0.85, 0.90, 0.95]]
)
"""How often each of three deployments answers: the first falls to .60, returns, and swaps."""
N_FOUR_PHASES = 20_000
KINDS: Sequence[BanditKind] = ("discounted-thompson", "sw-thompson", "d-ucb", "sw-ucb")
MEMORIES = (100, 250, 500, 1_000, 2_500, 10_000)
SLOW_MEMORY = 10_000
"""For rates that differ by a hundredth, which a few hundred calls do not show."""


def bandit(kind: BanditKind, memory: float, rng: random.Random) -> Bandit:
    """Return one as it is configured; of an endless memory, the stationary one of textbooks."""
    explore = 0.0 if math.isinf(memory) else 0.01
    return Bandit(rng, BanditRule(kind=kind, memory=memory, explore=explore))


def drifting(n_stretches: int = 400) -> Floats:
    """Return rates of four deployments that rise and fall between .95 and .97, in turn."""
    at = np.arange(n_stretches)[:, None] / n_stretches
    rates: Floats = 0.96 + 0.01 * np.sin(2 * math.pi * (at + np.arange(4) / 4))
    return rates


def mean_success(
    rates: Floats,
    make: MakeBalance,
    *,
    n_calls: int,
    seeds: Sequence[int],
    delay_s: float = 0.0,
    n_replicas: int = 1,
    circuits: bool = False,
) -> float:
    """Return the success of a balance over some runs."""
    runs = [
        run(
            rates,
            make,
            n_calls=n_calls,
            seed=seed,
            delay_s=delay_s,
            n_replicas=n_replicas,
            circuits=circuits,
        )
        for seed in seeds
    ]
    return float(np.mean([each.success for each in runs]))


@SCENARIOS.register("bandits")
class Bandits(Scenario):
    """Deployments that fail, recover and drift: what bandits make of it (--log: of a log's own).

    Success is the rate of the deployment that each call went to, so that luck does not count. The
    gateway's circuits are off but where it says so: they help whatever chooses.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate every kind, or every kind and memory on what a log says."""
        if setting.log is not None:
            return _of_log(setting.log, setting)
        seeds = [setting.seed + number for number in range(1 if setting.short else 8)]
        four = partial(mean_success, FOUR_PHASES, n_calls=N_FOUR_PHASES, seeds=seeds)
        makes: dict[str, MakeBalance] = {
            "fixed": Priority,
            "stationary thompson": partial(bandit, "discounted-thompson", math.inf),
            **{f"{kind}, memory 500": partial(bandit, kind, 500) for kind in KINDS},
        }
        found = {name: four(make) for name, make in makes.items()}
        shipped = makes["discounted-thompson, memory 500"]
        with_circuits = {name: four(makes[name], circuits=True) for name in list(makes)[:3]}
        late = four(shipped, delay_s=1.0)
        two = four(shipped, n_replicas=2)
        n_drift = 100_000 if setting.short else 400_000
        slow = partial(bandit, "discounted-thompson", SLOW_MEMORY)
        drifts = partial(mean_success, drifting(), n_calls=n_drift, seeds=seeds[:1])
        drift = {"fixed": float(drifting()[:, 0].mean()), "memory 10,000": drifts(slow)}
        if not setting.short:
            drift["memory 500"] = drifts(shipped)
        best = float(FOUR_PHASES.max(axis=1).mean())
        rows: list[Row] = [{"": "four phases: who knows", "success": best}]
        rows += [{"": f"four phases: {name}", "success": each} for name, each in found.items()]
        rows += [
            {"": f"four phases, circuits: {name}", "success": each}
            for name, each in with_circuits.items()
        ]
        rows += [
            {"": "four phases: told 1 s late (100 calls a second)", "success": late},
            {"": "four phases: two gateways that merge every 2 s", "success": two},
            {"": "drifts: who knows", "success": float(drifting().max(axis=1).mean())},
        ]
        rows += [{"": f"drifts: {name}", "success": each} for name, each in drift.items()]
        discounted = found["discounted-thompson, memory 500"]
        return Report(
            rows=[{**row, "success": f"{row['success']:.4f}"} for row in rows],
            verdicts=[
                Verdict(
                    claim="four phases: discounted Thompson less the stationary one",
                    measured=discounted - found["stationary thompson"],
                    at_least=0.015,
                ),
                Verdict(
                    claim="four phases: the worst kind less the stationary one",
                    measured=min(found[f"{kind}, memory 500"] for kind in KINDS)
                    - found["stationary thompson"],
                    at_least=0.015,
                ),
                Verdict(
                    claim="drifts from .95 to .97: points above the fixed rule",
                    measured=100 * (drift["memory 10,000"] - drift["fixed"]),
                    at_least=0.5,
                ),
                Verdict(
                    claim="told a second late: what it costs",
                    measured=discounted - late,
                    at_most=0.005,
                ),
                Verdict(
                    claim="two gateways that merge: what it costs beside one",
                    measured=discounted - two,
                    at_most=0.005,
                ),
            ],
            plots=[_plotted(makes, seed=setting.seed)],
            duration_s=N_FOUR_PHASES / 100.0,
        )


def _of_log(path: Path, setting: Setting) -> Report:
    """Return what each kind and memory would have made of a log's deployments."""
    history = read_calls_log(path)
    n_calls = max(2_000, min(history.n_calls, 5_000 if setting.short else 50_000))
    seeds = [setting.seed, setting.seed + 1]
    of_log = partial(mean_success, history.rates, n_calls=n_calls, seeds=seeds)
    found = {
        (kind, memory): of_log(partial(bandit, kind, memory))
        for kind in KINDS
        for memory in MEMORIES
    }
    kind, memory = max(found, key=lambda each: found[each])
    by_place = history.rates.mean(axis=0)
    stretches = np.arange(len(history.rates) + 1) / len(history.rates) * 60.0
    rows: list[Row] = [
        {"": "who knows", "success": f"{history.rates.max(axis=1).mean():.4f}"},
        *(
            {"": f"always {name}", "success": f"{rate:.4f}"}
            for name, rate in zip(history.deployments, by_place, strict=True)
        ),
        *(
            {"": f"{each[0]}, memory {each[1]:,}", "success": f"{value:.4f}"}
            for each, value in sorted(found.items(), key=lambda item: -item[1])
        ),
    ]
    return Report(
        rows=rows,
        plots=[
            plot(
                f"Success of {history.model}'s deployments",
                "over the log",
                [
                    line(name, stretches[:-1], history.rates[:, number])
                    for number, name in enumerate(history.deployments)
                ],
                maximum=1.0,
            )
        ],
        notes=[
            (
                f"{history.n_calls:,} calls of {history.model} at {len(history.deployments)} "
                f"deployments. Best in a simulation of them:\n"
                f"    bandit: {{kind: {kind}, memory: {memory}}}"
            )
        ],
    )


def _plotted(makes: Mapping[str, MakeBalance], *, seed: int) -> Plot:
    edges = np.linspace(0, N_FOUR_PHASES / 100.0, 41)
    at = np.arange(N_FOUR_PHASES) / 100.0
    shown = ("fixed", "stationary thompson", "discounted-thompson, memory 500")
    runs: dict[str, Trials] = {
        name: run(FOUR_PHASES, makes[name], n_calls=N_FOUR_PHASES, seed=seed) for name in shown
    }
    return plot(
        "Success in four phases",
        "of the deployments that calls went to",
        [line(name, edges[:-1], averaged(at, each.expected, edges)) for name, each in runs.items()],
        maximum=1.0,
    )
