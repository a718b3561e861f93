"""One place that serves a model, and what is known of it at the moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.gateway.deployments.breaker import Circuit, CircuitState
from app.gateway.deployments.machines import Home
from app.gateway.deployments.quotas import Quota, quota_of
from app.gateway.deployments.rooms import Room
from app.gateway.latency import Speed
from app.gateway.request import Deployment


@dataclass(slots=True, kw_only=True, eq=False)
class Load:
    """What one place is busy with; a model and its variants share the one they are served at."""

    outstanding: int = 0
    """Calls that have begun and not ended."""
    quota: Quota | None = None
    """What it takes, where that is limited."""
    begun: int = 0
    """Calls, ever."""
    tokens: float = 0.0
    """Of these, as far as they were predicted."""
    room: Room | None = None
    """How many calls it takes at once, where that is limited."""
    spent_until: float = 0.0
    """Until then it takes no more, by its own word."""

    def begin(self, now: float, tokens: float) -> None:
        """Count one more call, and what it is expected to use."""
        self.outstanding += 1
        self.begun += 1
        self.tokens += tokens
        if self.room is not None:
            self.room.outstanding += 1
        if self.quota is not None:
            self.quota.take(now, tokens)


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One deployment and what is known of it at the moment."""

    deployment: Deployment
    circuit: Circuit
    load: Load = field(default_factory=Load)
    speed: Speed = field(default_factory=Speed)
    """How fast it answers."""
    throttled_until: float = 0.0
    home: Home | None = None
    """The machine that loads it on demand, where it is served by one."""
    demoted: bool = False
    """Whether its model has changed for the worse there: it is left alone where another is."""

    @property
    def outstanding(self) -> int:
        """Calls at its place that have begun and not ended, those of the model's variants too."""
        return self.load.outstanding

    @property
    def has_room(self) -> bool:
        """Whether it takes one more call at once."""
        return self.load.room is None or self.load.room.is_free

    def available(self, now: float) -> bool:
        """Return whether a call may go there: well or due for a probe, not throttled or spent."""
        return (
            self.throttled_until <= now
            and self.load.spent_until <= now
            and self.circuit.allows(now)
        )

    @property
    def available_at(self) -> float:
        """When a call may go there again, as far as time alone decides."""
        return max(self.throttled_until, self.load.spent_until, self.circuit.allows_from)

    def untroubled(self, now: float) -> bool:
        """Return whether nothing at all is held against it."""
        closed = self.circuit.state is CircuitState.CLOSED
        left_alone_until = max(self.throttled_until, self.load.spent_until)
        return closed and left_alone_until <= now and not self.demoted

    def wait_s(self, now: float, tokens: float) -> float:
        """Return in how many seconds its quota has room for a call; 0: now."""
        quota = self.load.quota
        return 0.0 if quota is None else quota.wait_s(now, tokens)


def with_a_place(slots: Sequence[Slot]) -> Sequence[Slot]:
    """Return those that take one more call at once; where none does, all of them."""
    for slot in slots:
        room = slot.load.room
        if room is not None and room.outstanding >= room.limit:
            return [each for each in slots if each.has_room] or slots
    return slots


def with_room(slots: Sequence[Slot], now: float, tokens: float) -> Sequence[Slot]:
    """Return those with room in their quotas; where none has any, the one that has some first."""
    for slot in slots:
        quota = slot.load.quota
        if quota is not None and not quota.has_room(tokens):
            break
    else:
        return slots
    free = [slot for slot in slots if not slot.wait_s(now, tokens)]
    return free or [min(slots, key=lambda slot: slot.wait_s(now, tokens))]


def where_loaded(slots: Sequence[Slot], now: float) -> Sequence[Slot]:
    """Return those that need not load their model; where none has it, the one that has it first.

    Of machines that would have it at the same time, it is loaded where it costs the least: nothing
    has to leave, or what was not used the longest. Where all that have it are busy, every one may
    take the call, and load it for that.
    """
    holding = [slot for slot in slots if slot.home is None or slot.home.holds(now)]
    if not holding:
        return [min(slots, key=lambda slot: slot.home.to_load_it(now) if slot.home else (0.0, 0.0))]
    free = [
        slot
        for slot in holding
        if slot.home is None or slot.outstanding < slot.home.machine.rule.busy_at
    ]
    return free or slots


def loads_of(
    deployments: Mapping[str, Sequence[Deployment]],
    now: float,
    rooms: Mapping[tuple[str, str], Room],
) -> dict[tuple[str, str], Load]:
    """Return the load of every place: of models that are served at the same one it is the same."""
    places: dict[tuple[str, str], list[Deployment]] = {}
    for each in (each for group in deployments.values() for each in group):
        places.setdefault(each.key, []).append(each)
    return {
        key: Load(quota=quota_of(group, now), room=rooms.get(key)) for key, group in places.items()
    }
