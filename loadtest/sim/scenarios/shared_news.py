"""What gateways gain by telling each other, every quarter of a second, what they have begun."""

import numpy as np

from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.sharing import share
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import World

N_INSTANCES, SLOTS, SLOWER = 4, 8, 3.0
EVERY_S, DELAY_S = 0.25, 0.005
OWN, TOLD = "own calls", "told every .25 s"
CASES = (
    # gateways, busy, mean seconds of an answer, whether one instance is three times as slow
    (4, 0.8, 2.0, False),
    (8, 0.7, 5.0, True),
    (32, 0.85, 5.0, False),
    (32, 0.6, 5.0, True),
)


@SCENARIOS.register("shared-news")
class SharedNews(Scenario):
    """4 to 32 gateways before four instances: what they gain by telling each other of their calls.

    Busy: of what all instances can do, a slow one a third; answers exponential around their mean.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate the same requests with and without news, over some seeds."""
        seeds = range(setting.seed, setting.seed + (1 if setting.short else 3))
        n = 3_000 if setting.short else 20_000
        rows: list[Row] = []
        plots, ratios, duration_s = [], [], 60.0
        for n_replicas, busy, mean_s, slow in CASES:
            name = f"{n_replicas} gateways, busy {busy:g}, {mean_s:g} s"
            name += ", one instance slow" if slow else ""
            shown: dict[str, Result] = {}
            means: dict[str, list[float]] = {OWN: [], TOLD: []}
            for seed in seeds:
                traffic = _traffic(busy, mean_s, n, seed, slow=slow)
                for knows in (OWN, TOLD):
                    result = _run(traffic, mean_s, n_replicas, seed, slow=slow, told=knows == TOLD)
                    means[knows].append(result.mean_s)
                    shown.setdefault(knows, result)
            both = {knows: float(np.mean(each)) for knows, each in means.items()}
            ratios.append(both[TOLD] / both[OWN])
            gained = [1 - b / a for a, b in zip(means[OWN], means[TOLD], strict=True)]
            rows.append(
                {"": name}
                | {f"mean s, {knows}": value for knows, value in both.items()}
                | {"% less": 100 * float(np.mean(gained))}
                | {"least": 100 * min(gained), "most": 100 * max(gained)}
            )
            arrives = shown[OWN].traffic.arrives_s
            duration_s = min(600.0, float(arrives[-1]))
            edges = np.linspace(0, duration_s, 31)
            plots.append(
                plot(
                    name,
                    "mean time of an answer, by when it was asked for",
                    [
                        line(knows, edges[:-1], averaged(arrives, each.took_s, edges))
                        for knows, each in shown.items()
                    ],
                    unit="s",
                )
            )
        return Report(
            rows=rows,
            verdicts=[
                Verdict(
                    claim="mean time of an answer, told / own calls, worst case",
                    measured=max(ratios),
                    at_most=1.0,
                ),
                Verdict(
                    claim="the same, 32 gateways before a slow instance",
                    measured=ratios[-1],
                    at_most=0.95,
                ),
            ],
            plots=plots,
            duration_s=duration_s,
        )


def _traffic(busy: float, mean_s: float, n: int, seed: int, *, slow: bool) -> Traffic:
    able = N_INSTANCES - 1 + (1 / SLOWER if slow else 1.0)
    rate_per_s = busy * able * SLOTS / mean_s
    rng = np.random.default_rng(seed)
    arrives = poisson(rate_per_s, n / rate_per_s, rng)
    ones = np.ones(len(arrives), np.int64)
    return Traffic(
        arrives_s=arrives,
        input_tokens=ones,
        output_tokens=ones,
        effort=rng.exponential(1.0, len(arrives)),
    )


def _run(
    traffic: Traffic, mean_s: float, n_replicas: int, seed: int, *, slow: bool, told: bool
) -> Result:
    places = []
    for number in range(N_INSTANCES):
        factor = SLOWER if slow and number == 0 else 1.0
        server = SlotServer((traffic.effort * mean_s * factor).tolist(), slots=SLOTS)
        places.append(Place(name=f"instance {number + 1}", server=server))
    world = World(traffic, places, seed=seed, n_replicas=n_replicas)
    if told:
        share(world, interval_s=EVERY_S, delay_s=DELAY_S)
    return world.run()
