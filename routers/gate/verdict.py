"""Whether an artifact may be shipped: it has to beat what costs nothing to run."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from routers.evaluation import baselines
from routers.evaluation.bootstrap import Interval, detectable
from routers.evaluation.equal_cost import with_cheapest
from routers.evaluation.frame import NEGLIGIBLE, Frame, Rows, Series
from routers.gate.check import Check, Limits, Verdict, check_latency, check_size
from routers.gate.trial import Trial
from routers.numeric import FloatArray, nan_mean

QUALITY_MARGIN = 0.005
"""How far below another a mean quality, or an area, still counts as the same."""

SINGLE_CHOICE = "single choice"
"""What the artifact's router chooses alone, any single model, and mixtures of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All checks, what they come to, and why in a sentence."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]


Area = tuple[float, FloatArray]
"""An area under a curve, and its draws."""


def judge(
    trials: Sequence[Trial],
    path: Path,
    *,
    limits: Limits,
    clock: Callable[[], float] = time.perf_counter,
) -> Judgement:
    """Hold an artifact against every baseline, its latency and its size.

    Parameters
    ----------
    trials
        Of one artifact on the same rows, each with other folds.
    path
        The artifact's folder.
    clock
        Seconds; for the latency.
    """
    artifact = trials[0].artifact
    if artifact is None or trials[0].candidate is None:
        return weigh(trials)
    timed = check_latency(artifact, trials[0].frame.rows, limits, clock)
    return weigh(trials, (timed, check_size(path, limits)))


def weigh(trials: Sequence[Trial], others: Sequence[Check] = ()) -> Judgement:
    """Hold what was predicted against every baseline.

    Parameters
    ----------
    trials
        Of one artifact or recipe on the same rows, each with other folds.
    others
        Further checks that count.

    Notes
    -----
    Areas are quality at equal cost, averaged over all costs. Settings are chosen on one half of the
    queries and measured on the other, both ways: one that was chosen where it is measured would
    flatter the router. "Beyond noise" means that the 95 % interval of a paired bootstrap over
    queries lies on one side. Trials are averaged query by query under the same draws, so that an
    interval is over queries, however many trials there are; their number takes out what depends on
    the folds.

    What knows nothing of the query (mixing single models, the artifact's own mix at random, the
    prompt's length) has to be beaten beyond noise. Neighbours have to be matched: the interval ends
    above `QUALITY_MARGIN` below them. A check fails where the interval is on the wrong side, and
    where it is on neither nothing is decided. One failure refuses the artifact, and only an
    artifact that passes everything passes.
    """
    first = trials[0]
    candidates = [trial.candidate for trial in trials if trial.candidate is not None]
    if not candidates:
        finding = first.support.warning or ""
        check = Check(name="outcomes", verdict=Verdict.NOT_DECIDED, finding=finding)
        reason = "the outcomes cannot tell how routers compare"
        return Judgement(verdict=Verdict.NOT_DECIDED, reason=reason, checks=(check,))
    areas = pooled_areas(trials)
    mine = areas[baselines.CANDIDATE]
    settings = [_settings(trial) for trial in trials if trial.candidate is not None]
    checks = [
        *_alone(mine, areas),
        _above(mine, areas[baselines.ZERO], baselines.ZERO),
        *(
            [_above(mine, areas[baselines.SHUFFLE], baselines.SHUFFLE)]
            if baselines.SHUFFLE in areas
            else []
        ),
        _single(first.frame, settings, baselines.best_single(first.frame.rows, None)),
        _above(mine, areas[baselines.PROMPT_LENGTH], baselines.PROMPT_LENGTH),
        _matched(mine, areas[baselines.KNN], baselines.KNN),
        _matched(mine, areas[baselines.GUARDED_KNN], baselines.GUARDED_KNN),
        *others,
    ]
    return _conclude(checks, areas)


def pooled_areas(trials: Sequence[Trial]) -> dict[str, Area]:
    """Return the areas of the candidate, its shuffle, the baselines and the label, by name.

    Each is the mean over trials. The label is missing where there is one only.
    """
    each = [_areas_of(trial) for trial in trials]
    return {
        name: (
            float(np.mean([areas[name][0] for areas in each])),
            np.mean([areas[name][1] for areas in each], axis=0),
        )
        for name in each[0]
    }


def _areas_of(trial: Trial) -> dict[str, Area]:
    frame, candidate = trial.frame, trial.candidate
    assert candidate is not None  # noqa: S101  (the caller has looked)
    named = (baselines.ZERO, baselines.PROMPT_LENGTH, baselines.KNN, baselines.GUARDED_KNN)
    areas = {name: frame.fair_area(trial.named(name).picks) for name in named}
    if trial.several is None:
        areas[baselines.CANDIDATE] = frame.fair_area(candidate.picks)
        areas[baselines.SHUFFLE] = frame.fair_area_of(*shuffle(frame.rows, candidate))
    else:
        areas[baselines.CANDIDATE] = frame.fair_area_of(*with_cheapest(frame, *trial.several))
        areas[SINGLE_CHOICE] = frame.fair_area(
            np.concatenate([candidate.picks, frame.every_single])
        )
    if trial.label is not None:
        areas[baselines.LABEL] = frame.fair_area(trial.label.picks)
    return areas


