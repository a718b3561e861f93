"""What a running application owns: built once in the lifespan, passed on, never global."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.access.guard import Guard
from app.config import LoadedConfig
from app.gateway.handle import Gateway
from app.gateway.request import Deployment, Policy
from app.stores._base import Lifecycle
from app.telemetry.metrics import Metrics


@dataclass(slots=True)
class Readiness:
    """Whether new requests should come here; the one thing about a running app that changes."""

    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """Everything that handlers need."""

    config: LoadedConfig
    gateway: Gateway
    deployments: Mapping[str, tuple[Deployment, ...]]
    policies: Mapping[str, Policy]
    metrics: Metrics
    store: Lifecycle
    guard: Guard
    readiness: Readiness = field(default_factory=Readiness)
