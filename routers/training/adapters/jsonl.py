"""JSONL with one outcome or one preference per line, our own formats: read and checked."""

from collections.abc import Iterator
from pathlib import Path

from routers.training._lines import json_lines
from routers.training.adapters.base import Record


def records(path: Path) -> Iterator[Record]:
    """Yield the lines as they are; what is written from them is checked.

    Raises
    ------
    DataError
        If a line is no JSON object.
    """
    for _, record in json_lines(path):
        yield record
