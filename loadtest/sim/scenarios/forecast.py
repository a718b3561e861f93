"""A day's rise and fall with bursts, and how well the next minutes are foreseen."""

from dataclasses import dataclass

import numpy as np

from app.gateway.deployments.forecast import DAY_S, Forecast
from loadtest.sim.arrivals import diurnal, stepped
from loadtest.sim.drawn import line, plot
from loadtest.sim.scenarios.base import SCENARIOS, Report, Scenario, Setting, Verdict
from loadtest.sim.traffic import Floats

TICK_S, HORIZON_S = 10.0, 300.0
MEAN_PER_S = 8.0
CALM_S, BURST_S, BURST_PER_S = 1500.0, 120.0, (4.0, 16.0)


@SCENARIOS.register("forecast")
class ForecastScenario(Scenario):
    """The load of the next five minutes is foreseen better than "as in the last five"."""

    def run(self, setting: Setting) -> Report:
        """Forecast a trace tick by tick; the first day is not judged."""
        days = 3 if setting.short else 6
        counts = _trace(days * DAY_S, np.random.default_rng(setting.seed))
        rows, found = [], {}
        for horizon_s in (60.0, HORIZON_S):
            found[horizon_s] = each = _foreseen(counts, horizon_s)
            judged = np.arange(len(each.came)) >= DAY_S / TICK_S
            errors = {
                "as in the last tick": each.last,
                "as over the last horizon": each.now,
                "forecast": each.ahead,
            }
            for name, values in errors.items():
                mae = float(np.abs(values - each.came)[judged].mean())
                rows.append({"": f"{horizon_s:g} s: {name}", "MAE, requests/s": mae})
        by_name = {str(row[""]): float(row["MAE, requests/s"]) for row in rows}
        ahead = by_name[f"{HORIZON_S:g} s: forecast"]
        day = found[HORIZON_S]
        shown = slice(int(DAY_S / TICK_S), int(DAY_S / TICK_S) + 1440)
        at = np.arange(1440) * TICK_S
        return Report(
            rows=rows,
            verdicts=[
                Verdict(
                    claim="MAE of the next 300 s, below that of the rate over the last 300 s by",
                    measured=1 - ahead / by_name[f"{HORIZON_S:g} s: as over the last horizon"],
                    at_least=0.12 if setting.short else 0.15,
                ),
                Verdict(
                    claim="MAE of the next 60 s, below that of the rate of the last tick by",
                    measured=1 - by_name["60 s: forecast"] / by_name["60 s: as in the last tick"],
                    at_least=0.15,
                ),
            ],
            plots=[
                plot(
                    "The next 300 s",
                    "requests/s, four hours of the second day",
                    [
                        line("came", at, day.came[shown]),
                        line("forecast", at, day.ahead[shown]),
                        line("over the last 300 s", at, day.now[shown]),
                    ],
                )
            ],
            duration_s=1440 * TICK_S,
        )


@dataclass(frozen=True, kw_only=True)
class _Foreseen:
    """By tick: the mean rate over the horizon after it, and what was expected of it."""

    came: Floats
    ahead: Floats
    now: Floats
    last: Floats


def _trace(duration_s: float, rng: np.random.Generator) -> Floats:
    """Return how many requests come in each tick."""
    steps, left = [], duration_s
    while left > 0:
        lasts = rng.exponential(CALM_S), rng.exponential(BURST_S)
        steps += [(0.0, lasts[0]), (rng.uniform(*BURST_PER_S), lasts[1])]
        left -= sum(lasts)
    arrives = np.concatenate([diurnal(MEAN_PER_S, duration_s, rng), stepped(steps, rng)])
    edges = np.arange(0, duration_s + TICK_S / 2, TICK_S)
    return np.histogram(arrives, edges)[0].astype(np.float64)


def _foreseen(counts: Floats, horizon_s: float) -> _Foreseen:
    forecast, steps = Forecast(tick_s=TICK_S, horizon_s=horizon_s), round(horizon_s / TICK_S)
    ahead, now = np.empty(len(counts)), np.empty(len(counts))
    for i, count in enumerate(counts):
        forecast.tick(float(count))
        ahead[i], now[i] = forecast.ahead, forecast.now
    total = np.concatenate([[0.0], np.cumsum(counts / TICK_S)])
    came = (total[steps + 1 :] - total[1:-steps]) / steps
    n = len(came)
    return _Foreseen(came=came, ahead=ahead[:n], now=now[:n], last=counts[:n] / TICK_S)
