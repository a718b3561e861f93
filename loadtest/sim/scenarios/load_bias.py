"""Models near their rate limits: shadow prices beside running into 429s, over two replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.gateway.load.shadow_prices import RateLimit, ShadowPrices, Shared, UsageRates
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import line, plot
from loadtest.sim.fleet import Place, Quota
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.tiers import of
from loadtest.sim.traffic import Floats
from loadtest.sim.world import World

MODELS = ("a", "b", "c", "d")
N_REPLICAS, RATE_PER_S, TICK_S = 2, 40.0, 2.0
SPREAD = 0.05
"""How far models differ on a request, in quality: the standard deviation of each."""
EVEN, LEADING = (0.81, 0.80, 0.80, 0.79), (0.84, 0.80, 0.79, 0.78)
FREE, ALONE, SHARED = "chosen freely", "prices, own counts", "prices, shared counts"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """How good models are on average, and what each takes a second; None: as much as comes."""

    quality: Sequence[float]
    takes_per_s: Sequence[float | None]


CASES = {
    "far from limits": _Case(quality=EVEN, takes_per_s=(400.0,) * 4),
    "near limits": _Case(quality=EVEN, takes_per_s=(RATE_PER_S / 4 / 0.9 * 1.02,) * 4),
    "beyond one limit": _Case(quality=LEADING, takes_per_s=(8.0, None, None, None)),
}


@dataclass(frozen=True, kw_only=True)
class _Run:
    result: Result
    quality: Floats
    """Of each answer."""
    wished: Floats
    """Of the best model for it, were there no limits."""
    prices: Sequence[tuple[float, Mapping[str, float]]]

    @property
    def lost(self) -> float:
        """What limits cost, in quality, once prices have settled."""
        return float((self.wished - self.quality)[self._settled].mean())

    @property
    def throttled(self) -> float:
        """429s of all requests."""
        return self.result.n_throttled / len(self.quality)

    @property
    def imbalance(self) -> float:
        """Max/mean of what models get, per 1,000 requests, once prices have settled."""
        got = self.result.place[self._settled]
        whole = got[: len(got) // 1000 * 1000].reshape(-1, 1000)
        return float(np.mean([np.bincount(each, minlength=4).max() * 4 / 1000 for each in whole]))

    @property
    def _settled(self) -> slice:
        return slice(len(self.quality) // 2, None)


@SCENARIOS.register("load-bias")
class LoadBias(Scenario):
    """Two replicas before four models with limits: loads even out, and hardly a 429 is met."""

    def run(self, setting: Setting) -> Report:
        """Simulate limits that do not bind, all of them nearly, and one of them hard."""
        seconds = 400.0 if setting.short else 900.0
        runs = {
            (case, by): _run(CASES[case], by, seconds, setting.seed)
            for case in CASES
            for by in (FREE, ALONE, SHARED)
        }
        far, near, beyond = (runs[case, SHARED] for case in CASES)
        free, alone = runs["beyond one limit", FREE], runs["beyond one limit", ALONE]
        at = np.array([when for when, _ in beyond.prices])
        return Report(
            rows=[
                {
                    "": f"{case}: {by}",
                    "requests": len(run.quality),
                    "quality lost": run.lost,
                    "429s %": 100 * run.throttled,
                    "max/mean": run.imbalance,
                }
                for (case, by), run in runs.items()
            ],
            verdicts=[
                Verdict(
                    claim="far from limits: quality lost to free choice",
                    measured=far.lost - runs["far from limits", FREE].lost,
                    at_most=0.0005,
                ),
                Verdict(
                    claim="near limits: max/mean of 1,000 requests",
                    measured=near.imbalance,
                    at_most=1.1,
                ),
                Verdict(
                    claim="chosen freely, far from limits: the same",
                    measured=runs["far from limits", FREE].imbalance,
                    at_least=1.2,
                ),
                Verdict(claim="near limits: quality lost", measured=near.lost, at_most=0.002),
                Verdict(
                    claim="beyond one limit: 429s of all requests",
                    measured=beyond.throttled,
                    at_most=0.005,
                ),
                Verdict(
                    claim="chosen freely: 429s of all requests",
                    measured=free.throttled,
                    at_least=0.02,
                ),
                Verdict(
                    claim="beyond one limit: quality lost, of what 429s lose",
                    measured=beyond.lost / free.lost,
                    at_most=0.9,
                ),
                Verdict(
                    claim="the test bites: 429s by own counts alone",
                    measured=alone.throttled,
                    at_least=0.02,
                ),
            ],
            plots=[
                plot(
                    "Prices beyond one limit",
                    "in quality",
                    [
                        line(model, at, np.array([p.get(model, 0.0) for _, p in beyond.prices]))
                        for model in MODELS
                    ],
                )
            ],
            duration_s=seconds,
        )


def _run(case: _Case, by: str, seconds: float, seed: int) -> _Run:
    rng = np.random.default_rng(seed)
    traffic = of(poisson(RATE_PER_S, seconds, rng), rng)
    quality = np.array(case.quality) + SPREAD * rng.standard_normal((len(traffic), len(MODELS)))
    places = [
        Place(
            name=model,
            model_id=model,
            server=SlotServer((0.2 * traffic.effort).tolist(), slots=64),
            quota=None if takes is None else Quota(requests_per_min=60 * takes),
        )
        for model, takes in zip(MODELS, case.takes_per_s, strict=True)
    ]
    limits = {
        model: RateLimit(takes)
        for model, takes in zip(MODELS, case.takes_per_s, strict=True)
        if takes is not None
    }
    prices = [ShadowPrices(replica=str(number), limits=limits) for number in range(N_REPLICAS)]
    usage = [UsageRates() for _ in range(N_REPLICAS)]
    rows: list[list[float]] = quality.tolist()
    history: list[tuple[float, Mapping[str, float]]] = []
    kept = Shared()

    def choose(request: int, _now: float) -> Sequence[str]:
        price = prices[world.replica_of(request)].prices
        worth = [
            (price.get(model, 0.0) - each, model)
            for model, each in zip(MODELS, rows[request], strict=True)
        ]
        return [model for _, model in sorted(worth)]

    def tick(replica: int) -> None:
        nonlocal kept
        slots = world.pools[replica].slots()
        counts = {each.deployment.spec.model_id: (each.load.begun, 0.0) for each in slots}
        usage[replica].tick(counts, TICK_S)
        mine = prices[replica]
        if by == SHARED:
            kept = mine.step(kept, usage[replica].rates, TICK_S)
        else:
            mine.step(None, usage[replica].rates, TICK_S)
        if not replica:
            history.append((world.clock.now, dict(mine.prices)))

    world = World(traffic, places, seed=seed, models=choose, n_replicas=N_REPLICAS)
    if by != FREE:
        for replica in range(N_REPLICAS):
            # They take their turns at other times.
            begins = partial(world.every, TICK_S, partial(tick, replica))
            world.at(replica * TICK_S / N_REPLICAS, begins)
    result = world.run()
    return _Run(
        result=result,
        quality=quality[np.arange(len(traffic)), result.place],
        wished=quality.max(axis=1),
        prices=history,
    )
