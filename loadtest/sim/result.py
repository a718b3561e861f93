"""What came of a simulated run, as columns of its requests, and what is read from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.sim.fleet import Place
from loadtest.sim.traffic import Floats, Ints, Traffic


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run.

    Attributes
    ----------
    place
        Which of `places` answered each request; -1: none, all refused it.
    submitted_s
        When that place got it: later than it arrived where a gateway waited to ask again.
    first_s, ends_s
        When the first token and the whole answer were there, or the refusal.
    n_throttled
        Calls that a quota turned away.
    cpu_s
        Processor time of the simulation.
    """

    traffic: Traffic
    places: Sequence[Place]
    place: Ints
    submitted_s: Floats
    first_s: Floats
    ends_s: Floats
    elapsed_s: float
    n_throttled: int
    cpu_s: float

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which requests were answered."""
        return self.place >= 0

    @property
    def took_s(self) -> Floats:
        """How long each answered request took, end to end."""
        return (self.ends_s - self.traffic.arrives_s)[self.answered]

    @property
    def mean_s(self) -> float:
        """The mean of that."""
        return float(self.took_s.mean())

    @property
    def first_token_s(self) -> Floats:
        """How long the first token of each answered request took."""
        return (self.first_s - self.traffic.arrives_s)[self.answered]

    @property
    def requests_per_cpu_s(self) -> float:
        """How many requests were simulated per second of one core."""
        return len(self.traffic) / max(self.cpu_s, 1e-9)

    @property
    def cost_usd(self) -> float:
        """What tokens and hours came to."""
        hours = self.elapsed_s / 3600
        total = sum(each.usd_per_hour for each in self.places) * hours
        for number, place in enumerate(self.places):
            mine = self.place == number
            total += (
                place.prices.cost_usd(
                    input_tokens=float(self.traffic.input_tokens[mine].sum()),
                    output_tokens=float(self.traffic.output_tokens[mine].sum()),
                    n_answers=int(mine.sum()),
                )
                or 0.0
            )
        return total

    def utilisation(self, *, slots: int = 1) -> Floats:
        """Return the share of the time in which each place's server worked."""
        return np.array(
            [each.server.account.busy_s / (slots * self.elapsed_s) for each in self.places]
        )

    def outstanding(self, times_s: Floats) -> Ints:
        """Return the requests at each place at some times: (place, time)."""
        rows = []
        for number in range(len(self.places)):
            mine = self.place == number
            came = np.sort(self.submitted_s[mine])
            went = np.sort(self.ends_s[mine])
            rows.append(
                np.searchsorted(came, times_s, side="right")
                - np.searchsorted(went, times_s, side="right")
            )
        return np.array(rows, np.int64)

    def imbalance(self, *, window: int = 1000) -> float:
        """Return max/mean of the requests that places got, the mean over windows of requests."""
        got = self.place[self.answered]
        whole = len(got) // window * window
        if not whole:
            raise ValueError(f"{len(got)} requests fill no window of {window}")
        ratios = [
            np.bincount(each, minlength=len(self.places)).max() * len(self.places) / window
            for each in got[:whole].reshape(-1, window)
        ]
        return float(np.mean(ratios))

    def swing(self, *, from_s: float = 0.0, step_s: float = 0.1) -> float:
        """Return max/mean of the requests at places at the same time, the mean over times.

        Where places take turns in being overrun it is far above what chance alone makes of it.
        """
        inside = self.outstanding(np.arange(from_s, float(self.traffic.arrives_s[-1]), step_s))
        mean = inside.mean(axis=0)
        return float((inside.max(axis=0)[mean > 0] / mean[mean > 0]).mean())


def percentile_s(values: Floats, q: float) -> float:
    """Return a percentile; NaN of nothing."""
    return float(np.percentile(values, q)) if len(values) else float("nan")
