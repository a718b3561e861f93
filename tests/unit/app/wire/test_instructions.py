"""What an operator says to a model before the client's own messages."""

import msgspec
import pytest

from app.paths import MESSAGES, RESPONSES
from app.wire.body import Body
from app.wire.instructions import before_messages, with_instructions


def fields(**values):
    return {name: msgspec.json.encode(value) for name, value in values.items()}


def told(body, name):
    return msgspec.json.decode(body.sent[name])


def test_a_chat_begins_with_them():
    body = with_instructions(Body(fields(messages=[{"role": "user", "content": "x"}])), "Do it.")
    assert told(body, "messages")[0] == {"role": "system", "content": "Do it."}
    assert body.chat() == body.sent


@pytest.mark.parametrize(
    ("system", "becomes"),
    [
        (None, "Do it."),
        ("", "Do it."),
        ("Be kind.", "Do it.\n\nBe kind."),
        (
            [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
            [
                {"type": "text", "text": "Do it."},
                {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
            ],
        ),
        ([], "Do it."),
    ],
)
def test_messages_keep_the_clients_system_prompt(system, becomes):
    chat = fields(messages=[{"role": "user", "content": "x"}])
    sent = Body(fields(system=system), dialect=MESSAGES, translate=lambda _: chat)
    body = with_instructions(sent, "Do it.")
    assert told(body, "system") == becomes
    assert body.native(MESSAGES) is body.sent
    assert msgspec.json.decode(body.chat()["messages"])[0]["content"] == "Do it."
    assert body.translation is sent.translation


def test_responses_keep_their_instructions():
    sent = Body(fields(instructions="Be kind."), dialect=RESPONSES, translate=lambda _: {})
    assert told(with_instructions(sent, "Do it."), "instructions") == "Do it.\n\nBe kind."


def test_they_stay_where_a_field_is_left_out():
    chat = fields(messages=[{"role": "user", "content": "x"}])
    sent = Body(fields(session_id="a"), dialect=MESSAGES, translate=lambda _: chat)
    body = with_instructions(sent, "Do it.").without("session_id")
    assert "session_id" not in body.sent
    assert len(msgspec.json.decode(body.chat()["messages"])) == 2


def test_a_dialect_without_a_place_for_them_goes_on_as_a_chat():
    chat = fields(messages=[{"role": "user", "content": "x"}])
    body = with_instructions(Body({}, dialect="other", translate=lambda _: chat), "Do it.")
    assert body.native("other") is None
    assert len(told(body, "messages")) == 2


@pytest.mark.parametrize("messages", [b"[]", b" [ ] ", b""])
def test_nothing_before_nothing(messages):
    joined = before_messages(messages.replace(b" ", b""), b'[{"role":"system","content":"x"}]')
    assert len(msgspec.json.decode(joined)) == 1
