"""A policy as it decides about images: one variant of a candidate for each level of detail."""

from dataclasses import replace

from app.config import LoadedConfig, PolicyConfig
from app.gateway.policy import ImageChoice, KnobCurves, Policy
from routers.artifact.artifact import RouterArtifact
from routers.artifact.evidence import Evidence
from routers.media.arms import detail_arm
from routers.media.tokens import LOW
from routers.models import ModelSpec

_AUTO = "auto"
_CLOSEST = ("original", "high", "low")


def choosing_images(
    policy: Policy, config: PolicyConfig, loaded: LoadedConfig, artifact: RouterArtifact
) -> Policy:
    """Return a policy that chooses the detail of images, with itself at each level and `auto`."""
    arms = {spec.model_id: _arms(spec, loaded) for spec in policy.candidates}
    levels = dict.fromkeys(arm.detail for found in arms.values() for arm in found)
    by_level = {
        level: _at(policy, level, arms, artifact, loss=config.images.low_detail_loss)
        for level in (_AUTO, *(level for level in levels if level is not None))
    }
    choice = ImageChoice(
        level=config.images.detail, override=config.images.override, by_level=by_level
    )
    return replace(policy, images=choice)


def _arms(spec: ModelSpec, loaded: LoadedConfig) -> list[ModelSpec]:
    levels = () if spec.media is None else spec.media.details
    found = [loaded.specs.get(detail_arm(spec.model_id, level)) for level in levels]
    return [arm for arm in found if arm is not None]


def _at(
    policy: Policy,
    level: str,
    arms: dict[str, list[ModelSpec]],
    artifact: RouterArtifact,
    *,
    loss: float,
) -> Policy:
    candidates: list[ModelSpec] = []
    columns: list[int] = []
    evidence: dict[str, Evidence] = {}
    losses: list[float] = []
    arm_of: dict[str, str] = {}
    for spec in policy.candidates:
        own = [arm for arm in arms[spec.model_id] if level in (_AUTO, arm.detail)]
        for arm in own or [spec]:
            borrows = arm is not spec and not _knows(artifact, arm)
            if arm is not spec:
                arm_of[arm.model_id] = spec.model_id
            known = _predicted(artifact, arm, like=spec) if arm is not spec else spec
            candidates.append(known)
            columns.append(artifact.column(known.predicted_as))
            evidence[arm.model_id] = (
                Evidence.PRIOR if borrows else artifact.evidence(known.predicted_as)
            )
            losses.append(loss if borrows and arm.detail == LOW else 0.0)
    default = min(
        (arm for arm, candidate in arm_of.items() if candidate == policy.default_model_id),
        key=lambda arm: _CLOSEST.index(_detail(candidates, arm)),
        default=policy.default_model_id,
    )
    chosen = tuple(candidates)
    return replace(
        policy,
        candidates=chosen,
        columns=tuple(columns),
        evidence=evidence,
        knobs=KnobCurves(artifact, chosen),
        default_model_id=default,
        low_detail_losses=tuple(losses) if any(losses) else (),
        arm_of=arm_of,
    )


def _detail(candidates: list[ModelSpec], arm: str) -> str:
    return next(spec.detail or LOW for spec in candidates if spec.model_id == arm)


def _knows(artifact: RouterArtifact, arm: ModelSpec) -> bool:
    return arm.predicted_as in artifact.models or arm.model_id in artifact.models


def _predicted(artifact: RouterArtifact, arm: ModelSpec, *, like: ModelSpec) -> ModelSpec:
    """Have a variant predicted as itself where the artifact knows it, else as its candidate."""
    for name in (arm.predicted_as, arm.model_id):
        if name in artifact.models:
            return replace(arm, predicted_as=name, reasoning_tokens=0)
    return replace(arm, predicted_as=like.predicted_as, reasoning_tokens=like.reasoning_tokens)
