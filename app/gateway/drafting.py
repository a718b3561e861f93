"""What is known of one request's way through a cascade."""

from dataclasses import dataclass, field

from app.types import DraftVerdict

LAST_STAGE = "last_stage"
"""Nobody has to accept the answer of the last stage."""
NOTHING_BETTER = "nothing_better"
"""No later stage could be had, so that an answer which was not accepted serves after all."""
TOO_LONG = "hold_back"
"""The answer grew too long, or took too long, to be held back any further."""
UNREAD = "cascade"
"""Turns an answer down that no acceptor could make anything of."""


@dataclass(slots=True, kw_only=True)
class Drafting:
    """A request under a policy with a cascade.

    Attributes
    ----------
    stages
        The models in their order; empty where the request is answered by one choice.
    skipped
        Why it is.
    held_since
        When the first draft was asked for, by the gateway's clock; None before, and after an answer
        has begun to serve or nothing is left to be had.
    judged
        The drafts that came to be judged.
    accepted_by
        Who or what let the answer serve.
    failed
        Whether a stage before the one that serves could not be had.
    """

    stages: tuple[str, ...] = ()
    skipped: str | None = None
    held_since: float | None = None
    judged: list[DraftVerdict] = field(default_factory=list)
    accepted_by: str | None = None
    failed: bool = False

    @property
    def is_makeshift(self) -> bool:
        """Whether the answer is second choice, which is not to be given again to others."""
        return self.failed or self.accepted_by == NOTHING_BETTER
