"""Write the Grafana dashboards of `configs/dashboards/grafana` and the rules of `configs/k8s` anew.

    python -m scripts.make_dashboards [FOLDER]

Dashboards are described in `scripts/dashboards`; the rules are those of `configs/dashboards/rules`,
as the Prometheus operator takes them. Tests hold the committed files against that. With a folder,
the dashboards alone are written, there.
"""

import json
import sys
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.dashboards import reliability, routing, service, spend
from scripts.dashboards.panels import Filters, build
from tests.support.instruments import instruments

_CONFIGS = Path(__file__).parents[1] / "configs"
FOLDER = _CONFIGS / "dashboards/grafana"
OPERATOR_RULES = _CONFIGS / "k8s/rules.yaml"
_OPERATOR_RULES_HEAD = """\
# configs/dashboards/rules for the Prometheus operator, by `python -m scripts.make_dashboards`.
"""

_DASHBOARDS = {
    "routing": (
        routing,
        "Steelyard: routing",
        "Where traffic goes, what it saves and promises.",
        {"policy": "gateway_policy_info"},
    ),
    "service": (
        service,
        "Steelyard: service",
        "Rate, errors, duration, overhead, saturation.",
        {"route": "gateway_requests_total"},
    ),
    "spend": (
        spend,
        "Steelyard: spend",
        "Who spends what, and what is left of budgets.",
        {"team": "gateway_key_requests_total"},
    ),
    "reliability": (
        reliability,
        "Steelyard: reliability",
        "Upstreams, circuits, store.",
        {"upstream": "gateway_calls_total"},
    ),
}


def render() -> dict[str, str]:
    """Return the text of every file by its name."""
    labels_of = {each.name: each.labels for each in instruments()}
    return {
        f"{name}.json": json.dumps(
            build(
                f"steelyard-{name}",
                title,
                text,
                module.ROWS,
                Filters(labels=labels, labels_of=labels_of),
            ),
            cls=JSONEncoder,
            indent=2,
            sort_keys=True,
        )
        + "\n"
        for name, (module, title, text, labels) in _DASHBOARDS.items()
    }


def operator_rules() -> str:
    """Return the rules as one resource of the Prometheus operator."""
    labels = {"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "gateway"}
    groups = [
        group
        for file in sorted((_CONFIGS / "dashboards/rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "gateway", "labels": labels},
        "spec": {"groups": groups},
    }
    return _OPERATOR_RULES_HEAD + yaml.safe_dump(resource, sort_keys=False, width=1000)


def main() -> None:
    """Write every file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in render().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
    if len(sys.argv) == 1:
        OPERATOR_RULES.write_text(operator_rules(), encoding="utf-8")
        print(OPERATOR_RULES)


if __name__ == "__main__":
    main()