def _settings(trial: Trial) -> tuple[FloatArray, FloatArray]:
    """Return what a candidate's settings cost and were worth, (n_settings, n_queries) each."""
    if trial.several is not None:
        return trial.several
    assert trial.candidate is not None  # noqa: S101  (the caller has looked)
    return trial.frame.realised(trial.candidate.picks)


def _alone(mine: Area, areas: Mapping[str, Area]) -> list[Check]:
    """Hold a workflow against single choice, that of its own router included."""
    if SINGLE_CHOICE not in areas:
        return []
    check = _above(mine, areas[SINGLE_CHOICE], SINGLE_CHOICE)
    ships = "the workflow" if check.verdict is Verdict.PASSED else SINGLE_CHOICE
    return [replace(check, finding=f"{check.finding}: {ships} ships")]


def shuffle(rows: Rows, candidate: Series) -> tuple[FloatArray, FloatArray]:
    """Return cost and quality where a router's own mix of models is dealt out at random.

    The exact expectation on every query, (n_settings, n_queries) each: no draw is needed. What is
    left of a router's advantage over it comes from knowing *which* query to send where.

    References
    ----------
    BerriAI/litellm-docs, pull request 854 (2026): the cost-matched shuffled control.
    """
    shares = np.stack(
        [(candidate.picks == column).mean(axis=1) for column in range(len(rows.models))], axis=1
    )
    return shares @ rows.cost_usd.T, _mixed(shares, rows.quality)


def _mixed(shares: FloatArray, quality: FloatArray) -> FloatArray:
    """Average the known outcomes of every query by the shares; NaN where none is known."""
    known = ~np.isnan(quality)
    weight = shares @ known.T
    total = shares @ np.where(known, quality, 0.0).T
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


def _conclude(checks: Iterable[Check], areas: dict[str, Area]) -> Judgement:
    found = tuple(checks)
    failed = [check.name for check in found if check.verdict is Verdict.REFUSED]
    undecided = [check.name for check in found if check.verdict is Verdict.NOT_DECIDED]
    if failed:
        reason = f"it fails {', '.join(failed)}"
        return Judgement(verdict=Verdict.REFUSED, reason=reason, checks=found)
    if not undecided:
        reason = "it is beyond noise above all that knows nothing of the query, and as good as kNN"
        if SINGLE_CHOICE in areas:
            reason = f"its workflow is beyond noise above {SINGLE_CHOICE} and ships"
        return Judgement(verdict=Verdict.PASSED, reason=reason, checks=found)
    if any(check.name == SINGLE_CHOICE and check.verdict is not Verdict.PASSED for check in found):
        reason = f"its workflow is not shown to beat {SINGLE_CHOICE}: leave it out of the recipe"
        return Judgement(verdict=Verdict.NOT_DECIDED, reason=reason, checks=found)
    zero = areas[baselines.ZERO]
    winners = [
        name
        for name in (baselines.PROMPT_LENGTH, baselines.KNN, baselines.GUARDED_KNN)
        if _above(areas[name], zero, name).verdict is Verdict.PASSED
    ]
    against = next(check for check in found if check.name == baselines.ZERO)
    if against.verdict is Verdict.PASSED:
        reason = f"more queries would have to decide on {', '.join(undecided)}"
    elif winners:
        reason = (
            f"it is not shown to beat mixing single models, which {', '.join(winners)} "
            f"{'does' if len(winners) == 1 else 'do'} here: bring more queries, or train otherwise"
        )
    else:
        reason = "routing has nothing to win here: no baseline beats mixing single models either"
        interval = against.interval
        if interval and interval.low > -QUALITY_MARGIN and interval.high < QUALITY_MARGIN:
            reason += ", and the artifact abstains: it behaves as single models or their mixture"
    return Judgement(verdict=Verdict.NOT_DECIDED, reason=reason, checks=found)


def _above(mine: Area, other: Area, name: str) -> Check:
    """Whether an area is above another one beyond noise, and by more than nothing."""
    interval = Interval.of(mine[0] - other[0], mine[1] - other[1])
    verdict, words = Verdict.NOT_DECIDED, "not above or below"
    if abs(interval.value) < NEGLIGIBLE:
        words = f"within {NEGLIGIBLE:g} of, so not above or below"
    elif interval.low > 0:
        verdict, words = Verdict.PASSED, "above"
    elif interval.high < 0:
        verdict, words = Verdict.REFUSED, "below"
    return _area_check(name, verdict, words, mine, other, interval)


