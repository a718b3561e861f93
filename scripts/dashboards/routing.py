"""Where traffic goes and why, what the knob promised, what came of it, what was saved."""

from scripts.dashboards.panels import Panel, Query, Row
from scripts.dashboards.several_calls import SEVERAL_CALLS

_RATE = "[$__rate_interval]"


def _savings(baseline: str) -> str:
    paid = "sum(increase(gateway_compared_cost_usd_total[$__range]))"
    instead = f'sum(increase(gateway_baseline_cost_usd_total{{baseline="{baseline}"}}[$__range]))'
    return f"{instead} - {paid}"


def _quality(of: str) -> str:
    return f'sum by (policy) (rate(gateway_expected_quality_total{{of="{of}"}}{_RATE}))'


def _share_of_gap(of: str) -> str:
    gap = f"{_quality('best')} - {_quality('cheapest')}"
    return f"({_quality(of)} - {_quality('cheapest')}) / ({gap} > 0)"


ROWS = (
    Row(
        "Saved",
        (
            Panel(
                title="Saved against always the strongest model",
                text="Predicted cost of the strongest candidate on the same requests, less what was"
                " paid for scorers, hedges and answers.",
                queries=[Query(_savings("strongest"))],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Saved against always the default model",
                text="The same against each policy's default model; negative where routing cost"
                " more, for better answers.",
                queries=[Query(_savings("default"))],
                unit="currencyUSD",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Decisions per second",
                text="Requests that were decided, pinned ones included.",
                queries=[Query(f"sum(rate(gateway_decisions_total{_RATE}))")],
                unit="reqps",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Decided by the default model",
                text="Decisions that the router could not make: it failed, or was too slow.",
                queries=[
                    Query(
                        f"(sum(rate(gateway_router_failures_total{_RATE})) or vector(0))"
                        f" / sum(rate(gateway_decisions_total{_RATE}))"
                    )
                ],
                unit="percentunit",
                kind="stat",
                width=6,
                red_from=0.01,
            ),
            Panel(
                title="Cost per hour: paid, and what other rules would have paid",
                text="Baselines from the predictions of the same requests; `chosen` is what was"
                " predicted of the models that served, to tell savings from prediction errors.",
                queries=[
                    Query(
                        f"sum by (baseline) (rate(gateway_baseline_cost_usd_total{_RATE})) * 3600",
                        "{{baseline}}",
                    ),
                    Query(f"sum(rate(gateway_compared_cost_usd_total{_RATE})) * 3600", "paid"),
                ],
                unit="currencyUSD",
            ),
            Panel(
                title="Cost and predicted quality so far",
                text="Each model's mean cost per answer; with the panel of predicted quality, the"
                " cost-quality curve that traffic has drawn so far.",
                queries=[
                    Query(
                        "sum by (model) (increase(gateway_realised_cost_usd_total[$__range]))"
                        " / sum by (model) (increase(gateway_cost_ratio_count[$__range]))",
                        "{{model}}",
                    )
                ],
                unit="currencyUSD",
                kind="bars",
                width=6,
            ),
            Panel(
                title="Predicted quality of what served",
                text="Mean over the answers of the range, by model.",
                queries=[
                    Query(
                        "sum by (model) (increase(gateway_predicted_quality_sum[$__range]))"
                        " / sum by (model) (increase(gateway_predicted_quality_count[$__range]))",
                        "{{model}}",
                    )
                ],
                unit="percentunit",
                kind="bars",
                width=6,
                maximum=1,
            ),
        ),
    ),
    Row(
        "Where traffic goes",
        (
            Panel(
                title="Answers by model",
                text="Requests per second by the model that served.",
                queries=[
                    Query(f"sum by (model) (rate(gateway_decisions_total{_RATE}))", "{{model}}")
                ],
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                title="Decisions by reason",
                text="`knob` is the router's own choice; `fallback`, `router_timeout` and"
                " `router_error` are not.",
                queries=[
                    Query(f"sum by (reason) (rate(gateway_decisions_total{_RATE}))", "{{reason}}")
                ],
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                title="Knob",
                text="Mean position that requests were decided at, after budgets lowered it.",
                queries=[
                    Query(
                        f"sum by (policy) (rate(gateway_cost_quality_asked_sum{_RATE}))"
                        f" / sum by (policy) (rate(gateway_cost_quality_asked_count{_RATE}))",
                        "{{policy}}",
                    )
                ],
                maximum=1,
            ),
            Panel(
                title="Turns of conversations",
                text="Why they stayed on their model or left it.",
                queries=[
                    Query(
                        f"sum by (reason) (rate(gateway_session_turns_total{_RATE}))", "{{reason}}"
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
        ),
    ),
    SEVERAL_CALLS,
    Row(
        "Load",
        (
            Panel(
                title="Tier in force",
                text="The lowest tier that takes more than a few of a policy's requests; 1 is the"
                " best one.",
                queries=[Query("max by (policy) (gateway_best_effort_tier)", "{{policy}}")],
                width=8,
            ),
            Panel(
                title="Wait that a tier is expected to have",
                text="Of one more call, before it is worked on; the worst of all workers.",
                queries=[Query("max by (model) (gateway_tier_wait_seconds)", "{{model}}")],
                unit="s",
                width=8,
            ),
            Panel(
                title="Price of models near their limits",
                text="What they cost more where a policy with `load` chooses, in quality.",
                queries=[
                    Query(
                        "max by (policy, model) (gateway_load_price)",
                        "{{policy}} {{model}}",
                    )
                ],
                width=8,
            ),
            Panel(
                title="Used of what models take",
                text="By all replicas together, of the nearest limit.",
                queries=[
                    Query(
                        "max by (policy, model) (gateway_load_used_ratio)",
                        "{{policy}} {{model}}",
                    )
                ],
                unit="percentunit",
                width=8,
            ),
            Panel(
                title="Answers later than their deadline",
                text="Of policies with tiers; over 5 % for ten minutes, an alert tells.",
                queries=[
                    Query(
                        "sum by (policy) (rate(gateway_best_effort_answers_total"
                        f'{{in_time="false"}}{_RATE}))'
                        f" / sum by (policy) (rate(gateway_best_effort_answers_total{_RATE}))",
                        "{{policy}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
                width=8,
            ),
        ),
    ),
    Row(
        "Promise and reality",
        (
            Panel(
                title="Share of the quality gap: promised and chosen",
                text="Promised by the knob, and predicted of the models that served, between the"
                " cheapest candidate (0) and the best (1).",
                queries=[
                    Query(_share_of_gap("promised"), "{{policy}} promised"),
                    Query(_share_of_gap("served"), "{{policy}} chosen"),
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Labelled and predicted quality",
                text="Mean of the labels that came in, and of what was predicted of the same"
                " answers; apart by 0.1 for a day, an alert tells.",
                queries=[
                    Query(
                        "sum(increase(gateway_labelled_quality_total[$__range]))"
                        " / sum(increase(gateway_labels_total[$__range]))",
                        "labelled",
                    ),
                    Query(
                        "sum(increase(gateway_labelled_predicted_quality_total[$__range]))"
                        " / sum(increase(gateway_labels_total[$__range]))",
                        "predicted",
                    ),
                ],
                maximum=1,
            ),
            Panel(
                title="Cost: paid over predicted",
                text="1 is right on the whole; each model's answers together.",
                queries=[
                    Query(
                        f"sum by (model) (rate(gateway_realised_cost_usd_total{_RATE}))"
                        f" / sum by (model) (rate(gateway_predicted_cost_usd_total{_RATE}))",
                        "{{model}}",
                    )
                ],
            ),
            Panel(
                title="Output tokens: written over predicted",
                text="1 is right on the whole; each model's answers together.",
                queries=[
                    Query(
                        f"sum by (model) (rate(gateway_realised_output_tokens_total{_RATE}))"
                        " / sum by (model)"
                        f" (rate(gateway_predicted_output_tokens_total{_RATE}))",
                        "{{model}}",
                    )
                ],
            ),
        ),
    ),
    Row(
        "Drift",
        (
            Panel(
                title="Familiarity of prompts",
                text="Of sampled prompts; 5 % of the training data are not `familiar` either.",
                queries=[
                    Query(
                        "sum by (familiarity) (increase(gateway_drift_prompts_total[$__range]))",
                        "{{familiarity}}",
                    )
                ],
                kind="bars",
                width=8,
            ),
            Panel(
                title="Distance to the training data",
                text="Median of sampled prompts: one minus the cosine to the nearest centre.",
                queries=[
                    Query(
                        "histogram_quantile(0.5, sum by (policy, le)"
                        " (increase(gateway_drift_distance_bucket[$__range])))",
                        "{{policy}}",
                    )
                ],
                width=8,
                maximum=1,
            ),
            Panel(
                title="Scores by tenth of the calibration queries",
                text="Flat where traffic is like the calibration queries.",
                queries=[
                    Query("sum by (bin) (increase(gateway_score_bin_total[$__range]))", "{{bin}}")
                ],
                kind="bars",
                width=8,
            ),
        ),
    ),
)
