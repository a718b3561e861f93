"""Draw docs/images/explain.svg, the picture of `steelyard explain` in the README.

    python scripts/draw_explain.py

The decision time that it shows is that of the run.
"""

import io
import re
from pathlib import Path

from rich.console import Console

from app.commands.explanation import explain

_ROOT = Path(__file__).resolve().parents[1]
_PROMPT = "Write a function that merges two sorted lists."
_KNOB = "0.8"


def main() -> None:
    """Write the picture."""
    console = Console(
        record=True, width=92, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(
        f'[bold]$[/] steelyard explain "{_PROMPT}" --cost-quality {_KNOB}', soft_wrap=True
    )
    explain(
        _PROMPT,
        file=_ROOT / "configs" / "gateway.yaml",
        cost_quality=_KNOB,
        policy=None,
        max_cost_usd=None,
        as_json=False,
        console=console,
    )
    svg = console.export_svg(title="steelyard explain")
    # The picture must not fetch a font from anywhere.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    target = _ROOT / "docs" / "images" / "explain.svg"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
