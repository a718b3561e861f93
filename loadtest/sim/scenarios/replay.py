"""A decision log once more, on as many instances as are asked about."""

import numpy as np

from app.gateway.deployments.balances import BALANCES
from loadtest.sim.drawn import line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.replay import read_log
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting
from loadtest.sim.servers import EIGHT_BILLION, BatchServer
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import World
from routers.errors import DataError


@SCENARIOS.register("replay")
class Replay(Scenario):
    """The requests of a decision log (--log) on 1, 2 and 4 instances of an 8B model."""

    def run(self, setting: Setting) -> Report:
        """Simulate every way to balance."""
        if setting.log is None:
            raise DataError("give it a decision log: --log FILE, as `steelyard export` writes it")
        traffic = read_log(setting.log)
        duration_s = max(1.0, float(traffic.arrives_s[-1]))
        grid = np.linspace(0, duration_s, 200)
        rows, lines = [], []
        for dashes, n_instances in enumerate((1, 2, 4)):
            for name, balance in BALANCES.items():
                if n_instances == 1 and rows:
                    continue
                places = [
                    Place(name=f"instance {number + 1}", server=BatchServer(traffic, EIGHT_BILLION))
                    for number in range(n_instances)
                ]
                world = World(traffic, places, seed=setting.seed, balances={"model": balance})
                result = world.run()
                title = f"{n_instances}, {name}" if n_instances > 1 else "1"
                busy = result.utilisation()
                cached = sum(each.server.account.cached_tokens for each in places)
                rows.append(
                    times(title, result)
                    | {
                        "busy %": 100 * float(busy.mean()),
                        "cached %": 100 * cached / max(1, int(traffic.input_tokens.sum())),
                    }
                )
                inside = result.outstanding(grid).sum(axis=0).astype(float)
                lines.append(line(title, grid, inside, kin=name, dashes=dashes))
        return Report(
            rows=rows,
            plots=[plot("Requests in the system", "begun and not answered", lines)],
            duration_s=duration_s,
            notes=[_told(traffic)],
        )


def _told(traffic: Traffic) -> str:
    per_s = len(traffic) / max(1.0, float(traffic.arrives_s[-1]))
    return (
        f"{len(traffic):,} requests, {per_s:.2f} a second; in the mean "
        f"{traffic.input_tokens.mean():,.0f} tokens of prompt and "
        f"{traffic.output_tokens.mean():,.0f} of answer"
    )
