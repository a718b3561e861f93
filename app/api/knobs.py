"""The routing options of a request: headers, and the same keys in a body object `routing`.

A header wins over the body, the body over the policy's default. A value that cannot be
understood, or two objectives in one place, is an error naming the `param`: a knob that is
silently ignored is worse than none.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from app.api.routing_headers import HEADER_KEYS, key_of
from app.config import PRESETS
from app.config.best_effort import MAX_DEADLINE_MS
from app.config.tasks import NO_TASK
from app.errors import InvalidRequestError
from app.gateway.images import WISHES
from app.gateway.queues.ranks import PRIORITY_HEADER
from app.gateway.request import CacheMode
from app.head import RequestHead
from routers.decision.tradeoff import objective_of_mu
from routers.objectives import (
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    Objective,
    StrongThreshold,
    UsdPerQuality,
)
from routers.wishes import NO_FLAGS, Flags, WishError, flags_of, parse_flags
from routers.workflows.chain import MAX_STAGES

_KEYS: Mapping[str, str] = {
    **{key: key for key in HEADER_KEYS.values()},
    **{header.decode(): key for header, key in HEADER_KEYS.items()},
}
_AT_THE_DOOR = frozenset({"priority", PRIORITY_HEADER.decode()})
_OBJECTIVES = ("cost_quality", "max_quality_loss", "min_quality", "lambda", "mu")
_SHORT_BYTES = 256
"""How long the values of a request's routing headers are together for what they say to be kept."""

MAX_MODELS = 1_000
"""How many models an allow-list may name."""

_MAX_REFERENCES, _MAX_CHARS = 20, 2_000

MAX_USD = 1e6
"""The most that an option in US dollars may say."""

MAX_MS = 3_600_000.0
"""The most that an option in milliseconds may say: an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Routing options as far as one source gave them; None means not given.

    Units: `max_cost_usd` in US dollars for the whole request, times in seconds from its arrival on,
    `usd_per_s` in US dollars a second.
    """

    objective: Objective | None = None
    max_cost_usd: float | None = None
    model_ids: frozenset[str] | None = None
    flags: Flags | None = None
    policy: str | None = None
    fallback: bool | None = None
    explain: bool | None = None
    reference: tuple[str, ...] | None = None
    affinity: bool | None = None
    cache: CacheMode | None = None
    task: tuple[str, ...] | None = None
    """Empty where the client wants none, not even one that is found in the prompt."""
    detail: str | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    usd_per_s: float | None = None
    deadline_s: float | None = None
    """Within which the answer is to be whole."""
    params: Mapping[str, str] = field(default_factory=dict, compare=False)
    """How the client spelled each option that is given, for errors found later."""

    @property
    def objective_param(self) -> str | None:
        """How the client spelled the objective; None where it gave none."""
        if self.objective is None:
            return None
        return next(self.params[key] for key in _OBJECTIVES if key in self.params)

    def over(self, other: "Knobs") -> "Knobs":
        """Return these options, with `other` filling in what is not given here.

        Of flags each counts by itself: weights given here come first, demands of both hold.
        """
        if other is NO_KNOBS:
            return self
        if self is NO_KNOBS:
            return other
        return Knobs(
            **{
                each.name: getattr(other, each.name)
                if getattr(self, each.name) is None
                else getattr(self, each.name)
                for each in fields(self)
                if each.name not in ("params", "flags")
            },
            flags=self.flags if other.flags is None else (self.flags or NO_FLAGS).over(other.flags),
            params={**other.params, **self.params},
        )


NO_KNOBS = Knobs()


def knobs_from_headers(head: RequestHead) -> Knobs:
    """Read the routing headers of a request.

    Raises
    ------
    InvalidRequestError
        For an unknown `x-route-*` header or a misspelt one, a repeated one, or a bad value.
    """
    names = head.meant_for_us
    if not names:
        return NO_KNOBS
    names = _giving(names)
    if not names:
        return NO_KNOBS
    if head.repeated:
        names = tuple(each for each in names for _ in head.all(each))
    values = head.values_of(names)
    is_short = sum(map(len, values)) <= _SHORT_BYTES
    return _read_again(names, values) if is_short else _read(names, values)


