"""Deployments whose success changes, and bandits that follow it; or the ones of a decision log."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from app.gateway.deployments.bandit import Bandit, BanditKind, BanditRule
from loadtest.sim.calls_log import read_calls_log
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
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
CallsKept = float | Literal["adaptive"]
MEMORIES: Sequence[CallsKept] = ("adaptive", 100, 250, 500, 1_000, 2_500, 10_000)
FIXED: Sequence[CallsKept] = (500, 10_000)
"""Memories of one length: 500 calls do not show differences of a hundredth, 10,000 forget late."""


def bandit(kind: BanditKind, memory: CallsKept, rng: random.Random) -> Bandit:
    """Return one as it is configured; of an endless memory, the stationary one of textbooks."""
    explore = 0.0 if memory == math.inf else 0.01
    return Bandit(rng, BanditRule(kind=kind, memory=memory, explore=explore))


def drifting(n_stretches: int = 400) -> Floats:
    """Return rates of four deployments that rise and fall between .95 and .97, in turn."""
    at = np.arange(n_stretches)[:, None] / n_stretches
    rates: Floats = 0.96 + 0.01 * np.sin(2 * math.pi * (at + np.arange(4) / 4))
    return rates


@dataclass(frozen=True, slots=True)
class Success:
    """What runs of several seeds came to: the mean, and the standard deviation between seeds."""

    mean: float
    between: float = math.nan

    def row(self, name: str) -> Row:
        """Return it as a line of a table."""
        between = "" if math.isnan(self.between) else f"{self.between:.4f}"
        return {"": name, "success": f"{self.mean:.4f}", "sd of seeds": between}


def success(
    rates: Floats,
    make: MakeBalance,
    *,
    n_calls: int,
    seeds: Sequence[int],
    delay_s: float = 0.0,
    n_replicas: int = 1,
    circuits: bool = False,
) -> Success:
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
        ).success
        for seed in seeds
    ]
    return Success(float(np.mean(runs)), float(np.std(runs, ddof=1)) if len(runs) > 1 else math.nan)


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
        four = partial(success, FOUR_PHASES, n_calls=N_FOUR_PHASES, seeds=seeds)
        drifts = partial(
            success,
            drifting(),
            n_calls=100_000 if setting.short else 400_000,
            seeds=seeds[: 1 if setting.short else 3],
        )
        kinds: dict[str, MakeBalance] = {kind: partial(bandit, kind, "adaptive") for kind in KINDS}
        shipped = kinds[KINDS[0]]
        stationary = partial(bandit, KINDS[0], math.inf)
        lengths = () if setting.short else FIXED
        fixed: dict[str, MakeBalance] = {
            f"{KINDS[0]}, memory {length:,}": partial(bandit, KINDS[0], length)
            for length in lengths
        }
        beside: dict[str, MakeBalance] = {"the first": Priority, "stationary thompson": stationary}
        ours_alone: dict[str, MakeBalance] = {KINDS[0]: shipped}
        all_or_ours = ours_alone if setting.short else {**kinds, **fixed}
        phases = {name: four(make) for name, make in {**beside, **kinds, **fixed}.items()}
        with_circuits = {
            name: four(make, circuits=True) for name, make in {**beside, **all_or_ours}.items()
        }
        late = four(shipped, delay_s=1.0)
        two = four(shipped, n_replicas=2)
        drift = {name: drifts(make) for name, make in all_or_ours.items()}
        with_circuits_drift = {} if setting.short else {KINDS[0]: drifts(shipped, circuits=True)}
        first = float(drifting()[:, 0].mean())
        rows = [
            Success(float(FOUR_PHASES.max(axis=1).mean())).row("four phases: who knows"),
            *(each.row(f"four phases: {name}") for name, each in phases.items()),
            *(each.row(f"four phases, circuits: {name}") for name, each in with_circuits.items()),
            late.row("four phases: told 1 s late (100 calls a second)"),
            two.row("four phases: two gateways that merge every 2 s"),
            Success(float(drifting().max(axis=1).mean())).row("drifts: who knows"),
            Success(first).row("drifts: the first"),
            *(each.row(f"drifts: {name}") for name, each in drift.items()),
            *(each.row(f"drifts, circuits: {name}") for name, each in with_circuits_drift.items()),
        ]
        ours = phases[KINDS[0]].mean
        return Report(
            rows=rows,
            verdicts=[
                Verdict(
                    claim="four phases: discounted Thompson less the stationary one",
                    measured=ours - phases["stationary thompson"].mean,
                    at_least=0.015,
                ),
                Verdict(
                    claim="four phases: the worst kind less the stationary one",
                    measured=min(phases[kind].mean for kind in KINDS)
                    - phases["stationary thompson"].mean,
                    at_least=0.015,
                ),
                Verdict(
                    claim="drifts from .95 to .97: points above the first alone",
                    measured=100 * (drift[KINDS[0]].mean - first),
                    at_least=0.5,
                ),
                Verdict(
                    claim="drifts: points of the worst kind above the first alone",
                    measured=100
                    * (min(drift[name].mean for name in drift if name in kinds) - first),
                    at_least=0.4,
                ),
                Verdict(
                    claim="told a second late: what it costs",
                    measured=ours - late.mean,
                    at_most=0.005,
                ),
                Verdict(
                    claim="two gateways that merge: what it costs beside one",
                    measured=ours - two.mean,
                    at_most=0.005,
                ),
            ],
            plots=[_plotted({**beside, **ours_alone}, seed=setting.seed)],
            duration_s=N_FOUR_PHASES / 100.0,
        )


def _of_log(path: Path, setting: Setting) -> Report:
    """Return what each kind and memory would have made of a log's deployments."""
    history = read_calls_log(path)
    n_calls = max(2_000, min(history.n_calls, 5_000 if setting.short else 50_000))
    seeds = [setting.seed, setting.seed + 1]
    of_log = partial(success, history.rates, n_calls=n_calls, seeds=seeds)
    found = {
        (kind, memory): of_log(partial(bandit, kind, memory)).mean
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
            {"": f"{each[0]}, memory {each[1]}", "success": f"{value:.4f}"}
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
    runs: dict[str, Trials] = {
        name: run(FOUR_PHASES, make, n_calls=N_FOUR_PHASES, seed=seed)
        for name, make in makes.items()
    }
    return plot(
        "Success in four phases",
        "of the deployments that calls went to",
        [line(name, edges[:-1], averaged(at, each.expected, edges)) for name, each in runs.items()],
        maximum=1.0,
    )
