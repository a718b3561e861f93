"""What a field may hold, in words: for the error of whoever wrote something else, and the docs."""

import datetime as dt
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, HttpUrl
from pydantic.fields import FieldInfo

from app.config.fields import Words

_UNITS: Mapping[str, str] = {
    "_s": "seconds",
    "_days": "days",
    "_bytes": "bytes",
    "_bytes_per_key": "bytes",
    "_mb": "megabytes",
    "_usd_per_mtok": "US dollars per million tokens",
    "_usd": "US dollars",
    "_usd_per_request": "US dollars",
    "_tokens": "tokens",
    "requests_per_minute": "requests per minute",
    "tokens_per_minute": "tokens per minute",
    "feedback_per_minute": "labels per minute",
    "_requests": "requests",
    "_max_connections": "connections",
}
"""By the end of a field's name: names carry their units."""


def unit_of(name: str) -> str:
    """Return the unit of a field by its name; empty where it has none."""
    return next((unit for end, unit in _UNITS.items() if f"_{name}".endswith(end)), "")


@cache
def annotations_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return what is annotated for each field of a model, ranges included."""
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def without_none(annotation: Any) -> tuple[Any, ...]:
    """Return what an annotation allows besides nothing; several where it is a union."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(each for each in get_args(annotation) if each is not type(None))
    return (annotation,)


def expected(annotation: Any, unit: str = "") -> str:
    """Say in words what an annotation allows: "a number from 0 to 1, or one of economy, quality".

    Parameters
    ----------
    annotation
        Of a field, with its ranges.
    unit
        What a number counts.
    """
    return ", or ".join(_words(each, unit) for each in without_none(annotation))


def _words(annotation: Any, unit: str) -> str:
    metadata: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        metadata = tuple(rest)
    for each in metadata:
        if isinstance(each, Words):
            return each.text
    if annotation in (int, float):
        return _number(annotation, metadata, unit)
    origin = get_origin(annotation)
    if origin is Literal:
        return _one_of([str(each) for each in get_args(annotation)])
    if origin in (tuple, frozenset):
        items = _words(get_args(annotation)[0], unit)
        return f"a list, each item {items}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _one_of([str(each.value) for each in annotation])
    return "a mapping (`key: value`)" if _is_mapping(annotation) else _NAMED.get(annotation, "text")


_NAMED: Mapping[Any, str] = {
    bool: "true or false",
    str: "text",
    dt.date: "a date such as 2026-01-31",
    HttpUrl: "an address such as https://api.example.com/v1",
}


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    )


def _one_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"one of {', '.join(values)}"


def bounds_of(metadata: Sequence[Any]) -> dict[str, Any]:
    """Return the range that the metadata of an annotation names, as `ge`, `gt`, `le`, `lt`."""
    found: dict[str, Any] = {}
    for each in metadata:
        parts = each.metadata if isinstance(each, FieldInfo) else [each]
        for part in parts:
            for name in ("ge", "gt", "le", "lt"):
                kind = getattr(annotated_types, name.capitalize())
                if isinstance(part, kind):
                    found[name] = getattr(part, name)
    return found


def _number(annotation: Any, metadata: Sequence[Any], unit: str) -> str:
    words = "a whole number" if annotation is int else "a number"
    if unit:
        words += f" of {unit}"
    bounds = bounds_of(metadata)
    low, high = bounds.get("ge"), bounds.get("le")
    if "gt" in bounds:
        words += f" above {plain(bounds['gt'])}"
    if low is not None:
        words += f" from {plain(low)}" if high is not None else f" of at least {plain(low)}"
    if high is not None:
        words += f" to {plain(high)}" if low is not None else f" and at most {plain(high)}"
    return words


def plain(number: float) -> str:
    """Write a number as one writes it in a configuration file."""
    return str(int(number)) if float(number).is_integer() else repr(number)
