"""Load and quota bias for requests: what models near their limits cost more, shared by replicas.

Every so often, while no request waits for it, a process tells the others through a register of the
store what it asks of models, hears what they ask, and moves the prices that all of them go by.
While the store cannot be had it goes on with its own counts and what it last heard.
"""

import logging
import math
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from app.gateway.deployments.pool import DeploymentPool
from app.gateway.load.shadow_prices import RateLimit, ShadowPrices, Shared, UsageRates
from app.gateway.policy import Policy
from app.gateway.request import Deployment, RouteRequest
from app.stores.base import Registers, StoreError
from routers.decision.goals import GOALS_KNOB
from routers.objectives import CostQuality, UsdPerQuality

LOAD_EVERY_S = 2.0
"""How often prices move."""
_KEPT_S = 60.0
"""For how long a register outlives the last process that tells it anything."""
_TRIES = 4
_UNTOLD = math.inf, math.inf
_NOTHING_TOLD: Mapping[tuple[str, str], tuple[float, float]] = {}

_log = logging.getLogger(__name__)


class _Value(msgspec.Struct, array_like=True, gc=False):
    prices: dict[str, float]
    usage: dict[str, tuple[int, dict[str, tuple[float, float]]]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


class NearLimit(NamedTuple):
    """A model that costs more for a request: the share of its limit used, and how much."""

    model_id: str
    used: float
    price: float
    usd: float

    @property
    def told(self) -> str:
        """Return it in words."""
        return (
            f"costs ${self.usd:.3g} more in the choice, since {self.used:.0%} of what it takes is "
            "used"
        )


class LoadBias:
    """What the load of its candidates costs, for one policy.

    Parameters
    ----------
    limits
        By candidate, of those that have one.
    target
        Which share of a limit is to be used at most.
    """

    def __init__(self, policy: Policy, limits: Mapping[str, RateLimit], *, target: float) -> None:
        self.policy = policy
        self.prices = ShadowPrices(replica=secrets.token_hex(8), limits=limits, target=target)
        self._usage = UsageRates()
        self._name = f"load:{policy.name}"

    def surcharges(self, request: RouteRequest) -> tuple[NearLimit, ...]:
        """Return what models cost more for a request; nothing while no limit is near."""
        prices = self.prices.prices
        if not prices:
            return ()
        rate = self._usd_per_quality(request)
        used = self.prices.used
        return tuple(
            NearLimit(model_id, used.get(model_id, 0.0), price, price * rate)
            for model_id, price in prices.items()
        )

    def _usd_per_quality(self, request: RouteRequest) -> float:
        """Return what quality is worth to a request; as in the middle where that has no end."""
        knobs, allowed = self.policy.knobs, request.allowed_model_ids
        knob = knobs.get(allowed if knobs.ready(allowed) else None)
        objective = request.objective or self.policy.objective
        rate = 0.0
        if isinstance(objective, CostQuality):
            rate = knob.usd_per_quality_for(objective.t)
        elif isinstance(objective, UsdPerQuality):
            rate = objective.usd_per_quality
        return rate if 0 < rate < math.inf else knob.usd_per_quality_for(GOALS_KNOB)

    async def exchange(
        self,
        registers: Registers,
        counts: Mapping[str, tuple[float, float]],
        seconds: float,
        *,
        limits: Mapping[str, RateLimit],
    ) -> None:
        """Tell others what was asked of models so far, and move the prices.

        Parameters
        ----------
        counts
            By model, requests and tokens since the process began.
        seconds
            Since the last exchange.
        limits
            What models take at the moment, of those of which anything is known.
        """
        candidates = {spec.model_id for spec in self.policy.candidates}
        # A price that nothing is known of any more falls by and by.
        free = dict.fromkeys(self.prices.prices, RateLimit())
        self.prices.limits = free | {
            name: each for name, each in limits.items() if name in candidates
        }
        self._usage.tick(
            {name: each for name, each in counts.items() if name in self.prices.limits}, seconds
        )
        try:
            # Of many replicas some never come to it: those go by the others' steps, and tell later.
            for number in range(_TRIES):
                if await self._step(registers, seconds, again=number > 0):
                    break
        except StoreError:  # which the store counts, and says once
            self.prices.step(None, self._usage.rates, seconds)

    async def _step(self, registers: Registers, seconds: float, *, again: bool) -> bool:
        """Take a step by what is in the register; return whether nobody came in between."""
        found = await registers.read(self._name)
        before, shared = None, Shared()
        if found is not None:
            before, shared = found[0], _shared(found[1])
        told = self.prices.step(shared, self._usage.rates, seconds, again=again)
        value = _encode((told.prices, told.usage))
        return await registers.replace(
            self._name, value, version=uuid.uuid4().hex, after=before, lifetime_s=_KEPT_S
        )


class LoadBiases:
    """Those of a configuration, by policy."""

    def __init__(self, biases: Mapping[str, LoadBias], pool: DeploymentPool) -> None:
        self.of = biases
        self._pool = pool
        self._at: float | None = None

    @classmethod
    def of_policies(
        cls,
        policies: Iterable[Policy],
        deployments: Mapping[str, Sequence[Deployment]],
        pool: DeploymentPool,
    ) -> "LoadBiases":
        """Return those of the policies that have some."""
        limits, biases = limits_of(deployments), {}
        for policy in policies:
            if policy.load_target is not None:
                mine = {
                    spec.model_id: limits[spec.model_id]
                    for spec in policy.candidates
                    if spec.model_id in limits
                }
                biases[policy.name] = LoadBias(policy, mine, target=policy.load_target)
        return cls(biases, pool)

    async def exchange(self, registers: Registers, now: float) -> None:
        """Tell others of the load, and move every price; `now` is of a clock that nobody sets."""
        if not self.of:
            return
        seconds = LOAD_EVERY_S if self._at is None else now - self._at
        if seconds <= 0:
            return  # of two at once the later one has counted all of it
        self._at = now
        counts, limits = _counts(self._pool), _limits_now(self._pool)
        for bias in self.of.values():
            await bias.exchange(registers, counts, min(seconds, 10 * LOAD_EVERY_S), limits=limits)


def limits_of(
    deployments: Mapping[str, Sequence[Deployment]],
    told: Mapping[tuple[str, str], tuple[float, float]] = _NOTHING_TOLD,
) -> dict[str, RateLimit]:
    """Return what each model takes in all of its places, of those where that is limited.

    Parameters
    ----------
    told
        By place, how many requests and tokens a second it has left by its own word: the tighter
        of what it says and what is configured counts.
    """
    found = {}
    for model_id, places in deployments.items():
        distinct = {each.key: each for each in places}
        requests, tokens = 0.0, 0.0
        for key, each in distinct.items():
            told_requests, told_tokens = told.get(key, _UNTOLD)
            per_s = min(_or_inf(each.max_rps), _or_inf(each.requests_per_minute) / 60)
            requests += min(per_s, told_requests)
            tokens += min(_or_inf(each.tokens_per_minute) / 60, told_tokens)
        if min(requests, tokens) < math.inf:
            found[model_id] = RateLimit(requests, tokens)
    return found


def _limits_now(pool: DeploymentPool) -> dict[str, RateLimit]:
    now = pool.clock()
    return limits_of(
        {name: [slot.deployment for slot in slots] for name, slots in pool.by_model()},
        {
            slot.deployment.key: slot.load.quota.told_per_s(now)
            for slot in pool.slots()
            if slot.load.quota is not None
        },
    )


def told_near(near: Iterable[NearLimit]) -> list[dict[str, str | float]]:
    """Return models near their limits as JSON-ready values."""
    return [
        {
            "model": each.model_id,
            "used": round(each.used, 4),
            "price_quality": round(each.price, 6),
            "surcharge_usd": round(each.usd, 9),
            "why": f"{each.model_id} {each.told}",
        }
        for each in near
    ]


def _or_inf(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _counts(pool: DeploymentPool) -> dict[str, tuple[float, float]]:
    """Return how many requests and tokens were asked of each model's places so far."""
    counts: dict[str, tuple[float, float]] = {}
    for slot in pool.slots():
        model_id = slot.deployment.spec.model_id
        requests, tokens = counts.get(model_id, (0.0, 0.0))
        counts[model_id] = requests + slot.load.begun, tokens + slot.load.tokens
    return counts


def _shared(data: bytes) -> Shared:
    try:
        value = _decode(data)
    except msgspec.DecodeError as error:
        _log.warning("the load that replicas share cannot be read: %s", error)
        return Shared()
    return Shared(prices=value.prices, usage=value.usage)
