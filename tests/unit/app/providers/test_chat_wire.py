import json

import pytest

from app.errors import UpstreamInvalidResponseError
from app.providers.chat.wire import (
    decode_completion,
    decode_event,
    encode_request,
    has_content,
    mend_event,
    text_chars,
)
from app.providers.http.lenient import Mender


def encode(fields, *, stream=False, ask_for_usage=True):
    return encode_request(fields, model="up", stream=stream, ask_for_usage=ask_for_usage)


def test_client_values_are_sent_byte_for_byte():
    fields = {
        "messages": b'[ {"role":"user", "content":"\\u00e9 \xc3\xa9 1e400"} ]',
        "seed": b"12345678901234567890123",
        "temperature": b"1.0",
        "unknown_field": b'{"a" : 1}',
    }
    body = encode(fields)
    for key, value in fields.items():
        assert b'"%b":%b' % (key.encode(), value) in body
    assert json.loads(body)["model"] == "up"
    assert b"stream" not in body


def test_model_of_the_upstream_replaces_any_other():
    assert json.loads(encode({"model": b'"auto"'})) == {"model": "up"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        (b"null", {"include_usage": True}),
        (b" null ", {"include_usage": True}),
        (b"{}", {"include_usage": True}),
        (b'{"include_usage":false,"x":[1]}', {"include_usage": True, "x": [1]}),
        (b'{"include_obfuscation":false}', {"include_usage": True, "include_obfuscation": False}),
        (b'"wrong"', "wrong"),
    ],
)
def test_streams_are_asked_for_usage_and_keep_the_clients_options(options, expected):
    fields = {} if options is None else {"stream_options": options}
    body = json.loads(encode({**fields, "stream": b"false"}, stream=True))
    assert body["stream"] is True
    assert body["stream_options"] == expected


def test_servers_that_refuse_stream_options_get_none_of_ours():
    assert json.loads(encode({}, stream=True, ask_for_usage=False)) == {
        "model": "up",
        "stream": True,
    }


@pytest.mark.parametrize(
    ("delta", "content", "chars"),
    [
        ({"role": "assistant"}, False, 0),
        ({"role": "assistant", "content": "", "refusal": None, "tool_calls": []}, False, 0),
        ({"content": "héllo"}, True, 5),
        ({"refusal": "no"}, True, 2),
        ({"reasoning_content": "hm", "reasoning": "hm"}, True, 2),
        ({"reasoning": "hm", "content": "so"}, True, 4),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]}, True, 5),
        ({"tool_calls": [{"index": 0, "function": None}, 7]}, True, 0),
        ({"function_call": {"name": "f", "arguments": None}}, True, 1),
        ({"audio": {"data": "AAAA"}}, True, 0),
        ({"something_new": "x"}, True, 0),
        ({"content": [{"type": "text"}]}, True, 0),
    ],
)
def test_what_counts_as_content(delta, content, chars):
    assert has_content(delta) is content
    assert text_chars(delta) == chars


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"7", b"<html>", b"[" * 90_000])
def test_what_is_no_object_is_no_event(data):
    assert decode_event(data) is None
    with pytest.raises(UpstreamInvalidResponseError):
        mend_event(data, Mender())


@pytest.mark.parametrize(
    ("data", "deltas"),
    [
        (b'{"choices":[{"delta":{"content":"a"}}],"model":7,"object":[]}', [{"content": "a"}]),
        (b'{"choices":[{"delta":"a","finish_reason":0}]}', [{"content": "a"}]),
        (b'{"choices":[{"delta":["a"]},{"delta":null}]}', [None, None]),
        (b'{"choices":[null,{"delta":{"content":"a"}}]}', [{"content": "a"}]),
        (b'{"choices":{}}', []),
        (b'{"choices":null,"usage":{}}', None),
    ],
)
def test_of_an_odd_event_is_taken_what_is_in_order(data, deltas):
    event, _ = mend_event(data, Mender())
    assert (None if event.choices is None else [each.delta for each in event.choices]) == deltas


def test_an_odd_event_that_is_json_passes_as_it_came():
    data = b'{"choices":[ {"index":null,"delta":"a"} ],"model":1.50}'
    assert mend_event(data, Mender())[1] is data
    event, told = mend_event(b'{"choices":[null,{"delta":{}}],"x":1.50}', Mender())
    assert json.loads(told) == {"choices": [{"delta": {}}], "x": 1.5}
    assert len(event.choices) == 1


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"{}", []),
        (b'{"choices":null}', []),
        (b'{"choices":"x"}', []),
        (b'{"choices":[{"message":null}]}', [None]),
        (b'{"choices":[{"message":{"content":"a"}}],"model":{}}', [{"content": "a"}]),
    ],
)
def test_of_an_odd_answer_is_taken_what_is_in_order(body, contents):
    completion, told = decode_completion(body)
    assert [each.message for each in completion.choices or ()] == contents
    assert told is body


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"choices":'])
def test_what_is_no_object_is_no_answer(body):
    with pytest.raises(UpstreamInvalidResponseError):
        decode_completion(body)
