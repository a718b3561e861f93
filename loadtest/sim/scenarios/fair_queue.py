"""Keys that share a gateway's places: a burst of one, equal demands, weights, and batches."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.gateway.queues.fair_line import FairLine, jain_index
from app.gateway.queues.virtual_counters import INPUT_WEIGHT, OUTPUT_WEIGHT, Rank
from app.keys import Priority
from loadtest.sim.arrivals import poisson
from loadtest.sim.door import Door
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result, percentile_s
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats, Ints, Traffic
from loadtest.sim.world import World
from scripts.dashboards.drawing import Plot

SERVICE_S, PROMPT_TOKENS, ANSWER_TOKENS = 4.0, 100, 200
"""A mean request: how long it holds its place, and its tokens; the time goes with the answer's."""

BURST = 10
"""How many times the light key's load the heavy one brings."""

FIRST_TOKEN_S, SPREAD = 0.6, 0.5
"""Until the first token of a request that has a place: median, and sigma of its logarithm."""

Everybody = Callable[[int], Rank]


def requests(
    arrivals: Sequence[Floats], *, seed: int, lengths: Sequence[float] | None = None
) -> tuple[Traffic, Ints]:
    """Return the requests of several keys, and whose each is; a key's own are always the same.

    Parameters
    ----------
    arrivals
        Of each key.
    lengths
        Mean answers of each key beside the mean of all.
    """
    at, key = np.concatenate(arrivals), np.repeat(np.arange(len(arrivals)), [*map(len, arrivals)])
    answers = np.zeros(len(at))
    for number in range(len(arrivals)):
        rng = np.random.default_rng([seed, number])
        mine = key == number
        mean = ANSWER_TOKENS * (1.0 if lengths is None else lengths[number])
        answers[mine] = rng.lognormal(np.log(mean) - 0.18, 0.6, mine.sum())
    order = np.argsort(at, kind="stable")
    tokens = np.clip(answers[order], 5, 4_000).astype(np.int64)
    prompts = np.full(len(at), PROMPT_TOKENS, np.int64)
    return Traffic(arrives_s=at[order], input_tokens=prompts, output_tokens=tokens), key[order]


def run(traffic: Traffic, n_places: int, ranks: Everybody, *, seed: int) -> tuple[Result, Door]:
    """Simulate one gateway with so many places, before a server that takes as many."""
    service_s = (traffic.output_tokens * (SERVICE_S / ANSWER_TOKENS)).tolist()
    world = World(
        traffic,
        [Place(name="instance", server=SlotServer(service_s, slots=n_places))],
        seed=seed,
        doors=lambda clock: Door(
            traffic,
            clock=clock,
            max_running=n_places,
            line=FairLine(max_waiting=len(traffic)),
            ranks=ranks,
        ),
    )
    return world.run(), world.doors[0]


def fair(key: Ints) -> Everybody:
    """Tell keys apart."""
    names = [str(each) for each in key.tolist()]
    return lambda request: Rank(names[request])


def first_come(_request: int) -> Rank:
    """Put all into one line."""
    return Rank("all")


def virtual_tokens(traffic: Traffic) -> Floats:
    """Return what each request comes to."""
    tokens = INPUT_WEIGHT * traffic.input_tokens + OUTPUT_WEIGHT * traffic.output_tokens
    return np.asarray(tokens, np.float64)


def shares(result: Result, key: Ints, weights: Sequence[float], stops_s: float) -> list[float]:
    """Return what each key got for its weight until the arrivals stop, in virtual tokens."""
    begun = result.submitted_s < stops_s
    tokens = virtual_tokens(result.traffic)
    return [float(tokens[begun & (key == i)].sum() / w) for i, w in enumerate(weights)]


