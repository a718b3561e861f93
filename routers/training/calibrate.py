"""Refit what an artifact promises on fresh outcomes: quality, knob, thresholds, guarantees."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifact.artifact import RouterArtifact
from routers.artifact.calibration import CalibrationRows
from routers.artifact.load import load_artifact
from routers.artifact.save import save_recalibrated
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.decision.pairwise import strong_scores
from routers.errors import DataError
from routers.evaluation.crossfit import prompt_folds
from routers.evaluation.metrics import brier_score, expected_calibration_error
from routers.numeric import FloatArray
from routers.training.calibrate_workflow import refit_workflow_knob
from routers.training.correct import fit_correction, method_for
from routers.training.drop import choose_drop
from routers.training.guarantee import Guarantee, Method, guarantee
from routers.types import FloatMatrix, Predictions

_FOLDS = 5

SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairGoal:
    """Two models between which a threshold is to be found.

    Attributes
    ----------
    strong_share
        Wanted share of requests for the strong model.
    max_drop
        How far mean quality may drop, as a share of the strong model's: Hybrid LLM's point rule.
    max_quality_drop, confidence, method
        What is to be promised; nothing where the drop is None.
    """

    strong: str
    weak: str
    strong_share: float | None = None
    max_drop: float | None = None
    max_quality_drop: float | None = None
    confidence: float = 0.9
    method: Method | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What a calibration found; `version` is None where nothing was written.

    Nothing is written where a promise was asked for and none can be given.
    """

    version: str | None
    record: dict[str, Any]


