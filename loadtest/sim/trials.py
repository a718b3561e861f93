"""Calls that succeed or fail, and nothing else: what a balance makes of deployments that change.

The gateway's own pools choose, with their circuits, on a clock that the calls move. What became of
a call is told after a delay. Gateways that share what they learn do so by the lessons that they
keep in a store.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import UpstreamUnavailableError
from app.gateway.deployments.balance import CallSize, News
from app.gateway.deployments.bandit import Bandit
from app.gateway.deployments.pool import DeploymentPool, Lease
from app.gateway.deployments.slots import Slot
from loadtest.sim.fleet import Place
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats
from loadtest.sim.world import Clock, MakeBalance

_NEVER = 2**60
_DOWN = UpstreamUnavailableError("simulated", status=503)


class Priority:
    """Take the first that may be taken: the fixed rule."""

    wants_size = wants_prefix = False

    def __init__(self, rng: random.Random) -> None:
        pass

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:  # noqa: ARG002
        """Return the first."""
        return slots[0]

    def heard(self, news: News) -> None:
        """Go on."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What came of calls.

    Attributes
    ----------
    rates
        How often each place answers: (stretch, place), stretches of the same number of calls.
    taken
        Which place took each call.
    """

    rates: Floats
    taken: np.ndarray

    @property
    def expected(self) -> Floats:
        """How probable it was of each call to be answered where it went."""
        stretch = np.arange(len(self.taken)) * len(self.rates) // len(self.taken)
        found: Floats = self.rates[stretch, self.taken]
        return found

    @property
    def success(self) -> float:
        """The part of the calls that is answered, its luck left aside."""
        return float(self.expected.mean())

    @property
    def best(self) -> float:
        """The same of who knows every rate."""
        return float(self.rates.max(axis=1).mean())

    @property
    def fixed(self) -> float:
        """The same of the first place alone."""
        return float(self.rates[:, 0].mean())


def run(
    rates: Floats,
    make: MakeBalance,
    *,
    n_calls: int,
    seed: int,
    per_s: float = 100.0,
    delay_s: float = 0.0,
    n_replicas: int = 1,
    merge_every: int = 200,
    circuits: bool = False,
) -> Trials:
    """Make calls, and return where they went.

    Parameters
    ----------
    rates
        How often each place answers: (stretch, place).
    per_s
        How many calls a second; it matters for circuits and for what is told late.
    delay_s
        After which it is told what became of a call.
    merge_every
        Calls after which gateways put together what they learned, where there are several.
    circuits
        Whether deployments that fail five times in a row are left alone for a while.
    """
    rng, clock = random.Random(seed), Clock()
    n_stretches, n_places = rates.shape
    places = [
        Place(name=f"{number + 1}", server=SlotServer((), slots=1)) for number in range(n_places)
    ]
    numbers = {place.name: number for number, place in enumerate(places)}
    balances = [make(random.Random(rng.random())) for _ in range(n_replicas)]
    pools = [
        DeploymentPool(
            {"model": [each.deployment() for each in places]},
            clock=clock,
            failures=5 if circuits else _NEVER,
            rng=random.Random(rng.random()),
            balances={"model": balance},
        )
        for balance in balances
    ]
    share = _sharing([each for each in balances if isinstance(each, Bandit)])
    odds: list[list[float]] = rates.tolist()
    taken = np.zeros(n_calls, np.int64)
    open_calls: deque[tuple[float, Lease, bool]] = deque()
    for number in range(n_calls):
        clock.now = now = number / per_s
        while open_calls and open_calls[0][0] <= now:
            _, ended, answered = open_calls.popleft()
            _end(ended, answered=answered)
        if n_replicas > 1 and number % merge_every == 0:
            share()
        pool = pools[0] if n_replicas == 1 else pools[rng.randrange(n_replicas)]
        lease = pool.lease("model")
        place = taken[number] = numbers[lease.deployment.upstream]
        answered = rng.random() < odds[number * n_stretches // n_calls][place]
        if delay_s:
            open_calls.append((now + delay_s, lease, answered))
        else:
            _end(lease, answered=answered)
    return Trials(rates=rates, taken=taken)


def _end(lease: Lease, *, answered: bool) -> None:
    if answered:
        lease.succeeded()
    else:
        lease.failed(_DOWN)
    lease.release()


def _sharing(bandits: Sequence[Bandit]) -> Callable[[], None]:
    """Return what has each bandit believe what all of them saw, in one order."""
    kept = None

    def share() -> None:
        nonlocal kept
        contexts = [each.contexts()[0] for each in bandits if each.contexts()]
        for context in contexts:
            gathered = context.gather()
            if gathered is not None:
                kept = gathered[0] if kept is None else kept.then(gathered[0])
        for context in contexts:
            context.recall(kept)()

    return share
