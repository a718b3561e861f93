"""Several instances of one model, prompts and answers of very different lengths."""

import numpy as np

from app.gateway.deployments.balances import BALANCES
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.mixes import (
    DECODE_S_PER_TOKEN,
    HEAVY_LIGHT,
    PREFILL_S_PER_TOKEN,
    alone_s,
    mixed,
)
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.servers import BatchServer, Speed
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import MakeBalance, World

UTILISATION = 0.75
SPEED = Speed(prefill_s_per_token=PREFILL_S_PER_TOKEN, decode_s_per_token=DECODE_S_PER_TOKEN)


def traffic_for(n_instances: int, setting: Setting) -> Traffic:
    """Return requests that keep so many instances busy for `UTILISATION` of the time."""
    n_requests = 4_000 if setting.short else 40_000
    rng = np.random.default_rng([setting.seed, n_instances])
    sample = mixed(np.zeros(20_000), HEAVY_LIGHT, rng)
    rate_per_s = UTILISATION * n_instances / float(alone_s(sample).mean())
    return mixed(poisson(rate_per_s, n_requests / rate_per_s, rng), HEAVY_LIGHT, rng, misjudged=0.4)


WHOLE = "predicted-impact, no streams"


def run(
    traffic: Traffic, n_instances: int, balance: MakeBalance, *, seed: int, streams: bool = True
) -> Result:
    """Simulate one way to balance."""
    places = [
        Place(name=f"instance {number + 1}", server=BatchServer(traffic, SPEED))
        for number in range(n_instances)
    ]
    world = World(traffic, places, seed=seed, balances={"model": balance}, streams=streams)
    return world.run()


@SCENARIOS.register("mixed-lengths")
class MixedLengths(Scenario):
    """Light and heavy prompts and answers over 4 and 8 instances: how much balancing takes off.

    Time per token of prompts and of the running batch as published for a 7B model on one GPU; the
    requests keep the instances busy for three quarters of the time.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate every way to balance on the same requests."""
        rows, verdicts, plots, duration_s = [], [], [], 0.0
        for n_instances in (4, 8):
            traffic = traffic_for(n_instances, setting)
            results = {
                name: run(traffic, n_instances, balance, seed=setting.seed)
                for name, balance in BALANCES.items()
            }
            by_impact = BALANCES["predicted-impact"]
            results[WHOLE] = run(traffic, n_instances, by_impact, seed=setting.seed, streams=False)
            mean_s = {name: result.mean_s for name, result in results.items()}
            rows += [
                times(f"{n_instances} instances, {name}", result)
                | {"below round robin %": 100 * (1 - mean_s[name] / mean_s["round-robin"])}
                for name, result in results.items()
            ]
            predicted_s = mean_s["predicted-impact"]
            verdicts += [
                Verdict(
                    claim=f"{n_instances} instances: mean by predicted impact / round robin",
                    measured=predicted_s / mean_s["round-robin"],
                    at_most=0.89,
                ),
                Verdict(
                    claim=f"{n_instances} instances: mean by predicted impact / least outstanding",
                    measured=predicted_s / mean_s["least-outstanding"],
                    at_most=1.0,
                ),
                Verdict(
                    claim=f"{n_instances} instances: the same where no answer streams",
                    measured=mean_s[WHOLE] / mean_s["least-outstanding"],
                    # What is learned of whole answers alone is never far behind.
                    at_most=1.02,
                ),
            ]
            duration_s = duration_s or 0.1 * float(traffic.arrives_s[-1])
            edges = np.linspace(0, duration_s, 31)
            plots.append(
                plot(
                    f"{n_instances} instances",
                    "mean time to the whole answer, by when it was asked for",
                    [
                        line(name, edges[:-1], averaged(traffic.arrives_s, result.took_s, edges))
                        for name, result in results.items()
                    ],
                    unit="s",
                )
            )
        return Report(rows=rows, verdicts=verdicts, plots=plots, duration_s=duration_s)
