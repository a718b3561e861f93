"""A machine with room for some of its models at a time: the others are loaded when asked."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.sim.servers import Account, Server

_NOTHING: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A model that a machine can load, and the server that it is then."""

    server: Server
    memory_gb: float
    load_s: float
    unload_s: float = 0.0


class Box:
    """Loads models as they are asked for, and unloads the least recently used for them.

    A model that has to go takes no more requests, answers those it has, and is unloaded then; one
    load at a time, in the order in which models were asked for.
    """

    def __init__(
        self, hosted: Mapping[str, Hosted], *, memory_gb: float, resident: Sequence[str] = ()
    ) -> None:
        if any(each.memory_gb > memory_gb for each in hosted.values()):
            raise ValueError(f"a model does not fit into {memory_gb:g} GB alone")
        self._hosted = hosted
        self._free_gb = memory_gb - sum(hosted[each].memory_gb for each in resident)
        self._resident = list(resident)
        """The least recently used first."""
        self._leaving: set[str] = set()
        self._line: dict[str, deque[int]] = {}
        """Requests of models that have to be loaded, in the order of the loads."""
        self._loading, self._loaded_at = "", math.inf
        self._since, self._request_s, self._load_s = 0.0, 0.0, 0.0
        self.due, self.inside, self.n_loads = math.inf, 0, 0
        self.just_read = -1
        self.first_s: dict[int, float] = {}
        for each in hosted.values():
            each.server.first_s = self.first_s

    @property
    def account(self) -> Account:
        """What the machine and all of its models count."""
        parts = [each.server.account for each in self._hosted.values()]
        return Account(
            request_s=self._request_s,
            busy_s=self._load_s + sum(part.busy_s for part in parts),
            read_tokens=sum(part.read_tokens for part in parts),
            cached_tokens=sum(part.cached_tokens for part in parts),
            written_tokens=sum(part.written_tokens for part in parts),
        )

    def resident(self, model_id: str) -> bool:
        """Return whether a model is loaded and stays."""
        return model_id in self._resident and model_id not in self._leaving

    def door(self, model_id: str) -> Callable[[float, int], None]:
        """Return what gives requests to one of the models."""

        def submit(now: float, request: int) -> None:
            self._count(now, 1)
            if self.resident(model_id):
                self._resident.remove(model_id)
                self._resident.append(model_id)
                self._hosted[model_id].server.submit(now, request)
            else:
                self._line.setdefault(model_id, deque()).append(request)
                self._make_room(now)
            self._look()

        return submit

    def submit(self, now: float, request: int) -> None:
        """Refuse: which model is asked decides."""
        raise NotImplementedError("give it to the `door` of a model")

    def fire(self, now: float) -> Sequence[int]:
        """Have loaded a model, or let happen what is due in one."""
        done: list[int] = []
        if self._loaded_at <= now:
            model_id, self._loading, self._loaded_at = self._loading, "", math.inf
            self._resident.append(model_id)
            for request in self._line.pop(model_id):
                self._hosted[model_id].server.submit(now, request)
        for model_id in self._resident:
            server = self._hosted[model_id].server
            if server.due <= now:
                done += server.fire(now)
        self._count(now, -len(done))
        self._make_room(now)
        self._look()
        return done or _NOTHING

    def slow_down(self, now: float, factor: float) -> None:
        """Slow down every model; loads take as long as before."""
        for each in self._hosted.values():
            each.server.slow_down(now, factor)
        self._look()

    def _count(self, now: float, more: int) -> None:
        self._request_s += self.inside * (now - self._since)
        self._since = now
        self.inside += more

    def _make_room(self, now: float) -> None:
        """Begin the next load, or let models go until there is room for it."""
        if self._loading or not self._line:
            return
        wanted = next(iter(self._line))
        need_gb = self._hosted[wanted].memory_gb
        to_come_gb = self._free_gb + sum(self._hosted[each].memory_gb for each in self._leaving)
        for model_id in self._resident:
            if to_come_gb >= need_gb:
                break
            if model_id not in self._leaving:
                self._leaving.add(model_id)
                to_come_gb += self._hosted[model_id].memory_gb
        unload_s = 0.0
        for model_id in [each for each in self._leaving if not self._hosted[each].server.inside]:
            self._leaving.remove(model_id)
            self._resident.remove(model_id)
            self._free_gb += self._hosted[model_id].memory_gb
            unload_s += self._hosted[model_id].unload_s
        if self._free_gb >= need_gb:
            self._free_gb -= need_gb
            took_s = unload_s + self._hosted[wanted].load_s
            self._loading, self._loaded_at = wanted, now + took_s
            self._load_s += took_s
            self.n_loads += 1

    def _look(self) -> None:
        dues = (self._hosted[each].server.due for each in self._resident)
        self.due = min(self._loaded_at, *dues) if self._resident else self._loaded_at
