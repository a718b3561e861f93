import asyncio
import random
from dataclasses import replace

import pytest
from msgspec import structs

from app.calls import CallRole
from app.errors import (
    AllAttemptsFailedError,
    AllAttemptsThrottledError,
    AllAttemptsTimedOutError,
    UpstreamConnectionLostError,
    UpstreamContextLengthError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.gateway.bill import settled_tokens, told_cost_usd
from app.gateway.closing import closed
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.dispatch import Dispatcher
from app.gateway.in_time import size_of
from app.gateway.latency import Pace
from app.gateway.latency_terms import LatencyTerms
from app.gateway.ledger import LedgerEntry
from app.gateway.plan import FirstOf, Hedged
from app.gateway.request import RouteRequest
from app.gateway.served import fallback_index, served_reason
from app.providers.base import Chunk
from app.usage import Usage
from app.wire.body import Body
from routers.decisions import Decision, Reason
from routers.models import Demand
from routers.types import Conversation
from tests.support.providers import HANG, ScriptedProvider, deployment

pytestmark = pytest.mark.virtual_time
ROLE = Chunk(data=b"role", has_content=False)
TEXT = Chunk(data=b"text", content_events=1, content_chars=4)
MORE = Chunk(data=b"more", content_events=1, content_chars=4)
DOWN = UpstreamUnavailableError("down", status=503)
LOST = UpstreamConnectionLostError("lost")
DOWN_LATER = UpstreamUnavailableError("cut short")


def request(**changes):
    values = {
        "request_id": "r",
        "decision_id": "d",
        "requested_model": "auto",
        "pinned_model_id": None,
        "policy": None,
        "objective": None,
        "allowed_model_ids": None,
        "max_cost_usd": None,
        "fallback": True,
        "explain": False,
        "conversation": Conversation.of("hi"),
        "demand": Demand(input_tokens=7, input_tokens_upper=9),
        "body": Body({}),
        "stream": True,
        "include_usage": False,
        "headers": (),
    }
    return RouteRequest(**{**values, **changes})


class World:
    """Models a, b, c on scripted providers, and everything that a dispatch leaves behind."""

    def __init__(self, *scripts, request_timeout_s=600.0, failures=1, **options):
        loop = asyncio.get_running_loop()
        self.providers = [ScriptedProvider(*script) for script in scripts]
        self.model_ids = [chr(ord("a") + i) for i in range(len(scripts))]
        self.request_timeout_s, self.max_failures = request_timeout_s, failures
        self.failures = []
        self.places = {
            model_id: [deployment(model_id, provider, **options)]
            for model_id, provider in zip(self.model_ids, self.providers, strict=True)
        }
        self.build()
        first, *others = self.model_ids
        self.entry = LedgerEntry(
            clock=loop.time,
            request=request(),
            policy_version="v",
            started=loop.time(),
            decision=Decision(
                model_id=first,
                fallbacks=tuple(others),
                candidates=(),
                reason=Reason.KNOB,
                usd_per_quality=None,
            ),
        )

    def build(self):
        loop = asyncio.get_running_loop()
        self.pool = DeploymentPool(
            self.places, clock=loop.time, failures=self.max_failures, rng=random.Random(0)
        )
        self.dispatcher = Dispatcher(
            pool=self.pool,
            clock=loop.time,
            rng=random.Random(0),
            on_failure=lambda deployment, error: self.failures.append(
                (deployment.spec.model_id, type(error))
            ),
            request_timeout_s=self.request_timeout_s,
        )

    def place(self, model_id, providers, **options):
        """Serve a model from several upstreams instead."""
        self.places[model_id] = [
            deployment(model_id, provider, upstream=upstream, **options)
            for upstream, provider in providers.items()
        ]
        self.build()

    async def open(self, *, hedge_after_s=None, **options):
        models = tuple(self.model_ids)
        plan = FirstOf(models) if hedge_after_s is None else Hedged(models, hedge_after_s)
        return await self.dispatcher.open(request(), plan, self.entry, **options)

    @property
    def outstanding(self):
        return sum(slot.outstanding for slot in self.pool.slots())

    @property
    def attempts(self):
        return [(attempt.model_id, attempt.error) for attempt in self.entry.attempts]


async def read(world, answer):
    return [chunk.data for chunk in answer.prelude] + [
        chunk.data async for chunk in world.dispatcher.rest(answer, world.entry)
    ]


async def test_the_first_model_that_begins_serves():
    world = World([ROLE, TEXT, MORE], [TEXT])
    answer = await world.open()
    assert answer.deployment.spec.model_id == "a"
    assert answer.prelude == (ROLE, TEXT)
    assert await read(world, answer) == [b"role", b"text", b"more"]
    assert world.attempts == [("a", None)]
    assert world.providers[1].calls == []


async def test_the_upstream_is_called_by_its_own_name_for_the_model():
    world = World([TEXT])
    await (await world.open()).aclose()
    assert world.providers[0].calls[0].upstream_model == "upstream-a"


@pytest.mark.parametrize("native", [frozenset(), frozenset({"other"})], ids=["chat", "native"])
async def test_an_upstream_of_the_clients_own_dialect_gets_what_the_client_wrote(native):
    world = World([DOWN], [TEXT])
    world.providers[1].native_dialects = native
    own, chat = {"input": b'"hi"'}, {"messages": b"[]"}
    body = Body(own, dialect="other", translate=lambda _: chat)
    asked = structs.replace(request(), body=body)
    answer = await world.dispatcher.open(asked, FirstOf(("a", "b")), world.entry)
    await answer.aclose()
    (first,), (second,) = (each.calls for each in world.providers)
    assert (first.dialect, first.fields) == ("chat_completions", chat)
    assert (second.dialect, second.fields) == (
        ("other", own) if native else ("chat_completions", chat)
    )


async def test_what_a_chat_cannot_say_goes_only_to_upstreams_of_its_own_dialect():
    world = World([TEXT], [TEXT])
    own = {"prompt": b"[1]"}
    untold = "prompt", "numbers are no message"
    asked = structs.replace(
        request(), body=Body(own, dialect="other", translate=dict, untold=untold)
    )
    with pytest.raises(UpstreamUnsupportedError, match="numbers are no message") as caught:
        await world.dispatcher.open(asked, FirstOf(("a", "b")), world.entry)
    assert caught.value.param == "prompt"
    assert [each.calls for each in world.providers] == [[], []]
    assert told_cost_usd(world.entry) in (None, 0)
    world.providers[1].native_dialects = frozenset({"other"})
    answer = await world.dispatcher.open(asked, FirstOf(("a", "b")), world.entry)
    assert answer.deployment.spec.model_id == "b"
    assert world.providers[1].calls[0].fields == own
    await answer.aclose()
    assert world.outstanding == 0


@pytest.mark.parametrize("script", [[DOWN], [ROLE, DOWN], [UpstreamThrottledError("429")]])
async def test_a_failure_before_the_first_content_falls_over_and_nothing_of_it_is_seen(script):
    world = World(script, [TEXT])
    answer = await world.open()
    assert await read(world, answer) == [b"text"]
    assert [model_id for model_id, _ in world.attempts] == ["a", "b"]
    assert fallback_index(world.entry) == 1
    assert world.providers[0].ended == 1


async def test_a_model_that_the_decision_does_not_name_is_a_fallback_like_others():
    world = World([DOWN], [DOWN], [TEXT])
    world.entry.decision = replace(world.entry.decision, fallbacks=("b",))
    answer = await world.open()
    await answer.aclose()
    assert answer.deployment.spec.model_id == "c"
    assert (fallback_index(world.entry), served_reason(world.entry)) == (2, Reason.FALLBACK)


async def test_a_failure_after_the_first_content_never_falls_over():
    world = World([TEXT, DOWN], [TEXT])
    answer = await world.open()
    with pytest.raises(UpstreamUnavailableError):
        await read(world, answer)
    assert world.providers[1].calls == []
    assert world.pool.unhealthy() == {"a"}


async def test_a_request_that_is_at_fault_is_not_tried_elsewhere():
    world = World([UpstreamRejectedError("bad", status=400)], [TEXT])
    with pytest.raises(UpstreamRejectedError):
        await world.open()
    assert world.providers[1].calls == []
    assert world.pool.unhealthy() == frozenset()


async def test_a_prompt_too_long_for_one_model_is_tried_on_the_next():
    too_long = UpstreamContextLengthError("long", status=400)
    world = World([too_long], [TEXT])
    assert (await world.open()).deployment.spec.model_id == "b"
    world = World([too_long], [too_long])
    with pytest.raises(UpstreamContextLengthError):
        await world.open()


async def test_the_error_lists_every_attempt():
    world = World([DOWN], [UpstreamTimeoutError("slow")])
    with pytest.raises(AllAttemptsFailedError) as caught:
        await world.open()
    assert [(a.model, a.status, a.error) for a in caught.value.attempts] == [
        ("a", 503, "upstream_unavailable"),
        ("b", None, "upstream_timeout"),
    ]
    assert [model_id for model_id, _ in world.failures] == ["a", "b"]


async def test_when_all_are_throttled_the_soonest_retry_is_told():
    world = World(
        [UpstreamThrottledError("x", retry_after_s=9)],
        [UpstreamThrottledError("y", retry_after_s=4)],
    )
    with pytest.raises(AllAttemptsThrottledError) as caught:
        await world.open()
    assert caught.value.retry_after_s == 4
    # Throttled is not ill, but both are left alone for as long as they asked.
    assert [slot.circuit.state for slot in world.pool.slots()] == ["closed", "closed"]
    assert world.pool.unhealthy() == {"a", "b"}


async def test_a_model_that_does_not_begin_in_time_is_abandoned():
    world = World([ROLE, HANG], [TEXT], first_token_s=0.02)
    answer = await world.open()
    assert answer.deployment.spec.model_id == "b"
    assert world.providers[0].ended == 1
    assert world.attempts == [("a", "upstream_timeout"), ("b", None)]
    world = World([HANG], first_token_s=0.02)
    with pytest.raises(AllAttemptsTimedOutError):
        await world.open()


async def test_cancelling_ends_the_upstream_call_and_is_noted():
    world = World([ROLE, HANG])
    task = asyncio.create_task(world.open())
    while not world.providers[0].calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.providers[0].ended == 1
    assert world.attempts == [("a", "cancelled")]


async def test_an_answer_without_content_is_still_an_answer():
    world = World([ROLE])
    answer = await world.open()
    assert await read(world, answer) == [b"role"]


async def test_a_complete_answer_restores_the_health_of_a_model():
    world = World([TEXT])
    (slot,) = world.pool.slots()
    world.pool.lease("a").failed(DOWN)
    answer = await world.open()
    assert slot.circuit.state == "open"
    await read(world, answer)
    assert world.pool.unhealthy() == frozenset()


# --- asking again -------------------------------------------------------------------------------

REFUSED = UpstreamUnavailableError("refused", sent=False)


async def test_a_model_that_was_overloaded_for_a_moment_is_asked_again():
    world = World([], [TEXT], retries=1, failures=2)
    world.providers[0].scripts = ([REFUSED], [TEXT])
    answer = await world.open()
    assert answer.deployment.spec.model_id == "a"
    assert world.attempts == [("a", "upstream_unavailable"), ("a", None)]
    assert fallback_index(world.entry) == 0
    assert served_reason(world.entry) is Reason.KNOB


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_a_call_whose_kept_connection_was_lost_is_made_again_once_and_recorded(retries):
    world = World([], [TEXT], retries=retries)
    world.providers[0].scripts = ([LOST], [TEXT])
    answer = await world.open()
    await answer.aclose()
    assert [attempt.error for attempt in world.entry.attempts] == ["upstream_connection_lost", None]
    assert [call.fresh_connection for call in world.providers[0].calls] == [False, True]
    assert world.entry.attempts[0].usage.input_tokens == 7  # which the upstream may have read


async def test_a_call_is_made_again_only_where_the_budget_pays_for_both():
    world = World([LOST], [TEXT])
    world.entry.reserved_nusd = 100
    asked = []

    async def afford(_request, model_id, entry):
        asked.append((model_id, len(entry.attempts), entry.running.total_nusd))
        if len(asked) == 2:
            return False
        entry.running.begin(model_id, 100)
        return True

    answer = await world.open(afford=afford)
    await answer.aclose()
    assert answer.deployment.spec.model_id == "b"
    assert asked == [("a", 0, 0), ("a", 1, 0), ("b", 1, 0)]
    assert len(world.providers[0].calls) == 1


async def test_a_call_that_is_lost_twice_goes_to_the_next_model():
    world = World([LOST], [TEXT], failures=1)
    answer = await world.open()
    await answer.aclose()
    assert answer.deployment.spec.model_id == "b"
    assert len(world.providers[0].calls) == 2
    assert world.pool.unhealthy() == frozenset()


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_a_model_is_asked_again_so_often_and_then_left(retries):
    world = World([REFUSED], [TEXT], retries=retries, failures=100)
    await world.open()
    assert len(world.providers[0].calls) == 1 + retries


async def test_a_model_that_may_have_worked_for_it_is_not_asked_again():
    for script in ([UpstreamTimeoutError("slow")], [ROLE, DOWN_LATER]):
        world = World(script, [TEXT], retries=3, failures=100)
        await world.open()
        assert len(world.providers[0].calls) == 1


async def test_a_model_whose_circuit_opened_is_not_asked_again():
    world = World([REFUSED], [TEXT], retries=3, failures=2)
    await world.open()
    assert len(world.providers[0].calls) == 2


async def test_no_wait_goes_beyond_the_deadline_of_the_request():
    throttled = UpstreamThrottledError("429", status=429, retry_after_s=1.0)
    world = World([throttled], [throttled], retries=1, request_timeout_s=0.5)
    with pytest.raises(AllAttemptsThrottledError) as caught:
        await world.open()
    assert caught.value.retry_after_s == 1.0
    assert [len(provider.calls) for provider in world.providers] == [1, 1]


async def test_waiting_to_ask_again_counts_as_the_upstreams_time():
    world = World([], retries=1, failures=2)
    world.providers[0].scripts = ([REFUSED], [TEXT])
    await world.open()
    world.entry.answering()
    assert world.entry.upstream_wait_s >= 0.05
    assert world.entry.overhead_s < 0.05


async def test_another_deployment_of_the_model_is_asked_before_another_model():
    world = World([], [TEXT], retries=1)
    refusal = UpstreamMisconfiguredError("401", status=401)
    broken, sound = ScriptedProvider(refusal), ScriptedProvider(TEXT)
    world.place("a", {"x": broken, "y": sound}, retries=1)
    for _ in range(8):
        answer = await world.open()
        assert answer.deployment.upstream == "y"
        await answer.aclose()
    assert len(broken.calls) == 1  # then its circuit is open
    assert world.outstanding == 0


async def test_failures_are_told_with_their_deployment():
    world = World([DOWN])
    with pytest.raises(AllAttemptsFailedError):
        await world.open()
    (attempt,) = world.entry.attempts
    assert (attempt.model_id, attempt.upstream, attempt.status) == ("a", "scripted", 503)


async def test_when_something_asks_to_wait_the_client_is_told():
    world = World([UpstreamUnavailableError("503", status=503, retry_after_s=20)], [DOWN])
    with pytest.raises(AllAttemptsFailedError) as caught:
        await world.open()
    assert caught.value.retry_after_s == 20


# --- hedging ------------------------------------------------------------------------------------


async def test_a_silent_model_is_overtaken_by_the_next():
    world = World([ROLE, HANG], [ROLE, TEXT, MORE])
    answer = await world.open(hedge_after_s=0.0)
    assert await read(world, answer) == [b"role", b"text", b"more"]
    assert answer.deployment.spec.model_id == "b"
    assert world.attempts == [("b", None), ("a", "hedge_lost")]
    assert [call.role for call in world.entry.calls] == ["hedge", "answer"]
    assert [call.call_id for call in world.entry.calls] == ["d.0", "d.1"]
    assert world.providers[0].ended == 1
    assert world.outstanding == 0
    assert served_reason(world.entry) is Reason.FALLBACK


async def test_a_hedge_goes_to_who_is_still_in_time_then():
    slow, quick = Pace(ttft_s=5.0, tokens_per_s=10.0), Pace(ttft_s=0.1, tokens_per_s=1_000.0)
    world = World([HANG], [TEXT], [TEXT])
    for model_id, pace in (("b", slow), ("c", quick)):
        world.place(model_id, {"scripted": world.providers["abc".index(model_id)]}, pace=pace)
    limited = request(latency=LatencyTerms(max_ttft_s=1.0))
    plan = Hedged(("a", "b", "c"), 0.0)
    answer = await world.dispatcher.open(limited, plan, world.entry)
    assert answer.deployment.spec.model_id == "c"
    assert world.providers[1].calls == []
    await answer.aclose()


async def test_a_hedge_goes_to_nobody_who_cannot_be_had_by_then():
    go = asyncio.Event()
    world = World([go, HANG], [TEXT], [TEXT])
    task = asyncio.create_task(world.open(hedge_after_s=0.01))
    while not world.providers[0].calls:
        await asyncio.sleep(0)
    _, b, _ = world.pool.slots()
    world.pool.throttled(b, until=asyncio.get_running_loop().time() + 600.0)
    go.set()
    answer = await task
    assert answer.deployment.spec.model_id == "c"
    await answer.aclose()


async def test_a_hedge_may_wait_as_long_as_nine_of_ten_are_predicted_to_take():
    world = World([HANG], [TEXT])
    world.place("a", {"scripted": world.providers[0]}, pace=Pace(ttft_s=0.02, tokens_per_s=1e4))
    entry, plan = world.entry, Hedged(("a", "b"), None)
    upper_s = world.pool.times.latency("a", size_of(request(), "a", entry)).ttft_s_upper
    clock = asyncio.get_running_loop().time
    began = clock()
    answer = await world.dispatcher.open(request(), plan, entry)
    # A timer may be early by what the clock can tell apart.
    assert clock() - began >= 0.99 * upper_s > 0.02
    assert answer.deployment.spec.model_id == "b"
    await answer.aclose()


async def test_who_is_overtaken_by_a_hedge_is_expected_to_be_slower():
    world = World([HANG], [TEXT])
    size = size_of(request(), "a", world.entry)
    before = world.pool.times.latency("a", size)
    for _ in range(30):
        answer = await world.dispatcher.open(request(), Hedged(("a", "b"), 4.0), world.entry)
        assert answer.deployment.spec.model_id == "b"
        await answer.aclose()
    after = world.pool.times.latency("a", size)
    assert after.ttft_s > before.ttft_s
    assert after.ttft_s_upper > before.ttft_s_upper


async def test_who_does_not_begin_in_time_is_expected_to_be_slower():
    pace = Pace(ttft_s=0.002, tokens_per_s=1e4)
    world = World([HANG], [TEXT], first_token_s=0.02, pace=pace)
    size = size_of(request(), "a", world.entry)
    before = world.pool.times.latency("a", size)
    await (await world.open()).aclose()
    assert world.pool.times.latency("a", size).ttft_s_upper > before.ttft_s_upper


async def test_a_hedge_that_is_slower_is_dropped():
    go = asyncio.Event()
    world = World([go, TEXT], [HANG])
    task = asyncio.create_task(world.open(hedge_after_s=0.0))
    while not world.providers[1].calls:
        await asyncio.sleep(0)
    go.set()
    answer = await task
    assert await read(world, answer) == [b"text"]
    assert world.attempts == [("a", None), ("b", "hedge_lost")]
    assert world.providers[1].ended == 1
    assert fallback_index(world.entry) == 0


async def test_the_prompt_of_a_hedge_that_lost_is_paid():
    world = World([HANG], [TEXT])
    await read(world, await world.open(hedge_after_s=0.0))
    outcome = closed(world.entry, status=200, error=None)
    _, lost_call = outcome.calls
    assert (lost_call.role, lost_call.error) == (CallRole.ANSWER, "hedge_lost")
    assert lost_call.cost_usd == pytest.approx(7 * 1e-6)
    assert outcome.cost_usd == pytest.approx(7e-6 + 1 * 10e-6 + 7e-6)
    lost = Usage(input_tokens=7, output_tokens=0, estimated=True)
    assert [each.usage for each in outcome.calls] == [outcome.usage, lost]
    assert outcome.tokens == settled_tokens(world.entry) == 7 + 1 + 7


async def test_the_cost_is_unknown_when_that_of_a_lost_hedge_is():
    world = World([HANG], [TEXT], input_usd_per_mtok=None)
    await world.open(hedge_after_s=0.0)
    outcome = closed(world.entry, status=200, error=None)
    assert outcome.cost_usd is None


async def test_two_answers_in_the_same_moment_leave_one():
    go = asyncio.Event()
    world = World([go, TEXT], [go, TEXT, MORE])
    task = asyncio.create_task(world.open(hedge_after_s=0.0))
    while not world.providers[1].calls:
        await asyncio.sleep(0)
    go.set()
    answer = await task
    assert await read(world, answer) == [b"text"]
    assert world.attempts == [("a", None), ("b", "hedge_lost")]
    assert [provider.ended for provider in world.providers] == [1, 1]
    assert world.outstanding == 0


async def test_a_client_that_leaves_takes_both_calls_with_it():
    world = World([HANG], [HANG])
    task = asyncio.create_task(world.open(hedge_after_s=0.0))
    while not world.providers[1].calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [provider.ended for provider in world.providers] == [1, 1]
    assert world.attempts == [("a", "cancelled"), ("b", "cancelled")]
    assert world.outstanding == 0
    # Both may have read the prompt.
    assert told_cost_usd(world.entry) == pytest.approx(2 * 7e-6)


async def test_a_hedged_request_that_fails_everywhere_lists_every_attempt():
    world = World([DOWN], [DOWN], [DOWN])
    with pytest.raises(AllAttemptsFailedError) as caught:
        await world.open(hedge_after_s=60.0)
    assert [each.model for each in caught.value.attempts] == ["a", "b", "c"]


# --- the whole attempt --------------------------------------------------------------------------


async def test_a_stream_that_takes_too_long_ends_as_a_timeout_and_counts_against_it():
    world = World([TEXT, MORE, HANG], [TEXT], total_s=0.02)
    answer = await world.open()
    with pytest.raises(UpstreamTimeoutError, match=r"longer than 0\.02 s"):
        await read(world, answer)
    assert world.providers[0].ended == 1
    assert world.providers[1].calls == []
    assert world.outstanding == 0
    (first, _) = world.pool.slots()
    assert first.circuit.state == "open"
    assert world.failures == [("a", UpstreamTimeoutError)]


async def test_a_model_that_cannot_be_had_is_tried_last():
    world = World([TEXT], [DOWN])
    world.pool.lease("a").failed(UpstreamThrottledError("429", status=429, retry_after_s=60))
    answer = await world.open()
    assert answer.deployment.spec.model_id == "a"
    assert [model_id for model_id, _ in world.attempts] == ["b", "a"]
