"""Hyper-parameters from a recipe or manifest: the fields of a dataclass are its schema."""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from routers.errors import NotFittedError, RoutingConfigError

T = TypeVar("T")

State = Mapping[str, np.ndarray]
"""What was learned, as named plain arrays."""


def unfitted() -> Any:
    """Declare an attribute that `fit` sets: no hyper-parameter, absent until then."""
    return dataclasses.field(init=False, repr=False, default=None)


def build(cls: type[T], options: Mapping[str, Any], *, noun: str) -> T:
    """Make a `cls` from untrusted options, checked against its field annotations.

    Raises
    ------
    RoutingConfigError
        If an option does not exist or its value does not fit; the message names it.
    """
    schema = _schema(cls)  # type: ignore[arg-type]  # mypy: a class is hashable
    try:
        return cls(**dict(schema(**options)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(schema.model_fields) or "none"
        raise RoutingConfigError(
            f"option {where!r} of {noun}: {first['msg']} (options: {known})"
        ) from error


def options_of(instance: object) -> dict[str, Any]:
    """Return the hyper-parameters of a dataclass instance as plain values."""
    return {
        field.name: _plain(getattr(instance, field.name))
        for field in dataclasses.fields(instance)  # type: ignore[arg-type]
        if field.init
    }


def require_fitted(instance: object, attribute: str) -> None:
    """Refuse to go on before `attribute` was set by `fit`.

    Raises
    ------
    NotFittedError
        If it is still None.
    """
    if getattr(instance, attribute) is None:
        raise NotFittedError(f"{type(instance).__name__} has to be fitted before it predicts")


def take(state: State, name: str, *, ndim: int, unknown: bool = False) -> np.ndarray:
    """Return one array of a state.

    Parameters
    ----------
    unknown
        Whether NaN may stand in it, for what is not known.

    Raises
    ------
    KeyError
        If it is absent; loading turns this into an ArtifactError.
    ValueError
        If it has another number of dimensions or holds values that are no numbers.
    """
    array = state[name]
    if array.ndim != ndim:
        raise ValueError(f"array {name!r} has {array.ndim} dimensions instead of {ndim}")
    if array.dtype.kind == "f" and not unknown and not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds what is no number, and so would predictions")
    return array


def packed_lines(lines: Iterable[str]) -> np.ndarray:
    """Return texts without line breaks as one array of a state."""
    return np.frombuffer("\n".join(lines).encode("utf-8", "surrogatepass"), np.uint8)


def take_lines(state: State, name: str) -> list[str]:
    """Return the texts that `packed_lines` made an array of.

    Raises
    ------
    KeyError, ValueError
        If the array is absent or no text.
    """
    lines = bytes(take(state, name, ndim=1)).decode("utf-8", "surrogatepass")
    return lines.split("\n") if lines else []


def prefixed(prefix: str, state: State) -> dict[str, np.ndarray]:
    """Return the arrays with `prefix` before their names, where `under` finds them."""
    return {f"{prefix}{name}": array for name, array in state.items()}


def under(prefix: str, state: State) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)
    }


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


@cache
def _schema(cls: Any) -> type[BaseModel]:
    hints = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {
        field.name: (
            hints[field.name],
            ...
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            else _default(field),
        )
        for field in dataclasses.fields(cls)
        if field.init
    }
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()
