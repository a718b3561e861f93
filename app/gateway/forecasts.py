"""What models take at the moment for a request, as its decision is to know it."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from app.gateway.deployments.balance import CallSize
from app.gateway.latency_terms import LatencyTerms
from routers.types import CandidateEstimate, Constraints, Latency


class LatencyOf(Protocol):
    """Predicts how long a model would take for a call; `DeploymentPool.latency` does."""

    def __call__(
        self, model_id: str, size: CallSize, *, key: Callable[[Latency], float] | None = None
    ) -> Latency:
        """Return it; of several deployments one where `key` is at most 0, else is the least."""
        ...


def with_latencies(
    constraints: Constraints,
    estimates: Sequence[CandidateEstimate],
    *,
    latency_of: LatencyOf,
    terms: LatencyTerms | None,
    streams: bool,
    elapsed_s: float,
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
    """
    key = None
    if terms is not None and terms.has_deadline:
        limits = terms

        def key(latency: Latency) -> float:
            return limits.late_s(latency, elapsed_s)

    latencies = {
        each.model_id: latency_of(each.model_id, _size(each, streams=streams), key=key)
        for each in estimates
    }
    usd = dict(constraints.surcharges_usd)
    if terms is not None and terms.usd_per_s:
        for name, each in latencies.items():
            usd[name] = usd.get(name, 0.0) + terms.usd_per_s * each.total_s
    return msgspec.structs.replace(
        constraints,
        latencies=latencies,
        surcharges_usd=usd,
        max_latency_s=_left_s(None if terms is None else terms.max_total_s, elapsed_s),
        max_ttft_s=_left_s(None if terms is None else terms.max_ttft_s, elapsed_s),
    )


def _left_s(limit_s: float | None, elapsed_s: float) -> float | None:
    return None if limit_s is None else limit_s - elapsed_s


def _size(estimate: CandidateEstimate, *, streams: bool) -> CallSize:
    return CallSize(
        input_tokens=float(estimate.input_tokens),
        output_tokens=estimate.output_tokens,
        output_tokens_upper=estimate.output_tokens_upper,
        streams=streams,
    )
