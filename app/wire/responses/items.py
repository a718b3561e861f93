"""Input items of a Responses request as chat messages.

Items are flat where messages nest: calls, their results and reasoning stand beside messages. What
the model said in one turn becomes one assistant message again, results follow it, and pictures in
results, which a tool message cannot hold, follow the last of them as the user's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.responses.sealed import FIELD, FIELDS, unseal
from app.wire.tool_names import Tool, ToolKind, ToolNames

_STORED = "it lives in a store that this gateway does not have; send the items themselves"


def messages_of(
    items: str | Sequence[Any], instructions: str | None, names: ToolNames
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the chat messages of an input, and the types of the items that have no place in them.

    Raises
    ------
    InvalidRequestError
        For an item that is none, or that refers to what the gateway does not keep.
    """
    history = _History(names)
    if instructions:
        history.messages.append({"role": "system", "content": instructions})
    if isinstance(items, str):
        history.messages.append({"role": "user", "content": items})
    else:
        for i, item in enumerate(items):
            history.take(item, f"input[{i}]")
    history.end()
    return history.messages, history.dropped


class _History:
    """Chat messages in the making."""

    def __init__(self, names: ToolNames) -> None:
        self.messages: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self._names = names
        self._pictures: list[dict[str, Any]] = []
        self._sealed: dict[str, Any] = {}
        self._loop_begins = 0

    def end(self) -> None:
        """Add what waited; chat servers take what they thought back within a tool loop alone."""
        self.flush()
        for message in self.messages[: self._loop_begins]:
            for name in FIELDS:
                message.pop(name, None)

    def take(self, item: Any, where: str) -> None:
        if not isinstance(item, dict):
            raise InvalidRequestError(f"{where} must be an object", param=where)
        # Of any type: what has no hash is in no set.
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, where)
        elif kind == "reasoning":
            self._reasoning(item)
        elif kind == "function_call":
            arguments = string_of(item, "arguments", where)
            tool = Tool(
                string_of(item, "name", where), optional_string_of(item, "namespace", where)
            )
            self._call(item, tool, arguments, where)
        elif kind == "custom_tool_call":
            text = msgspec.json.encode({"input": string_of(item, "input", where)}).decode()
            namespace = optional_string_of(item, "namespace", where)
            tool = Tool(string_of(item, "name", where), namespace, ToolKind.CUSTOM)
            self._call(item, tool, text, where)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._result(item, where)
        elif kind in ("item_reference", "compaction"):
            raise InvalidRequestError(
                f"{where} is an item of type {kind}: {_STORED}", param="input"
            )
        elif isinstance(kind, str) and kind:
            self.dropped.append(kind)
        else:
            raise InvalidRequestError(f"{where} needs a type, or a role", param=where)

    def flush(self) -> None:
        """Add what had to wait for the last of several results."""
        if self._pictures:
            self.messages.append({"role": "user", "content": self._pictures})
            self._pictures = []

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        role = item.get("role")
        if role not in ("user", "assistant", "system", "developer"):
            raise InvalidRequestError(
                f"{where}.role must be user, assistant, system or developer", param=f"{where}.role"
            )
        content = item.get("content")
        if role == "assistant":
            self._said(content, where)
            return
        self.flush()
        self._sealed = {}
        if role == "user":
            self._loop_begins = len(self.messages)
        parts = _parts(content, f"{where}.content")
        self.messages.append({"role": role, "content": _simplest(parts)})

    def _said(self, content: Any, where: str) -> None:
        parts = _parts(content, f"{where}.content")
        text = "".join([part["text"] for part in parts if part["type"] == "text"])
        refusals = [part["refusal"] for part in parts if part["type"] == "refusal"]
        message = self._assistant(may_join=not self._answered())
        message["content"] = (message.get("content") or "") + text
        if refusals:
            message["refusal"] = "".join(refusals)

    def _reasoning(self, item: Mapping[str, Any]) -> None:
        """Give back what the model needs of its own thinking, where it was sealed for that."""
        sealed = unseal(item.get("encrypted_content"))
        if sealed is not None:
            field = sealed.pop(FIELD, None)
            if field in FIELDS:
                sealed[field] = _summary(item)
            self._sealed = sealed
        elif any(item.get(name) for name in ("encrypted_content", "summary", "content")):
            self.dropped.append("reasoning")

    def _call(self, item: Mapping[str, Any], tool: Tool, arguments: str, where: str) -> None:
        message = self._assistant(may_join=not self._answered())
        message.setdefault("content", None)
        message.setdefault("tool_calls", []).append(
            {
                "id": string_of(item, "call_id", where),
                "type": "function",
                "function": {"name": self._names.add(tool), "arguments": arguments},
            }
        )

    def _result(self, item: Mapping[str, Any], where: str) -> None:
        output = item.get("output")
        parts = _parts("" if output is None else output, f"{where}.output")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] not in {"text", "refusal"}]
        text = "\n".join(texts)
        if others:
            self._pictures += others
            text = text or "(The result is in the next message of the user.)"
        call_id = string_of(item, "call_id", where)
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def _answered(self) -> bool:
        """Whether the last message is no assistant's, so that a new one begins."""
        return not self.messages or self.messages[-1]["role"] != "assistant"

    def _assistant(self, *, may_join: bool) -> dict[str, Any]:
        if may_join:
            message = self.messages[-1]
        else:
            self.flush()
            message = {"role": "assistant"}
            self.messages.append(message)
        sealed, self._sealed = self._sealed, {}
        message.update(sealed)
        return message


def _summary(item: Mapping[str, Any]) -> str:
    """Return the text of a reasoning item."""
    parts = item.get("summary")
    told = parts if isinstance(parts, list) else ()
    texts = [part.get("text") for part in told if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise InvalidRequestError(f"{where} must be a string or a list of parts", param=where)
    return [_part(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, Any]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidRequestError(f"{where} must be an object with a type", param=where)
    kind = part["type"]
    if kind in {"input_text", "output_text", "text", "summary_text", "reasoning_text"}:
        return {"type": "text", "text": string_of(part, "text", where)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": string_of(part, "refusal", where)}
    if kind == "input_image":
        url = part.get("image_url")
        if not isinstance(url, str):
            raise InvalidRequestError(
                f"{where} needs an image_url: files by id are kept nowhere here", param=where
            )
        image = {"url": url}
        if isinstance(part.get("detail"), str):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        file = {key: part[key] for key in ("file_data", "filename", "file_id") if part.get(key)}
        if "file_data" not in file and "file_id" not in file:
            raise InvalidRequestError(
                f"{where} needs file_data: a file by its address is not fetched", param=where
            )
        return {"type": "file", "file": file}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise InvalidRequestError(f"{where} has the unknown type {kind[:80]!r}", param=where)


def _simplest(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Return one text as a string, which every upstream takes."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return list(parts) if parts else ""


def string_of(item: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text of an object that must have it; `where` is the object's place."""
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequestError(f"{where}.{name} must be a string", param=f"{where}.{name}")
    return value


def optional_string_of(item: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return a text of an object that may have it."""
    return None if item.get(name) is None else string_of(item, name, where)
