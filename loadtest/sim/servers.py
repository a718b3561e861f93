"""Model instances as servers: what they work on, and when the next thing happens there.

All share what a simulation asks of a server: `due` is the moment of its next event, `submit` gives
it a request, `fire` lets that event happen and returns what is answered by it. Nothing happens per
token: between two events a batch advances in closed form.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from loadtest.sim.traffic import Traffic

_NOTHING: Sequence[int] = ()
_LEAST_STEP = 1e-9
_FIRST_OPENING = 2**40


@dataclass(slots=True)
class Account:
    """What a server itself counts, for the checks: it knows nothing of what requests record.

    Attributes
    ----------
    request_s
        Requests in it, integrated over time.
    busy_s
        The time in which it worked at all; of a server with slots their sum.
    """

    request_s: float = 0.0
    busy_s: float = 0.0
    read_tokens: float = 0.0
    cached_tokens: float = 0.0
    written_tokens: float = 0.0


class Server(Protocol):
    """Something that answers requests, given by their numbers."""

    due: float
    inside: int
    account: Account
    first_s: dict[int, float]
    just_read: int
    """The request whose answer began with the last event; -1: none."""

    def submit(self, now: float, request: int) -> None:
        """Take a request."""
        ...

    def fire(self, now: float) -> Sequence[int]:
        """Let happen what is due now; return the requests that are answered with it."""
        ...

    def slow_down(self, now: float, factor: float) -> None:
        """Take so many times as long for everything from now on as by its description."""
        ...


class SlotServer:
    """Answers so many requests at a time, each as long as it takes, the others wait in line.

    Parameters
    ----------
    service_s
        Of every request.
    """

    __slots__ = (
        "_factor", "_running", "_service_s", "_since", "_slots", "_waiting", "account", "due",
        "first_s", "inside", "just_read",
    )  # fmt: skip

    def __init__(self, service_s: Sequence[float], *, slots: int) -> None:
        self._service_s, self._slots = service_s, slots
        self._running: list[tuple[float, int]] = []
        self._waiting: deque[int] = deque()
        self._since, self._factor = 0.0, 1.0
        self.due, self.inside, self.account = math.inf, 0, Account()
        self.first_s: dict[int, float] = {}
        """Empty: an answer comes whole."""
        self.just_read = -1

    def submit(self, now: float, request: int) -> None:
        """Begin with a request, or put it into the line."""
        self.account.request_s += self.inside * (now - self._since)
        self._since = now
        self.inside += 1
        if len(self._running) < self._slots:
            self._begin(now, request)
            self.due = self._running[0][0]
        else:
            self._waiting.append(request)

    def fire(self, now: float) -> Sequence[int]:
        """End the request that is due, and begin with the next in line."""
        self.account.request_s += self.inside * (now - self._since)
        self._since = now
        self.inside -= 1
        _, request = heappop(self._running)
        if self._waiting:
            self._begin(now, self._waiting.popleft())
        self.due = self._running[0][0] if self._running else math.inf
        return (request,)

    def slow_down(self, now: float, factor: float) -> None:  # noqa: ARG002  (of the seam)
        """Take longer for what begins from now on."""
        self._factor = factor

    def _begin(self, now: float, request: int) -> None:
        service_s = self._service_s[request] * self._factor
        self.account.busy_s += service_s
        heappush(self._running, (now + service_s, request))


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast an instance works, and what fits into it.

    Attributes
    ----------
    prefill_s_per_token
        To read a prompt; while it reads, it writes nothing.
    prefill_s
        For each prompt besides.
    decode_s_per_token
        Of one step, which is one token for every running request, per token in the batch.
    decode_s
        For each step besides.
    max_running
        How many requests may run at the same time.
    kv_tokens
        How many tokens may be in memory; what a request may come to is reserved as it begins.
    prefix_tokens
        How many tokens of past conversations are kept, the least recently used go first.
    """

    prefill_s_per_token: float
    decode_s_per_token: float
    prefill_s: float = 0.0
    decode_s: float = 0.0
    max_running: int = 256
    kv_tokens: float = math.inf
    prefix_tokens: float = 0.0


EIGHT_BILLION = Speed(
    prefill_s_per_token=1.5e-4,
    decode_s_per_token=6e-7,
    decode_s=0.02,
    max_running=128,
    kv_tokens=200_000,
    prefix_tokens=100_000,
)
"""About an 8B model on one GPU of today, with room for some fifty conversations; a step takes 20 ms
whatever it is for."""


