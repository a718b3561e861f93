"""Whether servers take as long as theory and a token-by-token count say."""

import math
from dataclasses import replace

import numpy as np
import pytest

from loadtest.sim.arrivals import poisson
from loadtest.sim.boxes import Box, Hosted
from loadtest.sim.fleet import Place
from loadtest.sim.mixes import HEAVY_LIGHT, conversations, erlang_wait_s, mixed
from loadtest.sim.servers import BatchServer, SlotServer, Speed
from loadtest.sim.stubs import StubServer
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import World


def rng(seed=0):
    return np.random.default_rng(seed)


def requests(*rows):
    """Return requests of (arrives, prompt, answer)."""
    columns = list(zip(*rows, strict=True))
    return Traffic(
        arrives_s=np.array(columns[0], float),
        input_tokens=np.array(columns[1]),
        output_tokens=np.array(columns[2]),
    )


def alone(traffic, server):
    return World(traffic, [Place(name="only", server=server)], seed=0).run()


@pytest.mark.parametrize("slots", [1, 4])
def test_waits_are_those_of_queueing_theory(slots):
    arrives = poisson(7.0, 3_000, rng(3))
    traffic = Traffic(
        arrives_s=arrives,
        input_tokens=np.ones(len(arrives), int),
        output_tokens=np.ones(len(arrives), int),
        effort=rng(4).exponential(1.0, len(arrives)),
    )
    mean_s = 0.1 * slots
    result = alone(traffic, SlotServer((traffic.effort * mean_s).tolist(), slots=slots))
    assert result.mean_s == pytest.approx(mean_s + erlang_wait_s(7.0, mean_s, slots), rel=0.08)


SPEED = Speed(prefill_s_per_token=1e-3, decode_s_per_token=1e-5, decode_s=2e-3, prefill_s=5e-3)


def token_by_token(traffic, speed):
    """Return when answers end on the same instance, one step after another."""
    waiting, running, now, ends, came = [], {}, 0.0, {}, 0
    arrives = traffic.arrives_s.tolist()
    while len(ends) < len(traffic):
        while came < len(traffic) and arrives[came] <= now:
            waiting.append(came)
            came += 1
        if not waiting and not running:
            now = arrives[came]
            continue
        if waiting:
            request = waiting.pop(0)
            now += speed.prefill_s + speed.prefill_s_per_token * traffic.input_tokens[request]
            running[request] = 1
        else:
            tokens = sum(traffic.input_tokens[each] + n for each, n in running.items())
            now += speed.decode_s + speed.decode_s_per_token * tokens
            running = {each: n + 1 for each, n in running.items()}
        for request in [r for r, n in running.items() if n >= traffic.output_tokens[r]]:
            del running[request]
            ends[request] = now
    return np.array([ends[request] for request in range(len(traffic))])


def test_a_batch_advanced_in_closed_form_ends_when_one_counted_by_tokens_does():
    draw = rng(5)
    traffic = mixed(poisson(1.2, 120, draw), HEAVY_LIGHT, draw)
    counted = token_by_token(traffic, SPEED) - traffic.arrives_s
    result = alone(traffic, BatchServer(traffic, SPEED))
    assert result.mean_s == pytest.approx(counted.mean(), rel=0.01)
    assert np.abs(result.took_s - counted).max() < 0.05 * counted.max()


def test_a_request_alone_takes_its_prompt_and_its_steps():
    traffic = requests((1.0, 100, 11))
    result = alone(traffic, BatchServer(traffic, SPEED))
    read_s = 0.005 + 0.1
    steps_s = 10 * 0.002 + 1e-5 * (10 * 101 + 50)
    assert result.first_s[0] == pytest.approx(1.0 + read_s)
    assert result.ends_s[0] == pytest.approx(1.0 + read_s + steps_s, rel=1e-6)


def test_what_is_written_stands_still_while_a_prompt_is_read():
    traffic = requests((0.0, 100, 101), (0.2, 2000, 1))
    alone_s = alone(requests((0.0, 100, 101)), BatchServer(requests((0.0, 100, 101)), SPEED))
    both = alone(traffic, BatchServer(traffic, SPEED))
    assert both.ends_s[1] == pytest.approx(0.2 + 0.005 + 2.0)
    assert both.ends_s[0] == pytest.approx(alone_s.ends_s[0] + 2.005)


