"""JSONL with one outcome or one preference per line, our own formats: read and checked."""

from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record
from routers.data.lines import json_lines


def records(path: Path) -> Iterator[Record]:
    """Yield the lines as they are; what is written from them is checked.

    Raises
    ------
    DataError
        If a line is no JSON object.
    """
    for _, record in json_lines(path):
        yield record
