"""Which models machines should keep: what a decision log says that it would have saved."""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.config import LoadedConfig
from app.config.models import MARK
from app.errors import ConfigError
from app.gateway.deployments.machines import HostedModel, Machine, MachineRule
from routers.errors import DataError

_LONGEST_S = 20.0
_OUT_OF_TIME = 1
"""What scipy calls a limit of time or iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One machine, and what it takes to load each model there."""

    name: str
    rule: MachineRule
    models: Mapping[str, HostedModel]
    usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a log: when, in seconds, and for which model."""

    at: float
    model_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """One model of a proposal.

    Attributes
    ----------
    pool
        Where it is kept; None: loaded when it is asked for.
    n_requests
        In the log.
    n_loads
        How often it would be loaded if nothing were kept and there were room for one model.
    would_save_s
        The load seconds that these come to.
    load_s, usd
        What it is loaded for with this proposal, replayed, and what the machine costs meanwhile.
    lacks_gb
        How much more memory the machine with the most room left would need to keep it, too; None
        where it is kept, or memory is not what is short.
    """

    model_id: str
    pool: str | None
    n_requests: int
    n_loads: int
    would_save_s: float
    load_s: float
    usd: float
    memory_gb: float
    lacks_gb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What should be kept where.

    Attributes
    ----------
    today_s, proposed_s
        The log replayed: seconds of loading where the least recently used leaves, and with this.
    """

    models: Sequence[PlacedModel]
    days: float
    today_s: float
    proposed_s: float


@dataclass(slots=True)
class _Loads:
    """What replaying a log comes to, by model."""

    seconds: Counter[str] = field(default_factory=Counter)
    usd: Counter[str] = field(default_factory=Counter)


