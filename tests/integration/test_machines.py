"""Machines that load models on demand, on real sockets: what is asked, told and counted of them."""

import httpx
import pytest

from app.errors import ConfigError, UpstreamError
from app.http_client.transport import HttptoolsTransport
from app.providers.http.loaded_models import LoadedModels
from tests.support.model_machine import ModelMachine

MODEL = {"spec": "llama-3.1-8b-instruct", "memory_gb": 8, "load_s": 4}


@pytest.fixture
def machine():
    """Start a machine."""
    with ModelMachine() as machine:
        yield machine


def configured(machine, models=("one", "two", "three"), **residency):
    return {
        "upstreams.box": {
            "base_url": machine.url,
            "residency": {"memory_gb": 16, "usd_per_hour": 3.6, **residency},
        },
        **{f"models.{name}": {"upstream": "box", **MODEL} for name in models},
    }


def ask(gateway, model):
    answer = httpx.post(
        f"{gateway.openai_url}/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "What is a steelyard?"}]},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer


def metric(gateway, name, **labels):
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    for line in httpx.get(f"{gateway.url}/metrics", timeout=30).text.splitlines():
        if line.startswith(f"{name}{{") and all(each in line for each in wanted):
            return float(line.rpartition(" ")[2])
    return None


def test_calls_say_whether_their_model_was_loaded(fresh_gateway, machine):
    gateway = fresh_gateway(configured(machine))
    for model in ("one", "one", "two", "three", "one"):
        ask(gateway, model)
    assert machine.asked == ["one", "one", "two", "three", "one"]
    found = {
        (model, loaded): metric(
            gateway, "gateway_loading_calls_total", upstream="box", model=model, loaded=loaded
        )
        for model in ("one", "two", "three")
        for loaded in ("yes", "no")
    }
    assert found == {
        ("one", "yes"): 1.0, ("one", "no"): 2.0, ("two", "yes"): None, ("two", "no"): 1.0,
        ("three", "yes"): None, ("three", "no"): 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reads", "path"),
    [
        ("ollama", "/api/ps"),
        ("llama_cpp", "/v1/models"),
        ("llama_swap", "/running"),
    ],
)
def test_a_machine_is_asked_what_it_has_loaded(fresh_gateway, machine, reads, path):
    machine.loaded = ("two",)
    gateway = fresh_gateway(configured(machine, reads=reads, poll_s=0.1))
    assert machine.was_read.wait(30)
    machine.was_read.clear()
    assert machine.was_read.wait(30), "asked again: what was answered before is taken in"
    assert set(machine.read) == {path}
    ask(gateway, "two")
    assert metric(gateway, "gateway_loading_calls_total", model="two", loaded="yes") == 1.0


def test_a_machine_that_does_not_say_is_counted_and_its_calls_go_on(fresh_gateway, machine):
    gateway = fresh_gateway(configured(machine, reads="ollama", poll_s=0.1))
    machine.status = 500
    machine.was_read.clear()
    assert machine.was_read.wait(30)
    machine.was_read.clear()
    assert machine.was_read.wait(30)
    machine.status = 200
    assert metric(gateway, "gateway_loaded_unread_total", upstream="box") >= 1.0
    ask(gateway, "one")


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ("ollama", {"qwen3:8b", "gemma3:latest", "gemma3"}),
        ("llama_cpp", {"qwen3:8b", "gemma3:latest"}),
        ("llama_swap", {"qwen3:8b", "gemma3:latest"}),
        ("models", {"qwen3:8b", "gemma3:latest", "x"}),
    ],
)
async def test_every_kind_of_server_is_read(machine, reads, expected):
    machine.loaded = ("qwen3:8b", "gemma3:latest")
    reader = LoadedModels(
        reads, base_url=machine.url, headers={}, transport=HttptoolsTransport(max_connections=1)
    )
    assert await reader.read() == expected
    await reader.aclose()


async def test_a_server_of_another_kind_is_not_understood(machine):
    reader = LoadedModels(
        "ollama", base_url=machine.url, headers={}, transport=HttptoolsTransport(max_connections=1)
    )
    machine.said = lambda _path: {"object": "list", "data": []}
    with pytest.raises(UpstreamError, match="does not say what is loaded as `reads: ollama`"):
        await reader.read()
    await reader.aclose()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models.one": {"upstream": "box", "spec": MODEL["spec"]}}, "say how long this one takes"),
        (
            {"models.one": {"upstream": "box", "spec": MODEL["spec"], "load_s": 3}},
            "say how much of it this one takes",
        ),
        ({"models.one": {"upstream": "box", **MODEL, "memory_gb": 17}}, "does not fit"),
        ({"models.one": {"upstream": "stub", **MODEL}}, "stub has no `residency`"),
        ({"upstreams.box.residency": {"usd_per_hour": 1}}, "says nothing of what is unloaded"),
    ],
    ids=["load_s", "memory_gb", "too large", "no machine", "no limit"],
)
def test_what_does_not_fit_together_is_refused(fresh_gateway, machine, changes, says):
    with pytest.raises(ConfigError, match=says):
        fresh_gateway(configured(machine) | changes)


def candidates(gateway, model="auto:hosted", **headers):
    told = httpx.post(
        f"{gateway.url}/v1/route",
        json={"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]},
        headers=headers,
        timeout=30,
    )
    assert told.status_code == 200, told.text
    body = told.json()
    return body["model"], {each["model"]: each for each in body["candidates"]}


def test_a_decision_counts_what_is_not_loaded_and_goes_to_what_is(fresh_gateway, machine):
    twins = {
        name: {"upstream": "box", "spec": "gpt-4.1-mini", "memory_gb": 16, "load_s": 4}
        for name in ("one", "two")
    }
    gateway = fresh_gateway(
        configured(machine, models=())
        | {f"models.{name}": model for name, model in twins.items()}
        | {
            "policies.hosted": {
                "router": "carrot", "candidates": ["one", "two"], "default_model": "one",
            }
        }
    )  # fmt: skip
    _, rows = candidates(gateway)
    assert {each["surcharge_usd"] for each in rows.values()} == {0.004}
    assert all(each["predicted_ttft_ms"] > 4000 for each in rows.values())
    for loaded in ("two", "one"):
        ask(gateway, loaded)
        chosen, rows = candidates(gateway)
        assert chosen == loaded
        other = "two" if loaded == "one" else "one"
        assert (rows[loaded]["surcharge_usd"], rows[other]["surcharge_usd"]) == (0.0, 0.004)
        assert rows[other]["predicted_ttft_ms"] - rows[loaded]["predicted_ttft_ms"] > 3000
    chosen, rows = candidates(gateway, **{"x-route-latency-weight": "0.01"})
    assert chosen == "one"
    assert rows["two"]["surcharge_usd"] > rows["one"]["surcharge_usd"] + 0.04
