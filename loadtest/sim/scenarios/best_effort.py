"""The best of three tiers that still answers in time: in bursts, at ten times the load, by task."""

from collections.abc import Sequence

import numpy as np

from app.gateway.load.load_price import FITTED, LoadPrice
from loadtest.sim.arrivals import poisson, stepped
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.scenarios.bursts import phases, traffic_of
from loadtest.sim.tiers import EASY_MIX, HARD_MIX, TIERS, Questions, Served, of, serve

BEST, CHEAPEST = "best", "cheapest"
PEAK = TIERS[BEST][1]
CONSTANT = (4.0, 7.0, 10.0, 20.0, 30.0, 40.0, 60.0)
"""Requests a second, for so long that the tier in force should stay."""
WINDOW_S = 30.0
AT_A_TIME, TURNS = 40, 6
"""Conversations that are under way together, and how many turns each has."""
REFITTED = LoadPrice((0.0, 0.077, 0.168, 0.286, 0.426), len(TIERS))
"""By `python -m loadtest.sim.fit_load_price --mix hard`: what learning anew would come to."""
GRID = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0)
"""Requests a second at which the best tier alone is tried."""


@SCENARIOS.register("best-effort")
class BestEffortScenario(Scenario):
    """4, 40, 4 requests a second: the tier falls and rises, answers stay in time, hard ones good.

    Then ten times the rate that the best tier alone can bear, constant rates, and requests of tasks
    that need the best tier more or less. Bursts at times that nobody knows are `near-peak`.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate the rule beside single tiers, then the learned prices beside the rule."""
        found = _Steps(setting)
        rows: list[Row] = list(found.rows)
        verdicts = list(found.verdicts())
        changes = max(_most_changes(rate, setting) for rate in CONSTANT)
        verdicts.append(
            Verdict(
                claim="changes of the tier in 30 s of constant load", measured=changes, at_most=2
            )
        )
        fails_at, available = _ten_times(setting)
        verdicts.append(
            Verdict(
                claim=f"in time at {10 * fails_at:g}/s; the best alone: < .99 at {fails_at:g}",
                measured=available,
                at_least=0.99,
            )
        )
        kept, moves = _conversations(found, short=setting.short)
        learned, table = _tasks(setting)
        return Report(
            rows=[*rows, *moves, *table],
            verdicts=[*verdicts, *kept, *learned],
            plots=found.plots(),
            duration_s=found.lasts_s,
        )


class _Steps:
    """The burst of ten times the load, by the rule and by single tiers."""

    def __init__(self, setting: Setting) -> None:
        self.seed = setting.seed
        self.traffic = traffic_of(setting)
        self.begins_s, self.ends_s = phases(setting)
        self.lasts_s = self.ends_s + self.begins_s
        self.served: dict[str, Served] = {
            "best effort": serve(self.traffic, seed=setting.seed),
            **{name: serve(self.traffic, seed=setting.seed, static=name) for name in TIERS},
        }
        arrives = self.traffic.arrives_s
        self.burst = (arrives >= self.begins_s) & (arrives < self.ends_s)
        self.last = arrives >= self.lasts_s - self.begins_s / 2

    @property
    def rows(self) -> Sequence[Row]:
        return [
            {
                "": name,
                "requests": len(each.worth),
                "worth, calm": float(each.worth[~self.burst].mean()),
                "worth, burst": float(each.worth[self.burst].mean()),
                "late %": 100 * float(each.late.mean()),
                "quality at the end": float(each.quality[self.last].mean()),
            }
            for name, each in self.served.items()
        ]

    def verdicts(self) -> Sequence[Verdict]:
        ours, cheapest = self.served["best effort"], self.served[CHEAPEST]
        gain = ours.worth[self.burst].mean() - cheapest.worth[self.burst].mean()
        return [
            Verdict(claim="late, of all", measured=float(ours.late.mean()), at_most=0.03),
            Verdict(
                claim="worth of a request in the burst, above the cheapest alone",
                measured=float(gain),
                at_least=0.08,
            ),
            Verdict(
                claim="quality at the end, of the best tier's",
                measured=float(ours.quality[self.last].mean()) / PEAK,
                at_least=0.99,
            ),
        ]

    def plots(self) -> Sequence:
        edges = np.arange(0, self.lasts_s + 1, 2.0)
        arrives = self.traffic.arrives_s
        ours = self.served["best effort"].result
        shares = [
            line(name, edges[:-1], averaged(arrives, (ours.place == tier).astype(float), edges))
            for tier, name in enumerate(TIERS)
        ]
        worth = [
            line(name, edges[:-1], averaged(arrives, each.worth, edges))
            for name, each in self.served.items()
        ]
        return [
            plot("Worth of a request", "quality if in time, else 0", worth, maximum=1.0),
            plot("Who answers", "share of requests, best effort", shares, maximum=1.0),
        ]


