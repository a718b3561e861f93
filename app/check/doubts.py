"""What looks like a mistake in a configuration and may be none: told, and served all the same."""

import datetime as dt
import importlib.util
import ssl
from collections.abc import Iterable, Iterator, Mapping

from app.api.ops import metrics_refusal
from app.check.credentials import credential_doubts
from app.check.servable import Prepared
from app.config import LoadedConfig, PriceConfig, UpstreamConfig
from app.config.addresses import address_doubt
from app.config.aliases import Aliases
from app.config.document import Document, Remark
from app.config.expected import plain
from app.config.settings import is_loopback
from app.errors import ForbiddenError
from routers.artifact.evidence import Evidence
from routers.models import Capability

PER_TOKEN_USD = 0.005
"""Below this, a price per million tokens is most likely one per token, or per thousand."""
TOO_DEAR_USD = 1000.0
"""No model is priced above this per million tokens; somebody wrote cents, or another currency."""


def doubts(config: LoadedConfig, prepared: Prepared, *, here: bool, today: dt.date) -> list[str]:
    """Return what an operator should look at once more, each in one line.

    Parameters
    ----------
    here
        False leaves out what depends on the machine.
    """
    found = [
        *_of_addresses(config),
        *credential_doubts(config, here=here),
        *_of_timeouts(config),
        *_too_small(config),
        *_of_shares(config),
        *_of_budgets(config),
        *_of_policies(config, prepared),
        *_of_aliases(config),
        *_without_effect(config),
        *(_of_this_machine(config) if here else ()),
    ]
    return [
        *_told(config.document, found),
        *_told(config.catalogue_document, _of_prices(config, today)),
    ]


def _told(document: Document, found: Iterable[Remark]) -> list[str]:
    by_line = sorted(found, key=lambda each: document.line(each.place) or 0)
    return [f"{document.path.name}: {document.told(*each)}" for each in by_line]


_Doubts = Iterator[Remark]


def _of_addresses(config: LoadedConfig) -> _Doubts:
    for name, upstream in config.gateway.upstreams.items():
        if (doubt := address_doubt(upstream.kind, upstream.base_url)) is not None:
            yield Remark(("upstreams", name, "base_url"), doubt)


def _of_timeouts(config: LoadedConfig) -> _Doubts:
    for name, upstream in config.gateway.upstreams.items():
        for field, message in _of_upstream_timeouts(upstream, config):
            yield Remark(("upstreams", name, "timeouts", field), message)
    request_s = config.gateway.server.request_timeout_s
    for name, policy in config.gateway.policies.items():
        for field in ("hedge_after_s", "router_deadline_s"):
            seconds = getattr(policy, field)
            if isinstance(seconds, float) and seconds >= request_s:
                yield Remark(
                    ("policies", name, field),
                    f"{plain(seconds)} seconds are never over within server.request_timeout_s "
                    f"({plain(request_s)})",
                )
    wait_s, told = config.gateway.server.queue_timeout_s, config.gateway.server.model_fields_set
    if "queue_timeout_s" in told and wait_s >= request_s:
        yield Remark(("server", "queue_timeout_s"), "is no shorter than server.request_timeout_s")


def _of_upstream_timeouts(
    upstream: UpstreamConfig, config: LoadedConfig
) -> Iterator[tuple[str, str]]:
    """Compare what is written down; defaults are cut to what they stand under anyway."""
    timeouts, written = upstream.timeouts, upstream.timeouts.model_fields_set
    request_s = config.gateway.server.request_timeout_s
    within: dict[str, tuple[str, ...]] = {
        "connect_s": ("first_token_s", "total_s"),
        "first_token_s": ("total_s",),
        "idle_s": ("total_s",),
        "whole_answer_s": ("total_s",),
        "total_s": (),
    }
    for field, outer in within.items():
        seconds = getattr(timeouts, field)
        longer = [(each, getattr(timeouts, each)) for each in outer]
        longer.append(("server.request_timeout_s", request_s))
        over = next((each for each in longer if seconds > each[1]), None)
        if field in written and over is not None:
            never = f"{plain(seconds)} seconds are never reached"
            yield field, f"{never}: {over[0]} ends it after {plain(over[1])}"


_LEAST: Mapping[str, tuple[float, str]] = {
    "server.max_rss_mb": (150, "an idle gateway holds about 110 MB, so it would serve nobody"),
    "server.max_lag_s": (0.05, "an event loop at work is now and then that late"),
    "server.request_timeout_s": (1, "hardly a model answers within that"),
    "store.timeout_s": (0.005, "Redis on another machine takes as long"),
}
"""What a setting has to be at least for anything to be served, and why."""

_LEAST_DECISION_S = 0.002
_LEAST_UPSTREAM_S = 0.1
_USUAL_IDLE_S = 60.0
"""How long load balancers keep an idle connection by default."""


