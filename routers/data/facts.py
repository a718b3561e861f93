"""Sizes and other facts of models, from a catalogue or a file of their own."""

import datetime as dt
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from routers.data.lines import read_entries
from routers.errors import DataError
from routers.files import shown
from routers.wishes import NO_TRAITS, Security, Traits

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
    found = {}
    for model, entry in _entries(file, models, "sizes").items():
        sizes = {
            fact: _size(f"{file}: {shown(model)}: {fact}", entry[fact])
            for fact in _FACTS
            if entry.get(fact) is not None
        }
        if sizes:
            found[model] = sizes
    return found


def read_traits(file: Path, models: Collection[str]) -> dict[str, Traits]:
    """Read what is known of some models for wishes; nothing of those that the file does not name.

    The file is as for `read_facts`; of an entry `parameters_b`, `released`, `licence`,
    `readability` and `security` are read.

    Raises
    ------
    DataError
        If the file cannot be read, or a fact is none; the message names it.
    """
    entries = _entries(file, models, "facts")
    found = dict.fromkeys(models, NO_TRAITS)
    for model, entry in entries.items():
        where = f"{file}: {shown(model)}"
        size, ease = entry.get("parameters_b"), entry.get("readability")
        licence, security = entry.get("licence"), entry.get("security")
        if licence is not None and not isinstance(licence, str):
            raise DataError(f"{where}: licence: must be a name, such as apache-2.0")
        if security is not None and security not in tuple(Security):
            raise DataError(f"{where}: security: must be one of {', '.join(Security)}")
        if ease is not None and (isinstance(ease, bool) or not isinstance(ease, int | float)):
            raise DataError(f"{where}: readability: must be a number (Flesch reading ease)")
        found[model] = Traits(
            parameters_b=None if size is None else _size(f"{where}: parameters_b", size),
            released=_date(f"{where}: released", entry.get("released")),
            licence=None if licence is None else licence.lower(),
            readability=None if ease is None else float(ease),
            security=None if security is None else Security(security),
        )
    return found


def _entries(file: Path, models: Collection[str], what: str) -> dict[str, Mapping[str, Any]]:
    content = read_entries(file)
    entries = content.get("models", content) if isinstance(content, Mapping) else None
    if not isinstance(entries, Mapping):
        raise DataError(f"{file}: must map model names to their {what}")
    return {model: entry for model in models if isinstance(entry := entries.get(model), Mapping)}


def _date(where: str, value: Any) -> dt.date | None:
    if isinstance(value, dt.datetime):
        return value.date()
    if value is None or isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise DataError(f"{where}: must be a date, such as 2025-04-14") from None


def _size(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: must be a number of billions of parameters")
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{where}: must be above 0")
    return float(value)
