"""Draw docs/benchmarks/learning_curves.json as small multiples.

    python scripts/draw_learning_curves.py

One panel per set: the mean over splits of the default, of prompt length and of the ZeroRouter
that knows every model's mean on its rows, over the number of training rows.
"""

import json
import statistics
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from public_data import ROOT, TITLES

_SOURCE = ROOT / "docs" / "benchmarks" / "learning_curves.json"
_TARGET = ROOT / "docs" / "benchmarks" / "learning_curves.svg"

_SETS = (
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "zeroeval",
    "alpaca_eval",
    "routellm_mmlu",
    "llmrouter9",
    "routerdc7",
)
_SIZES = ("50", "150", "400", "1000", "all")
_LINES = (("means", "#999"), ("prompt length", "#c77"), ("default", "#d60"))
_PANEL, _HEIGHT, _COLUMNS, _LEFT, _TOP = 190, 130, 4, 48, 26

_STYLE = """<style>
text { font: 10px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }
.x { text-anchor: middle } .y { text-anchor: end } .grid { stroke: #ddd }
polyline { fill: none; stroke-width: 1.6 }
@media (prefers-color-scheme: dark) {
  svg { background: #181818 } text { fill: #ddd } .grid { stroke: #444 }
}
</style>"""


def main() -> None:
    """Read, draw, write."""
    results: dict[str, Any] = json.loads(_SOURCE.read_text(encoding="utf-8"))
    width = _COLUMNS * (_PANEL + _LEFT + 12)
    rows = -(-len(_SETS) // _COLUMNS)
    height = rows * (_HEIGHT + _TOP + 30) + 24
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">', _STYLE]
    for index, name in enumerate(_SETS):
        x = _LEFT + (index % _COLUMNS) * (_PANEL + _LEFT + 12)
        y = _TOP + (index // _COLUMNS) * (_HEIGHT + _TOP + 30)
        parts += _panel(name, results.get(name, {}), x, y)
    for place, (router, colour) in enumerate(_LINES):
        at = _LEFT + place * 120
        parts.append(f'<rect x="{at}" y="{height - 16}" width="18" height="3" fill="{colour}"/>')
        parts.append(f'<text x="{at + 24}" y="{height - 11}">{escape(router)}</text>')
    parts.append("</svg>")
    _TARGET.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _panel(name: str, by_rows: Mapping[str, Any], left: int, top: int) -> list[str]:
    means = {
        router: [
            (place, statistics.mean(each["value"] for each in by_rows[size][router].values()))
            for place, size in enumerate(_SIZES)
            if by_rows.get(size, {}).get(router)
        ]
        for router, _ in _LINES
    }
    values = [value for line in means.values() for _, value in line]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def at(place: int, value: float) -> tuple[float, float]:
        x = left + 10 + place * (_PANEL - 20) / (len(_SIZES) - 1)
        return round(x, 1), round(top + _HEIGHT - (value - low) / span * _HEIGHT, 1)

    parts = [f'<text class="title" x="{left}" y="{top - 10}">{escape(TITLES[name])}</text>']
    for value in (low, high):
        y = at(0, value)[1]
        parts.append(f'<text class="y" x="{left - 4}" y="{y + 3}">{value:.3f}</text>')
        parts.append(f'<line class="grid" x1="{left}" x2="{left + _PANEL}" y1="{y}" y2="{y}"/>')
    for place, size in enumerate(_SIZES):
        x = at(place, low)[0]
        parts.append(f'<text class="x" x="{x}" y="{top + _HEIGHT + 14}">{size}</text>')
    for router, colour in _LINES:
        points = " ".join(f"{x},{y}" for x, y in (at(*each) for each in means[router]))
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    return parts


if __name__ == "__main__":
    main()
