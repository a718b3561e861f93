"""What every upstream over HTTP has in common: one request, timeouts, errors, a clean end."""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import ClassVar, cast

import httpx
import msgspec

from app import __version__
from app.errors import (
    ConfigError,
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamUnavailableError,
)
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk, Identity, ModelCall, Provider
from app.providers.http.answer_stream import AnswerStream
from app.providers.http.credentials import Credentials
from app.providers.http.errors import Headers, error_from_status, retry_after_s
from app.providers.http.exchange import Exchange
from app.providers.http.inflate import plain_body
from app.providers.http.paid import usage_in
from app.providers.http.reads import Reads, first_byte
from app.providers.http.request_fields import FieldsTaken
from app.providers.http.request_headers import OUR_HEADERS, encoded_header
from app.providers.http.tokens import Authoriser, BearerTokens, CommandSource, FileSource
from app.providers.http.told_limits import told_limits
from app.wire.answer_pieces import in_pieces, put_together
from app.wire.lenient_pieces import LenientAssembler
from app.wire.pinned.endpoints import PASSED_THROUGH, PINNED
from app.wire.pinned.forms import FORM_TYPE
from app.wire.usage_records import read_usage

USER_AGENT = f"steelyard/{__version__}".encode("ascii")
"""Firewalls before providers refuse requests without one."""

MAX_ERROR_BODY_BYTES = 1024 * 1024

_NO_STREAM = frozenset({b"", b"{", b"[", b"<", b'"'})
"""What the body of an answer begins with that is no event stream."""
_STREAM = frozenset({b":", b"d", b"e", b"i", b"r"})
"""What an event stream begins with: a comment, or one of its four fields."""


