"""Published results as a table of subjects by models, read from CSV as people keep it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routers.data.adapters.base import read_csv
from routers.errors import DataError
from routers.files import shown
from routers.types import FloatMatrix

_MODEL = ("model", "llm", "name")
_SUBJECT = ("subject", "category", "domain", "benchmark", "task")
_RESULT = ("accuracy", "score", "quality", "acc")
_COUNT = ("n", "questions", "count")
_TOTALS = ("overall", "average", "avg", "mean", "total")
_MOST_PERCENT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Results of models by subject; arrays are (n_subjects, n_models).

    Attributes
    ----------
    accuracy
        In [0, 1]; NaN where nothing was published.
    n
        How many questions are behind it; NaN where that is not told.
    """

    subjects: tuple[str, ...]
    models: tuple[str, ...]
    accuracy: FloatMatrix
    n: FloatMatrix


def read_leaderboard(path: Path) -> Leaderboard:
    """Read a CSV with a header, in one of three shapes.

    `subject,model,accuracy[,n]` with a result a line; `model,SUBJECT,SUBJECT,…` with a model a
    line; or `subject,MODEL,MODEL,…` with a subject a line. Results are shares or per cent; columns
    of means over all (`overall`, `average`) are left out.

    Raises
    ------
    DataError
        If the file cannot be read, has another shape, or a result is none.
    """
    rows = list(read_csv(path, ()))
    if not rows:
        raise DataError(f"{path}: has no line of results")
    names = {name.strip().casefold(): name for name in rows[0]}
    model, subject, result = (_first(names, wanted) for wanted in (_MODEL, _SUBJECT, _RESULT))
    if model and subject and result:
        columns = (subject, model, result, _first(names, _COUNT))
        cells = _from_lines(path, rows, columns)
    elif model:
        cells = _from_columns(path, rows, model, models_are_rows=True)
    elif subject:
        cells = _from_columns(path, rows, subject, models_are_rows=False)
    else:
        raise DataError(
            f"{path}: needs a column `model` or `subject`; give subject,model,accuracy a line, or "
            "a table of models by subjects"
        )
    if not cells:
        raise DataError(f"{path}: has no result")
    subjects = tuple(dict.fromkeys(subject for subject, _ in cells))
    models = tuple(dict.fromkeys(model for _, model in cells))
    accuracy = np.full((len(subjects), len(models)), np.nan, np.float32)
    n = accuracy.copy()
    for (subject, model), (value, count) in cells.items():
        at = subjects.index(subject), models.index(model)
        accuracy[at], n[at] = value, count
    most = float(np.nanmax(accuracy))
    if most > _MOST_PERCENT or float(np.nanmin(accuracy)) < 0:
        raise DataError(f"{path}: results must be shares from 0 to 1, or per cent")
    if most > 1:
        accuracy /= np.float32(_MOST_PERCENT)
    return Leaderboard(subjects=subjects, models=models, accuracy=accuracy, n=n)


_Cells = dict[tuple[str, str], tuple[float, float]]


def _first(names: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    return next((names[each] for each in wanted if each in names), None)


def _from_lines(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    columns: tuple[str, str, str, str | None],
) -> _Cells:
    subject, model, result, count = columns
    cells: _Cells = {}
    for number, row in enumerate(rows, 2):
        value = _number(f"{path}: line {number}", row[result])
        if value is None or row[subject].strip().casefold() in _TOTALS:
            continue
        n = None if count is None else _number(f"{path}: line {number}", row[count])
        key = (row[subject].strip(), row[model].strip())
        if key in cells:
            raise DataError(f"{path}: line {number}: {shown(', '.join(key))} stands there twice")
        cells[key] = (value, np.nan if n is None else n)
    return cells


def _from_columns(
    path: Path, rows: Sequence[Mapping[str, str]], first: str, *, models_are_rows: bool
) -> _Cells:
    cells: _Cells = {}
    for number, row in enumerate(rows, 2):
        for column, told in row.items():
            pair = (column.strip(), row[first].strip())
            subject, model = pair if models_are_rows else pair[::-1]
            if column == first or subject.casefold() in _TOTALS:
                continue
            value = _number(f"{path}: line {number}: {shown(column)}", told)
            if value is None:
                continue
            if (subject, model) in cells:
                raise DataError(f"{path}: line {number}: {shown(model)} stands there twice")
            cells[subject, model] = (value, np.nan)
    return cells


def _number(where: str, told: str) -> float | None:
    text = told.strip().removesuffix("%").strip()
    if text.casefold() in ("", "-", "nan", "n/a", "na"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: {shown(told)} is not a number") from None
    if not np.isfinite(value):
        raise DataError(f"{where}: {shown(told)} is not a number")
    return value
