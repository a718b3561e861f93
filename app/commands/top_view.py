"""What a running gateway does now, told from two looks at its metrics."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_BREAKER_STATES = ("closed", "half-open", "open")
_HOUR_S = 3600.0

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Every sample of `/metrics` at one time; `at_s` is monotonic."""

    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def of(cls, text: str, *, at_s: float) -> "Look":
        """Parse Prometheus' text format.

        Raises
        ------
        ValueError
            If it is not that.
        """
        samples: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
        return cls(at_s, samples)

    def gauge(self, name: str) -> float:
        """Return the sum of a gauge."""
        return sum(self.samples.get(name, {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """What one model did in the window, and spent since the gateway started."""

    model: str
    requests_per_s: float
    share: float | None
    usd_per_hour: float
    spent_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """Where the circuit of one deployment stands."""

    model: str
    upstream: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown; rates and quantiles are of the window, of which None is not known."""

    window_s: float
    requests_per_s: float
    errors_per_s: float
    in_flight: int
    queued: int
    overhead_p50_ms: float | None
    overhead_p99_ms: float | None
    time_to_first_token_p50_ms: float | None
    spent_usd: float
    usd_per_hour: float
    usd_per_hour_by_role: Mapping[str, float]
    """What calls were for: the dearest first."""
    saved_usd: float | None
    """Against the strongest model having answered everything, since the start."""
    models: tuple[ModelView, ...]
    reasons_per_s: Mapping[str, float]
    refusals_per_s: Mapping[str, float]
    breakers: tuple[BreakerView, ...]
    labels: int
    outcomes_dropped: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def view(before: Look, now: Look) -> View:
    """Return what happened between two looks."""
    window_s = max(now.at_s - before.at_s, 1e-9)
    requests = _grown(before, now, "gateway_requests_total")
    spent = _by(now.samples.get("gateway_cost_usd_total", {}), "model")
    spending = _by(_grown(before, now, "gateway_cost_usd_total"), "model")
    answered = _by(
        {labels: n for labels, n in requests.items() if dict(labels)["model"] != "none"}, "model"
    )
    n_answered = sum(answered.values())
    return View(
        window_s=round(window_s, 3),
        requests_per_s=sum(requests.values()) / window_s,
        errors_per_s=sum(n for labels, n in requests.items() if dict(labels)["error"]) / window_s,
        in_flight=round(now.gauge("gateway_requests_in_flight")),
        queued=round(now.gauge("gateway_requests_queued")),
        overhead_p50_ms=_quantile_ms(before, now, "gateway_overhead_seconds", 0.5),
        overhead_p99_ms=_quantile_ms(before, now, "gateway_overhead_seconds", 0.99),
        time_to_first_token_p50_ms=_quantile_ms(
            before, now, "gateway_time_to_first_token_seconds", 0.5
        ),
        spent_usd=sum(spent.values()),
        usd_per_hour=sum(spending.values()) / window_s * _HOUR_S,
        usd_per_hour_by_role=_rates(
            before, now, "gateway_cost_usd_total", "role", window_s / _HOUR_S
        ),
        saved_usd=_saved_usd(now),
        models=tuple(
            ModelView(
                model=model,
                requests_per_s=answered.get(model, 0.0) / window_s,
                share=answered.get(model, 0.0) / n_answered if n_answered else None,
                usd_per_hour=spending.get(model, 0.0) / window_s * _HOUR_S,
                spent_usd=spent.get(model, 0.0),
            )
            for model in sorted(
                {*answered, *spent}, key=lambda each: (-answered.get(each, 0.0), each)
            )
        ),
        reasons_per_s=_rates(before, now, "gateway_decisions_total", "reason", window_s),
        refusals_per_s=_rates(
            before, now, "gateway_limit_refusals_total", "scope", window_s, also="resource"
        ),
        breakers=tuple(
            BreakerView(
                model=dict(labels)["model"],
                upstream=dict(labels)["upstream"],
                state=_BREAKER_STATES[int(level)],
            )
            for labels, level in sorted(now.samples.get("gateway_breaker_state", {}).items())
        ),
        labels=round(now.gauge("gateway_feedback_total")),
        outcomes_dropped=round(now.gauge("gateway_outcomes_dropped_total")),
    )


def _grown(before: Look, now: Look, name: str) -> dict[Labels, float]:
    """Return by how much a counter grew; one that began anew has grown by what it is."""
    old = before.samples.get(name, {})
    grown = {}
    for labels, value in now.samples.get(name, {}).items():
        difference = value - old.get(labels, 0.0)
        grown[labels] = value if difference < 0 else difference
    return grown


def _by(samples: Mapping[Labels, float], name: str, *, also: str | None = None) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for labels, value in samples.items():
        named = dict(labels)
        sums[named[name] if also is None else f"{named[name]} {named[also]}"] += value
    return dict(sums)


def _rates(
    before: Look, now: Look, name: str, label: str, window_s: float, *, also: str | None = None
) -> dict[str, float]:
    sums = _by(_grown(before, now, name), label, also=also)
    return {each: n / window_s for each, n in sorted(sums.items(), key=lambda x: -x[1]) if n}


def _quantile_ms(before: Look, now: Look, name: str, q: float) -> float | None:
    """Estimate a quantile from the buckets of a histogram, evenly within each."""
    sums = _by(_grown(before, now, f"{name}_bucket"), "le")
    buckets = sorted((math.inf if le == "+Inf" else float(le), n) for le, n in sums.items())
    if not buckets or buckets[-1][1] == 0:
        return None
    wanted = q * buckets[-1][1]
    low, below = 0.0, 0.0
    for high, n in buckets:
        if n >= wanted:
            if math.isinf(high) or n == below:
                return low * 1e3
            return (low + (high - low) * (wanted - below) / (n - below)) * 1e3
        low, below = high, n
    return low * 1e3


def _saved_usd(now: Look) -> float | None:
    """Return what was not spent, router included, where the gateway tells its baselines."""
    baselines = now.samples.get("gateway_baseline_cost_usd_total", {})
    strongest = [n for labels, n in baselines.items() if ("baseline", "strongest") in labels]
    if not strongest:
        return None
    return sum(strongest) - now.gauge("gateway_compared_cost_usd_total")


def render(shown: View, *, url: str) -> RenderableType:
    """Return the view for a terminal."""
    head = []
    head.append(
        _line(
            _fact("requests/s", f"{shown.requests_per_s:.1f}"),
            _fact("errors/s", f"{shown.errors_per_s:.2f}", bad=shown.errors_per_s > 0),
            _fact("in flight", str(shown.in_flight)),
            _fact("queued", str(shown.queued), bad=shown.queued > 0),
            _fact(
                "overhead p50/p99 ms", f"{_ms(shown.overhead_p50_ms)}/{_ms(shown.overhead_p99_ms)}"
            ),
            _fact("first token p50 ms", _ms(shown.time_to_first_token_p50_ms)),
        )
    )
    head.append(
        _line(
            _fact("spent", f"${shown.spent_usd:.4f}"),
            _fact("per hour", f"${shown.usd_per_hour:.4f}"),
            _fact("saved", "-" if shown.saved_usd is None else f"${shown.saved_usd:.4f}"),
            _fact("labels", str(shown.labels)),
            _fact("rows lost", str(shown.outcomes_dropped), bad=shown.outcomes_dropped > 0),
        )
    )
    models = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "requests/s", "share", "$/hour", "spent $", "circuit"):
        models.add_column(name, justify="left" if name in ("model", "circuit") else "right")
    states = _states(shown.breakers)
    named = {each.model for each in shown.models}
    for each in shown.models:
        share = "-" if each.share is None else f"{each.share:.0%}"
        models.add_row(
            escape(each.model),
            f"{each.requests_per_s:.1f}",
            share,
            f"{each.usd_per_hour:.4f}",
            f"{each.spent_usd:.4f}",
            states.get(each.model, Text("-")),
        )
    for model in sorted(states.keys() - named):
        models.add_row(escape(model), "0.0", "-", "-", "-", states[model])
    lines: list[RenderableType] = [
        Text(f"{url}   (the last {shown.window_s:.1f} s)", style="bold"),
        *head,
        models,
    ]
    for title, rates in (("why", shown.reasons_per_s), ("refused", shown.refusals_per_s)):
        if rates:
            told = "  ".join(f"{name} {rate:.1f}/s" for name, rate in rates.items())
            lines.append(Text(f"{title}: {told}"))
    if shown.usd_per_hour_by_role:
        told = "  ".join(f"{name} ${usd:.4f}" for name, usd in shown.usd_per_hour_by_role.items())
        lines.append(Text(f"$/hour by role: {told}"))
    return Group(*lines)


def _states(breakers: Iterable[BreakerView]) -> dict[str, Text]:
    worst: dict[str, int] = {}
    for each in breakers:
        level = _BREAKER_STATES.index(each.state)
        worst[each.model] = max(level, worst.get(each.model, 0))
    styles = ("green", "yellow", "red")
    return {
        model: Text(_BREAKER_STATES[level], style=styles[level]) for model, level in worst.items()
    }


def _fact(name: str, value: str, *, bad: bool = False) -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, "bold red" if bad else "bold"))


def _line(*facts: Text) -> RenderableType:
    """Return facts side by side; where they do not fit, the line breaks between two of them."""
    return Columns(facts, padding=(0, 3))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"