def calibrate(
    artifact_path: Path,
    data: Sequence[Path],
    out: Path,
    *,
    created_at: str,
    answers: Sequence[Path] = (),
    pair: PairGoal | None = None,
    seed: int = 0,
    trusted: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> CalibrationReport:
    """Recalibrate an artifact on outcomes that it was not trained on, and write it to `out`.

    Parameters
    ----------
    created_at
        For the manifest and the date of a promise.
    answers
        What the models answered, where it does not stand beside the outcomes: the knob of a
        workflow is refitted on it.
    pair
        Find thresholds between two models, with a promise where one is asked for.
    trusted
        Encoders that the artifact may name.

    Raises
    ------
    ArtifactError, DataError, RoutingConfigError
        If the artifact, the data or the models cannot be used.

    Notes
    -----
    Errors are reported on rows that the correction was not fitted on (5 folds by prompt), and
    the correction is left out where it does not lower the held-out Brier score. The knob's rows
    hold cross-fitted corrections. A promise is made on a half of the prompts that the
    correction never sees, as its score must not know the outcomes it is tested on.
    """
    artifact = load_artifact(artifact_path, trusted=trusted)
    progress("reading outcomes")
    table = read_outcomes(data)
    quality = _aligned(artifact, table)
    columns = None if pair is None else _columns(artifact, pair)
    progress(f"predicting {len(table)} queries")
    raw = _uncorrected(artifact, table)

    folds = prompt_folds(table.conversations, _FOLDS, np.random.default_rng(seed))
    promised = np.zeros(len(table), bool)
    if pair is not None and pair.max_quality_drop is not None:
        halves = prompt_folds(table.conversations, 2, np.random.default_rng(seed + 1))
        promised = halves == 1
    progress("fitting corrections")
    held_out = raw.quality.copy()
    for fold in range(_FOLDS):
        train, test = (folds != fold) & ~promised, folds == fold
        held_out[test] = fit_correction(raw.quality[train], quality[train]).quality(
            raw.quality[test]
        )
    before, after = _errors(raw.quality, quality), _errors(held_out, quality)
    correction = None
    predictions = raw
    if after["brier"] < before["brier"]:
        correction = fit_correction(raw.quality[~promised], quality[~promised])
        predictions = dataclasses.replace(raw, quality=held_out)
    known = (~np.isnan(quality[~promised])).sum(axis=0)
    record: dict[str, Any] = {
        "data": [
            {"file": file.name, "sha256": file.sha256, "rows": file.n_rows} for file in table.files
        ],
        "base_version": artifact.version,
        "n_queries": len(table),
        "corrected": correction is not None,
        "methods": {
            model: method_for(int(n)) for model, n in zip(artifact.models, known, strict=True)
        },
        "before": before,
        "after": after,
        "per_model": _per_model(artifact.models, raw.quality, held_out, quality),
    }
    if pair is not None and columns is not None:
        strong, weak = columns
        score = strong_scores(predictions, strong=strong, weak=weak)
        record["thresholds"] = _thresholds(score, pair)
        if pair.max_drop is not None:
            halves = prompt_folds(table.conversations, 2, np.random.default_rng(seed + 1))
            record["drop"] = _drop(
                score,
                quality[:, [strong, weak]],
                pair,
                limit=pair.max_drop,
                half=halves == 1,
                date=created_at[:10],
            )
        if pair.max_quality_drop is not None:
            final = raw if correction is None else correction.apply(raw)
            usable = promised & ~np.isnan(quality[:, [strong, weak]]).any(axis=1)
            found = _promise(
                strong_scores(final, strong=strong, weak=weak)[usable],
                quality[usable][:, [strong, weak]],
                pair,
                date=created_at[:10],
            )
            if found is None:
                record["refused"] = _refusal(pair, int(usable.sum()))
                return CalibrationReport(version=None, record=record)
            record["guarantee"] = found.to_dict()
    rows = CalibrationRows.collect(
        predictions,
        input_tokens=table.input_tokens,
        quality=quality,
        rng=np.random.default_rng(seed),
    )
    refitted = refit_workflow_knob(
        artifact,
        table,
        data,
        answers,
        predictions=predictions,
        calibration=rows,
        seed=seed,
        progress=progress,
    )
    if refitted is not None:
        record["workflow_knob"] = refitted.record
    save_recalibrated(
        out,
        artifact,
        correction=correction,
        calibration=rows,
        workflow_knob=None if refitted is None else refitted.knob,
        record=record,
        created_at=created_at,
    )
    return CalibrationReport(version=load_artifact(out, trusted=trusted).version, record=record)


def _aligned(artifact: RouterArtifact, table: OutcomeTable) -> FloatMatrix:
    """Return quality with the artifact's columns; NaN for models that the data lacks."""
    quality = np.full((len(table), len(artifact.models)), np.nan, np.float32)
    for column, model in enumerate(artifact.models):
        if model in table.models:
            quality[:, column] = table.quality[:, table.models.index(model)]
    if np.isnan(quality).all():
        raise DataError("the data has no outcome of any model that the artifact knows")
    return quality


def _uncorrected(artifact: RouterArtifact, table: OutcomeTable) -> Predictions:
    predictions = artifact.predict_conversations(table.conversations)
    if artifact.correction is None:
        return predictions
    # An earlier correction is replaced, not corrected.
    plain = RouterArtifact(
        manifest=artifact.manifest,
        router=artifact.router,
        featurizer=artifact.featurizer,
        calibration=artifact.calibration,
        prices=artifact.prices,
        knob=artifact.knob,
        onboarded=artifact.onboarded,
    )
    return plain.predict_conversations(table.conversations)


def _columns(artifact: RouterArtifact, pair: PairGoal) -> tuple[int, int]:
    strong, weak = artifact.column(pair.strong), artifact.column(pair.weak)
    if strong == weak:
        raise DataError("the strong and the weak model must be different ones")
    return strong, weak


def _errors(predicted: FloatMatrix, quality: FloatMatrix) -> dict[str, float]:
    return {
        "ece": expected_calibration_error(predicted, quality),
        "brier": brier_score(predicted, quality),
    }


def _per_model(
    models: Sequence[str], before: FloatMatrix, after: FloatMatrix, quality: FloatMatrix
) -> dict[str, dict[str, Any]]:
    return {
        model: {
            "n": int((~np.isnan(quality[:, i])).sum()),
            "before": _errors(before[:, i], quality[:, i]),
            "after": _errors(after[:, i], quality[:, i]),
        }
        for i, model in enumerate(models)
        if not np.isnan(quality[:, i]).all()
    }


def _thresholds(score: FloatArray, pair: PairGoal) -> dict[str, Any]:
    """Return thresholds by share: the strong model takes scores at or above its threshold."""
    found: dict[str, Any] = {
        "strong": pair.strong,
        "weak": pair.weak,
        "by_strong_share": [[share, threshold_for(score, share)] for share in SHARES],
    }
    if pair.strong_share is not None:
        found["strong_share"] = pair.strong_share
        found["threshold"] = threshold_for(score, pair.strong_share)
    return found


def _drop(
    score: FloatArray,
    quality: FloatMatrix,
    pair: PairGoal,
    *,
    limit: float,
    half: NDArray[np.bool_],
    date: str,
) -> dict[str, Any]:
    both = ~np.isnan(quality).any(axis=1)
    if not both.any():
        raise DataError(
            f"no query tells the quality of both {pair.strong} and {pair.weak}, so that nothing "
            "says what a threshold between them costs; add outcomes"
        )
    return choose_drop(
        score[both],
        quality[both, 0],
        quality[both, 1],
        strong=pair.strong,
        weak=pair.weak,
        limit=limit,
        half=half[both],
        date=date,
    ).to_dict()


def threshold_for(score: NDArray[np.floating], share: float) -> float:
    """Return the threshold that gives the strong model this share of such requests.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """
    return float(np.quantile(score, 1 - share))


def _promise(
    score: FloatArray, quality: FloatMatrix, pair: PairGoal, *, date: str
) -> Guarantee | None:
    if pair.max_quality_drop is None or len(score) == 0:
        return None
    return guarantee(
        score,
        quality[:, 0],
        quality[:, 1],
        strong=pair.strong,
        weak=pair.weak,
        limit=pair.max_quality_drop,
        confidence=pair.confidence,
        method=pair.method,
        date=date,
    )


def _refusal(pair: PairGoal, n: int) -> str:
    return (
        f"no threshold between {pair.strong} and {pair.weak} can be promised to lose at most "
        f"{pair.max_quality_drop:g} (confidence {pair.confidence:g}) on {n} held-out requests: "
        f"call {pair.strong}, allow more, or bring more outcomes"
    )
