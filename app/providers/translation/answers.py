"""Answers of other APIs written as OpenAI's: events of a stream, whole completions."""

import time
from collections.abc import Mapping
from typing import Any

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.errors import Headers
from app.providers.http.lenient import Mender
from app.usage import ToldUsage


def envelope(answer_id: str | None, model: str | None, kind: str) -> dict[str, Any]:
    """Return what every body and event begins with."""
    return {"id": answer_id or "", "object": kind, "created": int(time.time()), "model": model}


def completion(
    head: Mapping[str, Any],
    message: Mapping[str, Any],
    finish_reason: str,
    usage: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a whole answer."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    told = {} if usage is None else {"usage": usage}
    return {**head, "choices": [choice], **told}


def openai_usage(usage: ToldUsage | None) -> dict[str, Any] | None:
    """Return OpenAI's `usage`; None where the upstream tells too little of it."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    heard, spoken = usage.audio_input_tokens, usage.audio_output_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
            **({"audio_tokens": heard} if heard else {}),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens or 0,
            **({"audio_tokens": spoken} if spoken else {}),
        },
    }


class ChatEvents:
    """Writes what a model says as OpenAI's events; `take` returns those of one read.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    one_call
        Whether the client takes one tool call at most; of more the first is told.

    Attributes
    ----------
    said
        Whether anything of the answer itself was written.
    """

    __slots__ = ("_envelope", "_found", "_headers", "_one_call", "mender", "said")

    def __init__(self, headers: Headers, *, one_call: bool = False) -> None:
        self._headers = tuple(headers)
        self._one_call = one_call
        self._envelope: dict[str, Any] | None = None
        self._found = _Found()
        self.mender = Mender()
        self.said = False

    @property
    def begun(self) -> bool:
        """Whether it is known whose answer this is."""
        return self._envelope is not None

    def begin(self, answer_id: str | None, model: str | None) -> None:
        """Announce who speaks."""
        self._envelope = envelope(answer_id, model, "chat.completion.chunk")
        self._found.model = model
        self.say({"role": "assistant", "content": ""})

    def pass_on(self, headers: Headers) -> None:
        """Add headers to those of the first chunk."""
        self._headers = (*self._headers, *headers)

    def comment(self, line: bytes) -> None:
        """Pass a comment of the upstream on."""
        self._found.data.append(line + b"\n\n")

    def say(
        self, delta: dict[str, Any], *, n_chars: int = 0, finish_reason: str | None = None
    ) -> None:
        """Write one event.

        Raises
        ------
        UpstreamInvalidResponseError
            If the answer has not begun.
        """
        found = self._found
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        payload = self.mender.encode({**self._started(), "choices": [choice]})
        found.data.append(b"data: %b\n\n" % payload)
        found.template = payload
        found.content_events += n_chars > 0
        found.content_chars += n_chars
        found.finish_reason = finish_reason or found.finish_reason
        if "role" not in delta:
            found.has_content = self.said = True

    def say_text(self, text: str) -> None:
        """Write a piece of the text."""
        self.say({"content": text}, n_chars=len(text))

    def say_reasoning(self, text: str) -> None:
        """Write a piece of what the model thinks."""
        self.say({"reasoning_content": text}, n_chars=len(text))

    def say_call(self, index: int, call: Mapping[str, Any], *, n_chars: int) -> None:
        """Write a piece of a tool call."""
        if self._one_call and index:
            self._found.content_events += n_chars > 0  # it is paid all the same
            self._found.content_chars += n_chars
            return
        self.say({"tool_calls": [{"index": index, **call}]}, n_chars=n_chars)

    def tell_usage(self, usage: ToldUsage | None) -> None:
        """Note the token counts so far."""
        self._found.usage = usage

    def end(self, usage: ToldUsage | None, counts: Mapping[str, Any] | None) -> None:
        """Write what the whole answer took.

        Parameters
        ----------
        counts
            The same as OpenAI's `usage`; None where the upstream tells too little of it.

        Raises
        ------
        UpstreamInvalidResponseError
            If nothing was said.
        """
        started = self._started()
        if not self.said:
            raise UpstreamInvalidResponseError("the upstream's answer is empty")
        if counts is not None:
            self._found.usage = usage
            self._found.usage_event = self.mender.encode(
                {**started, "choices": [], "usage": counts}
            )

    def take(self) -> Chunk | None:
        """Return what was written since the last time; None when that is nothing for a client."""
        found, self._found = self._found, _Found()
        if not found.data and found.usage_event is None and found.usage is None:
            return None
        headers, self._headers = self._headers, ()
        return Chunk(
            data=b"".join(found.data),
            has_content=found.has_content,
            usage=found.usage,
            usage_event=found.usage_event,
            content_events=found.content_events,
            content_chars=found.content_chars,
            response_model=found.model,
            finish_reason=found.finish_reason,
            template=found.template,
            headers=headers,
        )

    def _started(self) -> dict[str, Any]:
        if self._envelope is None:
            raise UpstreamInvalidResponseError("the upstream's stream has no beginning")
        return self._envelope


class _Found:
    """What the events of one read said, so far."""

    __slots__ = (
        "content_chars",
        "content_events",
        "data",
        "finish_reason",
        "has_content",
        "model",
        "template",
        "usage",
        "usage_event",
    )

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.has_content = False
        self.content_events = 0
        self.content_chars = 0
        self.usage: ToldUsage | None = None
        self.usage_event: bytes | None = None
        self.template: bytes | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
