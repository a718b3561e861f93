"""The sections `upstreams` and `breaker`: provider endpoints."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from app.config.addresses import address_problem
from app.config.fields import ConflictError, Name, Port, Seconds, Strict, Variable
from app.config.residency import ResidencyConfig

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""The name of a header (RFC 9110, section 5.6.2)."""

_FRAMING = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how the request itself is framed: two of them would contradict each other."""


class TimeoutsConfig(Strict):
    """How long each phase of an upstream call may take."""

    connect_s: Seconds = 5.0
    """To get a connection, TLS included, or a free one of `max_connections`."""
    first_token_s: Seconds = 60.0
    """From the request to the first content of a stream."""
    idle_s: Seconds = 30.0
    """Between two reads of a stream."""
    whole_answer_s: Seconds = 300.0
    """From the request to the whole answer, when the client does not stream."""
    total_s: Seconds = 600.0
    """For one whole attempt, the stream to its last byte included."""


class UpstreamConfig(Strict):
    """One provider endpoint; its secret is named, never written."""

    kind: str = "openai"
    """What it is spoken to in: `openai` for everything that is compatible, `azure`, `anthropic`,
    `gemini`, `vertex`, `bedrock`."""
    base_url: HttpUrl
    """What the dialect's path (`/chat/completions`) is appended to; usually ends in `/v1`. A query
    is sent with every request."""
    api_key_env: Variable | None = None
    """The environment variable that holds its key; left out, it wants none, or is shown a token;
    `vertex` and `bedrock` then take the credentials that the tools of Google and AWS find."""
    token_command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A program and its arguments that print a bearer token, or JSON with `access_token` and
    `expires_in`: for credentials that expire. It is run again before the token ends, and when the
    upstream refuses it."""
    token_file: Path | None = None
    """A file, relative to this one, that holds such a token; somebody else keeps it up to date."""
    aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    """For `bedrock`: the region that requests are signed for, where `base_url` does not tell it."""
    aws_profile: Name | None = None
    """For `bedrock`: the profile of AWS' configuration whose credentials are taken."""
    extra_headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request, such as an organisation; they win over the dialect's own."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Of each process to this upstream."""
    stream_usage: bool = True
    """Whether the upstream understands `stream_options.include_usage`."""
    drop_fields: tuple[Name, ...] = ()
    """Request fields that its models refuse and clients send all the same, such as `temperature`:
    they are left out, and the answer is given without them."""
    developer_role: Literal["developer", "system"] = "developer"
    """What the role `developer` is called here; many servers know `system` alone. For `openai` and
    `azure`: other dialects have neither."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """What the limit of an answer is called here, whichever name a client used; left out, the
    client's own. For `openai` and `azure`."""
    also_serves: tuple[Literal["completions", "responses"], ...] = ()
    """APIs besides the kind's own that are passed through to it: `completions`, for prompts without
    roles (`/v1/completions`), and `responses` (`/v1/responses`), of `openai` and `azure`. Left out,
    they are told as chat."""
    max_answer_bytes: Annotated[int, Field(ge=1_000_000, le=1_000_000_000)] = 64 * 1024 * 1024
    """Of a whole answer, and of one event of a stream; a longer one is a failure."""
    reuse_connections: bool = True
    """Whether connections are kept and used again; without, each call pays for a new one, and none
    can be lost as it is used again."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    """How long each phase of a call may take."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """How often a model that failed here is asked once more before the next model is, where that
    cannot be paid twice: on another of its deployments, else here after a moment."""

    residency: ResidencyConfig | None = None
    """For a machine of your own that loads models on demand (Ollama, llama.cpp, llama-swap, vLLM):
    what it has room for. Its models then say `load_s`, and loading is part of the choice."""

    @model_validator(mode="after")
    def _is_shown_one_credential(self) -> Self:
        ways = {
            "api_key_env": self.api_key_env,
            "token_command": self.token_command,
            "token_file": self.token_file,
        }
        named = [way for way, value in ways.items() if value]
        if len(named) > 1:
            raise ConflictError(
                (named[1],), f"stands beside {named[0]}; one of them shows who asks"
            )
        for field in ("aws_region", "aws_profile"):
            if getattr(self, field) is not None and self.kind != "bedrock":
                raise ConflictError((field,), "is for kind: bedrock")
        return self

    @model_validator(mode="after")
    def _keeps_what_a_request_is(self) -> Self:
        if kept := {"messages", "model", "stream"} & set(self.drop_fields):
            raise ConflictError(
                ("drop_fields",), f"{', '.join(sorted(kept))} cannot be left out of a request"
            )
        return self

    @model_validator(mode="after")
    def _sends_headers_that_can_be_sent(self) -> Self:
        for name, value in self.extra_headers.items():
            place = ("extra_headers", name)
            if not _TOKEN.fullmatch(name):
                raise ConflictError(place, "is no name of a header: letters, digits and `-`")
            if name.lower() in _FRAMING:
                raise ConflictError(place, "is the gateway's own to say; leave it out")
            if not value.isascii() or not value.isprintable():
                # The value may be a key: it is not shown.
                raise ConflictError(
                    place, "has a value with line breaks, control or non-ASCII characters"
                )
        return self

    @model_validator(mode="after")
    def _has_an_address_that_can_be_asked(self) -> Self:
        if problem := address_problem(self.kind, self.base_url):
            raise ConflictError(("base_url",), problem)
        return self


class BreakerConfig(Strict):
    """When a deployment counts as unhealthy, and with all of them its model."""

    failures: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """Consecutive provider faults that open the circuit."""
    cooldown_s: Seconds = 15.0
    """How long nothing is sent there then, before one call tries again."""


class StubConfig(Strict):
    """The simulated upstream that `steelyard serve` starts beside the gateway."""

    port: Port = 8081
    """Where it listens, on 127.0.0.1."""
    speed: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 1.0
    """1 answers at realistic speed, 0 without any delay."""
