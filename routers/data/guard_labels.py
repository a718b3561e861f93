"""Prompts with what is right, and what a slow guard said of them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.data.jsonl import query_of
from routers.data.lines import json_lines
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Conversation

_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "unsafe", "harmful"), True),
    **dict.fromkeys(("0", "false", "no", "safe", "harmless"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLabels:
    """What a guard learns from.

    Attributes
    ----------
    harmful
        (n_prompts,), what is right.
    slow
        (n_prompts,), whether the slow guard called the prompt harmful.
    """

    conversations: Sequence[Conversation]
    harmful: NDArray[np.bool_]
    slow: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.conversations)


def read_guard_labels(path: Path, *, label: str = "harmful", slow: str = "slow") -> GuardLabels:
    """Read prompts with labels and verdicts from JSONL, or from CSV with a line of names.

    Parameters
    ----------
    label, slow
        The fields that hold what is right and what the slow guard said: true or false, 1 or 0,
        or words such as `safe` and `unsafe`. Lines on which either is missing or empty are no
        use, as where the slow guard said nothing.

    Raises
    ------
    DataError
        If the file cannot be read, or a line cannot be understood; the message names it.
    """
    lines = _csv_lines(path) if path.suffix.lower() == ".csv" else json_lines(path)
    conversations, said, n_lines = [], list[tuple[bool, bool]](), 0
    for where, record in lines:
        n_lines += 1
        values = [record.get(name) for name in (label, slow)]
        if any(each is None or each == "" for each in values):
            continue
        query = query_of(where, {"query_id": where.rpartition(" ")[2], **record})
        conversations.append(query.conversation)
        right, verdict = (
            _flag(where, name, each) for name, each in zip((label, slow), values, strict=True)
        )
        said.append((right, verdict))
    if not said:
        raise DataError(
            f"{path}: none of its {n_lines} lines has both {label!r} and {slow!r}; name the fields "
            "with --label and --slow"
        )
    told = np.array(said, bool)
    return GuardLabels(conversations=conversations, harmful=told[:, 0], slow=told[:, 1])


def _flag(where: str, name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    flag = _WORDS.get(str(value).strip().casefold())
    if flag is None:
        raise DataError(
            f"{where}: {name!r} must be true or false, 1 or 0, safe or unsafe, "
            f"got {shown_value(value)}"
        )
    return flag


def _csv_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, strict=True), start=2):
                yield (
                    f"{path}: line {number}",
                    {name: text for name, text in row.items() if name is not None},
                )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text") from error
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV that can be read ({error})") from error
