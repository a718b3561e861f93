"""How much of the time answers are near the best tier's quality, in bursts that nobody can foresee.

As published for learned best effort (Jha et al. 2024, arXiv:2401.07886): three sizes of a model,
tasks that need the best one more or less, a hard deadline, arrivals as of serverless functions; the
share of time above 96 and 98 % of peak, to that of the best model alone. Its abstract says neither
how much of the time bursts take nor how good each model is at each task, and both decide. So the
share of bursts is varied, and beside the gateway stand policies that know more than any can.
"""

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

from app.gateway.load.load_price import FITTED
from loadtest.sim.arrivals import bursty
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.tiers import DEADLINE_S, EASY_MIX, SLOTS, TIERS, Questions, of, serve
from loadtest.sim.traffic import Floats, Traffic
from scripts.dashboards.drawing import Plot

SHARES = (0.96, 0.98)
PUBLISHED = (4.1, 2.3)
CALM_PER_S, BURST, BURST_S = 2.0, 8.0, 10.0
CALMS_S = (10.0, 15.0, 20.0, 30.0)
"""How long it is calm between two bursts, in the mean."""
LIKE_PUBLISHED_S = 15.0
"""With so much the best tier alone is near its peak for a quarter of the time at the most: more
would leave no room for four times as much."""
WINDOW_S = 2.0
(_BEST_S, PEAK), (_, _MIDDLE) = TIERS["best"], TIERS["middle"]
_ALONE, _QUEUES, _ALL = "the best alone", "knows every queue", "knows every time"
_RULE, _LEARNED = "rule", "learned"


@SCENARIOS.register("near-peak")
class NearPeak(Scenario):
    """Bursts of 16 requests a second over 2, seldom and often: time above 96 and 98 % of the peak.

    First of tiers that are as good at everything, beside policies that see the queues, or even how
    long every answer will take; then of tasks that need the best tier more or less.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate every share of bursts."""
        seeds = [setting.seed + number for number in range(1 if setting.short else 5)]
        lasts_s = 400.0 if setting.short else 1200.0
        calms_s = (LIKE_PUBLISHED_S, 30.0) if setting.short else CALMS_S
        rows: list[Row] = []
        alike: dict[float, dict[str, Floats]] = {}
        by_task: dict[float, dict[str, Floats]] = {}
        late = 0.0
        for calm_s in calms_s:
            for found, tasks in ((alike, False), (by_task, True)):
                runs = [_run(calm_s, lasts_s, seed, tasks=tasks) for seed in seeds]
                found[calm_s] = {
                    name: np.mean([each[name] for each in runs], axis=0) for name in runs[0]
                }
                kind = "tasks" if tasks else "all alike"
                alone = found[calm_s][_ALONE]
                for name, each in found[calm_s].items():
                    rows.append(_row(f"{kind}, calm {calm_s:g} s, {name}", each, alone))
                late = max(late, *(found[calm_s][name][2] for name in _ours(tasks=tasks)))
        published = by_task[LIKE_PUBLISHED_S]
        times_as_often = published[_LEARNED][:2] / published[_ALONE][:2]
        return Report(
            rows=rows,
            verdicts=[
                *(
                    Verdict(
                        claim=f"{_LEARNED}, tasks, calm {LIKE_PUBLISHED_S:g} s: above "
                        f"{share:.0%} of peak, times as often as the best alone",
                        measured=float(times),
                        at_least=wanted,
                    )
                    for share, times, wanted in zip(SHARES, times_as_often, PUBLISHED, strict=True)
                ),
                *(
                    Verdict(
                        claim=f"all alike: above {share:.0%}, of whoever knows every queue",
                        measured=min(
                            float(each[_RULE][at] / each[_QUEUES][at]) for each in alike.values()
                        ),
                        at_least=0.93,
                    )
                    for at, share in enumerate(SHARES)
                ),
                Verdict(claim="late, of all, at the most", measured=late, at_most=0.03),
            ],
            plots=[_plotted(by_task)],
            duration_s=lasts_s,
        )


def _ours(*, tasks: bool) -> Sequence[str]:
    return (_RULE, _LEARNED) if tasks else (_RULE,)


def _run(calm_s: float, lasts_s: float, seed: int, *, tasks: bool) -> dict[str, Floats]:
    """Return, by policy, the time above each share of the peak, and who is late."""
    rng = np.random.default_rng(seed)
    arrives = bursty(CALM_PER_S, lasts_s, rng, burst=BURST, calm_s=calm_s, burst_s=BURST_S)
    traffic = of(arrives, rng, shape=4.0)
    questions = Questions.mixed(len(traffic), EASY_MIX, rng) if tasks else None
    served = {
        _ALONE: serve(traffic, seed=seed, static="best", questions=questions),
        _RULE: serve(traffic, seed=seed, questions=questions),
    }
    if tasks:
        prices = FITTED(len(TIERS))
        served[_LEARNED] = serve(traffic, seed=seed, prices=prices, questions=questions)
    worth = {name: each.worth for name, each in served.items()}
    if not tasks:
        worth |= {_QUEUES: _knowing(traffic), _ALL: _knowing(traffic, times=True)}
    return {name: _near_peak(traffic, each, lasts_s) for name, each in worth.items()}


def _near_peak(traffic: Traffic, worth: Floats, lasts_s: float) -> Floats:
    edges = np.arange(0, lasts_s + 1, WINDOW_S)
    windows = averaged(traffic.arrives_s, worth, edges)
    known = windows[~np.isnan(windows)]
    above = [float((known >= share * PEAK).mean()) for share in SHARES]
    return np.array([*above, float((worth == 0.0).mean())])


def _knowing(traffic: Traffic, *, times: bool = False) -> Floats:
    """Return what requests are worth to who knows how long each would wait for the best tier.

    It has the same safety of two mean services, or none where it knows every service (`times`). The
    middle tier never fills.
    """
    free = [0.0] * SLOTS
    worth = np.full(len(traffic), _MIDDLE)
    for number, (arrives, effort) in enumerate(zip(traffic.arrives_s, traffic.effort, strict=True)):
        begins = max(arrives, free[0])
        ends = begins + effort * _BEST_S
        in_time = ends - arrives <= DEADLINE_S
        if in_time if times else begins - arrives <= DEADLINE_S - 2 * _BEST_S:
            heapq.heapreplace(free, ends)
            worth[number] = PEAK if in_time else 0.0
    return worth


def _row(name: str, found: Floats, alone: Floats) -> Row:
    return {
        "": name,
        **{f"above {share:.0%}": f"{found[at]:.3f}" for at, share in enumerate(SHARES)},
        **{
            f"times alone, {share:.0%}": f"{found[at] / max(alone[at], 1e-9):.2f}"
            for at, share in enumerate(SHARES)
        },
        "late %": f"{100 * found[2]:.2f}",
    }


def _plotted(by_task: Mapping[float, Mapping[str, Floats]]) -> Plot:
    calms = np.array(sorted(by_task))
    return plot(
        "Time above 96 % of the peak",
        "share of 2 s windows, by seconds of calm between bursts",
        [
            line(name, calms, np.array([by_task[calm_s][name][0] for calm_s in calms]))
            for name in (_ALONE, _RULE, _LEARNED)
        ],
        maximum=1.0,
    )
