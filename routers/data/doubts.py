"""What is odd about outcomes, though all of them can be read."""

from dataclasses import replace

import numpy as np

from routers.data.dataset import OutcomeTable
from routers.files import shown
from routers.numeric import nan_mean
from routers.types import Conversation

_NAMED = 3


def doubts(table: OutcomeTable) -> list[str]:
    """Return, as sentences, what somebody should know before believing numbers of these outcomes.

    One id with several prompts, and sets where there is nothing to route: one model, no
    difference between models, or one that is never beaten.
    """
    found = []
    prompts: dict[str, set[Conversation]] = {}
    for query_id, conversation in zip(table.query_ids, table.conversations, strict=True):
        # With and without documents, with outcomes and battles it is one prompt.
        prompts.setdefault(query_id, set()).add(replace(conversation, documents=()))
    several = [query_id for query_id, told in prompts.items() if len(told) > 1]
    if several:
        told = ", ".join(repr(shown(each)) for each in several[:_NAMED])
        more = f" and {len(several) - _NAMED} more" if len(several) > _NAMED else ""
        found.append(
            f"{len(several)} query_id{'s stand' if len(several) > 1 else ' stands'} with "
            f"different prompts ({told}{more}): each prompt counts as a query of its own, and "
            "outcomes of models under different prompts are not compared"
        )
    nothing = _nothing_to_route(table)
    return found if nothing is None else [*found, nothing]


def _nothing_to_route(table: OutcomeTable) -> str | None:
    quality = table.quality
    if quality.shape[1] == 1:
        return f"{shown(table.models[0])} is the only model: there is nothing to route"
    compared = quality[(~np.isnan(quality)).sum(axis=1) > 1]
    if len(compared) == 0:
        return None
    if (np.nanmax(compared, axis=1) == np.nanmin(compared, axis=1)).all():
        return (
            "all models are equally good on every query that several were tried on: there is "
            "nothing to route but costs"
        )
    complete = compared[~np.isnan(compared).any(axis=1)]
    never_beaten = (complete == complete.max(axis=1, keepdims=True)).all(axis=0)
    if len(complete) == 0 or not never_beaten.any():
        return None
    cost = nan_mean(table.cost_usd, default=np.inf)
    column = int(np.where(never_beaten, cost, np.inf).argmin())
    column = column if never_beaten[column] else int(never_beaten.argmax())
    name = shown(table.models[column])
    if np.isfinite(cost).all() and cost[column] == cost.min():
        return f"{name} is the cheapest model and never beaten: there is nothing to route"
    return f"{name} is never beaten on any query: a router can save costs, and no more"
