"""Draw docs/benchmarks/routing.json as small multiples: python scripts/draw_routing_benchmark.py.

One panel per set: what counts there (AIQ, APGR or accuracy) beyond the best single model of the
same split, so that routers of few splits may stand beside those of five; the mean over splits as a
dot for every router, the standard deviation as a bar, reference values as vertical lines. A hollow
dot was measured on fewer than five splits.
"""

import json
import statistics
from typing import Any
from xml.sax.saxutils import escape

from public_data import ROOT, TITLES

_SOURCE = ROOT / "docs" / "benchmarks" / "routing.json"
_TARGET = ROOT / "docs" / "benchmarks" / "routing.svg"

_SINGLE, _WHOLE, _SPLITS = "best single on the training data", "mlp + terms + domains", 5
"""Who is subtracted, who is measured on every split, and of how many splits a mean is whole."""

_FIRST = (
    "best single on the training data",
    "prompt length",
    "knn (k = 100)",
    "cluster table (25)",
    "mf",
    "logistic",
    "ridge",
    "boosting",
    "mlp",
    "mlp + terms",
    "mlp + terms + domains",
    "mlp + terms + domains + difficulty",
    "the same with residuals over domains",
    "default (averaged with ridge where rows are few)",
    "mlp + logistic + ridge averaged",
    "default + other sets learned along",
)
"""The order of rows; every other router of the file follows in that of its name."""
_LINES = (
    ("aiq_zero", "mix of singles"),
    ("aiq_label", "told the label"),
    ("label", "told the label"),
    ("single", "best single"),
)
_WIDTH, _LABELS, _PANEL, _ROW = 980, 300, 200, 15
_COLUMNS = 3

_STYLE = """<style>
text { font: 11px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }
.title { font-size: 10.5px }
.small { font-size: 9px; text-anchor: middle } .name { text-anchor: end }
.grid { stroke: #ddd } .ref { stroke: #c77; stroke-dasharray: 3 3 } .bar { stroke: #246 }
.dot { fill: #246 } circle.few { fill: #fff; stroke: #246 } .ours { fill: #d60 }
@media (prefers-color-scheme: dark) {
  svg { background: #181818 } text { fill: #ddd } .grid { stroke: #444 }
  .dot { fill: #8bf } .bar { stroke: #8bf } circle.few { fill: #181818; stroke: #8bf }
}
</style>"""


def main() -> None:
    """Read, draw, write."""
    results: dict[str, Any] = json.loads(_SOURCE.read_text(encoding="utf-8"))
    names = [name for name in TITLES if name in results]
    measured = {router for name in names for router in results[name]}
    order = [*(each for each in _FIRST if each in measured), *sorted(measured - set(_FIRST))]
    height = len(order) * _ROW + 46
    rows = -(-len(names) // _COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {rows * height + 10}">',
        _STYLE,
    ]
    for index, name in enumerate(names):
        x = _LABELS + (index % _COLUMNS) * (_PANEL + 24)
        y = (index // _COLUMNS) * height
        parts += _panel(results[name], TITLES[name], x, y, order, labels=index % _COLUMNS == 0)
    parts.append("</svg>")
    _TARGET.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _panel(
    rows: dict[str, Any], title: str, x: float, y: float, order: list[str], *, labels: bool
) -> list[str]:
    first = next(iter(next(iter(rows.values())).values()))
    key = next(each for each in ("aiq", "apgr", "accuracy") if each in first)
    single = {split: measured[key] for split, measured in rows[_SINGLE].items()}
    values = {
        router: [measured[key] - single[split] for split, measured in rows[router].items()]
        for router in order
        if router in rows
    }
    whole = rows[_WHOLE]
    lines = {
        text: statistics.mean(m[line] - single[split] for split, m in whole.items())
        for line, text in _LINES
        if line in first
    }
    every = [v for each in values.values() for v in each] + list(lines.values())
    low, high = min(every), max(every)
    margin = (high - low) * 0.08 or 0.01
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        return x + (value - low) / (high - low) * _PANEL

    bottom = y + 24 + len(order) * _ROW

    def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
        place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        return f'<line class="{kind}" {place}/>'

    def words(kind: str, at_x: float, at_y: float, text: str) -> str:
        return f'<text class="{kind}" x="{at_x:.1f}" y="{at_y:.1f}">{escape(text)}</text>'

    out = [words("title", x, y + 14, title)]
    for value in (low + margin, (low + high) / 2, high - margin):
        out.append(line("grid", at(value), y + 20, at(value), bottom))
        out.append(words("small", at(value), bottom + 12, f"{value:+.3f}"))
    out += [line("ref", at(value), y + 20, at(value), bottom) for value in lines.values()]
    for i, router in enumerate(order):
        row = y + 32 + i * _ROW
        if labels:
            out.append(words("name", x - 10, row + 3, router))
        each = values.get(router)
        if not each:
            continue
        mean = statistics.mean(each)
        spread = statistics.stdev(each) if len(each) > 1 else 0.0
        kind = "ours" if router.startswith("default") else "dot"
        out.append(line("bar", at(mean - spread), row, at(mean + spread), row))
        kind += " few" if len(each) < _SPLITS else ""
        out.append(f'<circle class="{kind}" cx="{at(mean):.1f}" cy="{row}" r="3.5"/>')
    return out


if __name__ == "__main__":
    main()
