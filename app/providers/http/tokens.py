"""Tokens that expire: where they come from, and that one is always at hand."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import httpx
import msgspec

from app.errors import UpstreamMisconfiguredError
from app.providers.http.errors import Headers

COMMAND_TIMEOUT_S = 30.0
UNTOLD_LIFE_S = 300.0
"""How long a token is used whose life is not told: commands keep one of their own as long as it
lasts, so asking again soon costs little."""
_FILE_LIFE_S = 30.0
"""How long a file is not read again; whoever writes it does so well before its token expires."""
_MARGIN_S = 300.0
"""Before its end a token is replaced: a clock may be wrong, and an answer take its time."""
_PAUSE_S = 5.0
"""After a failure, before the source is asked again; while the old token lasts."""

_TOKEN_KEYS = ("access_token", "accessToken", "token", "id_token")
_LIFE_KEYS = ("expires_in", "expiresIn")
_END_KEYS = ("expires_on", "expiry", "expiration", "expireTime", "token_expiry", "expiresOn")


class Token(msgspec.Struct, frozen=True):
    """A token and when it ends, in seconds since the epoch."""

    secret: str
    ends_s: float


class TokenSource(Protocol):
    """Where tokens come from."""

    async def fetch(self) -> Token:
        """Return a new token.

        Raises
        ------
        UpstreamMisconfiguredError
            If there is none to be had; the message never repeats what the source said.
        """
        ...


class CommandSource:
    """What a command prints: a token, or JSON that has it and when it ends.

    Parameters
    ----------
    command
        The program and its arguments; no shell reads them.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def fetch(self) -> Token:
        """Run the command."""
        name = Path(self._command[0]).name
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise _none(f"{name} cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                printed, _ = await process.communicate()
        except BaseException as error:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if isinstance(error, TimeoutError):
                raise _none(f"{name} printed no token in {COMMAND_TIMEOUT_S:.0f} s") from error
            raise
        if process.returncode:
            raise _none(f"{name} ended with exit code {process.returncode}")
        return read_token(printed, life_s=UNTOLD_LIFE_S, where=name)


class FileSource:
    """What is in a file that somebody else keeps up to date."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> Token:
        """Read the file."""
        try:
            text = await asyncio.to_thread(self._path.read_bytes)
        except OSError as error:
            raise _none(f"{self._path.name} cannot be read: {error.strerror}") from error
        token = read_token(text, life_s=_FILE_LIFE_S, where=self._path.name)
        return Token(token.secret, min(token.ends_s, time.time() + _FILE_LIFE_S))


def read_token(text: bytes, *, life_s: float, where: str) -> Token:
    """Read a token: as it is, or in JSON beside the time when it ends.

    Parameters
    ----------
    life_s
        How long it lasts, where that is not told.
    where
        It is from, for the message of an error.

    Raises
    ------
    UpstreamMisconfiguredError
        If there is no token in it.
    """
    told = text.decode("utf-8", "replace").strip()
    now_s = time.time()
    ends_s = now_s + life_s
    if told.startswith("{"):
        try:
            record = msgspec.json.decode(told)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _none(f"what {where} gives is no JSON") from error
        told = next((record[key] for key in _TOKEN_KEYS if isinstance(record.get(key), str)), "")
        lives = [record[key] for key in _LIFE_KEYS if key in record]
        ends = [end for key in _END_KEYS if (end := _moment(record.get(key))) is not None]
        if lives and isinstance(lives[0], int | float):
            ends_s = now_s + lives[0]
        elif ends:
            ends_s = ends[0]
    if not told or not told.isascii() or not told.isprintable() or " " in told:
        raise _none(f"what {where} gives is no token")
    return Token(told, ends_s)


def _moment(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    if value.isdecimal():
        return float(value)
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def _none(reason: str) -> UpstreamMisconfiguredError:
    return UpstreamMisconfiguredError(f"there is no token for the upstream: {reason}", sent=False)


class Authoriser(Protocol):
    """Puts on requests what shows who asks, where that is no fixed key."""

    async def authorise(self, request: httpx.Request) -> Sequence[str]:
        """Put it on a request; return the secrets in it, which no message may repeat.

        Raises
        ------
        UpstreamMisconfiguredError
            If there is no credential to be had.
        """
        ...

    def renews(self, status: int, headers: Headers) -> bool:
        """Take note of a refusal; return whether it may help to authorise and ask once more."""
        ...


class BearerTokens:
    """Keeps one token of a source at hand.

    It is replaced some time before its end, by one request while the others go on with the old one,
    and when the upstream refuses it.

    Parameters
    ----------
    now
        Returns seconds since the epoch.
    """

    def __init__(self, source: TokenSource, *, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._now = now
        self._token: Token | None = None
        self._due_s = 0.0
        self._fetching = asyncio.Lock()

    async def authorise(self, request: httpx.Request) -> Sequence[str]:
        """Put a token that lasts on a request."""
        token = await self._current()
        request.headers["Authorization"] = f"Bearer {token.secret}"
        return (token.secret,)

    def renews(self, status: int, headers: Headers) -> bool:  # noqa: ARG002  (the status tells)
        """Drop the token where it is refused."""
        if status != 401:
            return False
        self._token = None
        return True

    async def _current(self) -> Token:
        token = self._token
        now_s = self._now()
        lasts = token is not None and now_s < token.ends_s
        if token is not None and lasts and (now_s < self._due_s or self._fetching.locked()):
            return token
        async with self._fetching:
            if self._token is not None and self._token is not token:
                return self._token  # somebody else has fetched it meanwhile
            try:
                fetched = await self._source.fetch()
            except UpstreamMisconfiguredError:
                if token is None or not lasts:
                    raise
                self._due_s = now_s + _PAUSE_S
                return token
            life_s = fetched.ends_s - now_s
            self._due_s = fetched.ends_s - min(_MARGIN_S, life_s / 4)
            self._token = fetched
            return fetched
