"""`POST /v1/embeddings`: vectors of the model that is named, in the form that the client reads."""

import base64
import json
import struct

import httpx
import openai
import pytest

from tests.support.cascading import wait_for
from tests.support.gateway import GatewayThread, stub_config
from tests.support.odd_upstream import OddUpstream, whole
from tests.support.other_models import with_other_models
from tests.support.requests import assert_openai_error
from tests.support.watching import metrics

TEXTS = ["What is a steelyard?", "A balance with arms of unequal length."]


@pytest.fixture(scope="module")
def gateway_thread(stub_thread, artifacts, tmp_path_factory):
    """One gateway for the tests of this file that need none of their own."""
    directory = tmp_path_factory.mktemp("gateway")
    changes = with_other_models(directory, **{"breaker.failures": 1_000_000})
    config = stub_config(directory, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def client(gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=0) as client:
        yield client


def ask(gateway, *, headers=None, **fields):
    body = {"model": "sim-embed", "input": TEXTS, **fields}
    return httpx.post(
        f"{gateway.url}/v1/embeddings", json=body, headers=headers, trust_env=False, timeout=30
    )


def vectors(answer):
    return [each["embedding"] for each in answer.json()["data"]]


def floats(text):
    packed = base64.b64decode(text)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def test_the_official_client_gets_the_same_by_default_as_in_numbers(client, stub):
    default = client.embeddings.create(model="sim-embed", input=TEXTS)
    plain = client.embeddings.create(model="sim-embed", input=TEXTS, encoding_format="float")
    assert [each.index for each in default.data] == [0, 1]
    assert default.usage.prompt_tokens == plain.usage.prompt_tokens > 0
    for one, other in zip(default.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert len(one.embedding) == 256
    forms = [entry.body["encoding_format"] for entry in stub.log()]
    assert forms == ["base64", "float"]


def test_what_it_cost_is_told_and_only_the_input_is_paid(gateway):
    answer = ask(gateway)
    tokens = answer.json()["usage"]["prompt_tokens"]
    assert float(answer.headers["x-route-cost-usd"]) == pytest.approx(tokens * 0.1e-6, rel=1e-3)
    assert answer.headers["x-route-model"] == "sim-embed"
    assert answer.headers["x-route-policy"] == "pinned"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("tokens", [[11, 12, 13], [[11, 12], [13]]], ids=repr)
def test_token_numbers_go_to_models_that_know_them_and_to_no_other(client, stub, tokens):
    answer = client.embeddings.create(model="sim-embed", input=tokens)
    assert len(answer.data) == (2 if isinstance(tokens[0], list) else 1)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="sim-embed-large", input=tokens)
    assert len(stub.log()) == 1


def test_up_to_2048_inputs_come_back_in_their_order(client, gateway, stub):
    inputs = [f"text {i}" for i in range(2048)]
    answer = client.embeddings.create(model="sim-embed", input=inputs, dimensions=4)
    assert [each.index for each in answer.data] == list(range(2048))
    (alone,) = client.embeddings.create(model="sim-embed", input="text 2000", dimensions=4).data
    assert answer.data[2000].embedding == pytest.approx(alone.embedding, abs=1e-6)
    n_asked = len(stub.log())
    error = assert_openai_error(ask(gateway, input=[*inputs, "more"]), status=400)
    assert "2048" in error["message"]
    assert len(stub.log()) == n_asked


def test_what_cannot_be_embedded_is_refused_before_anybody_is_asked(gateway, stub):
    for changes, param in (
        ({"input": ""}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": "sim-nano"}, "model"),
        ({"model": "sim-rerank"}, "model"),
    ):
        error = assert_openai_error(ask(gateway, **changes), status=400)
        assert error["param"] == param
    assert stub.log() == []


def test_policies_are_refused_with_the_reason_and_the_models_that_work(gateway):
    for model in ("auto", "auto:economy", "auto:0.7", "router-carrot-0.5"):
        error = assert_openai_error(ask(gateway, model=model), status=400)
        assert error["param"] == "model"
        assert "cannot be compared" in error["message"]
        assert "sim-embed, sim-embed-large" in error["message"]


def test_chat_never_goes_to_a_model_that_does_not_chat(gateway, stub):
    for path in ("/v1/chat/completions", "/v1/route"):
        body = {"model": "sim-embed", "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx.post(gateway.url + path, json=body, trust_env=False)
        error = assert_openai_error(answer, status=400)
        assert "/v1/embeddings" in error["message"]
    assert stub.log() == []


def test_aliases_and_addresses_without_v1_or_in_azures_form(fresh_gateway, tmp_path):
    aliases = {"text-embedding-ada-002": "sim-embed"}
    gateway = fresh_gateway(with_other_models(tmp_path, aliases=aliases))
    assert ask(gateway, model="text-embedding-ada-002").status_code == 200
    body = {"input": "a", "model": "sim-embed"}
    for path in ("/embeddings", "/v1/v1/embeddings", "/openai/deployments/sim-embed/embeddings"):
        answer = httpx.post(gateway.url + path, json=body, trust_env=False)
        assert answer.status_code == 200, answer.text


def test_a_failure_goes_to_the_same_model_elsewhere_and_to_no_other(fresh_gateway, stub, tmp_path):
    upstreams = {"other": f"{stub.origin}/v1"}
    gateway = fresh_gateway(with_other_models(tmp_path, upstreams=upstreams))
    stub.add_fault("status", status=503, model="sim-embed")
    answer = ask(gateway)
    assert answer.status_code == 200, answer.text
    assert [entry.model for entry in stub.log()] == ["sim-embed", "sim-embed"]
    stub.add_fault("status", status=503, model="sim-embed", times=9)
    answer = ask(gateway)
    assert_openai_error(answer, status=502)
    assert {entry.model for entry in stub.log()} == {"sim-embed"}


def vector(*values, index=0):
    return {"object": "embedding", "index": index, "embedding": list(values)}


def embeddings(*data, **changes):
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": list(data), "model": "up", "usage": usage, **changes}


class InTurn:
    """The writes of one answer after the other; the last one is given again and again."""

    def __init__(self, answers):
        self._answers = list(answers)

    def __iter__(self):
        return iter(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


@pytest.fixture
def odd(fresh_gateway, tmp_path):
    """Return a function that has an upstream give such answers, and the gateway before it."""
    with OddUpstream() as upstream:

        def giving(*answers):
            upstream.answers["sim-embed"] = InTurn(answers)
            changes = with_other_models(tmp_path)
            changes["upstreams.stub.base_url"] = f"{upstream.origin}/v1"
            return fresh_gateway(changes), upstream

        yield giving


def test_numbers_of_an_upstream_are_packed_for_who_wants_base64(odd):
    data = [vector(0.5, -2.0, index=1), vector(1.0, 3.25, index=0)]
    gateway, _ = odd(whole(embeddings(*data)))
    packed = ask(gateway, encoding_format="base64")
    assert [floats(each) for each in vectors(packed)] == [[1.0, 3.25], [0.5, -2.0]]
    assert [each["index"] for each in packed.json()["data"]] == [0, 1]
    assert packed.json()["usage"]["prompt_tokens"] == 7
    assert vectors(ask(gateway)) == [[1.0, 3.25], [0.5, -2.0]]


def test_base64_of_an_upstream_is_unpacked_for_who_wants_numbers(odd):
    data = [vector(index=i) for i in range(2)]
    for each in data:
        each["embedding"] = base64.b64encode(struct.pack("<2f", 0.5, -1.5)).decode()
    gateway, _ = odd(whole(embeddings(*data)))
    assert vectors(ask(gateway, encoding_format="float")) == [[0.5, -1.5], [0.5, -1.5]]


def test_an_upstream_that_refuses_base64_is_asked_for_numbers(odd):
    refusal = {"error": {"message": "encoding_format: only float is supported", "code": "x"}}
    good = whole(embeddings(vector(0.5), vector(0.25, index=1)))
    gateway, upstream = odd(whole(refusal, status=400), good)
    for _ in range(2):
        packed = ask(gateway, encoding_format="base64")
        assert packed.status_code == 200, packed.text
        assert [floats(each) for each in vectors(packed)] == [[0.5], [0.25]]
    assert [body["encoding_format"] for _, body in upstream.asked] == ["base64", "float", "float"]


def test_an_answer_without_a_vector_for_each_input_is_a_failure(odd):
    gateway, upstream = odd(whole(embeddings()))
    error = assert_openai_error(ask(gateway), status=502)
    assert "0 embeddings for 2 inputs" in error["message"]
    assert len(upstream.asked) >= 1


def test_an_error_of_the_upstream_keeps_its_words(gateway, stub):
    answer = ask(gateway, dimensions=100_000)
    error = assert_openai_error(answer, status=400)
    assert "dimensions" in error["message"]
    assert answer.headers["x-route-model"] == "sim-embed"


def test_an_outcome_tells_of_it_and_metrics_count_it(fresh_gateway, tmp_path):
    changes = with_other_models(tmp_path, **{"store.data_dir": str(tmp_path / "data")})
    gateway = fresh_gateway(changes)
    assert ask(gateway).status_code == 200
    wait_for(lambda: any("sim-embed" in line and "tokens" in line for line in metrics(gateway)))


@pytest.mark.parametrize("usd", [1e-9, 10])
def test_a_budget_pays_for_the_input_or_refuses(fresh_gateway, tmp_path, stub, usd):
    budget = {"allowances.gateway.budgets": [{"usd": usd, "period": "month"}]}
    gateway = fresh_gateway(with_other_models(tmp_path, **budget))
    answer = ask(gateway)
    if usd > 1:
        assert answer.status_code == 200, answer.text
        return
    error = assert_openai_error(answer, status=429)
    assert error["code"] == "gateway_budget_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    assert stub.log() == []


def test_it_is_documented(gateway):
    document = httpx.get(f"{gateway.url}/openapi.json", trust_env=False).json()
    operation = document["paths"]["/v1/embeddings"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["example"]["input"]
    assert "multipart/form-data" in json.dumps(document["paths"]["/v1/audio/transcriptions"])
