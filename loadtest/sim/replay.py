"""A decision log as traffic: what `steelyard export --out log.jsonl` wrote, request by request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.sim.records import read_records
from loadtest.sim.traffic import Traffic
from routers.errors import DataError

Record = Mapping[str, Any]


def read_log(path: Path, *, speedup: float = 1.0) -> Traffic:
    """Return the requests of an exported log, as they came: times, lengths, sessions.

    A request came when it ended less what its calls took. Of kind is the model that
    answered. Rows of answers that were held back are no requests of their own.

    Parameters
    ----------
    speedup
        How many times as fast requests come.

    Raises
    ------
    DataError
        If it cannot be read, is a `.parquet` (which knows no times), or no row has what is needed.
    """
    records = read_records(path, tells="when requests came")
    rows = sorted(
        (_came_at(each), number)
        for number, each in enumerate(records)
        if isinstance(each, dict) and _is_request(each)
    )
    if not rows:
        raise DataError(f"{path}: no row has `time`, `input_tokens` and `output_tokens`")
    kept = [records[number] for _, number in rows]
    came = np.array([at for at, _ in rows])
    kinds = sorted({str(each.get("model")) for each in kept})
    written = np.array([max(1, round(each["output_tokens"])) for each in kept], np.int64)
    read = np.array([max(0, round(each["input_tokens"])) for each in kept], np.int64)
    numbers: dict[str, int] = {}
    conversation = np.full(len(kept), -1, np.int64)
    known = np.zeros(len(kept), np.int64)
    before: dict[int, int] = {}
    for row, each in enumerate(kept):
        session = each.get("session_id")
        if session is None:
            continue
        number = conversation[row] = numbers.setdefault(str(session), len(numbers))
        known[row] = min(before.get(number, 0), int(read[row]))
        before[number] = int(read[row] + written[row])
    return Traffic(
        arrives_s=(came - came[0]) / speedup,
        kinds=kinds,
        kind=np.array([kinds.index(str(each.get("model"))) for each in kept], np.int64),
        input_tokens=read,
        output_tokens=written,
        conversation=conversation,
        known_tokens=known,
        expected_tokens=np.full(len(kept), float(written.mean())),
    )


def _is_request(record: Record) -> bool:
    needed = (record.get(name) for name in ("time", "input_tokens", "output_tokens"))
    return "role" not in record and all(isinstance(value, int | float) for value in needed)


def _came_at(record: Record) -> float:
    calls = record.get("calls") or ()
    took_ms = max(
        ((each.get("began_ms") or 0) + (each.get("ms") or 0) for each in calls), default=0
    )
    return float(record.get("time") or 0.0) - took_ms / 1e3
