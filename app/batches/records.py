"""Files and batches as they are stored, and as clients are told of them, in OpenAI's shapes."""

from typing import Any

import msgspec

from app.stores.jobs import JobRecord

FILE, BATCH = "file", "batch"
"""Kinds of records."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file; its contents are the parts of the box of its id.

    Attributes
    ----------
    owner
        Id of the key that it belongs to.
    created_at, expires_at
        Seconds since the epoch.
    """

    file_id: str
    owner: str
    filename: str
    purpose: str
    n_bytes: int
    n_parts: int
    created_at: float
    expires_at: float

    def record(self) -> JobRecord:
        """Return it as it is stored."""
        return JobRecord(
            kind=FILE,
            record_id=self.file_id,
            owner=self.owner,
            created_at=self.created_at,
            value=msgspec.json.encode(self),
        )

    def told(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {
            "id": self.file_id,
            "object": "file",
            "bytes": self.n_bytes,
            "created_at": int(self.created_at),
            "expires_at": int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file of requests; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is.

    Attributes
    ----------
    retried
        Requests that were on their way when the process died that sent them, and were sent again.
    models
        Requests by the model that answered.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    left_out: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    models: dict[str, int] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted of a batch under a budget or capacities, when it began.

    Attributes
    ----------
    quality
        Mean over the requests that are served, where it is predicted.
    quality_per_usd
        Predicted quality that one more dollar would buy, summed over requests.
    """

    models: dict[str, int]
    cost_usd: float
    quality: float | None
    quality_per_usd: float
    left_out: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch.

    Attributes
    ----------
    key_digest
        Of the secret that made it, by which its key is found; None where no keys are asked for.
    headers
        Routing headers of the request that made it; every request of the batch gets them.
    budget_usd, capacity
        What it may spend in all, and how many requests each model may answer.
    worker
        The process that worked at it last.
    """

    batch_id: str
    owner: str
    key_digest: str | None
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    budget_usd: float | None = None
    capacity: dict[str, int] = {}
    output_lifetime_s: float
    created_at: float
    expires_at: float
    forget_at: float
    status: str = "validating"
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    faults: tuple[Fault, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: Counts = Counts()
    plan: Plan | None = None
    worker: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will be done any more."""
        return self.status in ("completed", "failed", "expired", "cancelled")

    @property
    def is_planned(self) -> bool:
        """Whether models are assigned for all requests together."""
        return self.budget_usd is not None or bool(self.capacity)

    def record(self) -> JobRecord:
        """Return it as it is stored."""
        return JobRecord(
            kind=BATCH,
            record_id=self.batch_id,
            owner=self.owner,
            created_at=self.created_at,
            is_open=not self.is_over,
            value=msgspec.json.encode(self),
        )

    def cancelling(self, at: float) -> "Batch":
        """Return it as it is told while it comes to its end because its client wants that."""
        if self.is_over or self.status == "finalizing":
            return self
        return msgspec.structs.replace(self, status="cancelling", cancelling_at=at)

    def told(self) -> dict[str, Any]:
        """Return OpenAI's batch object, with what we know beyond it under `steelyard`."""
        counts = self.counts
        return {
            "id": self.batch_id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": next(iter(counts.models)) if len(counts.models) == 1 else None,
            "errors": None
            if not self.faults
            else {"object": "list", "data": [msgspec.to_builtins(each) for each in self.faults]},
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created_at),
            "in_progress_at": _whole(self.in_progress_at),
            "expires_at": int(self.expires_at),
            "finalizing_at": _whole(self.finalizing_at),
            "completed_at": _whole(self.completed_at),
            "failed_at": _whole(self.failed_at),
            "expired_at": _whole(self.expired_at),
            "cancelling_at": _whole(self.cancelling_at),
            "cancelled_at": _whole(self.cancelled_at),
            "request_counts": {
                "total": counts.total,
                "completed": counts.completed,
                "failed": counts.failed,
            },
            "usage": {
                "input_tokens": counts.input_tokens,
                "input_tokens_details": {"cached_tokens": counts.cached_tokens},
                "output_tokens": counts.output_tokens,
                "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
                "total_tokens": counts.input_tokens + counts.output_tokens,
            },
            "metadata": self.metadata,
            "steelyard": {
                "budget_usd": self.budget_usd,
                "capacity": self.capacity or None,
                "cost_usd": round(counts.cost_usd, 8),
                "models": counts.models,
                "left_out": counts.left_out,
                "retried": counts.retried,
                "plan": None if self.plan is None else msgspec.to_builtins(self.plan),
            },
        }


def stored_file(record: JobRecord) -> StoredFile:
    """Return the file of a record."""
    return msgspec.json.decode(record.value, type=StoredFile)


def stored_batch(record: JobRecord) -> Batch:
    """Return the batch of a record."""
    return msgspec.json.decode(record.value, type=Batch)


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)
