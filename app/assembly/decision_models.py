"""From what is written of a decision model to what asks it."""

from app.config import LoadedConfig, PolicyConfig
from app.gateway.decision_model_rule import DecisionModelRule
from app.http_client.transport import HttptoolsTransport
from app.providers.http.decision_endpoint import DecisionEndpoint
from routers.artifact.artifact import RouterArtifact
from routers.decision.judged import LEVELS

_FEATURE = "judged"


def build_decision_model(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> DecisionModelRule | None:
    """Return whom a policy asks how hard requests are; None where it asks nobody.

    Raises
    ------
    ConfigError
        If its router has learned from other levels.
    """
    written = policy.decision_model
    if written is None:
        return None
    is_feature = _FEATURE in artifact.featurizer.columns()
    if is_feature and written.levels != LEVELS:
        raise config.error(
            ("policies", name, "decision_model", "levels"),
            f"router {policy.router!r} has learned from the levels {', '.join(LEVELS)}; leave "
            "`levels` out, or fit one without the feature block `judged`",
        )
    endpoint = None
    if written.url is not None:
        endpoint = DecisionEndpoint(
            str(written.url), key=config.decision_keys.get(name), transport=HttptoolsTransport()
        )
    return DecisionModelRule(
        name=written.model or str(written.url),
        model_id=written.model,
        endpoint=endpoint,
        deadline_s=written.deadline_ms / 1e3,
        cache_s=written.cache_s,
        levels=written.levels,
        kinds=written.kinds,
        by_level=written.by_level,
        is_feature=is_feature,
        usd_per_question=written.usd_per_question,
        booked_as=f"decision-model:{name}",
    )
