"""What policies of several calls did: how they ended, and after how many calls."""

from app.outcome import Outcome
from app.telemetry._declare import NONE, ConfiguredNames, Declare

_ROUNDS = (1, 2, 3, 4, 6, 8, 16)
_HELD_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 300)


class WorkflowMetrics:
    """Everything that is told of answers that several calls came to."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._drafts = declare.counter(
            "gateway_drafts",
            "Answers that a workflow held back, by what accepted or rejected them.",
            *("policy", "model", "by", "verdict"),
        )
        self._ended = declare.counter(
            "gateway_workflows",
            "Requests under a policy of several calls by what let the answer serve, or by why one "
            "choice answered instead.",
            *("policy", "kind", "accepted_by", "skipped"),
        )
        self._stopped = declare.counter(
            "gateway_workflow_ceilings",
            "Of them, those of which a call was not made because of a ceiling.",
            *("policy", "kind", "ceiling"),
        )
        self._rounds = declare.histogram(
            "gateway_workflow_rounds",
            "How often a request waited for calls; those made at the same time are one round.",
            *("policy", "kind"),
            buckets=_ROUNDS,
        )
        self._calls = declare.histogram(
            "gateway_workflow_calls",
            "Calls of one request, judges and retries included.",
            *("policy", "kind"),
            buckets=_ROUNDS,
        )
        self._held = declare.histogram(
            "gateway_held_back_seconds",
            "For how long answers were held back before one served.",
            *("policy", "kind"),
            buckets=_HELD_S,
        )

    def record(self, outcome: Outcome) -> None:
        """Derive what a workflow did from the outcome of a request."""
        told = outcome.workflow
        if told is None:
            return
        policy, kind = self._policies[outcome.policy], told.kind
        self._ended[policy, kind, told.accepted_by or NONE, told.skipped or NONE].inc(1)
        if told.ceiling is not None:
            self._stopped[policy, kind, told.ceiling].inc(1)
        for draft in told.judged:
            verdict = "accepted" if draft.accepted else "rejected"
            self._drafts[policy, self._models[draft.model_id], draft.by, verdict].inc(1)
        if told.rounds:
            self._rounds[policy, kind].observe(len(told.rounds))
            self._calls[policy, kind].observe(len(outcome.calls))
        if told.held_s is not None:
            self._held[policy, kind].observe(told.held_s)
