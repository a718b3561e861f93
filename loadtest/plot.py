"""docs/benchmarks/overhead.svg: processor time per request and chunk, on a logarithmic scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _ROW, _RIGHT = 860, 250, 22, 90
_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }
.name { text-anchor: end } .small { font-size: 10px; text-anchor: middle; fill: #777 }
.grid { stroke: #ddd } .stem { stroke: #bbb; stroke-dasharray: 1 3 }
.peer { fill: #9ab } .ours { fill: #d60 }
@media (prefers-color-scheme: dark) {
  svg { background: #181818 } text { fill: #ddd } .grid { stroke: #333 }
  .stem { stroke: #666 } .peer { fill: #578 }
}
</style>"""

Bar = tuple[str, float, bool]
"""Name, value, whether it is ours."""


def draw(scenarios: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the picture of a result's scenarios."""
    panels = [
        ("CPU per request, 64 connections, µs", _requests(scenarios)),
        ("CPU per chunk, 64 streams of 100 chunks/s, µs", _chunks(scenarios, "stream paced")),
        ("CPU per chunk, 200 chunks in a burst, µs", _chunks(scenarios, "stream in a burst")),
    ]
    parts, y = [], 10
    for title, bars in panels:
        drawn, y = _panel(title, sorted(bars, key=lambda bar: bar[1]), y)
        parts += drawn
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}">'
    return "\n".join([head, _STYLE, *parts, "</svg>"]) + "\n"


def _requests(scenarios: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Bar]:
    bars = []
    for kind in ("pinned", "routed"):
        for name, row in scenarios.get(f"{kind}, 64 connections", {}).items():
            if name != "direct":
                ours = name.startswith("steelyard")
                bars.append((f"{name}, {kind}" if ours else name, row["cpu_us"], ours))
    return bars


def _chunks(scenarios: Mapping[str, Mapping[str, Mapping[str, Any]]], kind: str) -> list[Bar]:
    rows = scenarios.get(f"{kind}, pinned", {})
    return [
        (name, row["chunk_cpu_us"], name.startswith("steelyard"))
        for name, row in rows.items()
        if name != "direct"
    ]


def _panel(title: str, bars: Sequence[Bar], top: int) -> tuple[list[str], int]:
    if not bars:
        return [], top
    low = math.floor(math.log10(min(value for _, value, _ in bars)))
    high = math.ceil(math.log10(max(value for _, value, _ in bars)))
    span = _WIDTH - _LABELS - _RIGHT

    def at(value: float) -> float:
        return _LABELS + (math.log10(value) - low) / max(1, high - low) * span

    bottom = top + 22 + len(bars) * _ROW
    parts = [f'<text class="title" x="{_LABELS}" y="{top + 12}">{escape(title)}</text>']
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" y1="{top + 20}" x2="{x:.1f}" y2="{bottom}"/>'
        )
        parts.append(f'<text class="small" x="{x:.1f}" y="{bottom + 12}">{10.0**power:,g}</text>')
    for number, (name, value, ours) in enumerate(bars):
        y = top + 24 + number * _ROW
        kind = "ours" if ours else "peer"
        parts += [
            f'<text class="name" x="{_LABELS - 8}" y="{y + 12}">{escape(name)}</text>',
            # A point: the length of a bar would mean nothing on a scale without a zero.
            f'<line class="stem" x1="{_LABELS}" x2="{at(value):.1f}" y1="{y + 8}" y2="{y + 8}"/>',
            f'<circle class="{kind}" cx="{at(value):.1f}" cy="{y + 8}" r="6"/>',
            f'<text x="{at(value) + 11:.1f}" y="{y + 12}">{_short(value)}</text>',
        ]
    return parts, bottom + 30


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
