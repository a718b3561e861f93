"""Gemini's `generateContent`, as a server writes it.

The shapes are those of Google's public documentation ("Generating content", "Function calling");
the answers are the stub's own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers.answer import Answer, Call
from app.stub.dialects.base import Body, Dialect, Refused, Reply

_encode = msgspec.json.Encoder().encode

_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_STATUSES = {
    "server_error": (500, "INTERNAL"),
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
    "authentication_error": (401, "UNAUTHENTICATED"),
    "permission_error": (403, "PERMISSION_DENIED"),
}
_TOO_LONG = "The input token count (210000) exceeds the maximum number of tokens allowed (200000)."
_CHOICES = {"AUTO": "auto", "VALIDATED": "auto", "NONE": "none", "ANY": "required"}
_ROLES = {"user": "user", "model": "assistant"}
_MIN_THINKING_TOKENS = 8_192


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request, beyond what reading it shows."""
    if not isinstance(body.get("contents"), list) or not body["contents"]:
        return "* GenerateContentRequest.contents: contents is not specified"
    return None


def to_chat(body: Body) -> dict[str, Any]:
    """Return the request as OpenAI's, as far as the stub's answers depend on it.

    Raises
    ------
    Refused
        Where the real API refuses: another role, as many results as there were no calls.
    """
    config = body.get("generationConfig") or {}
    _check_results(body["contents"])
    chat: dict[str, Any] = {
        "messages": [message for turn in body["contents"] for message in _messages(turn)],
        "max_tokens": config.get("maxOutputTokens"),
        "stop": config.get("stopSequences"),
    }
    if body.get("systemInstruction"):
        system = _text(body["systemInstruction"]["parts"])
        chat["messages"].insert(0, {"role": "system", "content": system})
    declared = [
        function
        for tool in body.get("tools") or ()
        for function in tool.get("functionDeclarations") or ()
    ]
    if declared:
        chat["tools"] = [{"type": "function", "function": _function(each)} for each in declared]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    names: list[str] = calling.get("allowedFunctionNames") or []
    chat["tool_choice"] = (
        {"type": "function", "function": {"name": names[0]}}
        if len(names) == 1
        else _CHOICES[calling.get("mode", "AUTO")]
    )
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema")
        chat["response_format"] = (
            {"type": "json_object"}
            if schema is None
            else {"type": "json_schema", "json_schema": {"schema": schema}}
        )
    thinking = config.get("thinkingConfig") or {}
    if thinking.get("includeThoughts"):
        large = thinking.get("thinkingBudget", 0) >= _MIN_THINKING_TOKENS
        chat["reasoning_effort"] = thinking.get("thinkingLevel") or ("high" if large else "low")
    return chat


def _function(declared: Mapping[str, Any]) -> dict[str, Any]:
    schema = declared.get("parametersJsonSchema") or {"type": "object", "properties": {}}
    return {**declared, "parameters": schema}


def _check_results(turns: list[Mapping[str, Any]]) -> None:
    """Refuse a turn that does not answer the calls before it, with the real API's words.

    Raises
    ------
    Refused
        If there is one.
    """
    called = 0
    for turn in turns:
        if turn["role"] not in _ROLES:
            raise Refused("Please use a valid role: user, model.")
        answered = sum("functionResponse" in part for part in turn["parts"])
        if answered != called:
            raise Refused(
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn."
            )
        called = sum("functionCall" in part for part in turn["parts"])


def _messages(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    role, parts = _ROLES[turn["role"]], turn["parts"]
    results = [each["functionResponse"] for each in parts if "functionResponse" in each]
    messages: list[dict[str, Any]] = [
        {"role": "tool", "content": str(next(iter(each["response"].values()), ""))}
        for each in results
    ]
    if len(parts) > len(results):
        messages.append({"role": role, "content": _text(parts)})
    return messages


def _text(parts: list[Mapping[str, Any]]) -> str:
    return "\n".join(part["text"] for part in parts if part.get("text"))


def error_body(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> bytes:
    """Return an error in Google's shape."""
    status, name = _STATUSES.get(kind, (400, "INVALID_ARGUMENT"))
    if code == "context_length_exceeded":
        message = _TOO_LONG
    if code == "model_not_found":
        status, name = 404, "NOT_FOUND"
    if code == "rate_limit_exceeded":
        status, name = _STATUSES["rate_limit_error"]
    return _encode({"error": {"code": status, "message": message, "status": name}})


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    thought = sum(len(answer.thought) for answer in answers)
    said = sum(answer.tokens for answer in answers)
    return {
        "promptTokenCount": input_tokens,
        "candidatesTokenCount": said - thought,
        "totalTokenCount": input_tokens + said,
        **({"thoughtsTokenCount": thought} if thought else {}),
    }


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    answer = reply.answers[0]
    parts: list[dict[str, Any]] = []
    if answer.thought:
        parts.append({"text": "".join(answer.thought), "thought": True})
    parts += _calls(reply, answer.calls) or [{"text": answer.text}]
    return _encode(_answer(reply, parts, end=answer.finish_reason))


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, the last excepted, each with the tokens said by then."""
    answer = reply.answers[0]
    position = 0
    for piece in answer.thought:
        position += 1
        yield position, _event(_answer(reply, [{"text": piece, "thought": True}]))
    for piece in answer.pieces:
        position += 1
        yield position, _event(_answer(reply, [{"text": piece}]))
    for call, part in zip(answer.calls, _calls(reply, answer.calls), strict=True):
        position += len(call.pieces)
        yield position, _event(_answer(reply, [part]))


def _end(reply: Reply, _n_events: int) -> bytes:
    finish_reason = reply.answers[0].finish_reason
    return _event(_answer(reply, [{"text": ""}], end=finish_reason))


def _event(answer: Mapping[str, Any]) -> bytes:
    return b"data: %b\r\n\r\n" % _encode(answer)


def _answer(reply: Reply, parts: list[dict[str, Any]], *, end: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if end is not None:
        candidate["finishReason"] = _FINISH_REASONS.get(end, "STOP")
    counts = {} if end is None or reply.counts is None else {"usageMetadata": reply.counts}
    return {
        "candidates": [candidate],
        **counts,
        "modelVersion": reply.model,
        "responseId": reply.reply_id,
    }


def _calls(reply: Reply, calls: list[Call]) -> list[dict[str, Any]]:
    """Return the parts of calls; the first one is sealed."""
    parts: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        told = {"id": f"{reply.reply_id}_{index}", "name": call.name, "args": _input(call.text)}
        parts.append({"functionCall": told})
    if parts:
        seal = hashlib.sha256(f"{reply.model}\n{calls[0].text}".encode()).hexdigest()
        parts[0]["thoughtSignature"] = seal
    return parts


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}  # cut at the limit


GENERATE_CONTENT = Dialect(
    id_prefix="sim",
    id_header=b"x-simulated-id",
    refusal=refusal,
    to_chats=lambda body: [to_chat(body)],
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=lambda body, _: b"data: %b\r\n\r\n" % body,
    end=_end,
)
