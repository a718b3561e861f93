"""Upstreams, circuits, fallbacks, the store, and whether what is served is what was written."""

from scripts.dashboards.panels import Panel, Query, Row

_RATE = "[$__rate_interval]"

ROWS = (
    Row(
        "Upstreams",
        (
            Panel(
                title="Calls that failed",
                text="Share of the calls to each upstream.",
                queries=[
                    Query(
                        "(sum by (upstream) (rate(gateway_calls_total"
                        f'{{error!=""}}{_RATE}))'
                        f" or sum by (upstream) (rate(gateway_calls_total{_RATE})) * 0)"
                        f" / sum by (upstream) (rate(gateway_calls_total{_RATE}))",
                        "{{upstream}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Failed calls by error",
                text="hedge_lost is no failure: another call was faster.",
                queries=[
                    Query(
                        "sum by (model, upstream, error)"
                        f" (rate(gateway_upstream_errors_total{_RATE}))",
                        "{{model}} at {{upstream}}: {{error}}",
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                title="Upstream latency",
                text="To the first content, or to the failure.",
                queries=[
                    Query(
                        f"histogram_quantile({q}, sum by (le, model)"
                        f" (rate(gateway_upstream_duration_seconds_bucket{_RATE})))",
                        f"{{{{model}}}} p{round(q * 100)}",
                    )
                    for q in (0.5, 0.95)
                ],
                unit="s",
            ),
            Panel(
                title="Circuits",
                text="Of each model at each upstream, in the process that fares worst.",
                names={"0": "closed", "1": "half-open", "2": "open"},
                queries=[
                    Query(
                        "max by (model, upstream) (gateway_breaker_state)",
                        "{{model}} at {{upstream}}",
                    )
                ],
                maximum=2,
            ),
            Panel(
                title="By cost or by capacity",
                text="What spreads the load of models that are orchestrated.",
                names={"0": "cost", "1": "capacity"},
                queries=[
                    Query(
                        'max by (model) (gateway_orchestration_mode{mode="capacity"})', "{{model}}"
                    )
                ],
                maximum=1,
            ),
            Panel(
                title="Weights",
                text="Of deployments that are orchestrated, as their mode weighs them.",
                queries=[
                    Query(
                        "max by (model, upstream) (gateway_orchestration_weight)",
                        "{{model}} at {{upstream}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Models found loaded",
                text="Share of the calls to machines that load models on demand.",
                queries=[
                    Query(
                        "(sum by (upstream) (rate(gateway_loading_calls_total"
                        f'{{loaded="yes"}}{_RATE}))'
                        f" or sum by (upstream) (rate(gateway_loading_calls_total{_RATE})) * 0)"
                        f" / sum by (upstream) (rate(gateway_loading_calls_total{_RATE}))",
                        "{{upstream}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Loaded models",
                text="What machines that load on demand are taken to have loaded.",
                names={"0": "no", "1": "loaded"},
                queries=[
                    Query(
                        "max by (model, upstream) (gateway_model_loaded)",
                        "{{model}} at {{upstream}}",
                    )
                ],
                maximum=1,
            ),
        ),
    ),
    Row(
        "Deployments",
        (
            Panel(
                title="Share of calls",
                text="Of each model's calls, by where it is served.",
                queries=[
                    Query(
                        f"sum by (model, upstream) (rate(gateway_calls_total{_RATE}))"
                        " / on (model) group_left"
                        f" sum by (model) (rate(gateway_calls_total{_RATE}))",
                        "{{model}} at {{upstream}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Used of quotas",
                text="Of the nearest limit of each deployment that has one, as it is written or its"
                " upstream tells; at 1 it gets no calls that another one takes.",
                queries=[
                    Query(
                        "max by (model, upstream, upstream_model) (gateway_quota_used_ratio)",
                        "{{model}} at {{upstream}} ({{upstream_model}})",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                title="What bandits believe",
                text="How good the late answers of each deployment are taken to be, where a model"
                " is balanced by a bandit.",
                queries=[
                    Query(
                        "max by (model, upstream, upstream_model) (gateway_deployment_success)",
                        "{{model}} at {{upstream}} ({{upstream_model}})",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
        ),
    ),
    Row(
        "Are models what they were?",
        (
            Panel(
                title="Trust",
                text="In each model at each upstream, by the watch over its answers.",
                names={"0": "ok", "1": "returning", "2": "warning", "3": "demoted"},
                queries=[
                    Query(
                        "max by (model, upstream) (gateway_watch_level)",
                        "{{model}} at {{upstream}}",
                    )
                ],
                maximum=3,
            ),
            Panel(
                title="Evidence of a change",
                text="In powers of ten; a warning at 5, a demotion at 7, by default.",
                queries=[
                    Query(
                        "max by (model, upstream) (gateway_watch_evidence)",
                        "{{model}} at {{upstream}}",
                    )
                ],
            ),
            Panel(
                title="Canaries answered wrong",
                text="Of the gateway's own questions.",
                queries=[
                    Query(
                        'sum by (model) (rate(gateway_canaries_total{result="wrong"}[1h]))'
                        ' / sum by (model) (rate(gateway_canaries_total{result!="failed"}[1h]))',
                        "{{model}}",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                title="Other models than were asked for",
                text="Answers that their upstream names otherwise.",
                queries=[
                    Query(
                        f"sum by (model, upstream) (rate(gateway_watch_mismatches_total{_RATE}))",
                        "{{model}} at {{upstream}}",
                    )
                ],
                unit="reqps",
            ),
        ),
    ),
    Row(
        "What was done about it",
        (
            Panel(
                title="Retries",
                text="Calls to a model that had failed in the request.",
                queries=[
                    Query(f"sum by (model) (rate(gateway_retries_total{_RATE}))", "{{model}}")
                ],
                unit="reqps",
                width=8,
            ),
            Panel(
                title="Fallbacks",
                text="Answers by another model than the decided one.",
                queries=[
                    Query(
                        f"sum by (decided_model, model) (rate(gateway_fallbacks_total{_RATE}))",
                        "{{decided_model}} to {{model}}",
                    )
                ],
                unit="reqps",
                width=8,
            ),
            Panel(
                title="Hedges",
                text="Answers for which two calls ran at once, by the one that lost.",
                queries=[
                    Query(
                        f'sum by (role) (rate(gateway_calls_total{{error="hedge_lost"}}{_RATE}))',
                        "{{role}}",
                    )
                ],
                unit="reqps",
                width=8,
            ),
        ),
    ),
    Row(
        "Router and store",
        (
            Panel(
                title="Router failures",
                text="Decisions that went to the policy's default model, and why.",
                queries=[
                    Query(
                        f"sum by (policy, reason) (rate(gateway_router_failures_total{_RATE}))",
                        "{{policy}} {{reason}}",
                    )
                ],
                unit="reqps",
                width=8,
            ),
            Panel(
                title="Store answers",
                text="As the process sees it that fares worst.",
                names={"0": "no", "1": "yes"},
                queries=[Query("min(gateway_store_up)", "up")],
                maximum=1,
                width=8,
            ),
            Panel(
                title="Store operations that failed",
                text="And the feature that suffered.",
                queries=[
                    Query(
                        f"sum by (operation, feature) (rate(gateway_store_errors_total{_RATE}))",
                        "{{operation}} ({{feature}})",
                    )
                ],
                unit="reqps",
                width=8,
            ),
            Panel(
                title="Owed to the store",
                text="Requests whose use has still to be booked.",
                queries=[Query("sum(gateway_store_owed_requests)", "owed")],
                width=8,
            ),
            Panel(
                title="Decision log rows lost",
                text="The writer could not keep up.",
                queries=[Query("sum(increase(gateway_outcomes_dropped_total[$__range]))", "lost")],
                kind="bars",
                width=8,
            ),
            Panel(
                title="Workers and configuration",
                text="Serving processes, and whether the last reload worked.",
                queries=[
                    Query("sum(gateway_workers)", "workers"),
                    Query("min(gateway_config_last_reload_successful)", "reload worked"),
                ],
                width=8,
            ),
        ),
    ),
)
