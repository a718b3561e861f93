"""Who spends how much on which models, and how long budgets will last."""

from scripts.dashboards.panels import Panel, Query, Row

_RATE = "[$__rate_interval]"
_BY = "max by (job, scope, name, period)"
"""Every replica tells of the same budgets; gateways of another job have their own."""
_LIMIT, _SPENT, _RESERVED = (
    f"{_BY} (gateway_budget_{each}_usd)" for each in ("limit", "spent", "reserved")
)
_LEFT = f"({_LIMIT} - {_SPENT} - {_RESERVED})"
_BUDGET = "{{scope}} {{name}} per {{period}}"

ROWS = (
    Row(
        "Spending",
        (
            Panel(
                title="Spent",
                text="On every call, in the range.",
                queries=[Query("sum(increase(gateway_cost_usd_total[$__range]))")],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Spent beside answers",
                text="The part of it that went to judges, guards, drafts and helpers.",
                queries=[
                    Query(
                        'sum(increase(gateway_cost_usd_total{role!~"answer|hedge"}[$__range]))'
                        " or vector(0)"
                    )
                ],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Lost on hedges",
                text="Calls that ran beside a faster one.",
                queries=[
                    Query(
                        'sum(increase(gateway_unserved_cost_usd_total{error="hedge_lost"}[$__range]))'
                        " or vector(0)"
                    )
                ],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Forecast for 30 days",
                text="If it goes on as in the last hour.",
                queries=[Query("sum(rate(gateway_cost_usd_total[1h])) * 86400 * 30")],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="By model",
                text="US dollars per hour.",
                queries=[
                    Query(
                        f"sum by (model) (rate(gateway_cost_usd_total{_RATE})) * 3600", "{{model}}"
                    )
                ],
                unit="currencyUSD",
                kind="stacked",
            ),
            Panel(
                title="By base model",
                text="US dollars per hour; variants (`M@NAME`) as their model.",
                queries=[
                    Query(
                        f"sum by (base_model) (sum by (model) (rate(gateway_cost_usd_total{_RATE}))"
                        " * on (model) group_left (base_model) max by (model, base_model)"
                        " (gateway_model_info == 1)) * 3600",
                        "{{base_model}}",
                    )
                ],
                unit="currencyUSD",
                kind="stacked",
            ),
            Panel(
                title="By team",
                text="US dollars per hour; `none` are keys without a team.",
                queries=[
                    Query(
                        f"sum by (team) (rate(gateway_key_cost_usd_total{_RATE})) * 3600",
                        "{{team}}",
                    )
                ],
                unit="currencyUSD",
                kind="stacked",
            ),
            Panel(
                title="By key",
                text="The twenty that spent most in the range.",
                queries=[
                    Query(
                        "topk(20, sum by (key, team)"
                        " (increase(gateway_key_cost_usd_total[$__range])))",
                        "{{key}} ({{team}})",
                    )
                ],
                unit="currencyUSD",
                kind="bars",
            ),
            Panel(
                title="Requests and tokens by key",
                text="The twenty that asked most; tokens in thousands.",
                queries=[
                    Query(
                        "topk(20, sum by (key) (increase(gateway_key_requests_total[$__range])))",
                        "{{key}} requests",
                    ),
                    Query(
                        "topk(20, sum by (key)"
                        " (increase(gateway_key_tokens_total[$__range]))) / 1000",
                        "{{key}} thousand tokens",
                    ),
                ],
                kind="bars",
            ),
        ),
    ),
    Row(
        "Budgets",
        (
            Panel(
                title="Used",
                text="Spent and reserved, of each budget in the period that runs.",
                queries=[
                    Query(
                        f"({_SPENT} + {_RESERVED}) / ({_LIMIT} > 0)",
                        _BUDGET,
                    )
                ],
                unit="percentunit",
                kind="bars",
                maximum=1,
            ),
            Panel(
                title="Left",
                text="US dollars.",
                queries=[Query(_LEFT, _BUDGET)],
                unit="currencyUSD",
            ),
            Panel(
                title="Hours until empty",
                text="If spending goes on as in the last hour; nothing where nothing is spent.",
                queries=[
                    Query(
                        f"{_LEFT} / (clamp_min({_BY} (deriv(gateway_budget_spent_usd[1h])), 0)"
                        " * 3600 > 0)",
                        _BUDGET,
                    )
                ],
                unit="h",
            ),
            Panel(
                title="Refused by limits and budgets",
                text="Requests per second, by whose limit and of what.",
                queries=[
                    Query(
                        f"sum by (scope, resource) (rate(gateway_limit_refusals_total{_RATE}))",
                        "{{scope}} {{resource}}",
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
        ),
    ),
)
