"""Models that silently become worse, and traffic that only seems to say so."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from math import exp, log

import numpy as np

from app.gateway.watch.canaries import next_prompt
from app.gateway.watch.canary_prompts import CANARY_PROMPTS
from loadtest.sim.drawn import line, plot
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.traffic import Floats
from routers.watch.reference import size_class
from routers.watch.signals import Observation, Placed, Signal
from routers.watch.watched import Level, Peers, Rule, Watched, peers_of
from scripts.dashboards.drawing import Plot

DAY = 20_000
"""Requests of one day."""
SHARED_EVERY = 50
"""Requests between two times at which models are compared with each other."""
CANARY_EVERY = 40
"""Requests of one model between two canaries."""
N_MODELS = 5
LEARNED, CANARIES = 2_000, 200
"""Answers, and canaries, of each model before it changes."""
HARDEST, HOPELESS = max(each.hardness for each in CANARY_PROMPTS), 0.9
"""How often every model errs on the hardest canaries."""
EMPTY = 0.001
"""Of answers."""
RULE = Rule(demotes=True)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of request: what is predicted of answers, and what they are like.

    `misjudged` is the mean of log(tokens / predicted tokens), which no router has right everywhere.
    """

    predicted: float
    misjudged: float
    refused: float
    peak: float
    """The hour, as a share of the day, at which most of them come."""


