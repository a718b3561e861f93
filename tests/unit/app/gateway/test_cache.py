import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from app.access.guard import ANONYMOUS, Caller
from app.gateway.cache import CachedAnswer, ResponseCache
from app.gateway.request import CacheMode
from app.keys import KeyRecord
from app.outcome import CacheState
from app.providers.base import Chunk
from app.stores.base import StoreError
from app.stores.memory_blobs import MemoryBlobs
from app.usage import Usage
from routers.decisions import Reason
from routers.models import Capability, Demand
from routers.objectives import MaxQualityLoss
from tests.support.completions import COMPLETIONS, as_stream, text_answer
from tests.support.policies import policy, routed
from tests.support.transcripts import SYSTEM, TASK, THANKS, body

QUESTION = body(SYSTEM, TASK, temperature=1, seed=7)
ANSWER = json.dumps(text_answer("It is 42.")).encode()
USAGE = Usage(input_tokens=9, output_tokens=5, cached_input_tokens=4)
TOOLS = Demand(input_tokens=1, input_tokens_upper=1, capabilities=frozenset({Capability.TOOLS}))


class LostStore:
    """A store that cannot be asked."""

    async def get(self, name):
        raise StoreError(f"no {name}")

    async def put(self, name, value, *, lifetime_s, owner):
        raise StoreError(f"no room for {name} of {owner}: {len(value)} bytes, {lifetime_s} s")


def caller(key_id, *, cache=True):
    key = KeyRecord(key_id=key_id, digest="0" * 64, name=key_id, created_at=0.0, cache=cache)
    return Caller(key, key_id, None)


UNCACHED = caller("key-1", cache=False)


def asking(fields=QUESTION, **changes):
    """Return a request of a key that wants the cache."""
    return routed(fields, **({"caller": caller("key-1")} | changes))


class World:
    """A cache, and requests that make their answers themselves."""

    def __init__(self, *, answers=None, wait_s=60.0, max_answer_bytes=10_000, **options):
        self.now_s = 1e9
        self.store_errors = []
        self.made = 0
        self.cache = ResponseCache(
            answers=MemoryBlobs(clock=lambda: self.now_s) if answers is None else answers,
            lifetime_s=3600.0,
            **{"version": "v", **options},
            max_answer_bytes=max_answer_bytes,
            wait_s=wait_s,
            on_store_error=self.store_errors.append,
        )

    async def ask(self, fields=QUESTION, *, answer=ANSWER, chunks=None, usage=USAGE, **options):
        """Ask and, where there is no answer, make one; return the state and the answer's bytes."""
        reason = options.pop("reason", Reason.KNOB)
        async with self.cache.open(asking(fields, **options)) as seat:
            if seat.answer is None:
                self.made += 1
                for chunk in [Chunk(data=answer)] if chunks is None else chunks:
                    seat.saw(chunk)
                await seat.keep(model_id="small", usage=usage, reason=reason)
        return seat.state, None if seat.answer is None else seat.answer.body


async def states(world, *asks):
    return [(await world.ask(**ask))[0] for ask in asks]


HIT, MISS, BYPASS = CacheState.HIT, CacheState.MISS, CacheState.BYPASS


# --- what is the same question ------------------------------------------------------------------


async def test_the_same_question_is_answered_once_byte_for_byte():
    world = World()
    assert await world.ask() == (MISS, None)
    assert await world.ask() == (HIT, ANSWER)
    assert world.made == 1


async def test_the_order_of_keys_and_the_spelling_of_json_do_not_matter():
    world = World()
    await world.ask()
    document = {key: json.loads(value) for key, value in QUESTION.items()}
    backwards = {
        key: json.dumps(value, indent=2, sort_keys=True).encode()
        for key, value in reversed(document.items())
    }
    escaped = {**QUESTION, "messages": QUESTION["messages"].replace(b"fail", b"f\\u0061il")}
    for fields in (backwards, escaped):
        assert (await world.ask(fields))[0] is HIT


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": json.dumps([SYSTEM, THANKS]).encode()},
        {"messages": json.dumps([TASK]).encode()},
        {"messages": json.dumps([TASK, SYSTEM]).encode()},
        {"temperature": b"0.5"},
        {"seed": b"8"},
        {"seed": b"12345678901234567890123"},
        {"top_p": b"0.9"},
        {"n": b"2"},
        {"max_tokens": b"5"},
        {"response_format": b'{"type":"json_object"}'},
        {"stop": b'["\\n"]'},
        {"logit_bias": b'{"50256":-100}'},
        {"reasoning_effort": b'"high"'},
        {"service_tier": b'"flex"'},
        {"a_field_of_the_future": b"1"},
    ],
    ids=str,
)
async def test_any_other_field_makes_another_question(changes):
    world = World()
    await world.ask()
    assert (await world.ask({**QUESTION, **changes}))[0] is MISS


