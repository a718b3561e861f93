"""Requests for a completion of a plain prompt, and what of them a chat completion can say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.body import Body, Fields
from app.wire.chat_request import MAX_MESSAGES, ChatRequest, field_value, whole_number
from app.wire.envelope import decode_value, read_envelope
from app.wire.turns import Turn
from routers.models import Capability, Demand
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.types import Conversation, Message, Role

COMPLETIONS = "completions"
"""The dialect's name."""

DEFAULT_MAX_TOKENS = 16
"""How long an answer is where the request does not say."""

_OUR_FIELDS = frozenset({"model", "routing"})
_OF_PROMPTS_ALONE = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs"})
"""Fields that a chat completion does not have, or means something else by."""

_TEXT = msgspec.json.Decoder(str)
_TEXTS = msgspec.json.Decoder(list[str])
_TokenId = (  # to JSON, 1.0 is a whole number
    Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | Annotated[float, msgspec.Meta(ge=0, lt=2**31)]
)
_TOKENS = msgspec.json.Decoder(list[_TokenId])
_TOKEN_LISTS = msgspec.json.Decoder(list[list[_TokenId]])
_SUFFIX = msgspec.json.Decoder(str | None)
_ECHO = msgspec.json.Decoder(bool | None)
_LOGPROBS = msgspec.json.Decoder(int | float | bool | None)
_WHITE_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What is to be completed: texts, or lists of a tokeniser's numbers."""

    texts: tuple[str, ...] = ()
    token_counts: tuple[int, ...] = ()

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.texts) + len(self.token_counts)


def read_text_request(body: bytes, *, max_messages: int = MAX_MESSAGES) -> tuple[ChatRequest, Body]:
    """Take the body of a completions request apart: return what it asks, and itself.

    Parameters
    ----------
    max_messages
        How many prompts there may be.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for anything that is not a completions request.
    """
    fields = read_envelope(body)
    if "model" not in fields:
        raise InvalidRequestError("you must provide a model parameter", param="model")
    model = field_value(fields, "model")
    if not model:
        raise InvalidRequestError("model must not be empty", param="model")
    if "prompt" not in fields:
        hint = "; messages are for /v1/chat/completions" if "messages" in fields else ""
        raise InvalidRequestError(f"you must provide a prompt parameter{hint}", param="prompt")
    prompts = _prompts(fields["prompt"], max_messages)
    stream = bool(field_value(fields, "stream"))
    options = field_value(fields, "stream_options")
    texts = prompts.texts or ("",)
    untold = next(_untold(fields, prompts), None)
    own = {name: bytes(raw) for name, raw in fields.items() if name not in _OUR_FIELDS}
    asked = ChatRequest(
        model=model,
        fields=own,
        stream=stream,
        include_usage=bool(options and options.include_usage),
        conversation=Conversation(tuple(Message(Role.USER, text) for text in texts)),
        demand=_demand(fields, prompts, stream=stream),
        turns=[Turn("user", msgspec.Raw(msgspec.json.encode(text))) for text in texts],
        routing=field_value(fields, "routing"),
    )
    return asked, Body(
        own,
        dialect=COMPLETIONS,
        translate=partial(_as_chat, told=untold is None),
        untold=untold,
    )


def _prompts(raw: Any, most: int) -> Prompts:
    value = bytes(raw).lstrip(_WHITE_SPACE)
    if not value.startswith(b"["):
        return Prompts(texts=(decode_value(_TEXT, raw, "prompt"),))
    first = value[1:].lstrip(_WHITE_SPACE)[:1]
    if first == b'"':
        texts = decode_value(_TEXTS, raw, "prompt")
        _check_number(len(texts), most)
        return Prompts(texts=tuple(texts))
    if first == b"[":
        # An empty list is two bytes: they are counted before any is made.
        _check_number(value.count(b"[") - 1, most)
        lists = decode_value(_TOKEN_LISTS, raw, "prompt")
        for tokens in lists:
            _check_tokens(tokens)
        return Prompts(token_counts=tuple(map(len, lists)))
    tokens = decode_value(_TOKENS, raw, "prompt")
    if not tokens:
        raise InvalidRequestError("prompt must not be an empty list", param="prompt")
    _check_tokens(tokens)
    return Prompts(token_counts=(len(tokens),))


