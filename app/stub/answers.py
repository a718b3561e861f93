"""What a simulated model says: deterministic, harmless, and plain about being simulated."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.examples import example, example_for_prompt
from app.stub.tiers import Tier
from app.stub.tool_calls import called_tool

_FILLER = (
    "A real model would now take the question apart, weigh what is known and answer in detail. "
    "This text only stands in its place, so that routing, streaming and accounting can be seen "
    "at work without any key or cost."
)
_WORDS_QUOTED = 12


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
    called = called_tool(body, prompt)
    if called is not None:
        name, arguments = called
        return Answer(pieces=_json(arguments), finish_reason="tool_calls", tool=name)
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_schema" and isinstance(response_format, dict):
        schema = (response_format.get("json_schema") or {}).get("schema") or {}
        pieces = _json(example(schema, prompt=prompt))
    elif kind == "json_object":
        described = example_for_prompt(_texts(body))
        pieces = _json({"simulated": True, "model": model} if described is None else described)
    else:
        n_tokens = tier.answer_tokens(f"{model}\n{index}\n{prompt}")
        pieces = list(itertools.islice(_words(model, prompt, _result_text(body)), n_tokens))
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
    chars = sum(map(len, _texts(body)))
    return 4 * len(messages) + (chars + 3) // 4


def _content_text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _words(model: str, prompt: str, result: str) -> Iterator[str]:
    opening = f"This is a simulated answer from {model}, no language model wrote it. You asked: "
    told = f" The tool answered: “{_beginning(result)}”." if result else ""
    first, *rest = f"{opening}“{_beginning(prompt)}”.{told}".split()
    yield first
    for word in itertools.chain(rest, itertools.cycle(_FILLER.split())):
        yield " " + word


def _beginning(text: str) -> str:
    words = text.split(maxsplit=_WORDS_QUOTED)
    return " ".join(words[:_WORDS_QUOTED]) + (" …" if len(words) > _WORDS_QUOTED else "")


def _result_text(body: Mapping[str, Any]) -> str:
    """Return what the tool said that was called last; empty where none was."""
    messages = body.get("messages") or [None]
    last = messages[-1]
    told = isinstance(last, dict) and last.get("role") == "tool"
    return _content_text(last.get("content")) if told else ""


def _texts(body: Mapping[str, Any]) -> list[str]:
    messages = [each for each in body.get("messages") or [] if isinstance(each, dict)]
    return [_content_text(message.get("content")) for message in messages]


def _json(value: object) -> list[str]:
    text = msgspec.json.encode(value).decode()
    return [text[i : i + 6] for i in range(0, len(text), 6)]
