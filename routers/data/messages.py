"""Conversations as files hold them: the `messages` of a chat request."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from routers.data.media import media_of_messages
from routers.decision.judged import LEVELS, judged_by_chances
from routers.errors import DataError
from routers.files import shown_value
from routers.request.declared import declared_documents
from routers.types import ROLES, Conversation, Document, Message, Role

Prompt = str | Conversation | Sequence[Mapping[str, Any]]
"""A text, or the messages of a chat request."""


def read_messages(where: str, messages: object) -> Conversation:
    """Take the text out of the messages of a chat request.

    Raises
    ------
    DataError
        If they are none; the message begins with `where`.
    """
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: 'messages' must be a list of at least one message")
    said = tuple(_message(where, message) for message in messages)
    return Conversation(said, media_of_messages(messages))


def read_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Conversation]:
    """Return one conversation for one prompt, or for the messages of one; else one for each.

    Raises
    ------
    DataError
        If messages are none.
    """
    if isinstance(prompts, str | Conversation):
        return [_read_prompt(prompts)]
    if prompts and isinstance(prompts[0], Mapping):
        return [read_messages("the prompt", list(prompts))]
    return [_read_prompt(each) for each in prompts]  # type: ignore[arg-type]


def _read_prompt(prompt: Prompt) -> Conversation:
    if isinstance(prompt, Conversation):
        return prompt
    if isinstance(prompt, str):
        return Conversation.of(prompt)
    return read_messages("the prompt", list(prompt))


def conversation_key(conversation: Conversation) -> str:
    """Return a text that tells conversations apart: of a single prompt, the prompt itself."""
    messages = conversation.messages
    if len(messages) == 1 and messages[0].role is Role.USER:
        return messages[0].text
    return "\n".join(f"{message.role}: {message.text}" for message in messages)


def documents_key(documents: Sequence[Document]) -> str:
    """Return what tells the same text with other documents apart; nothing without any."""
    if not documents:
        return ""
    told = json.dumps([[each.text, each.score] for each in documents])
    return f"\ndocuments: {hashlib.sha256(told.encode('utf-8', 'replace')).hexdigest()[:16]}"


def read_documents(where: str, value: object) -> tuple[Document, ...]:
    """Read the documents of a query; JSON in a text, as tables hold it, counts as what it says.

    Raises
    ------
    DataError
        If they are none; the message begins with `where`.
    """
    try:
        return declared_documents(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: 'documents' {error}") from None


def read_judged(where: str, value: object) -> tuple[float, ...]:
    """Read what a decision model said of a query: the chance of each level; nothing of none.

    That is what the gateway is told: `{"level": {"easy": 0.3, "hard": 0.7}}`, as JSON in a text
    where tables hold it.

    Raises
    ------
    DataError
        If it is none; the message begins with `where`.
    """
    if value is None:
        return ()
    told = value if isinstance(value, str) else json.dumps(_known(value), default=float)
    judged = judged_by_chances(told.encode("utf-8", "replace"), LEVELS, ())
    if judged is None:
        raise DataError(
            f"{where}: 'decision_model' must be an object with the chances of "
            f"{', '.join(LEVELS)} under `level`, got {shown_value(value)}"
        )
    return tuple(judged.level.values())


def _known(value: object) -> object:
    """Return a structure without the fields that a table has for other rows alone."""
    level = value.get("level") if isinstance(value, dict) else None
    if not isinstance(level, dict):
        return value
    return {"level": {word: chance for word, chance in level.items() if chance is not None}}


def group_of(where: str, record: Mapping[str, object], names: Sequence[str]) -> str:
    """Return where a query comes from: `set/benchmark`, as far as the record tells.

    Raises
    ------
    DataError
        If one of the entries is neither a text nor a number.
    """
    labels = [(name, record[name]) for name in names if record.get(name) is not None]
    for name, label in labels:
        if not isinstance(label, str | int | float):
            raise DataError(f"{where}: {name!r} must be a text, got {shown_value(label)}")
    return "/".join(str(label) for _, label in labels)


def _message(where: str, message: object) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{where}: a message needs a role out of {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise DataError(f"{where}: the content of a message must be text or a list of parts")
    return Message(ROLES[role], content)
