"""How a refusal of the store is told to a client: whose limit, of what, and what would help."""

from app.errors import BudgetExceededError, RateLimitedError
from app.keys import NUSD_PER_USD
from app.stores.claims import Refusal, Resource, ScopeKind

_WHOSE = {
    ScopeKind.KEY: "this API key's",
    ScopeKind.TEAM: "the team's",
    ScopeKind.MODEL: "the model's",
    ScopeKind.GATEWAY: "this gateway's",
    ScopeKind.BATCH: "this batch's",
}
_WHAT = {
    Resource.REQUESTS: "limit of {limit} requests per minute",
    Resource.TOKENS: "limit of {limit} tokens per minute",
    Resource.CONCURRENCY: "limit of {limit} requests at a time",
}


def rate_limited(refusal: Refusal) -> RateLimitedError:
    """Return the error for a limit of requests, tokens or concurrency."""
    kind, resource = refusal.scope.kind, refusal.resource
    what = _WHAT[resource].format(limit=refusal.limit)
    if refusal.retry_after_s is None:
        message = f"the request alone exceeds {_WHOSE[kind]} {what}; make it smaller"
    else:
        message = f"{_WHOSE[kind]} {what} is reached; try again in {refusal.retry_after_s:.1f} s"
    return RateLimitedError(
        message,
        scope=kind,
        resource=resource,
        limit=refusal.limit,
        retry_after_s=refusal.retry_after_s,
        whose=str(refusal.scope),
    )


def budget_exceeded(refusal: Refusal, *, needed_nusd: int) -> BudgetExceededError:
    """Return the error for a budget, which says what is left and what was needed.

    Parameters
    ----------
    needed_nusd
        By the model that could do with the least.
    """
    kind = refusal.scope.kind
    limit, spent = refusal.limit, refusal.spent_nusd
    whose = f"{_WHOSE[kind]} budget of {usd(limit)}"
    if kind is not ScopeKind.BATCH:
        whose += f" for {refusal.period_id}"
    held = spent < limit and spent + needed_nusd <= limit
    retry_after_s = refusal.retry_after_s
    if spent >= limit:
        message = f"{whose} is used up"
    elif held:
        message = (
            f"of {whose} {usd(refusal.left_nusd)} is left beside the {usd(refusal.reserved_nusd)} "
            f"that running requests hold, and this request may need {usd(needed_nusd)}; "
            f"try again in {retry_after_s or 0:.1f} s"
        )
    else:
        message = (
            f"of {whose} {usd(limit - spent)} is left, too little of it for this request, which "
            f"may need {usd(needed_nusd)}; a smaller max_tokens or a cheaper model would need less"
        )
    return BudgetExceededError(
        message,
        code=f"{kind}_budget_exceeded",
        retry_after_s=retry_after_s,
        should_retry=held,
        whose=str(refusal.scope),
    )


def usd(nusd: int) -> str:
    """Write an amount out: two decimals, or as many as it has."""
    text = f"{nusd / NUSD_PER_USD:,.9f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals:0<2}"
