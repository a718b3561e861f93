"""What the dashboards are made of: panels of plain types, laid out in rows of 24 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.models import common, dashboard

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="prometheus")
_COLUMNS = 24
_HEIGHT = {"stat": 4, "lines": 8, "stacked": 8, "bars": 8}


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and the legend of its series (`{{label}}` stands for a label)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; `kind` is stat, lines, stacked or bars, `width` is out of 24 columns."""

    title: str
    text: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "lines"
    width: int = 12
    maximum: float | None = None
    red_from: float | None = None
    """Where the value is bad, for stats."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


def build(uid: str, title: str, text: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Return the dashboard with its panels laid out."""
    builder = (
        dashboard_builders.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["steelyard"])
        .refresh("10s")
        .time("now-1h", "now")
        .readonly()
    )
    y, ids = 0, count(1)
    for row in rows:
        heading = dashboard_builders.Row(row.title).grid_pos(_place(0, y, _COLUMNS, 1))
        builder.with_row(heading.id(next(ids)))
        x, y, deepest = 0, y + 1, 0
        for panel in row.panels:
            height = _HEIGHT[panel.kind]
            if x + panel.width > _COLUMNS:
                x, y, deepest = 0, y + deepest, 0
            place = _place(x, y, panel.width, height)
            builder.with_panel(_panel(panel).grid_pos(place).id(next(ids)))
            x, deepest = x + panel.width, max(deepest, height)
        y += deepest
    return builder.build()


def _place(x: int, y: int, width: int, height: int) -> dashboard.GridPos:
    return dashboard.GridPos(x=x, y=y, w=width, h=height)


def _panel(panel: Panel) -> stat.Panel | bargauge.Panel | timeseries.Panel:
    builder = _kind(panel)
    builder.title(panel.title).description(panel.text).unit(panel.unit).datasource(DATASOURCE)
    if panel.maximum is not None:
        builder.min(0).max(panel.maximum)
    for ref_id, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        target.ref_id(ref_id)
        if panel.kind in ("stat", "bars"):
            target.instant()
        else:
            target.range()
        builder.with_target(target)
    return builder


def _kind(panel: Panel) -> stat.Panel | bargauge.Panel | timeseries.Panel:
    if panel.kind == "stat":
        steps = [dashboard.Threshold(color="green", value=None)]
        if panel.red_from is not None:
            steps.append(dashboard.Threshold(color="red", value=panel.red_from))
        thresholds = (
            dashboard_builders.ThresholdsConfig()
            .mode(dashboard.ThresholdsMode.ABSOLUTE)
            .steps(steps)
        )
        value = stat.Panel().thresholds(thresholds).graph_mode(common.BigValueGraphMode.NONE)
        return value.color_mode(common.BigValueColorMode.VALUE)
    if panel.kind == "bars":
        bars = bargauge.Panel().orientation(common.VizOrientation.HORIZONTAL)
        return bars.display_mode(common.BarGaugeDisplayMode.BASIC)
    legend = common_builders.VizLegendOptions().show_legend(show_legend=True)
    legend.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM)
    lines = timeseries.Panel().line_width(1).legend(legend)
    if panel.kind == "stacked":
        stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
        lines.stacking(stacking).fill_opacity(40)
    return lines
