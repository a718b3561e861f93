"""Onboarding a model: which anchors to ask and what that costs, then what the answers tell."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.artifact.placed_model import Onboarded, PlacedModel
from routers.artifact.save import save_onboarded
from routers.base import Newcomer
from routers.errors import DataError
from routers.evaluation.checkers import score
from routers.models import Prices
from routers.numeric import FloatArray
from routers.text.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.training.onboarding.anchors import Anchor, AnchorSet, choose_anchors, peer_quality
from routers.training.onboarding.place import (
    FEWEST_ANCHORS,
    AbilityPrior,
    AnchorOutcomes,
    bootstrap_means,
    mean_quality_interval,
    place_model,
)
from routers.types import FloatMatrix, Predictions

CONFIDENCE = 0.95

_FEWEST_ANSWERED = 0.8
"""Share of the anchors that has to be answered: what fails is rarely what is easy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said to one anchor."""

    text: str
    output_tokens: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The anchors to ask, with all that is known of them before anyone is asked."""

    anchors: tuple[Anchor, ...]
    anchors_sha256: str
    x: FloatMatrix
    base: Predictions
    prior: AbilityPrior

    def __len__(self) -> int:
        return len(self.anchors)

    def cost_usd(
        self, prices: Prices, *, max_output_tokens: int
    ) -> tuple[float | None, float | None]:
        """Return what asking is expected to cost, and what it can cost at most.

        The expectation takes the model to be as verbose as the others on average; the most is
        every answer at its limit. Both are None where a price is unknown.
        """
        expected = most = 0.0
        lengths = np.minimum(self.base.output_tokens.mean(axis=1), max_output_tokens)
        for anchor, length in zip(self.anchors, lengths.tolist(), strict=True):
            likely = prices.cost_usd(
                input_tokens=estimate_tokens(anchor.conversation), output_tokens=length
            )
            worst = prices.cost_usd(
                input_tokens=estimate_tokens_upper(anchor.conversation),
                output_tokens=max_output_tokens,
            )
            if likely is None or worst is None:
                return None, None
            expected, most = expected + likely, most + worst
        return expected, most

    def with_peer(self, model: str, answers: Sequence[Answer | None]) -> "Plan":
        """Return the plan with what one of the artifact's own models made of the anchors."""
        anchors = tuple(
            anchor
            if answer is None
            else replace(anchor, outcomes={**anchor.outcomes, model: _score(anchor, answer)})
            for anchor, answer in zip(self.anchors, answers, strict=True)
        )
        return replace(self, anchors=anchors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardReport:
    """What onboarding found.

    Attributes
    ----------
    quality
        Expected mean quality on the traffic that the router was calibrated on.
    anchor_quality, by_kind
        Mean score on the anchors, all and by kind.
    token_ratio
        Output length over the typical length predicted of the other models.
    peers
        Quality predicted of every model on the same traffic, the new one included.
    rule
        Whether the router's own rule placed it, or its abilities, read off the others' predictions.
    """

    model: str
    path: Path
    version: str
    quality: Interval
    anchor_quality: Interval
    by_kind: dict[str, Interval]
    peers: dict[str, float]
    token_ratio: float
    median_output_tokens: float
    median_duration_s: float
    p90_duration_s: float
    cluster_share: float
    rule: Literal["router", "abilities"]


def make_plan(artifact: RouterArtifact, anchors: AnchorSet, *, n: int) -> Plan:
    """Choose `n` anchors that tell most of a model this artifact does not know.

    Raises
    ------
    DataError
        If there are too few anchors.
    """
    if min(n, len(anchors)) < FEWEST_ANCHORS:
        raise DataError(
            f"{min(n, len(anchors))} anchors say too little of a model; "
            f"give at least {FEWEST_ANCHORS}"
        )
    n_base = len(artifact.models) - len(artifact.onboarded)
    prior = AbilityPrior.of(artifact.calibration.quality_predicted[:, :n_base])
    x = artifact.featurizer.transform([anchor.conversation for anchor in anchors.anchors])
    base = artifact.predict_base(x)
    directions, chances = prior.information(base.quality)
    picked = choose_anchors(x, directions, chances, n=n)
    return Plan(
        anchors=tuple(anchors.anchors[i] for i in picked),
        anchors_sha256=anchors.sha256,
        x=x[picked],
        base=base.rows(picked),
        prior=prior,
    )


def ingest(
    plan: Plan,
    answers: Sequence[Answer | None],
    *,
    artifact: RouterArtifact,
    model: str,
    prices: Prices,
    out: Path,
    created_at: str,
    seed: int = 0,
    trusted: Collection[str] = (),
) -> OnboardReport:
    """Score the answers, place the model and write the artifact that knows it.

    Parameters
    ----------
    answers
        One for each anchor of the plan; None where the model gave none.
    trusted
        Encoders that the artifact may name.

    Raises
    ------
    DataError
        If too few anchors were answered.
    RoutingConfigError, ArtifactError
        If the name is taken, or the artifact cannot be written.
    """
    artifact.check_onboarding(model)
    kept = [i for i, answer in enumerate(answers) if answer is not None]
    if len(kept) < max(FEWEST_ANCHORS, _FEWEST_ANSWERED * len(plan)):
        raise DataError(
            f"{model} answered {len(kept)} of {len(plan)} anchors, too few to tell what it is worth"
        )
    given = [answer for answer in answers if answer is not None]
    anchors = [plan.anchors[i] for i in kept]
    quality = np.asarray(
        [_score(anchor, answer) for anchor, answer in zip(anchors, given, strict=True)]
    )
    tokens = np.asarray([answer.output_tokens for answer in given], np.float64)
    n_base = plan.base.quality.shape[1]
    outcomes = AnchorOutcomes(
        x=plan.x[kept],
        quality=quality,
        output_tokens=tokens,
        peer_quality=peer_quality(anchors, artifact.models[:n_base]),
    )
    base = plan.base.rows(np.asarray(kept, np.intp))
    placed = artifact.router.place(
        Newcomer(x=outcomes.x, quality=quality, output_tokens=tokens, description=None)
    )
    added: Onboarded
    if placed is None:
        added = place_model(model, outcomes, base=base, prior=plan.prior)
    else:
        added = PlacedModel.of(model, artifact.router, placed, queries=outcomes.x)
    rng = np.random.default_rng(seed)
    traffic = Interval(
        **_interval(
            len(artifact.calibration),
            *mean_quality_interval(
                outcomes,
                base=base,
                prior=plan.prior,
                calibration=artifact.calibration,
                rng=rng,
                confidence=CONFIDENCE,
            ),
        )
    )
    durations = np.asarray([answer.duration_s for answer in given])
    overall = bootstrap_means(quality, ["all"] * len(quality), rng=rng, confidence=CONFIDENCE)
    kinds = bootstrap_means(
        quality, [anchor.kind for anchor in anchors], rng=rng, confidence=CONFIDENCE
    )
    by_kind = {kind: Interval(**_interval(*found)) for kind, found in kinds.items()}
    anchor_quality = Interval(**_interval(*overall["all"]))
    measured: dict[str, Any] = {
        "token_ratio": float(np.exp(added.log_token_ratio)),
        "rule": "router" if isinstance(added, PlacedModel) else "abilities",
        "median_output_tokens": float(np.median(tokens)),
        "median_duration_s": float(np.median(durations)),
        "p90_duration_s": float(np.quantile(durations, 0.9)),
        "cluster_share": 0.0 if isinstance(added, PlacedModel) else added.cluster_share,
    }
    save_onboarded(
        out,
        artifact,
        added,
        prices=prices,
        created_at=created_at,
        record={
            "anchors_sha256": plan.anchors_sha256,
            "anchor_ids": [anchor.anchor_id for anchor in anchors],
            "peers": sorted({model for anchor in anchors for model in anchor.outcomes}),
            "kinds": dict(Counter(anchor.kind for anchor in anchors)),
            "quality": [traffic.mean, traffic.low, traffic.high],
            "anchor_quality": [anchor_quality.mean, anchor_quality.low, anchor_quality.high],
            **measured,
        },
    )
    updated = load_artifact(out, trusted=trusted)
    means: FloatArray = updated.calibration.quality_predicted.mean(axis=0, dtype=np.float64)
    return OnboardReport(
        model=model,
        path=out,
        version=updated.version,
        quality=traffic,
        anchor_quality=anchor_quality,
        by_kind=by_kind,
        peers=dict(zip(updated.models, means.tolist(), strict=True)),
        **measured,
    )


def _score(anchor: Anchor, answer: Answer) -> float:
    return score(anchor.checker, anchor.expected, answer.text)


def _interval(n: int, mean: float, low: float, high: float) -> dict[str, Any]:
    return {"n": n, "mean": mean, "low": low, "high": high}
