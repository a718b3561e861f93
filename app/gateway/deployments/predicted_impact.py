"""Balance by prediction: a call goes where it and those beside it lose the least time.

As published (Intelligent Router for LLM Workloads, arXiv 2408.13510), without its reinforcement
learning: the time of an answer is linear in the tokens of its prompt and, a step, in the tokens of
the batch that it is written in.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.gateway.deployments.balance import STALE_S, CallSize, Ended, LeastOutstanding, News
from app.gateway.deployments.slots import Load, Slot
from app.gateway.deployments.whole_times import WholeTimes

_KEPT = 0.98
"""Of what was learned, with each call more: some fifty calls are remembered."""

_LEAST_CALLS = 8
"""Seen of every deployment before its predictions count."""

_LEAST_LEFT = 0.1
"""Of an answer's expected length that is taken to be left of one that is longer already."""

_ASKED_AGAIN = 50
"""Calls of a model after which a deployment without any takes one: it may be faster by now."""

_USUAL_INPUT, _USUAL_OUTPUT = 500.0, 250.0
"""Tokens of calls that nobody described."""


@dataclass(slots=True)
class Line:
    """A decayed least-squares line through what was seen, with no part of it below zero."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def learn(self, x: float, y: float) -> None:
        """Take one more point into account."""
        self.n = self.n * _KEPT + 1
        self.x = self.x * _KEPT + x
        self.y = self.y * _KEPT + y
        self.xx = self.xx * _KEPT + x * x
        self.xy = self.xy * _KEPT + x * y

    @property
    def known(self) -> bool:
        """Whether enough was seen."""
        return self.n >= _LEAST_CALLS * 0.9

    def fit(self) -> tuple[float, float]:
        """Return intercept and slope; (0, 0) of nothing."""
        if not self.n:
            return 0.0, 0.0
        varied = self.xx - self.x * self.x / self.n
        slope = (self.xy - self.x * self.y / self.n) / varied if varied > 1e-9 * self.xx else 0.0
        intercept = (self.y - slope * self.x) / self.n
        if slope < 0:
            return self.y / self.n, 0.0
        if intercept < 0:
            return 0.0, self.xy / self.xx
        return intercept, slope


@dataclass(slots=True, eq=False)
class WatchedCall:
    """One call that has begun and not ended."""

    slot: Slot
    input_tokens: float
    output_tokens: float
    began: float
    ahead_tokens: float
    """Of prompts, its own among them, that were to be read when it began."""
    due_at: float
    """When its first token should be there; infinity where that cannot be told."""
    first_at: float = math.nan
    batch_tokens: float = 0.0
    """In the batch at its first token, or as it begins where that is not seen."""
    streams: bool = True
    propensity: float | None = None
    """Nothing is drawn."""


@dataclass(slots=True)
class Picture:
    """What is known of one deployment."""

    reading: Line = field(default_factory=Line)
    """Seconds to the first token over the tokens that are to be read until then."""
    writing: Line = field(default_factory=Line)
    """Seconds of one token of an answer over the tokens in the batch."""
    whole: WholeTimes | None = None
    """What answers took that did not stream; None where all did."""
    given: tuple[float, float, float, float] | None = None
    """What is taken for its fits until it is known better."""
    fits: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    waiting: dict[WatchedCall, None] = field(default_factory=dict)
    """Calls without a first token, the oldest first."""
    running: dict[WatchedCall, None] = field(default_factory=dict)
    unread_tokens: float = 0.0
    batch_tokens: float = 0.0
    """Prompts of running calls with half of their expected answers."""

    last_call: int = 0
    """The number of the last call that it took, of all the model's."""

    @property
    def idle(self) -> bool:
        """Whether no call is there."""
        return not self.waiting and not self.running

    @property
    def known(self) -> bool:
        """Whether enough was seen, or said."""
        if self.given is not None or (self.reading.known and self.writing.known):
            return True
        return self.whole is not None and self.whole.known

    def overdue(self, now: float) -> bool:
        """Return whether a first token is missing that should have been there a while ago."""
        for call in self.waiting:
            return now - call.due_at > STALE_S
        return False