def _check_tokens(tokens: Sequence[float]) -> None:
    if any(type(token) is float and not token.is_integer() for token in tokens):
        raise InvalidRequestError("the tokens of a prompt are whole numbers", param="prompt")


def _check_number(n: int, most: int) -> None:
    if n > most:
        raise InvalidRequestError(
            f"the request has {n} prompts; at most {most} are taken (server.max_messages)",
            param="prompt",
        )


def _demand(fields: Mapping[str, Any], prompts: Prompts, *, stream: bool) -> Demand:
    tokens = upper = sum(prompts.token_counts)
    for text in prompts.texts:
        more, more_upper = estimate_tokens_and_upper(text)
        tokens, upper = tokens + more, upper + more_upper
    # An empty prompt is the token that begins all texts.
    tokens, upper = max(tokens, prompts.number), max(upper, prompts.number)
    suffix = decode_value(_SUFFIX, fields["suffix"], "suffix") if "suffix" in fields else None
    if suffix:
        more, more_upper = estimate_tokens_and_upper(suffix)
        tokens, upper = tokens + more, upper + more_upper
    limit = whole_number(fields, "max_tokens", least=0)
    n_answers = max(whole_number(fields, "n") or 1, whole_number(fields, "best_of") or 1)
    return Demand(
        input_tokens=tokens,
        input_tokens_upper=upper,
        # With `echo`, nothing new may be asked for at all: the prompt is scored.
        max_output_tokens=DEFAULT_MAX_TOKENS if limit is None else max(limit, 1),
        capabilities=frozenset({Capability.STREAMING} if stream else ()),
        n_answers=n_answers * prompts.number,
    )


def _untold(fields: Mapping[str, Any], prompts: Prompts) -> Iterator[tuple[str, str]]:
    """Yield what a chat completion cannot say of a request: the field, and a sentence."""
    if prompts.token_counts:
        yield "prompt", "a prompt of token numbers cannot be sent as a chat message"
    if prompts.number > 1:
        yield "prompt", "several prompts cannot be sent as one chat message; send each by itself"
    if _given(fields, "suffix", _SUFFIX):
        yield "suffix", "a chat completion cannot end before a suffix"
    if _given(fields, "echo", _ECHO):
        yield "echo", "a chat completion cannot repeat its prompt"
    logprobs = _given(fields, "logprobs", _LOGPROBS)
    if logprobs is not None and logprobs is not False:
        yield "logprobs", "log-probabilities of chat completions have another shape"
    if whole_number(fields, "max_tokens", least=0) == 0:
        yield "max_tokens", "a chat completion has at least one token"
    if (whole_number(fields, "best_of") or 1) > (whole_number(fields, "n") or 1):
        yield "best_of", "chat completions are not chosen from several; leave best_of out"


def _given(fields: Mapping[str, Any], name: str, decoder: msgspec.json.Decoder[Any]) -> Any:
    return decode_value(decoder, fields[name], name) if name in fields else None


def _as_chat(fields: Fields, *, told: bool) -> Fields:
    """Return a request as a chat completion.

    Parameters
    ----------
    told
        Whether that says all of it. Where not, it is never sent; what it does not say stands in it
        under its own name, so that two such requests are told from one another.
    """
    chat = {name: raw for name, raw in fields.items() if not told or name not in _OF_PROMPTS_ALONE}
    prompt = fields["prompt"].strip(_WHITE_SPACE)
    if prompt.startswith(b"["):
        prompt = prompt[1:-1].strip(_WHITE_SPACE)
    chat["messages"] = b'[{"role":"user","content":%b}]' % (prompt if told else b'""')
    if chat.get("max_tokens", b"null").strip() == b"null":
        chat["max_tokens"] = b"%d" % DEFAULT_MAX_TOKENS
    return chat
