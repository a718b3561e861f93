"""Rate, errors, duration; what the gateway adds; how full it is."""

from scripts.dashboards.panels import Panel, Query, Row

_RATE = "[$__rate_interval]"


def _quantiles(metric: str, *, by: str = "") -> list[Query]:
    labels = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        Query(
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{_RATE})))",
            f"{legend}p{round(q * 100)}",
        )
        for q in ((0.5, 0.95) if by else (0.5, 0.95, 0.99))
    ]


ROWS = (
    Row(
        "Requests",
        (
            Panel(
                title="Requests by status",
                text="Every request of /v1/chat/completions and /v1/route.",
                queries=[
                    Query(
                        f"sum by (route, status_class) (rate(gateway_requests_total{_RATE}))",
                        "{{route}} {{status_class}}",
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                title="Failures by error",
                text="The codes that clients are told; client_disconnected is their own doing.",
                queries=[
                    Query(
                        f'sum by (error) (rate(gateway_requests_total{{error!=""}}{_RATE}))',
                        "{{error}}",
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                title="Whole answers",
                text="From the request to the end of the answer.",
                queries=_quantiles("gateway_request_duration_seconds", by="model"),
                unit="s",
            ),
            Panel(
                title="First token",
                text="From the request to the first content.",
                queries=_quantiles("gateway_time_to_first_token_seconds", by="model"),
                unit="s",
            ),
            Panel(
                title="Time per output token",
                text="Of streamed answers, after the first token.",
                queries=_quantiles("gateway_time_per_output_token_seconds", by="model"),
                unit="s",
            ),
            Panel(
                title="Answers within the predicted time",
                text="Share that came within what nine of ten were predicted to stay below; .9 is"
                " right.",
                queries=[
                    Query(
                        "sum by (model, of) (rate(gateway_latency_promises_total"
                        f'{{result="within"}}{_RATE}))'
                        f" / sum by (model, of) (rate(gateway_latency_promises_total{_RATE}))",
                        "{{model}} {{of}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Time over predicted time",
                text="Whole answers, against the median that was predicted.",
                queries=[
                    Query(
                        "histogram_quantile(0.5, sum by (le, model)"
                        f' (rate(gateway_latency_ratio_bucket{{of="total"}}{_RATE})))',
                        "{{model}}",
                    )
                ],
            ),
            Panel(
                title="Limits on time that were missed",
                text="Share of the answers that had one; unmet: nobody was predicted to keep it.",
                queries=[
                    Query(
                        "sum by (policy, promised) (rate(gateway_latency_limits_total"
                        f'{{result="broken"}}{_RATE}))'
                        f" / on (policy) group_left sum by (policy)"
                        f" (rate(gateway_latency_limits_total{_RATE}))",
                        "{{policy}}, {{promised}}",
                    )
                ],
                unit="percentunit",
                maximum=1,
            ),
            Panel(
                title="Tokens per second",
                text="By class.",
                queries=[Query(f"sum by (class) (rate(gateway_tokens_total{_RATE}))", "{{class}}")],
                kind="stacked",
            ),
        ),
    ),
    Row(
        "What the gateway adds",
        (
            Panel(
                title="Overhead",
                text="Time until the answer begins that is not the upstream's.",
                queries=_quantiles("gateway_overhead_seconds"),
                unit="s",
            ),
            Panel(
                title="Decision by stage",
                text="Mean of one decision out of 32.",
                queries=[
                    Query(
                        "sum by (stage) (increase(gateway_decide_stage_seconds_sum[$__range]))"
                        " / sum by (stage)"
                        " (increase(gateway_decide_stage_seconds_count[$__range]))",
                        "{{stage}}",
                    )
                ],
                unit="s",
                kind="bars",
            ),
            Panel(
                title="Decision",
                text="From the parsed request to the decision.",
                queries=_quantiles("gateway_decide_duration_seconds"),
                unit="s",
            ),
            Panel(
                title="Response cache",
                text="What it did for requests.",
                queries=[
                    Query(
                        f"sum by (state) (rate(gateway_cache_requests_total{_RATE}))", "{{state}}"
                    )
                ],
                unit="reqps",
                kind="stacked",
            ),
        ),
    ),
    Row(
        "Saturation",
        (
            Panel(
                title="Requests at once",
                text="Being handled, waiting for a place, and how many places there are.",
                queries=[
                    Query("sum(gateway_requests_in_flight)", "handled"),
                    Query("sum(gateway_requests_queued)", "waiting"),
                    Query("sum(gateway_requests_limit)", "places"),
                ],
                width=8,
            ),
            Panel(
                title="Who waits",
                text="For places of the gateway, and of models that take only so many calls.",
                queries=[
                    Query(
                        "sum by (queue, priority) (gateway_queue_waiting)", "{{queue}} {{priority}}"
                    )
                ],
                width=8,
            ),
            Panel(
                title="How long they wait",
                text="Of those that had to wait, the slowest twentieth.",
                queries=[
                    Query(
                        "histogram_quantile(0.95, sum by (queue, priority, le)"
                        f" (rate(gateway_queue_wait_seconds_bucket{_RATE})))",
                        "{{queue}} {{priority}}",
                    )
                ],
                unit="s",
                width=8,
            ),
            Panel(
                title="Fairness of queues",
                text="Jain's index of what waiting keys got for their weights; 1 is even.",
                queries=[Query("min by (queue) (gateway_queue_fairness)", "{{queue}}")],
                maximum=1.0,
                width=8,
            ),
            Panel(
                title="Event loop lag",
                text="How late the event loop was.",
                queries=_quantiles("gateway_event_loop_lag_seconds"),
                unit="s",
                width=8,
            ),
            Panel(
                title="Processor cores",
                text="In use, all workers together.",
                queries=[Query(f"sum(rate(process_cpu_seconds_total{_RATE}))", "used")],
                width=8,
            ),
            Panel(
                title="Memory",
                text="Resident, all workers together.",
                queries=[Query("sum(process_resident_memory_bytes)", "resident")],
                unit="bytes",
                width=8,
            ),
            Panel(
                title="Open files",
                text="Connections and files, all workers together.",
                queries=[Query("sum(process_open_fds)", "open")],
                width=8,
            ),
            Panel(
                title="What is served",
                text="Policies with their artifact; a step tells of a reload.",
                queries=[
                    Query(
                        "count by (policy, policy_version, artifact_version)"
                        " (gateway_policy_info == 1)",
                        "{{policy}} {{policy_version}} ({{artifact_version}})",
                    )
                ],
                width=8,
            ),
        ),
    ),
    Row(
        "Batches",
        (
            Panel(
                title="Batches by state",
                text="That are not over, whoever works at them; validating: not begun.",
                queries=[Query("max by (status) (gateway_batches_open)", "{{status}}")],
                kind="stacked",
                width=8,
            ),
            Panel(
                title="Requests of batches",
                text="Done, by their outcome; left_out: no budget or capacity was left for them.",
                queries=[
                    Query(
                        f"sum by (outcome) (rate(gateway_batch_requests_total{_RATE}))",
                        "{{outcome}}",
                    )
                ],
                unit="reqps",
                kind="stacked",
                width=8,
            ),
            Panel(
                title="Requests of batches that failed",
                text="Share of those that were done.",
                queries=[
                    Query(
                        f'sum(rate(gateway_batch_requests_total{{outcome="failed"}}{_RATE}))'
                        f" / sum(rate(gateway_batch_requests_total{_RATE}))",
                        "failed",
                    )
                ],
                unit="percentunit",
                maximum=1,
                width=8,
            ),
            Panel(
                title="Batches that ended",
                text="By how they did.",
                queries=[
                    Query("sum by (status) (increase(gateway_batches_total[1h]))", "{{status}}")
                ],
                width=8,
            ),
            Panel(
                title="Money of batches",
                text="Of those with a budget that are not over: spent, and what they may spend.",
                queries=[Query("max by (of) (gateway_batches_budget_usd)", "{{of}}")],
                unit="currencyUSD",
                width=8,
            ),
            Panel(
                title="How long batches take",
                text="Age of the oldest one that is not over; for how long nothing came of one in"
                " progress.",
                queries=[
                    Query("max(gateway_batches_oldest_seconds)", "oldest"),
                    Query("max(gateway_batches_idle_seconds)", "without progress"),
                ],
                unit="s",
                width=8,
            ),
        ),
    ),
)
