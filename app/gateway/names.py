"""Every name that a client may send as its model, and what it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.config.aliases import Aliases, is_routing_name, knob_in, read_auto_name
from app.errors import InvalidRequestError, ModelNotFoundError
from app.gateway.policy import Policy
from routers.artifact.thresholds import StoredName
from routers.models import ModelSpec
from routers.objectives import Objective, StrongThreshold

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


@dataclass(frozen=True, slots=True)
class Meant:
    """What a name that a client sent stands for.

    Attributes
    ----------
    name
        A model, `auto`, or a threshold name.
    policy
        The one that the name says.
    cost_quality
        The knob that the name says.
    by_client
        Whether the client wrote it itself; else an alias of the operator's says so.
    """

    name: str
    policy: str | None = None
    cost_quality: float | None = None
    by_client: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Every name that a client may send as `model`."""

    model_ids: frozenset[str]
    policies: Mapping[str, Policy]
    default_policy: str
    pairs: Mapping[str, Pair]
    default_objective: Objective | None = None
    """What `auto` goes by in place of its policy's objective, where a request names neither."""
    aliases: Aliases = field(default_factory=lambda: Aliases({}))
    """Further names, and what they come to."""
    others: Mapping[str, ModelSpec] = field(default_factory=dict)
    """Models that do not chat, by id."""
    specs: Mapping[str, ModelSpec] = field(default_factory=dict)
    """Every model, by id."""
    unlisted: frozenset[str] = frozenset()
    """Models that policies made for themselves: they can be named, but nobody is told of them."""
    shown: tuple[str, ...] | None = None
    """The names that this caller is told of; None: all of them."""

    def guarded(self, pinned: str | None) -> frozenset[str]:
        """Return the policies whose guard naming a model would go around; of none but for chat."""
        if pinned is None or pinned in self.others:
            return frozenset()
        return frozenset(
            name
            for name, policy in self.policies.items()
            if policy.workflow is not None and policy.workflow.workflow.guards
        )

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
        aliases = (*self.aliases.exact, *(pattern for pattern, _ in self.aliases.patterns))
        return (*routed, *thresholds, *aliases, *sorted(self.model_ids - self.unlisted))

    def shows(self, name: str) -> bool:
        """Return whether the caller is told of what a name stands for, if it is one.

        Raises
        ------
        ModelNotFoundError, InvalidRequestError
            If it is none.
        """
        meant = self.meant(name)
        listed = meant.name
        if listed == "auto" and meant.policy is not None:
            listed = f"auto:{meant.policy}"
        elif listed.startswith("router-"):
            listed = f"router-{listed.removeprefix('router-').partition('-')[0]}-{A_THRESHOLD}"
        return self.shown is None or listed in self.shown

    def meant(self, name: str) -> Meant:
        """Return what a name stands for.

        Raises
        ------
        ModelNotFoundError
            If it is none.
        InvalidRequestError
            If the knob in it is none, or contradicts what an alias stands for.
        """
        if name in self.model_ids:
            return Meant(name)
        if is_routing_name(name):
            return self._routed(name, name)
        target = self.aliases.target(name)
        if target is None:
            raise self.not_found(name)
        meant = self._routed(target.name, name)
        if target.knob is None:
            return replace(meant, by_client=False)
        if meant.name != "auto" or meant.cost_quality is not None:
            raise InvalidRequestError(
                f"{name[:80]!r} hangs a knob on an alias of {target.name!r}, which "
                + ("takes none" if meant.cost_quality is None else "has one"),
                param="model",
            )
        return replace(meant, cost_quality=_position(knob_in(target.knob), name))

    def _routed(self, name: str, sent: str) -> Meant:
        """Take a name apart that is no alias any more."""
        if name != "auto" and not name.startswith("auto:"):
            return Meant(name)
        auto = read_auto_name(name, self.policies)
        if auto is None or not self.policies:
            raise self.not_found(sent)
        return Meant("auto", auto.policy, _position(auto.knob, sent))

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Return the models of a kind other than chat that the caller is told of."""
        return tuple(
            name for name in self.listed() if name in self.others and self.others[name].kind == kind
        )

    def listed_models(self) -> str:
        """Return the models that the caller is told of, as a list to read."""
        return ", ".join(name for name in self.listed() if name in self.model_ids)

    def told_policies(self) -> str:
        """Return the policies that the caller is told of, as a list to read."""
        listed = frozenset(self.listed())
        return ", ".join(name for name in self.policies if f"auto:{name}" in listed)

    def policies_with_tasks(self) -> str:
        """Return the policies with tasks that the caller is told of, as a list to read."""
        listed = frozenset(self.listed())
        return ", ".join(
            name
            for name, policy in self.policies.items()
            if policy.tasks is not None and f"auto:{name}" in listed
        )

    def not_found(self, name: str) -> ModelNotFoundError:
        """Return the error for a name that does not exist, listing those that do."""
        shown = name if len(name) <= 80 else name[:77] + "..."
        return ModelNotFoundError(
            f"the model {shown!r} does not exist; these do: {', '.join(self.listed())}",
            param="model",
        )


def _position(knob: float | None, sent: str) -> float | None:
    """Return a position of the knob that is one."""
    if knob is not None and knob > 1:
        raise InvalidRequestError(
            f"the knob in the model name {sent[:80]!r} must be a number from 0 to 1", param="model"
        )
    return knob
