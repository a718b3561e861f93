"""What a scenario is: a claim about the gateway, simulated, measured and held against a bound."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtest.sim.result import Result, percentile_s
from loadtest.sim.traffic import Floats
from routers.registry import Registry
from scripts.dashboards.drawing import Plot, Series

Row = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a scenario is run.

    Attributes
    ----------
    short
        Whether for seconds only, as tests do: the same claims, on fewer requests.
    log
        A decision log, for the scenarios that replay one.
    """

    seed: int = 0
    short: bool = False
    log: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bound, and what was measured of it."""

    claim: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a scenario found."""

    rows: Sequence[Row]
    verdicts: Sequence[Verdict] = ()
    plots: Sequence[Plot] = ()
    duration_s: float = 60.0
    """What the plots' axis of time spans."""
    notes: Sequence[str] = field(default_factory=tuple)


class Scenario(ABC):
    """One claim, found by the name of its file; the docstring's first line says it in the list."""

    @abstractmethod
    def run(self, setting: Setting) -> Report:
        """Simulate, and measure."""


SCENARIOS: Registry[Scenario] = Registry("loadtest.sim.scenarios", noun="scenario")


def times(name: str, result: Result) -> dict[str, str | float]:
    """Return a row of how long answers took."""
    took = result.took_s
    return {
        "": name,
        "requests": len(result.traffic),
        "refused": int((~result.answered).sum()),
        "mean s": result.mean_s,
        "p50 s": percentile_s(took, 50),
        "p90 s": percentile_s(took, 90),
        "p99 s": percentile_s(took, 99),
        "first token p50 s": percentile_s(result.first_token_s, 50),
        "simulated/s": round(result.requests_per_cpu_s, -2),
    }


def line(
    name: str, points: Floats, values: Floats, *, kin: str | None = None, dashes: int = 0
) -> Series:
    """Return one line of a plot; what is no number is left out.

    Lines of one `kin` have one colour, and are told apart by their dashes, from 0 to 2.
    """
    pairs = [(float(at), float(value)) for at, value in zip(points, values, strict=True)]
    return Series(
        name=name,
        kin=kin or name,
        query=dashes,
        points=[p for p in pairs if not np.isnan(p[1])],
    )


def plot(
    title: str,
    note: str,
    lines: Sequence[Series],
    *,
    unit: str = "none",
    maximum: float | None = None,
) -> Plot:
    """Return a plot over time."""
    return Plot(
        title=title,
        note=note,
        kind="timeseries",
        unit=unit,
        stacked=False,
        maximum=maximum,
        series=lines,
    )


def averaged(at_s: Floats, values: Floats, edges_s: Floats) -> Floats:
    """Return the mean of values in each stretch between two edges; NaN where there are none."""
    where = np.digitize(at_s, edges_s) - 1
    inside = (where >= 0) & (where < len(edges_s) - 1)
    n = np.bincount(where[inside], minlength=len(edges_s) - 1)
    total = np.bincount(where[inside], weights=values[inside], minlength=len(edges_s) - 1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
