import json

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.providers.base import Chunk
from app.wire.answer_pieces import Assembler, is_keepable, replay
from tests.support.completions import COMPLETIONS, as_stream, text_answer

each_completion = pytest.mark.parametrize("answer", COMPLETIONS.values(), ids=COMPLETIONS)


def payloads(events):
    """Return the JSON of every event, checking the frame."""
    assert events.endswith(b"\n\n")
    framed = events.removesuffix(b"\n\n").split(b"\n\n")
    assert all(each.startswith(b"data: ") and b"\n" not in each for each in framed)
    return [json.loads(each.removeprefix(b"data: ")) for each in framed]


def assembled(chunks, *, max_bytes=10_000):
    assembler = Assembler(max_bytes)
    for chunk in chunks:
        assembler.feed(chunk)
    return assembler.completion()


def chunk(*events):
    return Chunk(data=b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events))


def event(delta, *, finish_reason=None, **fields):
    piece = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "model": "m", "choices": [piece], **fields}


USAGE = Chunk(data=b"", usage_event=b'{"choices": [], "usage": {"prompt_tokens": 1}}')
END = chunk(event({}, finish_reason="stop"))


# --- replay -------------------------------------------------------------------------------------


@each_completion
def test_a_replayed_answer_is_what_the_official_client_takes_for_a_stream(answer):
    events, usage_event = replay(json.dumps(answer).encode(), include_usage=True)
    state = ChatCompletionStreamState()
    for payload in [*payloads(events), json.loads(usage_event)]:
        chunk = ChatCompletionChunk.model_validate(payload, strict=True)
        state.handle_chunk(chunk)
    taken = state.get_final_completion()
    expected = ChatCompletion.model_validate(answer)
    assert taken.usage == expected.usage
    assert (taken.id, taken.created, taken.model) == (
        expected.id,
        expected.created,
        expected.model,
    )
    for got, want in zip(taken.choices, expected.choices, strict=True):
        assert got.finish_reason == want.finish_reason
        assert (got.message.content or "") == (want.message.content or "")
        assert got.message.refusal == want.message.refusal
        calls = [call.function for call in want.message.tool_calls or ()]
        assert [
            (call.function.name, call.function.arguments) for call in got.message.tool_calls or ()
        ] == [(call.name, call.arguments) for call in calls]
        assert (got.logprobs is None) == (want.logprobs is None)
        if want.logprobs is not None:
            assert got.logprobs.content == want.logprobs.content


@each_completion
def test_a_replayed_answer_begins_with_its_role_and_ends_each_choice_once(answer):
    events, _ = replay(json.dumps(answer).encode(), include_usage=False)
    pieces = [piece for payload in payloads(events) for piece in payload["choices"]]
    for index in range(len(answer["choices"])):
        mine = [piece for piece in pieces if piece["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert [piece["finish_reason"] is None for piece in mine] == [True] * (len(mine) - 1) + [
            False
        ]
        assert not any("role" in piece["delta"] for piece in mine[1:])


def test_usage_is_told_once_and_only_to_who_asked():
    body = json.dumps(COMPLETIONS["a text"]).encode()
    events, usage_event = replay(body, include_usage=False)
    assert not any("usage" in payload for payload in payloads(events))
    events, usage_event = replay(body, include_usage=True)
    assert [payload["usage"] for payload in payloads(events)] == [None] * 3
    usage = json.loads(usage_event)
    assert usage["choices"] == []
    assert usage["object"] == "chat.completion.chunk"
    assert usage["usage"] == COMPLETIONS["a text"]["usage"]


def test_an_answer_without_usage_is_replayed_without():
    body = {**text_answer("x"), "usage": None}
    assert replay(json.dumps(body).encode(), include_usage=True)[1] is None


# --- assembling ---------------------------------------------------------------------------------


@each_completion
def test_a_stream_comes_to_the_whole_answer(answer):
    whole = assembled(as_stream(answer))
    assert json.loads(whole) == answer
    assert is_keepable(whole)


@each_completion
def test_a_replay_assembles_to_what_was_replayed(answer):
    events, usage_event = replay(json.dumps(answer).encode(), include_usage=True)
    again = assembled([Chunk(data=events, usage_event=usage_event)])
    want = json.loads(json.dumps(answer))
    for choice in want["choices"]:
        choice["message"] = {k: v for k, v in choice["message"].items() if v != []}
    assert json.loads(again) == want


def test_usage_beside_the_last_choice_counts_too():
    usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    chunks = [chunk(event({"content": "x"}), event({}, finish_reason="stop", usage=usage))]
    assert json.loads(assembled(chunks))["usage"] == usage


@pytest.mark.parametrize(
    "piece",
    [
        chunk(event({"audio": {"data": "AAAA"}})),
        chunk(event({"reasoning_details": [{"type": "reasoning.text", "text": "x"}]})),
        chunk(event({"content": ["x"]})),
        chunk(event({"content": 7})),
        chunk(event({"tool_calls": [{"id": "no index"}]})),
        chunk(event({"tool_calls": [{"index": 0, "function": {"arguments": 7}}]})),
        chunk(event({"tool_calls": {"index": 0}})),
        chunk({"choices": [7]}),
        chunk({"choices": 7}),
        chunk([]),
        Chunk(data=b"data: {\n\n"),
        Chunk(data=b"data: \xff\n\n"),
        Chunk(data=b"", usage_event=b"{}"),
        Chunk(data=b"data: " + b"[" * 10_000 + b"\n\n"),
    ],
)
def test_what_cannot_be_told_exactly_is_not_told(piece):
    sound = [chunk(event({"content": "x"})), END, USAGE]
    assert assembled(sound) is not None
    assert assembled([piece, *sound]) is None


def test_a_stream_without_its_usage_is_an_answer_without_it():
    whole = json.loads(assembled([chunk(event({"content": "x"})), END]))
    assert whole["choices"][0]["message"]["content"] == "x"
    assert "usage" not in whole


def test_a_stream_without_anything_is_no_answer():
    assert assembled([USAGE]) is None
    assert assembled([]) is None


def test_a_stream_that_was_cut_is_not_keepable():
    assert not is_keepable(assembled([chunk(event({"content": "x"})), USAGE]))


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x" * 60},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x" * 60}}]},
    ],
)
def test_an_answer_that_grows_too_long_is_given_up(delta):
    once, twice = [chunk(event(delta)), END, USAGE], [chunk(event(delta)), chunk(event(delta))]
    assert assembled(once, max_bytes=100) is not None
    assert assembled([*twice, END, USAGE], max_bytes=100) is None
