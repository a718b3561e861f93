"""Requests with limits on their time, before models of known speed that drift."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.gateway.forecasts import with_latencies
from app.gateway.latency import Pace
from app.gateway.latency_terms import LatencyTerms
from app.stub.tiers import TIERS
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.stubs import StubServer
from loadtest.sim.traffic import Floats, Traffic
from loadtest.sim.world import UPPER_LENGTH, World
from routers.decision.decide import decide, estimate_each
from routers.decision.knob import KnobCurve
from routers.decisions import Reason
from routers.models import Demand, ModelSpec
from routers.objectives import Constraints, CostQuality
from routers.types import Predictions

MODELS = ("sim-nano", "sim-medium", "sim-large", "sim-frontier")
LIMITS_S = (1.5, 3.0, 6.0, 12.0)
RATE_PER_S = 5.0
JITTER, MISJUDGED = 0.2, 0.4
"""Standard deviations of logarithms: of a model's speed from call to call, and of an answer's
length around the predicted one."""

_BEST = CostQuality(1.0)
_KNOB = KnobCurve((0.0, 1.0), (1e-6, 1.0))


@dataclass(frozen=True, kw_only=True)
class Demanded:
    """Requests, their limits, and how long each model takes for each: (model, request)."""

    traffic: Traffic
    limit_s: Floats
    first_s: Floats
    whole_s: Floats


def demanded(setting: Setting) -> Demanded:
    """Return the requests, and what the stubs' speeds make of them."""
    rng = np.random.default_rng(setting.seed)
    n = 10_000 if setting.short else 60_000
    arrives = poisson(RATE_PER_S, n / RATE_PER_S, rng)
    n = len(arrives)
    expected = np.exp(rng.normal(np.log(150.0), 0.7, n)).clip(10, 2_000)
    tokens = np.maximum(1, expected * np.exp(rng.normal(0, MISJUDGED, n))).astype(np.int64)
    input_tokens = np.exp(rng.normal(np.log(800.0), 1.2, n)).clip(10, 60_000).astype(np.int64)
    first, whole = [], []
    for name in MODELS:
        tier = TIERS[name]
        reading_s = tier.time_to_first_token_s * (0.5 + input_tokens / 1_600)
        first_s = reading_s * np.exp(rng.normal(0, JITTER, n))
        writing_s = tokens / tier.tokens_per_s * np.exp(rng.normal(0, JITTER, n))
        first.append(first_s)
        whole.append(first_s + writing_s)
    return Demanded(
        traffic=Traffic(
            arrives_s=arrives,
            input_tokens=input_tokens,
            output_tokens=tokens,
            expected_tokens=expected,
        ),
        limit_s=rng.choice(LIMITS_S, n),
        first_s=np.array(first),
        whole_s=np.array(whole),
    )


class Chooser:
    """Decides by the gateway's own rule: the best model, of those in time where there is a limit.

    Parameters
    ----------
    limited
        Whether the limits are told.
    """

    def __init__(self, asked: Demanded, *, limited: bool) -> None:
        self._asked, self._limited = asked, limited
        self.unmet = np.zeros(len(asked.traffic), bool)
        self.world: World | None = None
        self._specs: list[ModelSpec] = []

    def __call__(self, request: int, _now: float) -> tuple[str, ...]:
        """Return the models to try for a request."""
        assert self.world is not None  # noqa: S101  (it runs)
        if not self._specs:
            self._specs = [each.spec for each in self.world.places]
        pool, traffic = self.world.pools[0], self._asked.traffic
        n_input = int(traffic.input_tokens[request])
        demand = Demand(input_tokens=n_input, input_tokens_upper=n_input)
        expected = float(traffic.expected_tokens[request])
        predictions = _predictions(expected)
        estimates = estimate_each(self._specs, predictions, demand)
        terms = None
        if self._limited:
            terms = LatencyTerms(max_total_s=float(self._asked.limit_s[request]))
        decision = decide(
            candidates=self._specs,
            predictions=predictions,
            demand=demand,
            constraints=with_latencies(
                Constraints(),
                estimates,
                predicted=pool.times.latencies,
                terms=terms,
                streams=True,
                elapsed_s=0.0,
            ),
            objective=_BEST,
            knob=_KNOB,
            estimates=estimates,
        )
        self.unmet[request] = decision.reason is Reason.LATENCY_UNMET
        return (decision.model_id,)


def _predictions(expected: float) -> Predictions:
    ability = np.array([[TIERS[name].ability for name in MODELS]], np.float32)
    tokens = np.full((1, len(MODELS)), expected, np.float32)
    return Predictions(
        quality=ability,
        quality_std=np.zeros_like(ability),
        output_tokens=tokens,
        output_tokens_upper=tokens * np.float32(UPPER_LENGTH),
    )


def drifts(duration_s: float) -> Mapping[str, list[tuple[float, float]]]:
    """Return when models get how many times as slow: step by step, at once, and back."""
    at = duration_s
    ramp = [(at * (0.3 + 0.01 * step), 1.0 + 0.05 * step) for step in range(41)]
    return {
        "sim-medium": [*ramp, (0.85 * at, 1.0)],
        "sim-frontier": [(0.4 * at, 3.0), (0.6 * at, 1.0)],
    }


