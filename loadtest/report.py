"""docs/benchmarks/overhead.md and its plot, made from the results alone.

What stands between the two marks of the page is replaced; what is written around them stays.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from loadtest.plot import draw
from loadtest.processes import ROOT
from loadtest.targets import verdicts

OVERHEAD = ROOT / "loadtest" / "results" / "overhead.json"
SCALE = ROOT / "loadtest" / "results" / "scale.json"
PAGE = ROOT / "docs" / "benchmarks" / "overhead.md"
PLOT = ROOT / "docs" / "benchmarks" / "overhead.svg"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"

_NONE = "-"

Row = Mapping[str, Any]


def lines_of(name: str, rows: Mapping[str, Row]) -> str:
    """Return a scenario's rows as text, for the console."""
    lines = [f"## {name}"]
    for target, row in rows.items():
        cells = [f"{target:18} {row['rps']:8,.0f}/s  cpu {row['cpu_us']:7,.0f} µs"]
        cells.append(f"({row['cpu_us_min']:,.0f}-{row['cpu_us_max']:,.0f})")
        if "chunk_cpu_us" in row:
            cells.append(f"per chunk {row['chunk_cpu_us']:6.1f} µs, {row['chunks_per_s']:,.0f}/s")
        cells.append(f"p50 {row['latency_ms_p50']:.3f} p99 {row['latency_ms_p99']:.2f} ms")
        if "first_chunk_ms_p50" in row:
            cells.append(f"first chunk {row['first_chunk_ms_p50']:.2f} ms")
            cells.append(f"transit {row['transit_ms_p50']:.2f}/{row['transit_ms_p99']:.1f} ms")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def against(now: Row, before: Row) -> str:
    """Return how processor time relates to an older result, also after the machine's own drift.

    The drift is what the load generator's own requests to the plain upstream cost, now and then.
    """
    lines = [
        (
            f"against commit {before['machine']['commit']} of {before['machine']['date']} "
            f"(load {before['machine']['load_average_before'][0]}, now "
            f"{now['machine']['load_average_before'][0]}); below 1 is faster"
        ),
        f"{'':30}{'then µs':>10}{'now µs':>10}{'ratio':>8}{'machine':>9}{'adjusted':>10}",
    ]
    for name, rows in now["scenarios"].items():
        then = before["scenarios"].get(name, {})
        for target, row in rows.items():
            if target == "direct" or target not in then:
                continue
            figure = "chunk_cpu_us" if "chunk_cpu_us" in row else "cpu_us"
            ratio = row[figure] / then[target][figure]
            drift = rows["direct"]["load_cpu_us"] / then["direct"]["load_cpu_us"]
            lines.append(
                f"{name:30}{then[target][figure]:10,.1f}{row[figure]:10,.1f}{ratio:8.2f}"
                f"{drift:9.2f}{ratio / drift:10.2f}"
            )
    return "\n".join(lines)


def refresh() -> None:
    """Write the page and the plot anew from the results that are there."""
    if not OVERHEAD.exists():
        return
    overhead = msgspec.json.decode(OVERHEAD.read_bytes())
    scale = msgspec.json.decode(SCALE.read_bytes()) if SCALE.exists() else {}
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    measured = "\n\n".join(_sections(overhead, scale))
    PAGE.write_text(f"{before}{_BEGIN}\n\n{measured}\n\n{_END}{after}")
    PLOT.write_text(draw(overhead["scenarios"]))


def _sections(overhead: Row, scale: Row) -> list[str]:
    sections = [_about(overhead), "## Against the targets", _targets(overhead, scale)]
    sections += ["## Beside others", "![CPU per request and per chunk](overhead.svg)"]
    sections += [_peers(overhead), "## Every scenario", _scenarios(overhead)]
    if scale:
        sections += ["## What grows with what", *_growth(scale)]
    return sections


def _about(result: Row) -> str:
    machine = result["machine"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in result["versions"].items()
        if not name.startswith("steelyard")
    )
    lines = [
        (
            f"- **Machine**: {machine['cpu']}, {machine['cores']} cores (virtual), "
            f"Python {machine['python']}, Linux {machine['kernel']}; load average "
            f"{machine['load_average_before'][0]} before, {machine['load_average_after'][0]} after "
            "(the measurement itself keeps both cores busy)."
        ),
        f"- **What**: commit {machine['commit']}, {machine['date'][:10]}; beside it {versions}.",
        (
            f"- **How**: {result['rounds']} rounds of {result['seconds']:g} s each, medians; every "
            "gateway gets every round, each second round backwards." + _kept(result)
        ),
    ]
    if result["skipped"]:
        skipped = "; ".join(f"{name} ({why})" for name, why in result["skipped"].items())
        lines.append(f"- **Left out**: {skipped}.")
    return "\n".join(lines)


