"""Turns of the Messages API as messages of chat completions.

A chat server wants every answer of a tool directly after the message that called it, as a text, and
pictures in a user's message; Anthropic's turns hold all of it as blocks.
"""

from collections.abc import Sequence
from typing import Any

from app.wire.messages.names import ToolNames, id_for_chat
from app.wire.messages.parts import (
    PARAGRAPH,
    Losses,
    Parts,
    content_of,
    parts_of,
    refuse,
    result_of,
    string_of,
    text_parts,
    type_name,
)
from app.wire.messages.seal import reasoning_field
from app.wire.messages.shapes import THINKING_TYPES, Block, Content, Turn

Messages = list[dict[str, Any]]

_NOT_ANSWERED = "There is no result: the call was not carried out."
_WITHOUT_CALL = "Result of an earlier tool call:"
_NO_INPUT = frozenset({b"", b"null"})


class ChatTurns:
    """The messages of a chat request, made of a conversation in the other dialect.

    Attributes
    ----------
    messages
        What was made of it.
    losses
        What of it no chat server would understand, by the names of its fields.

    Raises
    ------
    UpstreamUnsupportedError
        If it holds what a chat server has no word for and the answer hangs on.
    """

    def __init__(self, system: Content, turns: Sequence[Turn], names: ToolNames) -> None:
        self.messages: Messages = []
        self.losses = Losses()
        self._names = names
        self._loop_begins = _open_loop(turns)
        if system:
            self._system(system, "system")
        i = 0
        while i < len(turns):
            if turns[i].role == "assistant":
                i = self._exchange(turns, i)
            else:
                self._other(turns[i], f"messages[{i}]")
                i += 1
        if turns and turns[-1].role == "assistant":
            self.losses.add("prefill")

    def _exchange(self, turns: Sequence[Turn], i: int) -> int:
        """Take an assistant's turn, and what follows up to the next one; return where that is."""
        after = i + 1
        while after < len(turns) and turns[after].role == "assistant":
            after += 1  # neighbours of one role are one turn
        blocks = [block for turn in turns[i:after] for block in turn.blocks]
        calls = self._assistant(blocks, f"messages[{i}]", in_loop=i >= self._loop_begins)
        end = after
        while end < len(turns) and turns[end].role != "assistant":
            end += 1
        shown = self._results(calls, turns, after, end)
        for at in range(after, end):
            self._other(turns[at], f"messages[{at}]", answered=calls, shown=shown.get(at, []))
        return end

    def _assistant(self, blocks: list[Block], where: str, *, in_loop: bool) -> dict[str, str]:
        """Add what a model said; return the ids of its calls, and what became of them here."""
        text = ""
        between = ""
        reasoning: dict[str, str] = {}
        calls: Messages = []
        ids: dict[str, str] = {}
        for block in blocks:
            self.losses.note(block)
            if block.type in ("text", "compaction"):
                said = block.text if block.type == "text" else string_of(block.content)
                text += f"{between if text else ''}{said or ''}"
                between = ""
                continue
            between = PARAGRAPH
            if block.type == "tool_use":
                calls.append(self._call(block, ids))
            elif block.type in THINKING_TYPES:
                self._think(block, reasoning, in_loop=in_loop)
            elif block.type in ("image", "document"):
                refuse(f"no chat server takes an {block.type} of the assistant", where)
            else:
                self.losses.add(f"messages.{type_name(block)}")
        if text or calls:
            message: dict[str, Any] = {"role": "assistant", "content": text or None, **reasoning}
            if calls:
                message["tool_calls"] = calls
            self.messages.append(message)
        return ids

    def _think(self, block: Block, reasoning: dict[str, str], *, in_loop: bool) -> None:
        """Take thinking: a chat server gets what came from one, while its tool loop goes on."""
        field = reasoning_field(block.signature) if in_loop else None
        if field is None:
            self.losses.add("messages.thinking")
        elif block.thinking:
            reasoning[field] = reasoning.get(field, "") + block.thinking

    def _call(self, block: Block, ids: dict[str, str]) -> dict[str, Any]:
        ids[block.id or ""] = told = id_for_chat(block.id or "")
        written = bytes(block.input)
        function = {
            "name": self._names.to_chat(block.name or ""),
            "arguments": "{}" if written in _NO_INPUT else written.decode(),
        }
        return {"id": told, "type": "function", "function": function}

    def _results(
        self, calls: dict[str, str], turns: Sequence[Turn], start: int, end: int
    ) -> dict[int, Parts]:
        """Add one message for each call; return what its result shows besides text, by turn."""
        shown: dict[int, Parts] = {}
        waiting = dict(calls)
        for at in range(start, end if calls else start):
            if turns[at].role != "user":
                continue
            for block in turns[at].blocks:
                if block.type != "tool_result" or block.tool_use_id not in waiting:
                    continue
                told = waiting.pop(block.tool_use_id)
                text, more = result_of(block, f"messages[{at}]", self.losses)
                if more:
                    about = text_parts(f"Of the result of the tool call {told}:")
                    shown.setdefault(at, []).extend((*about, *more))
                self.messages.append({"role": "tool", "tool_call_id": told, "content": text})
        self.messages += [
            {"role": "tool", "tool_call_id": told, "content": _NOT_ANSWERED}
            for told in waiting.values()
        ]
        return shown

    def _other(
        self,
        turn: Turn,
        where: str,
        *,
        answered: dict[str, str] | None = None,
        shown: Parts | None = None,
    ) -> None:
        """Add a user's turn, or a system turn in the middle of the conversation."""
        if turn.role == "system":
            self._system(turn.content, where)
            return
        parts = shown or []
        for block in turn.blocks:
            if block.type != "tool_result":
                parts += parts_of(block, where, self.losses)
            elif block.tool_use_id not in (answered or {}):
                # Its call was cut off the history: no server takes it as an answer to nothing.
                text, more = result_of(block, where, self.losses)
                parts += [*text_parts(f"{_WITHOUT_CALL}\n{text}"), *more]
        if parts:
            self.messages.append({"role": "user", "content": content_of(parts)})

    def _system(self, content: Content, where: str) -> None:
        texts = []
        for block in Turn("system", content).blocks:
            if block.type != "text":
                refuse(f"system content of type {type_name(block)} is unknown here", where)
            self.losses.note(block)
            if block.text:
                texts.append(block.text)
        if texts:
            self.messages.append({"role": "system", "content": PARAGRAPH.join(texts)})


def _open_loop(turns: Sequence[Turn]) -> int:
    """Return where the tool loop begins that the newest turn goes on with; behind all if none."""
    begins = len(turns)
    for i in range(len(turns) - 1, -1, -1):
        turn = turns[i]
        if turn.role == "assistant":
            begins = i
        elif turn.role == "user" and not any(b.type == "tool_result" for b in turn.blocks):
            break
    return begins