def _too_small(config: LoadedConfig) -> _Doubts:
    gateway = config.gateway
    for name, (least, why) in _LEAST.items():
        section, field = name.split(".")
        value = getattr(getattr(gateway, section), field)
        if value is not None and value < least:
            yield Remark((section, field), f"{plain(value)} is very little: {why}")
    server = gateway.server
    if server.keep_alive_s <= _USUAL_IDLE_S and not is_loopback(server.host):
        yield Remark(
            ("server", "keep_alive_s"),
            f"{plain(server.keep_alive_s)} seconds are no longer than load balancers keep an idle "
            "connection, which they then use while the gateway closes it: a 502",
        )
    for name, policy in gateway.policies.items():
        if policy.router_deadline_s < _LEAST_DECISION_S:
            yield Remark(
                ("policies", name, "router_deadline_s"),
                f"{plain(policy.router_deadline_s)} seconds are hardly enough for a decision: "
                f"{policy.default_model} would take every request",
            )
    for name, upstream in gateway.upstreams.items():
        for field in ("connect_s", "first_token_s", "idle_s", "whole_answer_s", "total_s"):
            seconds = getattr(upstream.timeouts, field)
            if seconds < _LEAST_UPSTREAM_S and not is_loopback(upstream.base_url.host or ""):
                yield Remark(
                    ("upstreams", name, "timeouts", field),
                    f"{plain(seconds)} seconds are hardly enough for another machine to answer",
                )


def _of_shares(config: LoadedConfig) -> _Doubts:
    for place, allowance in config.gateway.allowances.each():
        for position, cap in enumerate(allowance.shares):
            capped = set(cap.models)
            for name, policy in config.gateway.policies.items():
                if set(policy.candidates) <= capped:
                    yield Remark(
                        (*place, "shares", position, "models"),
                        f"names every candidate of policy {name}: requests beyond the share are "
                        "refused there, since they can go nowhere else",
                    )


def _of_budgets(config: LoadedConfig) -> _Doubts:
    allowances = config.gateway.allowances
    scopes = {"the gateway": allowances.gateway, "every key": allowances.key}
    scopes |= {f"team {name}": each for name, each in allowances.teams.items()}
    under = [name for name, each in scopes.items() if each.budgets]
    policies = config.gateway.policies
    for model_id, spec in config.specs.items():
        prices = spec.prices
        if prices.input_usd_per_mtok is not None and prices.output_usd_per_mtok is not None:
            continue
        if under:
            yield Remark(
                ("models", model_id),
                "has no price, so it is refused where a budget would have to pay, and there is one "
                f"for {', '.join(under)}; give it one in {config.catalogue_document.path.name}",
            )
        for name, policy in policies.items():
            if model_id in policy.candidates and len(policy.candidates) > 1:
                yield Remark(
                    ("policies", name, "candidates"),
                    f"{model_id} has no price and is only chosen where the price does not matter",
                )


def _of_aliases(config: LoadedConfig) -> _Doubts:
    for pattern, _ in Aliases.of(config.gateway.aliases).patterns:
        own = Aliases({}, ((pattern, pattern),))
        models = [each for each in config.gateway.models if own.target(each) is not None]
        if models:
            yield Remark(
                ("aliases", pattern),
                f"does not stand for {', '.join(models)}: a model keeps its name",
            )


def _of_policies(config: LoadedConfig, prepared: Prepared) -> _Doubts:
    for name, policy in prepared.policies.items():
        written = config.gateway.policies[name]
        if len(written.candidates) == 1:
            yield Remark(
                ("policies", name, "candidates"),
                "holds one model, so there is nothing to decide and nothing to fall back on",
            )
        elif len({spec.predicted_as for spec in policy.candidates}) == 1:
            yield Remark(
                ("policies", name, "candidates"),
                f"are all predicted as {policy.candidates[0].predicted_as}, so only the price "
                "tells them apart; set predicted_as, or train on your outcomes",
            )
        guessed = policy.artifact.manifest.get("training", {}).get("without_scores", ())
        for spec in policy.candidates:
            known = policy.evidence[spec.model_id] is not Evidence.PRIOR
            if spec.predicted_as in guessed and not known:
                yield Remark(
                    ("policies", name, "candidates"),
                    f"no result was ever published of {spec.predicted_as}, so {spec.model_id} is "
                    "predicted by price and date alone; `steelyard onboard --name …` asks it some "
                    "prompts",
                )
        if not any(Capability.STREAMING in spec.capabilities for spec in policy.candidates):
            yield Remark(
                ("policies", name, "candidates"),
                "cannot stream, says the catalogue, so requests for a stream are refused",
            )
        if (
            written.max_attempts == 1
            and "fallback" in written.model_fields_set
            and written.fallback
        ):
            yield Remark(("policies", name, "fallback"), "has no effect with max_attempts: 1")


