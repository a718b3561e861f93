from dataclasses import replace

import pytest

from app.access.guard import Caller
from app.gateway.affinity import Affinity, place
from app.gateway.policy import StallRule
from app.head import NO_HEAD, RequestHead
from app.stores.base import StoreError
from app.stores.memory_blobs import MemoryBlobs
from app.usage import Usage
from routers.decision.switching import SessionReason, SwitchRule, Verdict
from routers.decisions import Reason
from routers.objectives import CostQuality
from tests.support.policies import decided, policy, routed
from tests.support.transcripts import (
    DONE,
    OPEN_TOOL_LOOPS,
    SEALED_REASONING,
    SYSTEM,
    TASK,
    THANKS,
    body,
    calling,
    result,
    turns_of,
)

FIRST = body(SYSTEM, TASK)
LATER = body(SYSTEM, TASK, DONE, THANKS)
SIDE = body({"role": "system", "content": "Give the session a title."}, THANKS)
USAGE = Usage(input_tokens=900, output_tokens=100)
LONG = Usage(input_tokens=90_000, output_tokens=1_000)
CLAUDE_CODE = ((b"x-claude-code-session-id", b"s-1"),)


class LostStore:
    """A store that cannot be asked."""

    async def get(self, name):
        raise StoreError(f"no {name}")

    async def put(self, name, value, *, lifetime_s):
        raise StoreError(f"no room for {name}: {len(value)} bytes, {lifetime_s} s")


class Recorded:
    """A store that notes what is asked of it."""

    def __init__(self, blobs):
        self.blobs = blobs
        self.asked = []

    async def get(self, name):
        self.asked.append("get")
        return await self.blobs.get(name)

    async def put(self, name, value, *, lifetime_s):
        self.asked.append("put")
        await self.blobs.put(name, value, lifetime_s=lifetime_s)


def placed(request, head=NO_HEAD):
    return place(request, head, turns_of(request.fields))


class World:
    """Conversations over one store, with a clock that tests move."""

    def __init__(self, blobs=None):
        self.now_s = 1e9
        self.store_errors = []
        self.blobs = MemoryBlobs(clock=lambda: self.now_s) if blobs is None else blobs
        self.affinity = Affinity(
            blobs=self.blobs, now=lambda: self.now_s, on_store_error=self.store_errors.append
        )

    async def follow(self, fields, choice, *, headers=(), scope="key-1", **changes):
        request = placed(
            routed(fields, caller=Caller(None, scope, None), **changes), RequestHead(headers)
        )
        return await self.affinity.follow(request, decided(choice))

    async def turn(self, fields, choice, *, served=None, usage=USAGE, **options):
        """Take one turn to its end; return who served it and the reason."""
        turn = await self.follow(fields, choice, **options)
        served = served or turn.verdict.decision.model_id
        await self.affinity.remember(turn, served_model_id=served, usage=usage)
        return served, turn.reason(served)


async def test_a_conversation_stays_on_its_model_while_a_switch_gains_too_little():
    world = World()
    # At $0.1 a unit of quality, `large` gains 0.1 * 0.2 - 0.019 = $0.001; the 91,000 cached
    # tokens save $0.819 on `small`.
    assert await world.turn(FIRST, "small", usage=LONG) == ("small", SessionReason.INITIALIZE)
    turn = await world.follow(LATER, "large")
    assert turn.verdict.decision.model_id == "small"
    assert turn.verdict.decision.reason is Reason.STICKY
    assert turn.verdict.decision.fallbacks == ("large",)
    assert turn.verdict.reason is SessionReason.RETAIN


async def test_a_cold_prefix_cache_holds_nobody_back():
    world = World()
    await world.turn(FIRST, "small", usage=LONG)
    world.now_s += 301
    assert await world.turn(LATER, "large") == ("large", SessionReason.SWITCH)
    assert await world.turn(LATER, "large") == ("large", SessionReason.UNCHANGED)


async def test_a_conversation_is_forgotten_after_its_lifetime():
    world = World()
    await world.turn(FIRST, "small", usage=LONG)
    world.now_s += 3601
    assert await world.turn(LATER, "large") == ("large", SessionReason.INITIALIZE)


async def test_a_clock_that_runs_behind_counts_as_now():
    world = World()
    await world.turn(FIRST, "small", usage=LONG)
    world.now_s -= 5
    assert (await world.turn(LATER, "large"))[1] is SessionReason.RETAIN


async def test_another_key_with_the_same_prompt_starts_afresh():
    world = World()
    await world.turn(FIRST, "small", usage=LONG)
    assert await world.turn(LATER, "large", scope="key-2") == ("large", SessionReason.INITIALIZE)


@pytest.mark.parametrize("transcript", OPEN_TOOL_LOOPS.values(), ids=OPEN_TOOL_LOOPS)
async def test_a_tool_loop_never_changes_model_midway(transcript):
    world = World()
    await world.turn(body(*transcript[: transcript.index(TASK) + 1]), "small")
    world.now_s += 1800  # whatever the prefix cache says
    turn = await world.follow(body(*transcript), "large")
    assert turn.verdict.decision.model_id == "small"
    assert turn.verdict.decision.fallbacks == ()
    assert turn.verdict.reason is SessionReason.LOCKED_TOOLS


