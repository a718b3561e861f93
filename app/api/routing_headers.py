"""The headers that routing reads, and those that were meant to be one of them.

A knob that is silently ignored is worse than none, and one dash is soon forgotten.
"""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from app.errors import InvalidRequestError
from app.gateway.queues.ranks import PRIORITY_HEADER

HEADER_KEYS: Mapping[bytes, str] = {
    b"x-cost-quality": "cost_quality",
    b"x-route-max-quality-loss": "max_quality_loss",
    b"x-route-min-quality": "min_quality",
    b"x-route-lambda": "lambda",
    b"x-route-mu": "mu",
    b"x-route-max-cost": "max_cost",
    b"x-route-models": "models",
    b"x-route-flags": "flags",
    b"x-route-policy": "policy",
    b"x-route-fallback": "fallback",
    b"x-route-explain": "explain",
    b"x-route-reference": "reference",
    b"x-route-affinity": "affinity",
    b"x-route-cache": "cache",
    b"x-route-task": "task",
    b"x-route-detail": "detail",
    b"x-route-max-latency-ms": "max_latency_ms",
    b"x-route-max-ttft-ms": "max_ttft_ms",
    b"x-route-latency-weight": "latency_weight",
    b"x-route-deadline-ms": "deadline_ms",
}

AT_THE_DOOR = frozenset({PRIORITY_HEADER})
"""Headers that count before the body is read, and cannot stand in it."""

_ALSO_MEANT = {
    "qualitycost": "x-cost-quality",
    "maxcost": "x-route-max-cost",
    "maxlatency": "x-route-max-latency-ms",
    "maxttft": "x-route-max-ttft-ms",
    "routemaxlatency": "x-route-max-latency-ms",
    "routemaxttft": "x-route-max-ttft-ms",
    "minquality": "x-route-min-quality",
    "maxqualityloss": "x-route-max-quality-loss",
}
"""What comes to mind in place of ours, without dashes."""

_MAX_NAME_BYTES = 40


@lru_cache(maxsize=1_024)
def key_of(name: bytes) -> str | None:
    """Return the option that a header gives; None if it gives none. Clients send the same again.

    Raises
    ------
    InvalidRequestError
        If it is an unknown `x-route-*`, or within a slip of the pen of one of ours.
    """
    key = HEADER_KEYS.get(name)
    if key is not None or name in AT_THE_DOOR:
        return key
    meant = _meant(name)
    if meant is None and not name.startswith((b"x-route-", b"x-cost-quality")):
        return None
    param = name.decode("latin-1")
    hint = "" if meant is None else f"did you mean {meant}? "
    known = ", ".join(sorted(header.decode() for header in (*HEADER_KEYS, *AT_THE_DOOR)))
    raise InvalidRequestError(f"unknown header {param[:80]}; {hint}known: {known}", param=param)


def _meant(name: bytes) -> str | None:
    """Return the header that a name was probably meant to be.

    A slip is a letter too many, too few or another one, two that changed places, and whatever
    happens to dashes.
    """
    if len(name) > _MAX_NAME_BYTES:
        return None
    forms = _forms()
    return next(filter(None, map(forms.get, _with_one_less(_bare(name.decode("latin-1"))))), None)


@cache
def _forms() -> Mapping[str, str]:
    forms = {}
    for header in map(bytes.decode, (*HEADER_KEYS, *AT_THE_DOOR)):
        bare = _bare(header)
        for spelled in (bare, bare.replace("route", "router"), bare.replace("route", "routing")):
            forms.update(dict.fromkeys(_with_one_less(spelled), header))
    return forms | _ALSO_MEANT


def _bare(name: str) -> str:
    name = name.translate({ord(each): None for each in "-_. "})
    return name.removeprefix("x").removeprefix("steelyard")


def _with_one_less(name: str) -> Iterator[str]:
    yield name
    for i in range(len(name)):
        yield name[:i] + name[i + 1 :]