class HttpProvider(ABC):
    """One upstream, for process life; a dialect says what it sends and how it reads answers.

    Parameters
    ----------
    base_url
        What the dialect's path is appended to; its query is sent with every request.
    api_key
        The secret, in the header that the dialect wants; None for servers that want none.
    transport
        Sends the requests; closed with the provider.
    extra_headers
        Sent with every request, such as an organisation or an API version; they win over the
        dialect's own.
    stream_usage
        Whether streams are asked for usage, which some servers refuse.
    drop_fields
        Request fields that are left out of every request.
    developer_role
        What the role `developer` is called there.
    max_tokens_field
        What the limit of an answer is called there; None leaves the client's word.
    max_response_bytes
        The size at which a whole answer, or one event of a stream, is refused.
    identity
        Where tokens come from that stand in the key's place.
    also_serves
        Those of the kind's `optional_dialects` that the upstream serves.
    now
        Returns seconds since the epoch, for `retry-after` headers that are dates.

    Raises
    ------
    ConfigError
        If a header cannot be sent as it is, or the kind knows nothing of what is also served.
    """

    example_url: ClassVar[str]
    path: ClassVar[str]
    inline_bytes: ClassVar[int] = 256_000
    """Up to how large a request its body is made on the event loop: in under a millisecond."""
    end_marker: ClassVar[str]
    """What ends a stream, for the message about a stream that ended without it."""
    stream_type: ClassVar[bytes] = b"text/event-stream"
    usage_key: ClassVar[bytes] = b'"usage":'
    """Before the token counts of a whole answer; with its quotes it cannot stand inside a string
    of JSON, where they are escaped."""
    passed_on: ClassVar[Mapping[bytes, bytes]]
    """Response headers that the client gets, and the name it gets them under."""
    clients_word: ClassVar[frozenset[bytes]] = frozenset()
    """Headers of ours that give way to what the client says by the same name."""
    native_dialects: frozenset[str] = frozenset()
    optional_dialects: ClassVar[frozenset[str]] = frozenset()
    """Further ones that some upstreams of the kind serve."""
    token_counter: Provider | None = None

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        transport: httpx.AsyncBaseTransport,
        extra_headers: Sequence[tuple[str, str]] = (),
        stream_usage: bool = True,
        drop_fields: Collection[str] = (),
        developer_role: str = "developer",
        max_tokens_field: str | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
        identity: Identity = Identity(),  # noqa: B008  (it is frozen)
        also_serves: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        if unknown := sorted(set(also_serves) - self.optional_dialects):
            raise ConfigError(f"upstreams of this kind cannot be asked for {', '.join(unknown)}")
        if also_serves:
            self.native_dialects = self.native_dialects.union(also_serves)
        self._base_url = httpx.URL(base_url)
        self._urls: dict[tuple[str, str], httpx.URL] = {}
        """By path and query: dialects and configured models are few."""
        self._url = self._join(self.path)
        self._transport = transport
        self._stream_usage = stream_usage
        self._fields_taken = FieldsTaken.by_host(
            self._base_url.host,
            dropped=drop_fields,
            developer_role=developer_role,
            max_tokens_field=max_tokens_field,
        )
        self._max_response_bytes = max_response_bytes
        self._now = now
        chosen = {name.lower() for name, _ in extra_headers}
        own = [each for each in self._dialect_headers(api_key) if each[0].lower() not in chosen]
        self._headers = [
            (b"Host", self._url.netloc),
            (b"Content-Type", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            *([] if "user-agent" in chosen else [(b"User-Agent", USER_AGENT)]),
            *(encoded_header(name, value) for name, value in (*extra_headers, *own)),
        ]
        self._credentials = Credentials(api_key, extra_headers)
        authoriser = self._authoriser_of(api_key, identity)
        self._exchange = Exchange(transport, authoriser, self._credentials)

    # --- the dialect ----------------------------------------------------------------------------

    @abstractmethod
    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        """Return what every request of this dialect carries, the credential included."""

    def _authoriser_of(
        self,
        api_key: str | None,  # noqa: ARG002  (for dialects that have a way of their own)
        identity: Identity,
    ) -> Authoriser | None:
        """Return what puts credentials that expire on requests; None for fixed ones."""
        if identity.token_command:
            return BearerTokens(CommandSource(identity.token_command))
        if identity.token_file is not None:
            return BearerTokens(FileSource(identity.token_file))
        return None

    def _url_of(self, call: ModelCall) -> httpx.URL:  # noqa: ARG002  (for dialects that need it)
        """Return where a call goes."""
        return self._url

    @abstractmethod
    def _encode(self, call: ModelCall) -> bytes:
        """Return the body to send."""

    @abstractmethod
    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:
        """Read a whole answer."""

    @abstractmethod
    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:
        """Return what parses one streamed answer."""

    def _failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return what an answer that is no success means."""
        return error_from_status(status, headers, body, now_s=self._now())

    def _as_it_came(  # noqa: B027  (most dialects have nothing to do)
        self, call: ModelCall, failure: UpstreamError, body: bytes
    ) -> None:
        """Let a failure keep its body in the dialect of the call, where that is the upstream's."""

    def _mended(self, call: ModelCall, failure: UpstreamError) -> ModelCall | None:  # noqa: ARG002
        """Return the call in a form that the upstream takes after it has refused this one.

        It is made once more, so that what is returned must not fail in the same way; None where
        nothing can be mended.
        """
        return None

    def _retold(self, call: ModelCall) -> ModelCall:
        """Return the call in a dialect in which a stream can be told whole, and the reverse."""
        return msgspec.structs.replace(call, dialect=CHAT_COMPLETIONS)

    def _put_together(self, chunks: Sequence[Chunk]) -> Chunk:
        """Return the whole answer that a stream amounts to which was not asked for."""
        return put_together(chunks, LenientAssembler(self._max_response_bytes))

    def _in_pieces(self, whole: Chunk) -> Chunk:
        """Return a whole answer that was not asked for as a stream."""
        return in_pieces(whole)

    # --- the call -------------------------------------------------------------------------------

    async def send(  # noqa: C901, PLR0912, PLR0915  (one call from begin to end)
        self, call: ModelCall
    ) -> AsyncGenerator[Chunk, None]:
        """Call the upstream; see `Provider.send`."""
        # The transport looks `read` up at every read: it follows the deadline, then the idle time.
        timeouts: dict[str, float | None] = {
            "connect": call.timeouts.connect_s,
            "pool": call.timeouts.connect_s,
            "write": call.timeouts.idle_s,
            "read": call.timeouts.first_token_s,
        }
        call.progress.sent = False
        request = await self._prepared(call, timeouts)
        request.extensions["progress"] = call.progress
        request.extensions["fresh"] = call.fresh_connection
        deadline = asyncio.get_running_loop().time() + call.timeouts.first_token_s
        response = await self._exchange.send(request, within_s=call.timeouts.first_token_s)
        call.progress.sent = True
        stream = cast("httpx.AsyncByteStream", response.stream)
        raw = response.headers.raw
        call.progress.limits = told_limits(raw, now_s=self._now())
        try:
            reads = Reads(plain_body(stream, raw), timeouts, deadline)
            if not 200 <= response.status_code < 300:
                body = await reads.as_far_as_possible(MAX_ERROR_BODY_BYTES)
                failure = self._failure(response.status_code, raw, body)
                self._as_it_came(call, failure, body)
                again = self._mended(call, failure)
                if again is None:
                    raise failure
                await stream.aclose()
                async with contextlib.aclosing(self.send(again)) as chunks:
                    async for each in chunks:
                        yield each
                return
            headers = self._passed_on(raw)
            if call.dialect in PASSED_THROUGH:
                kept = [each for each in raw if each[0].lower() == b"content-type"]
                headers = [*headers, *kept]
            if not call.stream:
                yield await self._read_whole(call, reads, headers)
                return
            # The first byte tells what the content type may not: whether this is a stream at all.
            if call.dialect not in PINNED and await reads.first() in _NO_STREAM:
                call = self._retold(call)
                yield self._in_pieces(await self._read_whole(call, reads, headers))
                return
            answer = self._stream(call, headers)
            data: bytes | None = b""
            while not answer.done and data is not None:
                data = await reads.next()
                chunk = answer.close() if data is None else answer.feed(data)
                if chunk is not None:
                    if chunk.has_content:
                        reads.expect_every(call.timeouts.idle_s)
                    yield chunk
                if answer.error is not None:
                    raise answer.error
                reads.bound_silence(answer.pending_bytes)
            self._check_end(answer)
            reads.check_began()
            # The end of the body often comes a packet later; waiting here would delay the client.
            linger = response.extensions.get("linger")
            if linger is not None and data is not None:
                linger()
        except UpstreamError as error:
            if error.retry_after_s is None:
                error.retry_after_s = retry_after_s(raw, now_s=self._now())
            self._credentials.clean(error)
            raise
        finally:
            await stream.aclose()

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self._transport.aclose()

    async def _read_whole(self, call: ModelCall, reads: Reads, headers: Headers) -> Chunk:
        try:
            body = await reads.all(self._max_response_bytes)
        except BaseException:
            self._heard(call, b"".join(reads.heard))  # whoever ended it: what came has to be paid
            raise
        try:
            if call.dialect in PINNED:
                if len(body) > self.inline_bytes:
                    return await asyncio.to_thread(self._whole, call, body, headers)
                return self._whole(call, body, headers)
            first = first_byte(body)
            if not first:
                raise UpstreamInvalidResponseError("the upstream's answer is empty")
            if first not in _STREAM:
                return self._whole(call, body, headers)
            # Of a relay that always streams.
            call = self._retold(call)
            answer = self._stream(call, headers)
            chunks = [answer.feed(body), None if answer.done else answer.close()]
            self._check_end(answer)
            return self._put_together(list(filter(None, chunks)))
        except UpstreamError:
            self._heard(call, body)
            raise

    def _check_end(self, answer: AnswerStream) -> None:
        if answer.error is not None:
            raise answer.error
        if not answer.done:
            raise UpstreamUnavailableError(f"the upstream's stream ended without {self.end_marker}")

    def _heard(self, call: ModelCall, body: bytes) -> None:
        """Note what came of a whole answer that nobody gets."""
        call.progress.heard_bytes = len(body)
        told = usage_in(body, key=self.usage_key)
        if told is not None:
            call.progress.usage = read_usage(told)

    def _join(self, path: str, *, query: str = "") -> httpx.URL:
        url = self._urls.get((path, query))
        if url is None:
            url = self._urls[path, query] = self._made(path, query)
        return url

    def _made(self, path: str, query: str) -> httpx.URL:
        # As it was written: a decoded path would lose the difference of `/` and `%2F`.
        base, _, own_query = self._base_url.raw_path.partition(b"?")
        joined = base.rstrip(b"/") + path.encode("ascii")
        queries = b"&".join(filter(None, (own_query, query.encode("ascii"))))
        return self._base_url.copy_with(raw_path=joined + (b"?" + queries if queries else b""))

    async def _prepared(self, call: ModelCall, timeouts: dict[str, float | None]) -> httpx.Request:
        if sum(map(len, call.fields.values())) <= self.inline_bytes:
            return self._request(call, timeouts)
        return await asyncio.to_thread(self._request, call, timeouts)

    def _request(self, call: ModelCall, timeouts: dict[str, float | None]) -> httpx.Request:
        call = self._fields_taken.of(call)
        body = self._encode(call)
        ours, accepted = self._headers, self.stream_type if call.stream else b"application/json"
        if call.dialect in PASSED_THROUGH:
            accepted = b"*/*"
            if FORM_TYPE in call.fields:
                form = b"Content-Type", call.fields[FORM_TYPE]
                ours = [form if name == form[0] else (name, value) for name, value in ours]
        if self.clients_word and call.headers:
            told = {name.lower() for name, _ in call.headers} & self.clients_word
            ours = [each for each in ours if each[0].lower() not in told] if told else ours
        return httpx.Request(
            "POST",
            self._url_of(call),
            headers=[
                *ours,
                (b"Content-Length", b"%d" % len(body)),
                (b"Accept", accepted),
                *(header for header in call.headers if header[0].lower() not in OUR_HEADERS),
            ],
            stream=httpx.ByteStream(body),
            extensions={"timeout": timeouts},
        )

    def _passed_on(self, headers: Headers) -> Headers:
        return [
            (self.passed_on[name.lower()], value)
            for name, value in headers
            if name.lower() in self.passed_on and self._credentials.may_pass(value)
        ]
