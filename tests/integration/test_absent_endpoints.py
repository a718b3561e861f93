"""What clients know and the gateway does not have is answered in words that help."""

import httpx
import openai
import pytest

from tests.support.requests import assert_openai_error


def ask(gateway, path, method="POST", **options):
    return httpx.request(method, gateway.url + path, trust_env=False, **options)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/responses/compact", "input"),
        ("/v1/images/upscales", "generations"),
        ("/v1/audio/voices", "speech"),
        ("/v1/videos", "provider"),
        ("/v1/files", "batches.enabled"),
        ("/openai/deployments/gpt-4o/videos?api-version=2024-02-01", "/chat/completions"),
    ],
)
def test_openais_other_endpoints_say_what_works(gateway, path, words):
    for method in ("POST", "GET"):
        error = assert_openai_error(ask(gateway, path, method, json={}), status=400)
        assert error["code"] == "unsupported_endpoint"
        assert words in error["message"]


@pytest.mark.parametrize(
    "path",
    ["/v1/messages/batches", "/v1/messages/batches?beta=true", "/v1/complete", "/messages/batches"],
)
def test_anthropics_are_told_in_its_shape(gateway, path):
    answer = ask(gateway, path, json={"model": "auto", "messages": []})
    assert answer.status_code == 400
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert "POST /v1/messages" in body["error"]["message"]


def test_others_are_told_in_theirs(gateway):
    answer = ask(gateway, "/v1beta/models/gemini-2.5-pro:generateContent", json={})
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert "/v1/chat/completions" in ask(gateway, "/api/chat", json={}).json()["error"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1/models", "/v1/models"),
        ("/v1/chat/completions/models", "/v1/models"),
        ("/api/v1/messages", "/v1/messages"),
    ],
)
def test_a_base_url_that_says_too_much_is_told(gateway, path, meant):
    error = assert_openai_error(ask(gateway, path, json={}), status=404)
    assert error["code"] == "unknown_url"
    assert f"did you mean {meant}?" in error["message"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing/at/all", "/v1", "/", "/v1/chatter"])
def test_nothing_is_guessed_of_other_paths(gateway, path):
    answer = ask(gateway, path, "PUT")
    assert "did you mean" not in answer.text
    assert answer.status_code in {404, 405}


def test_the_official_client_shows_the_words(gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=0)
    with client, pytest.raises(openai.BadRequestError, match="no files API"):
        client.files.list()


def test_the_docs_know_where_a_key_is_asked_for(gateway, fresh_gateway):
    keyed = fresh_gateway({"auth.mode": "keys", "store.data_dir": "store"})
    document = ask(keyed, "/openapi.json", "GET").json()
    schemes = document["components"]["securitySchemes"]
    assert schemes["virtual_key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            needs_key = operation.get("security") == [{"virtual_key": []}]
            assert needs_key == path.startswith("/v1/")
    open_document = ask(gateway, "/openapi.json", "GET").json()
    assert "virtual_key" not in open_document["components"]["securitySchemes"]
