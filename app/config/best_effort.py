"""Best effort: tiers of models, and until when an answer is to be whole."""

from typing import Annotated, Literal

from pydantic import Field

from app.config.fields import ConflictError, Place, Strict

MAX_DEADLINE_MS = 3_600_000.0

DeadlineMs = Annotated[float, Field(gt=0, le=MAX_DEADLINE_MS, allow_inf_nan=False)]


class BestEffortConfig(Strict):
    """Answer with the best of some tiers that is expected to be in time at the present load."""

    deadline_ms: DeadlineMs
    """Until when an answer is to be whole, from its request on; a request may say otherwise with
    `x-route-deadline-ms`."""
    tiers: Annotated[tuple[str, ...], Field(min_length=2, max_length=16)]
    """Candidates of the policy, the best one first; the others answer only where no tier can."""
    by: Literal["rule", "learned"] = "rule"
    """`rule` takes the highest tier that is in time. `learned` weighs what the router predicts for
    the request, by the knob, against a price of each tier's load that was learned in simulation:
    where a lower tier is about as good, the higher one is left to whoever needs it."""


def check_best_effort(
    place: Place, config: BestEffortConfig, candidates: tuple[str, ...], *, instead: str | None
) -> None:
    """Refuse tiers that are no candidates, and what decides in another way.

    Parameters
    ----------
    instead
        What else of the policy decides; None for nothing.
    """
    for position, model_id in enumerate(config.tiers):
        if model_id not in candidates:
            raise ConflictError(
                (*place, "tiers", position), f"{model_id!r} is not among the policy's candidates"
            )
    if len(set(config.tiers)) < len(config.tiers):
        raise ConflictError((*place, "tiers"), "names a model twice")
    if instead is not None:
        raise ConflictError(
            place, f"chooses between tiers, and {instead} decides otherwise; leave one of them out"
        )
