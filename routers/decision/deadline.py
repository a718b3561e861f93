"""Limits on the time of an answer, held against what nine of ten answers stay below."""

import math
from collections.abc import Sequence
from operator import attrgetter

from routers.decision.constraints import Barred
from routers.decisions import CandidateEstimate, Exclusion, Latency
from routers.objectives import Constraints

_total_s_upper, _ttft_s_upper = attrgetter("total_s_upper"), attrgetter("ttft_s_upper")


def late_s(latency: Latency | None, constraints: Constraints) -> float:
    """Return by how many seconds an answer may miss the limits; none is missed up to 0.

    Of both limits the one that is missed by more counts; infinite where nothing is predicted.
    """
    if latency is None:
        return math.inf
    total_s, ttft_s = constraints.max_latency_s, constraints.max_ttft_s
    return max(
        -math.inf if total_s is None else latency.total_s_upper - total_s,
        -math.inf if ttft_s is None else latency.ttft_s_upper - ttft_s,
    )


def bar_late(
    estimates: Sequence[CandidateEstimate], barred: list[Barred | None], constraints: Constraints
) -> bool:
    """Keep out who may be late; where all may be, nobody is kept out, and False is returned."""
    total_s = math.inf if constraints.max_latency_s is None else constraints.max_latency_s
    ttft_s = math.inf if constraints.max_ttft_s is None else constraints.max_ttft_s
    times = [each.latency for each in estimates]
    if None not in times and (
        # Most often nobody is late: looked at without a step of the interpreter for each.
        max(map(_total_s_upper, times)) <= total_s and max(map(_ttft_s_upper, times)) <= ttft_s
    ):
        return True
    late = [
        place
        for place, took in enumerate(times)
        if barred[place] is None
        and (took is None or took.total_s_upper > total_s or took.ttft_s_upper > ttft_s)
    ]
    if late and len(late) == barred.count(None):
        return False
    for place in late:
        barred[place] = Exclusion.LATENCY, _told(estimates[place].latency, constraints)
    return True


def by_lateness(
    eligible: Sequence[CandidateEstimate], constraints: Constraints
) -> list[CandidateEstimate]:
    """Return the candidates, those first that miss the limits by least."""
    return sorted(
        eligible,
        key=lambda each: (late_s(each.latency, constraints), -(each.quality or 0.0), each.model_id),
    )


def _told(latency: Latency | None, constraints: Constraints) -> str:
    if latency is None:
        return "nothing is known of how long it takes, and the request has a limit"
    total_s, ttft_s = constraints.max_latency_s, constraints.max_ttft_s
    told = []
    if total_s is not None and latency.total_s_upper > total_s:
        told.append(f"may take {latency.total_s_upper:.3g} s, the limit is {total_s:.3g} s")
    if ttft_s is not None and latency.ttft_s_upper > ttft_s:
        told.append(
            f"its first token may take {latency.ttft_s_upper:.3g} s, the limit is {ttft_s:.3g} s"
        )
    return "; ".join(told)
