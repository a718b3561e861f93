"""Who gets a place first, over real sockets: the order in which an upstream is asked tells."""

import asyncio

import pytest

from tests.support.crowds import ADMIN, clients_of
from tests.support.gateway import read_yaml, write_yaml
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "hello"}]
ONE_PLACE = {
    "server.max_concurrent_requests": 1,
    "server.max_queued_requests": 20,
    "server.queue_timeout_s": 60,
}


@pytest.fixture
async def clients(tmp_path, artifacts):
    async with clients_of(tmp_path, artifacts, **ONE_PLACE) as clients:
        for name in ("heavy", "light"):
            await clients.key(name)
        yield clients


async def test_a_light_key_does_not_wait_for_the_backlog_of_a_heavy_one(clients):
    clients.ask("heavy", "first")
    await clients.slow.came(1)
    await clients.queue("heavy", *(f"heavy {n}" for n in range(12)))
    (light,) = await clients.queue("light", "light")
    order = await clients.serve_all()
    assert order.index("light") <= 2
    assert [each for each in order if each != "light"][1:] == [f"heavy {n}" for n in range(12)]
    assert light.result().status_code == 200
    assert float(light.result().headers["x-route-queued-ms"]) > 0
    await clients.idle()
    assert await clients.metric(
        'gateway_queue_wait_seconds_count{ended="served",priority="interactive",queue="gateway"}'
    ) == [" 13.0"]


async def test_interactive_requests_go_before_those_of_a_batch(clients):
    clients.ask("heavy", "first")
    await clients.slow.came(1)
    await clients.queue("heavy", "batch 1", "batch 2", x_route_priority="batch")
    await clients.queue("heavy", "now 1", "now 2")
    await clients.queue("light", "now 3", x_route_priority="Interactive")
    order = await clients.serve_all()
    assert set(order[1:4]) == {"now 1", "now 2", "now 3"}
    assert order[4:] == ["batch 1", "batch 2"]


async def test_a_client_that_leaves_gives_up_its_turn(clients):
    clients.ask("heavy", "first")
    await clients.slow.came(1)
    (leaves,) = await clients.queue("heavy", "leaves")
    (stays,) = await clients.queue("heavy", "stays")
    leaves.cancel()
    await clients.waiting(1)
    clients.slow.let_go()
    await clients.slow.came(2)
    clients.slow.let_go()
    assert (await stays).status_code == 200
    assert clients.slow.asked == ["first", "stays"]
    left = 'gateway_queue_wait_seconds_count{ended="left",priority="interactive",queue="gateway"}'
    assert await clients.metric(left) == [" 1.0"]