def _matched(mine: Area, other: Area, name: str) -> Check:
    """Whether an area is above another one, or as good: hardly below even in the worst case."""
    interval = Interval.of(mine[0] - other[0], mine[1] - other[1])
    verdict, words = Verdict.NOT_DECIDED, "not above or below"
    if interval.low > 0:
        verdict, words = Verdict.PASSED, "above"
    elif interval.low > -QUALITY_MARGIN:
        verdict, words = Verdict.PASSED, f"at most {QUALITY_MARGIN:g} below"
    elif interval.high < 0:
        verdict, words = Verdict.REFUSED, "below"
    return _area_check(name, verdict, words, mine, other, interval)


def _area_check(  # noqa: PLR0917
    name: str, verdict: Verdict, words: str, mine: Area, other: Area, interval: Interval
) -> Check:
    seen = detectable(mine[1] - other[1])
    return Check(
        name=name,
        verdict=verdict,
        finding=(
            f"area {mine[0]:.4f} is {words} that of {name}, {other[0]:.4f}, beyond noise: "
            f"difference {_told(interval)}; {seen:.4f} would have been seen"
        ),
        interval=interval,
        detectable=seen,
    )


def _single(frame: Frame, candidates: Sequence[tuple[FloatArray, FloatArray]], best: int) -> Check:
    """Better at no more than its cost, or as good for less; either beyond noise.

    Of several candidates on the same queries the means, query by query.
    """
    rows, name = frame.rows, f"best single ({frame.rows.models[best]})"
    single_cost, single_quality = rows.cost_usd[:, best], rows.quality[:, best]
    half = np.random.default_rng(frame.seed).permutation(len(rows)) % 2 == 0
    findings: list[tuple[Interval, float, str]] = []
    for rule in (_best_within_cost, _cheapest_as_good):
        realised = np.empty((len(candidates), 2, len(rows)))
        for chosen_on, measured_on in ((half, ~half), (~half, half)):
            for found, each in zip(realised, candidates, strict=True):
                setting = rule(frame, each, best, chosen_on)
                found[:, measured_on] = [values[setting, measured_on] for values in each]
        cost, quality = realised.mean(axis=0)
        gain, seen = _paired(frame, quality - single_quality)
        share = 100 * float(np.nanmean(cost) / np.nanmean(single_cost))
        saving, _ = _paired(frame, single_cost - cost)
        better = gain.low > 0 and saving.value >= 0
        cheaper = gain.value >= -QUALITY_MARGIN and gain.high >= 0 and saving.low > 0
        finding = (
            f"at {share:.0f} % of the cost of {rows.models[best]} its quality differs by "
            f"{_told(gain)}"
        )
        findings.append((gain, seen, finding))
        if better or cheaper:
            what = "better" if better else "as good and cheaper beyond noise"
            return Check(
                name=name,
                verdict=Verdict.PASSED,
                finding=f"{finding}: {what}",
                interval=gain,
                detectable=seen,
            )
    gain, seen, finding = max(findings, key=lambda each: each[0].value)
    below = gain.high < -QUALITY_MARGIN
    why = "its quality is never reached" if below else "neither better nor as good for less"
    return Check(
        name=name,
        verdict=Verdict.REFUSED if below else Verdict.NOT_DECIDED,
        finding=f"{finding}: {why}, beyond noise; {seen:.4f} would have been seen",
        interval=gain,
        detectable=seen,
    )


_Settings = tuple[FloatArray, FloatArray]


def _best_within_cost(frame: Frame, settings: _Settings, best: int, on: np.ndarray) -> int:
    cost, quality = _means(settings, on)
    allowed = cost <= np.nanmean(frame.rows.cost_usd[on, best])
    return int(np.where(allowed, quality, -np.inf).argmax())


def _cheapest_as_good(frame: Frame, settings: _Settings, best: int, on: np.ndarray) -> int:
    cost, quality = _means(settings, on)
    target = min(float(np.nanmean(frame.rows.quality[on, best])), float(quality.max()))
    return int(np.where(quality >= target - 1e-9, cost, np.inf).argmin())


def _means(settings: _Settings, on: np.ndarray) -> tuple[FloatArray, FloatArray]:
    cost, quality = settings
    return nan_mean(cost[:, on].T, default=np.nan), nan_mean(quality[:, on].T, default=np.nan)


def _paired(frame: Frame, difference: FloatArray) -> tuple[Interval, float]:
    """Return a mean difference with its interval, and what would have been seen of it."""
    known = ~np.isnan(difference)
    weights = frame.weights[:, known]
    draws = weights @ difference[known] / np.maximum(weights.sum(axis=1), 1)
    return Interval.of(float(difference[known].mean()), draws), detectable(draws)


def _told(interval: Interval) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
