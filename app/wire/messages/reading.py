"""Requests of Anthropic's Messages API, as far as routing has to understand them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.head import RequestHead
from app.wire.chat_request import ChatRequest, check_number, too_many
from app.wire.decoding import DECODE_ERRORS
from app.wire.envelope import decode_value, read_envelope
from app.wire.messages.shapes import (
    DECODERS,
    NOTHING,
    OF_ITS_SERVERS,
    THINKING_TYPES,
    Asked,
    Block,
    Content,
    Turn,
    result_blocks,
)
from app.wire.messages.tools import is_of_its_servers
from app.wire.turns import Turn as RawTurn
from routers.media.parts import NO_ATTACHMENTS, Attached, Attachments, Looked, json_tokens
from routers.models import Capability, Demand
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.types import Conversation, Message, Role

VERSION_HEADER = b"anthropic-version"
_WITHOUT_SAMPLING = b"2026-10-21"
"""The first version of the API that takes no sampling parameters, whatever their values."""
_SAMPLING = ("temperature", "top_p", "top_k")

_ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
MAX_TOKENS = 10_000_000
"""More than any model gives."""

_MAY_HOLD_MORE = frozenset({"image", "document", "tool_result", "search_result"})
"""Types of blocks that may be more than text."""

_OURS = ("model", "routing")
_SHORT: Mapping[str, int] = {
    **dict.fromkeys(("model", "stream", "max_tokens", "metadata"), 4_096),
    "routing": 16_384,
}
"""How long the values may be, in bytes, that are made into objects as they are."""


class _WrittenTurn(msgspec.Struct, gc=False):
    role: str
    content: msgspec.Raw


_WRITTEN_TURNS = msgspec.json.Decoder(list[_WrittenTurn])


def read_messages_request(
    body: bytes, head: RequestHead, *, max_messages: int
) -> tuple[ChatRequest, Asked]:
    """Take a request body apart: what routing looks at, and what a translation is made of.

    Parameters
    ----------
    max_messages
        How many messages there may be, how many blocks in all of them, and how many tools.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for anything that is not a request of the Messages API.
    """
    fields = read_envelope(body)
    if "cost_quality" in fields:
        raise InvalidRequestError(
            "cost_quality belongs into the object routing, or into the header x-cost-quality",
            param="cost_quality",
        )
    # A limit of the answer is not demanded: what upstream demands one is told one.
    for name in ("model", "messages"):
        if name not in fields:
            raise InvalidRequestError(f"{name}: field required", param=name)
    _check_version(fields, head)
    model = _read(fields, "model")
    if not model:
        raise InvalidRequestError("model must not be empty", param="model")
    check_number(fields, ("tools",), max_messages)
    turns = _turns(fields, max_messages)
    asked = Asked(
        fields={name: bytes(value) for name, value in fields.items() if name not in _OURS},
        turns=turns,
        system=_read(fields, "system"),
        tools=_read(fields, "tools") or [],
    )
    stream = bool(_read(fields, "stream"))
    attached = _attachments(turns)
    conversation = Conversation(tuple(_conversation(asked.system, turns)), attached.media)
    chat = ChatRequest(
        model=model,
        fields=asked.fields,
        stream=stream,
        include_usage=True,
        conversation=conversation,
        demand=_demand(fields, asked, attached, conversation, stream=stream),
        turns=_raw_turns(fields),
        routing=_read(fields, "routing"),
    )
    return chat, asked


def _read(fields: Mapping[str, Any], name: str) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    if name in _SHORT and len(memoryview(raw)) > _SHORT[name]:
        raise InvalidRequestError(f"{name} is longer than {_SHORT[name]} bytes", param=name)
    return decode_value(DECODERS[name], raw, name)


def _check_version(fields: Mapping[str, Any], head: RequestHead) -> None:
    """Refuse what the version that a client speaks does not have, whoever will answer.

    Raises
    ------
    InvalidRequestError
    """
    version = head.get(VERSION_HEADER)
    if version is None or version < _WITHOUT_SAMPLING:
        return
    for name in _SAMPLING:
        if name in fields:
            raise InvalidRequestError(
                f"{name} is not part of version {_WITHOUT_SAMPLING.decode()} of the API", param=name
            )


def _turns(fields: Mapping[str, Any], max_messages: int) -> list[Turn]:
    turns: list[Turn] = _read(fields, "messages")
    if not turns:
        raise InvalidRequestError("messages: at least one message is required", param="messages")
    if len(turns) > max_messages:
        raise too_many(len(turns), "messages", max_messages, "messages")
    n_blocks = sum([len(turn.content) for turn in turns if type(turn.content) is list])
    if n_blocks > max_messages:
        raise too_many(n_blocks, "blocks in its messages", max_messages, "messages")
    for i, turn in enumerate(turns):
        if turn.role not in _ROLES:
            where = f"messages.{i}.role"
            raise InvalidRequestError(
                f"{where}: must be user, assistant or system, not {turn.role!r:.80}", param=where
            )
        if turn.content is None:
            where = f"messages.{i}.content"
            raise InvalidRequestError(f"{where}: field required", param=where)
    return turns


def _raw_turns(fields: Mapping[str, Any]) -> Sequence[RawTurn]:
    """Return the turns as they are looked into once more, the system prompt as the first."""
    # Of what else may stand in a turn of this dialect nothing is read, whatever it is.
    turns = [
        RawTurn(role=turn.role, content=turn.content)
        for turn in _WRITTEN_TURNS.decode(fields["messages"])
    ]
    system = fields.get("system")
    return turns if system is None else [RawTurn(role="system", content=system), *turns]


# --- what routing looks at ----------------------------------------------------------------------


def _conversation(system: Content, turns: Sequence[Turn]) -> Iterator[Message]:
    if system:
        yield Message(Role.SYSTEM, _text(Turn("system", system).blocks))
    for turn in turns:
        if type(turn.content) is str:
            yield Message(_ROLES[turn.role], turn.content)
            continue
        # What a tool gave back stands in a user's turn, and is not what the user asks.
        results = [block for block in turn.blocks if block.type == "tool_result"]
        for block in results:
            yield Message(Role.TOOL, _text(_within(block)))
        text = _text(turn.blocks)
        if text or len(results) < len(turn.blocks) or not results:
            yield Message(_ROLES[turn.role], text)


def _text(blocks: Sequence[Block]) -> str:
    return "\n".join([block.text for block in blocks if block.text])


def _within(block: Block) -> list[Block]:
    try:
        return result_blocks(block.content)
    except DECODE_ERRORS:
        return []  # an upstream may say what is wrong with it


def _demand(
    fields: Mapping[str, Any],
    asked: Asked,
    attached: Attachments,
    conversation: Conversation,
    *,
    stream: bool,
) -> Demand:
    n_bytes = len(memoryview(fields["tools"])) if asked.tools else 0
    n_thought = 0
    calls = False
    for turn in asked.turns:
        if type(turn.content) is not list:
            continue
        for block in turn.content:
            if block.type == "tool_use":
                calls = True
                n_bytes += len(memoryview(block.input)) + len(block.name or "")
            elif block.type in THINKING_TYPES:
                n_thought += len(block.thinking or "")
    needs = set(attached.capabilities)
    if stream:
        needs.add(Capability.STREAMING)
    if asked.tools or calls:
        needs.add(Capability.TOOLS)
    if any(bytes(fields.get(name, b"null")) not in NOTHING for name in OF_ITS_SERVERS) or any(
        map(is_of_its_servers, asked.tools)
    ):
        needs.add(Capability.MESSAGES_API)
    output = _read(fields, "output_config")
    if output is not None and output.format is not None and output.format.type == "json_schema":
        needs.add(Capability.JSON_SCHEMA)
        n_bytes += len(memoryview(output.format.schema))
    tokens, tokens_upper = estimate_tokens_and_upper(conversation)
    json_count, json_count_upper = json_tokens(n_bytes)
    return Demand(
        input_tokens=tokens + json_count + attached.tokens,
        input_tokens_upper=tokens_upper
        + json_count_upper
        # Of earlier turns it is usually not read again.
        + json_tokens(n_thought)[1]
        + attached.tokens_upper,
        max_output_tokens=_max_output_tokens(fields),
        capabilities=frozenset(needs),
        media=attached.media,
    )


def _attachments(turns: Sequence[Turn]) -> Attachments:
    """Add up what is no text in a request."""
    looked: Looked | None = None
    found: list[Attached] = []
    for turn in turns:
        if type(turn.content) is not list:
            continue
        for block in turn.content:
            if block.type in _MAY_HOLD_MORE:
                looked = Looked() if looked is None else looked
                found += _attached(block, looked)
    return Attachments.of(found) if found else NO_ATTACHMENTS


def _attached(block: Block, looked: Looked) -> Iterator[Attached]:
    """Yield what of a block is no text."""
    if block.type in ("image", "document"):
        yield looked.into(block.type, bytes(block.source))
    elif block.type == "tool_result" and b'"source"' in bytes(block.content):
        for each in _within(block):
            yield from _attached(each, looked)
    elif block.type == "search_result":
        yield looked.into(block.type, bytes(block.content))


def _max_output_tokens(fields: Mapping[str, Any]) -> int | None:
    value = _read(fields, "max_tokens")
    if value is None:
        return None
    if not 0 <= value <= MAX_TOKENS or value != int(value):
        raise InvalidRequestError(
            f"max_tokens must be a whole number from 0 to {MAX_TOKENS}, not {value}",
            param="max_tokens",
        )
    # None at all only warms the prompt cache.
    return max(int(value), 1)
