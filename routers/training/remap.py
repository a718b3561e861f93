"""Another mapping from categories to experts, for a router that stays as it was fitted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.calibration import CalibrationRows, cost_usd
from routers.artifact.load import load_artifact
from routers.artifact.save import save_remapped
from routers.data.facts import read_facts
from routers.data.prices import read_prices
from routers.errors import RoutingConfigError
from routers.models import Prices
from routers.strategies.composition import Budget, CategoryRouter, Facts, Identified
from routers.types import FloatMatrix

ASSUMED_INPUT_TOKENS = 200.0
"""Of a prompt, where no row tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """Who answers what; `version` is None where nothing was written."""

    categories: list[dict[str, Any]]
    totals: dict[str, float]
    version: str | None


def remap(
    path: Path,
    out: Path | None,
    *,
    experts: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    catalogue: Path | None = None,
    prices_file: Path | None = None,
    created_at: str,
    trusted: Collection[str] = (),
) -> MapReport:
    """Map the categories of an artifact to experts anew, without fitting anything.

    Parameters
    ----------
    out
        Where to write it; nothing is written without.
    experts
        By hand, by category.
    budget
        What the experts may take; an empty one limits nothing. With neither this nor `experts` the
        mapping stays as it is.
    catalogue
        Tells the sizes of models.
    prices_file
        Today's prices; those of the training without it.

    Raises
    ------
    ArtifactError, DataError, RoutingConfigError
        If the artifact is not of categories or was changed since it was fitted, a file cannot be
        used, or no mapping keeps within the budget.
    """
    artifact = load_artifact(path, trusted=trusted)
    router = _mappable(artifact)
    facts = dict(router.facts.root)
    if catalogue is not None:
        read = read_facts(catalogue, artifact.models)
        facts |= {model: Facts(**sizes) for model, sizes in read.items()}
    prices = dict(artifact.prices)
    if prices_file is not None:
        prices |= read_prices(prices_file, artifact.models)
    costs = _costs(router, [prices[model] for model in artifact.models])
    if experts is None and budget is None:
        experts, budget = router.experts or None, router.budget
    mapped = router.remapped(experts=experts, budget=budget, facts=facts, cost_usd=costs)
    version = None
    if out is not None:
        save_remapped(
            out,
            artifact,
            mapped,
            calibration=calibration_rows(mapped),
            record={"base_version": artifact.version},
            created_at=created_at,
        )
        version = load_artifact(out, trusted=trusted).version
    return MapReport(
        categories=mapped.report(), totals=mapped.totals(artifact.models), version=version
    )


def calibration_rows(router: CategoryRouter) -> CalibrationRows:
    """Return what a knob is calibrated on: the rows that the router kept, as it predicts them now.

    Of published results, where there are none, each category counts as one query.
    """
    kept = router.rows_
    if kept is not None:
        about, tokens, quality = kept.about, kept.input_tokens, kept.quality
    else:
        n = len(router.table_)
        first = np.array([*range(n - 1), -1], np.intp)
        about = Identified(first, np.full(n, -1, np.intp), np.zeros(n, np.float32))
        tokens = np.full(n, ASSUMED_INPUT_TOKENS, np.int32)
        quality = np.full(router.table_.shape, np.nan, np.float32)
    return CalibrationRows.collect(
        router.predict_identified(about),
        input_tokens=tokens,
        quality=quality,
        rng=np.random.default_rng(0),
    )


def _mappable(artifact: RouterArtifact) -> CategoryRouter:
    router = artifact.router
    if not isinstance(router, CategoryRouter):
        raise RoutingConfigError(
            f"the artifact's strategy {router.kind!r} maps no categories to experts; "
            "composition, domains and bench-coe do"
        )
    router.check_mapping()
    if artifact.onboarded or "recalibrated" in artifact.manifest or artifact.workflow is not None:
        raise RoutingConfigError(
            "the artifact was changed since it was fitted, which another mapping would make void; "
            "map the artifact of before that, then onboard models and calibrate"
        )
    return router


def _costs(router: CategoryRouter, prices: list[Prices]) -> FloatMatrix | None:
    """Return what answers cost, (n_categories + 1, n_models); None where no price is known."""
    kept, n = router.rows_, len(router.table_)
    tokens = np.full(n, ASSUMED_INPUT_TOKENS)
    if kept is not None and kept.input_tokens.any():
        at = np.where(kept.about.first < 0, n - 1, kept.about.first)
        count = np.bincount(at, minlength=n)
        total = np.bincount(at, weights=kept.input_tokens, minlength=n)
        tokens = np.where(count > 0, total / np.maximum(count, 1), kept.input_tokens.mean())
    columns = [cost_usd(tokens, router.tokens_[:, i], price) for i, price in enumerate(prices)]
    costs = np.stack(columns, axis=1)
    if np.isnan(costs).all():
        return None
    # What has no price is bought with no budget.
    return np.where(np.isnan(costs), np.inf, costs).astype(np.float32)
