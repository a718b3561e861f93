"""What is in a turn, as Anthropic's Messages API has it."""

from typing import Any

import msgspec

from app.providers.messages.content import VENDOR, content_blocks, mark_cached, text_blocks
from app.providers.translation.history import NOT_ANSWERED, Call, Message, Speech, ToolCall
from app.providers.translation.parts import Blocks, Part
from app.wire.decoding import DECODE_ERRORS


class _Thinking(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str | None = None

    @property
    def sealed(self) -> bool:
        """Whether the API takes it back; without its seal it refuses the whole request."""
        return bool(self.signature if self.type == "thinking" else self.data)


_decode_thinking = msgspec.json.Decoder(_Thinking).decode


class AnthropicSpeech(Speech):
    """Blocks of Anthropic's."""

    vendor = VENDOR

    def content(
        self, content: str | list[Part] | None, where: str, *, text_only: str | None = None
    ) -> Blocks:
        """Return the blocks of a message's content."""
        return content_blocks(content, where, text_only=text_only)

    def text(self, text: str | None) -> Blocks:
        """Return the block of a text."""
        return text_blocks(text)

    def spoken(self, message: Message, said: Blocks) -> list[Any]:
        """Return what the model said, after its signed thinking as it was given out."""
        return [*(each for each in message.thinking_blocks or () if _sealed(each)), *said]

    def call(
        self,
        call: Call,
        arguments: dict[str, Any] | msgspec.Raw,
        told: ToolCall,  # noqa: ARG002  (all is in `call`)
    ) -> Blocks:
        """Return the block of a call."""
        return [{"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}]

    def result(self, call: Call) -> Blocks:
        """Return the block of a call's result."""
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call.id}
        if call.content is None:
            return [{**block, "content": text_blocks(NOT_ANSWERED), "is_error": True}]
        return [{**block, "content": call.content}]

    def mark(self, blocks: Blocks, mark: msgspec.Raw) -> None:
        """Put a mark of the prompt cache on the last block."""
        mark_cached(blocks, mark)


def _sealed(raw: msgspec.Raw) -> bool:
    try:
        return _decode_thinking(raw).sealed
    except DECODE_ERRORS:
        return False
