"""How every report is written: its files beside each other in one folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routers.errors import DataError
from routers.files import replacing


def as_json(report: Mapping[str, Any]) -> str:
    """Return a report as the text of a JSON file."""
    return json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_files(texts: Mapping[str, str], out: Path) -> list[Path]:
    """Write texts by file name into the folder `out`, which is made; return the files.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replacing(out / name) as partial:
                # File names may hold bytes that are no text; this escapes them as JSON does.
                partial.write_bytes(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    return [out / name for name in texts]
