"""Every Prometheus instrument of the gateway, declared once; see the `_*_metrics` modules.

Labels are configured names and enums, never anything that a client typed: what is not configured
is counted as `other`. What several worker processes count is added up when it is read.
"""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.outcome import Outcome
from app.telemetry._batch_metrics import BatchMetrics
from app.telemetry._best_effort_metrics import BestEffortMetrics
from app.telemetry._declare import ConfiguredNames, Declare
from app.telemetry._drift_metrics import DriftMetrics
from app.telemetry._latency_metrics import LatencyMetrics
from app.telemetry._lesson_metrics import LessonMetrics
from app.telemetry._load_metrics import LoadMetrics
from app.telemetry._machine_metrics import MachineMetrics
from app.telemetry._orchestration_metrics import OrchestrationMetrics
from app.telemetry._process_metrics import ProcessMetrics
from app.telemetry._queue_metrics import QueueMetrics
from app.telemetry._request_metrics import RequestMetrics
from app.telemetry._routing_metrics import RoutingMetrics
from app.telemetry._store_metrics import StoreMetrics
from app.telemetry._upstream_metrics import UpstreamMetrics
from app.telemetry._watch_metrics import WatchMetrics
from app.telemetry._workflow_metrics import WorkflowMetrics
from app.telemetry.baselines import PolicyFacts
from app.telemetry.exposition import render
from app.waits import GATEWAY_QUEUE

_PINNED = "pinned"
"""The policy of requests that ask for a model by its name."""


class Metrics:
    """The instruments, on a registry of their own so that applications do not share them.

    Attributes
    ----------
    workers_dir
        Where several worker processes count, as the environment variable
        `PROMETHEUS_MULTIPROC_DIR` says before anything is counted; None where there is one.
    requests, queues, upstreams, machines, orchestration, routing, latency, workflows, lessons,
    load, best_effort, drift, watch, batches, process, store
        The instruments by what they tell of.
    """

    def __init__(self, registry: CollectorRegistry, *, workers_dir: Path | None = None) -> None:
        self.registry = registry
        self.workers_dir = workers_dir
        self._models, self._policies = ConfiguredNames(), ConfiguredNames()
        self._upstreams = ConfiguredNames()
        self._policies.allow((_PINNED,))
        models, policies, declare = self._models, self._policies, Declare(registry)
        self.requests = RequestMetrics(declare, models=models, policies=policies)
        self.queues = QueueMetrics(declare, models=models, gateway=GATEWAY_QUEUE)
        self.routing = RoutingMetrics(declare, models=models, policies=policies)
        self.latency = LatencyMetrics(declare, models=models, policies=policies)
        self.upstreams = UpstreamMetrics(
            declare, models=models, policies=policies, upstreams=self._upstreams
        )
        self.machines = MachineMetrics(declare, models=models, upstreams=self._upstreams)
        self.orchestration = OrchestrationMetrics(declare, models=models, upstreams=self._upstreams)
        self.workflows = WorkflowMetrics(declare, models=models, policies=policies)
        self.lessons = LessonMetrics(declare, models=models, policies=policies)
        self.load = LoadMetrics(declare, models=models, policies=policies)
        self.best_effort = BestEffortMetrics(declare, models=models, policies=policies)
        self.drift = DriftMetrics(declare, policies=policies)
        self.batches = BatchMetrics(declare)
        self.watch = WatchMetrics(declare, models=models, upstreams=self._upstreams)
        self.process = ProcessMetrics(declare)
        self.store = StoreMetrics(declare)

    def configured(
        self,
        *,
        version: str,
        config_version: str,
        models: Iterable[str],
        upstreams: Iterable[str],
        policies: Iterable[PolicyFacts],
    ) -> None:
        """Take over the names that may be labels, and what policies are compared with."""
        policies, models = tuple(policies), tuple(models)
        self._models.allow(models)
        self._upstreams.allow(upstreams)
        self._policies.allow(each.name for each in policies)
        self.routing.configured(policies)
        self.drift.configured(each.name for each in policies)
        self.process.configured(
            version=version, config_version=config_version, models=models, policies=policies
        )

    def render(self) -> bytes:
        """Render everything, of all workers together, in Prometheus' text format."""
        return render(self.registry, workers_dir=self.workers_dir)

    def record(self, outcome: Outcome) -> None:
        """Derive every figure of one request from its outcome."""
        if outcome.is_bare_decision:
            self.requests.decided(outcome)
            return
        if outcome.is_canary:
            self.requests.spent(outcome)
            self.upstreams.record(outcome)
            return
        self.requests.record(outcome)
        self.upstreams.record(outcome)
        self.routing.record(outcome)
        self.latency.record(outcome)
        self.workflows.record(outcome)
