"""What a configuration amounts to, in lines that an operator can compare with what was meant."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from app.check.servable import Prepared
from app.config import AllowanceConfig, LoadedConfig, PolicyConfig
from app.config.expected import plain
from app.gateway.policy import Policy, promise_doubt


def summary(
    config: LoadedConfig, prepared: Prepared, *, here: bool, today: dt.date
) -> Iterator[str]:
    """Return lines: models with prices and their age, policies, limits, and where secrets are.

    Parameters
    ----------
    here
        False says of no variable whether it is set.
    """
    gateway = config.gateway
    yield "models"
    yield from _table([_model(model_id, config, prepared, today) for model_id in gateway.models])
    if prepared.policies:
        yield "policies"
        yield from _table([_policy(name, each, config) for name, each in gateway.policies.items()])
        yield from _promises(prepared.policies)
    if gateway.aliases:
        yield "aliases"
        yield from _table([(name, f"= {target}") for name, target in gateway.aliases.items()])
    limited = _allowances(config)
    yield "limits" if limited else "limits: none"
    yield from _table(limited)
    secrets = _variables(config, here=here)
    yield "secrets" if secrets else "secrets: none are named"
    yield from _table(secrets)


def count(number: int, noun: str) -> str:
    """Return `1 policy`, `2 policies`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells).rstrip()}"


def _model(
    model_id: str, config: LoadedConfig, prepared: Prepared, today: dt.date
) -> tuple[str, ...]:
    model, spec = config.gateway.models[model_id], config.specs[model_id]
    prices = config.catalogue.models[model.spec or model_id].prices
    at = ", ".join(place.upstream for place in model.places)
    told = [_usd(prices.input_usd_per_mtok), _usd(prices.output_usd_per_mtok)]
    # An artifact that was fitted on outcomes of this gateway knows models by the gateway's names.
    predicted_as = {
        each.predicted_as
        for policy in prepared.policies.values()
        for each in policy.candidates
        if each.model_id == model_id
    } or {spec.predicted_as}
    borrowed = sorted(predicted_as - {model_id, model.spec})
    return (
        model_id,
        f"at {at}",
        f"{' / '.join(told)} USD per million tokens in / out{_fee(prices.usd_per_answer)}",
        f"of {prices.date}{_age(prices.date, today)}",
        f"borrows the predictions of {', '.join(borrowed)}" if borrowed else "",
    )


def _fee(usd: float) -> str:
    return f", {usd:g} per answer" if usd else ""


def _usd(price: float | None) -> str:
    return "unknown" if price is None else f"{price:.10g}"


def _age(date: dt.date, today: dt.date) -> str:
    months = (today.year - date.year) * 12 + today.month - date.month
    if months < 2:
        return ""
    return f" ({months} months old)" if months < 24 else f" ({months // 12} years old)"


def _policy(name: str, policy: PolicyConfig, config: LoadedConfig) -> tuple[str, ...]:
    default = name == config.gateway.default_policy
    by = (
        f"cost_quality {policy.cost_quality}"
        if policy.threshold is None
        else f"threshold {policy.threshold}"
    )
    if policy.workflow is not None:
        by += f", workflow {policy.workflow.kind}"
    if policy.tasks:
        by += f", tasks {', '.join(policy.tasks)}"
    return (
        f"auto:{name}{' = auto' if default else ''}",
        f"router {policy.router}, {by}",
        f"of {', '.join(policy.candidates)}; {policy.default_model} where it cannot decide",
    )


def _promises(policies: Mapping[str, Policy]) -> Iterator[str]:
    """Say once for all policies alike whose knob promises what nobody has verified."""
    doubted: dict[str, list[str]] = {}
    for name, policy in policies.items():
        doubt = promise_doubt(policy)
        if doubt is not None:
            doubted.setdefault(doubt, []).append(f"auto:{name}")
    for doubt, names in doubted.items():
        yield f"  {', '.join(names)}: {doubt} (`steelyard calibrate` verifies it on outcomes)"


def _allowances(config: LoadedConfig) -> list[tuple[str, str]]:
    allowances = config.gateway.allowances
    scopes = {"gateway": allowances.gateway, "key": allowances.key}
    scopes |= {f"team {name}": each for name, each in allowances.teams.items()}
    scopes |= {
        f"model {name}": AllowanceConfig(limits=each.limits)
        for name, each in config.gateway.models.items()
    }
    rows = [(name, ", ".join(_said_of(each))) for name, each in scopes.items()]
    return [row for row in rows if row[1]]


def _said_of(allowance: AllowanceConfig) -> Iterator[str]:
    limits = allowance.limits
    for number, unit in (
        (limits.requests_per_minute, "requests a minute"),
        (limits.tokens_per_minute, "tokens a minute"),
        (limits.concurrent_requests, "requests at once"),
    ):
        if number is not None:
            yield f"{number:,} {unit}"
    for budget in allowance.budgets:
        low = (
            f" (knob lowered from {budget.degrade_from:.0%})" if budget.on_low == "degrade" else ""
        )
        yield f"{plain(budget.usd)} USD a {budget.period.value}{low}"
    for cap in allowance.shares:
        yield f"{cap.share:.0%} of routed requests to {' and '.join(cap.models)}"


def _variables(config: LoadedConfig, *, here: bool) -> list[tuple[str, ...]]:
    gateway = config.gateway
    named = [
        (f"key of {name}", each.api_key_env, name in config.secrets)
        for name, each in gateway.upstreams.items()
    ]
    named += [
        (
            f"key of {name}'s decision model",
            each.decision_model.api_key_env,
            name in config.decision_keys,
        )
        for name, each in gateway.policies.items()
        if each.decision_model is not None
    ]
    if gateway.store.kind == "redis":
        named.append(("address of Redis", gateway.store.redis_url_env, bool(config.redis_url)))
        if gateway.store.cache_url_env is not None:
            named.append(("Redis of answers", gateway.store.cache_url_env, bool(config.cache_url)))
    named.append(
        ("token of /metrics", gateway.server.metrics_token_env, bool(config.metrics_token))
    )
    if gateway.auth.keys_needed or config.admin_token is not None:
        named.append(("token of /admin", gateway.auth.admin_token_env, bool(config.admin_token)))
    return [
        (what, f"from {variable}", ("set" if is_set else "not set") if here else "not looked at")
        for what, variable, is_set in named
        if variable is not None
    ]
