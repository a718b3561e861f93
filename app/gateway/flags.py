"""What a policy makes of the flags of a request: which it takes, and what they come to.

A flag narrows or weighs; nothing here can allow a request what it could not have without one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.errors import InvalidRequestError
from routers.decision.goals import knows
from routers.models import ModelSpec
from routers.wishes import FLAGS, NO_FLAGS, Flags, Goal, Traits, WishError, Wishes

_UNAVAILABLE = "flag_not_available"
"""The code of a refusal of what another policy may well take."""
_FACTS = {
    Goal.SIZE: "parameters_b",
    Goal.RECENCY: "released",
    Goal.LICENCE: "licence",
    Goal.READABILITY: "readability",
}
"""What of the catalogue goals go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRule:
    """Which flags a policy takes.

    Attributes
    ----------
    most
        What goals may weigh at most.
    default
        What holds of every request.
    in_prompt
        Whether flags at the start of the newest user turn count.
    helpers
        Models beyond the candidates that are shown requests, such as a judge.
    """

    allow: frozenset[str] = frozenset(FLAGS)
    most: Mapping[Goal, float] = field(default_factory=dict)
    default: Flags = NO_FLAGS
    in_prompt: bool = False
    helpers: tuple[ModelSpec, ...] = ()


NO_RULE = FlagRule()


def granted(
    asked: Flags | None,
    rule: FlagRule,
    candidates: Sequence[ModelSpec],
    *,
    policy_name: str,
    param: str | None,
) -> Wishes | None:
    """Return what a request wants of the models of a policy; None where that is nothing.

    Parameters
    ----------
    asked
        What the request says; None where it says nothing.
    param
        How it spelled them.

    Raises
    ------
    InvalidRequestError
        For a flag that the policy does not take, or cannot heed: a wish that is silently ignored
        is worse than none.
    """
    if asked is None and rule.default == NO_FLAGS:
        return None
    if asked is not None:
        _check(asked, rule, candidates, policy_name=policy_name, param=param)
    try:
        wishes = (asked or NO_FLAGS).over(rule.default).wishes(rule.most)
    except WishError as error:
        raise InvalidRequestError(str(error), param=param) from error
    if wishes is not None and wishes.demands:
        for spec in rule.helpers:
            unmet = wishes.unmet(spec.traits)
            if unmet is not None:
                raise InvalidRequestError(
                    f"the policy {policy_name!r} shows requests to {spec.model_id} too, which will "
                    f"not do: {unmet}",
                    param=param,
                )
    return wishes


def default_doubt(rule: FlagRule, candidates: Sequence[ModelSpec]) -> str | None:
    """Return why what holds of every request of a policy cannot; None where it can."""
    traits = [spec.traits for spec in candidates]
    for goal, weight in rule.default.weights.items():
        if weight and not knows(goal, traits):
            return f"{goal} cannot be heeded: the catalogue says the {_FACTS[goal]} of no candidate"
    try:
        wishes = rule.default.wishes()
    except WishError as error:
        return str(error)
    if wishes is None or not wishes.demands:
        return None
    unmet = {spec.model_id: wishes.unmet(spec.traits) for spec in candidates}
    if all(unmet.values()):
        return f"no candidate will do: {next(iter(unmet.values()))}"
    helpers = {spec.model_id: wishes.unmet(spec.traits) for spec in rule.helpers}
    found = next(((name, why) for name, why in helpers.items() if why), None)
    return None if found is None else f"{found[0]}, which is asked too, will not do: {found[1]}"


def _check(
    asked: Flags,
    rule: FlagRule,
    candidates: Sequence[ModelSpec],
    *,
    policy_name: str,
    param: str | None,
) -> None:
    refused = [name for name in FLAGS if name in asked.names - rule.allow]
    if refused:
        taken = ", ".join(name for name in FLAGS if name in rule.allow) or "none"
        raise InvalidRequestError(
            f"the policy {policy_name!r} does not take the flag {refused[0]}; it takes: {taken}",
            param=param,
            code=_UNAVAILABLE,
        )
    traits = [spec.traits for spec in candidates]
    for goal, weight in asked.weights.items():
        if weight and not knows(goal, traits):
            raise InvalidRequestError(
                f"the flag {goal} cannot be heeded: the catalogue says the {_FACTS[goal]} of no "
                f"candidate of the policy {policy_name!r}",
                param=param,
                code=_UNAVAILABLE,
            )
    known = {each.licence for each in traits if each.licence is not None}
    for licence in asked.licences - known - {"open", "permissive"}:
        listed = ", ".join(("open", "permissive", *sorted(known)))
        raise InvalidRequestError(
            f"no candidate of the policy {policy_name!r} has the licence {licence}; known: "
            f"{listed}",
            param=param,
            code=_UNAVAILABLE,
        )


def check_pinned(
    asked: Flags, model_id: str, traits: Traits, *, param: str | None
) -> Wishes | None:
    """Return what is demanded of a model that a request names itself, which then has to do.

    Goals choose between models, and there is nothing to choose.

    Raises
    ------
    InvalidRequestError
        If it does not do.
    """
    demanded = Flags(securities=asked.securities, licences=asked.licences)
    try:
        wishes = demanded.wishes()
    except WishError as error:
        raise InvalidRequestError(str(error), param=param) from error
    unmet = None if wishes is None else wishes.unmet(traits)
    if unmet is not None:
        raise InvalidRequestError(f"the model {model_id!r} will not do: {unmet}", param=param)
    return wishes
