"""The part `policies.*.flags`: what requests may wish of models besides quality and price."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from app.config.fields import Strict
from routers.wishes import MAX_WEIGHT, Flags, WishError, flags_of

FlagName = Literal["size", "recency", "licence", "verbosity", "readability", "security"]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]


class MostConfig(Strict):
    """What goals may weigh at most: more than that counts as that."""

    size: Weight = MAX_WEIGHT
    """Few parameters (`parameters_b` of the catalogue)."""
    recency: Weight = MAX_WEIGHT
    """Released lately (`released`)."""
    licence: Weight = MAX_WEIGHT
    """Free to use (`licence`)."""
    verbosity: Weight = MAX_WEIGHT
    """Short answers, by their predicted lengths."""
    readability: Weight = MAX_WEIGHT
    """Answers that are easy to read (`readability`)."""


class FlagsConfig(Strict):
    """What requests may wish of models besides quality and price (`x-route-flags`)."""

    allow: tuple[FlagName, ...] = get_args(FlagName)
    """The flags that requests may set; `[]` refuses all."""
    max: MostConfig = MostConfig()
    """What goals may weigh at most, whoever sets them."""
    default: dict[FlagName, float | str] = Field(default_factory=dict)
    """Wishes of every request: goals weigh as much unless a request says otherwise; what
    `security` and `licence` demand holds whatever a request says."""
    in_prompt: bool = False
    """Whether `[Flag: size=1]` at the very start of the newest user turn counts, too. Whoever can
    write there can then set flags."""

    @field_validator("default", mode="before")
    @classmethod
    def _is_understood(cls, given: Any) -> Any:
        if isinstance(given, dict):
            try:
                flags_of({str(name): value for name, value in given.items()})
            except WishError as error:
                raise PydanticCustomError("flags", "{why}", {"why": str(error)}) from None
        return given

    @property
    def defaults(self) -> Flags:
        """What holds of every request."""
        return flags_of({str(name): value for name, value in self.default.items()})