def _most_changes(rate_per_s: float, setting: Setting) -> float:
    """Return the most changes of the tier in force in any 30 s, once it has been found."""
    lasts_s = 60.0 if setting.short else 300.0
    rng = np.random.default_rng(setting.seed)
    traffic = of(poisson(rate_per_s, lasts_s, rng), rng)
    at = [when for when, _ in serve(traffic, seed=setting.seed).changes if when >= WINDOW_S]
    return float(max([sum(when <= other < when + WINDOW_S for other in at) for when in at] or [0]))


def _ten_times(setting: Setting) -> tuple[float, float]:
    """Return where the best tier alone falls below 99 % in time, and who is at ten times that.

    Answers take as long as a gamma distribution of shape 4 says: of exponential ones, 1.8 % take
    four times the mean and are late with nothing else to do.
    """
    lasts_s = 60.0 if setting.short else 240.0

    def in_time(rate_per_s: float, static: str | None) -> float:
        rng = np.random.default_rng(setting.seed)
        traffic = of(poisson(rate_per_s, lasts_s, rng), rng, shape=4.0)
        return 1 - float(serve(traffic, seed=setting.seed, static=static).late.mean())

    fails_at = next((rate for rate in GRID if in_time(rate, BEST) < 0.99), GRID[-1])
    return fails_at, in_time(10 * fails_at, None)


def _conversations(steps: _Steps, *, short: bool) -> tuple[Sequence[Verdict], Sequence[Row]]:
    """Compare turns that are looked at alone with conversations that keep their tier."""
    number = np.arange(len(steps.traffic))
    # So many conversations at a time, a turn of each after the other.
    conversations = number % AT_A_TIME + AT_A_TIME * (number // (AT_A_TIME * TURNS))
    order = np.argsort(conversations, kind="stable")
    same = np.diff(conversations[order]) == 0
    kept = serve(steps.traffic, seed=steps.seed, conversations=conversations)
    rows: list[Row] = []
    moved = {}
    for name, each in (("turns alone", steps.served["best effort"]), ("conversations", kept)):
        moved[name] = float((np.diff(each.result.place[order]) != 0)[same].mean())
        rows.append(
            {
                "": name,
                "requests": len(each.worth),
                "worth, calm": float(each.worth[~steps.burst].mean()),
                "worth, burst": float(each.worth[steps.burst].mean()),
                "late %": 100 * float(each.late.mean()),
                "quality at the end": float(each.quality[steps.last].mean()),
                "turns elsewhere %": 100 * moved[name],
            }
        )
    return [
        Verdict(
            claim="conversations: turns that another tier answers, of those looked at alone",
            measured=moved["conversations"] / moved["turns alone"],
            at_most=0.6,
        ),
        Verdict(
            claim="conversations: late, of all", measured=float(kept.late.mean()), at_most=0.03
        ),
        Verdict(
            claim="conversations: quality at the end, of the best tier's",
            measured=float(kept.quality[steps.last].mean()) / PEAK,
            at_least=0.9 if short else 0.99,  # the tier in force rises after 30 s
        ),
    ], rows


def _tasks(setting: Setting) -> tuple[Sequence[Verdict], Sequence[Row]]:
    """Compare rule and prices where quality differs by task, on the mix fitted and on another."""
    seeds = [setting.seed + i for i in range(1 if setting.short else 4)]
    length_s = 30.0 if setting.short else 60.0
    kinds = {"rule": None, "learned": FITTED(len(TIERS)), "fitted anew": REFITTED}
    rows, worth = [], {}
    for mix, shares in (("mix as fitted", EASY_MIX), ("mix swapped", HARD_MIX)):
        for name, by in kinds.items():
            runs = []
            for seed in seeds:
                rng = np.random.default_rng(seed)
                steps = [(rate, length_s) for rate in (4.0, 40.0, 4.0)]
                traffic = of(stepped(steps, rng), rng)
                questions = Questions.mixed(len(traffic), shares, rng)
                runs.append(serve(traffic, seed=seed, prices=by, questions=questions))
            worth[mix, name] = float(np.mean([each.worth.mean() for each in runs]))
            rows.append(
                {
                    "": f"{mix}, {name}",
                    "requests": sum(len(each.worth) for each in runs),
                    "worth": worth[mix, name],
                    "late %": 100 * float(np.mean([each.late.mean() for each in runs])),
                }
            )
    least = 0.003 if setting.short else 0.008
    return [
        *[
            Verdict(
                claim=f"learned above the rule, {mix}",
                measured=worth[mix, "learned"] - worth[mix, "rule"],
                at_least=least,
            )
            for mix in ("mix as fitted", "mix swapped")
        ],
        Verdict(
            claim="mix swapped: learned, of prices fitted to that mix",
            measured=worth["mix swapped", "learned"] / worth["mix swapped", "fitted anew"],
            at_least=0.98,
        ),
    ], rows
