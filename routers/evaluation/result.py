"""What an evaluation found, to read, to show and to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from routers.errors import DataError
from routers.evaluation.bootstrap import Interval
from routers.evaluation.report import markdown, write_report


@dataclass(frozen=True, slots=True)
class Report:
    """Every number of an evaluation, as plain values in `content`, ready for JSON.

    A notebook shows it as its tables; `print` shows them as text.
    """

    content: Mapping[str, Any]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Add who measured, and when."""
        head = {
            "steelyard_version": metadata.version("steelyard"),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return cls({**head, **found})

    @property
    def names(self) -> tuple[str, ...]:
        """The routers, baselines and bounds that were measured."""
        return tuple(each["name"] for each in self.content["routers"])

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        """Return everything that was measured of a router or baseline.

        Raises
        ------
        DataError
            If there is none of that name; the message lists them.
        """
        for each in self.content["routers"]:
            if each["name"] == name:
                found: Mapping[str, Any] = each
                return found
        raise DataError(f"nothing named {name!r} was measured; there are: {', '.join(self.names)}")

    def interval(self, name: str, measure: str) -> Interval | None:
        """Return a number with its 95 % interval, such as `aiq`; None where it is undefined.

        Raises
        ------
        DataError
            If the router was not measured, or has no interval of that name.
        """
        found = self[name].get(measure)
        if found is None and measure in self[name]:
            return None
        if not isinstance(found, Mapping) or found.keys() != {"value", "low", "high"}:
            known = [key for key, value in self[name].items() if isinstance(value, Mapping)]
            raise DataError(f"{measure!r} is no number with an interval; such are: {known}")
        return None if None in found.values() else Interval(**found)

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report as JSON, Markdown, one page of HTML and tables of CSV into a folder.

        Raises
        ------
        DataError
            If it cannot be written.
        """
        return write_report(self.content, Path(folder))

    def __str__(self) -> str:
        """Return the tables as Markdown."""
        return markdown(self.content)

    def _repr_markdown_(self) -> str:
        return markdown(self.content)
