"""Items of a streamed Response that have begun and not ended."""

from typing import Any

from app.wire.tool_names import ToolKind


class OpenItem:
    """An item that has begun."""

    def __init__(self, item_id: str, output_index: int) -> None:
        self.item_id = item_id
        self.output_index = output_index
        self.texts: list[str] = []


class ReasoningItem(OpenItem):
    """What a model thinks, with what seals it."""

    def __init__(self, item_id: str, output_index: int) -> None:
        super().__init__(item_id, output_index)
        self.field = ""
        self.blocks: list[Any] = []
        self.details: list[Any] = []


class MessageItem(OpenItem):
    """What a model says, in parts of which the last one is open.

    Attributes
    ----------
    where
        The last part, in the words of its events.
    """

    def __init__(self, item_id: str, output_index: int) -> None:
        super().__init__(item_id, output_index)
        self.kind: str | None = None
        self.logprobs: list[Any] = []
        self.parts: list[dict[str, Any]] = []
        self.where: dict[str, Any] = {}

    def begin(self, kind: str) -> None:
        """Begin a part."""
        self.kind = kind
        self.where = {
            "item_id": self.item_id,
            "output_index": self.output_index,
            "content_index": len(self.parts),
        }


class CallItem(OpenItem):
    """A call of a tool; `n_told` of its texts are told."""

    begun = False
    n_told = 0
    sent_id = ""
    call_id = ""
    name = ""
    kind = ToolKind.FUNCTION
