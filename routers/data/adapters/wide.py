"""Wide parquet, our own format: read and checked."""

import math
from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record
from routers.data.parquet import read_parquet


def records(path: Path) -> Iterator[Record]:
    """Yield every known outcome.

    Raises
    ------
    DataError
        If the file is no wide table; the message names the place.
    """
    part = read_parquet(path)
    for i, query_id in enumerate(part.query_ids):
        embedded = part.conversations[i].messages[0].text
        for column, model in enumerate(part.models):
            values = {
                "quality": float(part.quality[i, column]),
                "output_tokens": float(part.output_tokens[i, column]),
                "cost_usd": float(part.cost_usd[i, column]),
            }
            known = {name: value for name, value in values.items() if not math.isnan(value)}
            if not known:
                continue
            group, _, benchmark = part.groups[i].partition("/")
            yield {
                "query_id": query_id,
                "prompt": part.prompts[i],
                **({} if embedded == part.prompts[i] else {"query": embedded}),
                "model": model,
                "quality": None,
                **known,
                **({"set": group} if group else {}),
                **({"benchmark": benchmark} if benchmark else {}),
            }