@pytest.mark.parametrize("limit", [{"kv_tokens": 1500.0}, {"max_running": 1}])
def test_without_room_a_prompt_waits_until_an_answer_is_whole(limit):
    traffic = requests((0.0, 1000, 100), (0.1, 1000, 100))
    speed = Speed(prefill_s_per_token=1e-3, decode_s_per_token=1e-5, **limit)
    result = alone(traffic, BatchServer(traffic, speed))
    assert result.first_s[1] == pytest.approx(result.ends_s[0] + 1.0)


def test_what_a_conversation_said_before_is_not_read_again():
    traffic = conversations(poisson(0.2, 200, rng(1)), rng(2))
    fast = Speed(prefill_s_per_token=2e-4, decode_s_per_token=1e-6)
    plain, caching = (
        BatchServer(traffic, replace(fast, prefix_tokens=tokens)) for tokens in (0.0, 1e9)
    )
    assert alone(traffic, caching).mean_s < alone(traffic, plain).mean_s
    known = int(traffic.known_tokens.sum())
    assert 0.8 * known < caching.account.cached_tokens <= known
    assert plain.account.cached_tokens == 0


def test_a_small_prefix_cache_forgets_the_least_recently_used():
    traffic = Traffic(
        arrives_s=np.array([0.0, 10.0, 20.0, 30.0]),
        input_tokens=np.array([100, 100, 150, 150]),
        output_tokens=np.array([10, 10, 10, 10]),
        conversation=np.array([1, 2, 2, 1]),
        known_tokens=np.array([0, 0, 110, 110]),
    )
    server = BatchServer(
        traffic, Speed(prefill_s_per_token=1e-3, decode_s_per_token=1e-5, prefix_tokens=200)
    )
    alone(traffic, server)
    assert server.account.cached_tokens == 110


def test_a_slowed_server_takes_so_many_times_as_long_from_then_on():
    traffic = requests((0.0, 1, 201))
    speed = Speed(prefill_s_per_token=0.0, decode_s_per_token=0.0, decode_s=0.01)
    place = Place(name="only", server=BatchServer(traffic, speed))
    world = World(traffic, [place], seed=0)
    world.at(1.0, lambda: world.slow_down(place, 10.0))
    assert world.run().ends_s[0] == pytest.approx(1.0 + 10.0)


def test_a_machine_loads_a_model_that_is_asked_for_and_lets_the_least_recent_go():
    traffic = requests((0.0, 1, 1), (1.0, 1, 1), (20.0, 1, 1), (21.0, 1, 1), (40.0, 1, 1))
    asked = ["a", "b", "c", "b", "a"]
    box = Box(
        {
            name: Hosted(server=SlotServer([0.5] * 5, slots=1), memory_gb=10, load_s=5, unload_s=1)
            for name in "abc"
        },
        memory_gb=20,
        resident=("a",),
    )
    places = [Place(name=n, model_id=n, server=box, door=box.door(n)) for n in "abc"]
    world = World(traffic, places, seed=0, models=lambda request, _now: (asked[request],))
    result = world.run()
    assert result.took_s == pytest.approx([0.5, 5.5, 6.5, 0.5, 6.5])
    assert box.n_loads == 3
    assert [box.resident(name) for name in "abc"] == [True, False, True]


def test_a_model_that_has_to_go_answers_what_it_has_first():
    traffic = requests((0.0, 1, 1), (1.0, 1, 1), (2.0, 1, 1))
    asked = ["a", "b", "a"]
    box = Box(
        {
            name: Hosted(server=SlotServer([10.0] * 3, slots=1), memory_gb=10, load_s=5)
            for name in "ab"
        },
        memory_gb=10,
        resident=("a",),
    )
    places = [Place(name=n, model_id=n, server=box, door=box.door(n)) for n in "ab"]
    world = World(traffic, places, seed=0, models=lambda request, _now: (asked[request],))
    assert world.run().ends_s == pytest.approx([10.0, 25.0, 40.0])


def test_a_stub_answers_side_by_side_first_token_then_last_and_slows_down_for_later_calls():
    server = StubServer([1.0, 0.5], [3.0, 2.0])
    server.submit(0.0, 0)
    server.slow_down(0.0, 2.0)
    server.submit(0.0, 1)
    seen = []
    while server.due < math.inf:
        now = server.due
        ended = server.fire(now)
        seen.append((now, server.just_read, tuple(ended)))
    assert seen == [(1.0, 0, ()), (1.0, 1, ()), (3.0, -1, (0,)), (4.0, -1, (1,))]
    assert server.first_s == {0: 1.0, 1: 1.0}
    assert server.inside == 0
    assert server.account.request_s == pytest.approx(3.0 + 4.0)