def _kept(result: Row) -> str:
    if result["rounds_kept"] == result["rounds"]:
        return ""
    return (
        f" Of every scenario the {result['rounds_kept']} rounds count in which other work took "
        "least of the machine, whole rounds for all."
    )


def _targets(overhead: Row, scale: Row) -> str:
    rows = []
    for group in verdicts({"overhead": overhead, "scale": scale}).values():
        for verdict in group:
            met = {True: "yes", False: "**no**", None: ""}[verdict.met]
            rows.append([verdict.target, verdict.measured, met])
    return table(["target", "measured", "met"], rows, right=0)


def _peers(result: Row) -> str:
    scenarios, rows = result["scenarios"], []

    def figure(scenario: str, name: str, key: str, digits: int = 0) -> str:
        value = scenarios.get(scenario, {}).get(name, {}).get(key)
        return _NONE if value is None else f"{value:,.{digits}f}"

    for name in ("direct", *result["versions"]):
        starts = result["starts"].get(name, {})
        idle, after = (starts.get(key, {}).get("pss") for key in ("idle_mb", "after_mb"))
        rows.append(
            [
                name,
                figure("pinned, 64 connections", name, "rps"),
                figure("pinned, 64 connections", name, "cpu_us") if starts else _NONE,
                figure("pinned, 1 connection", name, "latency_ms_p50", 2),
                figure("one stream at a time, pinned", name, "first_chunk_ms_p50", 2),
                figure("stream paced, pinned", name, "chunk_cpu_us", 0) if starts else _NONE,
                figure("stream paced, pinned", name, "transit_ms_p99", 1),
                f"{idle:.0f} → {after:.0f}" if starts else _NONE,
                f"{starts['ready_s']:.1f} s" if starts else _NONE,
            ]
        )
    head = [
        "gateway, model named by the client",
        "requests/s, 64 connections",
        "CPU µs per request",
        "p50 at one connection, ms",
        "first chunk, ms",
        "CPU µs per chunk, 64 paced streams",
        "p99 of a chunk's way, ms",
        "PSS MB idle → after",
        "start",
    ]
    return table(head, rows)


def _scenarios(result: Row) -> str:
    rows = []
    for scenario, found in result["scenarios"].items():
        for name, row in found.items():
            if name == "direct":
                continue
            per_chunk = "chunk_cpu_us" in row
            used = f"{row['cpu_us']:,.0f}"
            if per_chunk:
                used = f"{row['chunk_cpu_us']:,.1f} a chunk"
            rows.append(
                [
                    scenario,
                    name,
                    used,
                    f"{row['cpu_us_min']:,.0f}-{row['cpu_us_max']:,.0f}",
                    f"{row['rps']:,.0f}",
                    f"{row['latency_ms_p50']:,.2f}",
                    f"{row['latency_ms_p99']:,.2f}",
                    f"{row['added_latency_ms_p50']:,.2f}",
                ]
            )
    head = ["scenario", "gateway", "CPU µs", "a request, min-max", "requests/s"]
    return table([*head, "p50 ms", "p99 ms", "p50 added"], rows, right=2)


def _growth(scale: Row) -> list[str]:
    sections = []
    for name in ("keys", "models", "workers"):
        if name not in scale:
            continue
        rows = [
            [
                size,
                f"{row['cpu_us']:,.0f}",
                f"{row['rps']:,.0f}",
                f"{row['latency_ms_p50']:,.2f}",
                f"{row['idle_mb']['rss']:.0f} → {row['after_mb']['rss']:.0f}",
                f"{row['ready_s']:.1f} s",
            ]
            for size, row in scale[name]["rows"].items()
            if size != "direct"
        ]
        head = [scale[name]["scenario"], "CPU µs", "requests/s", "p50 ms", "RSS MB", "start"]
        sections.append(table(head, rows, right=1))
    if "endurance" in scale:
        rows = [
            [f"{row['requests']:,}", str(row.get("cpu_us", "")), f"{row['mb']['rss']:.0f}"]
            for row in scale["endurance"]["rows"]
        ]
        head = ["routed requests, a session each", "CPU µs", "RSS MB"]
        sections.append(table(head, rows, right=0))
    if "idle streams" in scale:
        idle = scale["idle streams"]
        sections.append(
            f"{idle['streams']:,} idle streams: RSS {idle['before_mb']['rss']:.0f} → "
            f"{idle['held_mb']['rss']:.0f} MB while they are open, {idle['after_mb']['rss']:.0f} "
            f"MB afterwards; {idle['cpu_percent_while_held']:.1f} % of a core meanwhile."
        )
    return sections


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 1) -> str:
    """Return a Markdown table; columns from `right` on are numbers (0: none)."""
    marks = ["--:" if number >= right and right else "---" for number in range(len(head))]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]
    return "\n".join(lines)
