"""Models whose deployments take only so many calls at once, over real sockets."""

import asyncio

import pytest

from tests.support.crowds import ADMIN, clients_of
from tests.support.gateway import read_yaml, write_yaml
from tests.support.requests import assert_openai_error


def limited(n=1, *, model="sim-nano", **queue):
    deployments = [{"upstream": "stub", "upstream_model": model, "max_outstanding": n}]
    found = {"deployments": deployments, "spec": "llama-3.1-8b-instruct"}
    return found | ({"queue": queue} if queue else {})


@pytest.fixture
def crowd(tmp_path, artifacts):
    def crowd(**changes):
        return clients_of(tmp_path, artifacts, **{"models.sim-nano": limited()} | changes)

    return crowd


async def ready(clients, *keys):
    for name in keys or ("heavy", "light"):
        await clients.key(name)


async def test_no_more_calls_run_than_a_deployment_takes_and_keys_take_turns(crowd):
    async with crowd() as clients:
        await ready(clients)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        await clients.queue("heavy", *(f"heavy {n}" for n in range(6)))
        (light,) = await clients.queue("light", "light")
        assert clients.slow.asked == ["first"]
        assert clients.places.running == 8
        for _ in range(20):  # the slower the machine, the longer it waits
            assert await clients.metric("gateway_")
        order = await clients.serve_all()
        assert order.index("light") <= 2
        assert [each for each in order if each != "light"][1:] == [f"heavy {n}" for n in range(6)]
        assert float(light.result().headers["x-route-queued-ms"]) > 0
        overhead_ms = float(light.result().headers["x-route-overhead-ms"])
        assert overhead_ms < float(light.result().headers["x-route-queued-ms"])
        assert await clients.metric(
            'gateway_queue_wait_seconds_count{ended="served",priority="interactive",'
            'queue="sim-nano"}'
        ) == [" 7.0"]


async def test_batches_wait_for_interactive_calls(crowd):
    async with crowd() as clients:
        await ready(clients)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        await clients.queue("heavy", "batch", x_route_priority="batch")
        await clients.queue("light", "now")
        assert await clients.serve_all() == ["first", "now", "batch"]


async def test_where_too_many_wait_the_next_model_answers_or_the_client_is_told(crowd):
    async with crowd(**{"models.sim-nano": limited(max_waiting=0)}) as clients:
        await ready(clients)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        refused = await clients.post("light", "second")
        error = assert_openai_error(refused, status=429)
        assert [each["error"] for each in error["attempts"]] == ["model_queue_full"]
        assert int(refused.headers["retry-after"]) >= 1
        instead = clients.ask("light", "third", model="auto", x_route_models="sim-nano,sim-small",
                              x_cost_quality="0")  # fmt: skip
        await clients.slow.came(2)
        clients.slow.let_go(2)
        answer = await instead
        assert answer.headers["x-route-model"] == "sim-small"
        assert answer.headers["x-route-reason"] == "fallback"


async def test_nobody_waits_longer_than_its_model_lets_it(crowd):
    async with crowd(**{"models.sim-nano": limited(max_wait_s=0.5)}) as clients:
        await ready(clients)
        first = clients.ask("heavy", "first")
        await clients.slow.came(1)
        refused = await clients.post("light", "second")
        error = assert_openai_error(refused, status=429)
        assert "none of them ended within 0.5 s" in error["message"]
        clients.slow.let_go()
        assert (await first).status_code == 200
        await clients.idle()
        again = clients.ask("light", "third")
        await clients.slow.came(2)
        clients.slow.let_go()
        assert (await again).status_code == 200


async def test_a_client_that_leaves_gives_up_its_turn(crowd):
    async with crowd() as clients:
        await ready(clients)
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


