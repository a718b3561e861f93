"""From a policy's `workflow` to the object that says what is called."""

from app.config import LoadedConfig, PolicyConfig, WorkflowConfig
from app.config.fields import Place
from app.gateway.request import WorkflowRule
from routers.errors import RoutingError
from routers.options import build
from routers.types import CHAT
from routers.workflows.base import WORKFLOWS, Workflow


def build_workflow(
    place: Place, policy: PolicyConfig, written: WorkflowConfig, config: LoadedConfig
) -> WorkflowRule:
    """Return the workflow of a policy, and what it may use.

    Raises
    ------
    ConfigError
        If there is no such kind, an option does not fit, or it cannot work with these candidates.
    """
    kind = written.registered_kind
    try:
        workflow = build(WORKFLOWS.get(kind), written.options, noun=f"workflow {written.kind!r}")
    except RoutingError as error:
        raise config.error(place, str(error)) from error
    doubts = [*_strangers(workflow, policy, config), *workflow.doubts(policy.candidates)]
    if doubts:
        raise config.error(place, doubts[0])
    return WorkflowRule(
        workflow=workflow,
        max_calls=written.max_calls,
        max_cost_usd=written.max_cost_usd,
        max_time_s=written.max_time_s,
    )


def _strangers(workflow: Workflow, policy: PolicyConfig, config: LoadedConfig) -> list[str]:
    """Say which models it asks that there are not, or that do not chat."""
    doubts = []
    for model_id in workflow.asks(policy.candidates):
        if model_id not in config.gateway.models:
            known = ", ".join(config.gateway.models)
            doubts.append(f"it asks {model_id!r}, which is not one of models: {known}")
        elif config.specs[model_id].kind != CHAT:
            kind = config.specs[model_id].kind
            doubts.append(f"it asks {model_id!r}, which is a model for {kind} and does not chat")
    return doubts
