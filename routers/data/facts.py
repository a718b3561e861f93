"""Sizes of models, from a catalogue or a file of their own."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from routers.data.lines import read_entries
from routers.errors import DataError
from routers.files import shown

_FACTS = ("parameters_b", "active_parameters_b")


def read_facts(file: Path, models: Collection[str]) -> dict[str, dict[str, float]]:
    """Read what is known of the sizes of some models; other entries are not looked at.

    The file is a catalogue (`models:` by name), or maps names to such entries itself; of an entry
    only `parameters_b` and `active_parameters_b` are read, billions of parameters.

    Raises
    ------
    DataError
        If the file cannot be read, or a size is none; the message names it.
    """
    content = read_entries(file)
    entries = content.get("models", content) if isinstance(content, Mapping) else None
    if not isinstance(entries, Mapping):
        raise DataError(f"{file}: must map model names to their sizes")
    found = {}
    for model in models:
        entry = entries.get(model)
        if not isinstance(entry, Mapping):
            continue
        sizes = {
            fact: _size(f"{file}: {shown(model)}: {fact}", entry[fact])
            for fact in _FACTS
            if entry.get(fact) is not None
        }
        if sizes:
            found[model] = sizes
    return found


def _size(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: must be a number of billions of parameters")
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{where}: must be above 0")
    return float(value)
