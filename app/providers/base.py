"""The provider seam: one call to one upstream, answered as a stream of chunks."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import httpx
import msgspec

from app.paths import CHAT_COMPLETIONS
from app.usage import ToldUsage
from routers.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of an upstream call may take, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    """From the request to the first chunk of the answer (non-streaming: to the whole answer)."""
    idle_s: float = 30.0
    """Between two reads of a stream."""
    total_s: float = 600.0
    """For the whole attempt, its stream included; whoever reads the chunks enforces it."""


class ToldLimit(NamedTuple):
    """What an upstream tells of one of its rate limits.

    Attributes
    ----------
    of
        What it limits: `requests`, `tokens`, or one of these with a period of its own
        (`requests-day`); `input-tokens`, `output-tokens`.
    remaining
        How much of it is left.
    limit
        All of it; None where that is not told.
    reset_s
        In how many seconds all of it will be there again, if nothing is used meanwhile; None where
        that is not told.
    """

    of: str
    remaining: float
    limit: float | None
    reset_s: float | None


class Progress(msgspec.Struct, kw_only=True):
    """How far one call has come, for whoever has to pay for it however it ends.

    Attributes
    ----------
    sent
        Whether the upstream may have read the request. Only a provider that knows says no.
    heard_bytes, usage
        Of a whole answer that was cut or cannot be read: how much of it came, and the token counts
        if they were in it.
    limits
        What the upstream told of its rate limits.
    """

    sent: bool = True
    heard_bytes: int = 0
    usage: ToldUsage | None = None
    limits: tuple[ToldLimit, ...] = ()


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one upstream model.

    It is written as OpenAI's chat completions whatever the upstream speaks, but for a request that
    its client wrote in a dialect that the provider names among its `native_dialects`: that one
    comes as it was written.

    Attributes
    ----------
    upstream_model
        The name the upstream knows the model by.
    dialect
        In which `fields` are written. In any other than chat completions the answer is a native
        one: its chunks carry the upstream's own bytes and name the dialect, and so does the body
        of an `UpstreamError`.
    fields
        The client's body, one entry per top-level key, each value the JSON bytes as the client
        sent them; routing fields, `model` and `stream_options` of ours are already taken out.
        The provider adds `model` and what it needs to get usage.
    stream
        Whether the client wants a stream.
    headers
        Client headers that may be passed on (already filtered by the allow-list).
    max_output_tokens
        Stands in place of the limit in `fields`, whichever way it is spelled there; None leaves
        the client's own.
    progress
        Written by the provider.
    fresh_connection
        Whether no kept connection is to be used.
    """

    request_id: str
    upstream_model: str
    fields: Mapping[str, bytes]
    stream: bool
    timeouts: Timeouts
    dialect: str = CHAT_COMPLETIONS
    headers: tuple[tuple[bytes, bytes], ...] = ()
    max_output_tokens: int | None = None
    progress: Progress = msgspec.field(default_factory=Progress)
    fresh_connection: bool = False


class TextPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the text of a streamed answer, as one event brought it.

    `logprobs` is the JSON that the event told of the chances of its tokens; null where it told
    nothing.
    """

    text: str
    logprobs: msgspec.Raw


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What one read from the upstream brought.

    Attributes
    ----------
    data
        Non-streaming: the whole answer body, byte for byte. Streaming: zero or more whole
        server-sent events in canonical framing (`data: {json}` and a blank line, comments as
        comments), ready to be written to the client. The usage-only event and `[DONE]` are
        never in it.
    has_content
        Whether `data` carries any part of the answer itself (text, tool call, refusal,
        reasoning, audio, finish reason), as opposed to a role announcement or a comment.
    usage
        What the upstream told of the token counts.
    usage_event
        The JSON of an event that only tells usage (`choices: []`), as the upstream sent it.
    content_events, content_chars
        How many events of `data` carry text, and how many characters; used to estimate usage
        when the upstream never tells it.
    template
        The JSON of one ordinary event of the stream (its id, created, model), kept so that a
        usage event can be made up in the same shape.
    headers
        Upstream response headers that may be passed on; only on the first chunk.
    dialect
        In which `data` is written; of a native answer it is the client's own. What else is told
        here is read from it all the same, but for `usage_event` and `template`.
    pieces
        What the events of `data` say, one each, where none says anything but a piece of the text of
        the only answer; whoever reads them need not decode the events again. None where that is
        not so, or not known.
    """

    data: bytes
    has_content: bool = True
    usage: ToldUsage | None = None
    usage_event: bytes | None = None
    content_events: int = 0
    content_chars: int = 0
    response_model: str | None = None
    finish_reason: str | None = None
    template: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    dialect: str = CHAT_COMPLETIONS
    pieces: tuple[TextPiece, ...] | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway shows an upstream who it is, where that is no fixed key.

    Attributes
    ----------
    token_command
        Prints a bearer token; the program and its arguments.
    token_file
        Has one that somebody else keeps up to date.
    aws_region, aws_profile
        For signatures of AWS; None takes what its tools would.
    """

    token_command: tuple[str, ...] = ()
    token_file: Path | None = None
    aws_region: str | None = None
    aws_profile: str | None = None


class Provider(Protocol):
    """One upstream, for process life."""

    example_url: ClassVar[str]
    """A `base_url` as operators write it; its path and query are right for every host."""

    native_dialects: frozenset[str]
    """Dialects besides chat completions in which the upstream takes a client's own request."""

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
    ) -> None: ...

    token_counter: "Provider | None"
    """Counts the tokens of a call without having it answered; None where the upstream cannot."""

    def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        """Call the upstream; a non-streaming answer is a stream of one chunk.

        The generator ends normally only when the answer is complete (its end marker was seen).
        Closing it early (`aclose`, cancellation) drops the upstream connection at once.

        Raises
        ------
        UpstreamError
            A subclass says what went wrong and whether another model may be tried.
        """
        ...

    async def aclose(self) -> None:
        """Close every pooled connection."""
        ...


PROVIDERS: Registry[Provider] = Registry("app.providers", noun="provider")
"""Upstream dialects by kind."""
