"""Every instrument as it is declared; run as a module, it prints the table of the documentation."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from app.outcomes.metrics import LearningMetrics
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is to be known of one."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def instruments() -> list[Instrument]:
    """Return all of a gateway, by name."""
    registry = CollectorRegistry()
    LearningMetrics(Metrics(registry).registry)
    found = []
    for each in registry._collector_to_names:
        assert isinstance(each, MetricWrapperBase)
        name = f"{each._name}_total" if each._type == "counter" else each._name
        found.append(Instrument(name, each._type, tuple(each._labelnames), each._documentation))
    return sorted(found, key=lambda each: each.name)


def table() -> str:
    """Return the table of the documentation."""
    rows = ["| metric | kind | labels | tells |", "|---|---|---|---|"]
    for each in instruments():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.text} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
