"""Where calls with a limit on their time go, and what is tried after a failure."""

import asyncio
import math
import random

import pytest

from app.errors import UpstreamUnavailableError
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.dispatch import Dispatcher
from app.gateway.in_time import may_wait, next_in_time, time_left
from app.gateway.latency import Pace
from app.gateway.latency_terms import LatencyTerms, TimeLeft, terms
from app.gateway.ledger import LedgerEntry
from app.gateway.plan import FirstOf
from routers.decisions import Decision, Latency, Reason
from tests.support.providers import ScriptedProvider, deployment
from tests.unit.app.gateway.test_dispatch import TEXT, request

DOWN = UpstreamUnavailableError("down", status=503)
SIZE = CallSize(input_tokens=100.0, output_tokens=100.0, output_tokens_upper=100.0)
QUICK, SLOW = Pace(ttft_s=0.1, tokens_per_s=1_000.0), Pace(ttft_s=5.0, tokens_per_s=10.0)
LIMITED = LatencyTerms(max_ttft_s=1.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def place(model_id, upstream="stub", *, pace=QUICK, script=(), **more):
    return deployment(model_id, ScriptedProvider(*script), upstream=upstream, pace=pace, **more)


def pool_of(clock=None, **places):
    return DeploymentPool(
        places, clock=clock or Clock(), failures=1, cooldown_s=10, rng=random.Random(7)
    )


def entry_of(clock, asked, *model_ids):
    first, *others = model_ids
    return LedgerEntry(
        clock=clock,
        request=asked,
        policy_version="v",
        started=clock(),
        decision=Decision(
            model_id=first,
            fallbacks=tuple(others),
            candidates=(),
            reason=Reason.KNOB,
            usd_per_quality=None,
        ),
    )


def test_a_models_time_is_that_of_the_least_busy_place_or_of_the_best_that_is_available():
    pool = pool_of(a=[place("a", "slow", pace=SLOW), place("a", "quick")])
    slow, quick = pool.slots()

    def best():
        return pool.times.latency("a", SIZE, left=TimeLeft(0.0, math.inf)).ttft_s

    assert best() == pytest.approx(0.1)
    quick.load.outstanding = 1
    assert pool.times.latency("a", SIZE).ttft_s == pytest.approx(5.0)
    slow.load.outstanding = 2
    assert pool.times.latency("a", SIZE).ttft_s == pytest.approx(0.1)
    pool.throttled(quick, until=200.0)
    assert best() == pytest.approx(5.0)
    pool.throttled(slow, until=200.0)
    assert best() == pytest.approx(0.1)


def test_a_call_goes_only_where_it_is_in_time_if_it_is_anywhere():
    pool = pool_of(a=[place("a", "slow", pace=SLOW), place("a", "quick")])
    in_time = LIMITED.left(0.0)
    taken = [pool.lease("a", size=SIZE, left=in_time) for _ in range(5)]
    assert {lease.deployment.upstream for lease in taken} == {"quick"}
    nowhere = LatencyTerms(max_ttft_s=0.001).left(0.0)
    late = {pool.lease("a", size=SIZE, left=nowhere).deployment.upstream for _ in range(20)}
    assert late == {"slow", "quick"}


def test_calls_teach_the_place_that_answered_alone():
    clock = Clock()
    pool = pool_of(clock, a=[place("a", "one"), place("a", "two")])
    for _ in range(40):
        lease = pool.lease("a", size=SIZE, avoid=[next(iter(pool.slots()))])
        clock.now += 2.0
        lease.first_token()
        clock.now += 1.0
        lease.succeeded(output_tokens=100.0)
        lease.release()
    one, two = pool.slots()
    one.load.outstanding, two.load.outstanding = 1, 0
    assert pool.times.latency("a", SIZE).ttft_s == pytest.approx(2.0, rel=0.1)
    assert pool.times.latency("a", SIZE).total_s == pytest.approx(3.0, rel=0.1)
    one.load.outstanding, two.load.outstanding = 0, 1
    assert pool.times.latency("a", SIZE).ttft_s == pytest.approx(0.1)


def test_after_failures_time_that_passed_counts_and_the_fastest_is_tried_where_none_fits():
    clock = Clock()
    pool = pool_of(
        clock,
        a=[place("a", pace=SLOW)],
        b=[place("b")],
        c=[place("c", pace=Pace(ttft_s=0.05, tokens_per_s=1_000.0))],
    )
    asked = request(latency=LIMITED)
    entry = entry_of(clock, asked, "a", "b", "c")
    assert next_in_time(asked, ["a", "b", "c"], entry, pool) == 1
    assert next_in_time(request(), ["a", "b", "c"], entry, pool) == 0
    clock.now += 0.85  # .1 s times the margin of what was never called is too much now
    assert next_in_time(asked, ["a", "b", "c"], entry, pool) == 2
    clock.now += 10.0
    assert next_in_time(asked, ["a", "b"], entry, pool) == 1
    assert time_left(request(), entry, pool) is None


def test_a_repeated_call_is_waited_for_only_where_it_would_be_in_time():
    clock = Clock()
    pool = pool_of(clock, a=[place("a")])
    asked = request(latency=LIMITED)
    entry = entry_of(clock, asked, "a")
    lease = pool.lease("a", size=SIZE)
    assert may_wait(asked, entry, lease, SIZE, 0.5)
    assert not may_wait(asked, entry, lease, SIZE, 0.95)
    assert may_wait(request(), entry, lease, SIZE, 100.0)


async def answered(asked, *paces):
    """Return who answers where the first model is down."""
    clock = asyncio.get_running_loop().time
    models = [chr(ord("a") + number) for number in range(len(paces))]
    pool = DeploymentPool(
        {
            model_id: [place(model_id, pace=pace, script=[DOWN] if not number else [TEXT])]
            for number, (model_id, pace) in enumerate(zip(models, paces, strict=True))
        },
        clock=clock,
        rng=random.Random(0),
    )
    dispatcher = Dispatcher(
        pool=pool, clock=clock, rng=random.Random(0), on_failure=lambda *_: None
    )
    entry = entry_of(clock, asked, *models)
    opened = await dispatcher.open(asked, FirstOf(tuple(models)), entry)
    await opened.aclose()
    return opened.deployment.spec.model_id


async def test_the_next_model_is_the_first_that_is_still_in_time():
    assert await answered(request(latency=LIMITED), QUICK, SLOW, QUICK) == "c"
    assert await answered(request(), QUICK, SLOW, QUICK) == "b"


LATENCY = Latency(ttft_s=0.5, ttft_s_upper=1.0, total_s=2.0, total_s_upper=4.0)


def test_terms_say_in_words_which_limits_are_missed():
    both = LatencyTerms(max_total_s=4.5, max_ttft_s=1.2)
    assert both.unmet(LATENCY, 0.2) is None
    assert both.unmet(LATENCY, 0.3) == "ttft; predicted-ms=1300; limit-ms=1200"
    assert both.unmet(LATENCY, 1.0) == (
        "latency; predicted-ms=5000; limit-ms=4500, ttft; predicted-ms=2000; limit-ms=1200"
    )
    assert both.first_s == 1.2
    assert LatencyTerms(usd_per_s=1.0).unmet(LATENCY, 1e9) is None
    assert not LatencyTerms(usd_per_s=1.0).has_deadline


def test_a_request_comes_before_its_policy_term_by_term():
    default = LatencyTerms(max_total_s=8.0, usd_per_s=0.5)
    own = terms(max_total_s=None, max_ttft_s=0.3, usd_per_s=0.0, default=default)
    assert own == LatencyTerms(max_total_s=8.0, max_ttft_s=0.3)
    assert own.told == {"max_latency_ms": 8_000.0, "max_ttft_ms": 300.0}
    assert terms(max_total_s=None, max_ttft_s=None, usd_per_s=0.0, default=None) is None
