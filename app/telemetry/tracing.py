"""What a traced request tells; nothing of OpenTelemetry is imported here.

`app.telemetry.traces` has the one implementation, which is loaded only where it is configured.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.calls import Call, CallRole
from app.outcome import Outcome, Texts
from app.wire.pinned.endpoints import ENDPOINTS

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFacts:
    """Where an upstream is, and which kind of provider."""

    kind: str
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """What a request asked for."""

    requested_model: str
    policy: str
    stream: bool
    route: str
    max_output_tokens: int | None

    @property
    def operation(self) -> str:
        """What is asked for, as traces name it: `chat` of everything that converses."""
        return ENDPOINTS.get(self.route.removeprefix("/v1/"), "chat")


class CallTrace(Protocol):
    """One upstream call that is going on."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the upstream is told, so that its own spans belong to ours."""
        ...

    def ended(self, call: Call) -> None:
        """End the call, unless it serves the answer: that one ends with the request."""
        ...


class RequestTrace(Protocol):
    """One request that is going on."""

    def call(
        self,
        model_id: str,
        *,
        upstream: str,
        upstream_model: str,
        stream: bool,
        role: CallRole,
    ) -> CallTrace:
        """Begin an upstream call."""
        ...

    def serves(self, call: CallTrace) -> None:
        """Note which call serves the answer; it ends with the request."""
        ...

    def end(self, outcome: Outcome, texts: Texts | None) -> None:
        """End the request; everything else about it is in the outcome."""
        ...


class Tracer(Protocol):
    """Makes traces of requests."""

    def start(
        self,
        asked: AskedFor,
        *,
        headers: Headers,
        began_s: float,
        upstreams: Mapping[str, UpstreamFacts],
    ) -> RequestTrace:
        """Begin a request; a trace that the client began goes on.

        Parameters
        ----------
        headers
            Of the client.
        began_s
            How many seconds ago it began.
        upstreams
            By their configured names.
        """
        ...

    def close(self) -> None:
        """Send what waits; blocks for a few seconds at most."""
        ...


RedactText = Callable[[str], str]
"""Returns what may be told of a text."""