async def test_a_long_agent_run_stays_on_one_model_however_the_router_wavers():
    world = World()
    transcript = [SYSTEM, TASK]
    served = [(await world.turn(body(*transcript), "large"))[0]]
    for round_no in range(20):
        ids = [f"{round_no}-{each}" for each in range(1 + round_no % 3)]
        transcript += [calling(*ids), *map(result, ids)]
        world.now_s += 400
        wavering = ("small", "large")[round_no % 2]
        served.append((await world.turn(body(*transcript), wavering))[0])
    assert set(served) == {"large"}
    transcript += [DONE, THANKS]
    world.now_s += 400
    assert await world.turn(body(*transcript), "small") == ("small", SessionReason.SWITCH)


@pytest.mark.parametrize("answer", SEALED_REASONING.values(), ids=SEALED_REASONING)
async def test_signed_reasoning_goes_back_to_the_model_that_signed_it(answer):
    world = World()
    await world.turn(FIRST, "small")
    world.now_s += 1800
    turn = await world.follow(body(SYSTEM, TASK, answer, THANKS), "large")
    assert turn.verdict.decision.model_id == "small"
    assert turn.verdict.reason is SessionReason.LOCKED_REASONING


async def test_a_locked_conversation_of_unknown_origin_is_decided_and_says_so():
    turn = await World().follow(body(TASK, calling("a"), result("a")), "large")
    assert turn.verdict == Verdict(decision=decided("large"), reason=SessionReason.UNKNOWN_ORIGIN)


async def test_a_fallback_takes_the_conversation_along():
    world = World()
    await world.turn(FIRST, "small", usage=LONG)
    assert await world.turn(LATER, "large", served="large", usage=LONG) == (
        "large",
        SessionReason.MOVED_UNHEALTHY,
    )
    assert await world.turn(LATER, "small") == ("large", SessionReason.RETAIN)


async def test_a_switch_that_fails_back_to_the_old_model_is_none():
    world = World()
    await world.turn(FIRST, "small")
    world.now_s += 301
    assert await world.turn(LATER, "large", served="small") == ("small", SessionReason.RETAIN)


async def test_a_first_turn_that_falls_back_is_still_a_first_turn():
    assert await World().turn(FIRST, "small", served="large") == (
        "large",
        SessionReason.INITIALIZE,
    )


async def test_a_first_question_costs_no_round_trip_before_its_answer():
    store = Recorded(MemoryBlobs())
    world = World(store)
    await world.follow(FIRST, "small")
    assert store.asked == []
    await world.turn(FIRST, "small")
    assert store.asked == ["put"]
    await world.turn(LATER, "small")
    assert store.asked == ["put", "get", "put"]


async def test_a_lost_store_costs_stickiness_and_nothing_else():
    world = World(LostStore())
    assert await world.turn(FIRST, "small") == ("small", SessionReason.INITIALIZE)
    assert await world.turn(LATER, "large") == ("large", SessionReason.STORE_UNAVAILABLE)
    assert world.store_errors == ["put", "get", "put"]


async def test_a_record_of_another_release_is_as_good_as_none():
    world = World()
    request = placed(routed(LATER))
    for odd in (b"", b"\xc1", b"\x90", b"\x91\x01", b"not msgpack"):
        await world.blobs.put(request.session.name, odd, lifetime_s=60)
        turn = await world.affinity.follow(request, decided("large"))
        assert turn.verdict.reason is SessionReason.INITIALIZE


async def test_nothing_of_a_prompt_is_stored():
    seen = []

    class Watched(MemoryBlobs):
        async def put(self, name, value, *, lifetime_s):
            seen.append(name.encode() + value)
            await super().put(name, value, lifetime_s=lifetime_s)

    world = World(Watched())
    canary = {"role": "user", "content": "canary-5f1c"}
    for headers in ((), CLAUDE_CODE, ((b"x-session-id", b"canary-5f1c"),)):
        fields = body({"role": "system", "content": "canary-5f1c"}, canary, DONE, THANKS)
        await world.turn(fields, "small", headers=headers, scope="canary-5f1c")
    assert len(seen) == 3
    assert not any(b"canary" in each or b"lock file" in each for each in seen)


# --- sessions of coding agents ------------------------------------------------------------------


async def test_a_side_call_of_an_agent_does_not_move_its_main_conversation():
    world = World()
    await world.turn(FIRST, "large", headers=CLAUDE_CODE)
    assert await world.turn(SIDE, "small", headers=CLAUDE_CODE) == (
        "small",
        SessionReason.INITIALIZE,
    )
    looping = body(SYSTEM, TASK, calling("a"), result("a"))
    assert await world.turn(looping, "small", headers=CLAUDE_CODE) == (
        "large",
        SessionReason.LOCKED_TOOLS,
    )


