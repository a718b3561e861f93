"""Gemini's answers, told in OpenAI's: the parts of a candidate, why it ended, token counts.

References
----------
Google, "GenerateContentResponse", ai.google.dev.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.ids import new_id
from app.providers.base import Chunk
from app.providers.http.errors import Headers
from app.providers.http.lenient import Mender
from app.providers.translation.answers import completion, envelope, openai_usage
from app.providers.translation.structs import read_struct
from app.usage import ToldUsage
from app.wire.usage_records import read_usage

_NULL = msgspec.Raw(b"null")
_NO_ARGUMENTS = msgspec.Raw(b"{}")

_FINISH_REASONS: Mapping[str, str] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""A reason in neither table is told as `stop`: the answer is complete, whatever ended it."""

_FAILURES = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "PUP_LIMITED_DISABLED",
    }
)
"""The model, or the way to it, gave up: what came is no answer."""

_SAFE_ID = re.compile(r"[\w.=-]{1,128}")
_MAX_CALL_ID_CHARS = 40
"""OpenAI's models take no longer ones, and the conversation may go on with them."""


class FunctionCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool; its arguments come whole."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = _NULL


class _Blob(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    mime_type: str | None = None
    data: str | None = None


class Part(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One piece of what the model says."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: _Blob | None = None


class _Content(msgspec.Struct, frozen=True, gc=False):
    parts: list[Part] | None = None


class _Candidate(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _PromptFeedback(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Answer(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A whole answer, or what one event of a stream adds to it."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: msgspec.Raw = _NULL
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = _NULL

    @property
    def parts(self) -> Sequence[Part]:
        """What the model says; of several candidates the first one's, which was asked for."""
        content = self.candidates[0].content if self.candidates else None
        return (content.parts or ()) if content is not None else ()

    @property
    def usage(self) -> ToldUsage | None:
        """The token counts; None where none are told."""
        return None if self.usage_metadata == _NULL else read_usage(bytes(self.usage_metadata))

    @property
    def end(self) -> "End | None":
        """Why the answer is over; None while it is not.

        Raises
        ------
        UpstreamInvalidResponseError
            If the model gave up.
        """
        if self.candidates:
            reason = self.candidates[0].finish_reason
            if not reason or reason == "FINISH_REASON_UNSPECIFIED":
                return None
            if reason in _FAILURES:
                raise UpstreamInvalidResponseError(f"the upstream's model gave up ({reason})")
            told = _FINISH_REASONS.get(reason, "stop")
            return _end(told, reason, self.candidates[0].finish_message)
        feedback = self.prompt_feedback
        if feedback is None or not feedback.block_reason:
            return None
        return _end("content_filter", feedback.block_reason, feedback.block_reason_message)


class End(msgspec.Struct, frozen=True):
    """How an answer ended, in OpenAI's words."""

    reason: str
    refusal: str | None = None

    def after(self, n_calls: int) -> str:
        """Return the reason of an answer with so many tool calls."""
        return "tool_calls" if n_calls and self.reason == "stop" else self.reason


def _end(told: str, reason: str, message: str | None) -> End:
    if told != "content_filter":
        return End(told)
    return End(told, refusal=message or f"Blocked by the upstream's filter ({reason}).")


_decode = msgspec.json.Decoder(Answer).decode


def read_answer(data: bytes, mender: Mender) -> Answer:
    """Read an answer or an event; fields of another shape than Gemini's count as not there.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no JSON object by any reading.
    """
    what = "what is no answer of generateContent"
    return read_struct(data, Answer, mender, decode=_decode, what=what)


def tool_call(part: Part, response_id: str | None, n_before: int) -> dict[str, Any]:
    """Return a tool call as OpenAI has it.

    Parameters
    ----------
    response_id, n_before
        The answer it stands in and how many calls before it, for a call without a name of its own.
    """
    told = part.function_call or FunctionCall()
    call_id = told.id or f"call_{response_id or ''}_{n_before}"
    if len(call_id) > _MAX_CALL_ID_CHARS or not (told.id or response_id):
        call_id = new_id("call_")
    arguments = _NO_ARGUMENTS if told.args == _NULL else told.args
    call: dict[str, Any] = {
        "id": call_id,
        "type": "function",
        "function": {
            "name": told.name or "",
            "arguments": bytes(arguments).decode(errors="replace"),
        },
    }
    if part.thought_signature:
        call["extra_content"] = sealed(part.thought_signature)
    return call


def sealed(signature: str) -> dict[str, Any]:
    """Return a signature as Google's own OpenAI-compatible API has it."""
    return {"google": {"thought_signature": signature}}


def image(part: Part) -> dict[str, Any] | None:
    """Return an image that the model made, the way other gateways tell it."""
    blob = part.inline_data
    if blob is None or not blob.data:
        return None
    url = f"data:{blob.mime_type or 'image/png'};base64,{blob.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def request_id(response_id: str | None) -> Headers:
    """Return the header that names the answer to whoever asks Google about it."""
    if response_id is None or not _SAFE_ID.fullmatch(response_id):
        return ()
    return ((b"x-upstream-request-id", response_id.encode()),)


def whole_answer(body: bytes, headers: Headers, *, one_call: bool = False) -> Chunk:
    """Translate a whole answer.

    Parameters
    ----------
    one_call
        Whether the client takes one tool call at most.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is none, or the model gave up.
    """
    mender = Mender()
    answer = read_answer(body, mender)
    end = answer.end
    message, n_chars = _to_message(answer, one_call=one_call)
    if end is None:
        raise UpstreamInvalidResponseError(
            "the upstream's answer is not over" if n_chars else "the upstream's answer is empty"
        )
    if end.refusal is not None:
        message["refusal"] = end.refusal
    finish_reason = end.after(len(message.get("tool_calls", ())))
    usage = answer.usage
    head = envelope(answer.response_id, answer.model_version, "chat.completion")
    return Chunk(
        data=mender.encode(completion(head, message, finish_reason, openai_usage(usage))),
        usage=usage,
        content_events=1,
        content_chars=n_chars,
        response_model=answer.model_version,
        finish_reason=finish_reason,
        headers=(*headers, *request_id(answer.response_id)),
    )


def _to_message(answer: Answer, *, one_call: bool) -> tuple[dict[str, Any], int]:
    """Return OpenAI's message, and how many characters the model wrote in it."""
    parts = answer.parts
    text = "".join(part.text or "" for part in parts if not part.thought)
    reasoning = "".join(part.text or "" for part in parts if part.thought)
    asked = [part for part in parts if part.function_call is not None]
    if one_call:
        del asked[1:]
    calls = [tool_call(part, answer.response_id, i) for i, part in enumerate(asked)]
    images = [made for made in map(image, parts) if made is not None]
    signatures = [
        part.thought_signature
        for part in parts
        if part.thought_signature and part.function_call is None
    ]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
    }
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    if images:
        message["images"] = images
    if signatures:
        message["extra_content"] = sealed(signatures[-1])
    functions = [call["function"] for call in calls]
    n_chars = sum(len(each["name"]) + len(each["arguments"]) for each in functions)
    return message, len(text) + len(reasoning) + n_chars + len(images)
