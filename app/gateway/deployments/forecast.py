"""Load one horizon ahead: what the next seconds or minutes will bring, from what came so far.

No I/O and no clock: whoever uses it says how much came in each tick, and a simulation says it of
simulated load.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0

_FORGETS_TICKS = 20_000
"""After how many ticks what was learned of the weights counts e times less."""
_FIRST_GUESS_TICKS = 10.0
"""How many ticks the first guess counts for: that load stays as it was over the last horizon."""
_MOST_OPEN = 30.0
"""How open the weights may become while nothing happens that would teach them."""
_SMALL_ERROR = 0.3
"""Errors, relative to the load, count in square below this and plainly above: bursts that nobody
can foresee shall not bend what is learned of everything else (Huber's loss, for the mean absolute
error)."""
_SEASON_SHARE = 0.35
"""By which share of itself what is usual at a time of day may move in one day."""


@dataclass(slots=True, kw_only=True)
class Forecast:
    """Forecast the mean rate over the next `horizon_s`, learning from its own errors.

    A regression on what is known now: the rate over the last tick and the last horizon, a slow
    level and its trend, and what is usual at that time of day. Its weights begin at "as it was over
    the last horizon" and are fitted to every horizon that has passed (recursive least squares,
    forgetting), so that it learns by itself how fast bursts fade, how long a trend lasts, and
    whether there is a season at all. A tick takes the same time however much came before.

    Attributes
    ----------
    tick_s
        How long a tick is, in seconds; what is counted in one is told with `tick`.
    horizon_s
        How far ahead is looked; a whole number of ticks, at least one.
    season_s
        After which time load repeats itself.
    phases
        In how many parts a season is known.
    """

    tick_s: float = 1.0
    horizon_s: float = 10.0
    season_s: float = DAY_S
    phases: int = 48
    n_ticks: int = field(default=0, init=False)
    _steps: int = field(init=False)
    _last: deque[float] = field(init=False)
    _sum: float = field(default=0.0, init=False)
    _slow: float = field(default=0.0, init=False)
    _slower: float = field(default=0.0, init=False)
    _season: NDArray[np.float64] = field(init=False)
    """The median rate in each phase; NaN where none was seen."""
    _pending: deque[NDArray[np.float64]] = field(init=False)
    _weights: NDArray[np.float64] = field(init=False)
    _inverse: NDArray[np.float64] = field(init=False)
    _most: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._steps = round(self.horizon_s / self.tick_s) if self.tick_s > 0 else 0
        if self._steps < 1 or self.phases < 2:
            raise ValueError(
                "a forecast needs a positive tick, a horizon of one or more, and two phases, not "
                f"{self.tick_s}, {self.horizon_s} and {self.phases}"
            )
        self._last = deque(maxlen=self._steps)
        self._pending = deque()
        self._season = np.full(self.phases, np.nan)
        self._weights = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
        self._inverse = np.eye(len(self._weights)) / _FIRST_GUESS_TICKS

    def tick(self, count: float) -> None:
        """Take in what came in one tick: ticks without anything are to be told too.

        Parameters
        ----------
        count
            Requests, tokens, or whatever is forecast; at least 0.
        """
        rate = count / self.tick_s
        if len(self._last) == self._steps:
            self._sum -= self._last[0]
        self._last.append(rate)
        self._sum += rate
        first = self.n_ticks == 0
        # Time constants of two and of eight horizons: a level, and where it comes from.
        self._slow = rate if first else self._slow + (rate - self._slow) / (2 * self._steps + 1)
        self._slower = (
            rate if first else self._slower + (rate - self._slower) / (8 * self._steps + 1)
        )
        self._most = max(self._most * (1 - 1 / (20 * self._steps)), rate)
        self._in_season()
        self.n_ticks += 1
        if len(self._pending) == self._steps:
            self._learn(self._pending.popleft(), self.now)
        self._pending.append(self._known())

    @property
    def now(self) -> float:
        """The mean rate over the last horizon, per second."""
        return max(self._sum, 0.0) / max(len(self._last), 1)

    @property
    def ahead(self) -> float:
        """The mean rate to be expected over the next horizon, per second; 0 before any tick."""
        if not self.n_ticks:
            return 0.0
        expected = float(self._weights @ self._pending[-1])
        return min(max(expected, 0.0), 2 * self._most)

    def _known(self) -> NDArray[np.float64]:
        """Return what a forecast is made of, all in requests per second."""
        now = self.now
        usual = self._usual()
        if np.isnan(usual):
            usual = self._slow
        return np.array([self._last[-1], now, self._slow, self._slow - self._slower, usual])

    def _usual(self) -> float:
        """Return the usual rate in the middle of the next horizon; NaN where it is not known."""
        ahead_s = self.n_ticks * self.tick_s + self.horizon_s / 2
        return self._seasonal(ahead_s / self.season_s)

    def _seasonal(self, share: float) -> float:
        """Return the usual rate at a time, between the middles of two phases."""
        at = (share % 1.0) * self.phases - 0.5
        left = int(np.floor(at))
        part = at - left
        first, second = self._season[left % self.phases], self._season[(left + 1) % self.phases]
        return float(first * (1 - part) + second * part)

    def _in_season(self) -> None:
        phase = int(self.n_ticks * self.tick_s / self.season_s % 1.0 * self.phases)
        usual = self._season[phase]
        if np.isnan(usual):
            self._season[phase] = self._slow
        else:
            # Towards the median: what bursts add is not usual.
            n_ticks = max(self.season_s / self.phases / self.tick_s, 1.0)
            step = _SEASON_SHARE / n_ticks * max(usual, self._slow)
            self._season[phase] = max(usual + (step if self.now > usual else -step), 0.0)

    def _learn(self, known: NDArray[np.float64], came: float) -> None:
        """Fit the weights to what came of what was known a horizon ago, once more (RLS)."""
        scale = max(known[1], came, 1e-12)  # errors count relative to the load that there was
        x, y = known / scale, came / scale
        self._inverse *= 1 + 1 / _FORGETS_TICKS
        error = y - float(self._weights @ x)
        gain = self._inverse @ x
        gain /= max(abs(error) / _SMALL_ERROR, 1.0) + float(x @ gain)
        self._weights = self._weights + gain * error
        self._inverse = self._inverse - np.outer(gain, x @ self._inverse)
        openness = float(np.trace(self._inverse))
        if openness > _MOST_OPEN:
            self._inverse *= _MOST_OPEN / openness
