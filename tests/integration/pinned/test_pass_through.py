"""Moderations, images, audio and rerank: passed through to the model that is named."""

import contextlib
import json

import httpx
import openai
import pytest

from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.odd_upstream import OddUpstream, stream, whole
from tests.support.other_models import with_other_models
from tests.support.raw_client import RawClient
from tests.support.requests import assert_openai_error


@pytest.fixture(scope="module")
def gateway_thread(stub_thread, artifacts, tmp_path_factory):
    """One gateway for the tests of this file that need none of their own."""
    directory = tmp_path_factory.mktemp("gateway")
    changes = with_other_models(directory, usd_per_answer=0.04, **{"breaker.failures": 1_000_000})
    config = stub_config(directory, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def client(gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=0) as client:
        yield client


def post(gateway, path, **options):
    return httpx.post(gateway.url + path, trust_env=False, timeout=30, **options)


def test_moderations_and_the_only_model_of_a_kind_when_none_is_named(client, stub):
    assert client.moderations.create(model="sim-moderation", input="fine").results
    assert client.moderations.create(input="fine").results
    assert [entry.model for entry in stub.log()] == ["sim-moderation"] * 2


def test_a_rerank_is_passed_on_and_paid_by_its_tokens_and_the_call(gateway):
    body = {"model": "sim-rerank", "query": "a ship", "documents": ["a balance", "a ship"]}
    answer = post(gateway, "/v1/rerank", json=body)
    assert [each["index"] for each in answer.json()["results"]] == [1, 0]
    tokens = answer.json()["usage"]["prompt_tokens"]
    cost = float(answer.headers["x-route-cost-usd"])
    assert cost == pytest.approx(0.04 + tokens * 0.1e-6, rel=1e-6)
    assert answer.headers["x-route-model"] == "sim-rerank"


def test_every_picture_is_paid(client):
    answer = client.images.with_raw_response.generate(model="sim-image", prompt="A steelyard", n=3)
    assert len(answer.parse().data) == 3
    cost = float(answer.headers["x-route-cost-usd"])
    assert 0.12 <= cost < 0.121
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model="sim-image", prompt="A steelyard", n=-1)


def test_speech_comes_as_it_is_with_its_own_type(client, gateway, stub):
    body = {"model": "sim-speech", "input": "A steelyard.", "voice": "alloy"}
    direct = httpx.post(f"{stub.base_url}/audio/speech", json=body, trust_env=False)
    answer = post(gateway, "/v1/audio/speech", json=body)
    assert answer.content == direct.content
    assert answer.headers.get_list("content-type") == [direct.headers["content-type"]]
    assert answer.headers["x-route-model"] == "sim-speech"
    with client.audio.speech.with_streaming_response.create(**body) as streamed:
        assert b"".join(streamed.iter_bytes()) == direct.content


def test_a_file_is_passed_on_and_the_model_renamed(fresh_gateway, tmp_path, stub):
    changes = with_other_models(tmp_path)
    changes["models.whisper-1"] = {
        "upstream": "stub",
        "upstream_model": "sim-transcribe",
        "spec": "sim-transcribe",
    }
    gateway = fresh_gateway(changes)
    sound = bytes(range(256)) * 2_000
    with openai.OpenAI(
        base_url=gateway.openai_url, api_key="none", http_client=httpx.Client(trust_env=False)
    ) as client:
        file = ("a recording.wav", sound, "audio/wav")
        answer = client.audio.transcriptions.create(model="whisper-1", file=file, language="de")
    assert "a recording.wav" in answer.text
    (entry,) = stub.log()
    assert entry.model == "sim-transcribe"
    assert entry.body["language"] == "de"
    assert entry.body["file"]["bytes"] == len(sound)


def form(*parts, boundary="cut"):
    lines = []
    for head, value in parts:
        lines += [f"--{boundary}", f"Content-Disposition: form-data; {head}", "", value]
    body = "\r\n".join([*lines, f"--{boundary}--", ""])
    return {
        "content": body.encode(),
        "headers": {"content-type": f'multipart/form-data; boundary="{boundary}"'},
    }


