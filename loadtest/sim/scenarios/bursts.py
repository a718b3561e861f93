"""A burst of ten times the load, and models of three sizes that answer it."""

import numpy as np

from loadtest.sim.arrivals import stepped
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import (
    SCENARIOS,
    Report,
    Scenario,
    Setting,
    Verdict,
    averaged,
    line,
    plot,
    times,
)
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats, Traffic
from loadtest.sim.world import Models, World

DEADLINE_S, SLOTS = 2.0, 4
TIERS = {"best": (0.50, 0.90), "middle": (0.15, 0.80), "cheapest": (0.04, 0.65)}
"""Mean time of an answer in seconds, and its quality."""


def phases(setting: Setting) -> tuple[float, float]:
    """Return when the burst begins and ends; as long again follows."""
    length_s = 20.0 if setting.short else 60.0
    return length_s, 2 * length_s


def traffic_of(setting: Setting) -> Traffic:
    """Return requests: 4, 40 and again 4 a second."""
    rng = np.random.default_rng(setting.seed)
    begins_s, _ = phases(setting)
    arrives = stepped([(rate, begins_s) for rate in (4.0, 40.0, 4.0)], rng)
    ones = np.ones(len(arrives), np.int64)
    return Traffic(
        arrives_s=arrives,
        input_tokens=ones,
        output_tokens=ones,
        effort=rng.exponential(1.0, len(arrives)),
    )


def run(traffic: Traffic, models: Models, *, seed: int) -> Result:
    """Simulate one way to choose a tier."""
    places = [
        Place(
            name=name,
            model_id=name,
            server=SlotServer((traffic.effort * mean_s).tolist(), slots=SLOTS),
        )
        for name, (mean_s, _) in TIERS.items()
    ]
    return World(traffic, places, seed=seed, models=models).run()


def worth(result: Result) -> Floats:
    """Return what each request is worth: the quality of its answer, nothing if that was late."""
    quality = np.array([TIERS[place.model_id][1] for place in result.places])
    in_time = result.ends_s - result.traffic.arrives_s <= DEADLINE_S
    return np.where(result.answered & in_time, quality[result.place], 0.0)


@SCENARIOS.register("bursts")
class Bursts(Scenario):
    """4, then 40, then 4 requests a second, due within 2 s: what each tier alone makes of it."""

    def run(self, setting: Setting) -> Report:
        """Simulate every tier alone, on the same requests."""
        traffic = traffic_of(setting)
        arrives = traffic.arrives_s
        begins_s, ends_s = phases(setting)
        burst = (arrives >= begins_s) & (arrives < ends_s)
        edges = np.arange(0, ends_s + begins_s + 1, 2.0)
        rows, goodput, waiting, measured = [], [], [], {}
        for name in TIERS:
            result = run(traffic, lambda _request, _now, only=(name,): only, seed=setting.seed)
            worths = worth(result)
            measured[name] = worths
            rows.append(
                times(name, result)
                | {
                    "worth, calm": float(worths[~burst].mean()),
                    "worth, burst": float(worths[burst].mean()),
                    "late %": 100 * float((worths == 0).mean()),
                }
            )
            goodput.append(line(name, edges[:-1], averaged(arrives, worths, edges)))
            waiting.append(line(name, edges, result.outstanding(edges).sum(axis=0).astype(float)))
        return Report(
            rows=rows,
            verdicts=[
                Verdict(
                    claim="the best tier alone fails in the burst",
                    measured=float(measured["best"][burst].mean()),
                    at_most=0.25 if setting.short else 0.05,
                ),
                Verdict(
                    claim="the cheapest alone is always in time, and never better than it is",
                    measured=float(measured["cheapest"].mean()),
                    at_least=0.64,
                    at_most=TIERS["cheapest"][1] + 1e-9,
                ),
            ],
            plots=[
                plot("Worth of a request", "quality if in time, else 0", goodput, maximum=1.0),
                plot("Requests in the system", "begun and not answered", waiting),
            ],
            duration_s=float(edges[-1]),
        )