async def test_an_agent_that_drops_its_oldest_messages_keeps_its_model():
    world = World()
    await world.turn(FIRST, "large", headers=CLAUDE_CODE)
    shortened = body(SYSTEM, {"role": "user", "content": "Summary: …"}, calling("a"), result("a"))
    assert await world.turn(shortened, "small", headers=CLAUDE_CODE) == (
        "large",
        SessionReason.LOCKED_TOOLS,
    )


async def test_a_stated_session_sticks_whatever_is_in_its_messages():
    world = World()
    stated = ((b"x-session-id", b"s-1"),)
    await world.turn(FIRST, "small", headers=stated, usage=LONG)
    assert (await world.turn(SIDE, "large", headers=stated))[1] is SessionReason.RETAIN


async def test_only_the_newest_threads_of_a_session_are_kept():
    world = World()
    for number in range(6):
        fields = body({"role": "user", "content": f"thread {number}"})
        await world.turn(fields, "small", headers=CLAUDE_CODE)

    async def reason(number):
        fields = body({"role": "user", "content": f"thread {number}"})
        return (await world.follow(fields, "small", headers=CLAUDE_CODE)).verdict.reason

    assert [await reason(number) for number in (0, 1, 2, 5)] == [
        SessionReason.INITIALIZE,
        SessionReason.INITIALIZE,
        SessionReason.UNCHANGED,
        SessionReason.UNCHANGED,
    ]


# --- off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"affinity": False}, {"policy": policy(affinity=None)}])
async def test_without_affinity_the_router_decides_every_turn(changes):
    store = Recorded(MemoryBlobs())
    world = World(store)
    for fields in (FIRST, LATER, body(TASK, calling("a"), result("a"))):
        turn = await world.follow(fields, "large", **changes)
        assert turn.verdict == Verdict(decision=decided("large"), reason=SessionReason.OFF)
        await world.affinity.remember(turn, served_model_id="large", usage=USAGE)
    assert store.asked == []


async def test_a_pinned_model_has_no_session():
    assert await World().follow(LATER, "small", pinned_model_id="small") is None
    assert await World().follow(LATER, "small", policy=None, pinned_model_id="small") is None


def test_an_upstream_never_sees_the_session_id_of_a_routed_request():
    fields = {**FIRST, "session_id": b'"s-1"', "x": b"1"}
    for request in (routed(fields), routed(fields, affinity=False)):
        assert placed(request).fields == {**FIRST, "x": b"1"}
    pinned = routed(fields, pinned_model_id="small")
    assert placed(pinned).body is pinned.body


async def test_the_margin_of_the_policy_holds():
    world = World()
    slow = policy()
    slow = replace(
        slow, affinity=replace(slow.affinity, rule=SwitchRule(cache_lifetime_s=0, margin_usd=0.5))
    )
    await world.turn(FIRST, "small", policy=slow)
    assert (await world.turn(LATER, "large", policy=slow))[1] is SessionReason.RETAIN


STALLING = policy(stalls=StallRule(cost_quality=(0.9, 1.0), housekeeping_cost_quality=0.0))


def failing(n, *more):
    loop = [each for i in range(n) for each in (calling(f"{i}"), result(f"{i}", "Error: no"))]
    return body(SYSTEM, TASK, *loop, *more)


async def stalled(world, fields, choice):
    return await world.turn(fields, choice, usage=LONG, policy=STALLING, objective=CostQuality(0.5))


async def test_a_task_that_does_not_get_on_goes_to_the_better_model_once():
    world = World()
    assert (await stalled(world, FIRST, "small"))[0] == "small"
    assert await stalled(world, failing(2), "large") == ("small", SessionReason.LOCKED_TOOLS)
    # Results of tools are for the better model, too, and stay with it from then on.
    assert await stalled(world, failing(3), "large") == ("large", SessionReason.STALLED)
    assert await stalled(world, failing(4), "small") == ("large", SessionReason.LOCKED_TOOLS)
    assert await stalled(world, failing(4), "large") == ("large", SessionReason.LOCKED_TOOLS)


async def test_a_task_that_does_not_get_on_goes_to_no_worse_model():
    world = World()
    await stalled(world, FIRST, "large")
    assert await stalled(world, failing(3), "small") == ("large", SessionReason.LOCKED_TOOLS)


async def test_sealed_reasoning_holds_a_task_that_does_not_get_on():
    world = World()
    await stalled(world, FIRST, "small")
    sealed = next(iter(SEALED_REASONING.values()))
    fields = failing(3, sealed, calling("z"), result("z", "Error: no"))
    assert await stalled(world, fields, "large") == ("small", SessionReason.LOCKED_REASONING)


async def test_the_model_that_a_stalled_task_goes_to_is_another_one():
    world = World()
    await stalled(world, FIRST, "small")
    turn = await world.follow(failing(3), "large", policy=STALLING, objective=CostQuality(0.5))
    assert turn.leaves_for(STALLING.candidates[1])
    held = await world.follow(failing(3), "large")
    assert not held.leaves_for(STALLING.candidates[1])