def read_log(path: Path) -> list[Asked]:
    """Return who asked for what and when, as `steelyard export` wrote it; the earliest first.

    Raises
    ------
    DataError
        If it cannot be read, or no row says when it was.
    """
    if path.suffix.lower() != ".jsonl":
        raise DataError(f"{path}: only a .jsonl tells when requests came; export to one")
    try:
        with path.open(encoding="utf-8") as file:
            records = [json.loads(text) for text in file if text.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    found = [
        Asked(at=float(each["time"]), model_id=each["model"].partition(MARK)[0])
        for each in records
        if _is_request(each)
    ]
    if not found:
        raise DataError(f"{path}: no row has `time` and `model`; is it what `export` wrote?")
    return sorted(found, key=lambda each: each.at)


def read_pools(config: LoadedConfig) -> list[Pool]:
    """Return the machines of a configuration that load models on demand.

    Raises
    ------
    ConfigError
        If there are none.
    """
    gateway, pools = config.gateway, []
    for name, upstream in gateway.upstreams.items():
        written = upstream.residency
        if written is None:
            continue
        models = {
            model_id: HostedModel(memory_gb=place.memory_gb or 0.0, load_s=place.load_s)
            for model_id, model in gateway.models.items()
            if MARK not in model_id
            for place in model.places
            if place.upstream == name and place.load_s is not None
        }
        rule = MachineRule(
            memory_gb=written.memory_gb,
            max_models=written.max_models,
            keep_alive_s=math.inf if written.keep_alive_s is None else written.keep_alive_s,
        )
        if models:
            pools.append(
                Pool(name=name, rule=rule, models=models, usd_per_hour=written.usd_per_hour)
            )
    if not pools:
        raise ConfigError(
            f"{config.path}: no upstream loads models on demand; give its `residency` and its "
            "models' `load_s`"
        )
    return pools


def propose(pools: Sequence[Pool], asked: Sequence[Asked]) -> Proposal:
    """Return what should be kept where: the most load seconds saved, as far as memory goes.

    A model that is kept saves a load for each run of requests that other models' requests
    interrupt: what it would cost if there were room for one model besides. What is not kept can
    still be loaded: room for it is left on one of its machines.

    Raises
    ------
    DataError
        If the log asks for none of the machines' models, or none was proved best in time.
    """
    hosted = {model_id for pool in pools for model_id in pool.models}
    asked = [each for each in asked if each.model_id in hosted]
    if not asked:
        raise DataError(
            "the log has no request for a model that is loaded on demand: "
            f"{', '.join(sorted(hosted))}"
        )
    n_loads = interrupted(asked, pools)
    kept = solve(pools, n_loads)
    today, proposed = replayed(pools, asked, {}), replayed(pools, asked, kept)
    n_requests = Counter(each.model_id for each in asked)
    models = []
    for model_id in sorted(hosted):
        homes = [pool for pool in pools if model_id in pool.models]
        here = next((pool for pool in homes if pool.name == kept.get(model_id)), homes[0])
        spec = here.models[model_id]
        models.append(
            PlacedModel(
                model_id=model_id,
                pool=kept.get(model_id),
                n_requests=n_requests[model_id],
                n_loads=n_loads[model_id],
                would_save_s=n_loads[model_id] * spec.load_s,
                load_s=proposed.seconds[model_id],
                usd=proposed.usd[model_id],
                memory_gb=spec.memory_gb,
                lacks_gb=None if model_id in kept else _lacking_gb(model_id, homes, kept),
            )
        )
    return Proposal(
        models=sorted(models, key=lambda each: (-each.would_save_s, each.model_id)),
        days=(asked[-1].at - asked[0].at) / 86_400,
        today_s=sum(today.seconds.values()),
        proposed_s=sum(proposed.seconds.values()),
    )


def interrupted(asked: Sequence[Asked], pools: Sequence[Pool]) -> Counter[str]:
    """Return how often each model is asked for after another one that shares a machine with it."""
    beside: dict[str, set[str]] = {}
    for pool in pools:
        for model_id in pool.models:
            beside.setdefault(model_id, set()).update(pool.models)
    keep_alive_s = {
        model_id: max(pool.rule.keep_alive_s for pool in pools if model_id in pool.models)
        for model_id in beside
    }
    loaded: set[str] = set()
    last: dict[str, float] = {}
    found: Counter[str] = Counter()
    for each in asked:
        name = each.model_id
        if name not in loaded or each.at - last[name] > keep_alive_s[name]:
            found[name] += 1
        loaded -= beside[name]
        loaded.add(name)
        last[name] = each.at
    return found


def solve(pools: Sequence[Pool], n_loads: Mapping[str, int]) -> dict[str, str]:
    """Return the pool of every model that is to be kept: the most load seconds saved.

    A mixed-integer programme, solved to its optimum: x says that a model is kept on a pool, s that
    there is room there to load it on demand. Every model has one of the two somewhere.

    Raises
    ------
    DataError
        If none was proved best in time.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415  (slow to load)

    pairs = [
        (pool, model_id, pool.models[model_id])
        for pool in pools
        for model_id in sorted(pool.models)
    ]
    n, names = len(pairs), sorted({model_id for _, model_id, _ in pairs})
    total_gb = sum(spec.memory_gb for _, _, spec in pairs) or 1.0
    saved = np.array([n_loads.get(model_id, 0) * spec.load_s for _, model_id, spec in pairs])
    # Of equal savings the ones that need the least memory; what saves nothing is not kept.
    size = np.array([spec.memory_gb / total_gb for _, _, spec in pairs])
    least_s = min((value for value in saved.tolist() if value > 0), default=1.0)
    objective = np.concatenate([-saved + (1 + size) * 1e-3 * least_s / (n + 1), np.zeros(n)])
    rows, low, high = [], [], []
    for name in names:
        own = np.array([float(model_id == name) for _, model_id, _ in pairs])
        rows += [np.concatenate([own, np.zeros(n)]), np.concatenate([own, own])]
        low += [0.0, 1.0]
        high += [1.0, 2.0 * n]
    for pool in pools:
        here = np.array([float(each is pool) for each, _, _ in pairs])
        used = here * np.array([spec.memory_gb for _, _, spec in pairs])
        for number, (each, _, spec) in enumerate(pairs):
            if each is not pool:
                continue
            loaded = np.zeros(n)
            loaded[number] = 1.0
            if pool.rule.memory_gb is not None:
                rows.append(np.concatenate([used, loaded * spec.memory_gb]) / pool.rule.memory_gb)
                low.append(0.0)
                high.append(1.0)
            if pool.rule.max_models is not None:
                rows.append(np.concatenate([here, loaded]))
                low.append(0.0)
                high.append(float(pool.rule.max_models))
    found = milp(
        objective,
        constraints=LinearConstraint(np.array(rows), np.array(low), np.array(high)),
        integrality=np.ones(2 * n),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "time_limit": _LONGEST_S},
    )
    if found.status == _OUT_OF_TIME or found.x is None:
        raise DataError(
            f"no placement was proved best within {_LONGEST_S:g} s: give fewer models or machines"
        )
    return {
        model_id: pool.name
        for (pool, model_id, _), x in zip(pairs, found.x[:n], strict=True)
        if x > 0.5
    }


def replayed(pools: Sequence[Pool], asked: Sequence[Asked], kept: Mapping[str, str]) -> _Loads:
    """Replay a log: what is kept is loaded once, of the rest the least recently used leaves."""
    machines, found = {}, _Loads()
    for pool in pools:
        mine = {model_id for model_id, name in kept.items() if name == pool.name}
        used_gb = sum(pool.models[each].memory_gb for each in mine)
        rule, most = pool.rule, pool.rule.max_models
        machines[pool.name] = Machine(
            MachineRule(
                memory_gb=None if rule.memory_gb is None else rule.memory_gb - used_gb,
                max_models=None if most is None else most - len(mine),
                keep_alive_s=rule.keep_alive_s,
            ),
            pool.models,
        )
        for model_id in mine:
            _count(found, pool, model_id)
    for each in asked:
        if each.model_id in kept:
            continue
        able = [pool for pool in pools if _can_load(pool, machines[pool.name], each.model_id)]
        pool = min(
            able,
            key=lambda one, name=each.model_id, at=each.at: (  # type: ignore[misc]
                not machines[one.name].holds(name, at),
                machines[one.name].last_use_lost(name),
            ),
        )
        machine = machines[pool.name]
        if not machine.called(each.model_id, each.at):
            _count(found, pool, each.model_id)
        machine.answers(each.model_id, each.at)
        machine.ended(each.model_id, each.at)
    return found


def _count(found: _Loads, pool: Pool, model_id: str) -> None:
    load_s = pool.models[model_id].load_s
    found.seconds[model_id] += load_s  # type: ignore[assignment]
    found.usd[model_id] += pool.usd_per_hour / 3600 * load_s  # type: ignore[assignment]


def _can_load(pool: Pool, machine: Machine, model_id: str) -> bool:
    if model_id not in pool.models:
        return False
    room_gb, most = machine.rule.memory_gb, machine.rule.max_models
    fits = room_gb is None or pool.models[model_id].memory_gb <= room_gb + 1e-9
    return fits and (most is None or most > 0)


def _lacking_gb(model_id: str, homes: Collection[Pool], kept: Mapping[str, str]) -> float | None:
    """Return how much more memory would let a model be kept beside what is."""
    lacking = []
    for pool in homes:
        if pool.rule.memory_gb is None:
            continue
        used_gb = sum(pool.models[each].memory_gb for each, at in kept.items() if at == pool.name)
        # Whatever else is still loaded on demand needs its room, too.
        others = [
            spec.memory_gb
            for each, spec in pool.models.items()
            if each not in kept and each != model_id
        ]
        needs_gb = used_gb + pool.models[model_id].memory_gb + max(others, default=0.0)
        lacking.append(needs_gb - pool.rule.memory_gb)
    return max(0.0, min(lacking)) if lacking and min(lacking) > 0 else None


def _is_request(record: Any) -> bool:
    if not isinstance(record, dict) or "role" in record:
        return False
    return isinstance(record.get("time"), int | float) and isinstance(record.get("model"), str)
