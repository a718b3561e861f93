"""Caps on the share of routed requests that may go to certain models.

Whoever can write into a prompt can have it routed to a dear model (Shafran et al. 2025,
arXiv:2501.01818). A cap bounds what that buys: however requests are worded, no more than a share
of them, and a burst, goes there.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.access.guard import Caller
from app.gateway.money.allowances import GATEWAY
from app.stores.claims import Scope, ScopeKind

_MAX_FOLLOWED = 100_000
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCap:
    """No more than a share of the requests goes to some models.

    Attributes
    ----------
    models
        Which models together.
    share
        Of the routed requests, in [0, 1].
    burst
        How many more may go there in a row; at the start, and after others did not.
    """

    models: frozenset[str]
    share: float
    burst: int


@dataclass(slots=True, kw_only=True)
class Shares:
    """Follow what of each scope's requests went where, in this process.

    Every routed request earns its `share` of a request to the capped models, every one that goes
    there takes a whole one; no more than `burst` are saved up. A ratio that holds in each process
    holds in all together, and of the burst each has its part: nothing has to be told to others.

    Parameters
    ----------
    gateway
        Caps on all requests together.
    key
        Caps on each key; without keys, on everybody together.
    teams
        Caps on each team, by its name.
    n_processes
        How many workers serve beside each other. Other gateways have bursts of their own.
    """

    gateway: tuple[ShareCap, ...] = ()
    key: tuple[ShareCap, ...] = ()
    teams: Mapping[str, tuple[ShareCap, ...]] = field(default_factory=dict)
    n_processes: int = 1
    _saved: OrderedDict[tuple[Scope, int], float] = field(default_factory=OrderedDict)
    _any: bool = field(init=False)

    def __post_init__(self) -> None:
        self._any = bool(self.gateway or self.key or any(self.teams.values()))

    def exceeded(self, caller: Caller) -> Mapping[str, str]:
        """Return the models that a caller's next routed request may not go to, and why."""
        if not self._any:
            return _NONE
        found: dict[str, str] = {}
        for place, cap in self._caps(caller):
            if self._saved.get(place, self._burst(cap)) >= 1:
                continue
            kind = place[0].kind
            of = "all requests" if kind is ScopeKind.GATEWAY else f"the requests of this {kind}"
            why = f"its share of {of}, {cap.share:.0%} with a burst of {cap.burst}, is used"
            for model_id in cap.models:
                found.setdefault(model_id, why)
        return found

    def went(self, caller: Caller, model_ids: Iterable[str]) -> None:
        """Count one routed request that goes to some models, the same one however often."""
        if not self._any:
            return
        asked = frozenset(model_ids)
        for place, cap in self._caps(caller):
            saved = self._saved.pop(place, self._burst(cap))
            saved = min(saved + cap.share, self._burst(cap))
            self._keep(place, saved - len(asked & cap.models))

    def went_too(self, caller: Caller, model_ids: Iterable[str]) -> None:
        """Count further models that a request went to which is counted already."""
        if not self._any:
            return
        asked = frozenset(model_ids)
        for place, cap in self._caps(caller):
            n = len(asked & cap.models)
            if n:
                self._keep(place, self._saved.pop(place, self._burst(cap)) - n)

    def _burst(self, cap: ShareCap) -> float:
        """Return the part of a burst that is this process' own; a request each is the least."""
        return max(1.0, cap.burst / self.n_processes)

    def _keep(self, place: tuple[Scope, int], saved: float) -> None:
        """Keep what is saved, as the latest: whoever was away the longest is forgotten first."""
        self._saved[place] = saved
        if len(self._saved) > _MAX_FOLLOWED:
            self._saved.popitem(last=False)

    def _caps(self, caller: Caller) -> Iterator[tuple[tuple[Scope, int], ShareCap]]:
        """Yield what holds for a caller, the narrowest scope first."""
        of_team = () if caller.team is None else self.teams.get(caller.team, ())
        scopes = (
            (Scope(ScopeKind.KEY, caller.key_id), self.key),
            (Scope(ScopeKind.TEAM, caller.team or ""), of_team),
            (GATEWAY, self.gateway),
        )
        for scope, caps in scopes:
            for position, cap in enumerate(caps):
                yield (scope, position), cap
