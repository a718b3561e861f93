"""From logged runs of agents to an artifact with a controller that draws modes and models."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routers.artifact.load import load_artifact
from routers.artifact.save import save_with_workflow
from routers.data.agent_runs import AgentRun, models_of, read_agent_runs
from routers.errors import RoutingConfigError
from routers.evaluation.crossfit import prompt_folds
from routers.numeric import FloatArray
from routers.options import build
from routers.training.fit_guard import SHIPPED
from routers.workflows.agents import Agents
from routers.workflows.teams.controller import (
    MODES,
    Controller,
    LoggedRuns,
    learn_controller,
    multinomial,
)

_FOLDS = 5
_MOST_WEIGHT = 50.0
"""Of one run in what a policy is estimated to be worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsReport:
    """What was learned.

    Attributes
    ----------
    modes
        Of each mode that was drawn: runs, and by them quality and cost in US dollars.
    logged, learned
        Quality and cost of the runs, and of what was learned, by an estimate on runs unseen.
    effective_runs
        How many runs that estimate is as good as.
    """

    version: str
    n_runs: int
    models: tuple[str, ...]
    modes: Mapping[str, Mapping[str, float]]
    logged: Mapping[str, float]
    learned: Mapping[str, float]
    effective_runs: float


def fit_agents(
    artifact_path: Path,
    data: Sequence[Path],
    out: Path,
    *,
    created_at: str,
    usd_per_quality: float,
    seed: int = 0,
    trusted: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> AgentsReport:
    """Fit a controller on what an artifact's router sees, and write the artifact with it to `out`.

    Parameters
    ----------
    artifact_path
        Its folder; `default` is the one that is shipped.
    usd_per_quality
        What a right answer may cost.

    Raises
    ------
    ArtifactError, DataError, RoutingConfigError
        If the artifact or the data cannot be used.
    """
    path = SHIPPED if artifact_path == Path("default") else artifact_path
    artifact = load_artifact(path, trusted=trusted)
    if artifact.workflow is not None and artifact.workflow.kind != Agents.kind:
        raise RoutingConfigError(
            f"the artifact holds the workflow {artifact.workflow.kind!r}, whose place agents would "
            "take; fit them on an artifact without one"
        )
    progress("reading runs")
    read = read_agent_runs(data, MODES)
    models = models_of(read)
    progress(f"looking at {len(read)} runs")
    runs = _logged(read, models, artifact.featurizer.transform([r.conversation for r in read]))
    progress("fitting the controller")
    learned = learn_controller(runs, usd_per_quality=usd_per_quality)
    folds = prompt_folds([r.conversation for r in read], _FOLDS, np.random.default_rng(seed))
    weight = _weights(runs, folds, usd_per_quality=usd_per_quality)
    workflow = build(Agents, {}, noun="agents").with_controller(learned, models)
    worth = {
        "modes": {
            mode: {"runs": int((runs.mode == at).sum()), **_means(runs, runs.mode == at)}
            for at, mode in enumerate(MODES)
            if (runs.mode == at).any()
        },
        "logged": _means(runs, np.ones(len(read))),
        "learned": _means(runs, weight),
        "effective_runs": float(weight.sum() ** 2 / max((weight**2).sum(), 1e-12)),
    }
    record = {"n_runs": len(read), "seed": seed, "usd_per_quality": usd_per_quality, **worth}
    save_with_workflow(out, artifact, workflow, name="agents", record=record, created_at=created_at)
    return AgentsReport(
        version=load_artifact(out, trusted=trusted).version,
        n_runs=len(read),
        models=models,
        **worth,  # type: ignore[arg-type]  # plain values by the names of fields
    )


def _logged(runs: Sequence[AgentRun], models: Sequence[str], x: NDArray[np.floating]) -> LoggedRuns:
    return LoggedRuns(
        x=x,
        mode=np.array([MODES.index(each.mode) for each in runs]),
        counts=np.array([[each.agents.count(model) for model in models] for each in runs]),
        score=np.array([each.quality for each in runs]),
        cost_usd=np.array([each.cost_usd for each in runs]),
        propensity=np.array([each.propensity for each in runs]),
    )


def _weights(runs: LoggedRuns, folds: NDArray[np.intp], *, usd_per_quality: float) -> FloatArray:
    """Return how much more probable each run is by what the others teach than it was."""
    weight = np.zeros(len(runs.score))
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        if not len(others):
            continue
        learned = learn_controller(runs.rows(others), usd_per_quality=usd_per_quality)
        for row in np.flatnonzero(folds == fold).tolist():
            weight[row] = min(_chance(learned, runs, row) / runs.propensity[row], _MOST_WEIGHT)
    return weight


def _chance(learned: Controller, runs: LoggedRuns, row: int) -> float:
    drawn = sorted(set(runs.mode.tolist()))
    modes = learned.mode_chances(runs.x[row], [MODES[each] for each in drawn], floor=Agents.floor)
    models = learned.model_chances(range(runs.counts.shape[1]))
    return modes[MODES[runs.mode[row]]] * multinomial(runs.counts[row].tolist(), models)


def _means(runs: LoggedRuns, weight: NDArray[np.generic]) -> dict[str, float]:
    shares = weight.astype(np.float64) / max(float(weight.sum()), 1e-12)
    return {
        "quality": float(shares @ runs.score),
        "cost_usd": float(shares @ runs.cost_usd),
    }
