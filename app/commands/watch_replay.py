"""A decision log under the watch over models: which of them changed, and when."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.calls import WATCHED, CallRole, CanarySaid
from app.gateway.excerpt import Excerpt
from app.gateway.watch.canaries import CALLER
from app.gateway.watch.provider_watch import KEEP_EVERY_S
from app.gateway.watch.watched_answers import (
    AT_A_LIMIT,
    Place,
    Seen,
    observation_of,
)
from app.outcome import CacheState
from app.outcomes.calls import StoredCall, read_calls, serving_call
from app.outcomes.rows import OutcomeRow
from app.providers.base import Chunk
from routers.watch.signals import Observation, Signal
from routers.watch.watched import Change, Peers, Rule, Watched, peers_of

Texts = Callable[[str], bytes | None]
"""The kept texts of a decision as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedChange:
    """What became of a model.

    Attributes
    ----------
    time
        In seconds since the epoch.
    n_answers
        How many answers of it were looked at by then.
    """

    place: Place
    time: float
    n_answers: int
    change: Change


@dataclass(slots=True, kw_only=True)
class Replay:
    """What a watch over a log has found.

    Attributes
    ----------
    texts
        Where kept texts are to be had, by which refusals are told; without them refusals are those
        that providers told.
    known
        Of each model at each place; its third word names the deployment where there are several.
    names
        What the upstream called the model that answered, and how often.
    first, last
        When the first and the last answer came that was looked at, in seconds since the epoch.
    """

    rule: Rule
    texts: Texts | None = None
    known: dict[Place, Watched] = field(default_factory=dict)
    names: dict[Place, Counter[str]] = field(default_factory=dict)
    changes: list[ReplayedChange] = field(default_factory=list)
    first: float | None = None
    last: float = 0.0
    _peers: dict[Place, Peers] = field(default_factory=dict)
    _peers_at: float = float("-inf")

    @property
    def n_answers(self) -> int:
        """How many answers were looked at."""
        return sum(each.n_seen for each in self.known.values())

    @property
    def n_canaries(self) -> int:
        """How many answers to questions of the gateway's own were."""
        return sum(each.n_canaries for each in self.known.values())

    def take(self, rows: Iterable[OutcomeRow]) -> None:
        """Look at rows, the oldest first."""
        for row in rows:
            if row.key_id == CALLER:
                self._take_canaries(row)
                continue
            served = _answer_of(row)
            if served is None or row.model is None:
                continue
            place = row.model, served.upstream or row.upstream or "", served.deployment or ""
            self._see(place, row, self._observed(place, row, served))

    def _take_canaries(self, row: OutcomeRow) -> None:
        """Look at questions of the gateway's own; rows of earlier releases do not tell them."""
        for call in read_calls(row.calls):
            said = call.canary
            if isinstance(said, CanarySaid) and call.model is not None:
                place = call.model, call.upstream or "", call.deployment or ""
                self._see(place, row, Observation(canary=(said.name, not said.right)))

    def _see(self, place: Place, row: OutcomeRow, seen: Observation) -> None:
        known = self.known.setdefault(place, Watched())
        self.first = row.time if self.first is None else self.first
        self.last = max(self.last, row.time)
        if row.response_model is not None:
            self.names.setdefault(place, Counter())[row.response_model] += 1
        if row.time >= self._peers_at + KEEP_EVERY_S:  # as a gateway takes them together
            self._peers, self._peers_at = {}, row.time
        peers = self._peers.get(place)
        if peers is None:
            others = (each for other, each in self.known.items() if other[0] != place[0])
            peers = self._peers[place] = peers_of(others)
        for change in known.see(seen, rule=self.rule, peers=peers, now=row.time):
            self.changes.append(
                ReplayedChange(place=place, time=row.time, n_answers=known.n_seen, change=change)
            )

    def _observed(self, place: Place, row: OutcomeRow, served: StoredCall) -> Observation:
        text = self._text(row)
        streamed_s = row.duration_s - (row.time_to_first_token_s or 0.0)
        said = (row.output_tokens or 0) - (row.reasoning_tokens or 0)
        seen = observation_of(
            Seen(
                place=place,
                predicted_tokens=_predicted_tokens(row, served),
                predictor=row.artifact_version or "",
                input_tokens=row.input_tokens or 0,
                output_tokens=row.output_tokens,
                # Rows do not tell the client's limit: an answer that ended at one may be its doing.
                limit_tokens=0 if row.finish_reason in AT_A_LIMIT else None,
                n_answers=1,
                n_chars=max(said, 0) if text is None else len(text),
                finish_reason=row.finish_reason,
                began_s=served.ms / 1e3 if row.stream and served.ms is not None else None,
                streamed_s=max(streamed_s, 0.0),
                excerpt=None if text is None else _excerpt(text),
                text_is_json=False,
                has_tools=False,
                answered=row.response_model,
            )
        )
        if self.texts is None or text is not None:
            return seen
        # Texts are kept for some days only: where they begin, refusals would.
        told = tuple(each for each in seen.events if each[0] is not Signal.REFUSAL)
        return msgspec.structs.replace(seen, events=told)

    def _text(self, row: OutcomeRow) -> str | None:
        content = None if self.texts is None else self.texts(row.decision_id)
        if content is None:
            return None
        text = json.loads(content).get("answer")
        return text if isinstance(text, str) else None


def _answer_of(row: OutcomeRow) -> StoredCall | None:
    """Return the call that a row's answer came of; None where it was not read to its end."""
    if row.status != 200 or row.error is not None or row.cache == CacheState.HIT:
        return None
    served = serving_call(read_calls(row.calls), row.model)
    return served if served is not None and served.role in WATCHED else None


def _predicted_tokens(row: OutcomeRow, served: StoredCall) -> float | None:
    """Return how long the answer was predicted to be, where it is one to the client's words."""
    if row.candidates is None or (_carried_out(row) and served.role == CallRole.ANSWER):
        return None
    columns: Mapping[str, list[Any]] = json.loads(row.candidates)
    predicted = dict(zip(columns["model"], columns["output_tokens"], strict=True))
    return predicted.get(row.model)


def _carried_out(row: OutcomeRow) -> bool:
    return row.workflow is not None and json.loads(row.workflow).get("skipped") is None


def _excerpt(text: str) -> Excerpt:
    found = Excerpt()
    choices = [{"message": {"role": "assistant", "content": text}}]
    found.saw(Chunk(data=msgspec.json.encode({"choices": choices})))
    return found
