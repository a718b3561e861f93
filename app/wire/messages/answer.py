"""A whole chat completion as a message of Anthropic's."""

from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.usage import Usage
from app.wire.chat_answer import Said, read_completion
from app.wire.messages.counts import messages_usage
from app.wire.messages.names import ToolNames, id_for_client
from app.wire.messages.seal import seal_of
from app.wire.messages.shapes import THINKING_TYPES
from app.wire.messages.stops import input_of, stop_of

_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request its answer is told by.

    Attributes
    ----------
    message_id
        Of the answer.
    names
        How the client calls the tools.
    stop_sequences
        Those of the request.
    silent
        Whether the client asked for no output at all.
    """

    message_id: str
    names: ToolNames
    stop_sequences: list[str]
    silent: bool = False


def to_message(body: bytes, usage: Usage | None, told: Told, *, cost_usd: float | None) -> bytes:
    """Return the message.

    Raises
    ------
    UpstreamInvalidResponseError
        If the body is no completion, or calls a tool without a name.
    """
    completion = read_completion(body)
    choice = completion.first
    said = Said() if choice is None else choice.message
    if choice is None or said is None:
        raise UpstreamInvalidResponseError("the upstream's answer has no message")
    content = _content(said, told)
    has_calls = any(block["type"] == "tool_use" for block in content)
    stop = stop_of(
        choice,
        has_calls=has_calls,
        refusal=said.refusal or "",
        stop_sequences=told.stop_sequences,
    ).fields
    if told.silent:
        content, stop = [], {"stop_reason": "max_tokens", "stop_sequence": None}
    return _encode(
        {
            "id": told.message_id,
            "type": "message",
            "role": "assistant",
            "model": completion.model or "",
            "content": content,
            **stop,
            "usage": messages_usage(usage, cost_usd=cost_usd),
        }
    )


def _content(said: Said, told: Told) -> list[dict[str, Any]]:
    blocks = _thinking(said)
    # White space alone is refused when it comes back.
    for text in (said.text, said.refusal or ""):
        if text.strip():
            blocks.append({"type": "text", "text": text})
    for i, call in enumerate(said.calls):
        function = call.function
        if function is None or not function.name:
            raise UpstreamInvalidResponseError("the upstream called a tool without a name")
        blocks.append(
            {
                "type": "tool_use",
                "id": id_for_client(call.id) if call.id else made_up_id(told.message_id, i),
                "name": told.names.from_chat(function.name),
                "input": msgspec.Raw(input_of(function.written).encode()),
            }
        )
    return blocks


def _thinking(said: Said) -> list[dict[str, Any]]:
    own = [each for each in said.thinking_blocks or () if each.get("type") in THINKING_TYPES]
    if own:
        return own
    field, thought = said.thought
    if not thought.strip():
        return []
    return [{"type": "thinking", "thinking": thought, "signature": seal_of(field)}]


def made_up_id(message_id: str, n_calls: int) -> str:
    """Return the id of a call that its server gave none."""
    return f"toolu_{message_id.removeprefix('msg_')}_{n_calls}"
