"""What a model's predictions rest on: published results, a few anchors, or outcomes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np

from routers.types import FloatMatrix

FEWEST_OUTCOMES = 30
"""A model with fewer outcomes in a recalibration is as little known as before."""

_ABSTENTIONS = {
    "random-mix": "mixing single models, which is what it does",
    "prompt-length": "routing by the prompt's length alone, which is what it does",
}


class Evidence(StrEnum):
    """What is known of a model beyond its name, from least to most."""

    PRIOR = "prior"
    """Published results, or its price and date alone: nobody has seen it answer here."""
    ANCHORS = "anchors"
    """Its answers to some anchor prompts, read off the models that were trained."""
    OUTCOMES = "outcomes"
    """Outcomes of its own answers, in training or in a recalibration."""


def evidence_of_models(
    manifest: Mapping[str, Any], *, realised: FloatMatrix, n_onboarded: int
) -> tuple[Evidence, ...]:
    """Return what the predictions of each column of an artifact rest on.

    Parameters
    ----------
    manifest
        Of the artifact; `training.evidence` is `prior` where no outcomes were trained on.
    realised
        (n_rows, n_models), the outcomes that its knob is calibrated on, NaN where there is none.
    n_onboarded
        How many of the last columns are models that were onboarded.
    """
    n_models = realised.shape[1]
    trained = Evidence.OUTCOMES
    if manifest.get("training", {}).get("evidence") == Evidence.PRIOR:
        trained = Evidence.PRIOR
    found: list[Evidence] = [trained] * (n_models - n_onboarded)
    found += [Evidence.ANCHORS] * n_onboarded
    if "recalibrated" in manifest:
        enough = np.count_nonzero(~np.isnan(realised), axis=0) >= FEWEST_OUTCOMES
        found = [
            Evidence.OUTCOMES if seen else before
            for seen, before in zip(enough.tolist(), found, strict=True)
        ]
    return tuple(found)


def abstention_note(manifest: Mapping[str, Any]) -> str | None:
    """Say what an artifact does in place of its recipe, in a sentence; None where it does not.

    Parameters
    ----------
    manifest
        Of the artifact; `training.abstains` names the strategy that is served instead.
    """
    served = manifest.get("training", {}).get("abstains")
    if served is None:
        return None
    what = _ABSTENTIONS.get(served, served)
    return f"the router abstains: on held-out rows its recipe did no better than {what}"