KINDS = (
    Kind(predicted=60, misjudged=0.25, refused=0.002, peak=0.1),
    Kind(predicted=180, misjudged=-0.2, refused=0.01, peak=0.35),
    Kind(predicted=210, misjudged=0.15, refused=0.03, peak=0.6),
    Kind(predicted=700, misjudged=-0.1, refused=0.005, peak=0.85),
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a simulated model is like.

    Attributes
    ----------
    length
        Its answers' lengths, times what they were.
    refused
        Refusals on top of those of each kind.
    errs
        How often it errs on a canary that it knows.
    """

    length: float = 1.0
    refused: float = 0.0
    errs: float = 0.01


WORSE = Model(length=0.45, refused=0.02, errs=0.45)
"""As a large model's place taken by a small one of the same vendor."""
SHOWN = {"a worse tier": WORSE, "30 % shorter": Model(length=0.7), "no change": Model()}


@dataclass(kw_only=True)
class Gateway:
    """Models under one watch, on requests whose mix follows the hour."""

    rng: np.random.Generator
    mix: float = 0.0
    """How far the mix of requests swings over a day, in [0, 1]."""
    seen: list[Watched] = field(default_factory=lambda: [Watched() for _ in range(N_MODELS)])
    peers: list[Peers] = field(default_factory=lambda: [{} for _ in range(N_MODELS)])
    n: int = 0

    def answers(self, like: list[Model]) -> Iterator[tuple[int, list[Level]]]:
        """Answer requests without end; yield which model did, and the levels it came to by that."""
        while True:
            self.peers = [
                peers_of(other for other in self.seen if other is not each) for each in self.seen
            ]
            for number, answer in _answers(self.n, like, self.mix, self.rng):
                self.n += 1
                changes = self.seen[number].see(
                    answer, rule=RULE, peers=self.peers[number], now=0.0
                )
                yield number, [each.level for each in changes if each.level is not None]

    def canary(self, number: int, like: Model) -> list[Level]:
        """Ask one model a canary; return the levels that it came to by that."""
        watched = self.seen[number]
        asked = next_prompt(watched)
        # Some are beyond every model; of the others it errs on some more often than on others.
        place = CANARY_PROMPTS.index(asked)
        chance = like.errs * (0.5 + place % 3 / 2)
        if asked.hardness == HARDEST:
            chance = HOPELESS
        seen = Observation(canary=(asked.name, bool(self.rng.random() < chance)))
        changes = watched.see(seen, rule=RULE, peers=self.peers[number], now=0.0)
        return [each.level for each in changes if each.level is not None]


def _answers(
    first: int, like: list[Model], mix: float, rng: np.random.Generator
) -> Iterator[tuple[int, Observation]]:
    """Yield the next requests' models and answers, drawn together."""
    hour = first % DAY / DAY
    chances = np.array([1 + mix * np.cos(2 * np.pi * (hour - kind.peak)) for kind in KINDS])
    models = rng.integers(N_MODELS, size=SHARED_EVERY).tolist()
    kinds = rng.choice(len(KINDS), p=chances / chances.sum(), size=SHARED_EVERY).tolist()
    told, length, first_s, per_token = rng.normal(0.0, 1.0, (4, SHARED_EVERY)).tolist()
    refused, empty, cut = rng.random((3, SHARED_EVERY)).tolist()
    crowded = float(np.log(1 + mix * np.sin(2 * np.pi * hour)))
    for at, (number, which) in enumerate(zip(models, kinds, strict=True)):
        kind, model = KINDS[which], like[number]
        predicted = kind.predicted * exp(0.3 * told[at])
        ratio = kind.misjudged + 0.6 * length[at] + log(model.length)
        yield (
            number,
            Observation(
                length=Placed(f"text {size_class(predicted)}", ratio),
                first_s=Placed("3", log(0.5) + crowded + 0.4 * first_s[at]),
                s_per_token=Placed("", log(0.015) + crowded + 0.25 * per_token[at]),
                events=(
                    (Signal.REFUSAL, refused[at] < kind.refused + model.refused),
                    (Signal.EMPTY, empty[at] < EMPTY),
                    (Signal.TRUNCATED, cut[at] < 2 * EMPTY),
                    (Signal.ODD_END, False),
                ),
            ),
        )


def false_alarms(n_requests: int, *, mix: float, everybody: Model, seed: int) -> tuple[int, int]:
    """Return how many warnings there were, and canaries asked, though no model changed.

    Parameters
    ----------
    everybody
        What all answers are like in the second half: other requests, for the same models.
    """
    gateway = Gateway(rng=np.random.default_rng(seed), mix=mix)
    warnings, asked, n_each = 0, 0, [0] * N_MODELS
    halves = (gateway.answers([like] * N_MODELS) for like in (Model(), everybody))
    for number, levels in chain.from_iterable(islice(each, n_requests // 2) for each in halves):
        warnings += levels.count(Level.WARNING)
        n_each[number] += 1
        if n_each[number] % CANARY_EVERY == 0:
            asked += 1
            warnings += gateway.canary(number, Model()).count(Level.WARNING)
    return warnings, asked


def learned(seed: int, *, requests: bool, canaries: bool) -> Gateway:
    """Return a gateway that knows its models by answers of each, or canaries of one."""
    gateway = Gateway(rng=np.random.default_rng(seed), mix=0.6)
    if requests:
        for _ in islice(gateway.answers([Model()] * N_MODELS), LEARNED * N_MODELS):
            pass
    if canaries:
        for _ in range(CANARIES):
            gateway.canary(0, Model())
    return gateway


def by_requests(like: Model, seed: int, *, at_most: int) -> int:
    """Return after how many of its answers it is seen that model 0 has changed."""
    gateway, n = learned(seed, requests=True, canaries=False), 0
    for number, levels in gateway.answers([like, *[Model()] * (N_MODELS - 1)]):
        n += number == 0
        if n == at_most or (number == 0 and Level.WARNING in levels):
            break
    return n


def by_canaries(like: Model, seed: int, *, at_most: int) -> Iterator[int]:
    """Yield after how many canaries a warning, a demotion and, once mended, its return came."""
    gateway = learned(seed, requests=False, canaries=True)
    for level in (Level.WARNING, Level.DEMOTED, Level.RETURNING):
        n, now = 0, Model() if level is Level.RETURNING else like
        while n < at_most:
            n += 1
            if level in gateway.canary(0, now):
                break
        yield n


def evidence(like: Model, seed: int, *, n: int = 400) -> Floats:
    """Return the evidence against model 0 after each of its answers, in powers of ten."""
    gateway, found = learned(seed, requests=True, canaries=False), []
    for number, _ in gateway.answers([like, *[Model()] * (N_MODELS - 1)]):
        if number == 0:
            found.append(gateway.seen[0].evidence())
        if len(found) == n:
            break
    return np.log10(np.maximum(found, 1.0))


def _plot(seed: int) -> Plot:
    lines = {name: evidence(like, seed) for name, like in SHOWN.items()}
    return plot(
        "evidence against a model",
        "in powers of ten; a warning at 5, a demotion at 7; the axis counts its answers",
        [line(name, np.arange(1.0, len(found) + 1), found) for name, found in lines.items()],
    )


def _row(name: str, counts: list[int]) -> Row:
    low, middle, high = np.percentile(counts, (5, 50, 95))
    return {"": name, "runs": len(counts), "p5": low, "median": middle, "p95": high}


@SCENARIOS.register("provider-watch")
class ProviderWatchScenario(Scenario):
    """False alarms of the watch over models, and how soon one that became worse is seen.

    Five models with equal shares of four kinds of requests whose mix, misjudged lengths and
    crowded hours follow the day. Counts are answers, or canaries, of the model that changed.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate days without a change, then changes."""
        n_days, n_runs = (1, 4) if setting.short else (20, 60)
        shorter = Model(length=0.6)
        worlds = {
            "no change, steady mix": (0.0, Model()),
            "no change, mix and load follow the day": (0.8, Model()),
            "no change, all answers 40 % shorter by half time": (0.8, shorter),
        }
        rows: list[Row] = []
        total = alarms = 0
        for name, (mix, everybody) in worlds.items():
            n = n_days * DAY
            found, asked = false_alarms(n, mix=mix, everybody=everybody, seed=setting.seed)
            rows.append({"": name, "requests": n, "canaries": asked, "false warnings": found})
            total, alarms = total + n, alarms + found
        seeds = range(setting.seed, setting.seed + n_runs)
        counts = {
            "answers: a worse tier": [by_requests(WORSE, s, at_most=1_500) for s in seeds],
            "answers: 30 % shorter": [
                by_requests(Model(length=0.7), s, at_most=5_000) for s in seeds
            ],
            "answers: refusals 1 % -> 6 %": [
                by_requests(Model(refused=0.05), s, at_most=5_000) for s in seeds
            ],
        }
        asked_of = {
            "a worse tier": [list(by_canaries(WORSE, s, at_most=300)) for s in seeds],
            "errs on 25 %": [
                list(by_canaries(replace(WORSE, errs=0.25), s, at_most=300)) for s in seeds
            ],
        }
        for name, found_after in asked_of.items():
            for at, what in enumerate(("warning", "then demotion", "mended: return")):
                counts[f"canaries: {name}, {what}"] = [each[at] for each in found_after]
        rows += [_row(name, each) for name, each in counts.items()]
        canaries = counts["canaries: a worse tier, warning"]
        return Report(
            rows=rows,
            plots=[_plot(setting.seed)],
            duration_s=400.0,
            verdicts=[
                Verdict(
                    claim="false warnings in 10^5 requests",
                    measured=alarms * 1e5 / total,
                    at_most=1.0,
                ),
                Verdict(
                    claim="answers until a worse tier is seen, p95",
                    measured=float(np.percentile(counts["answers: a worse tier"], 95)),
                    at_most=1_000,
                ),
                Verdict(
                    claim="canaries until a worse tier is seen, p95",
                    measured=float(np.percentile(canaries, 95)),
                    at_most=60,
                ),
            ],
        )
