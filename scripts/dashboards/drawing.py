"""Panels as plain SVG, light and dark: numbers on top, then plots and bars two in a row."""

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _PAD, _GAP = 960, 16, 28
_PANEL = (_WIDTH - 2 * _PAD - _GAP) / 2
_AXIS, _PLOT = 46, 150
_LETTER = 5.7
"""Mean width of a letter at 10.5 px, rounded up: legends must not run into each other."""
_ENTRY, _LINE = 26, 16
N_HUES = 8
"""Colours that lines have."""
_DASHES = ("", ' stroke-dasharray="5 3"', ' stroke-dasharray="1.5 2.5"')

_STYLE = """<style>
svg { background: #fff }
text { font: 11px system-ui, sans-serif; fill: #444 }
.head { font-size: 15px; font-weight: 600; fill: #111 }
.title { font-size: 12px; font-weight: 600; fill: #111 }
.note, .tick, .legend { font-size: 10.5px; fill: #666 }
.number { font-size: 24px; font-weight: 600; fill: #111 }
.right { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #e4e4e7 } .zero { stroke: #a1a1aa }
.s { fill: none; stroke-width: 1.6; stroke-linejoin: round } .key { stroke-width: 3; fill: none }
.area { stroke: none; opacity: .35 }
.c0 { stroke: #2563eb } .c1 { stroke: #d97706 } .c2 { stroke: #059669 } .c3 { stroke: #db2777 }
.c4 { stroke: #7c3aed } .c5 { stroke: #0891b2 } .c6 { stroke: #65a30d } .c7 { stroke: #78716c }
.f0 { fill: #2563eb } .f1 { fill: #d97706 } .f2 { fill: #059669 } .f3 { fill: #db2777 }
.f4 { fill: #7c3aed } .f5 { fill: #0891b2 } .f6 { fill: #65a30d } .f7 { fill: #78716c }
@media (prefers-color-scheme: dark) {
  svg { background: #18181b } text { fill: #c4c4cc } .head, .title, .number { fill: #f4f4f5 }
  .note, .tick, .legend { fill: #a1a1aa } .grid { stroke: #303036 } .zero { stroke: #71717a }
  .c0 { stroke: #60a5fa } .c1 { stroke: #fbbf24 } .c2 { stroke: #34d399 } .c3 { stroke: #f472b6 }
  .c4 { stroke: #a78bfa } .c5 { stroke: #22d3ee } .c6 { stroke: #a3e635 } .c7 { stroke: #a8a29e }
  .f0 { fill: #60a5fa } .f1 { fill: #fbbf24 } .f2 { fill: #34d399 } .f3 { fill: #f472b6 }
  .f4 { fill: #a78bfa } .f5 { fill: #22d3ee } .f6 { fill: #a3e635 } .f7 { fill: #a8a29e }
}
</style>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line or bar.

    Attributes
    ----------
    name
        In the legend.
    kin
        Series of one kin share a colour; `query` tells them apart by their dashes.
    query
        Which of its panel's queries gave it.
    points
        (seconds since the beginning, value), where there is a value.
    """

    name: str
    kin: str
    query: int
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """The last value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One panel with its data; `kind` and `unit` are those of Grafana."""

    title: str
    note: str
    kind: str
    unit: str
    stacked: bool
    maximum: float | None
    series: Sequence[Series]

    @property
    def heading(self) -> Sequence[str]:
        """What is written above, in lines that fit."""
        first = re.split(r"[;.](?: |$)", self.note)[0]
        return self.title, *textwrap.wrap(first, int(_PANEL / _LETTER))


def draw(
    title: str,
    note: str,
    plots: Sequence[Plot],
    *,
    duration_s: float,
    hues: Mapping[str, int] | None = None,
) -> str:
    """Return one dashboard as SVG.

    Parameters
    ----------
    hues
        The colour of each kin, from 0 to `N_HUES` - 1; left out, every panel counts anew, as
        Grafana does.
    """
    parts = [_text(_PAD, 26, title, "head"), _text(_WIDTH - _PAD, 26, note, "note right")]
    y = 52.0
    stats = [plot for plot in plots if plot.kind == "stat"]
    for i, plot in enumerate(stats):
        x = _PAD + i * (_PANEL + _GAP if len(stats) == 2 else (_WIDTH - 2 * _PAD) / len(stats))
        parts.append(_text(x, y + 12, plot.title, "title"))
        parts.append(_text(x, y + 42, _unit(plot.unit)(plot.series[0].last), "number"))
    y += 66 if stats else 0
    rest = [plot for plot in plots if plot.kind != "stat"]
    for i in range(0, len(rest), 2):
        pair, bottoms = rest[i : i + 2], []
        top = y + 11 + 13.5 * max(len(plot.heading) for plot in pair)
        for column, plot in enumerate(pair):
            x = _PAD + column * (_PANEL + _GAP)
            for number, line in enumerate(plot.heading):
                parts.append(_text(x, y + 12 + number * 14, line, "note" if number else "title"))
            bars = plot.kind == "bargauge"
            drawn, bottom = _bars(plot, x, top) if bars else _lines(plot, x, top, duration_s, hues)
            parts += drawn
            bottoms.append(bottom)
        y = max(bottoms) + 24
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}">'
    return "\n".join([head, _STYLE, *parts, "</svg>"]) + "\n"


