"""How closely images are looked at: a choice of the policy, over sockets."""

import httpx
import openai
import pytest

from app.errors import ConfigError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.media import data_url, jpeg, picture_part, png
from tests.support.task_prompts import EXAMPLES

LARGE, SMALL = jpeg(1920, 1080), png(300, 200)
CHEAP = {"cost_quality": 0}
BEST = {"cost_quality": 1}


TASKS = {
    "ocr": {"candidates": ["sim-small"], "instructions": "Read it.", "cost_quality": 1.0},
    "describe": {"candidates": ["sim-nano", "sim-small"], "cost_quality": 0.0},
    "translate": {"candidates": ["sim-nano"], "instructions": "Translate."},
}


def policy(**images):
    return {
        "router": "carrot",
        "candidates": ["sim-nano", "sim-small", "sim-frontier"],
        "default_model": "sim-small",
        "router_deadline_s": 10.0,
        "images": images,
    }


@pytest.fixture(scope="module")
def running(stub_thread, artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("details")
    changes = {
        "upstreams.stub.also_serves": ["responses"],
        "policies.choosing": policy(detail="auto"),
        "policies.low": policy(detail="low", override=True),
        "policies.high": policy(detail="high"),
        "policies.recognising": {
            **policy(detail="auto"),
            "tasks": {n: {**t, "examples": EXAMPLES[n]} for n, t in TASKS.items() if n in EXAMPLES},
            "recognise_tasks": {"chains": True},
        },
        "policies.tasked": {**policy(detail="auto"), "tasks": TASKS},
        "policies.lossless": policy(detail="auto", low_detail_loss=0),
    }
    config = stub_config(folder, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def gateway(running, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return running


def content(*pictures):
    return [{"type": "text", "text": "What does the sign say?"}, *pictures]


def route(gateway, parts, *, policy="choosing", headers=None, **routing):
    body = {
        "model": f"auto:{policy}",
        "messages": [{"role": "user", "content": parts}],
        "routing": routing,
    }
    url = f"{gateway.openai_url}/route"
    return httpx.post(url, json=body, headers=headers, trust_env=False)


def rows(answer):
    return {each["model"]: each for each in answer.json()["candidates"]}


def chat(gateway, parts, *, policy="choosing", headers=None):
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        return client.chat.completions.with_raw_response.create(
            model=f"auto:{policy}",
            max_tokens=20,
            messages=[{"role": "user", "content": parts}],
            extra_headers={"x-route-models": "sim-small", **(headers or {})},
        ).headers


def sent(stub):
    """Return the details that the upstream was asked for."""
    *_, message = stub.log()[-1].body["messages"]
    pictures = [part for part in message["content"] if part["type"] == "image_url"]
    return [part["image_url"].get("detail") for part in pictures]


def test_each_level_is_a_candidate_with_quality_and_cost_of_its_own(gateway):
    found = rows(route(gateway, content(picture_part(LARGE))))
    assert set(found) == {
        "sim-nano",
        "sim-small@low_detail",
        "sim-small@high_detail",
        "sim-frontier",
    }
    low, high = found["sim-small@low_detail"], found["sim-small@high_detail"]
    assert high["input_tokens"] > 3_700
    assert low["input_tokens"] < 500
    assert high["predicted_cost_usd"] > low["predicted_cost_usd"]
    assert high["predicted_quality"] - low["predicted_quality"] == pytest.approx(0.1, abs=1e-3)
    assert (low["evidence"], found["sim-frontier"]["evidence"]) == ("prior", "prior")


def test_a_picture_that_low_detail_shows_whole_loses_nothing(gateway):
    found = rows(route(gateway, content(picture_part(SMALL))))
    low, high = found["sim-small@low_detail"], found["sim-small@high_detail"]
    assert low["predicted_quality"] == high["predicted_quality"]
    unknown = rows(route(gateway, content(picture_part("https://example.com/a.png"))))
    assert (
        unknown["sim-small@low_detail"]["predicted_quality"]
        < unknown["sim-small@high_detail"]["predicted_quality"]
    )


@pytest.mark.parametrize(("knob", "level"), [("0", "low"), ("1", "high")])
def test_the_knob_chooses_the_level_and_the_upstream_is_asked_for_it(gateway, stub, knob, level):
    headers = chat(gateway, content(picture_part(LARGE)), headers={"x-cost-quality": knob})
    assert headers["x-route-model"] == f"sim-small@{level}_detail"
    assert headers["x-route-detail"] == level
    assert headers["x-route-params"] == f"detail={level} of 1"
    assert sent(stub) == [level]
    assert stub.log()[-1].model == "sim-small"


def test_what_a_client_says_of_its_images_holds(gateway, stub):
    parts = content(picture_part(LARGE, detail="low"), picture_part(LARGE, detail="high"))
    headers = chat(gateway, parts)
    assert headers["x-route-model"] == "sim-small"
    assert "x-route-detail" not in headers
    assert sent(stub) == ["low", "high"]
    mixed = content(picture_part(LARGE, detail="high"), picture_part(LARGE, detail="auto"))
    chat(gateway, mixed, headers={"x-cost-quality": "0"})
    assert sent(stub) == ["high", "low"]


@pytest.mark.parametrize(
    ("wish", "levels"),
    [("auto", {"low", "high"}), ("low", {"low"}), ("high", {"high"}), ("as-sent", set())],
)
def test_a_client_may_leave_it_to_the_policy_or_say_it_for_all_images(gateway, stub, wish, levels):
    parts = content(picture_part(LARGE, detail="high"), picture_part(LARGE))
    found = rows(route(gateway, parts, headers={"x-route-detail": wish}))
    arms = {name for name in found if name.startswith("sim-small@")}
    assert arms == {f"sim-small@{level}_detail" for level in levels}
    assert ("sim-small" in found) == (not levels)
    assert rows(route(gateway, parts, detail=wish)).keys() == found.keys()
    if len(levels) == 1:
        chat(gateway, parts, headers={"x-route-detail": wish})
        assert sent(stub) == [wish, wish]


def test_a_policy_may_fix_the_level(gateway, stub):
    chat(gateway, content(picture_part(LARGE), picture_part(LARGE, detail="high")), policy="low")
    assert sent(stub) == ["low", "low"]
    chat(gateway, content(picture_part(LARGE), picture_part(LARGE, detail="low")), policy="high")
    assert sent(stub) == ["high", "low"]


def test_text_alone_is_decided_as_ever(gateway):
    found = rows(route(gateway, "What is a steelyard?"))
    assert set(found) == {"sim-nano", "sim-small", "sim-frontier"}
    plain = rows(route(gateway, "What is a steelyard?", policy="default"))
    assert found["sim-small"]["predicted_quality"] == plain["sim-small"]["predicted_quality"]


def test_an_allow_list_means_the_levels_of_its_models(gateway):
    answer = route(gateway, content(picture_part(LARGE)), models=["sim-small"], **CHEAP)
    found = rows(answer)
    assert found["sim-frontier"]["exclusion"] == "not_allowed"
    assert found["sim-small@low_detail"]["eligible"]
    assert found["sim-small@high_detail"]["eligible"]


def test_what_costs_no_quality_is_never_looked_at_closely(gateway):
    for knob in (0, 0.5, 0.8, 0.99):
        answer = route(
            gateway,
            content(picture_part(LARGE)),
            policy="lossless",
            models=["sim-small"],
            cost_quality=knob,
        )
        assert answer.json()["decision"]["model"] == "sim-small@low_detail"


def test_responses_are_asked_for_it_too(gateway, stub):
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        raw = client.responses.with_raw_response.create(
            model="auto:choosing:0",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Read it"},
                        {"type": "input_image", "image_url": data_url(LARGE), "detail": "auto"},
                    ],
                }
            ],
            extra_headers={"x-route-models": "sim-small"},
        )
    assert raw.headers["x-route-detail"] == "low"
    assert stub.log()[-1].body["input"][0]["content"][1]["detail"] == "low"


