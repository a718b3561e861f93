"""The sections `store`, `cache`, `outcomes` and `traces`: what is kept, and what is told."""

from typing import Annotated, Literal

from pydantic import Field, HttpUrl, StringConstraints

from app.config.fields import (
    Count,
    Days,
    Seconds,
    SecondsOrNone,
    Share,
    Strict,
    Text,
    Variable,
    Words,
)


class StoreConfig(Strict):
    """Where keys, limits and what is spent are kept."""

    kind: Literal["memory", "redis"] = "memory"
    """`memory`: this one process, and what must survive it in SQLite under `data_dir`.
    `redis`: what several processes and replicas share."""
    data_dir: Text | None = None
    """A directory relative to this file, also of the outcome log; without it nothing that is kept
    in memory survives a restart."""
    redis_url_env: Variable = "STEELYARD_REDIS_URL"
    """The variable that holds the address, `redis://`, `rediss://` or `unix://`."""
    prefix: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$"),
        Words("a name of small letters, digits, `_`, `.` and `-`"),
    ] = "steelyard"
    """What every name in Redis begins with; gateways of one prefix share limits and keys."""
    timeout_s: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.05
    """For one round trip to Redis."""
    news_every_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.25
    """How often gateways on one Redis tell each other how many calls they have at the deployments
    of a model that has several, or quotas; 0 for never."""
    keys_grace_s: SecondsOrNone = 300.0
    """How long keys that are known go on working while Redis cannot be asked."""
    cache_url_env: Variable | None = None
    """The variable that holds the address of another Redis, for cached answers alone; left out,
    they share the memory of what counts, within the bounds below, and go first when it is full."""
    cache_max_bytes: Annotated[int, Field(ge=2**16, le=2**40)] = 64 * 2**20
    """How much of cached answers is kept; the oldest make room."""
    cache_max_bytes_per_key: Annotated[int, Field(ge=2**16, le=2**40)] = 16 * 2**20
    """How much of one key's, where keys are asked for."""


class CacheConfig(Strict):
    """The exact response cache; only requests and keys that ask for it use it."""

    enabled: bool = True
    """Whether there is one; `false` ignores requests and keys that ask for it."""
    ttl_s: Seconds = 3600.0
    """How long an answer is kept."""
    max_answer_bytes: Annotated[int, Field(ge=1, le=2**31)] = 262_144
    """Longer answers are not kept."""
    wait_s: SecondsOrNone = 20.0
    """How long a request waits for the answer to an identical one that already runs."""


class ResponsesConfig(Strict):
    """Whether responses of `/v1/responses` are kept, so that clients can go on by their id.

    Off, `previous_response_id` is answered as if it had expired, and clients send everything again.
    What is kept holds prompts and answers as they are.
    """

    store: bool = False
    """Whether they are kept, unless a request says `store: false`."""
    keep_days: Days = 30.0
    """How long."""
    max_response_bytes: Annotated[int, Field(ge=2**10, le=2**30)] = 4 * 2**20
    """A conversation that is longer is not kept."""
    max_bytes: Annotated[int, Field(ge=2**16, le=2**40)] = 512 * 2**20
    """How much is kept in all; the oldest make room."""
    max_bytes_per_key: Annotated[int, Field(ge=2**16, le=2**40)] = 128 * 2**20
    """How much of one key's, where keys are asked for."""


class ContentsConfig(Strict):
    """Whether prompts and answers are kept beside the decision log; they are not by default."""

    enabled: bool = False
    """Whether prompts and answers are kept."""
    keep_days: Days = 7.0
    """How long they are kept."""
    redact: tuple[str, ...] = ()
    """Regular expressions; what they match is taken out of every text before it is written."""
    redact_hook: (
        Annotated[
            str, StringConstraints(pattern=r"^[\w.]+:\w+$"), Words("`package.module:function`")
        ]
        | None
    ) = None
    """`package.module:function`: takes each text and returns what may be kept of it."""


class OutcomesConfig(Strict):
    """The decision log: what was predicted, chosen, used and paid, one row per request."""

    enabled: bool | None = None
    """Left out, there is one where `store.data_dir` is set, or the sink is Redis."""
    sink: Literal["sqlite", "redis"] = "sqlite"
    """`sqlite`: `outcomes.sqlite3` in the data folder. `redis`: a stream on the Redis of the store,
    which `steelyard collect` writes to Parquet files."""
    keep_days: Days = 90.0
    """How long a row is kept."""
    features: Literal["reference", "value"] = "reference"
    """`value` keeps the embedding of every prompt, which tells something of its text; `reference`
    the version of the artifact, with which it can be made anew where the text is known."""
    contents: ContentsConfig = ContentsConfig()
    """Prompts and answers beside the rows."""
    feedback_per_minute: Count = 600
    """How many labels a key may send."""


class TracesConfig(Strict):
    """Traces by OpenTelemetry; needs the extra `otel`."""

    enabled: bool = False
    """Whether requests and upstream calls are traced."""
    endpoint: HttpUrl | None = None
    """Of OTLP over HTTP, with path (`http://collector:4318/v1/traces`); left out, the variables
    OTEL_EXPORTER_OTLP_* say where."""
    service_name: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "steelyard"
    """What the gateway is called in traces (`service.name`)."""
    sample: Share = 1.0
    """The share of traces that begin here; a client that traces has chosen itself."""
    propagate: bool = True
    """Tell upstreams of the trace by the header `traceparent`."""
    content: bool = False
    """Tell prompts and answers too, redacted as `outcomes.contents` says."""