async def test_numbers_beyond_floats_are_told_apart():
    world = World()
    asks = [{"fields": {**QUESTION, "x": number}} for number in (b"1e400", b"1e401", b"1e400")]
    assert await states(world, *asks) == [MISS, MISS, HIT]


@pytest.mark.parametrize(
    "changes",
    [
        {"stream_options": b'{"include_usage":true}'},
        {"user": b'"jane"'},
        {"safety_identifier": b'"x"'},
        {"metadata": b'{"run":"2"}'},
        {"store": b"false"},
        {"prompt_cache_key": b'"a"'},
        {"prompt_cache_retention": b'"24h"'},
    ],
    ids=str,
)
async def test_what_no_model_sees_does_not_matter(changes):
    world = World()
    await world.ask()
    assert (await world.ask({**QUESTION, **changes}))[0] is HIT


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": policy(name="cheap")},
        {"policy": policy(version="v2")},
        {"objective": MaxQualityLoss(0.02)},
        {"allowed_model_ids": frozenset({"small"})},
        {"max_cost_usd": 0.5},
        {"policy": None, "pinned_model_id": "small"},
        {"headers": ((b"openai-beta", b"x=1"),)},
        {"caller": caller("key-2")},
    ],
    ids=" and ".join,
)
async def test_another_target_or_tenant_makes_another_question(changes):
    world = World()
    await world.ask()
    assert (await world.ask(**changes))[0] is MISS


async def test_another_configuration_makes_other_questions():
    blobs = MemoryBlobs()
    for version in ("v1", "v2"):
        assert (await World(answers=blobs, version=version).ask())[0] is MISS


async def test_an_operator_may_do_without():
    world = World(enabled=False)
    assert await states(world, {}, {"cache": CacheMode.ON}) == [BYPASS, BYPASS]


async def test_two_tenants_never_share_an_answer():
    world = World()
    await world.ask(caller=caller("key-1"), answer=json.dumps(text_answer("of tenant 1")).encode())
    assert await world.ask(caller=caller("key-2")) == (MISS, None)
    assert await world.ask(caller=caller("key-2")) == (HIT, ANSWER)


async def test_names_hold_nothing_of_the_prompt():
    names = []

    class Watched(MemoryBlobs):
        async def put(self, name, value, *, lifetime_s, owner):
            names.append((name, owner))
            await super().put(name, value, lifetime_s=lifetime_s, owner=owner)

    world = World(answers=Watched())
    await world.ask(caller=caller("jane"))
    [(name, owner)] = names
    assert owner == "jane"
    prefix, _, digits = name.partition("-")
    assert (prefix, len(digits)) == ("answer", 64)
    assert set(digits) <= set("0123456789abcdef")


async def test_a_large_question_is_named_like_a_small_one():
    world = World()
    large = {**QUESTION, "padding": json.dumps("x" * 200_000).encode()}
    assert await states(world, {"fields": large}, {"fields": large}, {}) == [MISS, HIT, MISS]


# --- who may use it -----------------------------------------------------------------------------


async def test_nothing_is_cached_unless_key_or_request_asks_for_it():
    world = World()
    off = {"caller": UNCACHED}
    nobody = {"caller": ANONYMOUS}
    assert await states(world, off, off, nobody) == [BYPASS] * 3
    on = {**off, "cache": CacheMode.ON}
    assert await states(world, on, on, off) == [MISS, HIT, BYPASS]


async def test_a_request_may_opt_out():
    world = World()
    await world.ask()
    assert (await world.ask(cache=CacheMode.OFF))[0] is BYPASS


