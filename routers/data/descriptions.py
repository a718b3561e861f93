"""What is written of models, as routers that read descriptions are trained with."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from routers.data.lines import read_entries
from routers.errors import DataError

_FIELD = "description"


def read_descriptions(file: Path, models: Sequence[str]) -> tuple[str, ...]:
    """Read a description of every model from YAML or JSON; other entries are not looked at.

    A model maps to a text, or to an entry with a `description` such as a catalogue has. Models may
    also stand one level down, as under `models:` of a catalogue.

    Raises
    ------
    DataError
        If the file cannot be read, or a model has none; the message names it.
    """
    content = read_entries(file)
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{file}: must map model names to descriptions")
    found: dict[str, str] = {}
    nested = [each for each in content.values() if isinstance(each, Mapping)]
    for level in (content, *nested):
        for model in set(models) & level.keys():
            entry = level[model]
            text = entry.get(_FIELD) if isinstance(entry, Mapping) else entry
            if isinstance(text, str) and text.strip():
                found.setdefault(model, text.strip())
    missing = [model for model in models if model not in found]
    if missing:
        raise DataError(
            f"{file}: describes no {', '.join(missing)}; a router that reads descriptions needs "
            "one of every model"
        )
    return tuple(found[model] for model in models)
