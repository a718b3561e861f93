import json

import pytest

from app import errors
from app.errors import UpstreamInvalidResponseError
from app.http_client.transport import HttptoolsTransport
from app.providers.base import ModelCall, Timeouts
from app.providers.bedrock import BedrockProvider
from app.providers.converse.wire import whole_answer
from app.usage import Usage
from tests.support.fixtures import fixture

ERRORS = json.loads(fixture("bedrock/errors.json"))
HEADERS = ((b"x-upstream-request-id", b"req-1"),)


def bedrock() -> BedrockProvider:
    return BedrockProvider(
        base_url=BedrockProvider.example_url, api_key="k" * 20, transport=HttptoolsTransport()
    )


def said(**answer: object) -> bytes:
    told = {
        "output": {"message": {"role": "assistant", "content": [{"text": "a"}]}},
        "stopReason": "end_turn",
        **answer,
    }
    return json.dumps(told).encode()


def test_a_whole_answer():
    chunk = whole_answer(fixture("bedrock/answer.json"), HEADERS, model="nova")
    body = json.loads(chunk.data)
    (choice,) = body["choices"]
    message = choice["message"]
    assert (body["id"], body["model"]) == ("req-1", "nova")
    assert choice["finish_reason"] == chunk.finish_reason == "tool_calls"
    assert message["content"] == "Lead is heavier."
    assert message["reasoning_content"] == "Weighing…"
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Weighing…", "signature": "c2VhbA=="}
    ]
    (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"item": "lead", "n": 2}
    assert chunk.usage.filled(input_tokens=0, output_tokens=0) == Usage(
        input_tokens=92, output_tokens=32, cached_input_tokens=32
    )
    assert body["usage"]["prompt_tokens"] == 92


def test_a_prompt_router_tells_which_model_it_asked():
    router = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:::foundation-model/nova-pro"}}
    chunk = whole_answer(said(trace=router), (), model="router")
    assert chunk.response_model == "arn:aws:bedrock:::foundation-model/nova-pro"


def test_text_with_sources_is_text():
    cited = {"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": []}}
    output = {"message": {"role": "assistant", "content": [cited]}}
    body = json.loads(whole_answer(said(output=output), (), model="m").data)
    assert body["choices"][0]["message"]["content"] == "ab"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"nonsense",
        said(stopReason=None),
        said(stopReason="malformed_model_output"),
        said(output={"message": None}),
    ],
)
def test_what_is_no_answer_is_none(body):
    with pytest.raises(UpstreamInvalidResponseError):
        whole_answer(body, (), model="m")


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["name"])
async def test_errors(case):
    headers = ((b"X-Amzn-ErrorType", f"{case['type']}:http://internal.amazon.com/".encode()),)
    body = json.dumps({"message": case["message"]}).encode()
    error = bedrock()._failure(case["status"], headers, body)
    assert type(error) is getattr(errors, case["error"])
    if error.body is not None:
        told = json.loads(error.body)["error"]
        assert told.keys() == {"message", "type", "param", "code"}
        assert told["message"] == case["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_models_are_named_in_the_address_whatever_is_in_their_names(stream):
    name = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude:0"
    call = ModelCall(
        request_id="r", upstream_model=name, fields={}, stream=stream, timeouts=Timeouts()
    )
    path = bedrock()._url_of(call).raw_path.decode()
    assert path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2F"
        f"us.anthropic.claude%3A0/converse{'-stream' if stream else ''}"
    )
