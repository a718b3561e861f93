"""What is wrong with a configuration, told to whoever wrote it: line, key, reason, remedy."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.config.document import Document, printable, read_document, short
from app.config.expected import annotations_of, expected, plain, unit_of, without_none
from app.config.fields import ConflictError, Place
from app.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)

_KEY = "[key]"
"""What pydantic ends the location of a key with that is no name."""

_MAX_TOLD = 5
_MAX_SHOWN_CHARS = 40
_QUOTES = "'\""


def validated(document: Document, model: type[_Model]) -> _Model:
    """Return a document as what `model` describes.

    Raises
    ------
    ConfigError
        In one line: the file, and for the first few mistakes line, key, reason and remedy.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        told: dict[Place, str] = {}
        for each in error.errors(include_url=False):
            if each["type"] == "too_short" and len(each["input"]) >= each["ctx"]["min_length"]:
                continue  # an item of it is wrong, which is told by itself
            place, message = _said(each, model)
            # A value that none of several kinds fits is one mistake.
            told.setdefault(place, message)
        raise ConfigError(f"{document.path}: {_joined(told, document)}") from error


def parse_file(path: Path, model: type[_Model]) -> tuple[_Model, Document]:
    """Read a YAML file as what `model` describes, and keep where its values stand.

    Raises
    ------
    ConfigError
        In one line that names the file, whatever is wrong with it.
    """
    document = read_document(path)
    if not document.value:
        needed = (name for name, each in model.model_fields.items() if each.is_required())
        raise ConfigError(f"{path}: is empty; it needs {' and '.join(needed)}")
    return validated(document, model), document


def _joined(told: Mapping[Place, str], document: Document) -> str:
    by_line = sorted(told.items(), key=lambda each: document.line(each[0]) or 0)
    parts = [document.told(*each) for each in by_line[:_MAX_TOLD]]
    if len(by_line) > _MAX_TOLD:
        parts.append(f"and {len(by_line) - _MAX_TOLD} more")
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the schema says of a place."""

    place: Place
    annotation: Any
    owner: type[BaseModel]
    """The innermost part of the configuration that holds it."""
    unknown: bool = False
    """Whether its last key is none of that part."""


def _look_up(model: type[BaseModel], loc: Place) -> _Found:
    """Follow a location of pydantic's as far as it is one of the file's."""
    annotation: Any = model
    place: Place = ()
    owner = model
    of_key = loc[-1:] == (_KEY,)
    for part in loc[: len(loc) - of_key]:
        options = without_none(_bare(annotation))
        inner = _bare(options[0])
        if len(options) > 1:
            break
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            owner = inner
            fields = annotations_of(inner)
            place = (*place, part)
            if part not in fields:
                return _Found(place, None, owner, unknown=True)
            annotation = fields[str(part)]
        elif get_origin(inner) is dict:
            place, annotation = (*place, part), get_args(inner)[0 if of_key else 1]
        elif get_origin(inner) in (tuple, frozenset):
            place, annotation = (*place, part), get_args(inner)[0]
        else:
            break
    return _Found(place, annotation, owner)


def _bare(annotation: Any) -> Any:
    """Take the ranges off an annotation."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    return annotation


def _said(problem: ErrorDetails, model: type[BaseModel]) -> tuple[Place, str]:
    found = _look_up(model, problem["loc"])
    if problem["type"] == "value_error" and isinstance(problem["ctx"]["error"], ConflictError):
        conflict = problem["ctx"]["error"]
        return (*found.place, *conflict.place), conflict.message
    return found.place, _message(problem, found, model)


