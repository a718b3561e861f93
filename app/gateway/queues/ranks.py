"""How urgent a request may be, and the share of its key, where requests wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.access.guard import Caller
from app.errors import ForbiddenError, InvalidRequestError
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority

PRIORITY_HEADER = b"x-route-priority"
_PARAM = PRIORITY_HEADER.decode()
_ALL = frozenset(Priority)
_MAX_USUAL = 10_000
_BY_NAME: Mapping[bytes, Priority] = {each.value.encode(): each for each in Priority}


@dataclass(frozen=True, slots=True)
class QueueTerms:
    """What somebody may ask for where requests wait; None: whoever comes next says it."""

    priorities: frozenset[Priority] | None = None
    weight: float | None = None


_NO_TERMS = QueueTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The configured terms; a key's own stand in its record and come first, then its team's.

    Attributes
    ----------
    key
        Of everybody else, callers without a key included.
    """

    key: QueueTerms = _NO_TERMS
    teams: Mapping[str, QueueTerms] = field(default_factory=dict)
    _usual: dict[tuple[str, bytes | None], tuple[Caller, Rank]] = field(
        default_factory=dict, init=False
    )
    """What callers have by what they ask for, where that is spelled as it is here, or nothing."""

    def of(self, caller: Caller, peer: str, asked: bytes | None) -> Rank:
        """Return the rank of a request.

        Parameters
        ----------
        peer
            The address that it comes from, which stands for callers without a key.
        asked
            The class that it asks for, as it was sent; None: the most urgent that it may have.

        Raises
        ------
        InvalidRequestError
            If there is no such class.
        ForbiddenError
            `priority_not_allowed`, if the caller may not ask for it.
        """
        if asked is not None and asked not in _BY_NAME:
            return self._rank(caller, peer, asked)
        who = (peer if caller.key is None else caller.key_id, asked)
        usual = self._usual.get(who)
        if usual is not None and usual[0] is caller:
            return usual[1]
        if len(self._usual) >= _MAX_USUAL:
            self._usual.clear()
        rank = self._rank(caller, peer, asked)
        self._usual[who] = caller, rank
        return rank

    def _rank(self, caller: Caller, peer: str, asked: bytes | None) -> Rank:
        key = caller.key
        if key is None:
            who, priorities, weight = "peer " + peer, self.key.priorities, self.key.weight
        else:
            who = key.key_id
            team = self.teams.get(caller.team, _NO_TERMS) if caller.team else _NO_TERMS
            priorities = key.priorities or team.priorities or self.key.priorities
            weight = key.weight or team.weight or self.key.weight
        priority = Priority.INTERACTIVE
        if asked is not None:
            priority = _read(asked)
            if priority not in (priorities or _ALL):
                raise ForbiddenError(
                    f"this key may not ask for the priority {priority.value!r}; it may ask for: "
                    + ", ".join(sorted(priorities or _ALL)),
                    param=_PARAM,
                    code="priority_not_allowed",
                )
        elif priorities is not None and priority not in priorities:
            priority = Priority.BATCH
        return Rank(who, priority, weight or 1.0)


def _read(asked: bytes) -> Priority:
    found = _BY_NAME.get(asked.strip().lower())
    if found is None:
        names = " or ".join(repr(each.value) for each in Priority)
        shown = asked[:40].decode("latin-1")
        raise InvalidRequestError(f"{_PARAM} must be {names}, not {shown!r}", param=_PARAM)
    return found
