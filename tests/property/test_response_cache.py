"""What holds of cached answers, whatever is asked and answered."""

import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.access.guard import Caller
from app.gateway._answer_key import answer_name
from app.providers.base import Chunk
from app.wire.answer_pieces import Assembler, is_keepable, replay
from tests.support.completions import as_stream, completion
from tests.support.policies import routed

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(["messages", "temperature", "tools", "seed", "x", "stream", "user"])
bodies = st.dictionaries(names, values, max_size=5)
left_out = {"stream", "user"}


def name_of(body: dict[str, Any], **spelling: Any) -> str:
    fields = {key: json.dumps(value, **spelling).encode() for key, value in body.items()}
    return answer_name(routed(fields), version="v")


def shuffled(value: Any) -> Any:
    """Return the same value with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@settings(max_examples=100, deadline=None)
@given(bodies)
def test_no_spelling_of_a_body_makes_another_question(body):
    assert name_of(body) == name_of(shuffled(body), indent=1, ensure_ascii=False)


@settings(max_examples=100, deadline=None)
@given(bodies, bodies)
def test_any_other_body_is_another_question(one, other):
    # As JSON: there 1 and true are two things, to Python they are one.
    relevant = [
        json.dumps({k: v for k, v in body.items() if k not in left_out}, sort_keys=True)
        for body in (one, other)
    ]
    assert (name_of(one) == name_of(other)) == (relevant[0] == relevant[1])


@settings(max_examples=100, deadline=None)
@given(bodies, st.text(max_size=5), st.text(max_size=5))
def test_no_two_tenants_share_a_name(body, one, other):
    assume(one != other)
    fields = {key: json.dumps(value).encode() for key, value in body.items()}
    names = {
        answer_name(routed(fields, caller=Caller(None, each, None)), version="v")
        for each in (one, other)
    }
    assert len(names) == 2


texts = st.text(st.characters(codec="utf-8"), max_size=30)
calls = st.builds(
    lambda call_id, name, arguments: {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    texts,
    texts,
    texts,
)
messages = st.one_of(
    st.builds(lambda text: {"content": text}, texts),
    st.builds(lambda text: {"refusal": text}, texts),
    st.builds(lambda some: {"tool_calls": some}, st.lists(calls, min_size=1, max_size=3)),
    st.builds(
        lambda text, some: {"content": text, "tool_calls": some},
        texts.filter(bool),
        st.lists(calls, min_size=1, max_size=3),
    ),
)
completions = st.lists(messages, min_size=1, max_size=3).map(lambda some: completion(*some))


@settings(max_examples=80, deadline=None)
@given(completions)
def test_a_stream_and_its_replay_come_to_the_same_answer(answer):
    assembler = Assembler(10_000)
    for chunk in as_stream(answer):
        assembler.feed(chunk)
    whole = assembler.completion()
    assert whole is not None
    assert is_keepable(whole)
    assert json.loads(whole) == answer
    events, usage_event = replay(whole, include_usage=True)
    again = Assembler(10_000)
    again.feed(Chunk(data=events, usage_event=usage_event))
    assert again.completion() == whole


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), values.map(lambda each: json.dumps(each).encode())))
def test_no_event_breaks_the_assembling(payload):
    assembler = Assembler(1_000)
    assembler.feed(Chunk(data=b"data: " + payload + b"\n\n", usage_event=payload))
    assembler.completion()
    assert is_keepable(payload) in (True, False)


wild_deltas = st.dictionaries(
    st.sampled_from(["role", "content", "refusal", "tool_calls", "function_call", "annotations"]),
    values,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(wild_deltas, max_size=4), values)
def test_no_delta_breaks_the_assembling(deltas, wild):
    assembler = Assembler(1_000)
    for delta in deltas:
        piece = {"index": 0, "delta": delta, "logprobs": wild, "finish_reason": "stop"}
        event = {"id": "1", "choices": [piece], "usage": {"prompt_tokens": 1}}
        assembler.feed(Chunk(data=b"data: " + json.dumps(event).encode() + b"\n\n"))
    whole = assembler.completion()
    if whole is not None and is_keepable(whole):
        replay(whole, include_usage=False)
