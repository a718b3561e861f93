"""Who looks how closely at the images of a request: between the decision and its policy.

A policy that chooses the detail of images decides about requests that leave it open among variants
of its candidates, one for each level that a model can be asked for. Any other request knows nothing
of that, and pays nothing for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.errors import InvalidRequestError
from app.gateway.policy import Policy
from routers.models import Demand

AS_SENT = "as-sent"
WISHES = ("auto", "low", "high", "original", AS_SENT)
"""What a client may say of the detail of its images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How a request with images is decided.

    Attributes
    ----------
    demand
        With the detail of every image left open, where that may be chosen.
    every
        Whether images may be looked at otherwise than the client says of them.
    """

    policy: Policy
    demand: Demand
    every: bool

    def allowed(self, model_ids: frozenset[str] | None) -> frozenset[str] | None:
        """Return an allow-list of candidates as one of their variants."""
        if model_ids is None:
            return None
        return with_arms(self.policy, model_ids)


def looked(policy: Policy, demand: Demand, wish: str | None, param: str | None) -> Looked | None:
    """Return how a request is decided whose images may be looked at closely or not.

    None where there is nothing to choose: no image, a client that says how closely, a policy that
    takes images as they are sent.

    Parameters
    ----------
    wish
        What the client says of all its images, if anything: one of `WISHES`.
    param
        How it spelled that.

    Raises
    ------
    InvalidRequestError
        If it says something that the policy does not choose.
    """
    choice = policy.images
    if choice is None:
        if wish is None or wish == AS_SENT:
            return None
        raise InvalidRequestError(
            f"the policy {policy.name!r} takes images as they are sent; {param} needs one that "
            "chooses their detail (policies.<name>.images)",
            param=param,
        )
    media = demand.media
    if media is None or not media.pictures or wish == AS_SENT:
        return None
    every = choice.override or wish is not None
    if not (every or media.leaves_detail_open):
        return None
    if every:
        demand = replace(demand, media=media.opened())
    return Looked(policy=choice.at(wish or choice.level), demand=demand, every=every)


def with_arms(policy: Policy, model_ids: frozenset[str]) -> frozenset[str]:
    """Return names of candidates and of the variants that stand in their place."""
    if not policy.arm_of:
        return model_ids
    return model_ids | {arm for arm, candidate in policy.arm_of.items() if candidate in model_ids}


def here(policy: Policy, model_id: str, ranked: Sequence[str]) -> str:
    """Return what stands for a model among a policy's candidates: of its variants the best one.

    Parameters
    ----------
    ranked
        Candidates, best first.
    """
    if policy.images is not None:
        return policy.images.candidate_of(model_id) or model_id
    if not policy.arm_of or model_id in policy.arm_of:
        return model_id
    return next((each for each in ranked if policy.arm_of.get(each) == model_id), model_id)
