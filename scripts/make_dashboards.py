"""Write the Grafana dashboards of `configs/dashboards/grafana` anew.

    python -m scripts.make_dashboards [FOLDER]

They are described in `scripts/dashboards`; a test holds the committed files against that.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.dashboards import reliability, routing, service, spend
from scripts.dashboards.panels import build

FOLDER = Path(__file__).parents[1] / "configs/dashboards/grafana"

_DASHBOARDS = {
    "routing": (routing, "Steelyard: routing", "Where traffic goes, what it saves and promises."),
    "service": (service, "Steelyard: service", "Rate, errors, duration, overhead, saturation."),
    "spend": (spend, "Steelyard: spend", "Who spends what, and what is left of budgets."),
    "reliability": (reliability, "Steelyard: reliability", "Upstreams, circuits, store."),
}


def render() -> dict[str, str]:
    """Return the text of every file by its name."""
    return {
        f"{name}.json": json.dumps(
            build(f"steelyard-{name}", title, text, module.ROWS),
            cls=JSONEncoder,
            indent=2,
            sort_keys=True,
        )
        + "\n"
        for name, (module, title, text) in _DASHBOARDS.items()
    }


def main() -> None:
    """Write every file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in render().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
