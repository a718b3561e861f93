"""What fields of the configuration have in common: names, ranges, and no unknown keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

_MAX_NAMED = 20

Place = tuple[str | int, ...]
"""Keys and positions that lead from the top of a file to a value in it."""


@dataclass(frozen=True, slots=True)
class Words:
    """Says in words what a field may hold, where its type alone would not."""

    text: str


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$"),
    Words("a name of letters, digits, `.`, `_`, `/` and `-`"),
]
ShortName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$"),
    Words("a name of small letters, digits and `_`"),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Variable = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    Words("the name of an environment variable (the secret itself is not written here)"),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
BatchShare = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
"""Zero turns it off."""
Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class ConflictError(ValueError):
    """What is written at one place does not go with the rest.

    Parameters
    ----------
    place
        Where it stands, seen from the part that is validated.
    message
        What is wrong and what would help.
    """

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class Strict(BaseModel):
    """A part of a configuration file: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _takes_no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # `on` and `yes` are true to YAML, and true would be 1 second.
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise PydanticCustomError("truth", "true and false are no value for this field")
        return value


def known_name(name: str, known: Mapping[str, object], place: Place) -> None:
    """Refuse a name that is not among those that are known."""
    if name not in known:
        raise ConflictError(place, f"unknown name {name!r}; {choices(name, known)}")


def choices(name: str, known: Collection[str]) -> str:
    """Say what could have been meant by a name, and what there is."""
    close = get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    names = sorted(known)
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{meant}known: {', '.join(names[:_MAX_NAMED]) or 'none'}{more}"
