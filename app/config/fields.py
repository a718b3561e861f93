"""What fields of the configuration have in common: names, ranges, and no unknown keys."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]


class Strict(BaseModel):
    """A part of a configuration file: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def known_name(name: str, known: Mapping[str, object], where: str) -> None:
    """Refuse a name that is not among those that are known."""
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}; known: {', '.join(sorted(known))}")
