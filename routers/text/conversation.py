"""Which text of a conversation a router reads, decided in this one place."""

from collections.abc import Sequence

import msgspec

from routers.media.values import Media
from routers.text.window import head_and_tail
from routers.types import Conversation, DocumentNumbers, Message, Role

TEXT_VERSION = 1
"""To be raised whenever the same conversation gives other text or weights; artifacts store it."""

HISTORY_WINDOW_CHARS = 2_000
HISTORY_MESSAGE_CHARS = 1_000
SYSTEM_WINDOW_CHARS = 1_000

PROMPT_WEIGHT = 1.0
HISTORY_WEIGHT = 0.25
SYSTEM_WEIGHT = 0.1
"""How the unit vectors of the three segments add up.

Routers are trained on single prompts, so the newest user turn has to dominate: its cosine to
the sum is 0.966 where the three segments are orthogonal, 0.94 where both contexts point the same
foreign way; yet a short follow-up ("and in Python?") leans towards its
subject. A system prompt is the same for every request of an application, so it says least
about this one.
"""


class ConversationText(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The segments of a conversation that are read, each bounded but for the prompt itself."""

    prompt: str
    """The newest user turn, whole; consumers read its head and tail."""
    history: str = ""
    """What was said around it by others and before, newest `HISTORY_WINDOW_CHARS`."""
    system: str = ""
    """Head and tail of the system prompt."""
    n_messages: int = 1
    """All messages but the system's."""
    history_chars: int = 0
    """The full size of the history, of which `history` is the window."""
    media: Media | None = None
    """What of the conversation is no text; None where there is nothing such."""
    documents: DocumentNumbers | None = None
    """What its documents come to; None where nobody set them apart."""
    task: str = ""
    """What the request is for: as described, else the text of the system prompt."""
    judged: tuple[float, ...] = ()
    """How likely each level of difficulty is, as somebody said; empty where nobody did."""


def conversation_text(conversation: Conversation) -> ConversationText:
    """Take the text that a router reads from a conversation.

    * The **prompt** is the newest user message; without any, the last message that is not the
      system's; without that, the system prompt itself.
    * The **history** is every other message that is not the system's, tool results and answers
      after the prompt included. The newest messages come first into its window of 2,000
      characters, at most 1,000 (head and tail) of each; it reads oldest first.
    * The **system** text is the head and tail of all system messages, 1,000 characters.
    * The **task** is what the request is described to be for; where nobody did, the system text.

    A single prompt without a system message comes out as it is, with nothing beside it.
    """
    messages = conversation.messages
    if len(messages) == 1 and messages[0].role is not Role.SYSTEM:
        return ConversationText(
            prompt=messages[0].text,
            media=conversation.media,
            documents=conversation.numbers,
            task=conversation.task,
            judged=conversation.judged,
        )
    system = [message for message in messages if message.role is Role.SYSTEM]
    turns = [message for message in messages if message.role is not Role.SYSTEM]
    if not turns:
        return ConversationText(
            prompt="\n".join(message.text for message in system),
            n_messages=0,
            media=conversation.media,
            documents=conversation.numbers,
            task=conversation.task,
            judged=conversation.judged,
        )
    newest = newest_user_turn(turns)
    history = turns[:newest] + turns[newest + 1 :]
    system_text = _clip("\n".join(message.text for message in system), SYSTEM_WINDOW_CHARS)
    return ConversationText(
        prompt=turns[newest].text,
        history=_history_window(history),
        system=system_text,
        n_messages=len(turns),
        history_chars=sum(len(message.text) for message in history),
        media=conversation.media,
        documents=conversation.numbers,
        task=conversation.task or system_text,
        judged=conversation.judged,
    )


def newest_user_turn(turns: Sequence[Message]) -> int:
    """Return where the newest user message stands; without any, the last one."""
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].role is Role.USER:
            return index
    return len(turns) - 1


def _history_window(history: Sequence[Message]) -> str:
    """Fill the window from the newest message backwards."""
    parts: list[str] = []
    room = HISTORY_WINDOW_CHARS
    for message in reversed(history):
        if room <= 0:
            break
        part = _clip(message.text, min(HISTORY_MESSAGE_CHARS, room))
        parts.append(part)
        room -= len(part) + 1
    return "\n".join(reversed(parts))


def _clip(text: str, max_chars: int) -> str:
    head, tail = head_and_tail(text, max_chars)
    return f"{head}\n{tail}" if tail else head
