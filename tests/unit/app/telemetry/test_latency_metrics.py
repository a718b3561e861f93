"""What is counted of predicted times and of those that came."""

import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from loadtest.bench_metrics import configured_metrics, example_outcome
from routers.decisions import Latency

PROMISES, LIMITS = "gateway_latency_promises_total", "gateway_latency_limits_total"
LATENCY = Latency(ttft_s=0.5, ttft_s_upper=1.0, total_s=2.0, total_s_upper=4.0)


def told(*, ttft_s=0.4, total_s=2.5, **changes):
    changes = {"latency": LATENCY, **changes}
    return structs.replace(
        example_outcome("sim-small"), time_to_first_token_s=ttft_s, duration_s=total_s, **changes
    )


@pytest.fixture
def counted():
    metrics = configured_metrics()

    def counted(*outcomes):
        for each in outcomes:
            metrics.record(each)
        return {
            (sample.name, *(sample.labels.get(name) for name in ("of", "promised", "result"))): (
                sample.value
            )
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
            if sample.name in {PROMISES, LIMITS}
            or sample.name.startswith("gateway_latency_ratio_sum")
        }

    return counted


def test_promises_are_kept_or_broken_and_what_came_stands_over_what_was_predicted(counted):
    found = counted(told(), told(ttft_s=1.5), told(ttft_s=1.0, total_s=5.0))
    assert found[PROMISES, "ttft", None, "within"] == 2
    assert found[PROMISES, "ttft", None, "beyond"] == 1
    assert found[PROMISES, "total", None, "within"] == 2
    assert found[PROMISES, "total", None, "beyond"] == 1
    ratios = {of: value for (name, of, *_), value in found.items() if "ratio" in name}
    assert ratios == {
        "ttft": pytest.approx((0.4 + 1.5 + 1.0) / 0.5),
        "total": pytest.approx((2.5 + 2.5 + 5.0) / 2.0),
    }


@pytest.mark.parametrize(
    ("terms", "took_s", "expected"),
    [
        ({"max_latency_ms": 4_000.0}, 3.9, ("total", "met", "kept")),
        ({"max_latency_ms": 4_000.0}, 4.1, ("total", "met", "broken")),
        ({"max_latency_ms": 3_900.0}, 3.8, ("total", "unmet", "kept")),
        ({"max_latency_ms": 3_900.0}, 4.0, ("total", "unmet", "broken")),
        ({"max_ttft_ms": 1_000.0}, 9.0, ("ttft", "met", "kept")),
        ({"max_ttft_ms": 300.0, "latency_weight": 1.0}, 9.0, ("ttft", "unmet", "broken")),
    ],
)
def test_limits_are_counted_by_what_was_promised_and_what_came(counted, terms, took_s, expected):
    found = counted(told(total_s=took_s, latency_terms=terms))
    assert {key[1:]: n for key, n in found.items() if key[0] == LIMITS} == {expected: 1}


@pytest.mark.parametrize(
    "changed", [{"latency": None}, {"error": "upstream_timeout"}, {"ttft_s": None}]
)
def test_of_what_was_not_predicted_or_did_not_come_nothing_is_counted(counted, changed):
    assert counted(told(latency_terms={"max_latency_ms": 1.0}, **changed)) == {}