def _message(problem: ErrorDetails, found: _Found, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        return _said_of_unknown(str(found.place[-1]), found.owner, model)
    name = next((part for part in reversed(found.place) if isinstance(part, str)), "")
    unit = unit_of(name)
    if problem["type"] == "missing":
        return f"is missing: {_or_null(found.annotation, unit)}"
    if problem["type"] in ("too_short", "string_too_short"):
        n, least = len(problem["input"]), problem["ctx"]["min_length"]
        return f"{f'has only {n}' if n else 'is empty'}; it needs at least {least}"
    if problem["type"] == "too_long":
        return f"has {len(problem['input'])}; it may have at most {problem['ctx']['max_length']}"
    wanted = expected(found.annotation, unit)
    if problem["loc"][-1:] == (_KEY,):
        return f"{printable(str(found.place[-1]))!r} must be {wanted}"
    return f"must be {wanted}{_but_is(problem['input'], found, unit)}"


def _or_null(annotation: Any, unit: str) -> str:
    nullable = type(None) in get_args(annotation)
    return expected(annotation, unit) + (", or null where it is not known" if nullable else "")


def _but_is(value: Any, found: _Found, unit: str) -> str:
    """Say what was written instead, and how it would be right."""
    if value is None:
        return "; it is empty here: fill it in, or leave it out"
    if isinstance(value, dict | list):
        return f", not {'a mapping' if isinstance(value, dict) else 'a list'}"
    if _may_be_secret(value, found):
        return ""
    inner = _bare(without_none(_bare(found.annotation))[0])
    if inner is str and isinstance(value, bool):
        return "; on, off, yes and no are true or false to YAML: put them in quotes"
    if inner is str and isinstance(value, int | float | dt.date):
        return f"; put {value} in quotes"
    shown = repr(value) if isinstance(value, str) else str(value).lower()
    shown = short(shown, _MAX_SHOWN_CHARS)
    remedy = _remedy(value, unit) if inner in (int, float) and isinstance(value, str) else ""
    if get_origin(inner) in (tuple, frozenset) and isinstance(value, str):
        remedy = f": write [{shown.strip(_QUOTES)}]"
    return f", not {shown}{remedy}"


def _may_be_secret(value: Any, found: _Found) -> bool:
    names = {str(part) for part in found.place}
    return (
        "extra_headers" in names
        or any(name.endswith("_env") for name in names)
        or not {"@", "?"}.isdisjoint(str(value))
    )


_AMOUNT = re.compile(r"\s*\$?\s*(\d[\d_,]*(?:\.\d+)?)\s*([A-Za-z%$]*)\s*")
_FACTORS: Mapping[str, Mapping[str, float]] = {
    "seconds": {
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
        **dict.fromkeys(("ms", "msec"), 0.001),
        **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
        **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
        **dict.fromkeys(("d", "day", "days"), 86_400.0),
    },
    "days": dict.fromkeys(("d", "day", "days"), 1.0),
    "bytes": {
        **dict.fromkeys(("b", "byte", "bytes"), 1.0),
        **dict.fromkeys(("k", "kb"), 1e3),
        "kib": 1024.0,
        **dict.fromkeys(("m", "mb"), 1e6),
        "mib": 1024.0**2,
        **dict.fromkeys(("g", "gb"), 1e9),
        "gib": 1024.0**3,
    },
    "megabytes": {**dict.fromkeys(("m", "mb"), 1.0), **dict.fromkeys(("g", "gb"), 1e3)},
    "US dollars": dict.fromkeys(("usd", "$", "dollar", "dollars"), 1.0),
    "tokens": {"k": 1e3, "m": 1e6, **dict.fromkeys(("token", "tokens"), 1.0)},
    "US dollars per million tokens": dict.fromkeys(("usd", "$"), 1.0),
    "": {"%": 0.01},
}
"""What people write behind a number, and how much of the field's unit it is."""


def _remedy(text: str, unit: str) -> str:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return ""
    amount, written = float(match[1].replace(",", "").replace("_", "")), match[2].lower()
    factor = 1.0 if not written else _FACTORS.get(unit, {}).get(written)
    return "" if factor is None else f": write {plain(round(amount * factor, 9))}"


def _said_of_unknown(key: str, owner: type[BaseModel], model: type[BaseModel]) -> str:
    """Say of a key that is none what could have been meant."""
    fields = annotations_of(owner)
    if (variable := _variable_for(key, fields)) is not None:
        return (
            f"unknown key; secrets are not written into this file: put it into an environment "
            f"variable and its name into `{variable}`"
        )
    close = get_close_matches(key, fields, n=1)
    if close:
        unit = unit_of(close[0])
        return f"unknown key; did you mean `{close[0]}`{f' ({unit})' if unit else ''}?"
    for section, annotation in annotations_of(model).items():
        inner = _bare(annotation)
        if (
            isinstance(inner, type)
            and issubclass(inner, BaseModel)
            and inner is not owner
            and key in annotations_of(inner)
        ):
            return f"unknown key; it belongs into the section `{section}`"
    return f"unknown key; known: {', '.join(sorted(fields))}"


def _variable_for(key: str, fields: Mapping[str, Any]) -> str | None:
    """Return the field that names a variable for what somebody wrote down himself."""
    key = re.sub(r"[^a-z]", "", key.lower())
    secrets = {"key", "apikey", "token", "secret", "password", "url", "authorization"}
    for name in fields:
        if name.endswith("_env"):
            meant = name.removesuffix("_env").replace("_", "")
            if key == meant or (key in secrets and (meant.endswith(key) or key.endswith(meant))):
                return name
    if key in secrets - {"url"}:
        return next((name for name in fields if name == "api_key_env"), None)
    return None
