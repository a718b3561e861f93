"""Every name that a client may send as its model, and what it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import ModelNotFoundError
from app.gateway.request import Policy
from routers.artifact.thresholds import StoredName
from routers.types import Objective, StrongThreshold

A_THRESHOLD = "<threshold from 0 to 1>"
"""Ends the pattern that stands for all threshold names of a router in lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two models behind names of the form `router-<name>-<threshold>`."""

    policy: Policy
    strong: str
    weak: str
    stored: Mapping[StoredName, StrongThreshold] = field(default_factory=dict)
    """Thresholds that have a name instead of a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Every name that a client may send as `model`."""

    model_ids: frozenset[str]
    policies: Mapping[str, Policy]
    default_policy: str
    pairs: Mapping[str, Pair]
    default_objective: Objective | None = None
    """What `auto` goes by in place of its policy's objective, where a request names neither."""
    shown: tuple[str, ...] | None = None
    """The names that this caller is told of; None: all of them."""

    def listed(self) -> tuple[str, ...]:
        """Return the names, routed ones first; a threshold name stands as its pattern."""
        if self.shown is not None:
            return self.shown
        routed = ("auto", *(f"auto:{name}" for name in self.policies)) if self.policies else ()
        thresholds = tuple(
            f"router-{name}-{threshold}"
            for name, pair in self.pairs.items()
            for threshold in (*pair.stored, A_THRESHOLD)
        )
        return (*routed, *thresholds, *sorted(self.model_ids))

    def told_models(self) -> str:
        """Return the models that the caller is told of, as a list to read."""
        return ", ".join(name for name in self.listed() if name in self.model_ids)

    def told_policies(self) -> str:
        """Return the policies that the caller is told of, as a list to read."""
        listed = frozenset(self.listed())
        return ", ".join(name for name in self.policies if f"auto:{name}" in listed)

    def not_found(self, name: str) -> ModelNotFoundError:
        """Return the error for a name that does not exist, listing those that do."""
        shown = name if len(name) <= 80 else name[:77] + "..."
        return ModelNotFoundError(
            f"the model {shown!r} does not exist; these do: {', '.join(self.listed())}",
            param="model",
        )
