"""The part `policies.*.flags`: what requests may wish of models besides quality and price."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Strict, Text
from routers.wishes import MAX_WEIGHT, Flags, Security, WishError, flags_of

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


class WishesConfig(Strict):
    """Wishes of every request: weights unless a request says otherwise, demands in any case."""

    size: Weight | None = None
    """Weight of few parameters."""
    recency: Weight | None = None
    """Weight of being released lately."""
    licence: Weight | Text | None = None
    """Weight of being free to use; or `open`, `permissive` or the name of one, to demand it."""
    verbosity: Weight | None = None
    """Weight of short answers."""
    readability: Weight | None = None
    """Weight of answers that are easy to read."""
    security: Security | None = None
    """The least that will do: `basic`, `standard` or `high`."""


class FlagsConfig(Strict):
    """What requests may wish of models besides quality and price (`x-route-flags`)."""

    allow: tuple[FlagName, ...] = get_args(FlagName)
    """The flags that requests may set; `[]` refuses all."""
    max: MostConfig = MostConfig()
    """What goals may weigh at most, whoever sets them."""
    default: WishesConfig = WishesConfig()
    """Wishes of every request: goals weigh as much unless a request says otherwise; what `security`
    and `licence` demand holds whatever a request says."""
    in_prompt: bool = False
    """Whether `[Flag: size=1]` at the very start of the newest user turn counts, too. Whoever can
    write there can then set flags."""

    @model_validator(mode="after")
    def _is_understood(self) -> Self:
        try:
            self.defaults.wishes()
        except WishError as error:
            raise ConflictError(("default",), str(error)) from error
        return self

    @property
    def defaults(self) -> Flags:
        """What holds of every request."""
        return flags_of(self.default.model_dump())
