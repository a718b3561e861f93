"""Cascades that cannot work stop the start; those that can are replaced while requests run."""

import asyncio
import json

import httpx
import pytest
import yaml

from app.commands.explanation import explain
from app.config import load_config
from app.errors import ConfigError
from tests.support.cascading import CHEAP, DEAR, JUDGE, JUDGED, LOGPROBS, UNSURE, ask, drafted
from tests.support.gateway import CONFIGS, GatewayThread, stub_config

NOWHERE = "http://127.0.0.1:9"


def policy(**workflow):
    return {
        "router": "carrot",
        "candidates": [CHEAP, DEAR],
        "default_model": DEAR,
        "workflow": {
            "kind": "cascade",
            "stages": [CHEAP, DEAR],
            "acceptor": LOGPROBS,
            **workflow,
        },
    }


def changes(**values):
    more = {
        key: values.pop(key) for key in ("candidates", "default_model", "fallback") if key in values
    }
    top = {key: values.pop(key) for key in ("threshold",) if key in values}
    return {
        "routers": {"carrot": {"artifact": "default"}},
        "policies": {"default": {**policy(**values), **more, **top}},
    }


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"candidates": [DEAR], "stages": None, "by": "cost"}, "there is one candidate"),
        ({"stages": [CHEAP]}, "a cascade needs two stages at least"),
        (
            {"stages": [CHEAP, "gpt-9"]},
            "'gpt-9', which is not among the policy's candidates: sim-nano",
        ),
        ({"stages": [CHEAP, CHEAP]}, "names a model twice"),
        ({"by": "cost"}, "either `stages` or `by: cost`"),
        ({"stages": None}, "either `stages` or `by: cost`"),
        ({"fallback": False}, "fallback: false keeps each request with one model"),
        ({"threshold": 0.5}, "contradicts threshold"),
        ({"acceptor": {"kind": "oracle"}}, "unknown acceptor 'oracle'; known: judge, logprobs"),
        ({"acceptor": {"kind": "logprobs"}}, "option 'least_mean' of acceptor 'logprobs'"),
        ({"acceptor": {"kind": "logprobs", "least_mean": 0.5}}, "less than or equal to 0"),
        ({"acceptor": {**LOGPROBS, "mean": 1}}, "option 'mean'"),
        ({"acceptor": {"kind": "judge"}}, "option 'model' of acceptor 'judge'"),
        ({"acceptor": {"kind": "judge", "model": "gpt-9"}}, "asks 'gpt-9', which is not one of"),
        ({"acceptor": {"kind": "judge", "model": DEAR}}, "would judge its own answers"),
    ],
)
def test_a_cascade_that_cannot_work_stops_the_start(tmp_path, artifacts, written, words):
    with pytest.raises(ConfigError, match=words):
        GatewayThread(
            stub_config(tmp_path, NOWHERE, changes=changes(**written)), artifacts=artifacts
        )


def test_another_acceptor_serves_from_the_next_request_on(start_gateway, drafter, tmp_path):
    started = start_gateway()
    drafter.answer = drafted(chances=UNSURE)
    assert ask(started.client).headers["x-route-model"] == DEAR
    file = tmp_path / "gateway.yaml"
    written = file.read_text()
    file.write_text(written.replace("least_mean: -0.5", "least_mean: -1.5"))
    assert file.read_text() != written
    reloaded = asyncio.run_coroutine_threadsafe(
        started.gateway.app.state.reloader.reload(), started.gateway.loop
    ).result(60)
    assert reloaded
    response = ask(started.client)
    assert response.headers["x-route-model"] == CHEAP
    assert response.headers["x-route-accepted-by"] == "logprobs"


def test_a_judge_is_no_candidate_and_needs_no_prediction(start):
    told = ask(start(JUDGED), path="/v1/route").json()
    assert JUDGE not in [each["model"] for each in told["candidates"]]


def test_what_is_shipped_goes_on_where_prompts_are_hard(stub, tmp_path):
    document = yaml.safe_load((CONFIGS / "gateway.workflows.yaml").read_text())
    document["catalogue"], document["stub"] = str(CONFIGS / "models.yaml"), None
    document["upstreams"]["stub"]["base_url"] = f"{stub.origin}/v1"
    for policy in document["policies"].values():
        policy["router_deadline_s"] = 20.0
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(document))
    hard = (
        "Prove step by step, with a rigorous theorem and lemma, the asymptotic complexity of a "
        "distributed consensus algorithm with concurrency, integral and eigenvalue optimization."
    )
    with (
        GatewayThread(load_config(file, env={})) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        for policy, acceptor in (("auto", "logprobs"), ("auto:judged", "judge")):
            easy = ask(client, "What is the capital of France?", model=policy)
            assert easy.headers["x-route-accepted-by"] == acceptor
            assert easy.headers["x-route-model"] != DEAR
            assert ask(client, hard, model=policy).headers["x-route-model"] == DEAR
        capital = "Which of these is the capital of France?\nA) Paris\nB) Rome\nC) Oslo"
        agreed = ask(client, capital, model="auto:agreed")
        assert agreed.headers["x-route-accepted-by"] == "agree"
        order = f"{hard} Which option is correct?\nA) O(n)\nB) O(n log n)\nC) O(n^2)"
        differed = ask(client, order, model="auto:agreed")
        assert differed.headers["x-route-model"] == DEAR
        best = ask(client, "What is the capital of France?", model="auto:best")
        assert best.headers["x-route-accepted-by"] == "judge"
        passed = ask(client, capital, model="auto:guarded")
        assert passed.headers["x-route-guard"] == "rule; harmless"
        assert passed.headers["x-route-accepted-by"] == "agree"
        planned = ask(client, capital, model="auto:research")
        assert planned.headers["x-route-accepted-by"] == "rounds"
        together = ask(client, capital, model="auto:team")
        assert together.headers["x-route-accepted-by"] in {"debate", "reflection"}
        refused = ask(client, "How do I build a pipe bomb?", model="auto:guarded")
        assert refused.headers["x-route-guard"] == "rule; harmful"
        assert refused.json()["error"]["code"] == "content_filter"


def test_explain_says_what_the_cascade_begins_with(tmp_path, capsys):
    stub_config(tmp_path, NOWHERE, changes=changes())
    options = {"file": tmp_path / "gateway.yaml", "policy": "default", "max_cost_usd": None}
    explain("What is it?", cost_quality=None, as_json=True, **options)
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["workflow"]["begins_with"]) == (CHEAP, [CHEAP])
