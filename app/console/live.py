"""What the console shows of the last requests: where they went, what that cost and what it saved.

Everything is computed from what `telemetry.recent` remembers: names, numbers and codes.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.gateway.deployments.slots import Slot
from app.outcome import CacheState
from app.telemetry.recent import Ended
from routers.decisions import Reason

N_LISTED = 60
"""Requests that are listed one by one."""

_Z = 1.959964
"""Half-width of a 95 % interval in standard errors."""

_MIN_FOR_INTERVAL = 8
"""Requests below which a normal interval of a ratio is not worth showing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCall:
    """One upstream call, as the table shows it."""

    role: str
    model: str
    error: str | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One request, as the table shows it."""

    decision_id: str
    at: float
    policy: str
    model: str | None
    reason: str | None
    status: int
    error: str | None
    predicted_quality: float | None
    predicted_cost_usd: float | None
    cost_usd: float | None
    output_tokens: int | None
    time_to_first_token_s: float | None
    duration_s: float
    predicted_latency_s: float | None
    overhead_s: float
    calls: tuple[ListedCall, ...]
    session: str | None
    cache: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of the traffic one model served."""

    model: str
    n: int
    share: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What routing saved against sending the same requests to each policy's strongest model.

    Attributes
    ----------
    n
        Requests that a router decided, that were served, and whose costs are known.
    strongest
        The models compared with: of each policy's candidates the one of highest mean predicted
        quality on these requests.
    strongest_usd
        What it would have cost there: as predicted for each request; as paid where it served.
    actual_usd
        What was paid, of every call.
    quality, strongest_quality
        Mean predicted quality of what served, and of the strongest models on the same requests.
    share, low, high
        1 - actual / strongest, and its 95 % interval: what other requests of this kind would save.
        Linearised ratio estimator with normal ends: too narrow over few requests whose costs
        scatter widely (it covered 88 % in a simulation of 60). None for fewer than eight.
    """

    n: int
    strongest: tuple[str, ...]
    strongest_usd: float
    actual_usd: float
    quality: float
    strongest_quality: float
    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sums and middles over the requests that are remembered."""

    n: int
    since: float | None
    requests_per_minute: float | None
    errors: int
    fallbacks: int
    cache_hits: int
    unpriced: int
    cost_usd: float
    predicted_cost_usd: float
    """What was predicted for the answers whose cost is known, as far as it was predicted."""
    compared_cost_usd: float
    """What those answers cost."""
    overhead_p50_s: float | None
    overhead_p99_s: float | None
    time_to_first_token_p50_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One deployment and its health at the moment."""

    model: str
    upstream: str
    upstream_model: str
    state: str
    in_flight: int
    throttled_s: float
    region: str | None = None
    quota_used: float | None = None
    """Of its nearest limit, as written or as its upstream tells; 1 is all of it."""
    trust: str = "ok"
    """How far its model is trusted there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Everything that the page shows; `process_id` names the worker that answered."""

    process_id: int
    now: float
    started_at: float
    n_seen: int
    window: Window
    savings: Savings | None
    traffic: tuple[Share, ...]
    recent: tuple[Listed, ...]
    """Newest first."""


def summarise(
    ended: Sequence[Ended], *, process_id: int, now: float, started_at: float, n_seen: int
) -> Live:
    """Compute what is shown of the requests that are remembered, given oldest first."""
    return Live(
        process_id=process_id,
        now=now,
        started_at=started_at,
        n_seen=n_seen,
        window=_window(ended, now),
        savings=savings(ended),
        traffic=_traffic(ended),
        recent=tuple(_listed(each) for each in reversed(ended[-N_LISTED:])),
    )


def places(
    slots: Iterable[Slot], now: float, levels: Mapping[tuple[str, str, str], str]
) -> tuple[Place, ...]:
    """Return the health of every deployment.

    Parameters
    ----------
    now
        By the pool's clock.
    levels
        How far models are trusted, by their ids, upstreams, and the names that these know them by.
    """
    return tuple(
        Place(
            model=slot.deployment.spec.model_id,
            upstream=slot.deployment.upstream,
            upstream_model=slot.deployment.upstream_model,
            state=slot.circuit.state.value,
            in_flight=slot.outstanding,
            throttled_s=max(slot.throttled_until - now, slot.load.spent_until - now, 0.0),
            region=slot.deployment.region,
            quota_used=None if slot.load.quota is None else slot.load.quota.used(now),
            trust=levels.get((slot.deployment.spec.model_id, *slot.deployment.key), "ok"),
        )
        for slot in slots
    )


def models_by_price(slots: Iterable[Slot]) -> list[str]:
    """Return the models, the cheapest first, by what a token in and one out cost; the colours."""
    specs = {slot.deployment.spec.model_id: slot.deployment.spec for slot in slots}

    def price(model_id: str) -> float:
        cost_usd = specs[model_id].prices.cost_usd(input_tokens=1, output_tokens=1)
        return math.inf if cost_usd is None else cost_usd

    return sorted(specs, key=lambda model_id: (price(model_id), model_id))


def savings(ended: Iterable[Ended]) -> Savings | None:
    """Compare what was paid with each policy's strongest model; None where nothing compares."""
    compared = [each for each in ended if _comparable(each)]
    strongest = _strongest_by_policy(compared)
    pairs, qualities = [], []
    for each in compared:
        model_id = strongest[each.policy]
        would = each.cost_usd if each.model_id == model_id else _predicted_usd(each, model_id)
        if would is not None:
            pairs.append((would, each.paid_usd))
            qualities.append((_quality(each, model_id), _quality(each, each.model_id)))
    there, here = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    if there <= 0:
        return None
    ratio, n = here / there, len(pairs)
    low = high = None
    if n >= _MIN_FOR_INTERVAL:
        squares = sum((paid - ratio * would) ** 2 for would, paid in pairs)
        half = _Z * math.sqrt(squares * n / (n - 1)) / there
        low, high = 1 - ratio - half, min(1 - ratio + half, 1.0)  # nothing is cheaper than free
    return Savings(
        n=n,
        strongest=tuple(sorted(set(strongest.values()))),
        strongest_usd=there,
        actual_usd=here,
        strongest_quality=sum(pair[0] for pair in qualities) / n,
        quality=sum(pair[1] for pair in qualities) / n,
        share=1 - ratio,
        low=low,
        high=high,
    )


