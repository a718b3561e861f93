import json

import pytest

from app.api.dialects.base import parsed_chat
from app.errors import InvalidRequestError
from app.wire.completions.answer import text_events, whole_text
from app.wire.completions.request import read_text_request


def read(**fields):
    body = json.dumps({"model": "m", "prompt": "Hi", **fields}).encode()
    return parsed_chat(*read_text_request(body))


def chat(request):
    return {name: json.loads(raw) for name, raw in request.body.chat().items()}


@pytest.mark.parametrize("prompt", ['Hi "you"', ['Hi "you"']], ids=repr)
def test_a_single_text_is_the_message_of_a_user(prompt):
    request = read(prompt=prompt, temperature=0.5, stop=["\n"], n=2, suffix=None, echo=False)
    assert chat(request) == {
        "messages": [{"role": "user", "content": 'Hi "you"'}],
        "temperature": 0.5,
        "stop": ["\n"],
        "n": 2,
        "max_tokens": 16,
    }
    assert request.body.untold is None
    assert request.conversation.messages[0].text == 'Hi "you"'
    assert request.demand.n_answers == 2
    assert request.demand.max_output_tokens == 16


def test_what_was_sent_stays_as_it_was():
    raw = b'{"model":"m","prompt" : "h\\u00e9" ,"logit_bias":{"1": 1.0},"routing":{},"x":[1.50]}'
    own = read_text_request(raw)[1].native("completions")
    assert own == {"prompt": b'"h\\u00e9"', "logit_bias": b'{"1": 1.0}', "x": b"[1.50]"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"suffix": "}"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"logprobs": 0}, "logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
    ids=repr,
)
def test_what_a_chat_cannot_say_is_named_and_tells_requests_apart(fields, param):
    request = read(**fields)
    assert request.body.untold[0] == param
    assert request.body.chat() != read().body.chat()
    assert "messages" in request.body.chat()


@pytest.mark.parametrize(
    ("fields", "tokens", "n_answers"),
    [
        ({"prompt": [7] * 100}, 100, 1),
        ({"prompt": [[7] * 100, [7] * 50], "n": 3}, 150, 6),
        ({"prompt": ["a", "b", "c"], "best_of": 4, "n": 2}, None, 12),
        ({"prompt": [[]]}, 1, 1),
        ({"prompt": ["", "x"]}, None, 2),
    ],
    ids=repr,
)
def test_every_prompt_is_counted(fields, tokens, n_answers):
    demand = read(**fields).demand
    assert demand.n_answers == n_answers
    if tokens is not None:
        assert demand.input_tokens == demand.input_tokens_upper == tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [[1], [1.5]]}, "prompt"),
        ({"prompt": [[1], "a"]}, "prompt[1]"),
        ({"echo": "yes"}, "echo"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"best_of": 0}, "best_of"),
    ],
    ids=repr,
)
def test_what_is_no_prompt_is_refused(fields, param):
    with pytest.raises(InvalidRequestError) as caught:
        read(**fields)
    assert caught.value.param == param


def test_a_chat_request_is_told_where_it_belongs():
    body = json.dumps({"model": "m", "messages": []}).encode()
    with pytest.raises(InvalidRequestError, match="/v1/chat/completions"):
        read_text_request(body)


def test_more_prompts_than_there_may_be_are_counted_before_they_are_made():
    body = b'{"model":"m","prompt":[' + b"[]," * 100 + b"[]]}"
    with pytest.raises(InvalidRequestError, match="101 prompts; at most 100"):
        read_text_request(body, max_messages=100)
    many = json.dumps({"model": "m", "prompt": ["a"] * 101}).encode()
    with pytest.raises(InvalidRequestError, match="101 prompts; at most 100"):
        read_text_request(many, max_messages=100)


def test_a_whole_chat_is_told_as_text():
    answer = json.loads(
        whole_text(
            json.dumps(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 7,
                    "model": "m",
                    "choices": [
                        {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"},
                        {"index": 1, "message": {"refusal": "No"}, "finish_reason": "tool_calls"},
                        {"index": 2, "message": {"content": None}, "finish_reason": "length"},
                    ],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
                }
            ).encode()
        )
    )
    assert answer == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 7,
        "model": "m",
        "choices": [
            {"text": "Hi", "index": 0, "logprobs": None, "finish_reason": "stop"},
            {"text": "No", "index": 1, "logprobs": None, "finish_reason": "stop"},
            {"text": "", "index": 2, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }


def test_of_a_stream_only_texts_ends_and_comments_are_told():
    def event(delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        payload = {"id": "chatcmpl-1", "model": "m", "choices": [choice]}
        return b"data: %b\n\n" % json.dumps(payload).encode()

    events = text_events(
        event({"role": "assistant", "content": ""})
        + b": ping\n\n"
        + event({"reasoning_content": "Hm"})
        + event({"content": "Hi"})
        + event({}, "stop")
    )
    head = '"id":"cmpl-1","object":"text_completion","model":"m"'
    first = '"text":"Hi","index":0,"logprobs":null,"finish_reason":null'
    last = '"text":"","index":0,"logprobs":null,"finish_reason":"stop"'
    assert events.decode().split("\n\n") == [
        ": ping",
        f'data: {{{head},"choices":[{{{first}}}]}}',
        f'data: {{{head},"choices":[{{{last}}}]}}',
        "",
    ]
