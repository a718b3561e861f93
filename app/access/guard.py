"""Who asks: from the headers of a request to the virtual key behind them."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.access.secrets import PREFIX, digest_of
from app.errors import StoreUnavailableError, UnauthenticatedError
from app.head import RequestHead
from app.keys import BatchBudget, KeyRecord
from app.stores.base import StoreError
from app.stores.keys import Keys

_PREFIX = PREFIX.encode()
_MAX_SECRET_BYTES = 256
_RETRY_AFTER_S = 1.0
_MAX_ROTATIONS = 100

_BARE_KEY_HEADERS = (b"x-api-key", b"api-key")
_KEY_HEADERS = frozenset({b"authorization", *_BARE_KEY_HEADERS})
_NO_KEY = (
    "You didn't provide an API key. Send one of this gateway's keys as "
    "'Authorization: Bearer YOUR_KEY' (or in the header x-api-key or api-key)."
)
_WRONG_KEY = "Incorrect API key provided. Keys of this gateway are given out by its operator."
_TWO_KEYS = "The request carries two different API keys, or a header of one twice; send one key."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes
    ----------
    key
        The virtual key; None where the gateway asks for none.
    key_id
        Its public name, or `anonymous`.
    team
        Whose limits hold besides the key's own.
    batch
        What the batch may spend in all that the request is of; None where it is of none, or that
        may spend what the key may.
    """

    key: KeyRecord | None
    key_id: str
    team: str | None
    batch: BatchBudget | None = None


ANONYMOUS = Caller(None, "anonymous", None)
"""Everybody, where the gateway asks for no keys."""


class Guard:
    """Tell callers by their keys.

    Parameters
    ----------
    keys
        Where keys are found; None lets everybody in as `ANONYMOUS`.
    fresh_s
        How long what the store said is believed, that a key is unknown included.
    max_known, max_unknown
        How many keys, and how many digests that are no key's, are remembered. They are bounded
        apart, so that guessing never makes the gateway forget a real key.
    clock
        Monotonic seconds.
    now
        Seconds since the epoch, for expiry.
    """

    def __init__(
        self,
        keys: Keys | None,
        *,
        fresh_s: float = 5.0,
        max_known: int = 10_000,
        max_unknown: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._fresh_s = fresh_s
        self._clock = clock
        self._now = now
        self._known: _Recent[Caller] = _Recent(max_known)
        self._unknown: _Recent[None] = _Recent(max_unknown)

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests need a key."""
        return self._keys is not None

    async def authenticate(self, head: RequestHead) -> Caller:
        """Return who asks.

        Parameters
        ----------
        head
            The key stands in `Authorization: Bearer`, in `x-api-key` or in Azure's `api-key`; in
            several of them if it is the same.

        Raises
        ------
        UnauthenticatedError
            Without a key, with two, with an unknown, expired, disabled or revoked one.
        StoreUnavailableError
            If the store has to be asked and cannot be.
        """
        if self._keys is None:
            return ANONYMOUS
        digest = digest_of(_secret(head))
        clock = self._clock()
        caller = self._known.get(digest, clock)
        if caller is None:
            if self._unknown.has(digest, clock):
                raise UnauthenticatedError(_WRONG_KEY)
            caller = await self._look_up(self._keys, digest)
        key = caller.key
        if key is not None and not key.usable(now := self._now()):
            raise UnauthenticatedError(_unusable(key, now), key_id=key.key_id)
        return caller

    async def caller_of(self, digest: str | None) -> Caller:
        """Return who a key stands for that was shown before, by the digest of its secret.

        Where the secret was replaced meanwhile, the key's new one counts.

        Raises
        ------
        UnauthenticatedError
            If the key may not be used any more.
        StoreUnavailableError
            If the store has to be asked and cannot be.
        """
        if self._keys is None:
            return ANONYMOUS
        for _ in range(_MAX_ROTATIONS):
            if digest is None:
                break
            caller = self._known.get(digest, self._clock())
            if caller is None:
                caller = await self._look_up(self._keys, digest)
            key, now = caller.key, self._now()
            if key is None or key.usable(now):
                return caller
            if key.replaced_by is None or key.alive(now):
                raise UnauthenticatedError(_unusable(key, now), key_id=key.key_id)
            digest = key.replaced_by
        raise UnauthenticatedError(_WRONG_KEY)

    def forget(self, digest: str) -> None:
        """Ask the store about this digest at its next request."""
        self._known.drop(digest)
        self._unknown.drop(digest)

    async def _look_up(self, keys: Keys, digest: str) -> Caller:
        try:
            record = await keys.find(digest)
        except StoreError as error:
            raise StoreUnavailableError(
                "keys cannot be checked at the moment; try again", retry_after_s=_RETRY_AFTER_S
            ) from error
        until = self._clock() + self._fresh_s
        # Whatever a store answers, nobody gets in with the key of somebody else.
        if record is None or not hmac.compare_digest(record.digest.encode(), digest.encode()):
            self._unknown.put(digest, None, until)
            raise UnauthenticatedError(_WRONG_KEY)
        caller = Caller(record, record.key_id, record.team)
        self._known.put(digest, caller, until)
        return caller


def _secret(head: RequestHead) -> bytes:
    if head.repeated and not _KEY_HEADERS.isdisjoint(head.repeated):
        raise UnauthenticatedError(_TWO_KEYS)
    secret = b""
    authorization = head.get(b"authorization")
    if authorization is not None:
        scheme, _, secret = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise UnauthenticatedError(_NO_KEY)
        secret = secret.strip()
    for name in _BARE_KEY_HEADERS:
        value = head.get(name)
        if value is not None and (value := value.strip()):
            if secret and secret != value:
                raise UnauthenticatedError(_TWO_KEYS)
            secret = value
    if not secret:
        raise UnauthenticatedError(_NO_KEY)
    if not secret.startswith(_PREFIX) or len(secret) > _MAX_SECRET_BYTES:
        raise UnauthenticatedError(_WRONG_KEY)
    return secret


def _unusable(key: KeyRecord, now: float) -> str:
    # Only who holds the secret is told, and it helps them.
    if key.revoked_at is not None:
        return f"The API key {key.key_id} was revoked."
    if key.alive(now):
        return f"The API key {key.key_id} is disabled; its operator can enable it again."
    if key.replaced_by is not None:
        return f"The secret of the API key {key.key_id} was replaced by a new one."
    return f"The API key {key.key_id} has expired."


_Value = TypeVar("_Value")


class _Recent(Generic[_Value]):
    """The most recently used values, each believed until its time is over."""

    __slots__ = ("_entries", "_max")

    def __init__(self, max_entries: int) -> None:
        self._max = max_entries
        self._entries: OrderedDict[str, tuple[_Value, float]] = OrderedDict()

    def has(self, name: str, clock: float) -> bool:
        entry = self._entries.get(name)
        return entry is not None and clock < entry[1]

    def get(self, name: str, clock: float) -> _Value | None:
        entry = self._entries.get(name)
        if entry is None or clock >= entry[1]:
            return None
        self._entries.move_to_end(name)
        return entry[0]

    def put(self, name: str, value: _Value, until: float) -> None:
        self._entries[name] = (value, until)
        self._entries.move_to_end(name)
        while len(self._entries) > self._max:
            self._entries.popitem(last=False)

    def drop(self, name: str) -> None:
        self._entries.pop(name, None)
