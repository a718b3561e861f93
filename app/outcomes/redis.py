"""The outcome log on Redis: streams that `steelyard collect` empties into files.

Everything is under one hash tag, so that a batch is one pipeline on a cluster too. All names have
a lifetime or a length: what nobody collects is forgotten, oldest first.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import redis

from app.outcomes.rows import ContentRow, Decided, Label, Labelled, OutcomeRow, Row

MAX_ROWS = 1_000_000
"""Of the stream of outcomes; about a gigabyte."""
MAX_CONTENTS = 100_000
MAX_ROW_BYTES = 256 * 2**20
FEEDBACK_S = 86_400.0
"""How long a decision can be labelled, as long as its owner has to be remembered here."""

_TIMEOUT_S = 2.0
_LABEL = """
local old = redis.call('HMGET', KEYS[1], 'kind', 'quality', 'n_changes')
if old[1] == ARGV[1] and old[2] == ARGV[2] then return 'same' end
local n_changes = 0
if old[1] then n_changes = tonumber(old[3]) + 1 end
if n_changes > tonumber(ARGV[3]) then return 'refused' end
redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'quality', ARGV[2], 'n_changes', n_changes)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'label', ARGV[6])
return old[1] and 'changed' or 'new'
"""


class Names:
    """What the log is called in Redis."""

    def __init__(self, prefix: str) -> None:
        tag = f"{{{prefix}:outcomes}}"
        self.outcomes = f"{tag}:log"
        """Outcomes and labels, in the order of their arrival."""
        self.contents = f"{tag}:contents"
        self._tag = tag

    def decision(self, decision_id: str) -> str:
        """Return the name of what is known of a decision."""
        return f"{self._tag}:decision:{decision_id}"

    def label(self, decision_id: str, other: str) -> str:
        """Return the name of the label of a decision, or of two."""
        return f"{self._tag}:label:{decision_id}:{other}"


class RedisOutcomes:
    """Append rows to streams.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`.
    prefix
        What every name begins with.
    keep_s
        How long rows wait for being collected.
    contents_keep_s
        How long texts do, at most.
    now
        Seconds since the epoch.
    """

    errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        keep_s: float,
        contents_keep_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._names = Names(prefix)
        self._keep_s = keep_s
        self._contents_keep_s = contents_keep_s
        self._now = now
        self._redis: Any = None

    def open(self) -> None:
        """Make a client; Redis may come up later than we."""
        self._redis = redis.Redis.from_url(
            self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, protocol=2
        )

    def close(self) -> None:
        """Disconnect."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; what is written twice has the same decision id, and is collected once."""
        if not rows:
            return
        pipe = self._redis.pipeline(transaction=False)
        for row in rows:
            data = msgspec.json.encode(row)
            if len(data) > MAX_ROW_BYTES:
                # Redis would close the connection on a value that is too long, and again next time.
                raise ValueError(f"a row of {len(data)} bytes")
            if isinstance(row, ContentRow):
                pipe.xadd(self._names.contents, {"content": data}, maxlen=MAX_CONTENTS)
                continue
            pipe.xadd(self._names.outcomes, {"outcome": data}, maxlen=MAX_ROWS)
            pipe.set(
                self._names.decision(row.decision_id),
                msgspec.json.encode(_decided(row)),
                px=round(FEEDBACK_S * 1e3),
                nx=True,
            )
        pipe.execute()

    def blames_row(self, error: Exception) -> bool:
        """Return whether writing failed because of a row, and others can be written."""
        return isinstance(error, redis.DataError) or not isinstance(
            error, redis.RedisError | OSError | MemoryError
        )

    def find(self, decision_id: str) -> Decided | None:
        """Return what is known of a decision."""
        found = self._redis.get(self._names.decision(decision_id))
        return None if found is None else msgspec.json.decode(found, type=Decided)

    def label(self, label: Label, *, max_changes: int) -> Labelled:
        """Keep what somebody thought; one script does it."""
        names = (
            self._names.label(label.decision_id, label.other_decision_id),
            self._names.outcomes,
        )
        became = self._redis.eval(
            _LABEL,
            len(names),
            *names,
            label.kind.value,
            repr(label.quality),
            max_changes,
            round(FEEDBACK_S * 1e3),
            MAX_ROWS,
            msgspec.json.encode(label),
        )
        return Labelled(became.decode())

    def purge(self) -> bool:
        """Forget what nobody collected in time."""
        for name, keep_s in (
            (self._names.outcomes, self._keep_s),
            (self._names.contents, self._contents_keep_s),
        ):
            self._redis.xtrim(name, minid=round((self._now() - keep_s) * 1e3), approximate=False)
            self._redis.expire(name, round(keep_s) + 1)
        return False


def _decided(row: OutcomeRow) -> Decided:
    return Decided(
        key_id=row.key_id,
        policy=row.policy,
        model=row.model,
        predicted_quality=row.predicted_quality,
    )
