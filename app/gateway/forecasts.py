"""What models take at the moment for a request, as its decision is to know it."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from app.gateway.latency import later
from app.gateway.latency_terms import LatencyTerms, TimeLeft
from app.gateway.queues.expected_wait import ExpectedWait
from app.gateway.queues.virtual_counters import NO_RANK, Rank
from routers.decisions import CandidateEstimate, Latency
from routers.objectives import Constraints


class Latencies(Protocol):
    """Predicts how long models would take for calls; `ModelTimes.latencies` does."""

    def __call__(
        self,
        estimates: Iterable[CandidateEstimate],
        *,
        streams: bool,
        left: TimeLeft | None = None,
        rank: Rank = NO_RANK,
    ) -> dict[str, Latency]:
        """Return it by model; of several deployments one that is in time, else the least late."""
        ...


def with_latencies(
    constraints: Constraints,
    estimates: Sequence[CandidateEstimate],
    *,
    predicted: Latencies,
    terms: LatencyTerms | None,
    streams: bool,
    elapsed_s: float,
    rank: Rank = NO_RANK,
    wait: ExpectedWait | None = None,
) -> Constraints:
    """Return constraints with what candidates take and their time costs, and how much is left.

    Parameters
    ----------
    terms
        Of the request.
    streams
        Whether its answer comes in pieces.
    elapsed_s
        Since the request came.
    rank
        In whose name it waits where models take only so many calls.
    wait
        How long it would wait before that, where it is asked about beforehand.
    """
    usd_per_s = 0.0
    left = None
    if terms is not None:
        usd_per_s = terms.usd_per_s
        if terms.has_deadline:
            left = terms.left(elapsed_s)
    if wait is None:
        latencies = predicted(estimates, streams=streams, left=left, rank=rank)
    else:
        then = None if left is None else left.after(wait.seconds_upper)
        latencies = {
            name: later(each, wait.seconds, wait.seconds_upper)
            for name, each in predicted(estimates, streams=streams, left=then, rank=rank).items()
        }
    usd = constraints.surcharges_usd
    if usd_per_s:
        given = usd
        usd = {name: usd_per_s * each.total_s for name, each in latencies.items()}
        for name, more_usd in given.items():
            usd[name] = usd.get(name, 0.0) + more_usd
    return msgspec.structs.replace(
        constraints,
        latencies=latencies,
        surcharges_usd=usd,
        max_latency_s=None if left is None or left.total_s == math.inf else left.total_s,
        max_ttft_s=None if left is None or left.ttft_s == math.inf else left.ttft_s,
    )
