"""Machines that load models on demand: which they have loaded, as far as can be told from here.

Servers such as Ollama, llama.cpp's router or llama-swap hold a few of their models in memory, load
another one when it is asked for, and unload the least recently used for it. What they do follows
from the calls that they get, so a picture of it can be kept beside the calls; where a server says
itself what it has loaded, the picture is set right by that.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRule:
    """How much a machine holds, and what it costs.

    Attributes
    ----------
    memory_gb
        For all models together; None: no limit that is known.
    max_models
        How many may be loaded at a time; None: as many as fit.
    keep_alive_s
        How long after its last call a model is unloaded; infinity: never for that.
    busy_at
        Calls at a loaded model from which on another machine may load it too.
    """

    memory_gb: float | None = None
    max_models: int | None = None
    keep_alive_s: float = math.inf
    busy_at: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """What it takes to load a model: memory in GB, and seconds."""

    memory_gb: float = 0.0
    load_s: float


@dataclass(slots=True)
class _Resident:
    """A model that is loaded, or being loaded."""

    ready_at: float
    used_at: float
    outstanding: int = 0


class Machine:
    """One machine, and which of its models it has loaded.

    It loads one model at a time, in the order in which they were asked for, and has those leave
    that were not asked for the longest.

    Parameters
    ----------
    models
        By the machine's names for them.
    """

    def __init__(self, rule: MachineRule, models: Mapping[str, HostedModel]) -> None:
        self.rule, self.models = rule, models
        self._residents: dict[str, _Resident] = {}
        """The least recently used first."""
        self._line_until = -math.inf
        """When what is being loaded, and what waits for that, is loaded."""
        self.n_calls, self.n_loads = 0, 0
        """Calls so far, and those of them that had a model loaded."""

    def follow(self, rule: MachineRule, models: Mapping[str, HostedModel]) -> None:
        """Go on under a new configuration; what it no longer names is not looked at."""
        self.rule, self.models = rule, models
        self._residents = {name: found for name, found in self._residents.items() if name in models}

    def wait_s(self, name: str, now: float) -> float:
        """Return how long a call would wait until a model is loaded; 0 where it is."""
        found = self._residents.get(name)
        if found is not None and not self._expired(found, now):
            return max(0.0, found.ready_at - now)
        return max(0.0, self._line_until - now) + self.models[name].load_s

    def holds(self, name: str, now: float) -> bool:
        """Return whether a model is loaded, or being loaded."""
        found = self._residents.get(name)
        return found is not None and not self._expired(found, now)

    def resident(self, now: float) -> tuple[str, ...]:
        """Return the models that are loaded or being loaded, the least recently used first."""
        return tuple(name for name in self._residents if self.holds(name, now))

    def called(self, name: str, now: float) -> bool:
        """Note that a call begins; return whether its model was there, or on its way."""
        self.n_calls += 1
        for other in [each for each, it in self._residents.items() if self._expired(it, now)]:
            del self._residents[other]
        found = self._residents.pop(name, None)
        was_there = found is not None
        if found is None:
            self.n_loads += 1
            self._make_room(self.models[name].memory_gb)
            self._line_until = max(now, self._line_until) + self.models[name].load_s
            found = _Resident(ready_at=self._line_until, used_at=now)
        found.used_at = now
        found.outstanding += 1
        self._residents[name] = found
        return was_there

    def answers(self, name: str, now: float) -> None:
        """Note that an answer begins: its model is loaded, whatever was expected."""
        found = self._residents.get(name)
        if found is not None and found.ready_at > now:
            found.ready_at = now
            self._line_up()

    def ended(self, name: str, now: float, *, failed: bool = False) -> None:
        """Note that a call is over; one that failed before its model was loaded did not load it."""
        found = self._residents.get(name)
        if found is None:
            return
        found.outstanding = max(0, found.outstanding - 1)
        found.used_at = now
        if failed and found.ready_at > now and not found.outstanding:
            del self._residents[name]
            self._line_up()

    def told(self, loaded: Collection[str], now: float) -> None:
        """Set the picture right by what the machine says that it has loaded.

        What is being loaded for a call that waits is not loaded yet: it stays.
        """
        for name, found in tuple(self._residents.items()):
            if name in loaded:
                found.ready_at = min(found.ready_at, now)
            elif not (found.outstanding and found.ready_at > now):
                del self._residents[name]
        news = {
            name: _Resident(ready_at=now, used_at=now)
            for name in loaded
            if name in self.models and name not in self._residents
        }
        if news:
            # Nobody here asked for them: others did, or it was long ago.
            self._residents = {**news, **self._residents}
        self._line_up()

    def _expired(self, resident: _Resident, now: float) -> bool:
        return not resident.outstanding and resident.used_at + self.rule.keep_alive_s < now

    def _line_up(self) -> None:
        """Work out anew until when there is something to load."""
        self._line_until = max(
            (each.ready_at for each in self._residents.values()), default=-math.inf
        )

    def last_use_lost(self, name: str) -> float:
        """Return when what has to leave for a model was last used; -infinity where nothing has."""
        leaving = self._leaving(self.models[name].memory_gb)
        return max((self._residents[each].used_at for each in leaving), default=-math.inf)

    def _leaving(self, need_gb: float) -> list[str]:
        """Return what has to be unloaded for a model that needs so much."""
        rule, leaving = self.rule, []
        used_gb = sum(self.models[each].memory_gb for each in self._residents)
        n_left = len(self._residents)
        for name in self._residents:
            full = rule.max_models is not None and n_left >= rule.max_models
            if not full and (rule.memory_gb is None or used_gb + need_gb <= rule.memory_gb):
                break
            leaving.append(name)
            used_gb -= self.models[name].memory_gb
            n_left -= 1
        return leaving

    def _make_room(self, need_gb: float) -> None:
        for name in self._leaving(need_gb):
            del self._residents[name]


class Machines:
    """The machines by the names of their upstreams; they outlive configurations."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}

    def of(self, name: str, rule: MachineRule, models: Mapping[str, HostedModel]) -> Machine:
        """Return a machine under a configuration, with what is known of it."""
        machine = self._machines.get(name)
        if machine is None:
            machine = self._machines[name] = Machine(rule, models)
        else:
            machine.follow(rule, models)
        return machine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Home:
    """A model on the machine that loads it.

    Attributes
    ----------
    name
        The machine's for the model.
    usd_per_hour
        What the machine costs.
    """

    machine: Machine
    name: str
    usd_per_hour: float = 0.0

    @property
    def load_s(self) -> float:
        """How long it takes to load."""
        return self.machine.models[self.name].load_s

    @property
    def load_usd(self) -> float:
        """What the machine costs while it loads the model, and answers nobody with it."""
        return self.usd_per_hour / 3600 * self.load_s

    def wait_s(self, now: float) -> float:
        """Return how long a call would wait until the model is loaded; 0 where it is."""
        return self.machine.wait_s(self.name, now)

    def holds(self, now: float) -> bool:
        """Return whether it is loaded, or being loaded."""
        return self.machine.holds(self.name, now)

    def to_load_it(self, now: float) -> tuple[float, float]:
        """Return what the best place to load it has least of: the wait, then what leaves for it."""
        return self.wait_s(now), self.machine.last_use_lost(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a call would cause: seconds until its model is loaded, and what loading it costs.

    Where it is being loaded already for another call, nothing more is to be paid.
    """

    seconds: float
    usd: float
