"""Whether a file holds requests of a batch, all of it, before any is asked."""

from collections.abc import AsyncIterator

from app.batches.lines import MAX_FAULTS, FaultyLineError, LineReader, is_blank
from app.batches.records import Fault


async def check_file(
    lines: AsyncIterator[bytes], *, endpoint: str, max_lines: int, max_line_bytes: int
) -> tuple[int, tuple[Fault, ...]]:
    """Return how many requests a file holds, and what is wrong with it.

    Lines without anything are no requests.

    Raises
    ------
    BatchFileNotFoundError, StoreError
        If the file cannot be read to its end.
    """
    reader = LineReader(endpoint=endpoint)
    faults: list[Fault] = []
    n_lines, number = 0, -1
    async for raw in lines:
        number += 1
        if is_blank(raw, number):
            continue
        n_lines += 1
        if n_lines > max_lines:
            message = f"The file holds more than {max_lines:,} requests."
            faults.append(Fault(code="too_many_tasks", message=message))
            break
        if len(raw) > max_line_bytes:
            message = f"This line is longer than {max_line_bytes:,} bytes."
            faults.append(Fault(code="invalid_request", message=message, line=number + 1))
        else:
            try:
                reader.read(raw, number)
            except FaultyLineError as error:
                faults.append(error.fault)
        if len(faults) >= MAX_FAULTS:
            break
    if not n_lines:
        faults.append(Fault(code="empty_file", message="The file holds no requests."))
    return n_lines, tuple(faults)
