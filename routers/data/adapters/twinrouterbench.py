"""TwinRouterBench (arXiv:2605.18859), static track: steps of agents, the least tier for each."""

from collections.abc import Iterator
from pathlib import Path

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
        target = row.get("target_tier_id")
        if not isinstance(target, int) or isinstance(target, bool) or target not in _NUMBERS:
            raise DataError(
                f"{where}: 'target_tier_id' must be 0 to {len(TIERS) - 1}, got "
                f"{shown_value(target)}"
            )
        if row.get("id") is None or not isinstance(row.get("messages"), list):
            raise DataError(f"{where}: 'id' or 'messages' is missing")
        for tier, name in enumerate(TIERS):
            yield {
                "query_id": str(row["id"]),
                "messages": row["messages"],
                "model": name,
                "quality": float(tier >= target),
                "set": "twinrouterbench",
                "benchmark": str(row.get("benchmark") or "unknown"),
            }
