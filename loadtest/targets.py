"""What the gateway is held to, and how the results stand to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]
_FULL, _REDIS = "steelyard full", "steelyard redis"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of the table; `met` is None where the line only tells a number."""

    target: str
    measured: str
    met: bool | None


def _row(results: Results, scenario: str, name: str = _FULL) -> Mapping[str, float]:
    row: Mapping[str, float] = results["overhead"]["scenarios"][scenario][name]
    return row


def _at_most(text: str, value: float, limit: float, unit: str, *, digits: int = 2) -> Verdict:
    measured = f"{value:,.{digits}f} {unit}"
    return Verdict(target=text, measured=measured, met=value <= limit)


def _cpu(results: Results) -> list[Verdict]:
    verdicts = []
    for connections in ("1 connection", "64 connections"):
        pinned = f"pinned, {connections}"
        ours, rust = (_row(results, pinned, name)["cpu_us"] for name in (_FULL, "tensorzero"))
        verdicts.append(
            Verdict(
                target=f"CPU per pinned request, {connections}: at most TensorZero's bare proxying",
                measured=f"{ours:,.0f} µs beside {rust:,.0f} µs ({ours / rust:.2f} times)",
                met=ours <= rust,
            )
        )
        routed = _row(results, f"routed, {connections}")["cpu_us"]
        text = f"CPU per routed request, {connections}: at most 900 µs"
        verdicts.append(_at_most(text, routed, 900, "µs", digits=0))
        for peer, factor in (("litellm", 20), ("portkey", 4)):
            theirs = _row(results, pinned, peer)["cpu_us"]
            verdicts.append(
                Verdict(
                    target=f"{factor} times less than {peer} without routing, {connections}",
                    measured=f"{theirs / routed:.1f} times ({theirs:,.0f} µs there)",
                    met=theirs >= factor * routed,
                )
            )
    return verdicts


def _latency(results: Results) -> list[Verdict]:
    pinned, routed = (_row(results, f"{kind}, 1 connection") for kind in ("pinned", "routed"))
    verdicts = []
    for kind, row, limit in (("pinned", pinned, 0.5), ("routed", routed, 1.2)):
        verdicts.append(
            _at_most(
                f"added to a {kind} request at one connection, p50: at most {limit} ms",
                row["added_latency_ms_p50"],
                limit,
                "ms",
            )
        )
        verdicts.append(
            _at_most(
                f"{kind} request at one connection, p99: at most 4 ms",
                row["latency_ms_p99"],
                4,
                "ms",
            )
        )
    text = "routed at 200 requests/s, open loop, p99: at most 10 ms"
    verdicts.append(
        _at_most(text, _row(results, "routed, 200 requests/s")["latency_ms_p99"], 10, "ms")
    )
    for kind, row in (("pinned", pinned), ("routed", routed)):
        shared = _row(results, f"{kind}, 1 connection", _REDIS)["latency_ms_p50"]
        text = f"{kind} with the Redis store, p50: at most 0.6 ms more than with the embedded one"
        verdicts.append(_at_most(text, shared - row["latency_ms_p50"], 0.6, "ms"))
    return verdicts


def _streams(results: Results) -> list[Verdict]:
    paced, burst = _row(results, "stream paced, pinned"), _row(results, "stream in a burst, pinned")
    idle = results["scale"]["idle streams"]
    return [
        *(
            _at_most(
                f"added to the first chunk at one connection, {kind}, p50: at most {limit} ms",
                _row(results, f"one stream at a time, {kind}")["added_first_chunk_ms_p50"],
                limit,
                "ms",
            )
            for kind, limit in (("pinned", 0.5), ("routed", 1.2))
        ),
        _at_most("CPU per paced chunk, 64 streams: at most 60 µs", paced["chunk_cpu_us"], 60, "µs"),
        _at_most("CPU per chunk of a burst: at most 15 µs", burst["chunk_cpu_us"], 15, "µs"),
        _at_most(
            "no stalls: p99 of a paced chunk's way through at most 20 ms (Nagle costs 40)",
            paced["transit_ms_p99"],
            20,
            "ms",
        ),
        _at_most(
            "1,000 idle streams: at most 60 MB",
            idle["held_mb"]["rss"] - idle["before_mb"]["rss"],
            60,
            "MB",
            digits=0,
        ),
    ]


def _decisions(results: Results) -> list[Verdict]:
    return [
        _at_most(
            f"decision of the shipped router, {row['tokens']} tokens, p50: at most {limit} µs",
            row["cpu_p50"],
            limit,
            "µs of CPU",
            digits=0,
        )
        for row, limit in zip(results["scale"]["decision"]["rows"], (350, 2_000), strict=True)
    ]


def _process(results: Results) -> list[Verdict]:
    starts, rows = results["scale"]["starts"], results["scale"]["endurance"]["rows"]
    ready = starts["ready_s"][len(starts["ready_s"]) // 2]
    early, late = rows[2]["mb"]["rss"], rows[-1]["mb"]["rss"]
    return [
        _at_most("cold start to ready: at most 1.5 s", ready, 1.5, "s"),
        _at_most("idle RSS: at most 120 MB", starts["idle_mb"]["rss"], 120, "MB", digits=0),
        Verdict(
            target=f"RSS flat from {rows[2]['requests']:,} to {rows[-1]['requests']:,} requests",
            measured=f"{early:.0f} → {late:.0f} MB",
            met=late <= 1.1 * early,
        ),
    ]


def _scale(results: Results) -> list[Verdict]:
    scale = results["scale"]
    workers, keys, models = (scale[name]["rows"] for name in ("workers", "keys", "models"))
    speed_up = workers["2 workers"]["rps"] / workers["1 workers"]["rps"]
    growth = keys["100,000 keys"]["cpu_us"] / keys["1 keys"]["cpu_us"]
    few, many = models["2 models"]["cpu_us"], models["200 models"]["cpu_us"]
    sessions = scale["sessions"]["rows"]
    return [
        Verdict(
            target="2 workers serve at least 1.8 times one",
            measured=f"{speed_up:.2f} times",
            met=speed_up >= 1.8,
        ),
        Verdict(
            target="100,000 keys cost no more per request than one",
            measured=f"{growth:.2f} times",
            met=growth <= 1.15,
        ),
        Verdict(
            target="200 models cost at most 100 times 2 models",
            measured=f"{many / few:.1f} times ({few:,.0f} → {many:,.0f} µs)",
            met=many <= 100 * few,
        ),
        Verdict(
            target="a million sessions: memory bounded, cost per turn the same",
            measured=(
                f"{sessions[-1]['kept']:,} kept, {sessions[-1]['rss_mb']:.0f} MB; "
                f"{sessions[0]['us_per_turn']:.1f} → {sessions[-1]['us_per_turn']:.1f} µs"
            ),
            met=sessions[-1]["us_per_turn"] <= 2 * sessions[0]["us_per_turn"],
        ),
    ]


_GROUPS: Mapping[str, Callable[[Results], list[Verdict]]] = {
    "processor": _cpu,
    "latency": _latency,
    "streams": _streams,
    "decision": _decisions,
    "process": _process,
    "scale": _scale,
}


def verdicts(results: Results) -> dict[str, list[Verdict]]:
    """Return the table in groups; one whose results are missing says so."""
    found = {}
    for name, group in _GROUPS.items():
        try:
            found[name] = group(results)
        except (KeyError, ValueError) as error:
            found[name] = [Verdict(target=name, measured=f"not measured ({error})", met=None)]
    return found
