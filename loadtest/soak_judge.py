"""What a soak has seen, and whether what must always hold did hold."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.fault_proxy import Call
from loadtest.mixed_traffic import End, Ended, Kind

MIB = 1024 * 1024
MAX_RSS_SLOPE_MIB_PER_MIN = 4.0
"""Generous: caches still fill after the first minute, and allocators keep what they had once."""
MIN_S_FOR_SLOPE = 120.0
"""A shorter run is all warming up; its slope is told and not judged."""
_WARM_SHARE = 0.4
"""Of the time that is not looked at for the slope of the memory."""
_MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One worker at one moment."""

    worker: int
    at_s: float
    rss_bytes: int
    open_files: int


@dataclass(slots=True, kw_only=True)
class Judge:
    """Collects, counts and decides.

    Parameters
    ----------
    at_once
        How many clients there were.
    """

    at_once: int
    ended: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    upstream_connections: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    """Invariant → how many things it was checked on."""
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    faults: Counter[str] = field(default_factory=Counter)
    _durations_s: list[float] = field(default_factory=list)
    _overhead_ms: list[float] = field(default_factory=list)
    _ends: dict[str, tuple[Ended, Kind, int]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every invariant did, and there was traffic to tell by."""
        return not self.broken and self.ended[Ended.ANSWER] > 0

    def saw(self, end: End) -> None:
        """Take the end of one request."""
        self.ended[end.ended] += 1
        self.kinds[end.ask.kind] += 1
        if end.code is not None:
            self.errors[f"{end.status} {end.code}"] += 1
        if end.ended is Ended.ANSWER:
            self._durations_s.append(end.duration_s)
        self._ends[end.ask.tag] = (end.ended, end.ask.kind, end.status)
        self._check(
            "every request has one well-formed end, with the content that was to be said",
            end.problem is None,
            f"{end.ask.tag} ({end.ask.kind}): {end.problem}",
        )

    def sampled(self, sample: Sample) -> None:
        """Take one look at a worker."""
        self.samples.append(sample)

    def is_at_rest(
        self, ledger: Sequence[Mapping[str, Any]], standings: Mapping[str, Mapping[str, Any]]
    ) -> bool:
        """Return whether every request is accounted for and nothing is claimed any more."""
        decided = sum(kind is not Kind.INVALID for _, kind, _ in self._ends.values())
        return len(ledger) >= decided - self.errors["503 store_unavailable"] and all(
            scope["in_flight"] == 0 and scope["budgets"][0]["reserved_usd"] == 0
            for scope in standings.values()
        )

    def close(
        self,
        *,
        ledger: Sequence[Mapping[str, Any]],
        calls: Sequence[Call],
        standings: Mapping[str, Mapping[str, Any]],
        keys: Sequence[str],
        alive: bool,
        workers: Sequence[int],
    ) -> None:
        """Check the accounts, once the traffic is over."""
        self._overhead_ms = [line["overhead_ms"] for line in ledger if line["error"] is None]
        self.faults.update(str(call.fault or "none") for call in calls)
        self._check_lines(ledger)
        self._check_bills(ledger, calls)
        for key_id in keys:
            self._check_budget(key_id, ledger, standings)
        first = {sample.worker for sample in self.samples[:2]}
        self._check("no process died", alive and set(workers) == first, f"{first} {workers}")
        for worker in sorted({sample.worker for sample in self.samples}):
            if self.samples[-1].at_s >= MIN_S_FOR_SLOPE:
                slope = self.rss_slope_mib_per_min(worker)
                flat = slope <= MAX_RSS_SLOPE_MIB_PER_MIN
                self._check("memory is flat", flat, f"{worker}: {slope:.2f} MiB/min")
            files = [each.open_files for each in self.samples if each.worker == worker]
            early = max(files[: max(len(files) // 3, 1)])
            # Pooled connections come and go with the load; a leak would have grown beyond it.
            self._check(
                "open files do not grow", files[-1] <= early + self.at_once, f"{early} {files[-1]}"
            )

    def rss_slope_mib_per_min(self, worker: int) -> float:
        """Return how fast a worker's resident size grows once it is warm (least squares)."""
        points = [(s.at_s / 60, s.rss_bytes / MIB) for s in self.samples if s.worker == worker]
        warm = points[int(len(points) * _WARM_SHARE) :]
        if len(warm) < 3:
            return 0.0
        return statistics.linear_regression(*zip(*warm, strict=True)).slope

    def _check(self, invariant: str, holds: bool, otherwise: str) -> None:  # noqa: FBT001
        self.checked[invariant] = self.checked.get(invariant, 0) + 1
        if not holds and len(self.broken.get(invariant, ())) < _MAX_EXAMPLES:
            self.broken[invariant].append(otherwise)

    def _check_lines(self, ledger: Sequence[Mapping[str, Any]]) -> None:
        counted = Counter(line["request_id"] for line in ledger)
        errors = {line["request_id"]: line["error"] for line in ledger}
        for tag, (ended, kind, status) in self._ends.items():
            wanted = {0, 1} if status in {0, 401, 503} else {int(kind is not Kind.INVALID)}
            agrees = ended is Ended.LEFT or tag not in errors
            agrees = agrees or (errors[tag] is None) == (ended is Ended.ANSWER)
            self._check(
                "every request is in the ledger once, as it ended",
                counted[tag] in wanted and agrees,
                f"{tag} {ended} {status}: {counted[tag]} times, {errors.get(tag)}",
            )

    def _check_bills(self, ledger: Sequence[Mapping[str, Any]], calls: Sequence[Call]) -> None:
        bills = defaultdict(list)
        for call in calls:
            if call.handed_over:
                bills[call.tag, call.model].append((call.input_tokens, call.output_tokens))
        for line in ledger:
            if line["error"] is None and line["usage_estimated"] is False:
                booked = (line["input_tokens"], line["output_tokens"])
                billed = bills[line["request_id"], line["model"]]
                self._check(
                    "completed answers are booked as the upstream billed them, to the token",
                    billed == [booked],
                    f"{line['request_id']}: {booked}, not {billed}",
                )

    def _check_budget(
        self,
        key_id: str,
        ledger: Sequence[Mapping[str, Any]],
        standings: Mapping[str, Mapping[str, Any]],
    ) -> None:
        costs = [line["cost_usd"] or 0.0 for line in ledger if line["key_id"] == key_id]
        scope = standings.get(key_id)
        budget = None if scope is None else scope["budgets"][0]
        self._check(
            "budgets hold what the ledger says, and nothing stays claimed",
            scope is not None
            and budget is not None
            and scope["in_flight"] == 0
            and budget["reserved_usd"] == 0
            and abs(budget["spent_usd"] - sum(costs)) < 1e-9 * (len(costs) + 1),
            f"{key_id}: {scope} but the ledger has {sum(costs):.9f}",
        )

    def report(self, seconds: float) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        n_requests = sum(self.ended.values())
        workers = sorted({sample.worker for sample in self.samples})
        return {
            "requests": n_requests,
            "requests_per_s": round(n_requests / seconds, 1),
            "ended": dict(self.ended.most_common()),
            "kinds": dict(self.kinds.most_common()),
            "errors": dict(self.errors.most_common()),
            "upstream_calls": dict(self.faults.most_common()),
            "answer_ms": _percentiles([1e3 * each for each in self._durations_s]),
            "overhead_ms": _percentiles(self._overhead_ms),
            "workers": [self._worker(worker) for worker in workers],
            "most_upstream_connections": self.upstream_connections,
            "invariants": {
                name: {"checked": n, "broken": self.broken.get(name, [])}
                for name, n in self.checked.items()
            },
            "holds": self.holds,
        }

    def _worker(self, worker: int) -> dict[str, Any]:
        samples = [sample for sample in self.samples if sample.worker == worker]
        return {
            "rss_mib": [round(samples[i].rss_bytes / MIB, 1) for i in (0, len(samples) // 2, -1)],
            "rss_slope_mib_per_min": round(self.rss_slope_mib_per_min(worker), 2),
            "open_files": [
                samples[0].open_files,
                max(s.open_files for s in samples),
                samples[-1].open_files,
            ],
        }

    def line(self, at_s: float) -> str:
        """Return how it goes in one line."""
        n_broken = sum(map(len, self.broken.values()))
        rss = " + ".join(f"{sample.rss_bytes / MIB:.0f}" for sample in self.samples[-2:])
        return f"{at_s:5.0f} s  {dict(self.ended)}  {rss} MiB  {n_broken} broken"

    def text(self, seconds: float) -> str:
        """Return the whole report for people."""
        report = self.report(seconds)
        answer, own = report["answer_ms"], report["overhead_ms"]
        lines = [
            f"{report['requests']} requests in {seconds:g} s ({report['requests_per_s']} /s), "
            + ", ".join(f"{n} {name}" for name, n in report["ended"].items()),
            "errors: " + ", ".join(f"{n} x {name}" for name, n in report["errors"].items()),
            f"answers: p50 {answer['p50']} ms, p99 {answer['p99']} ms",
            f"of which the gateway's own: p50 {own['p50']} ms, p99 {own['p99']} ms",
        ]
        lines += [
            f"worker: {each['rss_mib']} MiB at start, half and end, "
            f"slope {each['rss_slope_mib_per_min']} MiB/min; open files {each['open_files']}"
            for each in report["workers"]
        ]
        for name, each in report["invariants"].items():
            sign = "BROKEN" if each["broken"] else "holds"
            lines.append(f"{sign:>6}: {name} ({each['checked']} checked)")
            lines += [f"        {example}" for example in each["broken"]]
        return "\n".join(lines)


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"p50": 0.0, "p99": 0.0}
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}
