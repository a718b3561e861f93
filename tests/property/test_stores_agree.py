"""The embedded store and Redis give the same answers to the same operations."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.stores.claims import BudgetLimit, Claim, Refusal, Scope, ScopeKind, Settlement
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import StoreUnderTest, new_prefix

# Few scopes, requests and periods, so that operations meet. Rates are either so low that a test
# drains less than one request or so high that they do not bind: the two clocks are not the same.
_SCOPES = [Scope(ScopeKind.KEY, "a"), Scope(ScopeKind.TEAM, "b"), Scope(ScopeKind.GATEWAY)]
_REQUESTS = st.sampled_from([f"req-{i}" for i in range(6)])
_budgets = st.lists(
    st.builds(
        BudgetLimit,
        period_id=st.sampled_from(["day:1", "day:2", "month:1"]),
        limit_nusd=st.sampled_from([0, 5, 100, 9 * 10**15]),
        ends_in_s=st.just(3600.0),
    ),
    max_size=2,
    unique_by=lambda budget: budget.period_id,
).map(tuple)
_amounts = st.sampled_from([0, 1, 3, 50, 10**15])


def _claims(scope: Scope) -> st.SearchStrategy[Claim]:
    return st.builds(
        Claim,
        scope=st.just(scope),
        requests_per_minute=st.sampled_from([None, 1, 3, 5]),
        tokens_per_minute=st.sampled_from([None, 2, 7]),
        concurrent_requests=st.sampled_from([None, 1, 2, 4]),
        budgets=_budgets,
        tokens=st.integers(0, 8),
        reserve_nusd=_amounts,
        least_nusd=st.sampled_from([None, 0, 2]),
        more=st.booleans(),
    )


def _of_some_scopes(build: Callable[[Scope], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return (
        st.lists(st.sampled_from(_SCOPES), min_size=1, max_size=3, unique=True)
        .flatmap(lambda scopes: st.tuples(*map(build, scopes)))
        .map(list)
    )


def _settlements(scope: Scope) -> st.SearchStrategy[Settlement]:
    return st.builds(
        Settlement,
        scope=st.just(scope),
        tokens=st.integers(0, 12),
        cost_nusd=_amounts,
        budgets=_budgets,
        tokens_per_minute=st.sampled_from([None, 2, 7]),
    )


_operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("admit"), _REQUESTS, _of_some_scopes(_claims), st.sampled_from([60.0, 0.0])
        ),
        st.tuples(st.just("settle"), _REQUESTS, _of_some_scopes(_settlements)),
        st.tuples(st.just("standing"), _of_some_scopes(_claims)),
    ),
    min_size=1,
    max_size=25,
)


async def _answer(under_test: StoreUnderTest, operation: tuple[Any, ...]) -> object:
    counters = under_test.store.counters
    match operation:
        case ("admit", request_id, claims, lifetime_s):
            try:
                return _told(await counters.admit(request_id, claims, lifetime_s=lifetime_s))
            except ValueError as error:
                return str(error)
        case ("settle", request_id, settlements):
            return await counters.settle(request_id, settlements)
        case ("standing", claims):
            return _told(await counters.standing(claims))
    raise AssertionError(operation)


def _told(answer: object) -> object:
    """Return an answer without times, which depend on the clock."""
    if isinstance(answer, Refusal):
        return (
            *(answer.scope, answer.resource, answer.limit, answer.period_id),
            *(answer.spent_nusd, answer.reserved_nusd, answer.needed_nusd),
        )
    return [
        (
            standing.scope,
            standing.requests and (standing.requests.limit, standing.requests.remaining),
            standing.tokens and (standing.tokens.limit, standing.tokens.remaining),
            standing.in_flight,
            standing.budgets,
            standing.granted_nusd,
        )
        for standing in answer
    ]


@settings(
    max_examples=75,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=_operations)
def test_memory_and_redis_answer_alike(redis_server: RedisServer, operations):
    async def compare() -> None:
        # The embedded store's clock stands still: what drains on Redis meanwhile is far from one.
        memory = StoreUnderTest(MemoryStore(None, clock=lambda: 1_795_000_000.0))
        redis = StoreUnderTest(RedisStore(redis_server.url, prefix=new_prefix(), timeout_s=5.0))
        try:
            for operation in operations:
                expected = await _answer(memory, operation)
                assert await _answer(redis, operation) == expected, operation
        finally:
            await redis.lifecycle.aclose()

    asyncio.run(compare())
