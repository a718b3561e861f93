"""A model that says how hard a request is, asked before the decision: by chat, by an endpoint."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from click.testing import CliRunner

from app.access.guard import ANONYMOUS
from app.calls import CallRole
from app.cli import cli
from app.errors import ConfigError
from app.outcomes.calls import read_calls
from app.outcomes.export import Selection, sqlite_log, write
from app.outcomes.sqlite import read_outcomes
from routers.data.dataset import read_outcomes as read_table
from tests.support.gateway import GatewayThread, stub_config
from tests.support.scoring_server import ScoringServer, completion
from tests.support.several import CANDIDATES, JUDGE, LARGE, MINI, NANO, Models
from tests.support.watching import metric

BY_LEVEL = {"trivial": NANO, "easy": NANO, "medium": MINI, "hard": LARGE}
KINDS = ["code", "chat"]
HEADER = "x-route-decision-model"
DOWN = (500, {"error": {"message": "no", "type": "server_error"}})


def policy(**decision_model):
    return {
        "router": "carrot",
        "candidates": CANDIDATES,
        "default_model": LARGE,
        "router_deadline_s": 20.0,
        "decision_model": {"deadline_ms": 20_000, **decision_model},
    }


def changes_for(models_url, endpoint_url, **more):
    url = f"{endpoint_url}/judge"
    return {
        "upstreams.stub": {"kind": "openai", "base_url": f"{models_url}/v1", "retries": 0},
        "routers": {"carrot": {"artifact": "default"}},
        "policies": {
            "chat": policy(model=JUDGE, by_level=BY_LEVEL, kinds=KINDS),
            "url": policy(url=url, by_level=BY_LEVEL, kinds=KINDS, api_key_env="DECISION_KEY"),
            "watched": policy(model=JUDGE),
            "partly": policy(url=url, by_level={"hard": LARGE}),
            "forgetful": policy(url=url, by_level=BY_LEVEL, cache_s=0),
            "hasty_chat": policy(model=JUDGE, deadline_ms=1_500, levels=["low", "high"]),
            "hasty_url": policy(url=f"{endpoint_url}/slow", deadline_ms=1_500),
            "dead": policy(url="http://127.0.0.1:9/judge", by_level=BY_LEVEL),
        },
        "default_policy": "chat",
        "breaker.failures": 1_000,
        **more,
    }


@pytest.fixture(scope="module")
def servers():
    with Models() as models, ScoringServer() as endpoint:
        yield models, endpoint
        models.release.set()
        endpoint.release.set()


@pytest.fixture
def models(servers):
    servers[0].reset()
    servers[0].said[JUDGE] = "hard code"
    return servers[0]


@pytest.fixture
def endpoint(servers):
    servers[1].bodies.clear()
    servers[1].answer = lambda _: (200, {"level": {"hard": 0.7, "easy": 0.3}})
    return servers[1]


@pytest.fixture(scope="module")
def gateway(servers, tmp_path_factory):
    changes = changes_for(servers[0].url, servers[1].url)
    env = {"DECISION_KEY": "sk-decision"}
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayThread(stub_config(folder, servers[0].url, changes=changes, env=env)) as gateway:
        yield gateway


def ask(gateway, policy, prompt, path="chat/completions", headers=None, **fields):
    body = {"model": f"auto:{policy}", "messages": [{"role": "user", "content": prompt}], **fields}
    answer = httpx.post(
        f"{gateway.url}/v1/{path}",
        json=body,
        headers={"x-route-explain": "full", **(headers or {})},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer


def spent_usd(gateway):
    """Return what was spent once all is settled, which is a moment after the last answer."""
    deadline = time.monotonic() + 60
    while True:
        (scope, *_) = asyncio.run_coroutine_threadsafe(
            gateway.app.state.steelyard.standings(ANONYMOUS), gateway.loop
        ).result(60)
        (standing,) = scope.budgets
        if (standing.reserved_nusd, scope.in_flight) == (0, 0):
            return standing.spent_nusd / 1e9
        assert time.monotonic() < deadline, scope


def calls(response):
    return [(each["role"], each["model"]) for each in response.json()["steelyard"]["calls"]]


@pytest.mark.parametrize(
    ("said", "model"), [("trivial code", NANO), ("medium chat", MINI), ("hard", LARGE)]
)
def test_the_level_says_who_answers(gateway, models, said, model):
    models.said[JUDGE] = said
    answer = ask(gateway, "chat", f"A prompt that is {said}.")
    assert answer.headers["x-route-model"] == model
    assert answer.headers["x-route-reason"] == "decision_model"
    level, *kind = said.split()
    told = f"asked; level={level}; p=1.00" + "".join(f"; kind={each}" for each in kind)
    assert answer.headers[HEADER] == told
    assert calls(answer) == [("judge", JUDGE), ("answer", model)]
    assert answer.json()["steelyard"]["decision_model"]["level"][level] == 1.0


def test_a_prompt_is_asked_about_once_and_paid_once(gateway, models):
    first = ask(gateway, "chat", "Once only.")
    again = ask(gateway, "chat", "Once only.", temperature=0.5)
    assert again.headers[HEADER] == "hit; level=hard; p=1.00; kind=code"
    assert again.headers["x-route-model"] == LARGE
    assert models.asked == [JUDGE, LARGE, LARGE]
    # It is paid beside the answer, and no part of what that cost.
    assert float(first.headers["x-route-scorer-cost-usd"]) > 0
    assert "x-route-scorer-cost-usd" not in again.headers
    assert first.headers["x-route-cost-usd"] == again.headers["x-route-cost-usd"]
    # What is asked otherwise is another question.
    models.said[JUDGE] = "hard"
    assert ask(gateway, "watched", "Once only.").headers[HEADER].startswith("asked")


def test_same_prompts_at_the_same_time_ask_once(gateway, models):
    asked, go_on = threading.Event(), threading.Event()

    def slow(_body):
        asked.set()
        assert go_on.wait(30)
        return "easy chat"

    models.said[JUDGE] = slow
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(ask, gateway, "chat", "All at once.") for _ in range(5)]
        assert asked.wait(30)
        go_on.set()
    told = sorted(each.result().headers[HEADER].partition(";")[0] for each in answers)
    assert told == ["asked", "hit", "hit", "hit", "hit"]
    assert models.asked.count(JUDGE) == 1
    assert {each.result().headers["x-route-model"] for each in answers} == {NANO}


def test_chances_are_those_of_the_tokens(gateway, models):
    top = {"hard": 0.4, "easy": 0.6}
    models.said[JUDGE] = lambda _: (200, completion("hard", top=top))
    answer = ask(gateway, "chat", "Chances, please.")
    assert models.bodies[0]["logprobs"] is True
    assert answer.headers[HEADER] == "asked; level=easy; p=0.60"
    assert answer.headers["x-route-model"] == NANO


def test_an_endpoint_is_shown_the_prompt_and_tells_chances(gateway, models, endpoint):
    answer = ask(gateway, "url", "What is asked of an endpoint?")
    assert endpoint.bodies == [{"prompt": "What is asked of an endpoint?"}]
    assert answer.headers[HEADER] == "asked; level=hard; p=0.70"
    assert answer.headers["x-route-model"] == LARGE
    assert calls(answer) == [("answer", LARGE)]
    assert ask(gateway, "url", "What is asked of an endpoint?").headers[HEADER].startswith("hit")
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"level": "hard"}),
        (302, {"level": "hard"}),
        (200, {"level": "gigantic"}),
        (200, {"level": {"hard": -1}}),
        (200, {}),
        (200, {"level": "hard", "more": "x" * 100_000}),
        (200, [{"never": "ends"}] * 10_000),
    ],
)
def test_an_endpoint_that_answers_nonsense_changes_nothing(gateway, models, endpoint, answer):
    endpoint.answer = lambda _: answer
    response = ask(gateway, "forgetful", "Is this nonsense?")
    assert response.headers[HEADER] == "failed"
    assert response.headers["x-route-reason"] == "knob"
    # And it is not remembered.
    endpoint.answer = lambda _: (200, {"level": "easy"})
    assert ask(gateway, "forgetful", "Is this nonsense?").headers[HEADER].startswith("asked")


def test_an_endpoint_that_is_not_there_changes_nothing(gateway, models):
    response = ask(gateway, "dead", "Is anybody there?")
    assert response.headers[HEADER] == "failed"
    assert response.headers["x-route-reason"] == "knob"
    failed = 'gateway_decision_model_requests_total{policy="dead",result="failed"}'
    assert metric(gateway, failed) >= 1


@pytest.mark.parametrize("said", [DOWN, "", "I would rather not say."])
def test_a_model_that_says_nothing_changes_nothing(gateway, models, said):
    models.said[JUDGE] = said
    response = ask(gateway, "chat", f"Nothing but {said}")
    assert response.headers[HEADER] == "failed"
    assert response.headers["x-route-reason"] == "knob"
    assert calls(response)[0] == ("judge", JUDGE)


def test_who_is_late_is_not_waited_for(gateway, models, endpoint):
    models.said[JUDGE] = lambda _: (models.release.wait(60), "low")[1]
    endpoint.answer = lambda _: (endpoint.release.wait(60), (200, {"level": "hard"}))[1]
    by_model = ask(gateway, "hasty_chat", "Hurry up.")
    assert by_model.headers[HEADER] == "late"
    assert by_model.json()["steelyard"]["calls"][0]["error"] == "upstream_timeout"
    assert float(by_model.headers["x-route-scorer-cost-usd"]) > 0
    assert ask(gateway, "hasty_url", "Hurry up.").headers[HEADER] == "late"
    late = 'gateway_decision_model_requests_total{policy="hasty_url",result="late"}'
    assert metric(gateway, late) == 1


def test_what_the_client_says_comes_first(gateway, models):
    prompt = "Who says so?"
    assert ask(gateway, "chat", prompt).headers["x-route-model"] == LARGE
    knob = ask(gateway, "chat", prompt, headers={"x-cost-quality": "0"})
    assert knob.headers["x-route-reason"] == "knob"
    goals = ask(gateway, "chat", prompt, headers={"x-route-flags": "size=.5"})
    assert goals.headers["x-route-reason"] == "knob"
    one = ask(gateway, "chat", prompt, headers={"x-route-models": NANO})
    # Where a level would change nothing, nobody is asked.
    assert all(HEADER not in each.headers for each in (knob, goals, one))
    # Hard constraints hold: the level's model may not serve, so that the router decides.
    allowed = ask(gateway, "chat", prompt, headers={"x-route-models": f"{NANO},{MINI}"})
    assert allowed.headers["x-route-model"] != LARGE
    assert allowed.headers["x-route-reason"] == "knob"
    pinned = ask(gateway, "chat", prompt, model=NANO)
    assert HEADER not in pinned.headers


def test_who_is_not_known_to_be_safe_is_not_shown_what_is_secret(gateway, models, endpoint):
    body = {"model": "auto:url", "messages": [{"role": "user", "content": "A secret."}]}
    httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=body,
        headers={"x-route-flags": "security=basic"},
        trust_env=False,
    )
    assert endpoint.bodies == []
    assert ask(gateway, "url", "\n").status_code == 200  # nor what says nothing
    assert endpoint.bodies == []


def test_levels_without_a_model_are_the_routers(gateway, models, endpoint):
    endpoint.answer = lambda _: (200, {"level": "easy"})
    answer = ask(gateway, "partly", "An easy one.")
    assert answer.headers["x-route-reason"] == "knob"
    assert answer.headers[HEADER] == "asked; level=easy; p=1.00"


def test_route_asks_too(gateway, models):
    told = ask(gateway, "chat", "Only decide.", path="route").json()
    assert (told["model"], told["decision"]["reason"]) == (LARGE, "decision_model")
    assert told["decision_model"] == {
        "result": "asked",
        "level": {"trivial": 0.0, "easy": 0.0, "medium": 0.0, "hard": 1.0},
        "kind": {"code": 1.0, "chat": 0.0},
    }
    assert models.asked == [JUDGE]


def test_who_fails_again_and_again_is_left_alone(servers, models, endpoint, tmp_path):
    more = {"breaker.failures": 2, "breaker.cooldown_s": 3600}
    changes = changes_for(servers[0].url, servers[1].url, **more)
    env = {"DECISION_KEY": "sk-decision"}
    with GatewayThread(stub_config(tmp_path, models.url, changes=changes, env=env)) as gateway:
        endpoint.answer = lambda _: (200, {"level": "gigantic"})
        models.said[JUDGE] = "gigantic"
        for policy_name, asked in (("forgetful", endpoint), ("chat", models)):
            told = [ask(gateway, policy_name, f"Number {i}.").headers[HEADER] for i in range(4)]
            assert told == ["failed"] * 4
            bodies = [each for each in asked.bodies if each.get("model", JUDGE) == JUDGE]
            assert len(bodies) == 2
        # As a model it is none the worse.
        assert httpx.get(f"{gateway.url}/readyz", trust_env=False).json()["unhealthy_models"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "gpt-9"}, "unknown name 'gpt-9'"),
        ({}, "name either a `model` or a `url`"),
        ({"model": JUDGE, "url": "http://x/"}, "name either a `model` or a `url`"),
        ({"model": JUDGE, "api_key_env": "KEY"}, "is for `url`"),
        ({"model": JUDGE, "usd_per_question": 0.1}, "a model has its own price"),
        ({"url": "http://me:too@x/"}, "name a variable in api_key_env"),
        ({"url": "http://127.0.0.1:8080/v1/route"}, "is this gateway itself"),
        ({"model": JUDGE, "by_level": {"huge": NANO}}, "is no level"),
        ({"model": JUDGE, "by_level": {"easy": JUDGE}}, "not among the policy's candidates"),
        ({"model": JUDGE, "levels": ["a", "a"]}, "names a word twice"),
        ({"url": "http://x/", "api_key_env": "KEY"}, "the key comes from KEY, which is not set"),
    ],
)
def test_what_cannot_work_stops_the_start(tmp_path, change, words):
    changes = changes_for("http://127.0.0.1:9", "http://127.0.0.1:9")
    changes["policies"] = {"chat": policy(**change)}
    with pytest.raises(ConfigError, match=words):
        stub_config(tmp_path, "http://127.0.0.1:9", changes=changes)


def test_a_table_decides_alone(tmp_path):
    changes = changes_for("http://127.0.0.1:9", "http://127.0.0.1:9")
    agree = {"kind": "agree", "normaliser": "option"}
    chat = policy(model=JUDGE, by_level=BY_LEVEL)
    changes["policies"] = {"chat": {**chat, "workflow": agree}}
    with pytest.raises(ConfigError, match="decides alone, and so does a workflow"):
        stub_config(tmp_path, "http://127.0.0.1:9", changes=changes)


def test_limits_hold_and_what_was_asked_is_booked_once(servers, models, endpoint, tmp_path):
    allowance = {
        "budgets": [{"usd": 1, "period": "month"}],
        "limits": {"requests_per_minute": 4},
    }
    changes = changes_for(servers[0].url, servers[1].url, **{"allowances.key": allowance})
    env = {"DECISION_KEY": "sk-decision"}
    with GatewayThread(stub_config(tmp_path, models.url, changes=changes, env=env)) as gateway:
        told = 0.0
        for _ in range(2):
            answer = ask(gateway, "chat", "What does it come to?")
            told += float(answer.headers["x-route-cost-usd"])
            told += float(answer.headers.get("x-route-scorer-cost-usd", 0))
        assert spent_usd(gateway) == pytest.approx(told, abs=1e-8)
        decided = ask(gateway, "watched", "Only decided.", path="route")
        told += float(decided.headers["x-route-scorer-cost-usd"])
        assert spent_usd(gateway) == pytest.approx(told, abs=1e-8)
        ask(gateway, "forgetful", "The last one.")
        endpoint.bodies.clear()
        refused = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": "auto:forgetful", "messages": [{"role": "user", "content": "More."}]},
            trust_env=False,
        )
        assert refused.status_code == 429
        assert endpoint.bodies == []


def rows_of(folder):
    return [row for _, row in read_outcomes(folder / "data")]


def test_what_was_said_and_what_an_endpoint_cost_stand_in_the_log(
    servers, models, endpoint, tmp_path
):
    changes = changes_for(servers[0].url, servers[1].url, **{"store.data_dir": "data"})
    changes["outcomes"] = {"contents": {"enabled": True}}
    changes["allowances.key"] = {"budgets": [{"usd": 1, "period": "month"}]}
    for each in changes["policies"].values():
        if "url" in each["decision_model"]:
            each["decision_model"]["usd_per_question"] = 0.002
    env = {"DECISION_KEY": "sk-decision"}
    config = stub_config(tmp_path, models.url, changes=changes, env=env)
    endpoint.answer = lambda _: (200, {"level": {"hard": 0.75, "easy": 0.25}, "kind": "code"})
    with GatewayThread(config) as gateway:
        answers = [ask(gateway, "url", "Priced.") for _ in range(2)]
        assert answers[0].headers["x-route-scorer-cost-usd"] == "0.00200000"
        assert "x-route-scorer-cost-usd" not in answers[1].headers
        ask(gateway, "chat", "By a model.")
        endpoint.answer = lambda _: (500, {})
        ask(gateway, "url", "What is refused with an error status costs nothing.")
        endpoint.answer = lambda _: (200, {"level": "gigantic"})
        ask(gateway, "url", "What is answered is paid, whatever it says.")
        endpoint.answer = lambda _: (endpoint.release.wait(60), (200, {"level": "hard"}))[1]
        ask(gateway, "hasty_url", "What is late was sent.")
        ask(gateway, "dead", "Who was not reached is not paid.")
        spent = spent_usd(gateway)
    asked, hit, chat, refused, nonsense, late, dead = rows_of(tmp_path)
    said = json.loads(asked.decision_model)
    assert said == {
        "result": "asked",
        "level": {"trivial": 0.0, "easy": 0.25, "medium": 0.0, "hard": 0.75},
        "kind": {"code": 1.0, "chat": 0.0},
    }
    assert json.loads(hit.decision_model) == {**said, "result": "hit"}
    assert json.loads(chat.decision_model)["level"]["hard"] == 1.0
    told = [json.loads(row.decision_model)["result"] for row in (refused, nonsense, late, dead)]
    assert told == ["failed", "failed", "late", "failed"]

    def judged(row):
        calls = read_calls(row.calls)
        return [(c.model, c.error, c.cost_nusd) for c in calls if c.role == CallRole.JUDGE]

    assert judged(asked) == [("decision-model:url", None, 2_000_000)]
    assert judged(hit) == []
    assert [(model, error) for model, error, _ in judged(chat)] == [(JUDGE, None)]
    assert judged(refused) == [("decision-model:url", "upstream_unavailable", 0)]
    assert judged(nonsense) == [("decision-model:url", None, 2_000_000)]
    assert judged(late) == [("decision-model:hasty_url", "upstream_timeout", 2_000_000)]
    assert judged(dead) == [("decision-model:dead", "upstream_unavailable", 0)]
    assert spent == pytest.approx(sum(row.cost_nusd for row in rows_of(tmp_path)) / 1e9)
    done = CliRunner().invoke(
        cli, ["spend", "--config", str(config.path), "--by", "role,model", "--format", "json"]
    )
    found = {(e["role"], e["model"]): e["cost_usd"] for e in json.loads(done.stdout)["data"]}
    assert found["judge", "decision-model:url"] == pytest.approx(0.004)


def test_what_was_said_is_exported_as_training_reads_it(servers, models, tmp_path):
    changes = changes_for(servers[0].url, servers[1].url, **{"store.data_dir": "data"})
    changes["outcomes"] = {"contents": {"enabled": True}}
    changes["policies"] = {
        "chat": policy(model=JUDGE, kinds=KINDS),
        "dead": policy(url="http://127.0.0.1:9/judge"),
    }
    with GatewayThread(stub_config(tmp_path, models.url, changes=changes)) as gateway:
        ask(gateway, "chat", "Heard.")
        ask(gateway, "dead", "Not heard.")
    level = {"trivial": 0.0, "easy": 0.0, "medium": 0.0, "hard": 1.0}
    said = {"result": "asked", "level": level, "kind": {"code": 1.0, "chat": 0.0}}
    selection = Selection(unlabelled=True)
    log = sqlite_log(tmp_path / "data", since=0, until=4e9)
    first, unheard = selection.outcomes(log)
    log.contents.close()
    assert first["decision_model"] == {"level": said["level"]}
    assert (first["decision_model_told"], unheard["decision_model_told"]["level"]) == (said, {})
    assert "decision_model" not in unheard
    for name in ("rows.jsonl", "rows.parquet"):
        write([dict(first, quality=1.0)], tmp_path / name)
        (conversation,) = read_table([tmp_path / name]).conversations
        levels = tuple(said["level"].values()) if name == "rows.jsonl" else ()
        assert conversation.judged == levels  # a wide table has no place for them


def test_nobody_pays_an_endpoint_that_a_budget_has_too_little_for(
    servers, models, endpoint, tmp_path
):
    budget = {"budgets": [{"usd": 0.001, "period": "month"}]}
    changes = changes_for(servers[0].url, servers[1].url, **{"allowances.key": budget})
    changes["policies"] = {"chat": policy(url=f"{endpoint.url}/judge", usd_per_question=0.002)}
    with GatewayThread(stub_config(tmp_path, models.url, changes=changes)) as gateway:
        refused = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": "Too dear."}]},
            trust_env=False,
        )
        assert (refused.status_code, endpoint.bodies) == (429, [])
        assert refused.json()["error"]["code"] == "key_budget_exceeded"
        assert spent_usd(gateway) == 0


def test_a_budget_that_runs_low_decides_before_any_level(servers, models, tmp_path):
    """Nobody is asked then: what a level would have served is no longer to be had."""
    budget = {"usd": 0.05, "period": "month", "on_low": "degrade", "degrade_from": 0.002}
    changes = changes_for(servers[0].url, servers[1].url)
    changes["allowances.key"] = {"budgets": [budget]}
    env = {"DECISION_KEY": "sk-decision"}
    with GatewayThread(stub_config(tmp_path, models.url, changes=changes, env=env)) as gateway:
        first = ask(gateway, "chat", "With all of the budget left.")
        assert first.headers["x-route-reason"] == "decision_model"
        for i in range(200):
            low = ask(gateway, "watched", f"Spend {i}.", headers={"x-cost-quality": "1"})
            if "x-route-budget" in low.headers:
                break
        models.reset()
        low = ask(gateway, "chat", "With less of it left.")
        assert "x-route-budget" in low.headers
        assert JUDGE not in models.asked
        assert HEADER not in low.headers
        assert low.headers["x-route-reason"] != "decision_model"


@pytest.mark.parametrize("name", ["chat", "url"])
def test_who_goes_away_while_it_is_asked_leaves_the_question_to_others(
    gateway, models, endpoint, name
):
    asked, go_on = threading.Event(), threading.Event()

    def slow_once(_body):
        if not asked.is_set():
            asked.set()
            go_on.wait(60)
        return "easy" if name == "chat" else (200, {"level": "easy"})

    models.said[JUDGE] = endpoint.answer = slow_once
    prompt = f"A prompt whose client leaves {name}."
    body = {"model": f"auto:{name}", "messages": [{"role": "user", "content": prompt}]}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port)) as leaver:
        leaver.sendall(head.encode() + data)
        assert asked.wait(30)
    try:
        answer = ask(gateway, name, prompt)
    finally:
        go_on.set()
    assert answer.headers[HEADER].startswith("asked; level=easy")
