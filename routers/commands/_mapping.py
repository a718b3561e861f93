"""Who answers which category, as lines of a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routers.files import printable, shown


def mapping_lines(categories: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each category of a router's report, after one of titles."""
    rows = [("category", "share", "expert", "quality", "over the generalist")]
    for each in categories:
        gain = "generalist"
        if each["specialist"]:
            gain = f"{each['over_generalist']:+.3f} ± {each['standard_error']:.3f}"
        rows.append(
            (
                printable(each["category"]),
                f"{each['share']:.1%}",
                shown(each["expert"]),
                f"{each['quality']:.3f}",
                gain,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        told = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield told.rstrip()
