"""Artifacts, policies and the names that clients may send."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

from app.assembly.artifacts import inline_chars
from app.assembly.decision_models import build_decision_model
from app.assembly.image_arms import choosing_images
from app.assembly.tasks import build_recogniser, build_tasks
from app.assembly.workflows import build_workflow
from app.config import AffinityConfig, LoadedConfig, PolicyConfig, RouterConfig, StallsConfig
from app.config.aliases import resolved_aliases
from app.config.best_effort import BestEffortConfig
from app.config.models import MARK
from app.config.routing import LatencyConfig
from app.gateway.flags import FlagRule, default_doubt
from app.gateway.latency_terms import LatencyTerms, terms
from app.gateway.names import Names, Pair
from app.gateway.policy import (
    AffinityRule,
    AppDescription,
    BestEffortRule,
    DocumentsRule,
    KnobCurves,
    Policy,
    StallRule,
    WorkflowRule,
)
from routers.artifact.artifact import RouterArtifact
from routers.artifact.evidence import Evidence
from routers.artifact.thresholds import StoredName, stored_thresholds
from routers.decision.switching import SwitchRule
from routers.models import CHAT, ModelSpec
from routers.objectives import CostQuality, Objective, OutputLimit, StrongThreshold
from routers.wishes import Goal

_ASKED_BY = {"parameters"}
"""What of a catalogue entry says how its model is asked."""


def config_version(config: LoadedConfig) -> str:
    """Return twelve hexadecimal digits that change whenever the configuration does."""
    parts = [config.gateway.model_dump_json(), *map(_told, config.specs.values())]
    for model_id, model in config.gateway.models.items():
        entry = config.catalogue.models[model.spec or model_id]
        if entry.parameters is not None or model_id in config.variants:
            variant = config.variants.get(model_id)
            said = "" if variant is None else variant.model_dump_json()
            parts.append(f"{model_id} {entry.model_dump_json(include=_ASKED_BY)} {said}")
    return _fingerprint(parts)


def build_policies(
    config: LoadedConfig, artifacts: Mapping[str, RouterArtifact]
) -> dict[str, Policy]:
    """Join each policy with its artifact and its candidates.

    Raises
    ------
    ConfigError
        If a candidate is predicted as a model that the artifact does not know.
    """
    return {
        name: _policy(name, policy, config, artifacts[policy.router])
        for name, policy in config.gateway.policies.items()
    }


def _policy(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> Policy:
    candidates = tuple(
        _predicted(config.specs[model_id], artifact) for model_id in policy.candidates
    )
    for spec in candidates:
        if spec.predicted_as not in artifact.models:
            raise config.error(
                ("policies", name),
                f"{spec.model_id} is predicted as {spec.predicted_as!r}, which the artifact of "
                f"router {policy.router!r} does not know; set predicted_as to one of: "
                f"{artifact.listed_models(spec.predicted_as)}",
            )
    workflow = (
        None
        if policy.workflow is None
        else build_workflow(name, policy.workflow, config, artifact, candidates)
    )
    parts = (name, policy.model_dump_json(), artifact.version, *map(_told, candidates))
    knobs, apps = KnobCurves(artifact, candidates), policy.describe_apps
    if apps is not None and "task" not in artifact.featurizer.columns():
        raise config.error(
            ("policies", name, "describe_apps"),
            f"router {policy.router!r} does not read what an application is for; name one that "
            "was fitted with the feature block `task` (configs/training/tasks.yaml)",
        )
    built = Policy(
        name=name,
        version=_fingerprint(parts),
        artifact=artifact,
        candidates=candidates,
        columns=tuple(artifact.column(spec.predicted_as) for spec in candidates),
        evidence={spec.model_id: _evidence(spec, artifact) for spec in candidates},
        knobs=knobs,
        default_model_id=policy.default_model,
        objective=_objective(name, policy, config, artifact),
        scorer_model_id=config.gateway.routers[policy.router].scorer,
        output_limit=OutputLimit(policy.output_limit),
        fallback=policy.fallback,
        max_attempts=policy.max_attempts,
        hedge_after_s=policy.hedge_after_s,
        router_deadline_s=policy.router_deadline_s,
        inline_chars=inline_chars(artifact),
        affinity=_affinity(policy.affinity),
        stalls=_stalls(policy.stalls),
        workflow=workflow,
        flags=_flags(name, policy, workflow, config),
        latency=_latency(policy.latency),
        tasks=build_tasks(policy, knobs),
        recogniser=build_recogniser(policy, artifact),
        describes_apps=None
        if apps is None
        else AppDescription(model_id=apps.model, deadline_s=apps.deadline_s),
        decision_model=build_decision_model(name, policy, config, artifact),
        documents=_documents(name, policy, config, artifact),
        withholding=tuple(spec.withholds_documents for spec in candidates),
        load_target=None if policy.load is None else policy.load.target,
        best_effort=_best_effort(policy.best_effort),
    )
    return choosing_images(built, policy, config, artifact) if policy.images.chooses else built


def _latency(written: LatencyConfig | None) -> LatencyTerms | None:
    if written is None:
        return None
    return terms(
        max_total_s=written.max_total_s,
        max_ttft_s=written.max_ttft_s,
        usd_per_s=written.usd_per_s,
        default=None,
    )


def _flags(
    name: str, policy: PolicyConfig, workflow: WorkflowRule | None, config: LoadedConfig
) -> FlagRule:
    """Return which flags a policy takes; its helpers are shown requests, too.

    Raises
    ------
    ConfigError
        If what holds of every request cannot be heeded, or nobody meets it.
    """
    helpers = [config.gateway.routers[policy.router].scorer]
    helpers += [] if policy.describe_apps is None else [policy.describe_apps.model]
    if policy.decision_model is not None and policy.decision_model.model is not None:
        helpers.append(policy.decision_model.model)
    if workflow is not None:
        helpers += workflow.workflow.asks(policy.candidates)
    most = policy.flags.max.model_dump()
    rule = FlagRule(
        allow=frozenset(policy.flags.allow),
        most={goal: most[goal.value] for goal in Goal},
        default=policy.flags.defaults,
        in_prompt=policy.flags.in_prompt,
        helpers=tuple(config.specs[each] for each in helpers if each in config.specs),
    )
    doubt = default_doubt(rule, [config.specs[each] for each in policy.candidates])
    if doubt is not None:
        raise config.error(("policies", name, "flags", "default"), doubt)
    return rule


def _predicted(spec: ModelSpec, artifact: RouterArtifact) -> ModelSpec:
    """Have a model predicted as itself where the artifact knows it, but nothing it is likened to.

    `predicted_as` likens a model to one of the shipped artifact's. An artifact that was fitted on
    the gateway's own outcomes calls models what the gateway calls them.
    """
    names = (spec.predicted_as, spec.model_id)
    known = next((name for name in names if name in artifact.models), None)
    if known is not None:
        # Lengths that were predicted of a variant itself hold what it reasons.
        reasoning_tokens = 0 if MARK in known else spec.reasoning_tokens
        return replace(spec, predicted_as=known, reasoning_tokens=reasoning_tokens)
    if spec.variant_of is None:
        return spec
    base = next(
        (name for name in (spec.base_predicted_as, spec.variant_of) if name in artifact.models),
        spec.predicted_as,
    )
    return replace(spec, predicted_as=base or spec.predicted_as)


def _evidence(spec: ModelSpec, artifact: RouterArtifact) -> Evidence:
    """Return what a prediction rests on; of a variant that borrows it, on nothing of its own."""
    borrows = (
        spec.variant_of is not None
        and spec.predicted_as in (spec.base_predicted_as, spec.variant_of)
        # The same model on the same question, alone: that is predicted, not borrowed.
        and not (spec.withholds_documents and spec.effort is None)
    )
    return Evidence.PRIOR if borrows else artifact.evidence(spec.predicted_as)


def _affinity(config: AffinityConfig) -> AffinityRule | None:
    if not config.enabled:
        return None
    return AffinityRule(
        rule=SwitchRule(cache_lifetime_s=config.cache_lifetime_s, margin_usd=config.margin_usd),
        lifetime_s=config.ttl_s,
    )


def _best_effort(config: BestEffortConfig | None) -> BestEffortRule | None:
    if config is None:
        return None
    return BestEffortRule(
        tiers=config.tiers,
        deadline_s=config.deadline_ms / 1e3,
        learned=config.by == "learned",
    )


def _stalls(config: StallsConfig | None) -> StallRule | None:
    if config is None:
        return None
    return StallRule(
        cost_quality=config.cost_quality, housekeeping_cost_quality=config.housekeeping
    )


def _documents(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> DocumentsRule | None:
    reads = artifact.featurizer.sets_documents_apart
    for position, model_id in enumerate(policy.candidates):
        if config.specs[model_id].withholds_documents and not reads:
            # It would look as good as with them, and cheaper.
            raise config.error(
                ("policies", name, "candidates", position),
                f"{model_id} is asked without documents, of which the artifact of router "
                f"{policy.router!r} knows nothing; fit one with the block `documents` "
                "(configs/training/ragrouter.yaml)",
            )
    if policy.documents is not None and policy.documents.features:
        return DocumentsRule(theta=policy.documents.theta)
    if policy.documents is not None and reads:
        raise config.error(
            ("policies", name, "documents", "features"),
            f"the artifact of router {policy.router!r} was fitted on what documents come to; leave "
            "`features: false` out, or fit one without the block `documents`",
        )
    return DocumentsRule() if reads else None  # it was fitted on them


_STORED_BY: Mapping[StoredName, str] = {
    "calibrated": "--strong-share",
    "max-drop": "--max-drop",
    "guaranteed": "--max-quality-drop",
}
"""The option of `steelyard calibrate` that finds each threshold."""


def _objective(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> Objective:
    """Return what the policy decides by where a request does not say."""
    threshold, router = policy.threshold, config.gateway.routers[policy.router]
    if threshold is None or router.pair is None:
        return CostQuality(policy.knob)
    strong, weak = router.pair.strong, router.pair.weak
    if isinstance(threshold, int | float):
        return StrongThreshold(strong=strong, weak=weak, threshold=threshold)
    stored = _stored_thresholds(router, config, artifact)
    if threshold not in stored:
        wanted = _STORED_BY[threshold]
        names = " and ".join(
            _predicted(config.specs[each], artifact).predicted_as for each in (strong, weak)
        )
        raise config.error(
            ("policies", name, "threshold"),
            f"router {policy.router!r} has no {threshold} threshold between {names}; `steelyard "
            f"calibrate --strong … --weak … {wanted} …` stores one in the artifact (scores of a "
            "scorer cannot be calibrated)",
        )
    return stored[threshold]


def _stored_thresholds(
    router: RouterConfig, config: LoadedConfig, artifact: RouterArtifact
) -> dict[StoredName, StrongThreshold]:
    """Return what calibration stored of the router's pair; what it says of others is not told."""
    if router.pair is None or router.scorer is not None:
        return {}
    strong, weak = router.pair.strong, router.pair.weak
    predicted_as = [
        _predicted(config.specs[each], artifact).predicted_as for each in (strong, weak)
    ]
    return {
        name: StrongThreshold(
            strong=strong, weak=weak, threshold=each.threshold, statement=each.statement
        )
        for name, each in stored_thresholds(artifact.manifest).items()
        if [each.strong, each.weak] == predicted_as
    }


