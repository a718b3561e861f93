"""What a running application owns: built once, passed on, never global."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from app.access.guard import Caller, Guard
from app.config import LoadedConfig
from app.gateway.deployments.machines import Machines
from app.gateway.deployments.orchestration import OrchestrationState
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.rooms import Rooms
from app.gateway.deployments.watched_machines import WatchedMachine
from app.gateway.handle import Gateway
from app.gateway.latency import Speeds
from app.gateway.lessons import Pupils
from app.gateway.load.load_bias import LoadBiases
from app.gateway.model_queues import ModelQueues
from app.gateway.money.admission import Admission
from app.gateway.names import Names
from app.gateway.policy import Policy
from app.gateway.queues.overload import LoadWatch
from app.gateway.queues.places import Places
from app.gateway.queues.ranks import Ranks
from app.gateway.request import Deployment
from app.gateway.visible import VisibleNames
from app.gateway.watch.canaries import Canaries
from app.gateway.watch.drift import DriftSamples
from app.gateway.watch.provider_watch import ProviderWatch
from app.outcome import Outcome
from app.outcomes.decision_log import DecisionLog
from app.outcomes.feedback import Feedback
from app.outcomes.remembering import Memories
from app.providers.base import Provider
from app.providers.http.decision_endpoint import DecisionEndpoint
from app.stores.base import Lifecycle, Troubled
from app.stores.claims import Standing
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What outlives configurations."""

    metrics: Metrics
    store: Lifecycle
    record: Callable[[Outcome], None]
    drain: Callable[[], None]
    """Has metrics, log and console told of every outcome that was recorded."""
    clock: Callable[[], float]
    pupils: Pupils
    """Workflows that requests teach."""
    memories: Memories
    """Routers that believe feedback."""
    speeds: Speeds = field(default_factory=Speeds)
    """How fast models answer where they are served."""
    rooms: Rooms = field(default_factory=Rooms)
    """What places of models take at once: the calls there outlive configurations."""
    n_processes: int = 1
    """How many workers serve beside each other, this one included."""
    watch: ProviderWatch
    """Whether models are still those that they were."""
    canaries: Canaries
    drift: DriftSamples = field(default_factory=DriftSamples)
    machines: Machines = field(default_factory=Machines)
    """What is known of machines that load models on demand."""
    decisions: DecisionLog | None = None
    """Where outcomes are kept to learn from."""
    feedback: Feedback | None = None
    """Takes labels; there where `decisions` is."""
    tracer: Tracer | None = None


@dataclass(slots=True, kw_only=True)
class ActiveConfig:
    """Everything that requests of one configuration need; nothing in it changes but the count."""

    config: LoadedConfig
    gateway: Gateway
    admission: Admission
    """What callers may use, and how much of it is left."""
    loads: LoadBiases
    """What the load of models costs."""
    pool: DeploymentPool
    """How the places are where models are served."""
    queues: ModelQueues
    """Who waits for models whose deployments take only so many calls at once."""
    deployments: Mapping[str, tuple[Deployment, ...]]
    policies: Mapping[str, Policy]
    providers: tuple[Provider, ...]
    names: Names
    visible: VisibleNames
    ranks: Ranks = field(default_factory=Ranks)
    """Whose requests go first where some wait."""
    machines: tuple[WatchedMachine, ...] = ()
    """Machines that say what they have loaded."""
    endpoints: tuple[DecisionEndpoint, ...] = ()
    """Of decision models that are no models of the gateway's."""
    in_flight: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self) -> None:
        """Note that a request uses this."""
        self.in_flight += 1

    def leave(self) -> None:
        """Note that a request is over."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def retire(self) -> None:
        """Wait for the requests that use this, then let go of connections and threads."""
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        self.queues.close()
        self.gateway.close()
        for provider in self.providers:
            await provider.aclose()
        for endpoint in self.endpoints:
            await endpoint.aclose()
        for machine in self.machines:
            await machine.reader.aclose()


@dataclass(slots=True)
class Readiness:
    """Whether new requests should come here."""

    ready: bool = False
    draining: bool = False
    missing_workers: int = 0
    """How many of the workers beside this one do not run at the moment."""

    def drain(self) -> None:
        """Say that nothing more should come, and have kept connections closed as they are used."""
        self.ready, self.draining = False, True


@dataclass(slots=True, kw_only=True)
class AppState:
    """Everything that handlers need; `serving` is replaced when the configuration is read anew."""

    serving: ActiveConfig
    resources: Resources
    guard: Guard
    places: Places
    watch: LoadWatch
    readiness: Readiness = field(default_factory=Readiness)
    started_at: float = field(default_factory=time.time)

    @property
    def config(self) -> LoadedConfig:
        """The configuration that is served."""
        return self.serving.config

    @property
    def gateway(self) -> Gateway:
        """What handles requests."""
        return self.serving.gateway

    @property
    def deployments(self) -> Mapping[str, tuple[Deployment, ...]]:
        """Where models are served."""
        return self.serving.deployments

    @property
    def policies(self) -> Mapping[str, Policy]:
        """How requests are decided."""
        return self.serving.policies

    async def standings(self, caller: Caller) -> tuple[Standing, ...]:
        """Return where every limit of a caller stands.

        Raises
        ------
        StoreUnavailableError
        """
        return await self.serving.admission.standings.of(caller)

    async def own_standings(self, callers: Iterable[Caller]) -> tuple[Standing, ...]:
        """Return where the limits of each caller's own key stand.

        Raises
        ------
        StoreUnavailableError
        """
        return await self.serving.admission.standings.of_keys(callers)

    def orchestrated(self) -> Mapping[str, OrchestrationState]:
        """Return how models stand whose load is orchestrated."""
        return self.serving.pool.orchestrated()

    def problems(self) -> dict[str, str]:
        """Return what of the store, or of the decision log, does not work at the moment → why."""
        store, decisions = self.resources.store, self.resources.decisions
        problems = dict(store.problems) if isinstance(store, Troubled) else {}
        if decisions is not None and decisions.log.problem is not None:
            problems["outcomes"] = decisions.log.problem
        return problems

    @property
    def metrics(self) -> Metrics:
        """Every instrument."""
        return self.resources.metrics

    @property
    def store(self) -> Lifecycle:
        """Keys, limits, sessions."""
        return self.resources.store
