"""A trained router in memory, with everything that serving needs."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any

from routers.artifact.calibration import CalibrationRows
from routers.artifact.correction import Correction
from routers.artifact.evidence import Evidence, evidence_of_models
from routers.artifact.onboarded_model import join
from routers.artifact.placed_model import Onboarded
from routers.artifact.workflow_knob import WorkflowKnob
from routers.base import Familiarity, Router
from routers.decision.knob import KnobCurve
from routers.errors import RoutingConfigError
from routers.features.featurizer import Featurizer
from routers.models import ModelSpec, Prices, PriceTable
from routers.probe import Probe, Stage
from routers.request.layout import Description
from routers.types import Conversation, FloatMatrix, Predictions
from routers.workflows.base import Workflow

_CURVES = 256
_TOLD, _TOLD_OF_MANY = 20, 8
"""Up to how many models an error lists, and how many of more than that."""


class RouterArtifact:
    """A fitted router with everything that serving needs; safe to share between threads.

    Attributes
    ----------
    version
        Twelve hexadecimal digits that name this training result; the same data, recipe and seed
        give the same version.
    manifest
        The manifest as plain values.
    models
        Names of the columns of every prediction.
    prices
        What the models cost when the router was trained.
    featurizer
        Makes the rows that `predict` takes.
    knob
        The curve of all models at training prices.
    router
        What was fitted; it knows nothing of onboarded models.
    calibration
        The cross-fitted rows behind the knob; columns as in `models`.
    onboarded
        Models that joined after training; theirs are the last columns.
    correction
        Of predicted quality, learned from fresh outcomes; None where there is none.
    workflow
        How to come to an answer by several calls, fitted with the router; None for single choice.
    workflow_knob
        What a position of the knob means for it; None where the knob does not steer it.
    """

    def __init__(
        self,
        *,
        manifest: Mapping[str, Any],
        router: Router,
        featurizer: Featurizer,
        calibration: CalibrationRows,
        prices: PriceTable,
        knob: KnobCurve,
        onboarded: Sequence[Onboarded] = (),
        correction: Correction | None = None,
        workflow: Workflow | None = None,
        workflow_knob: WorkflowKnob | None = None,
    ) -> None:
        self.manifest = manifest
        self.version: str = manifest["digest"][:12]
        self.onboarded = tuple(onboarded)
        self.correction = correction
        self.workflow = workflow
        self.workflow_knob = workflow_knob
        self.models: tuple[str, ...] = (*router.models_, *(each.model for each in onboarded))
        self.prices = prices
        self.featurizer = featurizer
        self.knob = knob
        self.router = router
        self.calibration = calibration
        self._columns = {model: column for column, model in enumerate(self.models)}
        self._evidence = evidence_of_models(
            manifest, realised=calibration.quality_realised, n_onboarded=len(self.onboarded)
        )
        # Of the calibration alone: an artifact that refers to itself goes only with the garbage.
        self._curve = lru_cache(maxsize=_CURVES)(partial(_fit_curve, calibration))

    def predict(self, x: FloatMatrix) -> Predictions:
        """Predict every model on feature rows; columns as in `models`."""
        predictions = predict_all(self.router, self.onboarded, x)
        return predictions if self.correction is None else self.correction.apply(predictions)

    def predict_base(self, x: FloatMatrix) -> Predictions:
        """Predict the models that the router was trained on, the first columns of `predict`."""
        return self.router.predict(x)

    def predict_conversations(
        self, conversations: Sequence[Conversation], *, probe: Probe | None = None
    ) -> Predictions:
        """Predict every model on conversations; columns as in `models`.

        Parameters
        ----------
        probe
            Is told the time of each stage, and the features.
        """
        x = self.featurizer.transform(conversations, probe=probe)
        if probe is not None:
            probe.x = x
        predictions = self.predict(x)
        if probe is not None:
            probe.lap(Stage.SCORE)
        return predictions

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like the training data; None where that is unknown."""
        return self.router.familiarity(x)

    def describe(self, conversation: Conversation) -> Description | None:
        """Return what is believed of a request; None where the features hold no description."""
        columns = self.featurizer.columns().get("request")
        if columns is None:
            return None
        return Description.read(self.featurizer.transform([conversation])[:, columns])

    def column(self, model: str) -> int:
        """Return the column of `model`.

        Raises
        ------
        RoutingConfigError
            If the artifact does not know it; the message lists what it knows.
        """
        try:
            return self._columns[model]
        except KeyError:
            raise RoutingConfigError(
                f"the artifact predicts no model {model!r}; it knows: {self.listed_models(model)}"
            ) from None

    def listed_models(self, wanted: str) -> str:
        """Return the models that it knows as a list to read: of many, those most like `wanted`."""
        if len(self.models) <= _TOLD:
            return ", ".join(self.models)
        bare = {model.rpartition("/")[2].casefold(): model for model in self.models}
        near = get_close_matches(
            wanted.rpartition("/")[2].casefold(), bare, n=_TOLD_OF_MANY, cutoff=0.3
        )
        like = ", ".join(bare[each] for each in near) or ", ".join(self.models[:_TOLD_OF_MANY])
        return f"{like}, ... ({len(self.models)} in all; its manifest lists them)"

    def evidence(self, model: str) -> Evidence:
        """Return what the predictions of `model` rest on.

        Raises
        ------
        RoutingConfigError
            If the artifact does not know it.
        """
        return self._evidence[self.column(model)]

    def check_onboarding(self, model: str) -> None:
        """Refuse a name that is taken by a model of the router itself.

        Raises
        ------
        RoutingConfigError
            If so.
        """
        if model not in self.router.models_:
            return
        if self.evidence(model) is Evidence.PRIOR:
            raise RoutingConfigError(
                f"the router knows {model!r} by published results already; onboard it under "
                "another name, and let predicted_as name that"
            )
        raise RoutingConfigError(
            f"the router was trained on {model!r}, which tells more than anchors can; "
            "onboard it under another name, or fit again"
        )

    def dear_usd(self, candidates: Sequence[ModelSpec]) -> float:
        """Return what answers of the dearest candidate usually cost: the unit of `workflow_knob`.

        Raises
        ------
        RoutingConfigError
            If a candidate is predicted as a model that the artifact does not know.
        """
        columns = [self.column(spec.predicted_as) for spec in candidates]
        return self.calibration.dear_usd(columns, [spec.prices for spec in candidates])

    def knob_curve(self, candidates: Sequence[ModelSpec]) -> KnobCurve:
        """Return the calibrated knob of these candidates at their current prices.

        Takes some milliseconds when a combination is first asked for; the last
        256 combinations are remembered.

        Raises
        ------
        RoutingConfigError
            If a candidate is predicted as a model that the artifact does not know.
        """
        key = {(self.column(spec.predicted_as), spec.prices): None for spec in candidates}
        return self._curve(tuple(sorted(key, key=repr)))


def _fit_curve(calibration: CalibrationRows, key: tuple[tuple[int, Prices], ...]) -> KnobCurve:
    return calibration.curve([column for column, _ in key], [prices for _, prices in key])


def predict_all(router: Router, onboarded: Sequence[Onboarded], x: FloatMatrix) -> Predictions:
    """Predict what `router` was trained on, then the onboarded models, on feature rows."""
    base = router.predict(x)
    if not onboarded:
        return base
    return join(base, [each.predict(x, base) for each in onboarded])
