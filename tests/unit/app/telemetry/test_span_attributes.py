"""Prompts in spans are redacted while others wait, so that they are short."""

import json

from app.outcome import Texts
from app.telemetry._span_attributes import MAX_TEXT_CHARS, text_attributes
from routers.types import Conversation, Message, Role


def texts(*prompt):
    conversation = Conversation(tuple(Message(Role.USER, text) for text in prompt))
    return Texts(conversation=conversation)


def prompt_of(attributes):
    return [each["parts"][0]["content"] for each in json.loads(attributes["gen_ai.input.messages"])]


def test_of_a_long_conversation_the_newest_messages_are_told_whole():
    redacted = []

    def redact(text):
        redacted.append(len(text))
        return text.replace("secret", "[redacted]")

    half = "x" * (MAX_TEXT_CHARS // 2)
    attributes = text_attributes(texts(half, half, "a secret", half[:-1_000]), redact)
    assert prompt_of(attributes) == [half, "a [redacted]", half[:-1_000]]
    assert sum(redacted) <= MAX_TEXT_CHARS


def test_many_small_messages_are_not_all_told():
    attributes = text_attributes(texts(*["a"] * 100_000), str)
    assert 500 < len(prompt_of(attributes)) < 2_000
