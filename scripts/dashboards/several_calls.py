"""Policies whose answers take several calls: how often, why, what it costs, what they learn."""

from scripts.dashboards.panels import Panel, Query, Row

_RATE = "[$__rate_interval]"

SEVERAL_CALLS = Row(
    "Several calls",
    (
        Panel(
            title="Drafts that were accepted",
            text="Of the answers that were held back, by policy and who judged them.",
            queries=[
                Query(
                    "sum by (policy, by)"
                    f' (rate(gateway_drafts_total{{verdict="accepted"}}{_RATE}))'
                    f" / sum by (policy, by) (rate(gateway_drafts_total{_RATE}))",
                    "{{policy}} {{by}}",
                )
            ],
            unit="percentunit",
            maximum=1,
            width=8,
        ),
        Panel(
            title="How requests ended",
            text="What let an answer serve; `skipped` where one choice answered instead.",
            queries=[
                Query(
                    f"sum by (kind, accepted_by, skipped) (rate(gateway_workflows_total{_RATE}))",
                    "{{kind}} {{accepted_by}} {{skipped}}",
                )
            ],
            unit="reqps",
            kind="stacked",
            width=8,
        ),
        Panel(
            title="Stopped by a ceiling",
            text="Requests of which a call was not made, by the ceiling.",
            queries=[
                Query(
                    f"sum by (policy, ceiling) (rate(gateway_workflow_ceilings_total{_RATE}))",
                    "{{policy}} {{ceiling}}",
                )
            ],
            unit="reqps",
            kind="stacked",
            width=8,
        ),
        Panel(
            title="Rounds and calls of a request",
            text="Means; calls that are made at the same time are one round.",
            queries=[
                Query(
                    f"sum by (policy) (rate(gateway_workflow_{each}_sum{_RATE}))"
                    f" / sum by (policy) (rate(gateway_workflow_{each}_count{_RATE}))",
                    f"{{{{policy}}}} {each}",
                )
                for each in ("rounds", "calls")
            ],
            width=8,
        ),
        Panel(
            title="Held back",
            text="For how long answers were, 95 % of requests.",
            queries=[
                Query(
                    "histogram_quantile(0.95, sum by (policy, le)"
                    f" (rate(gateway_held_back_seconds_bucket{_RATE})))",
                    "{{policy}}",
                )
            ],
            unit="s",
            width=8,
        ),
        Panel(
            title="Cost per hour by role",
            text="What drafts, judges, planners, helpers and guards cost beside answers.",
            queries=[
                Query(f"sum by (role) (rate(gateway_cost_usd_total{_RATE})) * 3600", "{{role}}")
            ],
            unit="currencyUSD",
            kind="stacked",
            width=8,
        ),
        Panel(
            title="Learned thresholds",
            text="Predicted quality from which on a cheap answer will do; nine times in ten it"
            " lies between low and high.",
            queries=[
                Query(
                    "max by (policy, bound) (gateway_learned_threshold)",
                    "{{policy}} {{bound}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Learned chances of success",
            text="That a model's answer is accepted, as cascades learned it from verdicts.",
            queries=[
                Query(
                    'max by (policy, model) (gateway_learned_success{bound="estimate"})',
                    "{{policy}} {{model}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Lessons that are not kept yet",
            text="They grow while the store cannot be had; each process goes on with its own.",
            queries=[
                Query(
                    "sum by (policy) (gateway_lessons_waiting)",
                    "{{policy}}",
                )
            ],
            width=8,
        ),
    ),
)