# Applications send the same ones with every request.
@lru_cache(maxsize=128)
def _giving(names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return those of some headers that give an option."""
    return tuple(name for name in names if key_of(name) is not None)


def _read(names: tuple[bytes, ...], values: tuple[bytes, ...]) -> Knobs:
    given: dict[str, tuple[str, Any]] = {}
    for name, value in zip(names, values, strict=True):
        key, param = key_of(name), name.decode("latin-1")
        assert key is not None  # noqa: S101  (the others were left out)
        if key in given:
            raise InvalidRequestError(f"{param} is given twice", param=param)
        given[key] = (param, value.decode("latin-1").strip())
    return _build(given)


_read_again = lru_cache(maxsize=1_024)(_read)


def knobs_from_object(routing: Mapping[str, Any]) -> Knobs:
    """Read the body object `routing`; keys in snake case or spelled like the headers.

    Raises
    ------
    InvalidRequestError
        For an unknown or repeated key, or a bad value.
    """
    given: dict[str, tuple[str, Any]] = {}
    for name, value in routing.items():
        param = f"routing.{name}"
        if name.lower() in _AT_THE_DOOR:
            raise InvalidRequestError(
                f"{param} counts before the body is read; send it as the header "
                f"{PRIORITY_HEADER.decode()}",
                param=param,
            )
        if name.lower() not in _KEYS:
            known = ", ".join(sorted(HEADER_KEYS.values()))
            raise InvalidRequestError(f"unknown key {param}; known: {known}", param=param)
        key = _KEYS[name.lower()]
        if key in given:
            raise InvalidRequestError(f"{param} and {given[key][0]} are the same", param=param)
        if value is not None:
            given[key] = (param, value)
    return _build(given)


def _build(given: Mapping[str, tuple[str, Any]]) -> Knobs:
    objectives = [key for key in _OBJECTIVES if key in given]
    if len(objectives) > 1:
        names = " and ".join(given[key][0] for key in objectives)
        raise InvalidRequestError(
            f"{names} contradict each other; give one of them", param=given[objectives[1]][0]
        )
    read: dict[str, Any] = {key: _READERS[key](*given[key]) for key in given}
    return Knobs(
        objective=read[objectives[0]] if objectives else None,
        max_cost_usd=read.get("max_cost"),
        model_ids=read.get("models"),
        flags=read.get("flags"),
        policy=read.get("policy"),
        fallback=read.get("fallback"),
        explain=read.get("explain"),
        reference=read.get("reference"),
        affinity=read.get("affinity"),
        cache=read.get("cache"),
        task=read.get("task"),
        detail=read.get("detail"),
        max_latency_s=read.get("max_latency_ms"),
        max_ttft_s=read.get("max_ttft_ms"),
        usd_per_s=read.get("latency_weight"),
        deadline_s=read.get("deadline_ms"),
        params={key: param for key, (param, _) in given.items()},
    )


def parse_cost_quality(param: str, value: Any) -> CostQuality:
    """Read a knob position: a number in [0, 1] or the name of a preset.

    Raises
    ------
    InvalidRequestError
        For anything else.
    """
    if isinstance(value, str) and value.lower() in PRESETS:
        return CostQuality(PRESETS[value.lower()])
    return CostQuality(
        _number(param, value, upper=1.0, expected=f"a number from 0 to 1 or {_one_of(PRESETS)}")
    )


def _number(param: str, value: Any, *, upper: float, expected: str) -> float:
    number = math.nan
    # Python also reads "1_0" as a number; no client means that.
    if isinstance(value, int | float | str) and not (value is True or value is False):
        with contextlib.suppress(ValueError, OverflowError):
            number = math.nan if isinstance(value, str) and "_" in value else float(value)
    if not 0 <= number <= upper:
        # Of what is nested however deep only the kind is told.
        plain = value is None or isinstance(value, str | int | float)
        shown = repr(value) if plain else f"a {type(value).__name__}"
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise InvalidRequestError(f"{param} must be {expected}, not {shown}", param=param)
    return number + 0.0  # no negative zero


def _share(make: Callable[[float], Objective]) -> Callable[[str, Any], Objective]:
    return lambda param, value: make(
        _number(param, value, upper=1.0, expected="a number from 0 to 1")
    )


def _usd(param: str, value: Any) -> float:
    return _number(param, value, upper=MAX_USD, expected=f"US dollars from 0 to {MAX_USD:.0f}")


def _seconds_of_ms(param: str, value: Any) -> float:
    expected = f"milliseconds from 0 to {MAX_MS:.0f}"
    return _number(param, value, upper=MAX_MS, expected=expected) / 1e3


def _models(param: str, value: Any) -> frozenset[str]:
    # In one piece, where more commas come than anybody has models.
    names = value.split(",", MAX_MODELS) if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidRequestError(f"{param} must be a list of model ids", param=param)
    if len(names) > MAX_MODELS:
        raise InvalidRequestError(f"{param} names more than {MAX_MODELS} models", param=param)
    models = frozenset(name.strip() for name in names if name.strip())
    if not models:
        raise InvalidRequestError(f"{param} names no model", param=param)
    return models


def _flags(param: str, value: Any) -> Flags:
    try:
        if isinstance(value, str):
            return parse_flags(value)
        if isinstance(value, dict):
            return flags_of(value)
    except WishError as error:
        raise InvalidRequestError(f"{param}: {error}", param=param) from error
    raise InvalidRequestError(
        f'{param} must be an object such as {{"size": 1}}, or the same as text: size=1',
        param=param,
    )


def _policy(param: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{param} must be the name of a policy", param=param)
    return value


def _cache(param: str, value: Any) -> CacheMode:
    if isinstance(value, bool):
        return CacheMode.ON if value else CacheMode.OFF
    if value in tuple(CacheMode):
        return CacheMode(value)
    raise InvalidRequestError(f"{param} must be 'on', 'off' or 'no-store'", param=param)


def _task(param: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"{param} must be a task, or several as first>second", param=param
        )
    names = value.split(">", MAX_STAGES)
    if len(names) > MAX_STAGES:
        raise InvalidRequestError(f"{param} chains more than {MAX_STAGES} tasks", param=param)
    tasks = tuple(name.strip() for name in names)
    if tasks == (NO_TASK,):
        return ()
    if not tasks or not all(tasks):
        raise InvalidRequestError(
            f"{param} names no task{' in one of its places' if len(tasks) > 1 else ''}; leave it "
            f"out, or say {NO_TASK!r} for none",
            param=param,
        )
    return tasks


def _detail(param: str, value: Any) -> str:
    if isinstance(value, str) and value in WISHES:
        return value
    raise InvalidRequestError(f"{param} must be one of {_one_of(WISHES)}", param=param)


def _deadline_s(param: str, value: Any) -> float:
    expected = f"milliseconds, more than 0 and at most {MAX_DEADLINE_MS:.0f}"
    milliseconds = _number(param, value, upper=MAX_DEADLINE_MS, expected=expected)
    if not milliseconds:
        raise InvalidRequestError(f"{param} must be {expected}, not {value!r}", param=param)
    return milliseconds / 1e3


def _on_or_off(param: str, value: Any) -> bool:
    if value is True or value == "on":
        return True
    if value is False or value == "off":
        return False
    raise InvalidRequestError(f"{param} must be 'on' or 'off'", param=param)


def _explain(param: str, value: Any) -> bool:
    if value == "full":
        return True
    if value == "off":
        return False
    raise InvalidRequestError(f"{param} must be 'full' or 'off'", param=param)


def _reference(param: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if value == "":
        return ()
    if (
        not isinstance(texts, list)
        or not 0 < len(texts) <= _MAX_REFERENCES
        or not all(isinstance(each, str) and 0 < len(each) <= _MAX_CHARS for each in texts)
    ):
        raise InvalidRequestError(
            f"{param} must be a right answer, or a list of up to {_MAX_REFERENCES}, of up to "
            f"{_MAX_CHARS} characters each",
            param=param,
        )
    return tuple(texts)


def told_objective(objective: Objective) -> str:
    """Return an objective as `key=value`, in the words of the routing headers."""
    match objective:
        case CostQuality(t):
            return f"cost-quality={t:g}"
        case MaxQualityLoss(loss):
            return f"max-quality-loss={loss:g}"
        case MinQuality(quality):
            return f"min-quality={quality:g}"
        case UsdPerQuality(usd):
            return f"lambda={usd:g}"
        case StrongThreshold():
            return f"threshold={objective.threshold:g}"


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "cost_quality": parse_cost_quality,
    "max_quality_loss": _share(MaxQualityLoss),
    "min_quality": _share(MinQuality),
    "lambda": lambda param, value: UsdPerQuality(_usd(param, value)),
    "mu": _share(objective_of_mu),
    "max_cost": _usd,
    "models": _models,
    "flags": _flags,
    "policy": _policy,
    "fallback": _on_or_off,
    "explain": _explain,
    "reference": _reference,
    "affinity": _on_or_off,
    "cache": _cache,
    "task": _task,
    "detail": _detail,
    "max_latency_ms": _seconds_of_ms,
    "max_ttft_ms": _seconds_of_ms,
    "latency_weight": _usd,
    "deadline_ms": _deadline_s,
}