async def test_no_store_takes_what_is_there_and_keeps_nothing():
    world = World()
    no_store = {"cache": CacheMode.NO_STORE}
    assert await states(world, no_store, no_store, {}, no_store) == [MISS, MISS, MISS, HIT]
    assert (await world.ask(caller=UNCACHED, **no_store))[0] is BYPASS


@pytest.mark.parametrize(
    "effects",
    [
        {"demand": TOOLS},
        {"fields": {**QUESTION, "web_search_options": b"{}"}},
        {"fields": {**QUESTION, "store": b"true"}},
    ],
)
async def test_tools_and_other_effects_are_never_cached_unless_asked(effects):
    world = World()
    assert await states(world, effects, effects) == [BYPASS, BYPASS]
    asked = {**effects, "cache": CacheMode.ON}
    assert await states(world, asked, asked) == [MISS, HIT]


@pytest.mark.parametrize("mode", [None, CacheMode.ON, CacheMode.NO_STORE])
@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
async def test_what_rests_on_the_providers_memory_is_never_cached(name, mode):
    fields = {**QUESTION, name: b'"id_1"'}
    assert (await World().ask(fields, cache=mode))[0] is BYPASS


# --- what is kept -------------------------------------------------------------------------------


def ended(reason):
    return json.dumps(text_answer("x", finish_reason=reason)).encode()


@pytest.mark.parametrize(
    "ask",
    [
        {"usage": None},
        {"usage": Usage(input_tokens=1, output_tokens=1, estimated=True)},
        {"reason": Reason.ROUTER_ERROR},
        {"reason": Reason.ROUTER_TIMEOUT},
        {"reason": Reason.FALLBACK},
        {"answer": ended("content_filter")},
        {"answer": ended(None)},
        {"answer": b'{"choices": []}'},
        {"answer": b'{"choices": [{"finish_reason": "stop"}]}'},
        {"answer": b'{"error": {}}'},
        {"answer": b"<html>"},
        {"answer": json.dumps(text_answer("x" * 10_000)).encode()},
        {"stream": True, "chunks": [Chunk(data=b"data: {oops\n\n")]},
        {"stream": True, "chunks": []},
    ],
)
async def test_an_answer_that_is_not_sound_is_not_kept(ask):
    world = World()
    assert await states(world, ask, {}) == [MISS, MISS]
    assert (await world.ask())[0] is HIT


async def test_an_answer_that_was_cut_is_not_kept():
    world = World()

    async def cut(*, stream):
        async with world.cache.open(asking(stream=stream)) as seat:
            seat.saw(Chunk(data=ANSWER))
            raise ConnectionError("cut")

    for stream in (False, True):
        with pytest.raises(ConnectionError):
            await cut(stream=stream)
    assert (await world.ask())[0] is MISS


async def test_answers_are_forgotten_in_time():
    world = World()
    await world.ask()
    world.now_s += 3599
    assert (await world.ask())[0] is HIT
    world.now_s += 2
    assert (await world.ask())[0] is MISS


@pytest.mark.parametrize("name", COMPLETIONS)
async def test_a_streamed_answer_serves_both_kinds_of_request(name):
    world = World()
    whole = json.dumps(COMPLETIONS[name]).encode()
    chunks = as_stream(COMPLETIONS[name])
    assert (await world.ask(chunks=chunks, stream=True, cache=CacheMode.ON))[0] is MISS
    state, found = await world.ask(cache=CacheMode.ON)
    assert state is HIT
    assert json.loads(found) == json.loads(whole)
    assert (await world.ask(stream=True, cache=CacheMode.ON)) == (HIT, found)


async def test_the_model_that_answered_is_told():
    world = World()
    await world.ask()
    async with world.cache.open(asking()) as seat:
        assert seat.answer == CachedAnswer(body=ANSWER, model_id="small")


# --- the store ----------------------------------------------------------------------------------


async def test_a_lost_store_is_a_miss():
    world = World(answers=LostStore())
    assert await states(world, {}, {}) == [MISS, MISS]
    assert world.store_errors == ["get", "put", "get", "put"]


async def test_an_answer_of_another_release_is_a_miss():
    class Odd(MemoryBlobs):
        async def get(self, name):
            return b"\x92\x01" if name else None

    assert (await World(answers=Odd()).ask())[0] is MISS


# --- many at once -------------------------------------------------------------------------------