FILE = 'name="file"; filename="model.wav"', 'name="model"\r\n\r\nauto'
MODEL = 'name="model"', "sim-transcribe"


@pytest.mark.parametrize("form_of", [form(FILE, MODEL), form(MODEL, FILE)])
def test_the_model_stands_anywhere_in_a_form_and_texts_are_no_json(gateway, form_of):
    answer = post(gateway, "/v1/audio/transcriptions", **form_of)
    assert answer.status_code == 200, answer.text
    assert "model.wav" in answer.json()["text"]


AZURE = "/openai/deployments/sim-transcribe/audio/transcriptions?api-version=2024-10-21"


@pytest.mark.parametrize("parts", [(FILE,), (FILE, ('name="model"', "whisper-1"))], ids=len)
def test_an_address_of_azures_names_the_model_of_a_form(gateway, stub, parts):
    answer = post(gateway, AZURE, **form(*parts))
    assert answer.status_code == 200, answer.text
    (entry,) = stub.log()
    assert entry.model == "sim-transcribe"
    assert entry.body["file"]["file"] == "model.wav"


def test_a_text_is_no_json(gateway):
    asked = form(('name="response_format"', "text"), FILE, MODEL)
    answer = post(gateway, "/v1/audio/transcriptions", **asked)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "model.wav" in answer.text


def test_forms_that_are_none_are_refused(gateway, stub):
    whole = form(FILE, MODEL)
    wrong = [
        form(FILE, MODEL, MODEL),
        form(FILE, ('name="model"', "auto")),
        form(FILE, ('name="model"', "sim-nano")),
        form(FILE),  # two models of the kind: none can be meant
        {**whole, "content": whole["content"][:-40]},
        {**whole, "content": b""},
        {**whole, "headers": {"content-type": "multipart/form-data"}},
        {**whole, "headers": {"content-type": "multipart/form-data; boundary=other"}},
    ]
    for asked in wrong:
        assert_openai_error(post(gateway, "/v1/audio/transcriptions", **asked), status=400)
    assert_openai_error(post(gateway, "/v1/moderations", **whole), status=415)
    assert stub.log() == []


def test_a_budget_refuses_what_it_cannot_pay(fresh_gateway, tmp_path, stub):
    budget = {"allowances.gateway.budgets": [{"usd": 0.1, "period": "month"}]}
    gateway = fresh_gateway(with_other_models(tmp_path, usd_per_answer=0.04, **budget))
    body = {"model": "sim-image", "prompt": "A steelyard"}
    assert post(gateway, "/v1/images/generations", json={**body, "n": 2}).status_code == 200
    refused = post(gateway, "/v1/images/generations", json=body)
    error = assert_openai_error(refused, status=429)
    assert error["code"] == "gateway_budget_exceeded"
    assert len(stub.log()) == 1


def test_a_failure_is_made_good_by_another_deployment(fresh_gateway, tmp_path, stub):
    changes = with_other_models(tmp_path, upstreams={"other": f"{stub.origin}/v1"})
    gateway = fresh_gateway(changes)
    stub.add_fault("status", status=503, model="sim-transcribe")
    answer = post(gateway, "/v1/audio/transcriptions", **form(FILE, MODEL))
    assert answer.status_code == 200, answer.text
    assert [entry.status for entry in stub.log()] == [503, 200]


def test_a_page_is_no_answer_of_an_endpoint_that_answers_in_json(fresh_gateway, tmp_path):
    asked = {
        "/v1/moderations": {"model": "sim-moderation", "input": "a"},
        "/v1/rerank": {"model": "sim-rerank", "query": "a", "documents": ["b"]},
        "/v1/images/generations": {"model": "sim-image", "prompt": "a"},
    }
    with OddUpstream() as upstream:
        changes = with_other_models(tmp_path)
        changes["upstreams.stub.base_url"] = f"{upstream.origin}/v1"
        gateway = fresh_gateway(changes)
        for path, body in asked.items():
            for page in (b"<html>Please log in", b"null", b"[]"):
                upstream.answers[body["model"]] = whole(page)
                assert_openai_error(post(gateway, path, json=body), status=502)
            upstream.answers[body["model"]] = whole(b" {}")
            assert post(gateway, path, json=body).content == b" {}"


