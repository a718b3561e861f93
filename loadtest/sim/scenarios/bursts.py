"""A burst of ten times the load, and models of three sizes that answer it."""

import numpy as np

from loadtest.sim.arrivals import stepped
from loadtest.sim.drawn import averaged, line, plot, times
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.tiers import TIERS, of, serve
from loadtest.sim.traffic import Traffic


def phases(setting: Setting) -> tuple[float, float]:
    """Return when the burst begins and ends; as long again follows."""
    length_s = 20.0 if setting.short else 60.0
    return length_s, 2 * length_s


def traffic_of(setting: Setting) -> Traffic:
    """Return requests: 4, 40 and again 4 a second."""
    rng = np.random.default_rng(setting.seed)
    begins_s, _ = phases(setting)
    return of(stepped([(rate, begins_s) for rate in (4.0, 40.0, 4.0)], rng), rng)


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
            served = serve(traffic, seed=setting.seed, static=name)
            result, worths = served.result, served.worth
            measured[name] = worths
            rows.append(
                times(name, result)
                | {
                    "worth, calm": float(worths[~burst].mean()),
                    "worth, burst": float(worths[burst].mean()),
                    "late %": 100 * float(served.late.mean()),
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
