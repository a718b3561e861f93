"""Who is asked how hard a request is, before it is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.providers.http.decision_endpoint import DecisionEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionModelRule:
    """The decision model of a policy: a chat model, or an endpoint of its own.

    Attributes
    ----------
    name
        Its model or address: what was said to one policy holds for all that ask the same.
    model_id
        None where the endpoint is asked.
    usd_per_question
        What an answer of the endpoint costs; None where nothing is booked.
    booked_as
        What the account of a request calls the endpoint in place of a model.
    cache_s
        How long what it said is remembered; 0 remembers nothing.
    levels
        From the easiest on.
    by_level
        The model that each level goes to, as far as one is named.
    is_feature
        Whether the policy's router has learned from levels.
    """

    name: str
    model_id: str | None
    endpoint: DecisionEndpoint | None
    deadline_s: float
    cache_s: float
    levels: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    by_level: Mapping[str, str] = field(default_factory=dict)
    is_feature: bool = False
    usd_per_question: float | None = None
    booked_as: str = ""