def _without_effect(config: LoadedConfig) -> _Doubts:
    gateway = config.gateway
    used = {place.upstream for model in gateway.models.values() for place in model.places}
    for name in gateway.upstreams.keys() - used:
        yield Remark(("upstreams", name), "serves none of the models")
    for name in gateway.routers.keys() - {each.router for each in gateway.policies.values()}:
        yield Remark(("routers", name), "is used by none of the policies")
    if gateway.stub is not None and not any(
        each.base_url.port == gateway.stub.port for each in gateway.upstreams.values()
    ):
        yield Remark(("stub",), "listens on the port of none of the upstreams: nobody asks it")
    if not gateway.auth.keys_needed:
        for team in gateway.allowances.teams:
            place = ("allowances", "teams", team)
            yield Remark(place, "has no effect: only keys have teams (auth.mode: keys)")
    off = {
        "outcomes": (not gateway.logs_decisions, "there is no decision log (store.data_dir)"),
        "store": (gateway.store.kind == "memory", "it is for store.kind: redis"),
        "auth": (not gateway.auth.keys_needed, "it is for auth.mode: keys"),
    }
    for section, (is_off, why) in off.items():
        written: set[str] = getattr(gateway, section).model_fields_set
        for field in sorted(written & _ONLY_WHERE_ON[section]) if is_off else ():
            yield Remark((section, field), f"has no effect: {why}")


_ONLY_WHERE_ON: Mapping[str, frozenset[str]] = {
    "outcomes": frozenset({"keep_days", "features", "contents", "feedback_per_minute"}),
    "store": frozenset({"redis_url_env", "prefix", "timeout_s", "keys_grace_s", "cache_url_env"}),
    "auth": frozenset({"fresh_s"}),
}
"""Fields that say something only where what their section is about is there."""


def _of_prices(config: LoadedConfig, today: dt.date) -> _Doubts:
    used = {model.spec or model_id for model_id, model in config.gateway.models.items()}
    for spec in sorted(used):
        prices = config.catalogue.models[spec].prices
        place = ("models", spec, "prices")
        for field, usd in _amounts(prices).items():
            if 0 < usd < PER_TOKEN_USD:
                yield Remark(
                    (*place, field),
                    f"{usd:.10g} US dollars per million tokens look like a price per token, or "
                    f"per thousand; that would be {plain(round(usd * 1e6, 6))}, or "
                    f"{plain(round(usd * 1e3, 6))}",
                )
            elif usd > TOO_DEAR_USD:
                yield Remark(
                    (*place, field),
                    f"{plain(usd)} US dollars per million tokens are more than any model costs",
                )
        if prices.date > today + dt.timedelta(days=1):
            yield Remark((*place, "date"), f"{prices.date} has not come yet")
        cached, fresh = prices.cached_input_usd_per_mtok, prices.input_usd_per_mtok
        if cached is not None and fresh is not None and cached > fresh:
            yield Remark(
                (*place, "cached_input_usd_per_mtok"),
                "is more than the price of input that is not cached",
            )


def _amounts(prices: PriceConfig) -> Mapping[str, float]:
    named = (name for name in PriceConfig.model_fields if name.endswith("_usd_per_mtok"))
    amounts = {name: getattr(prices, name) for name in named}
    return {name: usd for name, usd in amounts.items() if usd is not None}


def _of_this_machine(config: LoadedConfig) -> _Doubts:
    gateway = config.gateway
    if gateway.outcomes.sink == "redis" and importlib.util.find_spec("pyarrow") is None:
        yield Remark(
            ("outcomes", "sink"),
            "`steelyard collect`, which empties it, needs an extra that is not installed here: "
            "pip install 'steelyard[train]'",
        )
    if gateway.auth.keys_needed and config.admin_token is None:
        closed = isinstance(metrics_refusal(config, host=gateway.server.host)([]), ForbiddenError)
        yield Remark(
            ("auth", "mode"),
            f"{gateway.auth.admin_token_env} is not set, so there is no /admin"
            f"{', and nobody may read /metrics' if closed else ''}; `steelyard keys` works all the "
            "same",
        )
    asked = [each.base_url for each in gateway.upstreams.values()]
    if any(url.scheme == "https" for url in asked) and not _trusts_anybody():
        yield Remark(
            ("upstreams",),
            "no certificate authority is known here (SSL_CERT_FILE, SSL_CERT_DIR, or the package "
            "ca-certificates), so no https address can be asked",
        )


def _trusts_anybody() -> bool:
    """Return whether certificates can be verified; a folder is read only when one is needed."""
    folder = ssl.get_default_verify_paths().capath
    return bool(ssl.create_default_context().cert_store_stats()["x509_ca"]) or folder is not None