class Crowd:
    """Identical requests, each in a task that stops where it has to make the answer itself."""

    def __init__(self, world, n):
        self.world = world
        self.makers = asyncio.Queue()
        self.waited_s = {}
        self.tasks = [asyncio.create_task(self._ask(i)) for i in range(n)]

    async def _ask(self, i):
        async with self.world.cache.open(asking()) as seat:
            self.waited_s[i] = seat.waited_s
            if seat.answer is None:
                go_on = asyncio.get_running_loop().create_future()
                self.makers.put_nowait((i, go_on))
                await go_on
                seat.saw(Chunk(data=ANSWER))
                usage = go_on.result()
                await seat.keep(model_id="small", usage=usage, reason=Reason.KNOB)
        return seat.state

    async def maker(self):
        """Return who makes the answer now, and the future that lets it finish with a usage."""
        async with asyncio.timeout(60):
            return await self.makers.get()

    async def states(self):
        async with asyncio.timeout(60):
            return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_crowd_of_identical_questions_asks_once():
    crowd = Crowd(World(), 50)
    _, go_on = await crowd.maker()
    go_on.set_result(USAGE)
    assert (await crowd.states()).count(HIT) == 49
    assert crowd.makers.empty()


@pytest.mark.virtual_time
async def test_who_waits_for_another_is_told_how_long():
    crowd = Crowd(World(), 3)
    first, go_on = await crowd.maker()
    asyncio.get_running_loop().pass_time(0.5)
    go_on.set_result(USAGE)
    await crowd.states()
    assert crowd.waited_s == {i: 0.0 if i == first else 0.5 for i in range(3)}


async def test_if_the_first_is_cancelled_exactly_one_takes_over():
    crowd = Crowd(World(), 10)
    first, _ = await crowd.maker()
    crowd.tasks[first].cancel()
    second, go_on = await crowd.maker()
    assert second != first
    assert crowd.makers.empty()
    go_on.set_result(USAGE)
    states = await crowd.states()
    assert isinstance(states[first], asyncio.CancelledError)
    assert states.count(HIT) == 8
    assert states[second] is MISS


async def test_if_the_first_fails_exactly_one_takes_over():
    crowd = Crowd(World(), 5)
    first, go_on = await crowd.maker()
    go_on.set_exception(ConnectionError("upstream"))
    _, go_on = await crowd.maker()
    assert crowd.makers.empty()
    go_on.set_result(USAGE)
    states = await crowd.states()
    assert isinstance(states[first], ConnectionError)
    assert states.count(HIT) == 3


async def test_cancelling_those_who_wait_leaves_the_first_alone():
    crowd = Crowd(World(), 4)
    first, go_on = await crowd.maker()
    waiting = [i for i in range(4) if i != first]
    for i in waiting[:2]:
        crowd.tasks[i].cancel()
    await asyncio.wait([crowd.tasks[i] for i in waiting[:2]])
    go_on.set_result(USAGE)
    states = await crowd.states()
    assert states[first] is MISS
    assert states[waiting[2]] is HIT


async def test_an_answer_that_is_not_kept_does_not_make_the_others_queue_up():
    crowd = Crowd(World(), 5)
    _, go_on = await crowd.maker()
    go_on.set_result(None)  # no usage: not kept
    others = [await crowd.maker() for _ in range(4)]  # all at once
    for _, go_on in others:
        go_on.set_result(USAGE)
    assert await crowd.states() == [MISS] * 5


async def test_nobody_waits_longer_than_allowed():
    crowd = Crowd(World(wait_s=0.0), 3)
    makers = [await crowd.maker() for _ in range(3)]
    for _, go_on in makers:
        go_on.set_result(USAGE)
    assert await crowd.states() == [MISS] * 3


async def test_nothing_is_left_behind():
    world = World()
    for n, cancel in ((3, True), (3, False)):
        crowd = Crowd(world, n)
        if cancel:
            for task in crowd.tasks:
                task.cancel()
        else:
            (await crowd.maker())[1].set_result(USAGE)
        await crowd.states()
    assert world.cache.n_flights == 0


async def test_different_questions_do_not_wait_for_each_other():
    world = World()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(world.cache.open(asking()))
        other = asking({**QUESTION, "seed": b"9"})
        second = await stack.enter_async_context(world.cache.open(other))
        assert (first.state, second.state) == (MISS, MISS)
