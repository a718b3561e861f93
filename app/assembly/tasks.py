"""From the vocabulary of a policy to what serves it."""

from collections.abc import Mapping

from app.config import PolicyConfig
from app.gateway.policy import KnobCurves, TaskRule
from routers.artifact.artifact import RouterArtifact
from routers.objectives import CostQuality
from routers.request.tasks import TaskRecogniser
from routers.types import Conversation


def build_tasks(policy: PolicyConfig, knobs: KnobCurves) -> Mapping[str, TaskRule] | None:
    """Return the rules of a policy's tasks; None where it has none.

    Parameters
    ----------
    knobs
        Of the policy: that of each task's own models is made ready.
    """
    if not policy.tasks:
        return None
    rules = {}
    for name, written in policy.tasks.items():
        model_ids = None if written.candidates is None else frozenset(written.candidates)
        curve = knobs.get(model_ids)  # no request should wait for it
        t = written.cost_quality
        rules[name] = TaskRule(
            name=name,
            description=written.description,
            model_ids=model_ids,
            objective=None if t is None else CostQuality(t),
            usd_per_quality=None if t is None else curve.usd_per_quality_for(t),
            instructions=written.instructions,
            max_tokens=written.max_tokens,
        )
    return rules


def build_recogniser(policy: PolicyConfig, artifact: RouterArtifact) -> TaskRecogniser | None:
    """Return what finds tasks in prompts, by the embedder of the policy's router."""
    written = policy.recognise_tasks
    if written is None:
        return None
    featurizer = artifact.featurizer
    return TaskRecogniser(
        {name: task.examples for name, task in policy.tasks.items() if task.examples},
        lambda texts: featurizer.embed([Conversation.of(text) for text in texts]),
        least_chance=written.least_chance,
        chains=written.chains,
    )
