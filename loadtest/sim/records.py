"""The lines of an exported decision log."""

import json
from pathlib import Path
from typing import Any

from routers.errors import DataError


def read_records(path: Path, *, tells: str) -> list[Any]:
    """Return what the lines of a `.jsonl` say; not all need be records of requests.

    Parameters
    ----------
    tells
        What only such a file tells, for the error.

    Raises
    ------
    DataError
        If it is another kind of file, or cannot be read.
    """
    if path.suffix.lower() != ".jsonl":
        raise DataError(f"{path}: only a .jsonl tells {tells}; export to one")
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(text) for text in file if text.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
