import asyncio
import random

import pytest

from app.errors import (
    AllAttemptsFailedError,
    AllAttemptsThrottledError,
    AllAttemptsTimedOutError,
    UpstreamContextLengthError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.gateway.dispatch import Dispatcher
from app.gateway.ledger import LedgerEntry
from app.gateway.pool import DeploymentPool
from app.gateway.request import RouteRequest
from app.providers._base import Chunk
from routers.types import Conversation, Decision, Demand, Reason
from tests.support.providers import HANG, ScriptedProvider, deployment

ROLE = Chunk(data=b"role", has_content=False)
TEXT = Chunk(data=b"text", content_events=1, content_chars=4)
MORE = Chunk(data=b"more", content_events=1, content_chars=4)
DOWN = UpstreamUnavailableError("down", status=503)


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
        "fields": {},
        "stream": True,
        "include_usage": False,
        "headers": (),
    }
    return RouteRequest(**{**values, **changes})


class World:
    """Models a, b, c on scripted providers, and everything that a dispatch leaves behind."""

    def __init__(self, *scripts, request_timeout_s=600.0, **options):
        loop = asyncio.get_running_loop()
        self.providers = [ScriptedProvider(*script) for script in scripts]
        self.model_ids = [chr(ord("a") + i) for i in range(len(scripts))]
        self.failures = []
        self.pool = DeploymentPool(
            {
                model_id: [deployment(model_id, provider, **options)]
                for model_id, provider in zip(self.model_ids, self.providers, strict=True)
            },
            clock=loop.time,
            failures=1,
            rng=random.Random(0),
        )
        self.dispatcher = Dispatcher(
            pool=self.pool,
            clock=loop.time,
            rng=random.Random(0),
            on_failure=lambda deployment, error: self.failures.append(
                (deployment.spec.model_id, type(error))
            ),
            request_timeout_s=request_timeout_s,
        )
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

    async def open(self, **options):
        return await self.dispatcher.open(request(), self.model_ids, self.entry, **options)

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


@pytest.mark.parametrize("script", [[DOWN], [ROLE, DOWN], [UpstreamThrottledError("429")]])
async def test_a_failure_before_the_first_content_falls_over_and_nothing_of_it_is_seen(script):
    world = World(script, [TEXT])
    answer = await world.open()
    assert await read(world, answer) == [b"text"]
    assert [model_id for model_id, _ in world.attempts] == ["a", "b"]
    assert world.entry.fallback_index == 1
    assert world.providers[0].ended == 1


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
