"""Calls that clients make for themselves, known by their words."""

import pytest

from routers.text.housekeeping import Housekeeping, housekeeping_of
from routers.types import Conversation, Message, Role


def conversation(*texts, system=None):
    turns = [
        Message(Role.ASSISTANT if index % 2 else Role.USER, text)
        for index, text in enumerate(texts)
    ]
    first = [] if system is None else [Message(Role.SYSTEM, system)]
    return Conversation((*first, *turns))


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        (
            "Analyze if this message indicates a new conversation topic. If it does, extract a",
            Housekeeping.TOPIC,
        ),
        ("You are a title generator. You output ONLY a thread title.", Housekeeping.TITLE),
        ("Generate a concise, sentence-case title (3-7 words).", Housekeeping.TITLE),
        (
            "You are a helpful AI assistant tasked with summarizing conversations.",
            Housekeeping.SUMMARY,
        ),
        (
            "Your task is to process Bash commands that an AI coding agent wants to run.",
            Housekeeping.CHECK,
        ),
    ],
)
def test_by_the_system_prompt(system, kind):
    assert housekeeping_of(conversation("How do I sort a list?", system=system)) is kind


@pytest.mark.parametrize(
    ("newest", "kind"),
    [
        (
            "Please write a 5-10 word title for the following conversation:\n\nHi",
            Housekeeping.TITLE,
        ),
        (
            "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat.",
            Housekeeping.TITLE,
        ),
        ("### Task:\nSuggest 3-5 relevant follow-up questions", Housekeeping.SUGGESTION),
        ("[SUGGESTION MODE: Suggest what the user might type next]", Housekeeping.SUGGESTION),
        (
            "Your task is to create a detailed summary of the conversation so far, paying close",
            Housekeeping.SUMMARY,
        ),
        (
            "CRITICAL: Respond with TEXT ONLY.\n\nCreate a summary of the conversation so far",
            Housekeeping.SUMMARY,
        ),
        (
            "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary for",
            Housekeeping.SUMMARY,
        ),
        ("quota", Housekeeping.CHECK),
    ],
)
def test_by_the_newest_message(newest, kind):
    asked = conversation("Fix the parser.", "Done.", newest, system="You are Claude Code.")
    assert housekeeping_of(asked) is kind


def test_what_opencode_asks_before_the_conversation():
    asked = Conversation(
        (
            Message(Role.USER, "Generate a title for this conversation:\n"),
            Message(Role.USER, "Why does my build fail?"),
        )
    )
    assert housekeeping_of(asked) is Housekeeping.TITLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Please write a title for my blog post about cats.",
        "Summarize this conversation between two characters of my novel.",
        "Why does Claude Code ask to 'Analyze if this message indicates a new conversation topic'?",
        "Write a title generator in Rust.",
        "What does 'You are performing a CONTEXT CHECKPOINT COMPACTION' mean?",
        "What is my quota?",
        "### Task:\nWrite a poem.",
    ],
)
def test_what_a_user_asks_is_none(text):
    assert housekeeping_of(conversation(text, system="You are a helpful assistant.")) is None


def test_a_conversation_that_once_held_one_is_none():
    asked = conversation("quota", "ok", "Fix the parser.", "Done.", "Now the lexer.")
    assert housekeeping_of(asked) is None
    assert housekeeping_of(Conversation(())) is None