class _Burst:
    """A light key that asks evenly, and a heavy one that brings ten times as much for a while."""

    def __init__(self, setting: Setting, *, n_places: int, load: float) -> None:
        self.seed, self.n_places = setting.seed, n_places
        n = 4_000 if setting.short else 8_000
        rate_per_s = load * n_places / 2 / SERVICE_S
        self.duration_s = n / rate_per_s
        rng = np.random.default_rng(setting.seed)
        self.light = poisson(rate_per_s, self.duration_s, rng)
        self.begins_s, burst_s = 0.1 * self.duration_s, 0.5 * self.duration_s
        self.ends_s = self.begins_s + burst_s
        self.heavy = self.begins_s + poisson(BURST * rate_per_s, burst_s, rng)

    def run(self, *, alone: bool, ranks: str, n_places: int) -> tuple[Result, Ints, Door]:
        """Simulate one way to queue."""
        arrivals = [self.light] if alone else [self.light, self.heavy]
        traffic, key = requests(arrivals, seed=self.seed)
        by = first_come if ranks == "first come" else fair(key)
        result, door = run(traffic, n_places, by, seed=self.seed)
        return result, key, door

    def in_burst(self, result: Result, key: Ints) -> NDArray[np.bool_]:
        """Return which requests of the light key came during the burst."""
        arrives_s = result.traffic.arrives_s
        return (key == 0) & (arrives_s >= self.begins_s) & (arrives_s < self.ends_s)


@SCENARIOS.register("fair-queue")
class FairQueue(Scenario):
    """A key that brings ten times the load of another one for a while, and who waits for it.

    "Alone" is the light key by itself with the half of the places that is its share, and in the
    second setting, where it never waits alone, with all of them: until its first token.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate bursts, equal demands, weights and batches."""
        rows, verdicts, plots, duration_s = _bursts(setting)
        for more in (_first_tokens, _demands, _classes):
            further, bounds = more(setting)
            rows += further
            verdicts += bounds
        return Report(rows=rows, verdicts=verdicts, plots=plots, duration_s=duration_s)


def _bursts(setting: Setting) -> tuple[list[Row], list[Verdict], list[Plot], float]:
    burst = _Burst(setting, n_places=8, load=0.85)
    p99, idle, rows, lines = {}, 0, [], []
    edges = np.linspace(0.0, burst.duration_s, 60)
    for name, alone, ranks, n_places in [
        ("alone, its half of 8 places", True, "fair", 4),
        ("alone, all of them", True, "fair", 8),
        ("fair queue", False, "fair", 8),
        ("first come, first served", False, "first come", 8),
    ]:
        result, key, door = burst.run(alone=alone, ranks=ranks, n_places=n_places)
        waits_s = result.submitted_s - result.traffic.arrives_s
        mine = burst.in_burst(result, key)
        p99[name] = percentile_s(waits_s[mine], 99)
        idle += door.n_idle
        light = key == 0
        lines.append(
            line(name, edges[:-1], averaged(result.traffic.arrives_s[light], waits_s[light], edges))
        )
        rows.append(
            {
                "": f"light key in the burst, {name}",
                "requests": int(mine.sum()),
                "wait p50 s": percentile_s(waits_s[mine], 50),
                "wait p99 s": p99[name],
                "simulated/s": round(result.requests_per_cpu_s, -2),
            }
        )
    own = p99["alone, its half of 8 places"]
    verdicts = [
        Verdict(
            claim="p99 wait of the light key in the burst / alone with its share",
            measured=p99["fair queue"] / own,
            at_most=1.2,
        ),
        Verdict(
            claim="the same, first come, first served",
            measured=p99["first come, first served"] / own,
            at_least=5.0,
        ),
        Verdict(claim="events after which a place was idle while somebody waited",
                measured=float(idle), at_most=0.0),
    ]  # fmt: skip
    title = "Wait of the light key"
    plots = [plot(title, "a burst of ten times its load", lines[:3], unit="s")]
    return rows, verdicts, plots, burst.duration_s


