"""What limits on the time of a request make of its calls: where they go, and what is tried next."""

from collections.abc import Sequence

from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool, Lease
from app.gateway.deployments.predicted_times import forecast_at
from app.gateway.deployments.prefix_affinity import prefix_of
from app.gateway.latency_terms import TimeLeft
from app.gateway.ledger import LedgerEntry
from app.gateway.request import RouteRequest


def size_of(
    request: RouteRequest, model_id: str, entry: LedgerEntry, *, prefixed: bool = False
) -> CallSize:
    """Return how large a call is, as far as its answer's length is predicted.

    Parameters
    ----------
    prefixed
        Whether it matters how the prompt begins.
    """
    estimate = None if entry.decision is None else entry.decision.estimate(model_id)
    return CallSize(
        input_tokens=float(request.demand.input_tokens),
        output_tokens=None if estimate is None else estimate.output_tokens,
        output_tokens_upper=None if estimate is None else estimate.output_tokens_upper,
        streams=request.stream,
        prefix=prefix_of(request) if prefixed else None,
    )


def came(entry: LedgerEntry) -> float:
    """Return when a request came; where it is only asked about, when it is taken to."""
    return entry.started if entry.outlook is None else entry.outlook.at


def passed_s(entry: LedgerEntry, now: float) -> float:
    """Return how long ago it came, and what it would have waited, if it is only asked about."""
    if entry.outlook is None or entry.outlook.wait is None:
        return now - came(entry)
    return now - entry.outlook.at + entry.outlook.wait.seconds_upper


def time_left(
    request: RouteRequest, entry: LedgerEntry, pool: DeploymentPool, *, after_s: float = 0.0
) -> TimeLeft | None:
    """Return how long a call of a request may take; None where nothing limits it.

    Parameters
    ----------
    after_s
        In how long the call would begin.
    """
    terms = request.latency
    if terms is None or not terms.has_deadline:
        return None
    return terms.left(pool.clock() - entry.started + after_s)


def next_in_time(
    request: RouteRequest, models: Sequence[str], entry: LedgerEntry, pool: DeploymentPool
) -> int:
    """Return which of the models that are left is tried, after others failed.

    The first that is still predicted to be in time; where none is, the fastest.
    """
    left = time_left(request, entry, pool)
    if left is None or len(models) == 1:
        return 0
    late = [
        left.late_s(
            pool.times.latency(each, size_of(request, each, entry), left=left, rank=entry.rank)
        )
        for each in models
    ]
    in_time = [place for place, seconds in enumerate(late) if seconds <= 0]
    return in_time[0] if in_time else late.index(min(late))


def may_wait(
    request: RouteRequest, entry: LedgerEntry, lease: Lease, size: CallSize, wait_s: float
) -> bool:
    """Return whether a deployment that is asked again after a wait would be in time."""
    left = time_left(request, entry, lease.pool, after_s=wait_s)
    if left is None:
        return True
    return left.suffices(forecast_at(lease.slot, size, lease.pool.clock()).latency)