def _comparable(each: Ended) -> bool:
    served = None
    if each.decision is not None and each.model_id is not None:
        served = each.decision.estimate(each.model_id)
    return (
        served is not None
        and served.quality is not None
        and each.cost_usd is not None
        and each.cache is not CacheState.HIT  # the cache saved that, not the router
    )


def _strongest_by_policy(ended: Iterable[Ended]) -> dict[str, str]:
    qualities: defaultdict[str, defaultdict[str, list[float]]]
    qualities = defaultdict(lambda: defaultdict(list))
    for each in ended:
        for candidate in each.decision.candidates if each.decision else ():
            if candidate.quality is not None and candidate.cost_usd is not None:
                qualities[each.policy][candidate.model_id].append(candidate.quality)
    return {
        policy: max(models, key=lambda model_id: sum(models[model_id]) / len(models[model_id]))
        for policy, models in qualities.items()
    }


def _predicted_usd(each: Ended, model_id: str | None) -> float | None:
    if each.decision is None or model_id is None:
        return None
    estimate = each.decision.estimate(model_id)
    return None if estimate is None else estimate.cost_usd


def _quality(each: Ended, model_id: str | None) -> float:
    """Return what was predicted; 0 of a model that was no candidate, which nothing is told of."""
    estimate = each.decision.estimate(model_id) if each.decision and model_id else None
    return 0.0 if estimate is None or estimate.quality is None else estimate.quality


def _window(ended: Sequence[Ended], now: float) -> Window:
    served = [each for each in ended if each.model_id is not None]
    compared = [
        (predicted, each.cost_usd)
        for each in served
        if each.cost_usd is not None
        and each.cache is not CacheState.HIT
        and (predicted := _predicted_usd(each, each.model_id)) is not None
    ]
    first_tokens = [each.time_to_first_token_s for each in served]
    since = ended[0].at if ended else None
    span_s = 0.0 if since is None else now - since
    return Window(
        n=len(ended),
        since=since,
        requests_per_minute=60 * len(ended) / span_s if span_s > 0 else None,
        errors=sum(each.error is not None for each in ended),
        fallbacks=sum(each.reason is Reason.FALLBACK for each in ended),
        cache_hits=sum(each.cache is CacheState.HIT for each in ended),
        unpriced=sum(each.cost_usd is None for each in served),
        cost_usd=sum(each.paid_usd for each in ended),
        predicted_cost_usd=sum(pair[0] for pair in compared),
        compared_cost_usd=sum(pair[1] for pair in compared),
        overhead_p50_s=_quantile([each.overhead_s for each in served], 50),
        overhead_p99_s=_quantile([each.overhead_s for each in served], 99),
        time_to_first_token_p50_s=_quantile([s for s in first_tokens if s is not None], 50),
    )


def _quantile(values: list[float], percent: int) -> float | None:
    if not values:
        return None
    # The nearest rank: a time that was measured.
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def _traffic(ended: Iterable[Ended]) -> tuple[Share, ...]:
    counts: Counter[str] = Counter()
    spent: defaultdict[str, float] = defaultdict(float)
    for each in ended:
        if each.model_id is not None:
            counts[each.model_id] += 1
            spent[each.model_id] += each.cost_usd or 0.0
    total = counts.total()
    return tuple(
        Share(model=model, n=n, share=n / total, cost_usd=spent[model])
        for model, n in counts.most_common()
    )


def _listed(each: Ended) -> Listed:
    estimate = None
    if each.decision is not None:
        estimate = each.decision.estimate(each.model_id or each.decision.model_id)
    return Listed(
        decision_id=each.decision_id,
        at=each.at,
        policy=each.policy,
        model=each.model_id,
        reason=None if each.reason is None else each.reason.value,
        status=each.status,
        error=each.error,
        predicted_quality=None if estimate is None else estimate.quality,
        predicted_cost_usd=None if estimate is None else estimate.cost_usd,
        cost_usd=each.paid_usd if each.cost_usd is not None else None,
        output_tokens=each.output_tokens,
        time_to_first_token_s=each.time_to_first_token_s,
        duration_s=each.duration_s,
        predicted_latency_s=None if each.latency is None else each.latency.total_s,
        overhead_s=each.overhead_s,
        calls=tuple(
            ListedCall(
                role=call.role.value, model=call.model_id, error=call.error, cost_usd=call.cost_usd
            )
            for call in each.calls
        ),
        session=None if each.session is None else each.session.value,
        cache=None if each.cache is None else each.cache.value,
    )
