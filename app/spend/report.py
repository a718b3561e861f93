"""Spending as it is told: JSON, CSV and a table, from the same groups."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from app.keys import NUSD_PER_USD
from app.spend.moments import utc_text
from app.spend.question import TIMES, Amounts, Dimension, Group, Question, total_of

_MONEY_SUFFIX = "_nusd"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula."""

Value = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found.

    Attributes
    ----------
    groups
        Sorted by time, then the dearest first.
    key_names
        Key id → name, of keys that are known, revoked ones too.
    source, covers
        Where it was read, and what of the requests is not in it.
    """

    question: Question
    groups: Sequence[tuple[Group, Amounts]]
    key_names: Mapping[str, str]
    source: str
    covers: str | None

    @classmethod
    def of(
        cls,
        question: Question,
        found: Mapping[Group, Amounts],
        *,
        key_names: Mapping[str, str],
        source: str,
        covers: str | None,
    ) -> "Report":
        """Sort what was found."""
        times = [i for i, each in enumerate(question.by) if each in TIMES]
        return cls(
            question=question,
            groups=sorted(
                found.items(),
                key=lambda each: (
                    [each[0][i] or "" for i in times],
                    -each[1].cost_nusd,
                    [value or "" for value in each[0]],
                ),
            ),
            key_names=key_names,
            source=source,
            covers=covers,
        )

    @property
    def total(self) -> Amounts:
        """What all groups used together."""
        return total_of([amounts for _, amounts in self.groups])

    def fields(self) -> dict[str, object]:
        """Return what JSON tells."""
        return {
            "from": utc_text(self.question.since),
            "to": utc_text(self.question.until),
            "time_zone": "UTC",
            "group_by": [each.value for each in self.question.by],
            "source": self.source,
            "covers": self.covers,
            "data": [{**dict(self._labels(group)), **told(each)} for group, each in self.groups],
            "totals": told(self.total),
        }

    def json(self, **more: object) -> bytes:
        """Return the report as JSON; `more` stands before it."""
        return msgspec.json.encode({**more, **self.fields()})

    def csv(self) -> str:
        """Return a line for each group, with a header (RFC 4180); money in US dollars, exact.

        Texts that a spreadsheet would take for a formula begin with an apostrophe.
        """
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([*self._label_names(), *map(_usd_name, Amounts.__struct_fields__)])
        for group, amounts in self.groups:
            writer.writerow(
                [
                    *(_safe(value) for _, value in self._labels(group)),
                    *(_exact(*each) for each in msgspec.structs.asdict(amounts).items()),
                ]
            )
        return out.getvalue()

    def lines(self) -> Iterator[str]:
        """Yield a table for people, the total last."""
        head = [
            *self._label_names(),
            *("requests", "failed", "tokens in", "cached", "tokens out", "cost", "estimated"),
        ]
        rows = [
            [*(_shown(value) for _, value in self._labels(group)), *_cells(amounts)]
            for group, amounts in self.groups
        ]
        n_labels = len(head) - 7
        labels = ["total", *[""] * (n_labels - 1)] if n_labels else []
        rows.append([*labels, *_cells(self.total)])
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = [
                f"{cell:<{width}}" if i < n_labels else f"{cell:>{width}}"
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield "  ".join(cells).rstrip()

    def _label_names(self) -> list[str]:
        return [name for name, _ in self._labels((None,) * len(self.question.by))]

    def _labels(self, group: Group) -> Iterator[tuple[str, str | None]]:
        for dimension, value in zip(self.question.by, group, strict=True):
            yield dimension.value, value
            if dimension is Dimension.KEY:
                yield "key_name", None if value is None else self.key_names.get(value)


def told(amounts: Amounts) -> dict[str, Value]:
    """Return amounts with money in US dollars."""
    return {
        _usd_name(name): value / NUSD_PER_USD if name.endswith(_MONEY_SUFFIX) else value
        for name, value in msgspec.structs.asdict(amounts).items()
    }


def _usd_name(name: str) -> str:
    return f"{name.removesuffix(_MONEY_SUFFIX)}_usd" if name.endswith(_MONEY_SUFFIX) else name


def _exact(name: str, value: int) -> str:
    if not name.endswith(_MONEY_SUFFIX):
        return str(value)
    dollars, billionths = divmod(value, NUSD_PER_USD)
    return f"{dollars}.{billionths:09}"


def _safe(text: str | None) -> str:
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _shown(text: str | None) -> str:
    # Terminals would obey control characters; names of upstreams' making may hold some.
    return "-" if text is None else "".join(each if each.isprintable() else "?" for each in text)


def _cells(amounts: Amounts) -> list[str]:
    share = amounts.estimated_requests / amounts.requests if amounts.requests else 0.0
    return [
        f"{amounts.requests:,}",
        f"{amounts.failed_requests:,}",
        f"{amounts.input_tokens:,}",
        f"{amounts.cached_input_tokens:,}",
        f"{amounts.output_tokens:,}",
        f"${amounts.cost_nusd / NUSD_PER_USD:,.4f}",
        f"{share:.0%}",
    ]