async def test_a_full_queue_makes_room_for_who_has_less_in_it(tmp_path, artifacts):
    changes = {"server.max_queued_requests": 2}
    async with clients_of(tmp_path, artifacts, **ONE_PLACE | changes) as clients:
        for name in ("heavy", "light"):
            await clients.key(name)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        _, last = await clients.queue("heavy", "stays", "goes")
        clients.ask("light", "light")
        refused = await last
        error = assert_openai_error(refused, status=503)
        assert error["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        # Who has as much waiting as anybody is refused itself, before its body is read.
        assert_openai_error(await clients.post("heavy"), status=503)
        assert await clients.serve_all() == ["first", "stays", "light"]


async def test_a_key_asks_for_the_classes_that_it_may(tmp_path, artifacts):
    teams = {"nightly": {"priorities": ["batch"], "weight": 0.5}}
    changes = ONE_PLACE | {"allowances.teams": teams}
    async with clients_of(tmp_path, artifacts, **changes) as clients:
        await clients.key("of the team", team="nightly")
        await clients.key("its own", team="nightly", priorities=["interactive"], weight=2.0)
        await clients.key("other")
        for key, asked, status in [
            ("of the team", "interactive", 403),
            ("its own", "batch", 403),
            ("other", "urgent", 400),
        ]:
            answer = await clients.post(key, x_route_priority=asked)
            error = assert_openai_error(answer, status=status)
            assert error["param"] == "x-route-priority"
            if status == 403:
                assert error["code"] == "priority_not_allowed"
        in_body = {"routing": {"priority": "batch"}, "model": "auto", "messages": ASK}
        answer = await clients._http.post(
            "/v1/chat/completions",
            json=in_body,
            headers={"authorization": f"Bearer {clients._secrets['other']}"},
        )
        assert assert_openai_error(answer, status=400)["param"] == "routing.priority"
        clients.ask("other", "first")
        await clients.slow.came(1)
        await clients.queue("of the team", "team")
        await clients.queue("its own", "own")
        assert await clients.serve_all() == ["first", "own", "team"]


async def test_more_places_come_with_a_new_configuration(clients):
    clients.ask("heavy", "first")
    await clients.slow.came(1)
    await clients.queue("heavy", "second", "third")
    path = clients.gateway.app.state.steelyard.config.path
    document = read_yaml(path)
    document["server"]["max_concurrent_requests"] = 3
    write_yaml(path, document)
    reloaded = await clients._http.post("/admin/reload", headers=ADMIN)
    assert reloaded.status_code == 200, reloaded.text
    await clients.slow.came(3)
    assert sorted(clients.slow.asked) == ["first", "second", "third"]
    clients.slow.let_go(3)


async def test_time_that_was_waited_for_a_place_counts_against_a_limit(tmp_path, artifacts):
    """A limit is one from the arrival on: what fitted then does not after the wait."""
    quick = {"ttft_s": 0.05, "tokens_per_s": 20_000}
    paces = {
        f"models.{name}.{field}": value
        for name in ("sim-nano", "sim-frontier")
        for field, value in quick.items()
    }
    both = {"model": "auto", "x_route_models": "sim-nano,sim-frontier"}
    async with clients_of(tmp_path, artifacts, **ONE_PLACE | paces) as clients:
        for name in ("heavy", "light"):
            await clients.key(name)
        told = await clients.post("light", "hello", path="/v1/route", **both)
        upper_ms = max(each["upper_latency_ms"] for each in told.json()["candidates"])
        limit_ms = upper_ms + 200
        asked = {**both, "x_route_max_latency_ms": f"{limit_ms:.0f}", "x_route_explain": "full"}
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        (late,) = await clients.queue("light", "late", **asked)
        await asyncio.sleep(limit_ms / 1e3)  # which is what has to pass
        clients.slow.let_go()
        await clients.slow.came(2)
        clients.slow.let_go()
        answer = await late
    queued_ms = float(answer.headers["x-route-queued-ms"])
    assert queued_ms >= limit_ms
    assert answer.headers["x-route-reason"] == "latency_unmet"
    predicted_ms = float(answer.headers["x-route-predicted-latency-ms"])
    assert predicted_ms > queued_ms
    unmet = answer.headers["x-route-latency-unmet"]
    assert float(unmet.split("predicted-ms=")[1].split(";")[0]) > predicted_ms


async def test_it_is_told_beforehand_how_long_a_request_would_wait_for_its_place(clients):
    # Of these nothing is learned meanwhile.
    asked = {"model": "auto", "x_route_models": "sim-small,sim-frontier", "path": "/v1/route"}
    before = (await clients.post("light", "hello", **asked)).json()
    assert before["queue"] is None
    clients.ask("heavy", "first")
    await clients.slow.came(1)
    await clients.queue("heavy", *(f"heavy {n}" for n in range(5)))
    (heavy,) = await clients.queue("heavy", "hello", **asked)
    await clients.queue("heavy", *(f"heavy {n}" for n in range(5, 9)))
    for n in range(3):  # so that it is seen how fast turns come
        clients.slow.let_go()
        await clients.slow.came(n + 2)
    (light,) = await clients.queue("light", "hello", **asked)
    (job,) = await clients.queue("light", "hello", x_route_priority="batch", **asked)
    for n in range(3, 10):
        await clients.slow.came(n + 1)
        clients.slow.let_go()
    answer = await heavy
    assert float(answer.headers["x-route-queued-ms"]) > 0
    now = answer.json()
    queue = now["queue"]
    # Its key's own four, and maybe the light one's question.
    assert 4 <= queue["before"] <= queue["waiting"]
    assert 0 < queue["expected_wait_ms"] < queue["upper_wait_ms"]
    told = (await light).json()["queue"]
    assert told["before"] < told["waiting"]
    served = {each["model"]: each for each in before["candidates"]}
    for each in filter(lambda each: each["eligible"], now["candidates"]):
        alone = served[each["model"]]
        for part in ("ttft", "latency"):
            for field, waits in (("predicted", "expected_wait_ms"), ("upper", "upper_wait_ms")):
                name = f"{field}_{part}_ms"
                assert each[name] == pytest.approx(alone[name] + queue[waits], abs=0.2)
    # After the batch's own question nobody is left.
    assert (await job).json()["queue"] is None