def factors(asked: Demanded) -> Floats:
    """Return by how much each model is slower when each request comes: (model, request)."""
    arrives = asked.traffic.arrives_s
    found = np.ones((len(MODELS), len(arrives)))
    for name, steps in drifts(float(arrives[-1])).items():
        for at_s, factor in steps:
            found[MODELS.index(name), arrives >= at_s] = factor
    return found


def run(asked: Demanded, chooser: Chooser, *, seed: int) -> tuple[Result, World]:
    """Simulate one way to choose."""
    places = [
        Place(
            name=name,
            model_id=name,
            server=StubServer(asked.first_s[row].tolist(), asked.whole_s[row].tolist()),
            pace=Pace(
                ttft_s=TIERS[name].time_to_first_token_s, tokens_per_s=TIERS[name].tokens_per_s
            ),
        )
        for row, name in enumerate(MODELS)
    ]
    world = World(asked.traffic, places, seed=seed, models=chooser, described=True)
    chooser.world = world
    for place in places:
        for at_s, factor in drifts(float(asked.traffic.arrives_s[-1])).get(place.name, ()):
            world.at(at_s, lambda place=place, factor=factor: world.slow_down(place, factor))
    return world.run(), world


def covered(result: Result, world: World) -> tuple[Floats, Floats]:
    """Return whether each answer's first token and its end came within the predicted p90."""
    known = [each for each in world.latencies if each is not None]
    first = result.first_token_s <= np.array([each.ttft_s_upper for each in known])
    whole = result.took_s <= np.array([each.total_s_upper for each in known])
    return first.astype(float), whole.astype(float)


@SCENARIOS.register("deadlines")
class Deadlines(Scenario):
    """Limits from 1.5 to 12 s on models of known speed that drift: who is in time, p90 coverage.

    The best model is wanted, of those that are predicted to be in time. One model gets three times
    as slow step by step, another one at once; both recover.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate with and without the limits, on the same requests."""
        asked = demanded(setting)
        took_s = asked.whole_s * factors(asked)
        feasible = took_s.min(axis=0) <= asked.limit_s
        rows: list[Row] = []
        kept: dict[str, Floats] = {}
        for name, limited in (("best model", False), ("best in time", True)):
            chooser = Chooser(asked, limited=limited)
            result, world = run(asked, chooser, seed=setting.seed)
            kept[name] = (result.took_s <= asked.limit_s).astype(float)
            quality = np.array([TIERS[MODELS[place]].ability for place in result.place])
            rows.append(
                {
                    "": name,
                    "requests": len(asked.traffic),
                    "in time %": 100 * float(kept[name].mean()),
                    "of feasible %": 100 * float(kept[name][feasible].mean()),
                    "quality": float(quality.mean()),
                    "told unmet %": 100 * float(chooser.unmet.mean()),
                    "requests/CPU s": result.requests_per_cpu_s,
                }
            )
        first, whole = covered(result, world)
        verdicts = [
            Verdict(
                claim="within the limit where any model would have been",
                measured=float(kept["best in time"][feasible].mean()),
                at_least=0.95,
            ),
            Verdict(
                claim="the test bites: the same where limits are not told",
                measured=float(kept["best model"][feasible].mean()),
                at_most=0.8,
            ),
        ]
        drifting = (asked.traffic.arrives_s >= 0.3 * asked.traffic.arrives_s[-1]) & (
            asked.traffic.arrives_s < 0.87 * asked.traffic.arrives_s[-1]
        )
        for row, name in enumerate(MODELS):
            mine = result.place == row
            for what, inside in (("first token", first), ("whole answer", whole)):
                verdicts.append(_coverage(f"{name}: {what} within its p90", inside[mine]))
            if name in drifts(1.0) and not setting.short:  # of a few hundred calls: chance
                claim = f"{name}: whole answer within its p90 while it drifts"
                verdicts.append(_coverage(claim, whole[mine & drifting]))
        duration_s = float(asked.traffic.arrives_s[-1])
        edges = np.linspace(0, duration_s, 41)
        arrives = asked.traffic.arrives_s
        return Report(
            rows=rows,
            verdicts=verdicts,
            plots=[
                plot(
                    "Answers within their limit",
                    "share, where any model would have been",
                    [
                        line(name, edges[:-1], averaged(arrives[feasible], each[feasible], edges))
                        for name, each in kept.items()
                    ],
                    maximum=1.0,
                ),
                plot(
                    "Answers within the predicted p90",
                    "share; .9 is right",
                    [
                        line("first token", edges[:-1], averaged(arrives, first, edges)),
                        line("whole answer", edges[:-1], averaged(arrives, whole, edges)),
                    ],
                    maximum=1.0,
                ),
            ],
            duration_s=duration_s,
        )


def _coverage(claim: str, inside: Floats) -> Verdict:
    measured = float(inside.mean()) if len(inside) else float("nan")
    return Verdict(claim=claim, measured=measured, at_least=0.87, at_most=0.93)
