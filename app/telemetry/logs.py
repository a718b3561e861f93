"""JSON logs: one line per event, no prompts, no keys.

The lines of requests come in batches and are written at once, without a record for each: records
and writes cost more than what is in them.

Nothing here logs a secret on purpose. What others log (libraries, tracebacks, what a client sent
as an id) passes one last filter: the secrets that the configuration names, and whatever looks like
one, never reach the output.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

import msgspec

from app.keys import Priority
from app.outcome import Outcome
from app.telemetry.log_writer import LogWriter
from routers.decisions import Latency
from routers.types import DocumentNumbers

_requests = logging.getLogger("app.requests")

Ended = tuple[Outcome, float]
"""An outcome and when it was, in seconds since the epoch."""


REDACTED = "[redacted]"

_LOOKS_SECRET = (
    ("sk-", re.compile(r"\bsk-[A-Za-z0-9_-]{12,}")),  # keys of ours and of most providers
    ("bearer ", re.compile(r"(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}")),
    ("basic ", re.compile(r"(?i:\bbasic\s+)[A-Za-z0-9._~+/=-]{8,}")),
    ("://", re.compile(r"(?<=://)[^\s/@\"]*:[^\s/@\"]+(?=@)")),  # user and password of an address
)
"""What a line must hold, in lower case, for its pattern to be worth a look: looking for all of
them at once in every line costs 200 µs, this a tenth of it."""
_MIN_SECRET_CHARS = 6
"""A shorter one would take harmless text with it."""


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON; `extra={"fields": {...}}` adds fields.

    Parameters
    ----------
    secrets
        Texts that are taken out of every line, besides what looks like a secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these secrets out of every line from now on, instead of those before."""
        forms = {
            form
            for secret in secrets
            if len(secret) >= _MIN_SECRET_CHARS
            for form in (secret, msgspec.json.encode(secret).decode()[1:-1])
        }
        self._secrets = tuple(sorted(forms, key=len, reverse=True))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is taken out now."""
        return self._secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self.line(record, self._secrets)

    def line(self, record: logging.LogRecord, secrets: Sequence[str]) -> str:
        """Return the line without these secrets: those that were known when it was logged."""
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        level, message = record.levelname.lower(), record.getMessage()
        made = _line(record.created, level, record.name, message, fields)
        return self.clean(made.decode(), secrets)

    def clean(self, lines: str, secrets: Sequence[str]) -> str:
        """Return lines without these secrets, and without what looks like one."""
        for secret in secrets:
            if secret in lines:
                lines = lines.replace(secret, REDACTED)
        lower = lines.lower()
        for hint, pattern in _LOOKS_SECRET:
            if hint in lower:
                lines = pattern.sub(REDACTED, lines)
        return lines


def _line(
    created_s: float, level: str, logger: str, message: str, fields: Mapping[str, object]
) -> bytes:
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created_s))
    line = {
        "time": f"{second}.{int(created_s % 1 * 1e3):03d}Z",
        "level": level,
        "logger": logger,
        "message": message,
        **fields,
    }
    return msgspec.json.encode(line)


class JsonLines(logging.Handler):
    """Write records as lines of JSON, and lines that never were records; never wait for it."""

    def __init__(self, stream: TextIO | None, formatter: JsonFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._json = formatter
        self._writer = LogWriter(stream, told=_dropped_line)

    @property
    def dropped_lines(self) -> int:
        """How many lines were not written."""
        return self._writer.dropped_lines

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written; its traceback, which may take a while, is made there too."""
        secrets = self._json.secrets
        self._writer.put(lambda: self._json.line(record, secrets) + "\n", n_lines=1)

    def write(self, lines: Sequence[bytes]) -> None:
        """Have lines of JSON written, without the secrets in them."""
        secrets = self._json.secrets
        self._writer.put(
            lambda: self._json.clean(b"\n".join(lines).decode(), secrets) + "\n",
            n_lines=len(lines),
        )

    def flush(self) -> None:
        """Wait until everything is written, but no longer than a moment."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits, as far as that takes no longer than a moment."""
        self._writer.close()
        super().close()


