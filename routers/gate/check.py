"""One condition of the gate: what was found, and what that says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.evaluation.bootstrap import Interval
from routers.evaluation.frame import Rows

_TIMED = 50
_WARM = 5


class Verdict(StrEnum):
    """What the evidence says; an exit code each."""

    PASSED = "passed"
    REFUSED = "refused"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of the gate, and what was found."""

    name: str
    verdict: Verdict
    finding: str
    """A sentence: the evidence, or the reason of the refusal."""
    interval: Interval | None = None
    detectable: float | None = None
    """The difference that would have been seen with 80 % power on as many queries."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = asdict(self)
        found["passed"] = self.verdict is Verdict.PASSED
        found["interval"] = None if self.interval is None else self.interval.to_dict()
        if self.detectable is not None and not np.isfinite(self.detectable):
            found["detectable"] = None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an artifact may take."""

    max_p50_ms: float
    max_size_mb: float


def check_latency(
    artifact: RouterArtifact, rows: Rows, limits: Limits, clock: Callable[[], float]
) -> Check:
    """Time single decisions, features included, one after the other."""
    conversations = rows.conversations
    n = len(conversations)
    times = []
    for i in range(_WARM + _TIMED):
        conversation = conversations[i * 7919 % n]
        start = clock()
        artifact.predict_conversations([conversation])
        if i >= _WARM:
            times.append(clock() - start)
    p50_ms = 1000 * float(np.median(times))
    passed = p50_ms <= limits.max_p50_ms
    return Check(
        name="latency",
        verdict=Verdict.PASSED if passed else Verdict.REFUSED,
        finding=(
            f"predicting one request takes {p50_ms:.2f} ms (median of {_TIMED}), "
            f"{'within' if passed else 'above'} the limit of {limits.max_p50_ms:g} ms"
        ),
    )


def check_size(path: Path, limits: Limits) -> Check:
    """Add up the files of an artifact."""
    size_mb = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) / 1e6
    passed = size_mb <= limits.max_size_mb
    return Check(
        name="size",
        verdict=Verdict.PASSED if passed else Verdict.REFUSED,
        finding=(
            f"the artifact has {size_mb:.2f} MB, {'within' if passed else 'above'} the limit of "
            f"{limits.max_size_mb:g} MB"
        ),
    )
