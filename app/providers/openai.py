"""Upstreams that speak OpenAI's chat completions: OpenAI itself and most others."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import cast

import httpx

from app.errors import (
    ConfigError,
    UpstreamInvalidResponseError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.providers._base import PROVIDERS, Chunk, ModelCall
from app.providers._chat_stream import ChatStream
from app.providers._chat_wire import decode_completion, decode_usage, encode_request, text_chars
from app.providers._http import (
    Headers,
    error_detail,
    error_from_event,
    error_from_exception,
    error_from_status,
)

MAX_ERROR_BODY_BYTES = 1024 * 1024

_PASSED_ON = {
    b"openai-processing-ms": b"openai-processing-ms",
    b"openai-version": b"openai-version",
    b"x-request-id": b"x-upstream-request-id",
}
_OURS = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"transfer-encoding",
    }
)


@PROVIDERS.register("openai")
class OpenAIProvider:
    """One upstream, for process life.

    Parameters
    ----------
    base_url
        What `/chat/completions` is appended to, usually ending in `/v1`.
    api_key
        Sent as the bearer token; None for servers that want none.
    transport
        Sends the requests; closed with the provider.
    extra_headers
        Sent with every request, such as an organisation or an API version.
    stream_usage
        Whether streams are asked for usage by `stream_options`, which some servers refuse.
    max_response_bytes
        The size at which a whole answer is refused.
    now
        Returns seconds since the epoch, for `retry-after` headers that are dates.

    Raises
    ------
    ConfigError
        If a header cannot be sent as it is.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        transport: httpx.AsyncBaseTransport,
        extra_headers: Sequence[tuple[str, str]] = (),
        stream_usage: bool = True,
        max_response_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
        self._transport = transport
        self._stream_usage = stream_usage
        self._max_response_bytes = max_response_bytes
        self._now = now
        self._headers = [
            (b"Host", self._url.netloc),
            (b"Content-Type", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            *(_header(name, value) for name, value in extra_headers),
        ]
        self._secrets: tuple[bytes, ...] = ()
        if api_key is not None:
            self._headers.append(_header("Authorization", f"Bearer {api_key}"))
            self._secrets = (api_key.encode("ascii"),)

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        """Call the upstream; see `Provider.send`."""
        # The transport looks `read` up at every read: it follows the deadline, then the idle time.
        timeouts: dict[str, float | None] = {
            "connect": call.timeouts.connect_s,
            "pool": call.timeouts.connect_s,
            "write": call.timeouts.idle_s,
            "read": call.timeouts.first_token_s,
        }
        deadline = asyncio.get_running_loop().time() + call.timeouts.first_token_s
        try:
            response = await self._transport.handle_async_request(self._request(call, timeouts))
        except httpx.TransportError as error:
            raise error_from_exception(error) from error
        stream = cast("httpx.AsyncByteStream", response.stream)
        reads = _Reads(stream, timeouts, deadline)
        try:
            await self._check(response, reads, streaming=call.stream)
            headers = _passed_on(response.headers.raw)
            if not call.stream:
                yield _whole(await reads.all(self._max_response_bytes), headers)
                return
            chat = ChatStream(headers)
            while not chat.done:
                data = await reads.next()
                if data is None:
                    chat.close()
                    break
                chunk = chat.feed(data)
                if chunk is not None:
                    if chunk.has_content:
                        reads.expect_every(call.timeouts.idle_s)
                    yield chunk
                if chat.error is not None:
                    raise chat.error
            if not chat.done:
                raise UpstreamUnavailableError("the upstream's stream ended without [DONE]")
            # The end of the body often comes a packet later; waiting here would delay the client.
            response.extensions.get("linger", _nothing)()
        finally:
            await stream.aclose()

    def _request(self, call: ModelCall, timeouts: dict[str, float | None]) -> httpx.Request:
        body = encode_request(
            call.fields,
            model=call.upstream_model,
            stream=call.stream,
            ask_for_usage=self._stream_usage,
        )
        return httpx.Request(
            "POST",
            self._url,
            headers=[
                *self._headers,
                (b"Content-Length", b"%d" % len(body)),
                (b"Accept", b"text/event-stream" if call.stream else b"application/json"),
                *(header for header in call.headers if header[0].lower() not in _OURS),
            ],
            stream=httpx.ByteStream(body),
            extensions={"timeout": timeouts},
        )

    async def _check(self, response: httpx.Response, reads: "_Reads", *, streaming: bool) -> None:
        """Raise what an answer that is no success, or no stream where one was asked for, means."""
        headers = response.headers.raw
        if not 200 <= response.status_code < 300:
            raise error_from_status(
                response.status_code,
                headers,
                await reads.as_far_as_possible(MAX_ERROR_BODY_BYTES),
                now_s=self._now(),
                secrets=self._secrets,
            )
        if streaming and _is_json(headers):
            detail = error_detail(await reads.as_far_as_possible(MAX_ERROR_BODY_BYTES))
            if detail is not None:
                raise error_from_event(detail)
            raise UpstreamInvalidResponseError(
                "the upstream answered a streaming request without a stream"
            )

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self._transport.aclose()


class _Reads:
    """The body of one answer, each read bounded by a deadline or an idle time."""

    __slots__ = ("_body", "_deadline", "_loop", "_timeouts")

    def __init__(
        self, stream: httpx.AsyncByteStream, timeouts: dict[str, float | None], deadline: float
    ) -> None:
        self._body: AsyncIterator[bytes] = stream.__aiter__()
        self._timeouts = timeouts
        self._deadline: float | None = deadline
        self._loop = asyncio.get_running_loop()

    def expect_every(self, idle_s: float) -> None:
        """Forget the deadline; from now on each read may take this long."""
        self._deadline = None
        self._timeouts["read"] = idle_s

    async def next(self) -> bytes | None:
        """Return the next read, None at the end."""
        if self._deadline is not None:
            self._timeouts["read"] = max(0.0, self._deadline - self._loop.time())
        try:
            return await anext(self._body, None)
        except httpx.TransportError as error:
            raise error_from_exception(error) from error

    async def all(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        parts: list[bytes] = []
        total = 0
        while (data := await self.next()) is not None:
            parts.append(data)
            total += len(data)
            if total > max_bytes:
                raise UpstreamInvalidResponseError(
                    f"the upstream's answer is longer than {max_bytes} bytes"
                )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def as_far_as_possible(self, max_bytes: int) -> bytes:
        """Return the body of a failure, or what could be had of it: the failure is known."""
        parts: list[bytes] = []
        try:
            while max_bytes > 0 and (data := await self.next()) is not None:
                parts.append(data)
                max_bytes -= len(data)
        except (UpstreamUnavailableError, UpstreamTimeoutError):
            pass
        return b"".join(parts)


def _whole(body: bytes, headers: Headers) -> Chunk:
    detail = error_detail(body)
    if detail is not None:
        raise error_from_event(detail)
    completion = decode_completion(body)
    messages = [choice.message for choice in completion.choices if choice.message]
    reasons = [choice.finish_reason for choice in completion.choices]
    return Chunk(
        data=body,
        usage=decode_usage(completion.usage),
        content_events=len(messages),
        content_chars=sum(map(text_chars, messages)),
        response_model=completion.model,
        finish_reason=reasons[0] if reasons else None,
        headers=tuple(headers),
    )


def _is_json(headers: Headers) -> bool:
    return any(
        name.lower() == b"content-type" and b"json" in value.lower() for name, value in headers
    )


def _passed_on(headers: Headers) -> Headers:
    return [
        (_PASSED_ON[name.lower()], value) for name, value in headers if name.lower() in _PASSED_ON
    ]


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if not (name + value).isascii() or not (name + value).isprintable():
        # The value may be a key: it is not shown.
        raise ConfigError(f"header {name!r} has a value with line breaks or non-ASCII characters")
    return name.encode("ascii"), value.encode("ascii")


def _nothing() -> None:
    pass