def test_files_take_room_until_they_are_answered(fresh_gateway, tmp_path, stub):
    gateway = fresh_gateway(with_other_models(tmp_path, **{"server.max_bodies_mb": 1}))
    file = 'name="file"; filename="a.wav"', "x" * 300_000  # one caller may have half a megabyte
    asked = form(file, MODEL)
    path = "/v1/audio/transcriptions"
    stub.add_fault("stall_before_headers", model="sim-transcribe")
    with contextlib.closing(RawClient(gateway.url)) as client:
        kind = asked["headers"]["content-type"]
        client.send_request(asked["content"].decode(), path=path, content_type=kind)
        stub.log(wait_for="running")
        refused = assert_openai_error(post(gateway, path, **asked), status=503)
        assert "room" in refused["message"]
    stub.log(wait_for="client_gone")
    assert post(gateway, path, **asked).status_code == 200


def test_a_client_that_leaves_takes_the_upstream_call_with_it(gateway, stub):
    stub.add_fault("stall_before_headers", model="sim-speech")
    body = json.dumps({"model": "sim-speech", "input": "A steelyard.", "voice": "alloy"})
    with contextlib.closing(RawClient(gateway.url)) as client:
        client.send_request(body, path="/v1/audio/speech")
        stub.log(wait_for="running")
    (entry,) = stub.log(wait_for="client_gone")
    assert entry.model == "sim-speech"


@pytest.mark.parametrize("ends_well", [True, False])
def test_sound_that_breaks_off_never_looks_complete(fresh_gateway, tmp_path, ends_well):
    pieces = stream(b"RIFF<", b": data", b"", headers=b"content-type: audio/wav\r\n")
    with OddUpstream() as upstream:
        upstream.answers["sim-speech"] = pieces
        if not ends_well:
            upstream.answers["sim-speech"] = [*pieces[:-1], b"no chunk\r\n"]
        changes = with_other_models(tmp_path)
        changes["upstreams.stub.base_url"] = f"{upstream.origin}/v1"
        gateway = fresh_gateway(changes)
        body = {"model": "sim-speech", "input": "A steelyard.", "voice": "alloy"}
        if ends_well:
            answer = post(gateway, "/v1/audio/speech", json=body)
            assert answer.content == b"RIFF<: data"
            assert answer.headers.get_list("content-type") == ["audio/wav"]
            return
        with pytest.raises(httpx.RemoteProtocolError):
            post(gateway, "/v1/audio/speech", json=body)


PICTURES = {"model": "sim-image", "prompt": "A steelyard", "stream": True, "partial_images": 2}


@pytest.mark.parametrize("after_events", [0, 1])
def test_a_failure_among_events_counts_as_one_and_is_told_as_far_as_it_can_be(
    stub, artifacts, tmp_path, after_events
):
    changes = with_other_models(tmp_path, **{"store.data_dir": "data"})
    config = stub_config(tmp_path, stub.origin, changes=changes)
    stub.add_fault("error_event", model="sim-image", after_chunks=after_events)
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.stream(
            "POST", f"{gateway.url}/v1/images/generations", json=PICTURES, trust_env=False
        ) as answer,
    ):
        if after_events:
            assert answer.status_code == 200
            pieces = []
            with pytest.raises(httpx.RemoteProtocolError):
                pieces.extend(answer.iter_raw())
            came = b"".join(pieces)
            assert came.count(b"event: image_generation") == 1
            assert b"event: error" in came  # the client's own library knows what to make of it
        else:
            answer.read()
            assert_openai_error(answer, status=502)
    (row,) = [row for _, row in read_outcomes(tmp_path / "data")]
    assert row.error is not None
    assert len(stub.log()) == 1
