"""One cell of the table: a scenario sent to a target, processor time and latencies of it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadtest.load import Plan, Report
from loadtest.peers import Target
from loadtest.processes import Cores, Helper, foreign_cpu_s
from loadtest.scenarios import Scenario, write

Cell = dict[str, float]
"""What one run gave, by name of the figure."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all runs share: where files go, which cores measure, for how long."""

    directory: Path
    cores: Cores
    seconds: float

    def plan(self, scenario: Scenario, target: Target) -> Plan:
        """Return what the load generator is told."""
        model = target.routed_model if scenario.routed else target.pinned_model
        assert model is not None  # noqa: S101  (`gets` leaves out those that do not route)
        return Plan(
            port=target.port,
            path=target.path,
            requests=str(write(scenario, model, self.directory)),
            headers=target.headers,
            keys=None if target.keys is None else str(target.keys),
            mode=scenario.mode,
            connections=scenario.connections,
            rate=scenario.rate,
            seconds=self.seconds,
            warm_up=scenario.warm_up,
        )

    def run(self, scenario: Scenario, target: Target) -> Cell:
        """Send a scenario to a target once.

        Raises
        ------
        RuntimeError
            If the target fails requests: then there is nothing to measure.
        """
        process = target.process
        with Helper("loadtest.load", cores=self.cores.around) as helper:
            helper.tell(msgspec.json.encode(self.plan(scenario, target)).decode())
            ready = helper.hear()
            if set(ready["warm_up"]) - {"200"}:
                raise RuntimeError(f"{target.name} answered {ready['warm_up']}: {ready['example']}")
            cpu_s = 0.0 if process is None else process.cpu_s()
            foreign_s = foreign_cpu_s(but=helper.pid)
            helper.tell("go")
            report = msgspec.convert(helper.hear(), Report)
            cpu_s = 0.0 if process is None else process.cpu_s() - cpu_s
            foreign_s = foreign_cpu_s(but=helper.pid) - foreign_s - report.load_cpu_s
        if report.problems:
            raise RuntimeError(f"{target.name}: {report.problems} {report.example}")
        foreign_cores = max(0.0, foreign_s / report.elapsed_s)
        return _cell(scenario, report, cpu_s) | {"foreign_cores": foreign_cores}


def _cell(scenario: Scenario, report: Report, cpu_s: float) -> Cell:
    cell: Cell = {
        "requests": report.requests,
        "rps": report.requests / report.elapsed_s,
        "cpu_us": cpu_s * 1e6 / max(1, report.requests),
        "load_cpu_us": report.load_cpu_s * 1e6 / max(1, report.requests),
        "busy": cpu_s / report.elapsed_s,
    }
    if scenario.per_chunk and report.chunks:
        cell["chunk_cpu_us"] = cpu_s * 1e6 / report.chunks
        cell["chunks_per_s"] = report.chunks / report.elapsed_s
    for name in ("latency_ms", "first_chunk_ms", "transit_ms", "late_ms"):
        spread = getattr(report, name)
        if spread is not None:
            cell[f"{name}_p50"], cell[f"{name}_p99"] = spread.p50, spread.p99
    return cell


def rounds(
    bench: Bench,
    scenario: Scenario,
    targets: Sequence[Target],
    *,
    n: int,
    skipped: dict[str, str],
    keep: int | None = None,
) -> dict[str, list[Cell]]:
    """Run a scenario `n` times on each target, in alternating order.

    With `keep`, only so many rounds count: those in which other work took least of the machine,
    whole rounds, so that all targets were measured beside the same. A target that fails is left
    out from then on, and why is noted in `skipped`.
    """
    cells: dict[str, list[Cell]] = {target.name: [] for target in targets}
    for number in range(n):
        for target in targets if number % 2 == 0 else list(reversed(targets)):
            place = f"{target.name}: {scenario.name}"
            if place in skipped:
                continue
            try:
                cells[target.name].append(bench.run(scenario, target))
            except (RuntimeError, TimeoutError) as error:
                skipped[place] = str(error)[:300]
                cells.pop(target.name, None)
    found = {name: rows for name, rows in cells.items() if rows}
    together = zip(*found.values(), strict=True)
    disturbed = [sum(row["foreign_cores"] for row in rows) for rows in together]
    kept = sorted(range(len(disturbed)), key=disturbed.__getitem__)[:keep]
    return {name: [rows[number] for number in sorted(kept)] for name, rows in found.items()}


def summary(cells: Mapping[str, Sequence[Cell]]) -> dict[str, dict[str, Any]]:
    """Return medians over the rounds, the spread of processor time, and what was added to direct.

    What is added is the median over the rounds of the difference within a round.
    """
    base = cells.get("direct", ())
    summed = {}
    for name, rows in cells.items():
        row: dict[str, Any] = {
            figure: _rounded(statistics.median(each[figure] for each in rows))
            for figure in rows[0]
            if all(figure in each for each in rows)
        }
        used = [each["cpu_us"] for each in rows]
        row["cpu_us_min"], row["cpu_us_max"] = _rounded(min(used)), _rounded(max(used))
        row["rounds"] = len(rows)
        if name != "direct" and len(base) == len(rows):
            for figure in ("latency_ms_p50", "latency_ms_p99", "first_chunk_ms_p50"):
                if figure in row and figure in base[0]:
                    pairs = zip(rows, base, strict=True)
                    row[f"added_{figure}"] = _rounded(
                        statistics.median(ours[figure] - plain[figure] for ours, plain in pairs)
                    )
        summed[name] = row
    return summed


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
