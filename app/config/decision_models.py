"""The section `policies.<name>.decision_model`: who says how hard a request is."""

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import Field, HttpUrl, StringConstraints, model_validator

from app.config.fields import (
    ConflictError,
    Place,
    SecondsOrNone,
    Strict,
    Variable,
    Words,
    choices,
)
from routers.decision.judged import LABELS, LEVELS

Choice = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$"),
    Words("a word of up to 40 small letters, digits, `_` and `-`"),
]


class DecisionModelConfig(Strict):
    """Ask a chat model of the gateway's, or an endpoint of its own, how hard a request is."""

    model: str | None = None
    """The chat model that is asked; one of `models`. Either this or `url`."""
    url: HttpUrl | None = None
    """The address that is asked: it gets `{"prompt": "..."}` and answers
    `{"level": {"easy": 0.3, "hard": 0.7}, "kind": {...}}`."""
    api_key_env: Variable | None = None
    """The environment variable that holds the key of `url`, shown as a bearer token."""
    usd_per_question: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] | None = None
    """What an answer of `url` costs in US dollars; booked as a call with the role `judge`. Left
    out, nothing is booked."""
    deadline_ms: Annotated[int, Field(ge=1, le=60_000)] = 800
    """How long a request waits for it, in milliseconds; then it is decided without."""
    cache_s: SecondsOrNone = 3600.0
    """For how long it is remembered what was said of a prompt, by each process; 0 remembers
    nothing."""
    levels: Annotated[tuple[Choice, ...], Field(min_length=2, max_length=12)] = LEVELS
    """The levels to choose from, from the easiest on."""
    kinds: Annotated[tuple[Choice, ...], Field(max_length=40)] = ()
    """The kinds to choose from; none by default. They are told, and nothing is decided by them."""
    by_level: dict[Choice, str] = Field(default_factory=dict)
    """The candidate that requests of a level go to, where it may serve them. Levels that are left
    out, and requests that set the knob themselves, are decided by the router."""

    @model_validator(mode="after")
    def _asks_one(self) -> Self:
        if (self.model is None) == (self.url is None):
            raise ConflictError(("model",), "name either a `model` or a `url`")
        if self.url is None and self.api_key_env is not None:
            raise ConflictError(("api_key_env",), "is for `url`; a model has its upstream's key")
        if self.url is None and self.usd_per_question is not None:
            raise ConflictError(("usd_per_question",), "is for `url`; a model has its own price")
        if self.url is not None and (self.url.username or self.url.password):
            raise ConflictError(
                ("url",), "name a variable in api_key_env instead of writing user:password@"
            )
        if self.url is not None and self.url.fragment is not None:
            raise ConflictError(("url",), "has a fragment (#), which is never sent")
        return self

    @model_validator(mode="after")
    def _has_words_apart(self) -> Self:
        for field, words in (("levels", self.levels), ("kinds", self.kinds)):
            if len(set(words)) < len(words):
                raise ConflictError((field,), "names a word twice")
            reserved = LABELS & set(words)
            if reserved:
                raise ConflictError((field,), f"{min(reserved)!r} is what models put before a word")
        return self


def check_decision_model(
    place: Place,
    config: DecisionModelConfig | None,
    candidates: Collection[str],
    *,
    else_decided: str | None,
) -> None:
    """Refuse levels that go to nobody.

    Parameters
    ----------
    place
        Where the decision model stands.
    candidates
        Those of its policy.
    else_decided
        What the policy decides by that leaves no room for a table; None where there is nothing.
    """
    if config is None:
        return
    for level, model in config.by_level.items():
        if level not in config.levels:
            raise ConflictError(
                (*place, "by_level", level), f"is no level; {choices(level, config.levels)}"
            )
        if model not in candidates:
            raise ConflictError(
                (*place, "by_level", level),
                f"{model!r} is not among the policy's candidates; {choices(model, candidates)}",
            )
    if config.by_level and else_decided is not None:
        raise ConflictError(
            (*place, "by_level"),
            f"decides alone, and so does {else_decided}; leave one of them out",
        )
