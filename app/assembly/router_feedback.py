"""Which routers believe feedback, and what of it teaches which of their models."""

from collections.abc import Mapping

from app.config import LoadedConfig
from app.gateway.policy import Policy
from app.outcomes.remembering import FeedbackRule, Memories, Remembering, SqliteRated


def build_memories(config: LoadedConfig) -> Memories:
    """Return who has routers take in feedback; the log cannot be changed without a restart."""
    outcomes, data_dir = config.gateway.outcomes, config.data_dir
    readable = config.gateway.logs_decisions and outcomes.sink == "sqlite" and data_dir is not None
    return Memories(SqliteRated(data_dir) if readable and data_dir is not None else None)


def build_remembering(config: LoadedConfig, policies: Mapping[str, Policy]) -> list[Remembering]:
    """Return what takes in feedback for each router that is to believe it."""
    found = []
    for name, router in config.gateway.routers.items():
        own = [
            policies[policy]
            for policy, each in config.gateway.policies.items()
            if each.router == name
        ]
        if router.feedback is None or not own:
            continue
        artifact = own[0].artifact
        fitted = artifact.router.models_
        columns = {
            (policy.name, spec.model_id): fitted.index(spec.predicted_as)
            for policy in own
            for spec in policy.candidates
            if spec.predicted_as in fitted
        }
        rule = FeedbackRule(
            max_rows=router.feedback.max_rows,
            max_per_key=router.feedback.max_per_key,
            settle_s=router.feedback.settle_s,
        )
        found.append(Remembering(router=name, artifact=artifact, columns=columns, rule=rule))
    return found
