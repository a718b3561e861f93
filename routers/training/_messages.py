"""Conversations as files hold them: the `messages` of a chat request."""

from routers.errors import DataError
from routers.types import Conversation, Message, Role

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}


def read_messages(where: str, messages: object) -> Conversation:
    """Take the text out of the messages of a chat request.

    Raises
    ------
    DataError
        If they are none; the message begins with `where`.
    """
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: 'messages' must be a list of at least one message")
    return Conversation(tuple(_message(where, message) for message in messages))


def conversation_key(conversation: Conversation) -> str:
    """Return a text that tells conversations apart: of a single prompt, the prompt itself."""
    messages = conversation.messages
    if len(messages) == 1 and messages[0].role is Role.USER:
        return messages[0].text
    return "\n".join(f"{message.role}: {message.text}" for message in messages)


def _message(where: str, message: object) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
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
    return Message(ROLES[message["role"]], content)