def _dropped_line(n_lines: int) -> str:
    fields = {"lines": n_lines}
    made = _line(time.time(), "warning", __name__, "log lines were dropped", fields)
    return made.decode() + "\n"


def dropped_lines() -> int:
    """Return how many lines the log of this process has lost since it was set up."""
    handlers = logging.getLogger().handlers
    return sum(each.dropped_lines for each in handlers if isinstance(each, JsonLines))


def configure_logging(*, level: str = "info", secrets: Iterable[str] = ()) -> None:
    """Send every log of the process to standard error as JSON lines, without these secrets.

    A thread writes them. What waits when the process ends is given a moment.
    """
    handler = JsonLines(sys.stderr, JsonFormatter(secrets))
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [handler]
    for each in before:
        if isinstance(each, JsonLines):
            each.close()
    root.setLevel(level.upper())


def hide_secrets(secrets: Iterable[str]) -> None:
    """Keep these secrets out of the log that `configure_logging` set up, if it did."""
    known = frozenset(secrets)
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.formatter.hide(known)


def log_outcomes(ended: Sequence[Ended]) -> None:
    """Write one line per request: names, numbers and codes, never text."""
    if not _requests.isEnabledFor(logging.INFO):
        return
    handlers = logging.getLogger().handlers
    ours = handlers[0] if len(handlers) == 1 and not _requests.handlers else None
    if isinstance(ours, JsonLines) and _requests.propagate:
        ours.write(
            [_line(at, "info", _requests.name, "request", _fields(each)) for each, at in ended]
        )
        return
    for outcome, _at in ended:  # somebody else reads them too
        _requests.info("request", extra={"fields": _fields(outcome)})


def _documents(numbers: DocumentNumbers | None) -> dict[str, object]:
    if numbers is None or numbers.n == 0:
        return {}
    return {"documents": {"n": numbers.n, "coverage": round(numbers.coverage, 4)}}


_USUAL = Priority.INTERACTIVE


def _wait(outcome: Outcome) -> dict[str, object]:
    """Return how a request waited, and how urgent it was."""
    queued_ms = round(outcome.queued_s * 1e3, 3)
    return {"priority": outcome.priority.value, "queued_ms": queued_ms}


def _latency(latency: Latency | None) -> dict[str, object]:
    if latency is None:
        return {}
    return {
        "predicted_ttft_ms": round(latency.ttft_s * 1e3, 1),
        "predicted_latency_ms": round(latency.total_s * 1e3, 1),
    }


def _fields(outcome: Outcome) -> dict[str, object]:
    usage, lineage = outcome.usage, outcome.lineage
    return {
        "request_id": outcome.request_id,
        "decision_id": outcome.decision_id,
        "policy": outcome.policy,
        "policy_version": outcome.policy_version,
        "key_id": outcome.key_id,
        "team": outcome.team,
        **({} if lineage is None else msgspec.structs.asdict(lineage)),
        "reason": None if outcome.reason is None else outcome.reason.value,
        "model": outcome.served_model_id,
        "upstream": outcome.served_upstream,
        "session": None if outcome.session is None else outcome.session.value,
        "cache": None if outcome.cache is None else outcome.cache.value,
        "stream": outcome.stream,
        "status": outcome.status,
        "error": outcome.error,
        "refused_by": outcome.refused_by,
        "calls": outcome.calls,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "usage_estimated": None if usage is None else usage.estimated,
        "cost_usd": outcome.cost_usd,
        **_documents(outcome.documents),
        "workflow": outcome.workflow,
        **({} if outcome.priority is _USUAL and not outcome.queued_s else _wait(outcome)),
        **({} if outcome.tier is None else outcome.tier._asdict()),
        **({} if outcome.watch is None else {"watch": outcome.watch}),
        "decide_ms": round(outcome.decide_s * 1e3, 3),
        "overhead_ms": round(outcome.overhead_s * 1e3, 3),
        "time_to_first_token_ms": None
        if outcome.time_to_first_token_s is None
        else round(outcome.time_to_first_token_s * 1e3, 3),
        "duration_ms": round(outcome.duration_s * 1e3, 3),
        **_latency(outcome.latency),
    }