class PredictedImpact:
    """Take the one where a call, and the calls that it slows down there, lose the least time.

    Both slopes are learned from calls that stream, of each deployment its own; where too few did,
    from the times of whole answers. Where too few were seen of those too, or a deployment is more
    than `STALE_S` behind what was predicted of it, the picture is wrong, and the least busy one
    takes the call. One that takes none because it is slow gets every fiftieth all the same.

    Parameters
    ----------
    rng
        Breaks ties where nothing is predicted.
    slopes
        Seconds to read a token of a prompt, and seconds of a token of an answer for each one in the
        batch, to begin with; None: nothing is known.
    """

    wants_size, wants_prefix = True, False

    def __init__(self, rng: random.Random, *, slopes: tuple[float, float] | None = None) -> None:
        self._least_outstanding = LeastOutstanding(rng)
        self._given = None if slopes is None else (0.0, slopes[0], 0.0, slopes[1])
        self._pictures: dict[Load, Picture] = {}
        self._n_calls = 0

    def heard(self, news: News) -> None:
        """Take note of what other replicas do, for when own predictions do not count."""
        self._least_outstanding.heard(news)

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:
        """Return where the least time is lost, in all."""
        tokens = _tokens(size)
        chosen, least = None, math.inf
        for slot in slots:
            picture = self._pictures.get(slot.load)
            if picture is None and self._given is not None:
                picture = self._new_picture(slot)
            if picture is None or not picture.known or picture.overdue(now):
                return self._least_outstanding.pick(slots, now, size)
            if picture.idle and self._n_calls - picture.last_call >= _ASKED_AGAIN:
                return slot
            lost_s = _lost_s(picture, *tokens, now) / slot.deployment.weight
            if lost_s < least:
                chosen, least = slot, lost_s
        return chosen or slots[0]

    def begun(self, slot: Slot, now: float, size: CallSize | None) -> WatchedCall:
        """Take note that a call begins."""
        picture = self._pictures.get(slot.load)
        if picture is None:
            picture = self._new_picture(slot)
        self._n_calls += 1
        picture.last_call = self._n_calls
        input_tokens, output_tokens = _tokens(size)
        ahead_tokens = picture.unread_tokens + input_tokens
        read_s, read_s_per_token, *_ = picture.fits
        due_at = now + read_s + read_s_per_token * ahead_tokens if picture.known else math.inf
        call = WatchedCall(slot, input_tokens, output_tokens, now, ahead_tokens, due_at)
        if size is not None and not size.streams:
            # Nothing is heard of it until it is whole.
            call.streams = False
            call.first_at = due_at if picture.known else now
            picture.running[call] = None
            picture.batch_tokens += _batch_tokens(input_tokens, output_tokens)
            call.batch_tokens = picture.batch_tokens
            return call
        picture.unread_tokens = ahead_tokens
        picture.waiting[call] = None
        return call

    def _new_picture(self, slot: Slot) -> Picture:
        picture = self._pictures[slot.load] = Picture(given=self._given)
        _refit(picture)
        return picture

    def first_token(self, call: WatchedCall, now: float) -> None:
        """Take note that its answer begins, and learn how fast prompts are read."""
        picture = self._pictures[call.slot.load]
        if picture.waiting.pop(call, call) is not None:
            return
        picture.unread_tokens -= call.input_tokens
        picture.running[call] = None
        picture.batch_tokens += _batch_tokens(call.input_tokens, call.output_tokens)
        call.first_at, call.batch_tokens = now, picture.batch_tokens
        picture.reading.learn(call.ahead_tokens, now - call.began)
        _refit(picture)

    def ended(self, call: WatchedCall, now: float, how: Ended) -> None:
        """Take note that it is over; of whole answers it is learned how fast they are written."""
        picture = self._pictures[call.slot.load]
        if picture.waiting.pop(call, call) is None:
            picture.unread_tokens -= call.input_tokens
            return
        del picture.running[call]
        tokens = (call.batch_tokens + picture.batch_tokens) / 2
        if how is Ended.WHOLE and not call.streams:
            if picture.whole is None:
                picture.whole = WholeTimes()
            sizes = call.input_tokens, max(1.0, call.output_tokens)
            if picture.whole.learn(*sizes, tokens, now - call.began):
                _refit(picture)
        elif how is Ended.WHOLE and call.batch_tokens:
            picture.writing.learn(tokens, (now - call.first_at) / max(1.0, call.output_tokens))
            _refit(picture)
        picture.batch_tokens -= _batch_tokens(call.input_tokens, call.output_tokens)


def _tokens(size: CallSize | None) -> tuple[float, float]:
    if size is None:
        return _USUAL_INPUT, _USUAL_OUTPUT
    return size.input_tokens, size.output_tokens or _USUAL_OUTPUT


def _batch_tokens(input_tokens: float, output_tokens: float) -> float:
    """Return what a running call has in the batch, in the middle of its answer."""
    return input_tokens + output_tokens / 2


def _refit(picture: Picture) -> None:
    given, whole = picture.given or (0.0, 0.0, 0.0, 0.0), picture.whole
    if whole is not None and whole.known and not (picture.reading.known and picture.writing.known):
        picture.fits = whole.fits
        return
    reading = picture.reading.fit() if picture.reading.known or not picture.given else given[:2]
    writing = picture.writing.fit() if picture.writing.known or not picture.given else given[2:]
    picture.fits = (*reading, *writing)


def _lost_s(picture: Picture, input_tokens: float, output_tokens: float, now: float) -> float:
    """Return what a call would take there, and by how much it would put off those that run."""
    read_s, read_s_per_token, step_s, step_s_per_token = picture.fits
    own_tokens = _batch_tokens(input_tokens, output_tokens)
    ahead_s = read_s_per_token * input_tokens
    batch_tokens = picture.batch_tokens + picture.unread_tokens
    paced_s = step_s + step_s_per_token * (batch_tokens + own_tokens)
    lost_s = read_s + read_s_per_token * picture.unread_tokens + ahead_s
    lost_s += output_tokens * paced_s
    slower_s = step_s_per_token * own_tokens
    now_s = max(1e-9, step_s + step_s_per_token * picture.batch_tokens)
    for call in picture.running:
        expected = call.output_tokens
        left = max(expected - (now - call.first_at) / now_s, expected * _LEAST_LEFT)
        lost_s += ahead_s + slower_s * min(left, output_tokens)
    for call in picture.waiting:
        lost_s += slower_s * min(call.output_tokens, output_tokens)
    return lost_s
