"""From a policy's `workflow` to the object that says what is called."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.config import LoadedConfig, WorkflowConfig
from app.gateway.policy import WorkflowRule
from routers.artifact.artifact import RouterArtifact
from routers.artifact.renamed_workflow import RenamedWorkflow
from routers.errors import RoutingConfigError, RoutingError
from routers.models import CHAT, ModelFacts, ModelSpec
from routers.options import build, options_of
from routers.types import Conversation
from routers.workflows.base import WORKFLOWS, Workflow
from routers.workflows.guarded import Guarded
from routers.workflows.learning.base import OnlineWorkflow

_EXAMPLES = {
    "at facts": "Which river flows through Vienna, and where does it rise?",
    "at sums": (
        "A train leaves at 9:40 and covers 312 km at 78 km/h; a second one leaves at 10:25 and "
        "takes half as long. Which one arrives first, and how many minutes earlier?"
    ),
    "at code": (
        "Write a Python function that returns the longest substring of a text without repeated "
        "characters, in linear time, and tests for it."
    ),
}
"""Questions by which a planner is told how good models are expected to be, and at what."""


def build_workflow(
    name: str,
    written: WorkflowConfig,
    config: LoadedConfig,
    artifact: RouterArtifact,
    candidates: Sequence[ModelSpec],
) -> WorkflowRule:
    """Return the workflow of a policy, and what it may use.

    Parameters
    ----------
    artifact
        Of the policy's router: it may hold a workflow that was fitted with it.
    candidates
        As that predicts them.

    Raises
    ------
    ConfigError
        If there is no such kind, an option does not fit, or it cannot work with these candidates.
    """
    place = ("policies", name, "workflow")
    model_ids = [spec.model_id for spec in candidates]
    try:
        workflow, is_fitted = _workflow(
            written.registered_kind, written.options, artifact, candidates
        )
    except RoutingError as error:
        raise config.error(place, str(error)) from error
    doubts = [*_strangers(workflow, model_ids, config), *workflow.doubts(model_ids)]
    if doubts:
        raise config.error(place, doubts[0])
    return WorkflowRule(
        workflow=workflow,
        max_calls=written.max_calls,
        max_cost_usd=written.max_cost_usd,
        max_time_s=written.max_time_s,
        is_fitted=is_fitted,
        facts=_facts(artifact, candidates) if workflow.describes else {},
    )


def _facts(artifact: RouterArtifact, candidates: Sequence[ModelSpec]) -> dict[str, ModelFacts]:
    """Return what is known of the candidates whatever is asked."""
    questions = [Conversation.of(text) for text in _EXAMPLES.values()]
    quality = artifact.predict_conversations(questions).quality
    return {
        spec.model_id: ModelFacts(
            input_usd_per_mtok=spec.prices.input_usd_per_mtok,
            output_usd_per_mtok=spec.prices.output_usd_per_mtok,
            latency_s=spec.usual_latency_s,
            scores=dict(
                zip(
                    _EXAMPLES,
                    quality[:, artifact.column(spec.predicted_as)].tolist(),
                    strict=True,
                )
            ),
        )
        for spec in candidates
    }


def _workflow(
    kind: str, options: Mapping[str, Any], artifact: RouterArtifact, candidates: Sequence[ModelSpec]
) -> tuple[Workflow, bool]:
    """Return a workflow, and whether what the artifact's knob means holds for it."""
    fitted = _fitted(kind, options, artifact, candidates)
    workflow = fitted or _made(kind, options)
    if not isinstance(workflow, Guarded):
        return workflow, fitted is not None
    then = workflow.then
    if then is None or workflow.follower is None:
        return workflow, False
    rest = {name: value for name, value in then.items() if name != "kind"}
    fitted = _fitted(workflow.follower.kind, rest, artifact, candidates)
    return (workflow, False) if fitted is None else (workflow.followed_by(fitted), True)


def _fitted(
    kind: str, options: Mapping[str, Any], artifact: RouterArtifact, candidates: Sequence[ModelSpec]
) -> Workflow | None:
    """Return the artifact's workflow, or what follows its guard, where that is asked for."""
    fitted = artifact.workflow
    if fitted is not None and fitted.kind != kind and isinstance(fitted, Guarded):
        fitted = fitted.follower if fitted.has_fitted_follower else None
    if fitted is None or fitted.kind != kind:
        return None
    if fitted.tunable:
        fitted = _retuned(fitted, options, artifact)
    elif options != {name: value for name, value in options_of(fitted).items() if name in options}:
        return None
    if isinstance(fitted, OnlineWorkflow):  # what one policy's requests teach is not for others
        fitted = _retuned(fitted, options, artifact)
    names = {spec.model_id: spec.predicted_as for spec in candidates}
    if fitted.names_candidates or all(model_id == name for model_id, name in names.items()):
        return fitted
    return RenamedWorkflow(fitted, names)


def _retuned(fitted: Workflow, options: Mapping[str, Any], artifact: RouterArtifact) -> Workflow:
    """Return what was fitted under other options; those that are not written stay."""
    again = build(type(fitted), {**options_of(fitted), **options}, noun=f"workflow {fitted.kind!r}")
    # What follows a guard is seen to by itself.
    state = fitted.own_state() if isinstance(fitted, Guarded) else fitted.state()
    return again.restore(state, artifact.router.models_)


def _made(kind: str, options: Mapping[str, Any]) -> Workflow:
    cls = WORKFLOWS.get(kind)
    if cls.learns:
        raise RoutingConfigError(
            f"{kind!r} is fitted from recorded answers, and its options with it: name it "
            "by its kind alone, and a router whose artifact holds it (`steelyard fit --recipe "
            f"configs/training/{kind}.yaml --answers ...`)"
        )
    return build(cls, options, noun=f"workflow {kind!r}")


def _strangers(workflow: Workflow, candidates: Sequence[str], config: LoadedConfig) -> list[str]:
    """Say which models it asks that there are not, or that do not chat."""
    doubts = []
    for model_id in workflow.asks(candidates):
        if model_id not in config.gateway.models:
            known = ", ".join(config.gateway.models)
            doubts.append(f"it asks {model_id!r}, which is not one of models: {known}")
        elif config.specs[model_id].kind != CHAT:
            kind = config.specs[model_id].kind
            doubts.append(f"it asks {model_id!r}, which is a model for {kind} and does not chat")
    return doubts
