"""From prompts with labels and a slow guard's verdicts to an artifact with a guard of its own."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.load import load_artifact
from routers.artifact.save import save_with_workflow
from routers.data.guard_labels import read_guard_labels
from routers.evaluation.crossfit import prompt_folds
from routers.options import build, options_of
from routers.workflows.guarded import Guarded
from routers.workflows.guards.models import learn

_FOLDS = 5
SHIPPED = Path(__file__).parents[1] / "pretrained" / "default"
"""The artifact that is shipped in the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """What was learned.

    Attributes
    ----------
    figures
        Of prompts out of fold, as `learn` tells them.
    """

    version: str
    n_prompts: int
    epsilon: float
    figures: Mapping[str, float]


def fit_guard(
    artifact_path: Path,
    data: Path,
    out: Path,
    *,
    created_at: str,
    label: str = "harmful",
    slow: str = "slow",
    slow_model: str | None = None,
    slow_share: float | None = None,
    seed: int = 0,
    trusted: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> GuardReport:
    """Fit a guard on what an artifact's router sees, and write the artifact with it to `out`.

    Parameters
    ----------
    artifact_path
        Its folder; `default` is the one that is shipped.
    label, slow
        Fields of the data: what is right, and what the slow guard said.
    slow_model
        The slow guard's name in `models`, where the policy names none.
    slow_share
        What share of requests it may be asked about.

    Raises
    ------
    ArtifactError, DataError, RoutingConfigError
        If the artifact or the data cannot be used.
    """
    if artifact_path == Path("default"):
        artifact_path = SHIPPED
    artifact = load_artifact(artifact_path, trusted=trusted)
    progress("reading prompts")
    labels = read_guard_labels(data, label=label, slow=slow)
    progress(f"looking at {len(labels)} prompts")
    x = artifact.featurizer.transform(labels.conversations)
    folds = prompt_folds(labels.conversations, _FOLDS, np.random.default_rng(seed))
    progress("fitting the guard and its router")
    learned = learn(x, labels.harmful, labels.slow, folds, slow_share=slow_share)
    options: dict[str, Any] = {"epsilon": learned.epsilon}
    held = artifact.workflow
    after = held.follower if isinstance(held, Guarded) else held
    if after is not None:
        options["then"] = {"kind": after.kind, **options_of(after)}
    if slow_model is not None:
        options["slow"] = {"model": slow_model}
    workflow = build(Guarded, options, noun="the guard").restore(
        learned.models.state(), artifact.models
    )
    if after is not None and (not isinstance(held, Guarded) or held.has_fitted_follower):
        workflow.followed_by(after)
    record = {"n_prompts": len(labels), "seed": seed, **learned.figures}
    save_with_workflow(
        out,
        artifact,
        workflow,
        name="guard",
        record=record,
        created_at=created_at,
        workflow_knob=artifact.workflow_knob,
    )
    return GuardReport(
        version=load_artifact(out, trusted=trusted).version,
        n_prompts=len(labels),
        epsilon=learned.epsilon,
        figures=learned.figures,
    )
