"""A decision log as a history of deployments: how often each answered, and when.

As for payments (arXiv 2308.01028): from what was logged a simulator is made, and whatever does
best in it is configured. A log tells of a call what became of it where it went; elsewhere it might
have gone otherwise. So rates are estimated over stretches of calls, and drawn from anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.error_answers import answer_for
from app.errors import UpstreamError
from loadtest.sim.records import read_records
from loadtest.sim.traffic import Floats
from routers.errors import DataError

_STRETCH = 200
"""Calls over which rates are taken to stand still."""
_PRIOR = 20.0
"""Calls of a deployment's rate before that a stretch of its own has to outweigh."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What a log says of one model's deployments.

    Attributes
    ----------
    rates
        How often each answered: (stretch, deployment).
    """

    model: str
    deployments: tuple[str, ...]
    n_calls: int
    rates: Floats


def read_calls_log(path: Path, model: str | None = None) -> History:
    """Return how often the deployments of a model answered, from an exported log.

    Client errors, throttled and cancelled calls tell nothing of it and are left out.

    Parameters
    ----------
    model
        Which; default: the one with the most calls, of those with several deployments.

    Raises
    ------
    DataError
        If it cannot be read, or no model in it has several deployments.
    """
    records = read_records(path, tells="of calls one by one")
    faults = {code for code, is_fault in _codes().items() if is_fault}
    calls: dict[str, list[tuple[float, str, bool]]] = {}
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("calls"), list):
            continue
        for call in record["calls"]:
            place = call.get("deployment")
            if place and (call.get("error") is None or call["error"] in faults):
                at = float(record.get("time") or 0.0) + (call.get("began_ms") or 0.0) / 1e3
                calls.setdefault(call["model"], []).append((at, place, call["error"] is None))
    several = {name: found for name, found in calls.items() if len({each[1] for each in found}) > 1}
    if not several or (model is not None and model not in several):
        raise DataError(
            f"{path}: no calls of {model or 'any model'} name several deployments; rows have "
            "`deployment` in `calls` where a model has several"
        )
    chosen = model or max(several, key=lambda name: len(several[name]))
    found = sorted(several[chosen])
    deployments = tuple(sorted({place for _, place, _ in found}))
    return History(
        model=chosen,
        deployments=deployments,
        n_calls=len(found),
        rates=_rates([(deployments.index(place), ok) for _, place, ok in found], len(deployments)),
    )


def _rates(calls: list[tuple[int, bool]], n_places: int) -> Floats:
    """Return how often places answered in each stretch; what was hardly tried is as before."""
    place = np.array([each for each, _ in calls])
    good = np.array([ok for _, ok in calls], np.float64)
    n_stretches = max(1, len(calls) // _STRETCH)
    stretch = np.arange(len(calls)) * n_stretches // len(calls)
    total = np.bincount(place, minlength=n_places)
    before = np.bincount(place, weights=good, minlength=n_places) / np.maximum(total, 1)
    rates = np.zeros((n_stretches, n_places))
    for number in range(n_stretches):
        mine = stretch == number
        n = np.bincount(place[mine], minlength=n_places)
        answered = np.bincount(place[mine], weights=good[mine], minlength=n_places)
        before = rates[number] = (answered + _PRIOR * before) / (n + _PRIOR)
    return rates


def _codes() -> Mapping[str, bool]:
    """Return the codes of upstream errors, and whether each is a fault of the provider."""

    def kinds(cls: type[UpstreamError]) -> list[type[UpstreamError]]:
        return [cls, *(kind for sub in cls.__subclasses__() for kind in kinds(sub))]

    found: dict[str, bool] = {}
    for cls in kinds(UpstreamError):
        # Of the class alone: some errors want more than a message to be made.
        code: Any = answer_for(cls.__new__(cls)).code
        if code is not None:
            found.setdefault(code, cls.provider_fault)
    return found
