"""What the dashboards are made of: panels of plain types, laid out in rows of 24 columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.models import common, dashboard

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whichever the viewer chooses; the one that is there by default."""
_PLACE: Mapping[str, str] = {"job": "gateway_build_info", "instance": "gateway_build_info"}
"""Labels that Prometheus gives: other jobs have metrics of the same names (`process_…`)."""
_METRIC = re.compile(r"\b((?:gateway|process)_[a-z_]+)(?:\{([^}]*)\})?")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")
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
    names: Mapping[str, str] | None = None
    """What values mean that are codes."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a viewer may choose, besides the data source, the job and the instance.

    Attributes
    ----------
    labels
        Label → the metric that its values are taken from. A metric without the label is not
        filtered by it.
    labels_of
        Metric → its labels.
    """

    labels: Mapping[str, str]
    labels_of: Mapping[str, Sequence[str]]

    def applied(self, expr: str) -> str:
        """Return an expression that looks at what was chosen alone."""
        return _METRIC.sub(self._selected, expr)

    def _selected(self, found: re.Match[str]) -> str:
        metric, own = found[1], found[2]
        has = self.labels_of.get(metric) or self.labels_of.get(_SUFFIX.sub("", metric), ())
        chosen = [*_PLACE, *(label for label in self.labels if label in has)]
        selectors = [f'{label}=~"${label}"' for label in chosen]
        return f"{metric}{{{','.join([own, *selectors] if own else selectors)}}}"


def build(
    uid: str, title: str, text: str, rows: Sequence[Row], filters: Filters
) -> dashboard.Dashboard:
    """Return the dashboard with its panels laid out."""
    builder = (
        dashboard_builders.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["steelyard"])
        .refresh("10s")
        .time("now-1h", "now")
        .readonly()
        .with_variable(dashboard_builders.DatasourceVariable("datasource").type("prometheus"))
    )
    for label, metric in {**_PLACE, **filters.labels}.items():
        builder.with_variable(_variable(label, metric))
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
            builder.with_panel(_panel(panel, filters).grid_pos(place).id(next(ids)))
            x, deepest = x + panel.width, max(deepest, height)
        y += deepest
    return builder.build()


def _place(x: int, y: int, width: int, height: int) -> dashboard.GridPos:
    return dashboard.GridPos(x=x, y=y, w=width, h=height)


def _variable(label: str, metric: str) -> dashboard_builders.QueryVariable:
    everything = dashboard.VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard_builders.QueryVariable(label)
        .datasource(DATASOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(everything)
    )


def _panel(panel: Panel, filters: Filters) -> stat.Panel | bargauge.Panel | timeseries.Panel:
    builder = _kind(panel)
    builder.title(panel.title).description(panel.text).unit(panel.unit).datasource(DATASOURCE)
    if panel.maximum is not None:
        builder.min(0).max(panel.maximum)
    if panel.names is not None:
        told = {
            code: dashboard.ValueMappingResult(text=name, index=i)
            for i, (code, name) in enumerate(panel.names.items())
        }
        builder.mappings([dashboard.ValueMap(told)])
    for ref_id, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = (
            prometheus.Dataquery().expr(filters.applied(query.expr)).legend_format(query.legend)
        )
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
