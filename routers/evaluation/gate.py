"""Whether an artifact may be shipped: it has to beat what costs nothing to run."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact import RouterArtifact
from routers.evaluation import baselines
from routers.evaluation.bootstrap import Interval
from routers.evaluation.frame import Frame, Series
from routers.evaluation.replay import Arena
from routers.numeric import FloatArray, nan_mean

QUALITY_MARGIN = 0.005
"""How far below the best single model a mean still counts as its quality."""

_TIMED = 50
_WARM = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of the gate, and what was found."""

    name: str
    passed: bool
    finding: str
    """A sentence: the evidence, or the reason of the refusal."""
    interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = asdict(self)
        found["interval"] = None if self.interval is None else self.interval.to_dict()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an artifact may take."""

    max_p50_ms: float
    max_size_mb: float


def judge(
    arena: Arena,
    path: Path,
    *,
    limits: Limits,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Check]:
    """Hold the first artifact against every baseline, its latency and its size.

    Parameters
    ----------
    arena
        Prepared with training rows.
    path
        The artifact's folder.
    clock
        Seconds; for the latency.

    Notes
    -----
    Where too few queries know the outcomes of all models nothing is compared: the artifact is
    refused for that alone.

    "Beyond noise" means that the lower end of the 95 % interval of a paired bootstrap over
    queries is above zero. Areas are quality at equal cost, averaged over all costs. Settings of
    the router are chosen on one half of the queries and measured on the other, both ways: one
    that was chosen where it is measured would flatter the router.
    """
    if arena.support.warning is not None:
        return [Check(name="outcomes", passed=False, finding=arena.support.warning)]
    artifact, frame = arena.series[0], arena.frame
    mine = frame.fair_area(artifact.picks)
    checks = [
        _area(frame, mine, arena.named(name), name)
        for name in (baselines.ZERO, baselines.PROMPT_LENGTH, baselines.KNN)
    ]
    checks.insert(1, _single(frame, artifact, baselines.best_single(frame.rows, arena.train)))
    checks.append(_latency(arena.artifacts[0], arena, limits, clock))
    checks.append(_size(path, limits))
    return checks


def _area(frame: Frame, mine: tuple[float, FloatArray], other: Series, name: str) -> Check:
    value, draws = frame.fair_area(other.picks)
    interval = Interval.of(mine[0] - value, mine[1] - draws)
    passed = bool(interval.low > 0)
    verdict = "above" if passed else "not above"
    return Check(
        name=name,
        passed=passed,
        finding=(
            f"area {mine[0]:.4f} is {verdict} that of {name}, {value:.4f}, beyond noise: "
            f"difference {interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
        ),
        interval=interval,
    )


def _single(frame: Frame, artifact: Series, best: int) -> Check:
    """Better at no more than its cost, or as good for less; either beyond noise."""
    rows, name = frame.rows, f"best single ({frame.rows.models[best]})"
    single_cost, single_quality = rows.cost_usd[:, best], rows.quality[:, best]
    half = np.random.default_rng(frame.seed).permutation(len(rows)) % 2 == 0
    best_finding, best_interval = "", None
    for rule in (_best_within_cost, _cheapest_as_good):
        picks = np.empty(len(rows), np.intp)
        for chosen_on, measured_on in ((half, ~half), (~half, half)):
            setting = rule(frame, artifact, best, chosen_on)
            picks[measured_on] = artifact.picks[setting, measured_on]
        (cost,), (quality,) = (each for each in frame.realised(picks[None]))
        gain = _paired(frame, quality - single_quality)
        share = 100 * float(np.nanmean(cost) / np.nanmean(single_cost))
        saving = _paired(frame, single_cost - cost)
        better = gain.low > 0 and saving.value >= 0
        cheaper = gain.value >= -QUALITY_MARGIN and gain.high >= 0 and saving.low > 0
        finding = (
            f"at {share:.0f} % of the cost of {rows.models[best]} its quality differs by "
            f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        )
        if better or cheaper:
            what = "better" if better else "as good and cheaper beyond noise"
            return Check(name=name, passed=True, finding=f"{finding}: {what}", interval=gain)
        if best_interval is None or gain.value > best_interval.value:
            best_finding, best_interval = finding, gain
    return Check(
        name=name,
        passed=False,
        finding=f"{best_finding}: neither better for its cost nor as good for less, beyond noise",
        interval=best_interval,
    )


def _best_within_cost(frame: Frame, artifact: Series, best: int, on: np.ndarray) -> int:
    cost, quality = _means(frame, artifact, on)
    allowed = cost <= np.nanmean(frame.rows.cost_usd[on, best])
    return int(np.where(allowed, quality, -np.inf).argmax())


def _cheapest_as_good(frame: Frame, artifact: Series, best: int, on: np.ndarray) -> int:
    cost, quality = _means(frame, artifact, on)
    target = min(float(np.nanmean(frame.rows.quality[on, best])), float(quality.max()))
    return int(np.where(quality >= target - 1e-9, cost, np.inf).argmin())


def _means(frame: Frame, artifact: Series, on: np.ndarray) -> tuple[FloatArray, FloatArray]:
    cost, quality = frame.realised(artifact.picks)
    return nan_mean(cost[:, on].T, default=np.nan), nan_mean(quality[:, on].T, default=np.nan)


def _paired(frame: Frame, difference: FloatArray) -> Interval:
    known = ~np.isnan(difference)
    weights = frame.weights[:, known]
    draws = weights @ difference[known] / np.maximum(weights.sum(axis=1), 1)
    return Interval.of(float(difference[known].mean()), draws)


def _latency(
    artifact: RouterArtifact, arena: Arena, limits: Limits, clock: Callable[[], float]
) -> Check:
    """Time single decisions, features included, one after the other."""
    conversations = arena.frame.rows.conversations
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
        passed=passed,
        finding=(
            f"predicting one request takes {p50_ms:.2f} ms (median of {_TIMED}), "
            f"{'within' if passed else 'above'} the limit of {limits.max_p50_ms:g} ms"
        ),
    )


def _size(path: Path, limits: Limits) -> Check:
    size_mb = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) / 1e6
    passed = size_mb <= limits.max_size_mb
    return Check(
        name="size",
        passed=passed,
        finding=(
            f"the artifact has {size_mb:.2f} MB, {'within' if passed else 'above'} the limit of "
            f"{limits.max_size_mb:g} MB"
        ),
    )
