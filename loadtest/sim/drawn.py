"""What is shown of a simulation: rows of a table, lines over time."""

from collections.abc import Sequence

import numpy as np

from loadtest.sim.result import Result, percentile_s
from loadtest.sim.traffic import Floats
from scripts.dashboards.drawing import Plot, Series


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
