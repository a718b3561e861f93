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
            assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            assert all(target["refId"] for target in panel["targets"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


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
