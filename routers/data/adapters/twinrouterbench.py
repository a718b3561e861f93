"""TwinRouterBench (arXiv:2605.18859), static track: steps of agents, the least tier for each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record
from routers.data.lines import json_lines
from routers.errors import DataError
from routers.files import shown_value

TIERS = ("low", "mid", "mid_high", "high")
"""Its tiers, from cheap to strong; they are the models."""

_NUMBERS = range(len(TIERS))


def records(path: Path) -> Iterator[Record]:
    """Yield the outcome of every tier on every step of `question_bank.jsonl`.

    Keys are `id`, `benchmark`, `messages` and `target_tier_id`: a tier is right (1) from that one
    on, and wrong (0) below. Costs are not told; give `--prices` by tier.

    Raises
    ------
    DataError
        If a line lacks one of these.
    """
    for where, row in json_lines(path):
        right = right_tiers(where, row)
        if row.get("id") is None or not isinstance(row.get("messages"), list):
            raise DataError(f"{where}: 'id' or 'messages' is missing")
        for name, quality in right.items():
            yield {
                "query_id": str(row["id"]),
                "messages": row["messages"],
                "model": name,
                "quality": quality,
                "set": "twinrouterbench",
                "benchmark": str(row.get("benchmark") or "unknown"),
            }


def right_tiers(where: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Return the quality of every tier on a step, from the least that was right.

    Raises
    ------
    DataError
        If the line does not tell.
    """
    target = row.get("target_tier_id")
    if not isinstance(target, int) or isinstance(target, bool) or target not in _NUMBERS:
        raise DataError(
            f"{where}: 'target_tier_id' must be 0 to {len(TIERS) - 1}, got {shown_value(target)}"
        )
    return {name: float(tier >= target) for tier, name in enumerate(TIERS)}
