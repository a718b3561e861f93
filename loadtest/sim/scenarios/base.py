"""What a scenario is: a claim about the gateway, simulated, measured and held against a bound."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routers.registry import Registry
from scripts.dashboards.drawing import Plot

Row = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a scenario is run.

    Attributes
    ----------
    short
        Whether for seconds only, as tests do: the same claims, on fewer requests.
    log
        A decision log, for the scenarios that replay one.
    """

    seed: int = 0
    short: bool = False
    log: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bound, and what was measured of it."""

    claim: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a scenario found."""

    rows: Sequence[Row]
    verdicts: Sequence[Verdict] = ()
    plots: Sequence[Plot] = ()
    duration_s: float = 60.0
    """What the plots' axis of time spans."""
    notes: Sequence[str] = field(default_factory=tuple)


class Scenario(ABC):
    """One claim, found by the name of its file; the docstring's first line says it in the list."""

    @abstractmethod
    def run(self, setting: Setting) -> Report:
        """Simulate, and measure."""


SCENARIOS: Registry[Scenario] = Registry("loadtest.sim.scenarios", noun="scenario")
