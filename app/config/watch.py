"""The section `watch`: whether models are still those that they were."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from app.config.fields import Count, Price, Seconds, Strict

_PerAlarm = Annotated[float, Field(ge=1_000, le=1e12, allow_inf_nan=False)]


class CanariesConfig(Strict):
    """Questions of the gateway's own, whose answers it knows."""

    usd_per_day: Price = 0.0
    """What they may cost in a day (of UTC), all gateways of a store together; 0 asks none. Models
    without a known price are not asked."""
    every_s: Seconds = 600.0
    """How often each model is asked one, where the money lasts; one that is not known yet, or
    suspected, ten times as often."""
    max_tokens: Annotated[Count, Field(le=32_768)] = 512
    """How long an answer may be; models that think before they answer need room for it."""
    timeout_s: Seconds = 60.0
    """How long one may take."""


class WatchConfig(Strict):
    """Whether models are still those that they were."""

    mode: Literal["off", "warn", "demote"] = "warn"
    """What becomes of a model that has changed for the worse: `warn` tells of it, `demote` also
    keeps it out of decisions while another one can serve, until it is back."""
    requests_per_false_alarm: _PerAlarm = 100_000
    """In so many requests, of all models together, one warning at most is false, in expectation."""
    learn_from: Annotated[int, Field(ge=20, le=100_000)] = 500
    """How many answers of each kind of request make a model's reference."""
    return_after_s: Seconds = 3_600.0
    """When a demoted model is tried again whatever is known of it; twice as late each time that it
    was in vain."""
    canaries: CanariesConfig = CanariesConfig()
    """Questions of the gateway's own, whose answers it knows."""

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, values: Any) -> Any:
        # Unquoted, YAML reads it as false.
        if isinstance(values, dict) and values.get("mode") is False:
            return {**values, "mode": "off"}
        return values