def test_a_wish_that_nobody_can_grant_is_refused(gateway):
    parts = content(picture_part(LARGE))
    for model, words in (
        ("auto", "takes images as they are sent"),
        ("sim-small", "a model that is named"),
    ):
        body = {"model": model, "messages": [{"role": "user", "content": parts}]}
        answer = httpx.post(
            f"{gateway.openai_url}/chat/completions",
            json=body,
            headers={"x-route-detail": "low"},
            trust_env=False,
        )
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "x-route-detail"
    wrong = route(gateway, parts, headers={"x-route-detail": "ultra"})
    assert wrong.status_code == 400
    assert "'auto', 'low', 'high'" in wrong.json()["error"]["message"]


def test_levels_are_not_listed_but_can_be_named(gateway):
    listed = httpx.get(f"{gateway.openai_url}/models", trust_env=False).json()["data"]
    assert not any("_detail" in each["id"] for each in listed)
    one = httpx.get(f"{gateway.openai_url}/models/sim-small@low_detail", trust_env=False)
    assert one.status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policies.choosing": policy(detail="ultra")}, "policies.choosing.images.detail"),
        (
            {
                "policies.choosing": policy(detail="auto")
                | {"candidates": ["sim-large"], "default_model": "sim-large"}
            },
            "none of the candidates can be asked for a detail",
        ),
        (
            {
                "policies.choosing": policy(detail="auto")
                | {"workflow": {"kind": "agree", "models": ["sim-nano", "sim-small"]}}
            },
            "neither a workflow nor a threshold",
        ),
        (
            {
                "policies.choosing": policy(detail="auto"),
                "models.sim-small.variants": {"low_detail": {"image_detail": "low"}},
            },
            "there is one of that name already",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_refused(fresh_gateway, changes, words):
    with pytest.raises(ConfigError) as caught:
        fresh_gateway(changes)
    assert words in caught.value.message


def test_a_conversation_stays_where_it_is_when_an_image_comes(fresh_gateway, stub):
    gateway = fresh_gateway({"policies.default": policy(detail="auto")})
    session = {"x-session-id": "one-conversation"}
    turns = [{"role": "user", "content": "Remember the sign."}]

    def ask(knob):
        body = {"model": f"auto:{knob}", "messages": turns, "max_tokens": 20}
        url = f"{gateway.openai_url}/chat/completions"
        answer = httpx.post(url, json=body, headers=session, trust_env=False)
        turns.append(answer.json()["choices"][0]["message"])
        return answer.headers

    first = ask(1)
    turns.append({"role": "user", "content": content(picture_part(LARGE))})
    second = ask(1)
    turns.append({"role": "user", "content": "And now?"})
    models = [each["x-route-model"].partition("@")[0] for each in (first, second, ask(1))]
    assert len(set(models)) == 1
    assert second["x-route-session"] == "retain"


def test_a_task_keeps_every_detail_of_its_models_and_of_no_other(gateway, stub):
    parts = content(picture_part(LARGE))
    answer = route(gateway, parts, policy="tasked", task="ocr")
    may = {name for name, each in rows(answer).items() if each["exclusion"] is None}
    assert may == {"sim-small@low_detail", "sim-small@high_detail"}
    assert chat(gateway, parts, policy="tasked", headers={"x-route-task": "ocr"})[
        "x-route-detail"
    ].startswith("high")
    assert sent(stub) == ["high"]
    cheap = {"x-route-task": "describe", "x-route-models": "sim-small"}
    assert chat(gateway, parts, policy="tasked", headers=cheap)["x-route-detail"].startswith("low")
    assert sent(stub) == ["low"]


def test_images_of_a_chain_that_is_named_are_taken_as_they_are_sent(gateway, stub):
    def ask(parts, **routing):
        body = {
            "model": "auto:tasked",
            "messages": [{"role": "user", "content": parts}],
            "routing": {"task": "ocr>translate", **routing},
        }
        url = f"{gateway.openai_url}/chat/completions"
        return httpx.post(url, json=body, trust_env=False)

    answer = ask(content(picture_part(LARGE, detail="low")))
    assert answer.status_code == 200, answer.text
    first, second = (each.body for each in stub.log()[-2:])
    (picture,) = [p for p in first["messages"][-1]["content"] if p["type"] == "image_url"]
    assert (first["model"], picture["image_url"]["detail"]) == ("sim-small", "low")
    assert second["model"] == "sim-nano"
    assert "image_url" not in str(second["messages"])
    refused = ask(content(picture_part(LARGE)), detail="high")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "routing.detail")


def test_a_chain_that_is_recognised_keeps_to_the_models_of_its_tasks(gateway, stub):
    """By then the detail of the images is being chosen: their variants stand for the models."""
    parts = [
        {"type": "text", "text": "Read the text in this picture and put it into French."},
        picture_part(LARGE),
    ]
    body = {"model": "auto:recognising", "messages": [{"role": "user", "content": parts}]}
    answer = httpx.post(f"{gateway.openai_url}/chat/completions", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-route-task"] == "ocr>translate; recognised"
    assert "skipped" not in answer.headers["x-route-workflow"]
    first, second = (each.body for each in stub.log()[-2:])
    (picture,) = [p for p in first["messages"][-1]["content"] if p["type"] == "image_url"]
    assert first["model"] == "sim-small"
    assert picture["image_url"]["detail"] in {"low", "high"}
    assert second["model"] == "sim-nano"
    assert "image_url" not in str(second["messages"])
