"""What metrics show between requests: store, budgets, drift, how full the gateway is."""

import asyncio
import logging
import math
import random

from app.gateway.lessons import beliefs_of
from app.gateway.load.load_bias import LOAD_EVERY_S
from app.keys import NUSD_PER_USD, Priority
from app.state import AppState
from app.stores.base import Owes, StoreError
from app.stores.claims import Standing
from app.telemetry.baselines import BudgetFact
from app.telemetry.logs import dropped_lines
from app.waits import GATEWAY_QUEUE

_RANDOM = random.SystemRandom()
SAMPLE_S = 5.0
"""How often; Prometheus seldom asks more often."""

_log = logging.getLogger(__name__)


async def sample_forever(state: AppState) -> None:
    """Sample until cancelled; what cannot be had now is left out."""
    while True:
        try:
            await sample(state)
        except Exception:  # noqa: BLE001  (metrics must not stop for good)
            _log.exception("the metrics between requests could not be taken")
        await asyncio.sleep(SAMPLE_S)


async def weigh_load_forever(state: AppState) -> None:
    """Move the prices of models near their limits until cancelled."""
    while True:
        try:
            await state.serving.loads.exchange(state.store.store.registers, state.resources.clock())
        except Exception:  # noqa: BLE001  (requests go by the last prices)
            _log.exception("the load of models could not be weighed")
        # By chance, so that processes take turns at the register.
        await asyncio.sleep(_RANDOM.uniform(0.75, 1.25) * LOAD_EVERY_S)


async def sample(state: AppState) -> None:
    """Show everything once."""
    metrics, store, places = state.metrics, state.store, state.places
    metrics.requests.waiting(queued=places.waiting, limit=places.max_running)
    lines = {GATEWAY_QUEUE: places.line}
    lines |= {queue.name: queue.line for queue in state.serving.queues.all}
    for name, line in lines.items():
        metrics.queues.sampled(
            name,
            interactive=line.waiting_of(Priority.INTERACTIVE),
            batch=line.waiting_of(Priority.BATCH),
            limit=line.max_waiting,
            fairness=line.fairness(),
        )
    _sample_pool(state)
    metrics.process.count_files()
    metrics.process.lost_lines(dropped_lines())
    owed = store.owed if isinstance(store, Owes) else 0
    up = await store.healthy()
    metrics.store.checked(up=up and not state.problems(), owed=owed)
    for each in await asyncio.to_thread(state.resources.drift.take):
        metrics.drift.sampled(each.policy, distance=each.distance, familiarity=each.level.value)
    for policy, beliefs, n_waiting in beliefs_of(state.resources.pupils):
        metrics.lessons.sampled(policy, beliefs, n_waiting=n_waiting)
    for taught in state.resources.memories:
        metrics.lessons.remembered(taught.router, taught.n_rows, n_left_out=taught.n_left_out)
    for slot, success in state.serving.pool.believed():
        place = slot.deployment
        metrics.upstreams.believed(
            place.spec.model_id,
            upstream=place.upstream,
            upstream_model=place.upstream_model,
            success=success,
        )
    show_load(state)
    show_watch(state)
    try:
        standings = await state.serving.admission.standings.known_budgets()
    except StoreError:
        return
    metrics.process.budgets(fact for standing in standings for fact in budget_facts(standing))


def show_load(state: AppState) -> None:
    """Show how near models are to their limits, and where tiers stand."""
    metrics = state.metrics
    for policy, bias in state.serving.loads.of.items():
        for model_id, used in bias.prices.used.items():
            price = bias.prices.prices.get(model_id, 0.0)
            metrics.load.sampled(policy, model_id, price=price, used=used)
    tiers = state.serving.gateway.chooser.tiers
    for policy, best_effort in tiers.policies.items():
        metrics.best_effort.in_force(policy, tier=best_effort.tier + 1)
    for model_id, load in tiers.loads.items():
        expected = load.expected(state.resources.clock())
        metrics.best_effort.sampled(model_id, wait_s=expected.wait_s, slots=load.capacity)


def _sample_pool(state: AppState) -> None:
    """Show how deployments stand that are limited, orchestrated, or load their model."""
    metrics, pool = state.metrics, state.serving.pool
    for slot in pool.slots():
        place, quota = slot.deployment, slot.load.quota
        if quota is not None:
            metrics.upstreams.quota(
                place.spec.model_id,
                upstream=place.upstream,
                upstream_model=place.upstream_model,
                used=quota.used(pool.clock()),
            )
    for model_id, stands in pool.orchestrated().items():
        weights = ((each.upstream, each.weight) for each in stands.units)
        metrics.orchestration.sampled(model_id, stands.mode.value, weights)
    for upstream, here in pool.loaded(state.resources.clock()).items():
        metrics.machines.sampled(upstream, here)


def show_watch(state: AppState) -> None:
    """Show how far models are trusted."""
    for watched in state.resources.watch:
        state.metrics.watch.sampled(
            watched.place,
            level=watched.known.held.value,
            log10_evidence=math.log10(max(watched.known.evidence(), 1.0)),
        )


def budget_facts(standing: Standing) -> list[BudgetFact]:
    """Return where the budgets of one scope stand, in US dollars."""
    return [
        BudgetFact(
            scope=standing.scope.kind.value,
            name=standing.scope.name,
            period=each.period_id.partition(":")[0],
            limit_usd=each.limit_nusd / NUSD_PER_USD,
            spent_usd=each.spent_nusd / NUSD_PER_USD,
            reserved_usd=each.reserved_nusd / NUSD_PER_USD,
        )
        for each in standing.budgets
    ]
