"""The sections `server` and `auth`: the listening side, and who may ask."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from app.config.fields import BatchShare, Name, Port, Seconds, Strict, Variable

HostName = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s,*]+)$")]


class HoldBackConfig(Strict):
    """What a client gets, and for how long, while a policy's `workflow` holds answers back."""

    headers_after_s: Seconds | None = 20.0
    """A stream gets its headers once an answer was held back for so long, and from then on a
    comment every `sse_ping_s`, so that nothing on the way closes it. What fails later is an error
    event in it, as its status is out, and the headers name no model. Null for never: nothing is
    sent before an answer serves, as for an answer in one piece, which cannot begin before."""
    max_s: Seconds = 120.0
    """How long each answer may take until it is whole."""
    max_bytes: Annotated[int, Field(ge=1_000, le=2**31)] = 1_000_000
    """How much is held back for one request, of all its answers together."""
    longer: Literal["escalate", "serve"] = "escalate"
    """What becomes of an answer that exceeds either: it is given up for the next one, or it serves
    without being judged; of several that are asked for at the same time, none serves so."""


class ServerConfig(Strict):
    """The listening side."""

    host: str = "127.0.0.1"
    """The address to listen on; others than loopback ones need `auth.mode`."""
    region: Name | None = None
    """Where this gateway stands: bandits that balance learn apart in each region."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """The port to listen on; 0 takes a free one."""
    metrics_port: Port | None = None
    """Serve `/metrics` there instead of on the main port."""
    metrics_token_env: Variable | None = None
    """Environment variable that holds the token which `/metrics` asks for; left out, it asks for
    the admin token where keys are needed (without one `/metrics` is closed), and for nothing where
    they are not."""
    metrics: Literal["open"] | None = None
    """`open`: whoever reaches the port may read `/metrics`, which names keys and what they spend,
    also where keys are needed."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Names that requests may be addressed to, such as `gateway.example.com` or `*.example.com`,
    besides addresses, `localhost` and names without a dot. Left out, any name does where keys are
    needed or other machines are served, and no other where neither is so: a page of the web could
    else ask under a name of its own."""
    cors_origins: tuple[Origin, ...] = ()
    """Origins whose pages may ask from a browser and read the answer, such as
    `https://app.example.com`; `*` for all, where keys are needed. Left out, none may."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**31)] = 10_000_000
    """The longest body of a request, unpacked where it comes compressed; longer ones are a 413."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 8_000
    """Of clients to each process, idle ones too; further ones are turned away with a 503."""
    head_timeout_s: Seconds = 10.0
    """How long a client may take to send the headers of a request."""
    body_timeout_s: Seconds = 60.0
    """How long it may take to send the body."""
    keep_alive_s: Seconds = 620.0
    """How long a connection stays open between requests: longer than whatever stands in front keeps
    it, so that the gateway never closes one that is being used again."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`info` tells one line per request."""
    request_timeout_s: Seconds = 600.0
    """For one whole request, the stream included."""
    sse_ping_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 15.0
    """A stream that has begun and is silent for so long gets a comment, which keeps load balancers
    from closing it; 0 for none. Before the first content nothing is sent, so that another model can
    still answer, or an error have its status code."""
    hold_back: HoldBackConfig = HoldBackConfig()
    """While an answer is held back until it is accepted."""
    shutdown_grace_s: Seconds = 20.0
    """How long requests that run may take to end when the gateway is stopped."""
    drain_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 2.0
    """How long `/readyz` says no before the listening socket closes (on SIGTERM)."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    """Handled at once, streams included."""
    max_queued_requests: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    """Waiting for a place; more are turned away at once."""
    queue_timeout_s: Seconds = 2.0
    """How long a request waits for a place before it is turned away with a 503."""
    batch_queue_timeout_s: Seconds = 60.0
    """How long one of the priority `batch` waits for it."""
    batch_share: BatchShare = 0.05
    """The share of the tokens that requests of the priority `batch` get while interactive ones wait
    for places too; 0 for none."""
    max_messages: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Of one request, likewise parts of all its messages, and tools; more is a 400."""
    max_bodies_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    """The bodies of all requests that are read or answered, together; one caller may have half of
    it."""
    max_lag_s: Seconds = 1.0
    """New requests are turned away while the event loop is this late."""
    max_rss_mb: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """New requests are turned away while the process holds more memory."""
    console: bool | None = None
    """Serve the page `/console`. Left out, it is there where only this machine can ask: on
    loopback addresses. With `auth.mode: keys` what it shows needs the admin token."""


class AuthMode(StrEnum):
    """Who may ask."""

    KEYS = "keys"
    """Who sends a virtual key."""
    NONE = "none"
    """Everybody who reaches the port."""


class AuthConfig(Strict):
    """Who may ask, and who may say so."""

    mode: AuthMode | None = None
    """Left out, nobody needs a key, and only loopback addresses are served."""
    admin_token_env: Variable = "STEELYARD_ADMIN_TOKEN"  # noqa: S105  (a name)
    """The variable that holds the token of `/admin`; where it is not set there is no `/admin`."""
    fresh_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 5.0
    """How long a key is believed before the store is asked again; a key that another process
    revokes works at most this much longer."""

    @property
    def keys_needed(self) -> bool:
        """Whether requests need a virtual key."""
        return self.mode is AuthMode.KEYS
