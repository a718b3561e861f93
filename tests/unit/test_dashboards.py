"""Dashboards, rules and documentation tell of the instruments that there are, and of each."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.instruments import instruments, table

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "configs/dashboards"
RULES = sorted((DASHBOARDS / "rules").glob("*.yml"))
PLAIN = {"row", "stat", "timeseries", "bargauge"}
"""Panel types that every Grafana has; this project cannot start one in its tests."""
METRIC = re.compile(r"\b((?:gateway|process)_[a-z_]+)(\{[^}]*\})?")
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


def rules(kind):
    return [
        rule
        for file in RULES
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


def expressions():
    for file in sorted((DASHBOARDS / "grafana").glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in rules("expr"))


def test_the_committed_dashboards_are_what_their_source_gives(tmp_path):
    pytest.importorskip("grafana_foundation_sdk", reason="needs the development dependencies")
    command = [sys.executable, "-m", "scripts.make_dashboards", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    made = sorted(tmp_path.glob("*.json"))
    assert len(made) == 4
    for file in made:
        committed = (DASHBOARDS / "grafana" / file.name).read_text(encoding="utf-8")
        assert committed == file.read_text(encoding="utf-8"), (
            f"{file.name} is not what `python -m scripts.make_dashboards` writes"
        )


@pytest.mark.parametrize("file", sorted((DASHBOARDS / "grafana").glob("*.json")), ids=str)
def test_a_dashboard_keeps_to_plain_panels_that_do_not_overlap(file):
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    assert dashboard["uid"] == f"steelyard-{file.stem}"
    taken = set()
    for panel in dashboard["panels"]:
        assert panel["type"] in PLAIN
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["refId"] for target in panel["targets"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("file", sorted((DASHBOARDS / "grafana").glob("*.json")), ids=str)
def test_a_dashboard_fits_any_grafana_and_looks_at_the_gateways_that_are_chosen(file):
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    labels_of = {each.name: each.labels for each in instruments()}
    for name in set(variables) - {"datasource"}:
        metric = re.fullmatch(rf"label_values\((\w+), {name}\)", variables[name]["query"])[1]
        assert name in (*labels_of[metric], "job", "instance")
        assert variables[name]["includeAll"]
        assert variables[name]["allValue"] == ".*"
        assert variables[name]["current"]["value"] == "$__all"
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            for metric in METRIC.findall(target["expr"]):
                name, selected = metric
                assert 'job=~"$job",instance=~"$instance"' in selected, target["expr"]
                labels = labels_of.get(name) or labels_of.get(SUFFIX.sub("", name), ())
                for label in set(variables) & set(labels):
                    assert f'{label}=~"${label}"' in selected, target["expr"]


def test_rules_tell_jobs_apart_and_count_a_budget_of_many_replicas_once():
    for rule in rules("expr"):
        aggregations = re.findall(r"\b(?:sum|min|max|avg|count)\b[^(]*\(([^)]*)\)", rule["expr"])
        assert all("job" in labels.split(", ") for labels in aggregations), rule["expr"]
    budget = next(each for each in rules("record") if each["record"].endswith("budget_used:ratio"))
    assert budget["expr"].count("max by (job, scope, name, period)") == 3


def test_the_rules_of_the_operator_are_the_same():
    told = yaml.safe_load((ROOT / "configs/k8s/rules.yaml").read_text(encoding="utf-8"))
    groups = [
        group
        for file in RULES
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    assert told["spec"]["groups"] == groups


def test_panels_and_rules_ask_only_for_what_there_is():
    known = {each.name for each in instruments()} | {rule["record"] for rule in rules("record")}
    for expression in expressions():
        for name in re.findall(r"\b(?:gateway|process|steelyard)[a-z_0-9:]+", expression):
            base = re.sub(r"_(?:bucket|sum|count)$", "", name)
            assert name in known or base in known, f"{name} in {expression}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_finds_no_fault_in_rules_and_configuration():
    for arguments in (("rules", *map(str, RULES)), ("config", str(DASHBOARDS / "prometheus.yml"))):
        checked = subprocess.run(
            ["promtool", "check", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert():
    sections = re.split(r"(?m)^## ", (ROOT / "docs/runbook.md").read_text(encoding="utf-8"))[1:]
    told = {each.splitlines()[0].strip(): each for each in sections}
    alerts = {rule["alert"]: rule for rule in rules("alert")}
    assert set(told) == set(alerts)
    for name, rule in alerts.items():
        for part in ("**Means**", "**Look at**", "**Do**"):
            assert part in told[name], f"{part} of {name}"
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_the_documentation_lists_every_instrument_as_it_is():
    told = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    assert table() in told, "run `python -m tests.support.instruments` and put its table there"


def test_names_follow_the_conventions_of_prometheus():
    for each in instruments():
        assert re.fullmatch(r"(?:gateway|process)_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert not re.search(r"_(?:ms|milliseconds|minutes|mb|percent)(?:_|$)", each.name)
        assert each.text.endswith("."), each.name
