"""Simulated load: fleets, bursts and replicas in seconds, with the gateway's own classes.

    python -m loadtest.sim                        the scenarios
    python -m loadtest.sim mixed-lengths          a table, and var/sim/mixed-lengths.svg
    python -m loadtest.sim replay --log data.parquet

Ends with 1 where a bound is not kept. docs/guides/latency-and-load.md says what is simulated.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.processes import ROOT
from loadtest.sim.colours import hues_of
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting
from routers.errors import RoutingError
from scripts.dashboards.drawing import draw


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.sim", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenario", nargs="?", help="its name; without one all are listed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="seconds only, as tests run it")
    parser.add_argument("--log", type=Path, help="what `steelyard export` wrote")
    parser.add_argument("--out", type=Path, help="the plot; default: var/sim/NAME.svg")
    options = parser.parse_args(arguments)
    if options.scenario is None:
        for name in SCENARIOS.kinds():
            print(f"{name:16} {_title(SCENARIOS.get(name))}")
        return 0
    try:
        scenario = SCENARIOS.get(options.scenario)
        report = scenario().run(Setting(seed=options.seed, short=options.short, log=options.log))
    except RoutingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.scenario}: {_title(scenario)}\n\n{table(report.rows)}")
    for note in report.notes:
        print(f"\n{note}")
    if report.plots:
        out = options.out or ROOT / "var" / "sim" / f"{options.scenario}.svg"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(
            draw(
                _title(scenario),
                f"seed {options.seed}",
                report.plots,
                duration_s=report.duration_s,
                hues=hues_of(report.plots),
            )
        )
        print(f"\nplot: {out}")
    print(f"\n{verdicts(report)}")
    return 0 if all(each.holds for each in report.verdicts) else 1


def table(rows: Sequence[Row]) -> str:
    """Return rows as text, numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in cells
    )


def verdicts(report: Report) -> str:
    """Return what must be reached, and what was."""
    lines = []
    for each in report.verdicts:
        bounds = []
        if each.at_least is not None:
            bounds.append(f"at least {each.at_least:g}")
        if each.at_most is not None:
            bounds.append(f"at most {each.at_most:g}")
        mark = "ok  " if each.holds else "MISS"
        lines.append(f"{mark} {each.claim}: {each.measured:.3f} ({', '.join(bounds)})")
    return "\n".join(lines)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}"


def _title(scenario: type[Scenario]) -> str:
    return (inspect.getdoc(scenario) or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
