"""Waits that are foreseen for keys of unlike demand, against what they come to."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from app.gateway.queues.expected_wait import expected_turns, expected_wait
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority
from loadtest.sim.arrivals import poisson
from loadtest.sim.door import Door
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.fleet import Place
from loadtest.sim.result import percentile_s
from loadtest.sim.scenarios.base import (
    SCENARIOS,
    Report,
    Row,
    Scenario,
    Setting,
    Verdict,
)
from loadtest.sim.scenarios.fair_queue import ANSWER_TOKENS, SERVICE_S, requests
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats, Traffic
from loadtest.sim.world import Clock, World
from scripts.dashboards.drawing import Plot

PLACES = 8
RATE_PER_S = PLACES / SERVICE_S
"""Mean requests that the places can do."""

LIGHT, HEAVY, BATCH = Rank("light"), Rank("heavy"), Rank("job", Priority.BATCH)


class ForeseeingDoor(Door):
    """Notes what is foreseen of each wait: by who goes first, and as if everybody waiting did."""

    def __init__(
        self,
        traffic: Traffic,
        *,
        clock: Clock,
        line: FairLine,
        ranks: Callable[[int], Rank],
    ) -> None:
        super().__init__(traffic, clock=clock, max_running=PLACES, line=line, ranks=ranks)
        self._rank = ranks
        self.foreseen: dict[int, tuple[float, float, float, float]] = {}
        """By request: the mean and the p90, of the one and of the other, in seconds."""

    def enter(self, request: int, begin: Callable[[], None]) -> None:
        """Foresee the wait, then begin with it."""
        queue = self.line
        if queue.n_waiting and queue.gap_s is not None:
            own = expected_wait(queue.turns(self._rank(request)), queue.gap_s)
            blind = expected_wait(expected_turns(queue.n_waiting, 0, None), queue.gap_s)
            self.foreseen[request] = (*own, *blind)
        super().enter(request, begin)


@SCENARIOS.register("expected-waits")
class ExpectedWaits(Scenario):
    """Keys of unlike demand before eight places: the wait that is foreseen, and the one that comes.

    By who goes before a request, against everybody who waits; of requests that find others waiting.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate a key alone, a light one beside bursts of a heavy one, and a batch job."""
        lasts_s = 1_500.0 if setting.short else 6_000.0
        rng = np.random.default_rng(setting.seed)
        poissonian = partial(poisson, rng=rng)
        light = poissonian(0.2 * RATE_PER_S, lasts_s)
        cases: list[tuple[str, Sequence[Rank], Sequence[Floats]]] = [
            ("one key, busy .95", [LIGHT], [poissonian(0.95 * RATE_PER_S, lasts_s)]),
            (
                "two keys, busy .95",
                [LIGHT, HEAVY],
                [light, poissonian(0.75 * RATE_PER_S, lasts_s)],
            ),
            ("bursts of one", [LIGHT, HEAVY], [light, _bursts(1.6, lasts_s, poissonian)]),
            (
                "a job by batches",
                [LIGHT, BATCH],
                [poissonian(0.6 * RATE_PER_S, lasts_s), _bursts(1.6, lasts_s, poissonian)],
            ),
        ]
        rows: list[Row] = []
        verdicts: list[Verdict] = []
        plots: list[Plot] = []
        for name, ranks, arrivals in cases:
            found, bounds, drawn = _case(name, ranks, arrivals, setting=setting, lasts_s=lasts_s)
            rows += found
            verdicts += bounds
            if name == "bursts of one":
                plots.append(drawn)
        return Report(rows=rows, verdicts=verdicts, plots=plots, duration_s=lasts_s)


def _bursts(load: float, lasts_s: float, poissonian: Callable[[float, float], Floats]) -> Floats:
    """Return arrivals of so much load for a fifth of the time, five times."""
    each_s = lasts_s / 5
    parts = [n * each_s + poissonian(load * RATE_PER_S, 0.2 * each_s) for n in range(5)]
    return np.concatenate(parts)


def _case(
    name: str,
    ranks: Sequence[Rank],
    arrivals: Sequence[Floats],
    *,
    setting: Setting,
    lasts_s: float,
) -> tuple[list[Row], list[Verdict], Plot]:
    traffic, key = requests(arrivals, seed=setting.seed)
    whose = [ranks[number] for number in key.tolist()]
    service_s = (traffic.output_tokens * (SERVICE_S / ANSWER_TOKENS)).tolist()
    doors: list[ForeseeingDoor] = []

    def door(clock: Clock) -> Door:
        queue = FairLine(max_waiting=len(traffic))
        doors.append(ForeseeingDoor(traffic, clock=clock, line=queue, ranks=whose.__getitem__))
        return doors[0]

    server = SlotServer(service_s, slots=PLACES)
    world = World(traffic, [Place(name="instance", server=server)], seed=setting.seed, doors=door)
    result = world.run()
    waited_s = result.submitted_s - traffic.arrives_s
    asked = np.array(sorted(doors[0].foreseen), np.int64)
    foreseen = np.array([doors[0].foreseen[request] for request in asked.tolist()])
    rows: list[Row] = []
    verdicts: list[Verdict] = []
    edges = np.linspace(0.0, lasts_s, 60)
    lines = []
    for number, rank in enumerate(ranks):
        mine = key[asked] == number
        came_s, told = waited_s[asked][mine], foreseen[mine]
        off_s, blind_off_s = (np.abs(told[:, at] - came_s).mean() for at in (0, 2))
        within, blind_within = ((came_s <= told[:, at]).mean() for at in (1, 3))
        rows.append(
            {
                "": f"{name}: {rank.who}",
                "requests": int(mine.sum()),
                "wait p50 s": percentile_s(came_s, 50),
                "wait p99 s": percentile_s(came_s, 99),
                "off by s": float(off_s),
                "everybody first: off by s": float(blind_off_s),
                "within p90 %": 100 * float(within),
                "everybody first: within p90 %": 100 * float(blind_within),
            }
        )
        at_s = traffic.arrives_s[asked][mine]
        kin = rank.who
        lines.append(line(f"{kin}, waited", edges[:-1], averaged(at_s, came_s, edges), kin=kin))
        lines.append(
            line(
                f"{kin}, foreseen",
                edges[:-1],
                averaged(at_s, told[:, 0], edges),
                kin=kin,
                dashes=1,
            )
        )
        if rank is not BATCH:  # which knows nothing of who will come before it
            verdicts.append(
                Verdict(
                    claim=f"{name}: share of the {rank.who} key's waits within the p90",
                    measured=float(within),
                    at_least=0.8,
                )
            )
        if rank is LIGHT and len(ranks) > 1:
            verdicts.append(
                Verdict(
                    claim=f"{name}: how far off the light key.s is / where everybody goes first",
                    measured=float(off_s / blind_off_s),
                    at_most=0.5,
                )
            )
    return rows, verdicts, plot("Waits", name, lines, unit="s")
