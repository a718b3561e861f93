"""Onboarding without asking anybody: from a description, and from outcomes that are at hand."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.artifact.placed_model import Onboarded, PlacedModel
from routers.artifact.save import save_onboarded
from routers.base import Newcomer
from routers.data.dataset import OutcomeTable
from routers.errors import DataError
from routers.models import Prices
from routers.numeric import FloatArray
from routers.training.onboarding.anchors import SHIPPED_ANCHORS, read_anchors
from routers.training.onboarding.place import AbilityPrior, AnchorOutcomes, place_model
from routers.types import Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReport:
    """What onboarding made of a description and recorded outcomes.

    Attributes
    ----------
    n_edges
        Outcomes of the model that were read.
    quality, peers
        Mean quality predicted on the traffic that the router was calibrated on: of the model, and
        of every model.
    rule
        `router` or `abilities`, as in `OnboardReport`.
    """

    model: str
    path: Path
    version: str
    n_edges: int
    quality: float
    peers: dict[str, float]
    rule: str


def onboard_recorded(
    artifact: RouterArtifact,
    model: str,
    *,
    description: str | None,
    edges: OutcomeTable | None,
    prices: Prices,
    out: Path,
    created_at: str,
    trusted: Collection[str] = (),
) -> RecordedReport:
    """Place a model by what is known of it, and write the artifact that predicts it.

    A router that has a rule for further models places it by that; of others, outcomes are read
    like answers to anchors.

    Parameters
    ----------
    description
        What is written of the model, for routers that were trained with such texts.
    edges
        Outcomes of the model, and if you like of the router's own models on the same prompts.

    Raises
    ------
    DataError
        If neither tells anything, or the router can do nothing with what there is.
    """
    artifact.check_onboarding(model)
    router, featurizer = artifact.router, artifact.featurizer
    if description is not None and not router.reads_descriptions:
        raise DataError(
            f"a {router.kind!r} router reads no descriptions: give outcomes of {model} with "
            "--edges, or let onboard ask it"
        )
    told = None
    if description is not None:
        told = featurizer.embed([Conversation.of(description)])[0]
    rows, column = _rows(edges, model)
    if not len(rows) and description is None:
        raise DataError(f"nothing is known of {model}: give --description or --edges")
    prompts = [] if edges is None else [edges.conversations[i] for i in rows]
    asked = [anchor.conversation for anchor in read_anchors(SHIPPED_ANCHORS).anchors]
    # Some queries to tell by how its predictions follow from those of the others.
    x = featurizer.transform([*prompts, *asked])
    quality = np.empty(0) if edges is None else edges.quality[rows, column].astype(np.float64)
    tokens = np.empty(0) if edges is None else edges.output_tokens[rows, column].astype(np.float64)
    newcomer = Newcomer(x=x[: len(rows)], quality=quality, output_tokens=tokens, description=told)
    placed = router.place(newcomer)
    added: Onboarded
    if placed is None:
        added = _by_ability(artifact, model, newcomer, edges, rows)
    else:
        added = PlacedModel.of(model, router, placed, queries=x)
    rule = "router" if isinstance(added, PlacedModel) else "abilities"
    save_onboarded(
        out,
        artifact,
        added,
        prices=prices,
        created_at=created_at,
        record={"description": description, "n_edges": len(rows), "rule": rule},
    )
    updated = load_artifact(out, trusted=trusted)
    means: FloatArray = updated.calibration.quality_predicted.mean(axis=0, dtype=np.float64)
    peers = dict(zip(updated.models, means.tolist(), strict=True))
    return RecordedReport(
        model=model,
        path=out,
        version=updated.version,
        n_edges=len(rows),
        quality=peers[model],
        peers=peers,
        rule=rule,
    )


def _rows(edges: OutcomeTable | None, model: str) -> tuple[np.ndarray, int]:
    """Return which rows have an outcome of the model, and its column."""
    if edges is None:
        return np.empty(0, np.intp), 0
    if model not in edges.models:
        raise DataError(
            f"the outcomes are of {', '.join(edges.models)}, and none of them of {model}; name the "
            f"column q:{model}, or give --name"
        )
    column = edges.models.index(model)
    return np.flatnonzero(~np.isnan(edges.quality[:, column])), column


def _by_ability(
    artifact: RouterArtifact,
    model: str,
    newcomer: Newcomer,
    edges: OutcomeTable | None,
    rows: np.ndarray,
) -> Onboarded:
    base_models = artifact.router.models_
    peers = np.full((len(rows), len(base_models)), np.nan)
    if edges is not None:
        for at, name in enumerate(base_models):
            if name in edges.models:
                peers[:, at] = edges.quality[rows, edges.models.index(name)]
    n_base = len(base_models)
    prior = AbilityPrior.of(artifact.calibration.quality_predicted[:, :n_base])
    outcomes = AnchorOutcomes(
        x=newcomer.x,
        quality=newcomer.quality,
        output_tokens=newcomer.output_tokens,
        peer_quality=None if np.isnan(peers).all() else peers,
    )
    return place_model(model, outcomes, base=artifact.predict_base(newcomer.x), prior=prior)
