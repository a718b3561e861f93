"""What a simulated model says: deterministic, harmless, and plain about being simulated."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.stub.answers.answer import Answer, Call
from app.stub.answers.closed import calculated, closed_answer
from app.stub.answers.conversation import Conversation, content_text
from app.stub.answers.described import demands_json, described
from app.stub.answers.examples import example
from app.stub.answers.prompt_values import Prompt
from app.stub.answers.scalars import PLACEHOLDER
from app.stub.answers.sureness import sureness
from app.stub.answers.tools import Called, called_tools
from app.stub.tiers import Tier

_FILLER = (
    "A real model would now take the question apart, weigh what is known and answer in detail. "
    "This text only stands in its place, so that routing, streaming and accounting can be seen "
    "at work without any key or cost."
)
_THOUGHT = (
    "What is asked here is looked at from several sides, as a model would that thinks before it "
    "answers. Nothing is thought in fact: these words stand in the place of a train of thought. "
)
_THOUGHT_TOKENS = {"minimal": 8, "low": 24, "medium": 64, "high": 128, "xhigh": 192, "max": 256}
_WORDS_QUOTED = 12
_SHORT_CHARS = 4000
_MARKER = re.compile(r"\[\[ ## (\w+) ## \]\]")


def compose(model: str, tier: Tier, body: Mapping[str, Any], *, index: int = 0) -> Answer:
    """Answer a chat request.

    Parameters
    ----------
    body
        The request as decoded from JSON; `messages`, `tools`, `tool_choice`,
        `response_format`, `reasoning_effort` and what limits the output are looked at. With
        `thinks` any model thinks, not only those that do by themselves.
    index
        Which of `n` choices.
    """
    conversation = Conversation(body)
    sure = sureness(tier, conversation.prompt)
    thought = _thought(tier, body)
    called = called_tools(body, conversation)
    if called:
        calls = [_call(each) for each in called]
        return Answer(
            pieces=[], finish_reason="tool_calls", calls=calls, thought=thought, sure=sure
        )
    pieces = _json_pieces(model, body, conversation)
    others: list[str] = []
    if pieces is not None:
        pass
    elif (closed := closed_answer(tier, conversation.prompt, _asking(conversation))) is not None:
        pieces, sure, others = [closed.text], closed.sure, closed.others
    else:
        n_tokens = tier.answer_tokens(f"{model}\n{index}\n{conversation.prompt}")
        pieces = list(itertools.islice(_words(model, tier, conversation), n_tokens))
    return _limited(
        Answer(pieces=pieces, finish_reason="stop", thought=thought, sure=sure, others=others),
        body,
    )


def input_tokens(body: Mapping[str, Any]) -> int:
    """Count prompt tokens the coarse way: four characters each, and four more per message."""
    messages = [each for each in body.get("messages") or [] if isinstance(each, dict)]
    chars = sum(len(content_text(each.get("content"))) for each in messages)
    return 4 * len(messages) + (chars + 3) // 4


def _json_pieces(
    model: str, body: Mapping[str, Any], conversation: Conversation
) -> list[str] | None:
    """Return the tokens of what is told as JSON; None where text is asked for."""
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    told = " ".join(conversation.results)
    prompt = Prompt(conversation.prompt, conversation.known())
    if kind == "json_schema" and isinstance(response_format, dict):
        schema = (response_format.get("json_schema") or {}).get("schema") or {}
        return _json(example(schema, prompt=prompt, told=told or _reply_to(prompt)))
    if kind == "json_object" or (kind is None and demands_json(_asking(conversation))):
        made = described(conversation.texts(), prompt, told=told or _reply_to(prompt))
        return _json({PLACEHOLDER: True, "model": model} if made is None else made)
    return None


def _asking(conversation: Conversation) -> list[str]:
    """Return the texts that say how to answer: of the system, and the newest of the user.

    Of long ones only the end: an agent's instructions speak of many things.
    """
    system = [
        content_text(each.get("content"))
        for each in conversation.messages
        if isinstance(each, dict) and each.get("role") in ("system", "developer")
    ]
    asking = [*system, conversation.prompt]
    return [text if len(text) < _SHORT_CHARS else text[-_SHORT_CHARS // 4 :] for text in asking]


def _reply_to(prompt: Prompt) -> str:
    return f"A simulated answer to “{prompt.beginning(_WORDS_QUOTED)}”" if prompt.text else ""


def _thought(tier: Tier, body: Mapping[str, Any]) -> list[str]:
    if not (tier.thinks or body.get("thinks")):
        return []
    effort = body.get("reasoning_effort")
    n_tokens = _THOUGHT_TOKENS.get(effort, 0) if isinstance(effort, str) else 0
    return list(itertools.islice(_spaced(itertools.cycle(_THOUGHT.split())), n_tokens))


def _limited(answer: Answer, body: Mapping[str, Any]) -> Answer:
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    found = {each: answer.text.find(each) for each in stops if isinstance(each, str) and each}
    met = {each: at for each, at in found.items() if at >= 0}
    if met:
        first = min(met, key=lambda each: met[each])
        pieces = _cut(answer.pieces, met[first])
        answer = msgspec.structs.replace(answer, pieces=pieces, stop_sequence=first)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if not isinstance(limit, int) or not 0 < limit < len(answer.thought) + len(answer.pieces):
        return answer
    thought = answer.thought[:limit]
    pieces = answer.pieces[: limit - len(thought)]
    return msgspec.structs.replace(
        answer, thought=thought, pieces=pieces, finish_reason="length", stop_sequence=None
    )


def _cut(pieces: Sequence[str], n_chars: int) -> list[str]:
    """Return tokens up to a character."""
    kept: list[str] = []
    for piece in pieces:
        if n_chars <= 0:
            break
        kept.append(piece[:n_chars])
        n_chars -= len(piece)
    return kept


def _words(model: str, tier: Tier, conversation: Conversation) -> Iterator[str]:
    marked = _marked(conversation)
    if marked is not None:
        return iter(re.findall(r"\s*\S+", marked))
    prompt, results = Prompt(conversation.prompt), conversation.results
    opening = f"This is a simulated answer from {model}, no language model wrote it. You asked: "
    told = ", ".join(f"“{_beginning(each)}”" for each in results if each)
    told = f" The {'tools' if len(results) > 1 else 'tool'} answered: {told}." if told else ""
    sum_of = None if results else calculated(tier, conversation.prompt)
    known = "" if sum_of is None else f" It comes to {sum_of}."
    said = f"{opening}“{prompt.beginning(_WORDS_QUOTED)}”.{told}{known}"
    return _spaced(itertools.chain(said.split(), itertools.cycle(_FILLER.split())))


def _spaced(words: Iterator[str]) -> Iterator[str]:
    yield next(words)
    for word in words:
        yield " " + word


def _marked(conversation: Conversation) -> str | None:
    """Return the fields that a prompt wants between markers, as DSPy does: `[[ ## answer ## ]]`."""
    _, asked, names = conversation.prompt.rpartition("starting with the field")
    fields = [each for each in _MARKER.findall(names) if each != "completed"]
    if not asked or not fields:
        return None
    told = " ".join(conversation.results) or PLACEHOLDER
    said = [f"[[ ## {each} ## ]]\n{told}\n\n" for each in fields]
    return "".join(said) + "[[ ## completed ## ]]"


def _beginning(text: str) -> str:
    return Prompt(text).beginning(_WORDS_QUOTED)


def _call(called: Called) -> Call:
    text = called.arguments if isinstance(called.arguments, str) else _encoded(called.arguments)
    return Call(
        name=called.name, pieces=_pieces(text), custom=called.custom, namespace=called.namespace
    )


def _json(value: object) -> list[str]:
    return _pieces(_encoded(value))


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _pieces(text: str) -> list[str]:
    return [text[i : i + 6] for i in range(0, len(text), 6)]
