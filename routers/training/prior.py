"""A router from published results alone: abilities of models, no outcomes."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.calibration import CalibrationRows
from routers.artifact.load import load_artifact
from routers.artifact.save import TrainingRecord, save_artifact
from routers.data.graded import read_graded
from routers.data.lines import read_document
from routers.embedders.base import make_embedder
from routers.errors import DataError
from routers.features.featurizer import Featurizer
from routers.models import Prices
from routers.strategies.abilities import AbilitiesRouter
from routers.text.token_estimate import estimate_tokens
from routers.training.abilities import estimate_abilities
from routers.training.ability_scores import AbilityScores, read_abilities

REASONING_VERBOSITY = 3.0
"""What a model that thinks writes for one of a usual model's tokens, where nothing tells."""

BLOCKS = ("request",)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorReport:
    """What `build_prior` made.

    Attributes
    ----------
    models
        Names that the router predicts.
    without_scores
        Those of them whose ability is told by price and date only.
    unpriced
        Those whose price is not known, so that a policy cannot weigh them.
    """

    path: Path
    version: str
    models: tuple[str, ...]
    without_scores: tuple[str, ...]
    unpriced: tuple[str, ...]


def build_prior(
    abilities: Path,
    out: Path,
    *,
    catalogue: Path | None,
    prompts: Sequence[Path],
    created_at: str,
    steelyard_version: str,
    progress: Callable[[str], None] = lambda _: None,
) -> PriorReport:
    """Write the artifact of a router that knows models by their published results.

    Parameters
    ----------
    abilities
        Scores of models, as `configs/abilities.yaml`.
    catalogue
        List prices, as `configs/models.yaml`; its names that mean a model of `abilities` are
        predicted too.
    prompts
        Files of graded prompts; the knob is spread over them, as no outcomes are known.

    Raises
    ------
    DataError, ArtifactError
        If a file cannot be used, or the destination not be written.
    """
    scores = read_abilities(abilities)
    conversations = [each.conversation for file in prompts for each in read_graded(file)]
    if not conversations:
        raise DataError("a knob needs prompts to be spread over: give --prompts")
    listed = {} if catalogue is None else _listed_prices(catalogue)
    names, prices = _names_and_prices(scores, listed)
    usd = {
        scores.find(name) or name: price.output_usd_per_mtok
        for name, price in prices.items()
        if price.output_usd_per_mtok
    }
    progress(f"estimating {len(scores.models)} models from published scores")
    found = estimate_abilities(scores, usd)
    row = {model: i for i, model in enumerate(found.models)}
    at = [row[scores.find(name) or name] for name in names]
    router = AbilitiesRouter.known(
        names,
        ability=found.ability[at].astype(np.float32),
        ability_std=found.std[at].astype(np.float32),
        verbosity=np.array([_verbosity(scores, found.models[i]) for i in at]),
    )
    featurizer = Featurizer(make_embedder("static", {}), BLOCKS)
    progress(f"spreading the knob over {len(conversations)} prompts")
    x = featurizer.transform(conversations)
    predictions = router.predict(x)
    # Predictions do not shrink by it; it is what drift is told from.
    router.learn_familiar(x, rng=np.random.default_rng(0))
    rows = CalibrationRows.collect(
        predictions,
        input_tokens=np.array([estimate_tokens(each) for each in conversations]),
        quality=np.full(predictions.quality.shape, np.nan, np.float32),
        rng=np.random.default_rng(0),
    )
    without = tuple(name for name, i in zip(names, at, strict=True) if found.n_scores[i] == 0)
    save_artifact(
        out,
        router=router,
        featurizer=featurizer,
        calibration=rows,
        prices=prices,
        record=TrainingRecord(
            created_at=created_at,
            steelyard_version=steelyard_version,
            seed=0,
            data=[_file(abilities), *(_file(file) for file in prompts)],
            training={
                "evidence": "prior",
                "n_scores": {
                    name: int(found.n_scores[i]) for name, i in zip(names, at, strict=True)
                },
                "without_scores": list(without),
                "calibration_rows": len(rows),
            },
            metrics={},
        ),
    )
    artifact = load_artifact(out)
    return PriorReport(
        path=out,
        version=artifact.version,
        models=artifact.models,
        without_scores=without,
        unpriced=tuple(name for name in names if prices[name].output_usd_per_mtok is None),
    )


def _verbosity(scores: AbilityScores, model: str) -> float:
    entry = scores.models[model]
    if entry.verbosity is not None:
        return math.log(entry.verbosity)
    return math.log(REASONING_VERBOSITY) if entry.reasoning else 0.0


def _names_and_prices(
    scores: AbilityScores, listed: Mapping[str, Prices]
) -> tuple[tuple[str, ...], dict[str, Prices]]:
    """Return the names to predict, those of the catalogue too, and the price of each."""
    unknown = Prices(input_usd_per_mtok=None, output_usd_per_mtok=None)
    prices = dict.fromkeys(scores.models, unknown)
    for name, price in listed.items():
        model = scores.find(name)
        if model is None:
            continue
        prices[name] = price
        if prices[model].output_usd_per_mtok is None:
            prices[model] = price
    return tuple(prices), prices


def _listed_prices(catalogue: Path) -> dict[str, Prices]:
    """Read list prices from a catalogue: `models:` by name, each with `prices:`."""
    try:
        content = read_document(catalogue)
    except OSError as error:
        raise DataError(f"{catalogue}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{catalogue}: is not valid JSON or YAML ({error})") from error
    models = content.get("models") if isinstance(content, Mapping) else None
    if not isinstance(models, Mapping):
        raise DataError(f"{catalogue}: must have 'models', each with 'prices'")
    return {str(name): _price(catalogue, str(name), entry) for name, entry in models.items()}


_CLASSES = (
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "cached_input_usd_per_mtok",
    "reasoning_usd_per_mtok",
)


def _price(catalogue: Path, name: str, entry: Any) -> Prices:
    given = entry.get("prices") if isinstance(entry, Mapping) else None
    if not isinstance(given, Mapping):
        raise DataError(f"{catalogue}: {name!r} has no 'prices'")
    values: dict[str, Any] = {}
    for key in _CLASSES:
        value = given.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{catalogue}: {name!r}: {key} is no number")
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise DataError(f"{catalogue}: {name!r}: {key} is no price")
        values[key] = None if value is None else float(value)
    return Prices(**values)


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
