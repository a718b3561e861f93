"""How the gateway itself is: its process, configuration, store and limits."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

from app.stores.claims import Refusal
from app.telemetry._declare import OTHER, Declare, FirstNames
from app.telemetry.baselines import BudgetFact, PolicyFacts
from routers.media.arms import VARIANT_MARK

_LAG = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_FILES = Path("/proc/self/fd")


class ProcessMetrics:
    """Everything that is told whether or not a request comes."""

    def __init__(self, declare: Declare) -> None:
        self._names = FirstNames()
        self._refusals = declare.counter(
            "gateway_limit_refusals",
            "Requests refused by a limit or a budget of this gateway.",
            *("scope", "resource"),
        )
        budget = ("scope", "name", "period")
        self._budget_limit = declare.gauge(
            "gateway_budget_limit_usd",
            "Budgets in US dollars, as this gateway last saw them.",
            *budget,
            together="livemostrecent",
        )
        self._budget_spent = declare.gauge(
            "gateway_budget_spent_usd",
            "US dollars spent in the period that runs.",
            *budget,
            together="livemostrecent",
        )
        self._budget_reserved = declare.gauge(
            "gateway_budget_reserved_usd",
            "US dollars reserved by requests that still run.",
            *budget,
            together="livemostrecent",
        )
        self._lag = declare.histogram(
            "gateway_event_loop_lag_seconds",
            "How late the event loop was, looked at four times a second.",
            buckets=_LAG,
        )[()]
        self._rss = declare.gauge(
            "process_resident_memory_bytes", "Resident size, all workers.", together="livesum"
        )[()]
        self._cpu = declare.counter(
            "process_cpu_seconds", "Processor time, user and system, all workers."
        )[()]
        self._files = declare.gauge(
            "process_open_fds", "Open files and connections, all workers.", together="livesum"
        )[()]
        self._started = declare.gauge(
            "process_start_time_seconds",
            "When the youngest worker started, in seconds since the epoch.",
            together="livemax",
        )[()]
        self._started.set(time.time())
        self._cpu_s = 0.0
        self._workers = declare.gauge("gateway_workers", "Serving processes.", together="livesum")[
            ()
        ]
        self._workers.set(1)
        self._log_lines_dropped = declare.counter(
            "gateway_log_lines_dropped",
            "Lines of the log that could not be written, or not in time.",
        )[()]
        self._lost_lines = 0
        self._workers_died = declare.counter(
            "gateway_worker_restarts",
            "Worker processes that ended without being told to, and are started anew.",
            "cause",
        )
        self._reloads = declare.counter(
            "gateway_config_reloads",
            "Attempts to read the configuration anew; result is success or failure.",
            "result",
        )
        self._reloaded = declare.gauge(
            "gateway_config_last_reload_successful",
            "Whether the last attempt to read the configuration anew worked, in every worker.",
            together="livemin",
        )[()]
        self._reloaded.set(1)
        self._reloaded_at = declare.gauge(
            "gateway_config_last_reload_success_timestamp_seconds",
            "When the configuration that is served was read, in the worker that did last.",
            together="livemin",
        )[()]
        self._reloaded_at.set_to_current_time()
        self._build = declare.gauge(
            "gateway_build_info",
            "1 for the release and the configuration that are served, 0 for earlier ones.",
            *("version", "config_version", "python"),
            together="livemax",
        )
        self._policies = declare.gauge(
            "gateway_policy_info",
            "1 for the policies that are served, 0 for earlier versions of them.",
            *("policy", "policy_version", "router", "artifact_version"),
            *("default_model", "strongest_model"),
            together="livemax",
        )
        self._models = declare.gauge(
            "gateway_model_info",
            "1 for the models that are served and what each is a variant of (itself where it is "
            "none), 0 for earlier ones: to join on `model`.",
            *("model", "base_model"),
            together="livemax",
        )

    def configured(
        self,
        *,
        version: str,
        config_version: str,
        models: Iterable[str],
        policies: Iterable[PolicyFacts],
    ) -> None:
        """Show what is served now, and that what was served before no longer is."""
        for child in (
            *self._build.values(),
            *self._policies.values(),
            *self._models.values(),
        ):
            child.set(0)
        for model in models:
            self._models[model, model.partition(VARIANT_MARK)[0]].set(1)
        self._build[version, config_version, platform.python_version()].set(1)
        for each in policies:
            self._policies[
                each.name,
                each.version,
                each.router,
                each.artifact_version,
                each.default_model_id,
                each.strongest_model_id,
            ].set(1)

    def refused(self, refusal: Refusal) -> None:
        """Count one request that a limit refused."""
        self._refusals[refusal.scope.kind.value, refusal.resource.value].inc(1)

    def budgets(self, facts: Iterable[BudgetFact]) -> None:
        """Show where budgets stand; those of names beyond the first `MAX_NAMES` are not shown."""
        for each in facts:
            name = self._names[each.name] if each.name else "all"
            if name != OTHER:
                labels = each.scope, name, each.period
                self._budget_limit[labels].set(each.limit_usd)
                self._budget_spent[labels].set(each.spent_usd)
                self._budget_reserved[labels].set(each.reserved_usd)

    def sampled(self, lag_s: float, rss_bytes: int) -> None:
        """Take in how late the event loop was, and show how large the process is."""
        self._lag.observe(lag_s)
        self._rss.set(rss_bytes)
        cpu = os.times()
        used_s = cpu.user + cpu.system
        self._cpu.inc(max(used_s - self._cpu_s, 0.0))
        self._cpu_s = used_s

    def count_files(self) -> None:
        """Show how many files and connections are open, where the system tells."""
        if _FILES.is_dir():
            self._files.set(sum(1 for _ in _FILES.iterdir()))

    def lost_lines(self, n_lines: int) -> None:
        """Show how many lines of the log were dropped since this process began."""
        self._log_lines_dropped.inc(max(n_lines - self._lost_lines, 0))
        self._lost_lines = n_lines

    def worker_died(self, cause: str) -> None:
        """Count a worker that ended without being told to: by `exit`, by `signal`, or `hung`."""
        self._workers_died[(cause,)].inc(1)

    def reloaded(self, *, successful: bool, counts: bool = True) -> None:
        """Show how the last attempt to read the configuration anew ended.

        Every worker shows it, one `counts` it.
        """
        if counts:
            self._reloads[("success" if successful else "failure",)].inc(1)
        self._reloaded.set(successful)
        if successful:
            self._reloaded_at.set_to_current_time()
