"""From a policy's `workflow` to the object that says what is called."""

from collections.abc import Sequence

from app.config import LoadedConfig, WorkflowConfig
from app.gateway.request import WorkflowRule
from routers.artifact.artifact import RouterArtifact
from routers.artifact.renamed_workflow import RenamedWorkflow
from routers.errors import RoutingConfigError, RoutingError
from routers.options import build, options_of
from routers.types import CHAT, Conversation, ModelFacts, ModelSpec
from routers.workflows.base import WORKFLOWS, Workflow
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
        fitted = _fitted(written, artifact, candidates)
        workflow = fitted or _made(written)
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
        is_fitted=fitted is not None,
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


def _fitted(
    written: WorkflowConfig, artifact: RouterArtifact, candidates: Sequence[ModelSpec]
) -> Workflow | None:
    """Return the artifact's workflow where that is what is asked for."""
    fitted = artifact.workflow
    if fitted is None or fitted.kind != written.registered_kind:
        return None
    if fitted.tunable:
        return _retuned(fitted, written)
    if written.options:
        return None
    if isinstance(fitted, OnlineWorkflow):  # what one policy's requests teach is not for others
        fitted = _retuned(fitted, written)
    names = {spec.model_id: spec.predicted_as for spec in candidates}
    if all(model_id == name for model_id, name in names.items()):
        return fitted
    return RenamedWorkflow(fitted, names)


def _retuned(fitted: Workflow, written: WorkflowConfig) -> Workflow:
    """Return what was fitted under other options; those that are not written stay."""
    options = {**options_of(fitted), **written.options}
    again = build(type(fitted), options, noun=f"workflow {written.kind!r}")
    return again.restore(fitted.state(), ())


def _made(written: WorkflowConfig) -> Workflow:
    kind = written.registered_kind
    cls = WORKFLOWS.get(kind)
    if cls.learns:
        raise RoutingConfigError(
            f"{written.kind!r} is fitted from recorded answers, and its options with it: name it "
            "by its kind alone, and a router whose artifact holds it (`steelyard fit --recipe "
            f"configs/training/{kind}.yaml --answers ...`)"
        )
    return build(cls, written.options, noun=f"workflow {written.kind!r}")


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
