"""Replay a policy, of one call or of several, on recorded outcomes and answers."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routers.answers.recorded import RecordedAnswers
from routers.artifact.artifact import RouterArtifact
from routers.data.answers import read_answers
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.prices import find_prices, read_prices
from routers.errors import DataError
from routers.evaluation.frame import Rows, kept_rows, select_rows, sweep
from routers.evaluation.play import play
from routers.evaluation.replay import common_models, stacked
from routers.evaluation.scene import Ceilings, Position, Scene, alone
from routers.evaluation.told import Unheard
from routers.files import shown
from routers.models import ModelSpec, Prices
from routers.types import FloatMatrix, Predictions
from routers.workflows.base import Workflow

_BLOCK = 2048
_LISTED = 20
_LONG_CONTEXT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is replayed.

    Attributes
    ----------
    candidates
        The models to choose from, as the workflow calls them, with their prices.
    candidate_names
        In place of `candidates`: what outcomes call them, to be priced by what was recorded or by
        the artifact. Without either, all that the outcomes and the artifact know.
    recorded_as
        What else outcomes may call a candidate, where they do not call it as the workflow does.
    workflow
        None for single choice.
    others
        Prices of models that may be asked beyond the candidates, such as a judge; what the
        artifact knows of them where it is not told.
    default_model
        What single choice takes where no router predicts; the last candidate where None.
    ceilings
        Of each query.
    """

    artifact: RouterArtifact | None = None
    workflow: Workflow | None = None
    candidates: tuple[ModelSpec, ...] | None = None
    candidate_names: tuple[str, ...] | None = None
    recorded_as: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Prices] = field(default_factory=dict)
    default_model: str | None = None
    ceilings: Ceilings = field(default_factory=Ceilings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How a policy went on outcomes.

    Attributes
    ----------
    rows
        All queries, with what the candidates made of them.
    compared
        Numbers of the rows to compare on: those whose outcomes are known, where enough are.
    cost_quality, positions
        One per position of the knob.
    singles
        What single choice takes at each of its settings: columns, (n_settings, n_queries).
    unheard
        What recorded answers could not tell.
    latency
        Where latencies come from: `recorded`, `assumed`, or `recorded and assumed`.
    """

    policy: Policy
    query_ids: tuple[str, ...]
    rows: Rows
    compared: NDArray[np.intp]
    cost_quality: tuple[float, ...]
    positions: tuple[Position, ...]
    singles: NDArray[np.intp]
    unheard: Unheard
    latency: str


def replay(
    policy: Policy,
    data: Sequence[Path],
    answers: Sequence[Path] = (),
    *,
    cost_quality: Sequence[float],
    prices_file: Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Replayed:
    """Have a policy decide every query of outcome files, at every position of the knob.

    Of the outcomes themselves nothing is looked at before everything is decided: a policy is told
    the answers that it asks for, and what they cost.

    Parameters
    ----------
    answers
        Files of answers; without them they have to stand beside the outcomes.
    prices_file
        Today's prices in place of the artifact's.

    Raises
    ------
    DataError
        If a file cannot be used, does not tell of a candidate, or does not tell what the workflow
        asks for: a judge's scores, votes, further answers, log-probabilities.
    """
    cost_quality = list(dict.fromkeys(cost_quality))  # one row for each, however often it is asked
    progress("reading outcomes")
    table = read_outcomes(data)
    candidates = _candidates(policy, table, prices_file)
    models = [_recorded_as(policy, spec, table) for spec in candidates]
    _check(policy, candidates, models, table)
    recorded = None
    if policy.workflow is not None or answers:
        progress("reading answers")
        recorded = read_answers(table, data, answers, models=models).columns(models)
        _check_logprobs(policy.workflow, recorded)
    everything = np.arange(len(table))
    prices = {model: spec.prices for model, spec in zip(models, candidates, strict=True)}
    rows = select_rows(table, models, prices, keep=everything)
    predictions = x = None
    if policy.artifact is not None:
        progress(f"predicting {len(table)} queries")
        predictions, x = _predict(policy.artifact, candidates, table)
    scene = Scene.of(candidates, table.query_ids, rows, predictions, x, recorded)
    scene = dataclasses.replace(scene, others=_other_prices(policy))
    picks, rates = _single_choice(policy, scene, cost_quality)
    unheard = Unheard(refuses=True)
    if policy.workflow is None:
        positions = [alone(scene, each) for each in picks]
    else:
        progress(f"deciding {len(scene)} queries at {len(cost_quality)} positions of the knob")
        positions = play(
            policy.workflow,
            scene,
            rates,
            picks,
            ceilings=policy.ceilings,
            seed=seed,
            unheard=unheard,
            progress=lambda n: progress(f"decided {n} of {len(scene)} queries"),
        )
    singles = np.tile(np.arange(len(candidates))[:, None], (1, len(scene)))
    if scene.predictions is not None:
        dearer = sweep(scene.predictions.quality.astype(np.float64), scene.expected_costs())
        singles = np.concatenate([dearer, singles])
    return Replayed(
        policy=policy,
        query_ids=table.query_ids,
        rows=rows,
        compared=kept_rows(rows.quality),
        cost_quality=tuple(cost_quality),
        positions=tuple(positions),
        singles=singles,
        unheard=unheard,
        latency=_latency_source(recorded),
    )


def _recorded_as(policy: Policy, spec: ModelSpec, table: OutcomeTable) -> str:
    name = spec.model_id
    return name if name in table.models else policy.recorded_as.get(name, name)


def _check(
    policy: Policy, candidates: Sequence[ModelSpec], models: Sequence[str], table: OutcomeTable
) -> None:
    """Refuse what cannot be replayed."""
    unknown = [model for model in models if model not in table.models]
    if unknown:
        raise DataError(
            f"{', '.join(shown(file.name) for file in table.files)}: no outcomes of "
            f"{_few(unknown)}, which the policy chooses from; known: {_few(table.models)}"
        )
    names = [spec.model_id for spec in candidates]
    if policy.default_model is not None and policy.default_model not in names:
        raise DataError(f"default_model {shown(policy.default_model)} is not among {_few(names)}")
    doubts = [] if policy.workflow is None else policy.workflow.doubts(names)
    if doubts:
        raise DataError(f"the workflow cannot work: {doubts[0]}")


def _check_logprobs(workflow: Workflow | None, recorded: RecordedAnswers) -> None:
    """Refuse a workflow that goes by what nobody recorded."""
    if workflow is not None and workflow.wants_logprobs and recorded.logprob is None:
        raise DataError(
            "the workflow goes by the log-probabilities of answers, which nobody recorded: add "
            "their means (p:MODEL, in JSONL 'logprob')"
        )


def _other_prices(policy: Policy) -> Mapping[str, Prices]:
    known = {} if policy.artifact is None else policy.artifact.prices
    return {**known, **policy.others}


def _candidates(
    policy: Policy, table: OutcomeTable, prices_file: Path | None
) -> tuple[ModelSpec, ...]:
    """Return the candidates, with prices."""
    if policy.candidates is not None:
        return policy.candidates
    artifact, names = policy.artifact, policy.candidate_names
    if artifact is None:
        models = table.models
        prices = dict(find_prices(table, prices_file).prices)
    else:
        models = common_models([artifact], [table])
        prices = {model: artifact.prices[model] for model in models}
        if prices_file is not None:
            prices |= read_prices(prices_file, models)
    unknown = [name for name in names or () if name not in models]
    if unknown:
        raise DataError(
            f"the policy chooses from {_few(unknown)}, of which the outcomes"
            f"{'' if artifact is None else ', or the artifact,'} know nothing; known: "
            f"{_few(models)}"
        )
    return tuple(spec_of(model, prices[model]) for model in names or models)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown(name) for name in names[:_LISTED]) + more


def spec_of(model: str, prices: Prices) -> ModelSpec:
    """Return a candidate that is known by its name and its prices only."""
    return ModelSpec(
        model_id=model, predicted_as=model, prices=prices, context_window_tokens=_LONG_CONTEXT
    )


def _predict(
    artifact: RouterArtifact, candidates: Sequence[ModelSpec], table: OutcomeTable
) -> tuple[Predictions, FloatMatrix]:
    """Predict all queries, a block at a time; also what the router saw of them."""
    columns = [artifact.column(spec.predicted_as) for spec in candidates]
    features, blocks = [], []
    for start in range(0, len(table), _BLOCK):
        x = artifact.featurizer.transform(table.conversations[start : start + _BLOCK])
        features.append(x)
        blocks.append(artifact.predict(x).columns(columns))
    return stacked(blocks), np.concatenate(features)


def _single_choice(
    policy: Policy, scene: Scene, cost_quality: Sequence[float]
) -> tuple[NDArray[np.intp], list[float | None]]:
    """Return what single choice takes at each position, and the exchange rates."""
    if policy.artifact is None:
        names = [spec.model_id for spec in scene.candidates]
        column = -1 if policy.default_model is None else names.index(policy.default_model)
        picks = np.full((len(cost_quality), len(scene)), range(len(names))[column])
        return picks, [None] * len(cost_quality)
    knob = policy.artifact.knob_curve(scene.candidates)
    rates = [knob.usd_per_quality_for(t) for t in cost_quality]
    picks, fitted = scene.choices(rates), policy.artifact.workflow_knob
    if fitted is not None and policy.workflow is policy.artifact.workflow:
        dear_usd = policy.artifact.dear_usd(scene.candidates)
        rates = [fitted.usd_per_quality(t, dear_usd) for t in cost_quality]
    return picks, list(rates)


def _latency_source(answers: RecordedAnswers | None) -> str:
    known = None if answers is None else answers.latency_s
    if known is None:
        return "assumed"
    return "recorded and assumed" if np.isnan(known).any() else "recorded"
