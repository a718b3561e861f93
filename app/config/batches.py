"""The section `batches`: files of requests that are worked through without anybody waiting."""

from typing import Annotated

from pydantic import Field

from app.config.fields import Days, Seconds, Strict


class BatchesConfig(Strict):
    """Files of requests that clients hand in, and get answers to later, as JSONL.

    What is kept holds prompts and answers as they are: in `store.data_dir`, in the Redis of the
    store, or in memory until the process ends.
    """

    enabled: bool = False
    """Whether there are `/v1/files` and `/v1/batches`."""
    max_file_mb: Annotated[int, Field(ge=1, le=1_000)] = 200
    """The largest file that is taken; a body is kept whole until it is stored, see
    `server.max_bodies_mb`."""
    max_stored_mb_per_key: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """What the files of one key may take together, answers included; further ones are refused."""
    max_lines: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Requests in one file."""
    keep_days: Days = 30.0
    """How long files and batches are kept, unless a client says for how long."""
    max_running: Annotated[int, Field(ge=1, le=1_000)] = 4
    """Batches that each process works at at once; others wait."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Requests of one batch at once."""
    lease_s: Annotated[Seconds, Field(ge=1)] = 15.0
    """How long after a process died another one takes its batches over; needs a shared store."""