def _told(spec: ModelSpec) -> str:
    """Return everything of a model as text, the same in every process: sets have no order."""
    return f"{replace(spec, capabilities=frozenset())!r} {sorted(spec.capabilities)}"


def _fingerprint(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def build_names(config: LoadedConfig, policies: Mapping[str, Policy]) -> Names:
    """Collect every name that a client may send.

    Raises
    ------
    ConfigError
        If the pair of a router is not among the candidates of any policy that uses it.
    """
    pairs = {}
    for name, router in config.gateway.routers.items():
        if router.pair is None:
            continue
        wanted = {router.pair.strong, router.pair.weak}
        policy = next(
            (
                policies[policy_name]
                for policy_name, each in config.gateway.policies.items()
                if each.router == name and wanted <= set(each.candidates)
            ),
            None,
        )
        if policy is None:
            raise config.error(
                ("routers", name, "pair"),
                "no policy of this router has both models among its candidates",
            )
        policy.knobs.get(frozenset(wanted))  # no request should wait for its curve
        pairs[name] = Pair(
            policy=policy,
            strong=router.pair.strong,
            weak=router.pair.weak,
            stored=_stored_thresholds(router, config, policy.artifact),
        )
    gateway = config.gateway
    aliases = resolved_aliases(gateway.aliases, gateway.models, gateway.policies, gateway.routers)
    for alias, target in (*aliases.exact.items(), *aliases.patterns):
        name, _, text = target.removeprefix("router-").partition("-")
        if text in get_args(StoredName) and text not in pairs[name].stored:
            raise config.error(
                ("aliases", alias), f"router {name!r} has no {text} threshold between its pair"
            )
    return Names(
        aliases=aliases,
        model_ids=frozenset(config.gateway.models),
        policies=policies,
        default_policy=config.gateway.default_policy,
        pairs=pairs,
        unlisted=frozenset(
            arm
            for policy in policies.values()
            if policy.images is not None
            for arm in policy.images.by_level["auto"].arm_of
        ),
        others={name: spec for name, spec in config.specs.items() if spec.kind != CHAT},
        specs=config.specs,
    )
