"""Feedback let into routers that remember queries, while they serve: nothing is fitted again.

What is let in is read from the decision log, which all workers of a machine share and which
outlives them: each takes in the same rows by itself, a little after they were told, and after a
start once more. Artifacts on disk stay as they are.
"""

import asyncio
import contextlib
import json
import logging
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from app.outcomes.feedback import ADMIN
from app.outcomes.sqlite import ContentReader, Rated, read_rated
from routers.artifact.artifact import RouterArtifact
from routers.base import Labels
from routers.data.media import described_media
from routers.data.messages import read_messages
from routers.errors import RoutingError
from routers.types import Conversation

LOOK_EVERY_S = 2.0
"""How often each process looks for ratings, on average."""

_AT_ONCE = 16
"""Rows; a graph lets nobody search while one of them joins."""
_log = logging.getLogger(__name__)


class RatedLog(Protocol):
    """Where rated answers are read; every method blocks."""

    def rated(self, *, after: float, until: float) -> Iterable[Rated]:
        """Yield answers that were rated in (after, until], the newest rating first."""
        ...

    def texts(self, rows: Sequence[Rated]) -> list[bytes | None]:
        """Return what was said, as JSON; None where it is not kept."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteRated:
    """The decision log of a data folder."""

    data_dir: Path

    def rated(self, *, after: float, until: float) -> Iterable[Rated]:
        """Yield answers that were rated in (after, until], the newest rating first."""
        return read_rated(self.data_dir, after=after, until=until)

    def texts(self, rows: Sequence[Rated]) -> list[bytes | None]:
        """Return what was said, as JSON; None where it is not kept."""
        with contextlib.closing(ContentReader(self.data_dir)) as contents:
            return [contents.get(row.decision_id) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRule:
    """Which ratings a router believes.

    Attributes
    ----------
    max_rows
        How many it takes in beside what it was fitted on.
    max_per_key
        How many of them one key may have rated; those of the operator are not counted.
    settle_s
        How long after it was told a rating may still be changed; then it counts.
    """

    max_rows: int
    max_per_key: int
    settle_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class Remembering:
    """One router of this process, and what feedback it has taken in.

    Attributes
    ----------
    columns
        (policy, model) → the column of the router's labels that answers of the model teach.
    n_left_out
        Ratings of texts that are not kept or cannot be read, or beyond a key's share.
    """

    router: str
    artifact: RouterArtifact
    columns: Mapping[tuple[str, str], int]
    rule: FeedbackRule
    n_left_out: int = 0
    _taken: set[str] = field(default_factory=set)
    _per_key: Counter[str] = field(default_factory=Counter)
    _after: float = -1.0

    @property
    def n_rows(self) -> int:
        """How many rated answers the router remembers beside what it was fitted on."""
        return len(self._taken)

    def take_in(self, log: RatedLog, *, now: float, stopped: Callable[[], bool]) -> None:
        """Have the router remember what was rated since the last time; blocks.

        Where there is more than it may remember, the newest are taken.

        Raises
        ------
        sqlite3.Error
            If the log cannot be read; what is missing is taken in the next time.
        """
        until = now - self.rule.settle_s
        if self.n_rows >= self.rule.max_rows:
            return
        chosen = self._chosen(log.rated(after=self._after, until=until))[::-1]
        for at in range(0, len(chosen), _AT_ONCE):
            if stopped():
                return
            rows = chosen[at : at + _AT_ONCE]
            self._insert(rows, log.texts(rows))
        self._after = max(self._after, until)

    def _chosen(self, rated: Iterable[Rated]) -> list[Rated]:
        """Return what of it may be remembered, in its order."""
        room, per_key, chosen = self.rule.max_rows - self.n_rows, self._per_key.copy(), []
        for row in rated:
            if (row.policy, row.model) not in self.columns or row.decision_id in self._taken:
                continue
            if row.rated_by != ADMIN and per_key[row.rated_by] >= self.rule.max_per_key:
                self.n_left_out += 1
                continue
            per_key[row.rated_by] += 1
            chosen.append(row)
            if len(chosen) == room:
                break
        return chosen

    def _insert(self, rows: Sequence[Rated], texts: Sequence[bytes | None]) -> None:
        known: list[tuple[Rated, Conversation]] = []
        for row, text in zip(rows, texts, strict=True):
            conversation = None if text is None else _conversation(text)
            if conversation is None:
                self.n_left_out += 1
            else:
                known.append((row, conversation))
        if not known:
            return
        models = self.artifact.router.models_
        quality = np.full((len(known), len(models)), np.nan, np.float32)
        tokens = np.full_like(quality, np.nan)
        for i, (row, _) in enumerate(known):
            column = self.columns[row.policy, row.model]
            quality[i, column] = row.quality
            if row.output_tokens:
                tokens[i, column] = row.output_tokens
        x = self.artifact.featurizer.transform([conversation for _, conversation in known])
        labels = Labels(models=tuple(models), quality=quality, output_tokens=tokens)
        self.artifact.router.insert(x, labels)
        for row, _ in known:
            self._taken.add(row.decision_id)
            self._per_key[row.rated_by] += 1


def _conversation(text: bytes) -> Conversation | None:
    """Return what was asked; None where it cannot be read."""
    try:
        said = json.loads(text)
        conversation = read_messages("feedback", said["messages"])
        media = described_media("feedback", said)
    except (ValueError, KeyError, TypeError, RoutingError):
        return None
    return Conversation(conversation.messages, media)


class Memories:
    """Every router of this process that believes feedback; outlives configurations.

    Parameters
    ----------
    log
        None where there is no log that can be read.
    now
        Seconds since the epoch.
    """

    def __init__(self, log: RatedLog | None, *, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._now = now
        self._serving: tuple[Remembering, ...] = ()
        self._stopped = threading.Event()
        self._is_new = asyncio.Event()
        self._using = threading.Lock()

    def __iter__(self) -> Iterator[Remembering]:
        return iter(self._serving)

    def follow(self, routers: Iterable[Remembering]) -> None:
        """Go on with the routers of a configuration that is to serve."""
        self._serving = tuple(routers)
        self._is_new.set()  # they know nothing yet

    def take_in(self) -> None:
        """Have every router take in what was rated; blocks, and does nothing where none does."""
        if self._log is None:
            return
        with self._using:
            for each in self._serving:
                try:
                    each.take_in(self._log, now=self._now(), stopped=self._stopped.is_set)
                except sqlite3.Error as error:
                    _log.warning("router %s cannot read feedback now: %s", each.router, error)

    async def take_in_forever(self) -> None:
        """Take in what is rated until cancelled."""
        # Of the system, as whoever seeds `random` in this process is not to find it drawn from.
        rng = random.SystemRandom()
        try:
            while True:
                wait_s = rng.uniform(0.5, 1.5) * LOOK_EVERY_S if self._serving else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._is_new.wait()
                self._is_new.clear()
                if not self._serving:
                    continue
                try:
                    await asyncio.to_thread(self.take_in)
                except Exception:  # noqa: BLE001  (it must not stop for good)
                    _log.exception("feedback could not be taken in")
        finally:
            self._stopped.set()