def _lines(
    plot: Plot, x: float, top: float, duration_s: float, hues: Mapping[str, int] | None
) -> tuple[list[str], float]:
    parts: list[str] = []
    series = sorted(plot.series, key=lambda each: (each.kin, each.query))
    if hues is None:
        hues = {kin: i % N_HUES for i, kin in enumerate(sorted({each.kin for each in series}))}
    stacks = _stack(series) if plot.stacked else {}
    drawn = [stacks.get(i, each.points) for i, each in enumerate(series)]
    values = [value for points in drawn for _, value in points]
    ticks = _ticks(
        min([0.0, *values]), max(values, default=0.0) if plot.maximum is None else plot.maximum
    )
    bottom, left = top + _PLOT, x + _AXIS

    def across(at_s: float) -> float:
        return left + at_s / duration_s * (_PANEL - _AXIS)

    def up(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * _PLOT

    shown = _unit(plot.unit, step=ticks[1] - ticks[0])
    for tick in ticks:
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{left:.0f} {up(tick):.1f}H{x + _PANEL:.0f}"/>')
        parts.append(_text(left - 6, up(tick) + 3.5, shown(tick), "tick right"))
    parts += [
        _text(across(second), bottom + 15, f"{second} s", "tick middle")
        for second in range(0, int(duration_s) + 1, _step_s(duration_s))
    ]
    # The highest of a stack first, so that every area is seen where it is not covered.
    for i in reversed(range(len(series))) if plot.stacked else range(len(series)):
        hue, each = hues[series[i].kin], series[i]
        for run in _runs(drawn[i]):
            path = "L".join(f"{across(at_s):.1f} {up(value):.1f}" for at_s, value in run)
            if plot.stacked:
                below = dict(stacks[i - 1]) if i else {}
                back = "L".join(
                    f"{across(at_s):.1f} {up(below.get(at_s, 0.0)):.1f}"
                    for at_s, _ in reversed(run)
                )
                parts.append(f'<path class="area f{hue}" d="M{path}L{back}Z"/>')
            parts.append(f'<path class="s c{hue}"{_DASHES[each.query]} d="M{path}"/>')
    legend, end = _legend(series, hues, x, bottom + 34)
    return parts + legend, end


def _legend(
    series: Sequence[Series], hues: Mapping[str, int], x: float, y: float
) -> tuple[list[str], float]:
    parts, at = [], x
    for each in series:
        width = _ENTRY + len(each.name) * _LETTER
        if at > x and at + width > x + _PANEL:
            at, y = x, y + _LINE
        hue = hues[each.kin]
        parts.append(
            f'<path class="key c{hue}"{_DASHES[each.query]} d="M{at:.0f} {y - 4:.0f}h14"/>'
        )
        parts.append(_text(at + 18, y, each.name, "legend"))
        at += width + 4
    return parts, y


def _bars(plot: Plot, x: float, top: float) -> tuple[list[str], float]:
    parts: list[str] = []
    series = sorted(plot.series, key=lambda each: -each.last)
    shown = _unit(plot.unit)
    most = max(each.last for each in series) or 1.0
    labels = max(len(each.name) for each in series) * _LETTER + 8
    span = _PANEL - labels - 64
    for i, each in enumerate(series):
        row, width = top + 4 + i * 24, max(1.0, each.last / most * span)
        parts.append(_text(x + labels - 8, row + 12, each.name, "legend right"))
        parts.append(
            f'<rect class="f0" x="{x + labels:.0f}" y="{row:.0f}" width="{width:.1f}" height="15"/>'
        )
        parts.append(_text(x + labels + width + 6, row + 12, shown(each.last), "legend"))
    return parts, top + 4 + len(series) * 24


def _stack(series: Sequence[Series]) -> dict[int, Sequence[tuple[float, float]]]:
    """Return the tops of the areas; what has no value at a time counts as nothing there."""
    times = sorted({at_s for each in series for at_s, _ in each.points})
    tops: dict[int, Sequence[tuple[float, float]]] = {}
    total = dict.fromkeys(times, 0.0)
    for i, each in enumerate(series):
        values = dict(each.points)
        total = {at_s: total[at_s] + values.get(at_s, 0.0) for at_s in times}
        tops[i] = list(total.items())
    return tops


def _runs(points: Sequence[tuple[float, float]]) -> Iterator[Sequence[tuple[float, float]]]:
    """Cut a line where a value is missing."""
    step = min((b[0] - a[0] for a, b in pairwise(points)), default=0.0)
    start = 0
    for i in range(1, len(points) + 1):
        if i == len(points) or points[i][0] - points[i - 1][0] > step * 1.5:
            yield points[start:i]
            start = i


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round values around a range."""
    high = max(high, low + 1e-9)
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _step_s(duration_s: float) -> int:
    """Return the seconds between two marks of the axis of time: seven marks at most."""
    steps = (1, 2, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400)
    return next((step for step in steps if duration_s / step <= 6), 86_400)


def _unit(unit: str, *, step: float | None = None) -> Callable[[float], str]:
    """Return how values are written; `step` is between the ticks of an axis."""
    scale, prefix, suffix = {
        "percentunit": (100.0, "", " %"),
        "currencyUSD": (1.0, "$", ""),
        "reqps": (1.0, "", "/s"),
        "h": (1.0, "", " h"),
    }.get(unit, (1.0, "", ""))

    def write(value: float) -> str:
        factor, ending = scale, suffix
        if unit == "s":
            least = step if step is not None else value
            factor, ending = next((f, e) for f, e, from_s in _SECONDS if least >= from_s * 0.999)
        size = abs((step if step is not None else value) * factor)
        digits = (0 if step is not None else 2) - (
            math.floor(math.log10(size) + 1e-9) if size else 0
        )
        if unit == "currencyUSD" and size >= 0.01 and (step is None or digits > 0):
            digits = 2
        sign = "\N{MINUS SIGN}" if value < 0 else ""
        return f"{sign}{prefix}{abs(value) * factor:,.{max(0, digits)}f}{ending}"

    return write


_SECONDS = ((1.0, " s", 1.0), (1e3, " ms", 1e-3), (1e6, " µs", 0.0))


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text, quote=False)}</text>'
