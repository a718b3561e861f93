"""The file of published benchmark scores: what models reached, on what, and who says so."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from routers.data.lines import read_document
from routers.errors import DataError
from routers.files import shown

Facet = Literal["knowledge", "reasoning", "mathematics", "code", "language", "agent"]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
_Text = Annotated[str, Field(min_length=1, max_length=500)]
_SCALES = {"percent": (0.0, 100.0), "fraction": (0.0, 1.0), "ten": (1.0, 10.0)}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Benchmark(_Entry):
    """What a benchmark asks for, and what its numbers mean."""

    facet: Facet
    guess: float = Field(ge=0, lt=1)
    """The part that chance, or an empty answer, gets right."""
    level: float = Field(ge=1, le=5)
    """How demanding its typical item is, by the rubric of graded prompts."""
    scale: Literal["percent", "fraction", "ten"] = "percent"
    about: _Text

    def share(self, score: float) -> float:
        """Return the part of what chance leaves that a score reached; below 0 under chance."""
        low, high = _SCALES[self.scale]
        return ((score - low) / (high - low) - self.guess) / (1 - self.guess)


class Source(_Entry):
    """Where scores were read, and of when they are."""

    where: _Text
    date: dt.date


class Score(_Entry):
    """One number: of a benchmark, from a source of the file or from one told in words."""

    benchmark: _Name
    score: float
    source: _Text
    date: dt.date | None = None
    """Needed where the source is told in words."""


class ScoredModel(_Entry):
    """A model, and every score that is known of it."""

    developer: _Text
    released: dt.date | None = None
    open_weights: StrictBool
    reasoning: StrictBool = False
    """Whether it thinks at length before it answers."""
    verbosity: float | None = Field(default=None, gt=0, le=1000)
    """Tokens of its answers for one of a usual model's."""
    aliases: tuple[_Name, ...] = ()
    scores: tuple[Score, ...] = ()


class AbilityScores(_Entry):
    """A file of benchmark scores; `read_abilities` checks one."""

    benchmarks: dict[_Name, Benchmark] = Field(min_length=1)
    sources: dict[_Name, Source] = {}
    anchors: dict[_Name, Annotated[float, Field(ge=-10, le=10)]] = {}
    """Models whose ability on the rubric's scale is set, in logits: they carry the others there."""
    models: dict[_Name, ScoredModel] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "AbilityScores":
        names: dict[str, str] = {}
        for model, entry in self.models.items():
            for name in (model, *entry.aliases):
                if names.setdefault(name.lower(), model) != model:
                    raise ValueError(f"{name} names both {names[name.lower()]} and {model}")
            for score in entry.scores:
                self._check(model, score)
        for model in self.anchors:
            if model not in self.models or not self.models[model].scores:
                raise ValueError(f"the anchor {model} must be one of the models and have scores")
        if len(self.anchors) == 1:
            raise ValueError("one anchor sets no scale: give two or more, or none")
        return self

    def _check(self, model: str, score: Score) -> None:
        benchmark = self.benchmarks.get(score.benchmark)
        if benchmark is None:
            raise ValueError(f"{model}: {score.benchmark} is none of the benchmarks")
        low, high = _SCALES[benchmark.scale]
        if not low <= score.score <= high:
            raise ValueError(
                f"{model}: {score.benchmark} must be within {low:g} and {high:g}, "
                f"got {score.score:g}"
            )
        if score.date is None and score.source not in self.sources:
            raise ValueError(
                f"{model}: {score.benchmark} needs a date, as its source "
                f"({shown(score.source)}) is none of the sources"
            )

    def find(self, name: str) -> str | None:
        """Return the model that a name or an alias means, None where there is none.

        Capitals do not matter, nor does what stands before the last slash (a provider's name)
        where the whole is unknown.
        """
        names = {
            alias.lower(): model
            for model, entry in self.models.items()
            for alias in (model, *entry.aliases)
        }
        whole = name.lower()
        return names.get(whole) or names.get(whole.rpartition("/")[2])


def read_abilities(path: Path) -> AbilityScores:
    """Read and check a file of benchmark scores.

    Raises
    ------
    DataError
        If it cannot be read or an entry does not fit; the message names it in one line.
    """
    try:
        content: Any = read_document(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid YAML ({error})") from error
    try:
        return AbilityScores.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        place = f"{shown(where)}: " if where else ""
        raise DataError(f"{path}: {place}{said}") from error