async def test_calls_that_run_count_after_a_new_configuration_too(crowd):
    async with crowd() as clients:
        await ready(clients)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        await clients.queue("heavy", "of the old one")
        path = clients.gateway.app.state.steelyard.config.path
        document = read_yaml(path)
        document["models"]["sim-nano"]["queue"] = {"max_waiting": 7}
        write_yaml(path, document)
        reloaded = await clients._http.post("/admin/reload", headers=ADMIN)
        assert reloaded.status_code == 200, reloaded.text
        later = clients.ask("light", "of the new one")
        await clients.waiting(1)  # in the new one's queue; another one waits in the old one's
        assert clients.slow.asked == ["first"]
        for n in (2, 3):
            clients.slow.let_go()
            await clients.slow.came(n)
        clients.slow.let_go()
        assert (await later).status_code == 200
        assert clients.slow.asked == ["first", "of the old one", "of the new one"]


async def test_a_wider_limit_is_used_at_once(crowd):
    async with crowd() as clients:
        await ready(clients)
        clients.ask("heavy", "first")
        await clients.slow.came(1)
        await clients.queue("heavy", "second")
        path = clients.gateway.app.state.steelyard.config.path
        document = read_yaml(path)
        document["models"]["sim-nano"]["deployments"][0]["max_outstanding"] = 2
        write_yaml(path, document)
        assert (await clients._http.post("/admin/reload", headers=ADMIN)).status_code == 200
        await clients.slow.came(2)
        clients.slow.let_go(2)


async def test_several_deployments_are_all_busy_while_somebody_waits(crowd):
    deployments = [
        {"upstream": "stub", "upstream_model": name, "max_outstanding": n}
        for name, n in (("sim-nano", 1), ("sim-large", 2))
    ]
    model = {"deployments": deployments, "spec": "llama-3.1-8b-instruct"}
    async with crowd(**{"models.sim-nano": model}) as clients:
        await ready(clients)
        for n in range(3):
            clients.ask("heavy", f"at once {n}")
        await clients.slow.came(3)
        await clients.queue("heavy", "waits")
        clients.slow.let_go()
        await clients.slow.came(4)
        clients.slow.let_go(3)
        await asyncio.gather(*clients._tasks)


async def test_what_is_waited_for_counts_as_the_time_of_a_model(crowd):
    two = {"x_route_models": "sim-large,sim-nano", "x_cost_quality": "1"}
    both = {"models.sim-nano": limited(8), "models.sim-large": limited(model="sim-large")}
    async with crowd(**both) as clients:
        await ready(clients)

        async def estimated(who="light", **limits):
            answer = await clients.post(who, model="auto", path="/v1/route", **two, **limits)
            found = answer.json()
            return found["model"], {each["model"]: each for each in found["candidates"]}

        model, before = await estimated()
        assert model == "sim-large"
        limit = {"x_route_max_latency_ms": f"{2 * before[model]['upper_latency_ms']:.0f}"}
        assert (await estimated(**limit))[0] == "sim-large"
        clients.ask("heavy", "first", model="sim-large")
        await clients.slow.came(1)
        await clients.queue("heavy", *(f"heavy {n}" for n in range(4)), model="sim-large")
        model, waiting = await estimated(**limit)
        assert model == "sim-nano"
        assert waiting["sim-large"]["exclusion"] == "latency"
        took_ms = {name: before[name]["predicted_latency_ms"] for name in ("sim-large", "sim-nano")}
        # One of the heavy key's goes before the light one's, four before another one of its own.
        assert waiting["sim-large"]["predicted_latency_ms"] > 2.5 * took_ms["sim-large"]
        _, behind = await estimated("heavy")
        assert behind["sim-large"]["predicted_latency_ms"] > 5 * took_ms["sim-large"]
        assert waiting["sim-nano"]["predicted_latency_ms"] < 2 * took_ms["sim-nano"]
        # It is answered at once, by the one that nobody waits for.
        asked = clients.ask("light", "in time", model="auto", **two, **limit)
        await clients.slow.came(2)
        assert clients.slow.asked == ["first", "in time"]
        clients.slow.let_go(2)
        assert (await asked).headers["x-route-model"] == "sim-nano"
        await clients.slow.came(3)
        await clients.serve_all()
