"""Requests of Anthropic's Messages API, taken apart as far as anybody looks into them.

References
----------
Anthropic, "Create a Message", platform.claude.com/docs/en/api/messages/create.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

NULL = msgspec.Raw(b"null")
"""What a field that is absent, or says so, decodes to."""

THINKING_TYPES = frozenset({"thinking", "redacted_thinking"})

EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Block(msgspec.Struct, gc=False):
    """One block of content, of whichever type; what only some types have is left as it was sent."""

    type: str
    text: str | None = None
    source: msgspec.Raw = NULL
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = NULL
    tool_use_id: str | None = None
    content: msgspec.Raw = NULL
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    title: str | None = None
    context: str | None = None
    tool_name: str | None = None
    citations: msgspec.Raw = NULL
    cache_control: msgspec.Raw = NULL


Content = str | list[Block] | None


class Turn(msgspec.Struct, gc=False):
    """One turn of the conversation."""

    role: str
    content: Content = None

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks, a text alone as one."""
        if isinstance(self.content, str):
            return [Block(type="text", text=self.content)]
        return self.content or []


OF_ITS_SERVERS = frozenset({"container", "mcp_servers"})
"""Fields that tell Anthropic's servers what to do; a request that has them is for these alone."""

NOTHING = frozenset({b"null", b"[]", b"{}"})
"""The JSON of fields that say nothing."""


class Tool(msgspec.Struct):
    """A tool: of the client's own, or one of Anthropic's with a dated type."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = NULL
    strict: bool | None = None
    input_examples: msgspec.Raw = NULL
    cache_control: msgspec.Raw = NULL

    @property
    def is_custom(self) -> bool:
        """Whether the client describes it, rather than names one that Anthropic knows."""
        return self.type is None or self.type == "custom"


class ToolChoice(msgspec.Struct):
    """Which tool the model may or has to call."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether and how much the model may think."""

    type: str = "disabled"
    budget_tokens: int | float | None = None


class Format(msgspec.Struct):
    """What the answer has to look like."""

    type: str = "text"
    schema: msgspec.Raw = NULL


class OutputConfig(msgspec.Struct):
    """How the answer is to be made."""

    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    """Who asks, as the client tells it."""

    user_id: str | None = None


CONTENT: msgspec.json.Decoder[Content] = msgspec.json.Decoder(Content)
DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "messages": msgspec.json.Decoder(list[Turn]),
    "system": CONTENT,
    "tools": msgspec.json.Decoder(list[Tool] | None),
    "tool_choice": msgspec.json.Decoder(ToolChoice | None),
    "thinking": msgspec.json.Decoder(Thinking | None),
    "output_config": msgspec.json.Decoder(OutputConfig | None),
    "metadata": msgspec.json.Decoder(Metadata | None),
    "stop_sequences": msgspec.json.Decoder(list[str] | None),
    "max_tokens": msgspec.json.Decoder(int | float | None),
    "model": msgspec.json.Decoder(str),
    "stream": msgspec.json.Decoder(bool | None),
    "routing": msgspec.json.Decoder(dict[str, Any] | None),
}
"""Reads the values of the fields that are looked into."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read once: for routing at once, for a translation when there is one.

    Attributes
    ----------
    fields
        The body's top-level fields as sent.
    """

    fields: Mapping[str, bytes]
    turns: list[Turn]
    system: Content = None
    tools: list[Tool] = []

    def value(self, name: str) -> Any:
        """Return a field by its decoder in `DECODERS`; None where it is absent.

        Raises
        ------
        msgspec.DecodeError
        """
        raw = self.fields.get(name)
        return None if raw is None else DECODERS[name].decode(raw)

    def called_tools(self) -> Iterator[str]:
        """Yield the name of every tool that the request describes or a turn has called."""
        for tool in self.tools:
            yield tool.name
        for turn in self.turns:
            if turn.role == "assistant" and type(turn.content) is list:
                for block in turn.content:
                    if block.type == "tool_use" and block.name:
                        yield block.name


def result_blocks(raw: msgspec.Raw) -> list[Block]:
    """Return the blocks within a block, a text alone as one.

    Raises
    ------
    msgspec.DecodeError, RecursionError
    """
    content = CONTENT.decode(raw)
    if isinstance(content, str):
        return [Block(type="text", text=content)]
    return content or []
