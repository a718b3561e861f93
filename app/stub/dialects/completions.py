"""OpenAI's older completions, as a server writes them."""

import time
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec

from app.stub.answers.answer import Answer
from app.stub.answers.sureness import alternatives, logprobs
from app.stub.dialects.base import Body, Dialect, Refused, Reply
from app.stub.dialects.chat import error_body, usage

_encode = msgspec.json.Encoder().encode

_MAX_LOGPROBS = 5
_DEFAULT_MAX_TOKENS = 16
_MAX_PROMPTS = 128


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request."""
    top = body.get("logprobs")
    if isinstance(top, int) and not 0 <= top <= _MAX_LOGPROBS:
        return f"'logprobs' must be from 0 to {_MAX_LOGPROBS}."
    if body.get("prompt") == []:
        return "'prompt' must not be empty."
    count = body.get("n") if isinstance(body.get("n"), int) else 1
    if len(_prompts(body)) * (count or 1) > _MAX_PROMPTS:
        return f"At most {_MAX_PROMPTS} completions can be made at once."
    return None


def to_chats(body: Body) -> list[Body]:
    """Return a chat request for each prompt."""
    limit = body.get("max_tokens")
    return [
        {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": _DEFAULT_MAX_TOKENS if limit is None else limit,
            "stop": body.get("stop"),
        }
        for prompt in _prompts(body)
    ]


def _prompts(body: Body) -> list[str]:
    prompt = body.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if _are_tokens(prompt):
        return [_spelt(prompt)]
    if not isinstance(prompt, list) or not all(
        isinstance(each, str) or _are_tokens(each) for each in prompt
    ):
        raise Refused("'prompt' must be a text, texts, or arrays of token ids.")
    return [each if isinstance(each, str) else _spelt(each) for each in prompt]


def _are_tokens(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


def _spelt(tokens: list[int]) -> str:
    return " ".join(f"<{each}>" for each in tokens)


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    choices = [
        _choice(index, _echo(reply, index) + answer.text, answer.finish_reason)
        | {"logprobs": _logprobs(reply, answer, index)}
        for index, answer in enumerate(reply.answers)
    ]
    told = {} if reply.counts is None else {"usage": reply.counts}
    return _encode({**_envelope(reply), "choices": choices, **told})


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, `[DONE]` excepted, each with the tokens said by then."""
    envelope = _envelope(reply)
    tail = {} if reply.counts is None else {"usage": None}

    def event(choice: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % _encode({**envelope, "choices": [choice], **tail})

    for index, answer in enumerate(reply.answers):
        offset = 0
        if echo := _echo(reply, index):
            yield 0, event(_choice(index, echo, None))
            offset = len(echo)
        told = _logprobs(reply, answer, index, offset=offset)
        for position, piece in enumerate(answer.pieces):
            choice = _choice(index, piece, None)
            if told is not None:
                choice["logprobs"] = {key: [told[key][position]] for key in told}
            yield position + 1, event(choice)
        yield len(answer.pieces), event(_choice(index, "", answer.finish_reason))
    if reply.counts is not None:
        yield 0, b"data: %b\n\n" % _encode({**envelope, "choices": [], "usage": reply.counts})


def _echo(reply: Reply, index: int) -> str:
    if reply.body.get("echo") is not True:
        return ""
    prompts = _prompts(reply.body)
    return prompts[index // (len(reply.answers) // len(prompts))]


def _logprobs(
    reply: Reply, answer: Answer, index: int, *, offset: int | None = None
) -> dict[str, list[Any]] | None:
    """Return the log-probabilities, of an echoed prompt as one token without any."""
    top = reply.body.get("logprobs")
    if not isinstance(top, int):
        return None
    told = logprobs(answer, f"{reply.model}\n{answer.text}")
    likeliest: list[Any] = [
        dict(alternatives(piece, logprob, max(top, 1), answer.others))
        for piece, logprob in zip(answer.pieces, told, strict=True)
    ]
    tokens = list(answer.pieces)
    chances: list[Any] = list(told)
    if offset is None and (echo := _echo(reply, index)):
        tokens, chances, likeliest = [echo, *tokens], [None, *chances], [None, *likeliest]
    starts = list(accumulate(map(len, tokens[:-1]), initial=offset or 0)) if tokens else []
    return {
        "tokens": tokens,
        "token_logprobs": chances,
        "top_logprobs": likeliest,
        "text_offset": starts,
    }


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def _envelope(reply: Reply) -> dict[str, Any]:
    return {
        "id": reply.reply_id,
        "object": "text_completion",
        "created": int(time.time()),
        "model": reply.model,
        "system_fingerprint": "fp_simulated",
    }


COMPLETIONS = Dialect(
    id_prefix="cmpl-sim",
    headers=((b"openai-version", b"2020-10-01"),),
    id_header=b"x-request-id",
    refusal=refusal,
    to_chats=to_chats,
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=lambda body, _: b"data: %b\n\n" % body,
    end=lambda *_: b"data: [DONE]\n\n",
    usage_on_demand=True,
)
