import json

import pytest

from app import errors
from app.errors import UpstreamInvalidResponseError, UpstreamRejectedError
from app.http_client.transport import HttptoolsTransport
from app.providers.anthropic import AnthropicProvider
from app.providers.messages.wire import whole_answer
from app.providers.translation.errors import openai_error_body
from app.usage import ToldUsage
from tests.support.fixtures import fixture

RECORDED = json.loads(fixture("anthropic/errors.json"))


def failure(status: int, body: dict, headers=()):
    provider = AnthropicProvider(
        base_url="https://api.anthropic.com/v1", api_key="sk-1", transport=HttptoolsTransport()
    )
    return provider._failure(status, headers, json.dumps(body).encode())


def test_whole_answer_becomes_a_completion():
    chunk = whole_answer(fixture("anthropic/tool_use.json"), ((b"a", b"b"),))
    body = json.loads(chunk.data)
    assert isinstance(body.pop("created"), int)
    assert body == {
        "id": "msg_01steelyard",
        "object": "chat.completion",
        "model": "claude-sonnet-5-5",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I'll look at the scales.",
                    "refusal": None,
                    "reasoning_content": "Moments must balance.",
                    "thinking_blocks": [
                        {
                            "type": "thinking",
                            "thinking": "Moments must balance.",
                            "signature": "EqQBCgIYAhIM1gbcDa9G",
                        }
                    ],
                    "tool_calls": [
                        {
                            "id": "toolu_01a",
                            "type": "function",
                            "function": {
                                "name": "weigh",
                                "arguments": body["choices"][0]["message"]["tool_calls"][0][
                                    "function"
                                ]["arguments"],
                            },
                        },
                        {
                            "id": "toolu_01b",
                            "type": "function",
                            "function": {"name": "list_scales", "arguments": "{}"},
                        },
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 2465,
            "completion_tokens": 65,
            "total_tokens": 2530,
            "prompt_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 40},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    }
    arguments = body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"item": "lead", "kg": [1, 2.5]}
    assert chunk.usage == ToldUsage(
        input_tokens=2465,
        output_tokens=65,
        cached_input_tokens=2048,
        reasoning_tokens=20,
        cache_write_tokens=40,
        cache_write_1h_tokens=chunk.usage.cache_write_1h_tokens,
    )
    assert (chunk.response_model, chunk.finish_reason) == ("claude-sonnet-5-5", "tool_calls")
    assert chunk.headers == ((b"a", b"b"),)


def test_refusal_is_told_with_its_explanation():
    chunk = whole_answer(fixture("anthropic/refusal.json"), ())
    (choice,) = json.loads(chunk.data)["choices"]
    assert choice["finish_reason"] == chunk.finish_reason == "content_filter"
    assert choice["message"]["content"] == ""
    assert choice["message"]["refusal"] == "This request was refused due to policy."


def test_missing_usage_is_left_to_be_estimated():
    chunk = whole_answer(b'{"content":[{"type":"text","text":"four"}]}', ())
    assert chunk.usage is None
    assert "usage" not in json.loads(chunk.data)
    assert (chunk.content_events, chunk.content_chars) == (1, 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content":null}',
        b'{"content":[7]}',
        b'{"content":[{"type":"text","text":7}]}',
        b'{"content":[]}',
        b'{"content":' + b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_an_invalid_response(body):
    with pytest.raises(UpstreamInvalidResponseError):
        whole_answer(body, ())


def test_what_is_no_text_costs_only_itself():
    body = b'{"content":[{"type":"tool_use","id":"t","name":"f","input":{"a":"\xff"}}]}'
    told = json.loads(whole_answer(body, ()).data)
    (call,) = told["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": "\ufffd"}
    lone = rb'{"content":[{"type":"text","text":"a \ud83d b","citations":null}]}'
    message = json.loads(whole_answer(lone, ()).data)["choices"][0]["message"]
    assert message["content"] == "a \ufffd b"


@pytest.mark.parametrize(
    "recorded", RECORDED, ids=[f"{each['status']}-{each['raises']}" for each in RECORDED]
)
def test_every_documented_error_has_its_class(recorded):
    error = failure(recorded["status"], recorded["body"])
    assert type(error) is getattr(errors, recorded["raises"])
    assert error.status == recorded["status"]
    if isinstance(error, UpstreamRejectedError):
        told = json.loads(error.body)["error"]
        assert told.keys() == {"message", "type", "param", "code"}
        assert told["message"] == recorded["body"]["error"]["message"]
    else:
        assert error.body is None
        assert recorded["body"]["error"]["message"] not in error.message


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("invalid_request_error", "prompt is too long: 9 > 8", "context_length_exceeded"),
        ("request_too_large", "Request exceeds the maximum size", "request_too_large"),
        ("invalid_request_error", "max_tokens: must be positive", None),
    ],
)
def test_error_codes_are_those_that_clients_branch_on(kind, message, code):
    body = {"type": "error", "error": {"type": kind, "message": message}}
    assert json.loads(openai_error_body(json.dumps(body).encode()))["error"] == {
        "message": message,
        "type": kind,
        "param": None,
        "code": code,
    }


def test_what_something_in_between_says_is_told_in_openais_shape():
    error = failure(400, {"detail": "proxy"})
    assert type(error) is UpstreamRejectedError
    assert json.loads(error.body)["error"]["message"] == "proxy"


def test_retry_after_is_kept():
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}
    assert failure(429, body, [(b"retry-after", b"12")]).retry_after_s == 12.0