def _first_tokens(setting: Setting) -> tuple[list[Row], list[Verdict]]:
    burst = _Burst(setting, n_places=256, load=0.25)
    p99, rows = {}, []
    for name, alone, ranks in [
        ("alone", True, "fair"),
        ("fair queue", False, "fair"),
        ("first come, first served", False, "first come"),
    ]:
        result, key, _ = burst.run(alone=alone, ranks=ranks, n_places=256)
        mine = burst.in_burst(result, key)
        draw = np.random.default_rng(setting.seed).lognormal(np.log(FIRST_TOKEN_S), SPREAD, 20_000)
        waits_s = (result.submitted_s - result.traffic.arrives_s)[mine]
        first_s = waits_s + draw[: mine.sum()]
        p99[name] = percentile_s(first_s, 99)
        rows.append(
            {
                "": f"256 places, {name}",
                "requests": int(mine.sum()),
                "wait p50 s": percentile_s(waits_s, 50),
                "wait p99 s": percentile_s(waits_s, 99),
                "first token p99 s": p99[name],
            }
        )
    return rows, [
        Verdict(
            claim="256 places: p99 until the light key's first token / alone with all of them",
            measured=p99["fair queue"] / p99["alone"],
            at_most=1.2,
        ),
        Verdict(
            claim="the same, first come, first served",
            measured=p99["first come, first served"] / p99["alone"],
            at_least=5.0,
        ),
    ]


def _demands(setting: Setting) -> tuple[list[Row], list[Verdict]]:
    """Simulate keys that all want more than there is: alike, and with weights."""
    rows: list[Row] = []
    verdicts = []
    n, n_places = (250, 8) if setting.short else (2_000, 8)
    for name, weights, lengths in [
        ("equal demands, answers of 1:2:4:8", (1.0,) * 4, (0.25, 0.5, 1.0, 2.0)),
        ("weights 1:2:4", (1.0, 2.0, 4.0), (1.0,) * 3),
    ]:
        # Each wants as many tokens as all of the places write while it asks.
        stops_s = n * SERVICE_S / n_places
        rng = np.random.default_rng(setting.seed)
        arrivals = [poisson(n / length / stops_s, stops_s, rng) for length in lengths]
        traffic, key = requests(arrivals, seed=setting.seed, lengths=lengths)
        for by, ranks in (("fair queue", None), ("first come", first_come)):
            names = [Rank(str(i), weight=weights[i]) for i in key.tolist()]
            result, _ = run(traffic, n_places, ranks or names.__getitem__, seed=setting.seed)
            got = shares(result, key, weights, stops_s)
            rows.append({"": f"{name}, {by}", "requests": len(traffic), "Jain": jain_index(got)})
            if ranks is None:
                verdicts.append(
                    Verdict(
                        claim=f"Jain's index of tokens for their weights: {name}",
                        measured=jain_index(got),
                        at_least=0.95,
                    )
                )
    return rows, verdicts


def _classes(setting: Setting) -> tuple[list[Row], list[Verdict]]:
    """Simulate interactive requests beside a batch job: with room for both, and without."""
    n_places = 8
    rows: list[Row] = []
    verdicts = []
    stops_s = (500 if setting.short else 4_000) * SERVICE_S / n_places
    rng = np.random.default_rng(setting.seed)
    for name, load in (("interactive busy half of the time", 0.5), ("interactive overload", 1.2)):
        now = poisson(load * n_places / SERVICE_S, stops_s, rng)
        later = np.sort(rng.uniform(0.0, 0.02 * stops_s, int(1.5 * stops_s * n_places / SERVICE_S)))
        traffic, key = requests([now, later], seed=setting.seed)
        ranks = [Rank(str(i), Priority.BATCH if i else Priority.INTERACTIVE) for i in key.tolist()]
        result, _ = run(traffic, n_places, ranks.__getitem__, seed=setting.seed)
        waits_s = result.submitted_s - traffic.arrives_s
        interactive, batch = shares(result, key, (1.0, 1.0), stops_s)
        share = batch / (interactive + batch)
        p99_s = percentile_s(waits_s[key == 0], 99)
        rows.append(
            {
                "": f"{name}, beside a batch job",
                "requests": len(traffic),
                "wait p50 s": percentile_s(waits_s[key == 0], 50),
                "wait p99 s": p99_s,
                "batch share %": 100 * share,
            }
        )
        if load < 1:
            verdicts.append(
                Verdict(
                    claim="interactive p99 wait beside a batch job, in mean requests",
                    measured=p99_s / SERVICE_S,
                    at_most=1.0,
                )
            )
        else:
            verdicts.append(
                Verdict(
                    claim="share of the tokens of a batch job beside too many interactive requests",
                    measured=share,
                    at_least=0.03,
                    at_most=0.07,
                )
            )
    return rows, verdicts
