"""What a simulated model says: deterministic, harmless, and plain about being simulated."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.tiers import Tier

_FILLER = (
    "A real model would now take the question apart, weigh what is known and answer in detail. "
    "This text only stands in its place, so that routing, streaming and accounting can be seen "
    "at work without any key or cost."
)
_PROMPT_WORDS_QUOTED = 12
_MAX_DEPTH = 8
_MAX_LENGTH = 1000  # of a list or a string that a schema asks for


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of an answer.

    `pieces` are tokens of text or, with `tool`, of that function's JSON arguments.
    """

    pieces: list[str]
    finish_reason: str
    tool: str | None = None

    @property
    def text(self) -> str:
        """All pieces in one."""
        return "".join(self.pieces)


def compose(model: str, tier: Tier, body: Mapping[str, Any], *, index: int = 0) -> Answer:
    """Answer a chat request.

    Parameters
    ----------
    body
        The request as decoded from JSON; `messages`, `tools`, `tool_choice`,
        `response_format` and the token limits are looked at.
    index
        Which of `n` choices.
    """
    prompt = prompt_text(body)
    tool = _tool_to_call(body, prompt)
    if tool is not None:
        arguments = msgspec.json.encode(example(tool.get("parameters") or {})).decode()
        return Answer(
            pieces=_pieces(arguments), finish_reason="tool_calls", tool=str(tool.get("name", ""))
        )
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_schema" and isinstance(response_format, dict):
        schema = (response_format.get("json_schema") or {}).get("schema") or {}
        pieces = _pieces(msgspec.json.encode(example(schema)).decode())
    elif kind == "json_object":
        pieces = _pieces('{"simulated":true,"model":"' + model + '"}')
    else:
        n_tokens = tier.answer_tokens(f"{model}\n{index}\n{prompt}")
        pieces = list(itertools.islice(_words(model, prompt), n_tokens))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and 0 < limit < len(pieces):
        return Answer(pieces=pieces[:limit], finish_reason="length")
    return Answer(pieces=pieces, finish_reason="stop")


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return the text of the newest user message."""
    for message in reversed(body.get("messages") or []):
        if isinstance(message, dict) and message.get("role") == "user":
            return _content_text(message.get("content"))
    return ""


def input_tokens(body: Mapping[str, Any]) -> int:
    """Count prompt tokens the coarse way: four characters each, and four more per message."""
    messages = [each for each in body.get("messages") or [] if isinstance(each, dict)]
    chars = sum(len(_content_text(message.get("content"))) for message in messages)
    return 4 * len(messages) + (chars + 3) // 4


def _content_text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _words(model: str, prompt: str) -> Iterator[str]:
    words = prompt.split(maxsplit=_PROMPT_WORDS_QUOTED)
    topic = " ".join(words[:_PROMPT_WORDS_QUOTED]) + (
        " …" if len(words) > _PROMPT_WORDS_QUOTED else ""
    )
    opening = f"This is a simulated answer from {model}, no language model wrote it. You asked: "
    first, *rest = f"{opening}“{topic}”.".split()
    yield first
    for word in itertools.chain(rest, itertools.cycle(_FILLER.split())):
        yield " " + word


def _pieces(text: str) -> list[str]:
    return [text[i : i + 6] for i in range(0, len(text), 6)]


def _tool_to_call(body: Mapping[str, Any], prompt: str) -> Mapping[str, Any] | None:
    """Pick the function to call: where it is asked for, or the prompt names it."""
    functions: list[dict[str, Any]] = [
        tool["function"]
        for tool in body.get("tools") or []
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    messages = body.get("messages") or [{}]
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((each for each in functions if each.get("name") == name), None)
    if isinstance(messages[-1], dict) and messages[-1].get("role") == "tool":
        return None  # the result is there: time to answer
    if choice == "required":
        return functions[0]
    return next(
        (each for each in functions if each.get("name") and str(each["name"]) in prompt), None
    )


def example(schema: object) -> object:
    """Return a small value that satisfies a simple JSON schema."""
    return _example(schema, root=schema, depth=0)


def _example(schema: object, *, root: object, depth: int) -> object:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    nested = _resolve(root, schema["$ref"]) if isinstance(schema.get("$ref"), str) else None
    for key in ("anyOf", "oneOf", "allOf"):
        nested = schema[key][0] if schema.get(key) else nested
    if nested is not None:
        return _example(nested, root=root, depth=depth + 1)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        names = [name for name in schema.get("required") or properties if name in properties]
        return {name: _example(properties[name], root=root, depth=depth + 1) for name in names}
    if kind == "array":
        count = min(max(1, int(schema.get("minItems", 1))), _MAX_LENGTH)
        return [_example(schema.get("items") or {}, root=root, depth=depth + 1)] * count
    return _scalar(kind, schema)


def _scalar(kind: object, schema: Mapping[str, Any]) -> object:
    if kind in ("integer", "number"):
        return schema.get("minimum", min(1, schema.get("maximum", 1)))
    if kind in ("boolean", "null"):
        return True if kind == "boolean" else None
    text = "2026-01-01" if schema.get("format") == "date" else "simulated"
    return text.ljust(min(int(schema.get("minLength", 0)), _MAX_LENGTH), "x")[
        : schema.get("maxLength")
    ]


def _resolve(root: object, reference: str) -> object:
    found: Any = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(key) if isinstance(found, dict) and key else found
    return found
