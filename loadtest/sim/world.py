"""The simulation itself: requests, gateways that choose, servers that answer, in one line of time.

The gateways' own classes choose: a `DeploymentPool` for each replica, on a clock that the
simulation moves. What happens is a heap of (time, server) and the arrivals beside it; nothing
happens per token.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush

import numpy as np

from app.errors import UpstreamError, UpstreamThrottledError, UpstreamUnavailableError
from app.gateway.deployments.balance import Balance, CallSize, Prefix
from app.gateway.deployments.machines import Home
from app.gateway.deployments.pool import DeploymentPool, Lease
from app.gateway.deployments.slots import Slot
from app.gateway.deployments.tier_load import TierLoad
from app.gateway.retry import may_go_elsewhere, wait_before_repeating_s
from loadtest.sim.checks import check
from loadtest.sim.door import Door
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.servers import Server
from loadtest.sim.traffic import Traffic
from routers.decisions import Latency

MakeBalance = Callable[[random.Random], Balance]
Models = Callable[[int, float], Sequence[str]]
"""Of a request and the time: the models to try for it, in order, as a decision has them."""

_UNANSWERED = -1

UPPER_LENGTH = 1.7
"""By how much the cautious estimate of an answer's length is above the expected one."""


class Clock:
    """Seconds since the beginning; the simulation alone moves them."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:  # noqa: D102
        return self.now


class World:
    """Traffic, a fleet, and the gateways before it.

    Parameters
    ----------
    places
        Every deployment of every model.
    models
        What is decided for a request; default: the first place's model.
    balances
        By model, how its calls are spread; every replica makes its own.
    homes
        Makes a replica's picture of the machines that load models, by place and model.
    doors
        Makes the places of a gateway, and the queue before them; left out, all go in at once.
    n_replicas
        How many gateways there are; requests come to one of them at random.
    failures, cooldown_s, retries
        As in a gateway's configuration.
    tier_loads
        By replica and model, what follows the calls of a tier.
    described
        Whether gateways are told how large calls are, and so predict how long these take.
    streams
        Whether gateways see how answers begin; else only when they are whole.

    Attributes
    ----------
    latencies
        What was predicted of each request as its call began.
    fails
        Whether places may begin to fail on the way.
    """

    def __init__(
        self,
        traffic: Traffic,
        places: Sequence[Place],
        *,
        seed: int,
        models: Models | None = None,
        balances: Mapping[str, MakeBalance] | None = None,
        homes: Callable[[], Mapping[tuple[str, str], Home]] = dict,
        doors: Callable[[Clock], Door] | None = None,
        n_replicas: int = 1,
        failures: int = 5,
        cooldown_s: float = 15.0,
        retries: int = 1,
        tier_loads: Sequence[Mapping[str, TierLoad]] = (),
        described: bool = False,
        streams: bool = True,
        fails: bool = False,
    ) -> None:
        self.traffic, self.places, self.clock = traffic, tuple(places), Clock()
        self.rng = random.Random(seed)
        distinct = {id(place.server): place.server for place in self.places}
        self._servers: list[Server] = list(distinct.values())
        order = {id(server): number for number, server in enumerate(self._servers)}
        self._server_of = [order[id(place.server)] for place in self.places]
        self._number = {place.name: number for number, place in enumerate(self.places)}
        if len(self._number) < len(self.places):
            raise ValueError("two places have the same name")
        only = (self.places[0].model_id,)
        self._models = models or (lambda _request, _now: only)
        by_model: dict[str, list[Place]] = {}
        for place in self.places:
            by_model.setdefault(place.model_id, []).append(place)
        self.pools = [
            DeploymentPool(
                {
                    model_id: [each.deployment() for each in group]
                    for model_id, group in by_model.items()
                },
                clock=self.clock,
                failures=failures,
                cooldown_s=cooldown_s,
                rng=random.Random(self.rng.random()),
                balances={
                    model_id: make(random.Random(self.rng.random()))
                    for model_id, make in (balances or {}).items()
                },
                homes=homes(),
                tier_loads=tier_loads[number] if tier_loads else {},
            )
            for number in range(n_replicas)
        ]
        self.doors = [] if doors is None else [doors(self.clock) for _ in range(n_replicas)]
        self._begun = dict.fromkeys(by_model, 0)
        self._retries = retries
        n = len(traffic)
        draw = np.random.default_rng(seed)
        self._replica: list[int] = draw.integers(n_replicas, size=n).tolist()
        self._chance: list[float] = draw.random(n).tolist()
        self._leases: list[Lease | None] = [None] * n
        self._place = [_UNANSWERED] * n
        self._submitted_s: list[float] = traffic.arrives_s.tolist()
        self._ends_s = [math.nan] * n
        self._described, self._streams = described, streams
        self.latencies: list[Latency | None] = [None] * n
        self._n_throttled = 0
        self._heap: list[tuple[float, int]] = []
        self._timers: dict[int, Callable[[], None]] = {}
        self._n_timers = 0
        self._open = n
        self._quotas = fails or any(place.quota or place.succeeds < 1 for place in self.places)

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        """Let something happen at a time: a fault, news of other replicas, a poll."""
        self._n_timers += 1
        key = -self._n_timers
        self._timers[key] = what
        heappush(self._heap, (when_s, key))

    def every(self, interval_s: float, what: Callable[[], None]) -> None:
        """Let something happen again and again while there are requests."""

        def again() -> None:
            what()
            if self._open:
                self.at(self.clock.now + interval_s, again)

        self.at(self.clock.now + interval_s, again)

    def begun(self, model_id: str) -> int:
        """Return how many calls of a model have begun so far."""
        return self._begun[model_id]

    def replica_of(self, request: int) -> int:
        """Return the gateway that a request comes to."""
        return self._replica[request]

    def slow_down(self, place: Place, factor: float) -> None:
        """Let a place take so many times as long from now on."""
        server = place.server
        server.slow_down(self.clock.now, factor)
        if server.due < math.inf:
            heappush(self._heap, (server.due, self._server_of[self._number[place.name]]))

    def run(self) -> Result:
        """Simulate until every request has ended, and check what came of it.

        Raises
        ------
        SimulationError
            If the run contradicts itself.
        """
        began = time.process_time()
        self._loop()
        took_s = time.process_time() - began
        first = np.full(len(self.traffic), np.nan)
        for server in self._servers:
            if server.first_s:
                numbers = np.fromiter(server.first_s, np.int64, len(server.first_s))
                first[numbers] = np.fromiter(server.first_s.values(), np.float64, len(numbers))
        ends = np.array(self._ends_s)
        result = Result(
            traffic=self.traffic,
            places=self.places,
            place=np.array(self._place, np.int64),
            submitted_s=np.array(self._submitted_s),
            first_s=np.where(np.isnan(first), ends, first),
            ends_s=ends,
            elapsed_s=self.clock.now,
            n_throttled=self._n_throttled,
            cpu_s=took_s,
        )
        outstanding = sum(slot.outstanding for pool in self.pools for slot in pool.slots())
        check(result, outstanding=outstanding)
        return result

    def _loop(self) -> None:
        heap, servers, clock = self._heap, self._servers, self.clock
        leases = self._leases
        arrives: list[float] = self.traffic.arrives_s.tolist()
        n, request = len(arrives), 0
        upcoming = arrives[0] if n else math.inf
        predicting = self._described or any(self.pools[0].predicts(each) for each in self._begun)
        while True:
            if heap and heap[0][0] <= upcoming:
                now, number = heappop(heap)
                if number < 0:
                    if self._open or request < n:
                        clock.now = now
                        self._timers.pop(number)()
                    continue
                server = servers[number]
                if server.due != now:
                    continue  # something came in between, and it was put off
                clock.now = now
                ended = server.fire(now)
                if predicting and server.just_read >= 0:
                    lease = leases[server.just_read]
                    assert lease is not None  # noqa: S101  (it was submitted with one)
                    lease.first_token()
                for done in ended:
                    self._end(done, now)
                due = server.due
                if due < math.inf:
                    heappush(heap, (due, number))
            elif request < n:
                clock.now = upcoming
                self._ask(request)
                request += 1
                upcoming = arrives[request] if request < n else math.inf
            else:
                return

    def _end(self, request: int, now: float) -> None:
        lease = self._leases[request]
        assert lease is not None  # noqa: S101  (it was submitted with one)
        if lease.slot.home is not None:
            lease.first_token()
        lease.succeeded(output_tokens=float(self.traffic.output_tokens[request]))
        lease.release()
        self._leases[request] = None
        self._left(request, now)

    def _left(self, request: int, now: float) -> None:
        self._ends_s[request] = now
        self._open -= 1
        if self.doors:
            self.doors[self._replica[request]].leave(request)

    def _ask(self, request: int) -> None:
        if self.doors:
            door = self.doors[self._replica[request]]
            door.enter(request, lambda: self._begin(request))
        else:
            self._begin(request)

    def _begin(self, request: int) -> None:
        now = self.clock.now
        self._submitted_s[request] = now
        models = self._models(request, now)
        pool = self.pools[self._replica[request]]
        if len(models) > 1:
            models = pool.ordered(models)
        if not self._quotas:
            self._submit(request, now, self._lease(request, models[0]))
            return
        self._try(request, models, 0, ())

    def _lease(self, request: int, model_id: str, avoid: Sequence[Slot] = ()) -> Lease:
        pool = self.pools[self._replica[request]]
        size = None
        prefixed = pool.wants_prefix(model_id)
        if prefixed or self._described or pool.predicts(model_id):
            expected = float(self.traffic.expected_tokens[request])
            opening, conversation = self.traffic.opening, self.traffic.conversation
            size = CallSize(
                input_tokens=float(self.traffic.input_tokens[request]),
                output_tokens=expected,
                output_tokens_upper=UPPER_LENGTH * expected,
                streams=self._streams,
                prefix=Prefix(int(opening[request]), int(conversation[request]))
                if prefixed
                else None,
            )
        return pool.lease(model_id, avoid=avoid, size=size)

    def _submit(self, request: int, now: float, lease: Lease) -> None:
        self._leases[request] = lease
        if lease.forecast is not None:
            self.latencies[request] = lease.forecast.latency
        number = self._number[lease.slot.deployment.upstream]
        self._place[request] = number
        place = self.places[number]
        self._begun[place.model_id] += 1
        server = place.server
        before = server.due
        (place.door or server.submit)(now, request)
        if server.due != before:
            heappush(self._heap, (server.due, self._server_of[number]))

    def _try(
        self, request: int, models: Sequence[str], position: int, tried: tuple[Slot, ...]
    ) -> None:
        """Ask models as a dispatcher does: elsewhere where that is safe, after a wait, the next."""
        now, pool = self.clock.now, self.pools[self._replica[request]]
        while position < len(models):
            lease = self._lease(request, models[position], avoid=tried)
            error = self._refusal(request, now, lease)
            if error is None:
                self._submitted_s[request] = now
                self._submit(request, now, lease)
                return
            lease.failed(error)
            lease.release()
            tried += (lease.slot,)
            if len(tried) <= self._retries:
                if may_go_elsewhere(error) and pool.offers_another(models[position], avoid=tried):
                    continue
                wait_s = wait_before_repeating_s(error, n_retries=len(tried) - 1, rng=self.rng)
                if wait_s is not None and lease.slot.available(now + wait_s):
                    self.at(now + wait_s, partial(self._try, request, models, position, tried))
                    return
            position, tried = position + 1, ()
        self._left(request, now)

    def _refusal(self, request: int, now: float, lease: Lease) -> UpstreamError | None:
        place = self.places[self._number[lease.slot.deployment.upstream]]
        if place.succeeds < 1 and self._chance[request] >= place.succeeds:
            return UpstreamUnavailableError("simulated", status=503)
        if place.quota is not None:
            tokens = self.traffic.input_tokens[request] + self.traffic.output_tokens[request]
            wait_s = place.quota.take(now, float(tokens))
            if wait_s:
                self._n_throttled += 1
                return UpstreamThrottledError("simulated", status=429, retry_after_s=wait_s)
        return None
