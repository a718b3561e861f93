"""The sections `upstreams` and `breaker`: provider endpoints."""

from typing import Annotated, Self

from pydantic import Field, HttpUrl, model_validator

from app.config.fields import Name, Seconds, Strict


class TimeoutsConfig(Strict):
    """How long each phase of an upstream call may take."""

    connect_s: Seconds = 5.0
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
    base_url: HttpUrl
    api_key_env: str | None = None
    extra_headers: dict[str, str] = Field(default_factory=dict)
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    stream_usage: bool = True
    """Whether the upstream understands `stream_options.include_usage`."""
    drop_fields: tuple[Name, ...] = ()
    """Request fields that its models refuse and clients send all the same, such as `temperature`:
    they are left out, and the answer is given without them."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """How often a model that failed here is asked once more before the next model is, where that
    cannot be paid twice: on another of its deployments, else here after a moment."""

    @model_validator(mode="after")
    def _keeps_what_a_request_is(self) -> Self:
        if kept := {"messages", "model", "stream"} & set(self.drop_fields):
            raise ValueError(f"drop_fields: {', '.join(sorted(kept))} cannot be left out")
        return self

    @model_validator(mode="after")
    def _has_no_secret_in_its_address(self) -> Self:
        if self.base_url.username or self.base_url.password:
            raise ValueError("base_url: name a variable in api_key_env instead of user:password@")
        return self


class BreakerConfig(Strict):
    """When a deployment counts as unhealthy, and with all of them its model."""

    failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive provider faults that open the circuit."""
    cooldown_s: Seconds = 15.0


class StubConfig(Strict):
    """The simulated upstream that `steelyard serve` starts beside the gateway."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8081
    speed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """1 answers at realistic speed, 0 without any delay."""
