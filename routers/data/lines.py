"""Files of data as somebody wrote them: lines of JSON, and documents of YAML or JSON."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from routers.data.opening import open_text
from routers.errors import DataError
from routers.files import read_regular, repaired, shown, shown_bytes, shown_value

MAX_LINE_CHARS = 16 * 2**20
"""A conversation with its answer; no context window holds a tenth of it."""

MAX_LIST_CHARS = 256 * 2**20
"""A list is read whole, and takes a multiple of that in memory."""

_LOOKED_AT = 4096

MAX_JSON_BYTES = 4 * 2**20
MAX_YAML_BYTES = 2**19
"""YAML takes a hundred times as long to parse."""

_MAX_NODES = 200_000


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of a JSONL file, with the words that say where it stands.

    Empty lines are skipped, a byte order mark too; halves of surrogate pairs are replaced, since
    no other file could hold them.

    Raises
    ------
    DataError
        If the file cannot be read, or a line is no JSON object; the message names it.
    """
    with open_text(path) as text:
        number = 0
        while line := text.readline(MAX_LINE_CHARS + 1):
            number += 1
            where = f"{path}: line {number}"
            if len(line) > MAX_LINE_CHARS:
                raise DataError(f"{where}: is longer than {shown_bytes(MAX_LINE_CHARS)}")
            if line.strip():
                yield where, _object(where, line)


def json_items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of a file that is one JSON list of them, or has one a line.

    Raises
    ------
    DataError
        If it is neither, or cannot be read.
    """
    with open_text(path) as text:
        start = text.read(_LOOKED_AT)
        if not start.lstrip().startswith("["):
            yield from json_lines(path)
            return
        content = start + text.read(MAX_LIST_CHARS)
    if len(content) > MAX_LIST_CHARS:
        raise DataError(
            f"{path}: is a list of more than {shown_bytes(MAX_LIST_CHARS)}; write one object a "
            "line, as .jsonl"
        )
    try:
        items = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({shown(str(error))})") from error
    except RecursionError as error:
        raise DataError(f"{path}: is nested too deep") from error
    for number, item in enumerate(items, 1):
        where = f"{path}: item {number}"
        if not isinstance(item, dict):
            raise DataError(f"{where}: must be an object, got {shown_value(item)}")
        yield where, repaired(item)


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: is not valid JSON ({shown(str(error))})") from error
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deep") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: must be an object, got {shown_value(record)}")
    if "\\u" in line:
        found: dict[str, Any] = repaired(record)
        return found
    return record


def read_document(path: Path) -> Any:
    """Read a small file of YAML, or of JSON where its name ends so.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is neither, or unfolds to more than anybody writes; the message says what.
    """
    is_json = path.suffix.lower() == ".json"
    raw = read_regular(path, most_bytes=MAX_JSON_BYTES if is_json else MAX_YAML_BYTES)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    try:
        content = json.loads(text) if is_json else yaml.safe_load(text)
        _count(content)
    except yaml.YAMLError as error:
        raise ValueError(shown(" ".join(str(error).split()))) from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("it is nested too deep") from error
    return content


def read_entries(path: Path) -> Any:
    """Read a small file of YAML or JSON, as `read_document` does.

    Raises
    ------
    DataError
        If it cannot be read or is neither.
    """
    try:
        return read_document(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON or YAML ({error})") from error


def _count(content: Any) -> None:
    """Refuse documents whose references to themselves unfold to more than they seem to hold."""
    n = 0
    waiting = [content]
    while waiting:
        node = waiting.pop()
        n += 1
        if n + len(waiting) > _MAX_NODES:
            raise ValueError(f"it unfolds to over {_MAX_NODES} entries")
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list | tuple | set):
            waiting.extend(node)


def number_of(value: object) -> float | None:
    """Return a number of a file as a float; None where it is none, or larger than any float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
