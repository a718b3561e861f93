"""Calls that clients make for themselves: titles, summaries, topics. No user waits for wit in them.

They are known by the words of the clients that make them, at the beginning of the system prompt or
of the newest message; a user who asks for a title or a summary asks in others.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from routers.types import Conversation, Role

_CHARS = 1_500
"""So much of a text's beginning is looked at."""


class Housekeeping(StrEnum):
    """What a call is for that no user made."""

    TITLE = "title"
    TOPIC = "topic"
    SUMMARY = "summary"
    """Of the conversation so far, so that it can go on without it."""
    SUGGESTION = "suggestion"
    """What the user may want to ask next."""
    CHECK = "check"
    """Of a command or a connection, before anything is done."""


def _patterns(
    words: Mapping[Housekeeping, Sequence[str]],
) -> Mapping[Housekeeping, re.Pattern[str]]:
    return {
        kind: re.compile("|".join(rf"\s*{each}" for each in wordings), re.IGNORECASE | re.DOTALL)
        for kind, wordings in words.items()
    }


_SYSTEM = _patterns(
    {
        Housekeeping.TOPIC: [
            r"analyze if this message indicates a new conversation topic",  # Claude Code
        ],
        Housekeeping.TITLE: [
            r"you are a title generator\b",  # opencode
            r"generate a concise,? (?:sentence-case )?title\b",  # Claude Code
            r"you are coming up with a succinct title",
            r"you are an expert in crafting (?:pithy|short) titles for chat ?bot conv",  # VS Code
        ],
        Housekeeping.SUMMARY: [
            r"you are a helpful ai assistant tasked with summarizing conversations",
            r"you are the component that summarizes internal chat history",  # Gemini CLI
            r"you are an anchored context summarization assistant",
            r"summarize this coding conversation in under \d+ characters",
        ],
        Housekeeping.CHECK: [
            r"your task is to process bash commands that an ai coding agent wants to run",
            r"extract any file paths that this command reads or modifies",
        ],
    }
)

_TASK = r"###\s*task:\s*"
"""How Open WebUI begins."""

_NEWEST = _patterns(
    {
        Housekeeping.TITLE: [
            r"please write a 5-10 word title for the following conversation",
            r"generate a title for this conversation:?\s*$",  # opencode
            r"generate a concise \d-\d word title for this conversation, omitting punct",  # Zed
            rf"{_TASK}(?:you are a title generator\.\s*)?generate a concise, \d-\d word title\b",
            r"provide a concise, \d-word-or-less title for the conversation",  # LibreChat
        ],
        Housekeeping.TOPIC: [rf"{_TASK}generate 1-3 broad tags categorizing the main themes"],
        Housekeeping.SUMMARY: [
            r"your task is to create a detailed summary of the conversation so far",  # Claude Code
            r"critical: respond with text only\b.{0,800}?summary of the conversation so far",
            r"you are performing a context checkpoint compaction",  # Codex
            r"create a detailed summary of the conversation so far\b.{0,200}compact",
            r"provide a detailed (?:prompt|summary) for continuing our conversation above",
        ],
        Housekeeping.SUGGESTION: [
            r"\[suggestion mode:",
            rf"{_TASK}suggest 3-5 relevant follow-up questions",
            rf"{_TASK}you are an autocompletion system",
        ],
        Housekeeping.CHECK: [r"<policy_spec>", r"(?:warmup|quota)\s*$"],
    }
)


def housekeeping_of(conversation: Conversation) -> Housekeeping | None:
    """Return what a request is for that a client makes for itself; None for one of a user."""
    messages = conversation.messages
    for message in messages:
        if message.role is Role.SYSTEM:
            found = _first(_SYSTEM, message.text)
            if found is not None:
                return found
    newest = next((each for each in reversed(messages) if each.role is Role.USER), None)
    if newest is None:
        return None
    found = _first(_NEWEST, newest.text)
    # opencode asks first and tells the conversation after.
    if found is None and len(messages) <= 3:
        opener = next(each for each in messages if each.role is Role.USER)
        found = _first(_NEWEST, opener.text) if opener is not newest else None
    return found


def _first(patterns: Mapping[Housekeeping, re.Pattern[str]], text: str) -> Housekeeping | None:
    head = text[:_CHARS]
    return next((kind for kind, pattern in patterns.items() if pattern.match(head)), None)
