"""The arithmetic of rates and budgets that every store answers by.

Rates follow the generic cell rate algorithm (ITU-T I.371) in its form as a leaky bucket: what was
asked raises a level, which sinks by the limit per minute, and may reach the limit. Next to the form
that keeps a theoretical arrival time, whole requests stay whole numbers, so that N of N pass.
"""

from app.stores.claims import BUSY_RETRY_S, RATE_WINDOW_S, BudgetLimit, Claim, RateStanding

_WINDOW_US = RATE_WINDOW_S * 1e6


def granted_nusd(claim: Claim, room_nusd: int) -> int:
    """Return what is reserved for a claim where the poorest budget has so much left."""
    return max(claim.needed_nusd, min(claim.reserve_nusd, room_nusd))


def level_after(level: float, elapsed_us: int, limit: int) -> float:
    """Return where a level stands after some microseconds; a clock set back counts as none."""
    if elapsed_us > 0:
        level -= limit * elapsed_us / _WINDOW_US
    return max(0.0, level)


def wait_s(level: float, cost: int, limit: int) -> float | None:
    """Return how long until `cost` fits under `limit`, None if it never does."""
    if cost > limit:
        return None
    return max(0.0, (level + cost - limit) * RATE_WINDOW_S / limit)


def rate_standing(level: float, limit: int) -> RateStanding:
    """Return what a level means to a client."""
    return RateStanding(
        limit=limit,
        remaining=max(0, int(limit - level)),
        reset_s=level * RATE_WINDOW_S / limit,
    )


def budget_wait_s(budget: BudgetLimit, spent_nusd: int, reserve_nusd: int) -> float | None:
    """Return how long a refused reservation has to wait, None if it alone exceeds the budget."""
    if reserve_nusd > budget.limit_nusd:
        return None
    if spent_nusd >= budget.limit_nusd or spent_nusd + reserve_nusd > budget.limit_nusd:
        return budget.ends_in_s
    return min(BUSY_RETRY_S, budget.ends_in_s)
