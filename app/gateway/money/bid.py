"""What a request may cost with one model: at most, and the least it can do with.

Money is an upper bound, so that what is reserved is never less than what is booked afterwards, the
error of a prompt's estimate aside: the prompt counts with its cautious estimate, the answer with
its limit. Tokens, which only rates are held against, are what is expected.
"""

import math

import msgspec

from app.gateway.money.paid import DEFAULT_OUTPUT_TOKENS, expected_output_tokens
from app.gateway.money.surcharges import Extra, surcharge
from app.gateway.request import RouteRequest
from app.keys import NUSD_PER_USD
from routers.decisions import Decision
from routers.models import ModelSpec

UNKNOWN_LIMIT_TOKENS = 16_384
"""How long an answer under a budget may be where neither the request nor the catalogue says; the
upstream is told so."""


class Bid(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request may use with one model.

    Attributes
    ----------
    tokens
        Expected, of prompt and answers.
    most_nusd
        What the request costs at most.
    least_nusd
        What it costs at the shortest limit that it can do with.
    prompt_nusd, token_nusd
        What the prompt costs, and one more token of every answer.
    max_output_tokens
        The longest answer that `most_nusd` pays for.
    least_output_tokens
        The shortest limit that the request can do with; the client's own where it names one.
    is_known
        Whether the model or the client holds the answer to that limit anyway.
    """

    model_id: str
    tokens: int
    most_nusd: int = 0
    least_nusd: int = 0
    prompt_nusd: int = 0
    token_nusd: float = 0.0
    max_output_tokens: int = 0
    least_output_tokens: int = 0
    is_known: bool = True

    def output_tokens_for(self, nusd: int) -> int:
        """Return how long each answer may be for so much money, at least 1."""
        if nusd >= self.most_nusd:
            return self.max_output_tokens
        return max(1, int((nusd - self.prompt_nusd) / self.token_nusd))

    def limit_for(self, nusd: int) -> int | None:
        """Return the limit to tell the upstream for so much money; None where none is needed."""
        if self.is_known and nusd >= self.most_nusd:
            return None
        return self.output_tokens_for(nusd)


def expected(request: RouteRequest, decision: Decision, spec: ModelSpec) -> Bid:
    """Return what a request will probably use where only rates are to be held against it."""
    demand = request.demand
    output_tokens = expected_output_tokens(request, decision, spec) * demand.n_answers
    return Bid(model_id=spec.model_id, tokens=demand.input_of(spec)[0] + output_tokens)


def bid_for(
    request: RouteRequest, decision: Decision, spec: ModelSpec, extras: tuple[Extra, ...] = ()
) -> Bid:
    """Return what a request may cost with a model whose prices are known.

    Parameters
    ----------
    extras
        Fields of the request that change the price; each has a surcharge.
    """
    demand, prices = request.demand, spec.prices
    input_tokens, input_tokens_upper = demand.input_of(spec)
    estimate = decision.estimate(spec.model_id)
    output_tokens = expected_output_tokens(request, decision, spec)
    limit, known = _limit(request, spec)
    if demand.max_output_tokens is not None:
        least = limit
    elif estimate is not None and estimate.output_tokens is not None:
        least = min(math.ceil(estimate.output_tokens_upper or estimate.output_tokens), limit)
    else:
        least = min(DEFAULT_OUTPUT_TOKENS, limit)
    factor, fee_usd = surcharge(spec, extras) or (1.0, 0.0)
    # Whichever class a token falls into, it is paid.
    input_usd = max(
        prices.input_usd_per_mtok or 0.0,
        prices.cached_input_usd_per_mtok or 0.0,
        prices.cache_write_usd_per_mtok or 0.0,
        _hour_usd_per_mtok(request, prices.cache_write_1h_usd_per_mtok),
    )
    output_usd = max(
        prices.output_usd_per_mtok or 0.0,
        prices.reasoning_usd_per_mtok or 0.0,
        (prices.audio_output_usd_per_mtok or 0.0) if demand.is_spoken else 0.0,
    )
    nusd_per_token = factor * NUSD_PER_USD / 1e6
    prompt_nusd = math.ceil(
        (input_tokens_upper * input_usd + _of_recordings_usd_m(request, spec, input_usd))
        * nusd_per_token
        + (fee_usd + factor * prices.usd_per_answer * demand.n_answers) * NUSD_PER_USD
    )
    token_nusd = output_usd * nusd_per_token * demand.n_answers
    return Bid(
        model_id=spec.model_id,
        tokens=input_tokens + output_tokens * demand.n_answers,
        most_nusd=prompt_nusd + math.ceil(token_nusd * limit),
        least_nusd=prompt_nusd + math.ceil(token_nusd * least),
        prompt_nusd=prompt_nusd,
        token_nusd=token_nusd,
        max_output_tokens=limit,
        least_output_tokens=least,
        is_known=known,
    )


def _of_recordings_usd_m(request: RouteRequest, spec: ModelSpec, input_usd: float) -> float:
    """Return what recordings may cost beyond other tokens, in millionths of a US dollar."""
    price = spec.prices.audio_input_usd_per_mtok
    if request.demand.media is None or price is None or price <= input_usd:
        return 0.0
    return request.demand.audio_of(spec)[1] * (price - input_usd)


def _hour_usd_per_mtok(request: RouteRequest, price: float | None) -> float:
    """Return the price of what is cached for an hour, where the client may have asked for that."""
    if not price:
        return 0.0
    # Who says what is to be cached perhaps says for how long.
    fields = request.fields.values()
    return price if any(b'"cache_control"' in raw or b'"ttl"' in raw for raw in fields) else 0.0


def cut_limit(request: RouteRequest, spec: ModelSpec) -> int | None:
    """Return what a model is told in place of a client's limit that it cannot reach; else None.

    Clients cannot know the limits of whoever will answer. A routed request is also cut to what the
    prompt leaves of the window; of a pinned one the upstream knows better than an estimate.
    """
    asked = request.demand.max_output_tokens
    if asked is None:
        return None
    limit = asked
    if spec.max_output_tokens is not None:
        limit = min(limit, spec.max_output_tokens)
    room = spec.context_window_tokens - request.demand.input_of(spec)[1]
    if request.pinned_model_id is None and room >= 1:
        limit = min(limit, room)
    return None if limit == asked else limit


def _limit(request: RouteRequest, spec: ModelSpec) -> tuple[int, bool]:
    """Return the longest answer, and whether the model or the client holds to it by itself."""
    demand = request.demand
    cut = cut_limit(request, spec)
    limits = [n for n in (demand.max_output_tokens, spec.max_output_tokens, cut) if n is not None]
    if limits:
        return min(limits), True
    room = spec.context_window_tokens - demand.input_of(spec)[1]
    return max(1, min(UNKNOWN_LIMIT_TOKENS, room)), False