class BatchServer:
    """An instance with continuous batching: prompts are read one by one, answers written together.

    A prompt that waits is read as soon as there is room for it, while those that are written stand
    still (as vLLM does without chunks). Then all running requests get a token a step; the time of
    a step grows with the tokens in the batch, so that `k` steps take a quadratic of `k`.
    """

    __slots__ = (
        "_at", "_context", "_factor", "_input", "_output", "_prefix", "_reading", "_reserved",
        "_running", "_since", "_speed", "_steps", "_traffic", "_waiting", "account", "due",
        "first_s", "inside", "just_read",
    )  # fmt: skip

    def __init__(self, traffic: Traffic, speed: Speed) -> None:
        self._traffic, self._speed = traffic, speed
        self._input: list[int] = traffic.input_tokens.tolist()
        self._output: list[int] = traffic.output_tokens.tolist()
        self._running: list[tuple[float, int]] = []
        """(the step after which it is whole, request)."""
        self._waiting: deque[int] = deque()
        self._reading = -1
        self._steps, self._context, self._reserved = 0.0, 0.0, 0.0
        self._at, self._since, self._factor = 0.0, 0.0, 1.0
        self._prefix = PrefixCache(speed.prefix_tokens) if speed.prefix_tokens else None
        self.due, self.inside, self.account = math.inf, 0, Account()
        self.first_s: dict[int, float] = {}
        """When the first token of each answer was there."""
        self.just_read = -1

    def submit(self, now: float, request: int) -> None:
        """Take a request; if nothing is being read, it is read at once where there is room."""
        self.account.request_s += self.inside * (now - self._since)
        self._since = now
        self.inside += 1
        self._waiting.append(request)
        if self._reading < 0 and len(self._waiting) == 1:
            self._advance(now)
            self._go_on(now)

    def fire(self, now: float) -> Sequence[int]:
        """Have read a prompt, or written the last token of some answers."""
        self.just_read = self._reading
        if self._reading >= 0:
            request, self._reading = self._reading, -1
            self._at = now
            self.first_s[request] = now
            self.account.written_tokens += 1
            self._context += self._input[request] + 1
            heappush(self._running, (self._steps + self._output[request] - 1, request))
        else:
            self._advance(now, whole=True)
        running, done = self._running, []
        while running and running[0][0] <= self._steps + _LEAST_STEP:
            request = heappop(running)[1]
            tokens = self._input[request] + self._output[request]
            self._context -= tokens
            self._reserved -= tokens
            if self._prefix is not None:
                self._prefix.keep(int(self._traffic.conversation[request]), tokens)
                self._prefix.keep(*_opening(self._traffic, request))
            done.append(request)
        if done:
            self.account.request_s += self.inside * (now - self._since)
            self._since = now
            self.inside -= len(done)
            if not running:
                self._context = 0.0  # without what adding and taking away left of it
        self._go_on(now)
        return done or _NOTHING

    def slow_down(self, now: float, factor: float) -> None:
        """Take longer from now on; a prompt that is being read is finished as it began."""
        if self._reading < 0:
            self._advance(now)
        self._factor = factor
        if self._reading < 0:
            self._go_on(now)

    def _advance(self, now: float, *, whole: bool = False) -> None:
        """Write until now; `whole`: until the next answer is."""
        n = len(self._running)
        passed, self._at = now - self._at, now
        if not n or passed <= 0:
            return
        self.account.busy_s += passed
        if whole:
            steps = self._running[0][0] - self._steps
        else:
            speed = self._speed
            half = speed.decode_s_per_token * n / 2
            first = speed.decode_s + speed.decode_s_per_token * self._context
            passed /= self._factor
            # The root that keeps its digits where hardly a step is made.
            steps = 2 * passed / (first + math.sqrt(first * first + 4 * half * passed))
        self._steps += steps
        self._context += n * steps
        self.account.written_tokens += n * steps

    def _go_on(self, now: float) -> None:
        """Read the next prompt if there is room for it, else write."""
        speed, account = self._speed, self.account
        if self._waiting and len(self._running) < speed.max_running:
            request = self._waiting[0]
            tokens = self._input[request] + self._output[request]
            if self._reserved + tokens <= speed.kv_tokens or not self._running:
                self._waiting.popleft()
                self._reserved += tokens
                self._reading = request
                read, cached = self._input[request], 0
                if self._prefix is not None:
                    cached = self._cached(request)
                account.read_tokens += read - cached
                account.cached_tokens += cached
                took = (
                    speed.prefill_s + speed.prefill_s_per_token * (read - cached)
                ) * self._factor
                account.busy_s += took
                self.due = now + took
                return
        if self._running:
            n, steps = len(self._running), self._running[0][0] - self._steps
            first = speed.decode_s + speed.decode_s_per_token * self._context
            took = steps * (first + speed.decode_s_per_token * n * steps / 2) * self._factor
            self.due = now + took
        else:
            self.due = math.inf

    def _cached(self, request: int) -> int:
        assert self._prefix is not None  # noqa: S101  (who calls it has looked)
        kept = self._prefix.get(int(self._traffic.conversation[request]))
        known = min(kept, int(self._traffic.known_tokens[request]))
        # What other conversations began with is read once for all of them.
        opening, tokens = _opening(self._traffic, request)
        return max(known, min(self._prefix.get(opening), tokens))


def _opening(traffic: Traffic, request: int) -> tuple[int, int]:
    """Return the key of a system prompt, apart from those of conversations, and its length."""
    opening = int(traffic.opening[request])
    key = _FIRST_OPENING + opening if opening >= 0 else -1
    return key, int(traffic.opening_tokens[request])


class PrefixCache:
    """What an instance kept of conversations: so many tokens, the least recently used go first."""

    def __init__(self, tokens: float) -> None:
        self._room = tokens
        self._kept: OrderedDict[int, int] = OrderedDict()

    def get(self, conversation: int) -> int:
        """Return how many tokens of a conversation are there."""
        kept = self._kept.get(conversation, 0)
        if kept:
            self._kept.move_to_end(conversation)
        return kept

    def keep(self, conversation: int, tokens: int) -> None:
        """Keep a conversation as it is now."""
        if conversation < 0:
            return
        self._room += self._kept.pop(conversation, 0)
        self._kept[conversation] = tokens
        self._room -= tokens
        while self._room < 0:
            self._room += self._kept.popitem(last=False)[1]
