import json

import pytest

from app import errors
from app.errors import UpstreamInvalidResponseError
from app.http_client.transport import HttptoolsTransport
from app.providers.gemini import GeminiProvider
from app.providers.generate_content.wire import whole_answer
from app.usage import Usage
from tests.support.fixtures import fixture

ERRORS = json.loads(fixture("gemini/errors.json"))


def answer(body: bytes) -> dict:
    return json.loads(whole_answer(body, ()).data)


def said(**candidate: object) -> bytes:
    told = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", **candidate}
    return json.dumps({"candidates": [told]}).encode()


def test_a_whole_answer():
    chunk = whole_answer(fixture("gemini/answer.json"), ((b"x", b"y"),))
    body = json.loads(chunk.data)
    (choice,) = body["choices"]
    message = choice["message"]
    assert body["object"] == "chat.completion"
    assert body["model"] == chunk.response_model == "gemini-3-flash-preview"
    assert choice["finish_reason"] == chunk.finish_reason == "tool_calls"
    assert message["content"] == "Lead is heavier."
    assert message["reasoning_content"] == "Weighing…"
    assert message["extra_content"] == {"google": {"thought_signature": "EpYBseal"}}
    (call,) = message["tool_calls"]
    assert call["id"] == "call_c2sVaeOyNeiQ28oP0PKRwQ8_0"
    assert call["extra_content"] == {"google": {"thought_signature": "EqACcall"}}
    assert json.loads(call["function"]["arguments"]) == {"item": "lead", "n": 2}
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 32
    assert chunk.usage.filled(input_tokens=0, output_tokens=0) == Usage(
        input_tokens=60, output_tokens=32, cached_input_tokens=32, reasoning_tokens=20
    )
    assert dict(chunk.headers)[b"x-upstream-request-id"] == b"c2sVaeOyNeiQ28oP0PKRwQ8"


def test_a_blocked_prompt_is_an_answer_of_the_filter():
    body = answer(fixture("gemini/blocked_prompt.json"))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert "SAFETY" in choice["message"]["refusal"]
    assert choice["message"]["content"] == ""


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("RECITATION", "content_filter"),
        ("SPII", "content_filter"),
        ("OTHER", "stop"),
        ("TO_COME", "stop"),
    ],
)
def test_reasons_to_end(reason, told):
    assert answer(said(finishReason=reason))["choices"][0]["finish_reason"] == told


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"nonsense",
        said(finishReason=None),
        said(finishReason="UNEXPECTED_TOOL_CALL"),
        b'{"candidates":[]}',
        b'{"candidates":[{"content":{"role":"model"}}]}',
    ],
)
def test_what_is_no_answer_is_none(body):
    with pytest.raises(UpstreamInvalidResponseError):
        whole_answer(body, ())


def test_ids_stay_within_what_other_vendors_take():
    call = {"functionCall": {"name": "f", "args": {}, "id": "x" * 60}}
    body = answer(said(content={"parts": [call]}))
    assert len(body["choices"][0]["message"]["tool_calls"][0]["id"]) <= 40


def test_a_header_is_only_made_of_what_looks_like_an_id():
    evil = json.loads(said()) | {"responseId": "a\r\nset-cookie: b"}
    assert whole_answer(json.dumps(evil).encode(), ()).headers == ()


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["name"])
async def test_errors(case):
    provider = GeminiProvider(
        base_url=GeminiProvider.example_url, api_key="k" * 20, transport=HttptoolsTransport()
    )
    error = provider._failure(case["status"], (), json.dumps(case["body"]).encode())
    assert type(error) is getattr(errors, case["error"])
    assert error.retry_after_s == case.get("wait_s")
    if error.body is not None:
        told = json.loads(error.body)["error"]
        assert told.keys() == {"message", "type", "param", "code"}
