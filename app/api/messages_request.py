"""Requests of Anthropic's Messages API, as far as routing has to understand them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.api.dialects.base import ParsedRequest
from app.api.knobs import NO_KNOBS, knobs_from_object
from app.api.parts import Attachments, attachment, json_tokens
from app.api.wire import envelope, read, too_many
from app.errors import InvalidRequestError
from app.head import RequestHead
from app.types import MESSAGES
from app.wire.body import Body
from app.wire.messages.request import Translation
from app.wire.messages.shapes import (
    DECODE_ERRORS,
    DECODERS,
    THINKING_TYPES,
    Asked,
    Block,
    Content,
    Tool,
    Turn,
    result_blocks,
)
from app.wire.turns import TURNS
from app.wire.turns import Turn as RawTurn
from routers.token_estimate import estimate_tokens_and_upper
from routers.types import Capability, Conversation, Demand, Message, Role

VERSION_HEADER = b"anthropic-version"
_WITHOUT_SAMPLING = b"2026-10-21"
"""The first version of the API that takes no sampling parameters, whatever their values."""
_SAMPLING = ("temperature", "top_p", "top_k")

_ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_MAX_TOKENS_LIMIT = 10_000_000
_OURS = ("model", "routing")


def parse_messages_request(
    body: bytes, head: RequestHead, *, max_messages: int, counts_only: bool = False
) -> ParsedRequest:
    """Take a request body apart.

    Parameters
    ----------
    max_messages
        How many messages there may be, how many blocks in all of them, and how many tools.
    counts_only
        Whether no answer is asked for: the body then needs no limit of one.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for anything that is not a request of the Messages API.
    """
    fields = envelope(body)
    for name in ("model", "messages", *(() if counts_only else ("max_tokens",))):
        if name not in fields:
            raise InvalidRequestError(f"{name}: field required", param=name)
    _check_version(fields, head)
    model = read(DECODERS["model"], fields, "model")
    if not model:
        raise InvalidRequestError("model must not be empty", param="model")
    turns = _turns(fields, max_messages)
    system: Content = read(DECODERS["system"], fields, "system")
    tools = _tools(fields, max_messages)
    stream = bool(read(DECODERS["stream"], fields, "stream"))
    kept = {name: bytes(value) for name, value in fields.items() if name not in _OURS}
    asked = Asked(fields=kept, turns=turns, system=system, tools=tools)
    conversation = Conversation(tuple(_conversation(system, turns)))
    routing = read(_ROUTING, fields, "routing")
    return ParsedRequest(
        model=model,
        body=Body(kept, dialect=MESSAGES, translate=Translation(asked)),
        stream=stream,
        include_usage=True,
        conversation=conversation,
        demand=_demand(fields, asked, conversation, stream=stream),
        turns=_raw_turns(fields),
        knobs=NO_KNOBS if routing is None else knobs_from_object(routing),
    )


_ROUTING = msgspec.json.Decoder(dict[str, Any] | None)


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
    turns: list[Turn] = read(DECODERS["messages"], fields, "messages")
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


def _tools(fields: Mapping[str, Any], max_messages: int) -> list[Tool]:
    tools: list[Tool] = read(DECODERS["tools"], fields, "tools") or []
    if len(tools) > max_messages:
        raise too_many(len(tools), "tools", max_messages, "tools")
    return tools


def _raw_turns(fields: Mapping[str, Any]) -> Sequence[RawTurn]:
    """Return the turns as they are looked into once more, the system prompt as the first."""
    turns: list[RawTurn] = TURNS.decode(fields["messages"])
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
    fields: Mapping[str, Any], asked: Asked, conversation: Conversation, *, stream: bool
) -> Demand:
    n_bytes = len(memoryview(fields["tools"])) if asked.tools else 0
    n_thought = 0
    found: list[Attachments] = []
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
            else:
                found += _attached(block)
    needs = {each for attached in found for each in attached.capabilities}
    if stream:
        needs.add(Capability.STREAMING)
    if asked.tools or calls:
        needs.add(Capability.TOOLS)
    output = read(DECODERS["output_config"], fields, "output_config")
    if output is not None and output.format is not None and output.format.type == "json_schema":
        needs.add(Capability.JSON_SCHEMA)
        n_bytes += len(memoryview(output.format.schema))
    tokens, tokens_upper = estimate_tokens_and_upper(conversation)
    json_count, json_count_upper = json_tokens(n_bytes)
    return Demand(
        input_tokens=tokens + json_count + sum(each.tokens for each in found),
        input_tokens_upper=tokens_upper
        + json_count_upper
        # Of earlier turns it is usually not read again.
        + json_tokens(n_thought)[1]
        + sum(each.tokens_upper for each in found),
        max_output_tokens=_max_output_tokens(fields),
        capabilities=frozenset(needs),
    )


def _attached(block: Block) -> Iterator[Attachments]:
    """Yield what of a block is no text."""
    if block.type in ("image", "document"):
        yield attachment(block.type, bytes(block.source))
    elif block.type == "tool_result" and b'"source"' in bytes(block.content):
        for each in _within(block):
            yield from _attached(each)
    elif block.type == "search_result":
        yield attachment(block.type, bytes(block.content))


def _max_output_tokens(fields: Mapping[str, Any]) -> int | None:
    value = read(DECODERS["max_tokens"], fields, "max_tokens")
    if value is None:
        return None
    if not 0 <= value <= _MAX_TOKENS_LIMIT or value != int(value):
        raise InvalidRequestError(
            f"max_tokens must be a whole number from 0 to {_MAX_TOKENS_LIMIT}, not {value}",
            param="max_tokens",
        )
    # None at all only warms the prompt cache.
    return max(int(value), 1)
