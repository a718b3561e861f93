"""The reads of one `streamGenerateContent`, turned into chunks of OpenAI's dialect."""

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.generate_content.wire import (
    Answer,
    End,
    Part,
    image,
    read_answer,
    request_id,
    sealed,
    tool_call,
)
from app.providers.http.error_body import ErrorDetail, reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.sse import DONE, MAX_EVENT_BYTES, ErrorEvent
from app.providers.translation.answers import ChatEvents, openai_usage
from app.providers.translation.parts import NULL
from app.providers.translation.stream import TranslatedStream
from app.usage import ToldUsage


class GenerateStream(TranslatedStream):
    """Parse what an upstream sends and say it in OpenAI's events.

    The API has no event that ends a stream, and some of its models give a reason to end in every
    event: the answer is over when the connection is and a reason was given. After each `feed`,
    `done` says whether that is so and `error` whether the stream failed; what came before the
    failure is in the chunk that was returned.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    max_event_bytes
        The size at which an event is refused.
    one_call
        Whether the client takes one tool call at most.
    """

    last_words = b'"finishReason"'

    def __init__(
        self,
        headers: Headers = (),
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        one_call: bool = False,
    ) -> None:
        super().__init__(ChatEvents(headers, one_call=one_call), max_event_bytes=max_event_bytes)
        self._usage: ToldUsage | None = None
        self._end: End | None = None
        self._response_id: str | None = None
        self._n_calls = 0

    def close(self) -> Chunk | None:
        """Take the end of the connection: fine only after a reason to end."""
        self._read(self._parser.close(self.last_words))
        if self._end is None or self.error is not None:
            return self._events.take()
        events = self._events
        try:
            refusal = self._end.refusal
            events.say(
                {} if refusal is None else {"refusal": refusal},
                finish_reason=self._end.after(self._n_calls),
            )
            events.end(self._usage, openai_usage(self._usage))
        except UpstreamInvalidResponseError as error:
            self.error = error
        else:
            self.done = True
        return events.take()

    def _take(self, data: bytes) -> None:
        if type(data) is ErrorEvent:
            self._fail(reported_error(data))
            return
        if data == DONE:
            return
        answer = read_answer(data, self._events.mender)
        if answer.error != NULL or (answer.candidates is None and not self._tells(answer)):
            self._fail(reported_error(data))
            if self.error is not None:
                return
        if not self._events.begun:
            self._response_id = answer.response_id
            self._events.pass_on(request_id(answer.response_id))
            self._events.begin(answer.response_id, answer.model_version)
        usage = answer.usage
        if usage is not None:
            self._usage = usage if self._usage is None else self._usage.updated(usage)
            self._events.tell_usage(self._usage)
        for part in answer.parts:
            self._say(part)
        self._end = answer.end or self._end

    def _tells(self, answer: Answer) -> bool:
        return answer.usage_metadata != NULL or answer.prompt_feedback is not None

    def _say(self, part: Part) -> None:
        events = self._events
        if part.function_call is not None:
            call = tool_call(part, self._response_id, self._n_calls)
            function = call["function"]
            n_chars = len(function["name"]) + len(function["arguments"])
            events.say_call(self._n_calls, call, n_chars=n_chars)
            self._n_calls += 1
            return
        if part.text:
            (events.say_reasoning if part.thought else events.say_text)(part.text)
        made = image(part)
        if made is not None:
            events.say({"images": [made]}, n_chars=1)
        if part.thought_signature:
            events.say({"extra_content": sealed(part.thought_signature)})

    def _fail(self, detail: ErrorDetail | None) -> None:
        if detail is not None:
            self.error = error_from_event(detail, began=self._events.said)
