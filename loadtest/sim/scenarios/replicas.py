"""A hundred gateways before four instances, and what they know of each other."""

import numpy as np

from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.mixes import pieces_of_work
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.sharing import share
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import World

N_REPLICAS, N_INSTANCES, SLOTS, MEAN_S = 100, 4, 64, 0.5
RATE_PER_S = 0.75 * N_INSTANCES * SLOTS / MEAN_S
OWN, BELIEVED, FILLED = "own calls", "told late, believed", "told late, filled up"
FRESH = "told soon, filled up"
INTERVAL_S = {BELIEVED: 0.5, FILLED: 0.5, FRESH: 0.05}
DELAY_S = {BELIEVED: 1.0, FILLED: 1.0, FRESH: 0.01}
KINDS = (OWN, BELIEVED, FILLED, FRESH)


@SCENARIOS.register("replicas")
class Replicas(Scenario):
    """100 replicas, news of each other a second late: nobody is overrun, least outstanding stays.

    Told and believed, as it was a second ago, all replicas go for the same instance; filled up is
    what the gateway does with such news.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate replicas that know nothing of each other, and two ways to take the news."""
        seconds = 20.0 if setting.short else 120.0
        rng = np.random.default_rng(setting.seed)
        traffic = pieces_of_work(poisson(RATE_PER_S, seconds, rng), rng)
        results = {name: _run(traffic, name, seed=setting.seed) for name in KINDS}
        imbalance = {name: result.imbalance() for name, result in results.items()}
        swing = {name: result.swing(from_s=5.0) for name, result in results.items()}
        grid = np.arange(0, 20.01, 0.1)
        return Report(
            rows=[
                times(name, result)
                | {"max/mean got": imbalance[name], "max/mean at a time": swing[name]}
                for name, result in results.items()
            ],
            verdicts=[
                Verdict(
                    claim="max/mean of what instances get, per 1,000 requests",
                    measured=imbalance[FILLED],
                    at_most=1.1,
                ),
                Verdict(
                    claim="no oscillation: max/mean at a time, to replicas without news",
                    measured=swing[FILLED] / swing[OWN],
                    at_most=1.0,
                ),
                Verdict(
                    claim="the same of news that are fresh: they help",
                    measured=swing[FRESH] / swing[OWN],
                    at_most=0.99,
                ),
                Verdict(
                    claim="the test bites: the same where news are believed",
                    measured=swing[BELIEVED] / swing[OWN],
                    at_least=1.3,
                ),
            ],
            plots=[
                plot(
                    name,
                    "requests at each instance",
                    [
                        line(place.name, grid, inside.astype(float))
                        for place, inside in zip(
                            result.places, result.outstanding(grid), strict=True
                        )
                    ],
                )
                for name, result in results.items()
            ],
            duration_s=20.0,
        )


def _run(traffic: Traffic, knows: str, *, seed: int) -> Result:
    service_s = (traffic.effort * MEAN_S).tolist()
    places = [
        Place(name=f"instance {number + 1}", server=SlotServer(service_s, slots=SLOTS))
        for number in range(N_INSTANCES)
    ]
    world = World(traffic, places, seed=seed, n_replicas=N_REPLICAS)
    if knows != OWN:
        share(
            world,
            interval_s=INTERVAL_S[knows],
            delay_s=DELAY_S[knows],
            believed=knows == BELIEVED,
        )
    return world.run()
