"""What the plain ASGI endpoints share: reading a body, noticing that the client has gone."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from starlette.types import Message, Receive, Scope

from app.api.unpacking import packed, unpacked
from app.errors import (
    BodyTooLargeError,
    ClientDisconnectedError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from app.head import RequestHead

ON_DISCONNECT = "steelyard.on_disconnect"
"""The ASGI extension that takes a callback for when the client has gone; the server has it."""

MODEL_IN_PATH = "model_in_path"
"""In the state of a request whose address names the model, as Azure's do."""

OnDisconnect = Callable[[Callable[[], None] | None], None]
_NONE: Mapping[str, Any] = {}

_PARAMETER = re.compile(r'([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;]*)')
"""One parameter of a media type; what stands in quotes may hold a semicolon (RFC 9110, 5.6.6)."""

_PLAIN_JSON = b"application/json"
_OF_BROWSERS = (b"origin", b"sec-fetch-", b"cookie", b"referer")
_UTF8 = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})


def head_of(scope: Scope) -> RequestHead:
    """Return what the headers of a request say, which its outermost edge has looked at."""
    head: RequestHead | None = scope.get("state", _NONE).get("head")
    return RequestHead(scope["headers"]) if head is None else head


def check_json_content_type(head: RequestHead) -> None:
    """Refuse a body that says it is not plain JSON in UTF-8.

    No content type at all is let pass, but not from a browser.

    Raises
    ------
    UnsupportedMediaTypeError
    """
    plain = head.get(b"content-type") == _PLAIN_JSON and head.get(b"content-encoding") is None
    if plain and not head.repeated:
        return
    packed(head)
    told = head.all(b"content-type")
    for value in told:
        if value != _PLAIN_JSON:
            _check_type(value)
    # A page may have a browser send a body without a type to wherever it likes, unasked.
    if not told and any(name.startswith(_OF_BROWSERS) for name in head):
        raise UnsupportedMediaTypeError(
            "a browser has to say what it sends: content-type: application/json"
        )


def _check_type(value: bytes) -> None:
    media_type, _, parameters = value.decode("latin-1").lower().partition(";")
    media_type = media_type.strip()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(
            f"content-type {media_type[:80]!r} is not supported; send application/json"
        )
    for charset in _charsets(parameters):
        if charset not in _UTF8:
            raise UnsupportedMediaTypeError(
                f"charset {charset[:80]!r} is not supported; send UTF-8"
            )


def _charsets(parameters: str) -> Iterator[str]:
    for name, value in _PARAMETER.findall(parameters):
        if name == "charset":
            yield value.strip("\"'")


async def read_body(
    head: RequestHead,
    receive: Receive,
    *,
    max_bytes: int,
    on_part: Callable[[int], None] | None = None,
) -> bytes | bytearray:
    """Read the whole request body.

    Parameters
    ----------
    on_part
        Told how many bytes each part has before it is kept; what it raises ends the reading.

    Raises
    ------
    BodyTooLargeError
        As soon as the body is known to exceed `max_bytes`, before the rest of it is read.
    InvalidRequestError
        If the declared length is no number, or the body not what it says to be.
    ClientDisconnectedError
        If the client goes away in the middle.
    """
    _check_length(head, max_bytes)
    # One growing buffer: a list of many tiny parts would take many times their size.
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError("the client went away while sending its request")
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > max_bytes:
            raise _too_large(max_bytes)
        if on_part is not None:
            on_part(len(part))
        more = message.get("more_body", False)
        if not body and not more:
            whole: bytes | bytearray = part  # the usual case, without a copy
            break
        body += part
        if not more:
            whole = body
            break
    coding = None if head.get(b"content-encoding") is None else packed(head)
    if coding is not None:
        return await unpacked(whole, coding, max_bytes=max_bytes, on_part=on_part)
    return whole


def _check_length(head: RequestHead, max_bytes: int) -> None:
    if head.get(b"content-length") is None:
        return
    for value in head.all(b"content-length"):
        if not value.isdigit():
            raise InvalidRequestError("content-length is not a number")
        if int(value) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the request body exceeds the limit of {max_bytes} bytes")


class CancelOnDisconnect:
    """Cancel the block when the client goes away; it then ends in ClientDisconnectedError.

    `disarm` makes the watch ignore what comes after, once the answer is complete. Our own server
    calls when a client goes; beneath another one a task waits for it.

    `grace_s` is asked, when the client goes, how long the block may still take to end by itself.
    """

    __slots__ = (
        "_cancelled",
        "_gone",
        "_receive",
        "_task",
        "_timer",
        "_told",
        "_watcher",
        "grace_s",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._told: OnDisconnect | None = scope.get("extensions", _NONE).get(ON_DISCONNECT)
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = False
        self._cancelled = False
        self.grace_s: Callable[[], float] | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (always so within a coroutine)
        self._task = task
        if self._told is not None:
            self._told(self._left)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        return self

    def disarm(self) -> None:
        """Stop watching."""
        if self._told is not None:
            self._told(None)
        elif self._watcher is not None:
            self._watcher.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disarm()
        if not self._gone:
            return
        if self._timer is not None:
            self._timer.cancel()
        if not self._cancelled:
            if exc_type is None:
                raise ClientDisconnectedError("the client went away")
            return
        if exc_type is None:
            # The watch fired after the last await of the block: take its cancellation here.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if self._task.uncancel() == 0 and (exc_type is None or exc_type is asyncio.CancelledError):
            raise ClientDisconnectedError("the client went away") from exc

    async def _watch(self) -> None:
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self._left()

    def _left(self) -> None:
        self._gone = True
        seconds = 0.0 if self.grace_s is None else self.grace_s()
        if seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._cancelled = True
        self._task.cancel()
