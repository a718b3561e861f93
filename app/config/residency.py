"""The field `residency` of an upstream: a machine that loads models on demand."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Price, Seconds, Strict

Gigabytes = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class ResidencyConfig(Strict):
    """How a machine that loads models on demand does that, and what is known of what it holds."""

    memory_gb: Gigabytes | None = None
    """What all loaded models have room in together; left out, no limit is known."""
    max_models: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many it loads at a time, such as Ollama's `OLLAMA_MAX_LOADED_MODELS` or llama.cpp's
    `--models-max`."""
    keep_alive_s: Seconds | None = None
    """How long after its last call a model is unloaded, such as Ollama's `OLLAMA_KEEP_ALIVE`; left
    out, it stays until another one needs the room."""
    usd_per_hour: Price = 0.0
    """What the machine costs: while it loads a model, that is what loading costs."""
    busy_at: Annotated[int, Field(ge=1, le=100_000)] = 8
    """Calls outstanding at a loaded model from which on another machine may load it too."""
    reads: Literal["ollama", "llama_cpp", "llama_swap", "models"] | None = None
    """Where the machine itself is asked what it has loaded, besides the calls that are made to it:
    `ollama` (`/api/ps`), `llama_cpp` (the router's `/v1/models` with their status), `llama_swap`
    (`/running`), or `models`: whatever `/v1/models` lists is loaded, as with vLLM."""
    poll_s: Seconds = 5.0
    """How often, where it is asked."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        limits = (self.memory_gb, self.max_models, self.keep_alive_s, self.reads)
        if all(limit is None for limit in limits):
            raise ConflictError(
                (),
                "says nothing of what is unloaded; give `memory_gb`, `max_models`, `keep_alive_s` "
                "or `reads`",
            )
        return self
