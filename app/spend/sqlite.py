"""Spending from `outcomes.sqlite3`: the database adds up, however many rows there are."""

import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from app.outcomes.old_rows import OLD_FIELDS
from app.outcomes.sqlite import OUTCOMES_NAME, columns_of, reader
from app.spend.question import (
    COLUMNS,
    TIMES,
    Amounts,
    Dimension,
    Group,
    Overdue,
    Question,
    SourceError,
    time_text,
)
from routers.media.arms import VARIANT_MARK

_STEP_S = {Dimension.HOUR: 3600, Dimension.DAY: 86_400}
_STEPS_BETWEEN_LOOKS = 100_000
"""Instructions of the database between two looks at the clock; some milliseconds."""

_CALLS = "iif(json_valid(calls), calls, '[]')"
_KNOWN = "SELECT sum(json_extract(value, '$.cost_nusd')) FROM json_each"
_COST = f"coalesce(cost_nusd, ({_KNOWN}({_CALLS})), 0) + coalesce(scorer_cost_nusd, 0)"
_MEASURES = {
    "requests": "count(*)",
    "failed_requests": "total(status >= 400 OR error IS NOT NULL)",
    "cached_answers": "total(cache IS 'hit')",
    "input_tokens": "sum(coalesce(input_tokens, 0))",
    "cached_input_tokens": "sum(coalesce(cached_input_tokens, 0))",
    "cache_write_tokens": "sum(coalesce(cache_write_tokens, 0))",
    "output_tokens": "sum(coalesce(output_tokens, 0))",
    "reasoning_tokens": "sum(coalesce(reasoning_tokens, 0))",
    "cost_nusd": f"sum({_COST})",
    "unpriced_requests": "total(cost_nusd IS NULL AND input_tokens IS NOT NULL)",
    "estimated_requests": "total(estimated)",
    "estimated_cost_nusd": f"sum(iif(estimated, {_COST}, 0))",
}
_MEASURES_OF_CALLS = {
    **_MEASURES,
    "requests": "count(DISTINCT id)",
    "failed_requests": "count(DISTINCT iif(status >= 400 OR error IS NOT NULL, id, NULL))",
    "cached_answers": "0",
    "cost_nusd": "sum(coalesce(cost_nusd, 0))",
    "estimated_cost_nusd": "sum(iif(estimated, coalesce(cost_nusd, 0), 0))",
}
_OF_ROW = "id, time, key_id, team, policy, session_id, agent_id, status, error"
_OF_CALL = (
    "model",
    "upstream",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated",
    "cost_nusd",
)
# Names come from above; values are parameters always.
_EACH_CALL = f"""(
SELECT {", ".join(f"row.{name}" for name in _OF_ROW.split(", "))},
    coalesce(json_extract(value, '$.role'), 'answer') AS role,
    {", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _OF_CALL)}
FROM (SELECT {_OF_ROW}, coalesce(calls, attempts) AS calls FROM {{log}}
    WHERE time >= ? AND time < ?) AS row, json_each({_CALLS})
UNION ALL
SELECT {_OF_ROW}, 'judge', {"NULL, " * (len(_OF_CALL) - 2)}0, scorer_cost_nusd FROM {{log}}
    WHERE time >= ? AND time < ? AND calls IS NULL AND scorer_cost_nusd IS NOT NULL
)"""  # noqa: S608
"""Every call as a row of its own, those of earlier releases too."""
_MAYBE_MISSING = ("calls", "cache_write_tokens", "session_id", "agent_id", *OLD_FIELDS)


class SqliteSpend:
    """Add up what the decision log in a data folder says."""

    name = "sqlite"

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @property
    def covers(self) -> str | None:
        """What of the requests is not in it."""
        if (self._data_dir / OUTCOMES_NAME).exists():
            return None
        return f"nothing yet: there is no {OUTCOMES_NAME} in the data folder; has a gateway served?"

    def read(self, question: Question, *, deadline: float) -> dict[Group, Amounts]:
        """Add rows up, read-only, while the gateway writes."""
        if not (self._data_dir / OUTCOMES_NAME).exists():
            return {}
        try:
            with closing(reader(self._data_dir)) as connection:
                connection.set_progress_handler(
                    lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS
                )
                query = _select(question, columns_of(connection))
                rows = connection.execute(*query).fetchmany(question.most_groups + 1)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise Overdue from error
            raise SourceError(f"the decision log cannot be read: {error}") from error
        except sqlite3.Error as error:
            raise SourceError(f"the decision log cannot be read: {error}") from error
        if len(rows) > question.most_groups:
            raise question.too_many()
        n = len(question.by)
        return {
            tuple(map(_value, question.by, row[:n])): Amounts(
                **{name: int(value or 0) for name, value in zip(_MEASURES, row[n:], strict=True)}
            )
            for row in rows
            if row[n]  # without groups there is a row of nothing
        }


def _select(question: Question, columns: Collection[str]) -> tuple[str, list[str | float | int]]:
    # Names come from the tables above; values are parameters always.
    groups = [_expression(each) for each in question.by]
    conditions = ["time >= ?", "time < ?", *(f"{COLUMNS[each]} = ?" for each in question.only)]
    measures, span = _MEASURES, [question.since, question.until]
    missing = [f"NULL AS {name}" for name in _MAYBE_MISSING if name not in columns]
    log = f"(SELECT *, {', '.join(missing)} FROM outcomes)" if missing else "outcomes"  # noqa: S608
    if question.is_of_calls:
        measures, log, span = _MEASURES_OF_CALLS, _EACH_CALL.format(log=log), span * 3
    query = (
        f"SELECT {', '.join([*groups, *measures.values()])} FROM {log} "  # noqa: S608
        f"WHERE {' AND '.join(conditions)}"
    )
    if groups:
        query += f" GROUP BY {', '.join(map(str, range(1, len(groups) + 1)))}"
    return f"{query} LIMIT ?", [
        *span,
        *question.only.values(),
        question.most_groups + 1,
    ]


def _expression(dimension: Dimension) -> str:
    if dimension in _STEP_S:
        return f"CAST(time / {_STEP_S[dimension]} AS INTEGER)"
    if dimension is Dimension.MONTH:
        return "strftime('%Y-%m', time, 'unixepoch')"
    if dimension is Dimension.BASE_MODEL:
        return f"substr(model, 1, instr(model || '{VARIANT_MARK}', '{VARIANT_MARK}') - 1)"
    return COLUMNS[dimension]


def _value(dimension: Dimension, found: str | int | None) -> str | None:
    if found is not None and dimension in TIMES and dimension in _STEP_S:
        return time_text(dimension, float(found) * _STEP_S[dimension])
    return None if found is None else str(found)
