"""What the router decided, what it promised, and what came of it."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from app.outcome import Outcome
from app.telemetry._declare import ConfiguredNames, Declare, FirstNames
from app.telemetry.baselines import N_SCORE_BINS, PolicyFacts
from routers.decisions import CandidateEstimate, Reason
from routers.objectives import CostQuality
from routers.probe import Stage

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_STAGE = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
_TENTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_RATIO = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.5, 5.0, 10.0)
_BINS = tuple(str(i) for i in range(N_SCORE_BINS))


class RoutingMetrics:
    """Everything that is told of decisions."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._facts: Mapping[str, PolicyFacts] = {}
        self._decisions = declare.counter(
            "gateway_decisions",
            "Decisions by the model that served and why.",
            *("policy", "model", "reason"),
        )
        self._category_names = FirstNames()
        self._categories = declare.counter(
            "gateway_categories",
            "Decisions of routers that go by categories or domains, by what a request was taken"
            " to be about; uncertain or other where none was identified.",
            *("policy", "category"),
        )
        self._decide = declare.histogram(
            "gateway_decide_duration_seconds",
            "From the parsed request to the decision.",
            buckets=_FAST,
        )[()]
        self._stage = declare.histogram(
            "gateway_decide_stage_seconds",
            "A decision's time by stage, of one decision out of 32.",
            *("stage",),
            buckets=_STAGE,
        )
        self._failures = declare.counter(
            "gateway_router_failures",
            "Decisions that the router could not make, taken by the policy's default model.",
            *("policy", "reason"),
        )
        self._decision_models = declare.counter(
            "gateway_decision_model_requests",
            "Requests of policies with a decision model, by whether it had been asked about the"
            " prompt (hit), was asked, was late, or failed.",
            *("policy", "result"),
        )
        self._knob = declare.histogram(
            "gateway_cost_quality_asked",
            "Where the cost-quality knob stood, of requests decided by it.",
            *("policy",),
            buckets=_TENTHS,
        )
        self._quality = declare.histogram(
            "gateway_predicted_quality",
            "Quality that was predicted of the model that served.",
            *("policy", "model"),
            buckets=_TENTHS,
        )
        self._expected_quality = declare.counter(
            "gateway_expected_quality",
            "Sums of predicted quality over requests decided by the knob: of the cheapest"
            " candidate, of the best, of the one that served, and what the knob promised between.",
            *("policy", "of"),
        )
        self._predicted_cost = declare.counter(
            "gateway_predicted_cost_usd",
            "US dollars predicted for complete answers whose cost is known.",
            "model",
        )
        self._realised_cost = declare.counter(
            "gateway_realised_cost_usd",
            "What the answers of gateway_predicted_cost_usd_total cost.",
            "model",
        )
        self._cost_ratio = declare.histogram(
            "gateway_cost_ratio",
            "What these answers cost each, over what was predicted.",
            *("model",),
            buckets=_RATIO,
        )
        self._predicted_tokens = declare.counter(
            "gateway_predicted_output_tokens",
            "Output tokens predicted for complete answers.",
            "model",
        )
        self._realised_tokens = declare.counter(
            "gateway_realised_output_tokens",
            "Output tokens of the answers of gateway_predicted_output_tokens_total.",
            "model",
        )
        self._tokens_ratio = declare.histogram(
            "gateway_output_tokens_ratio",
            "Output tokens of these answers each, over what was predicted.",
            *("model",),
            buckets=_RATIO,
        )
        self._baseline = declare.counter(
            "gateway_baseline_cost_usd",
            "US dollars predicted for the same requests had one rule served all of them: the"
            " strongest model, the policy's default, the cheapest candidate; chosen is what was"
            " predicted of the model that served.",
            *("policy", "baseline"),
        )
        self._compared_cost = declare.counter(
            "gateway_compared_cost_usd",
            "What the requests of gateway_baseline_cost_usd_total cost, every call included.",
            "policy",
        )
        self._score_bins = declare.counter(
            "gateway_score_bin",
            "Requests by the tenth of the calibration queries that their score falls in; the score"
            " is the mean predicted quality of the candidates.",
            *("policy", "bin"),
        )

    def configured(self, policies: Iterable[PolicyFacts]) -> None:
        """Compare with the baselines of these policies from now on."""
        self._facts = {facts.name: facts for facts in policies}
        for facts in self._facts.values():
            if facts.score_edges:
                for each in _BINS:  # a bin that nothing falls in has to be seen as zero
                    self._score_bins[facts.name, each].inc(0)

    def router_failed(self, policy: str, reason: Reason) -> None:
        """Count one decision that fell open to the default model."""
        self._failures[self._policies[policy], reason.value].inc(1)

    def decision_model_said(self, policy: str, result: str) -> None:
        """Count one request that a decision model was to be asked about."""
        self._decision_models[self._policies[policy], result].inc(1)

    def staged(self, seconds: Mapping[Stage, float]) -> None:
        """Note how long each stage of one decision took."""
        for stage, duration_s in seconds.items():
            self._stage[(stage.value,)].observe(duration_s)

    def record(self, outcome: Outcome) -> None:
        """Derive what is told of a decision from the outcome of its request."""
        decision = outcome.decision
        if outcome.reason is None or decision is None:
            return
        policy, model = self._policies[outcome.policy], self._models[outcome.served_model_id]
        self._decisions[policy, model, outcome.reason.value].inc(1)
        if decision.category is not None:
            self._categories[policy, self._category_names[decision.category.told]].inc(1)
        self._decide.observe(outcome.decide_s)
        if not decision.candidates:
            return
        facts = self._facts.get(outcome.policy)
        served = decision.estimate(outcome.served_model_id or "")
        if decision.candidates[0].quality is not None:
            self._predicted(policy, outcome, decision.candidates, served)
            if facts is not None and facts.score_edges:
                self._score(policy, facts.score_edges, decision.candidates)
        if served is None:
            return
        if served.quality is not None:
            self._quality[policy, model].observe(served.quality)
        if outcome.error is None and outcome.usage is not None:
            self._compare(model, outcome, served)
            if facts is not None:
                self._compare_baselines(policy, facts, outcome, served)

    def _score(
        self, policy: str, edges: tuple[float, ...], candidates: tuple[CandidateEstimate, ...]
    ) -> None:
        total = 0.0
        for each in candidates:
            total += each.quality or 0.0
        self._score_bins[policy, _BINS[bisect_right(edges, total / len(candidates))]].inc(1)

    def _predicted(
        self,
        policy: str,
        outcome: Outcome,
        candidates: tuple[CandidateEstimate, ...],
        served: CandidateEstimate | None,
    ) -> None:
        if isinstance(outcome.objective, CostQuality):
            t = outcome.objective.t
            self._knob[(policy,)].observe(t)
            if served is not None:
                self._expect(policy, t, candidates, served)

    def _expect(
        self,
        policy: str,
        t: float,
        candidates: tuple[CandidateEstimate, ...],
        served: CandidateEstimate,
    ) -> None:
        cheapest: CandidateEstimate | None = None
        least_usd, best = float("inf"), 0.0
        for each in candidates:
            if each.exclusion is None and each.quality is not None and each.cost_usd is not None:
                if each.cost_usd < least_usd:
                    least_usd, cheapest = each.cost_usd, each
                best = max(best, each.quality)
        if cheapest is None or cheapest.quality is None or served.quality is None:
            return
        low = cheapest.quality
        sums = self._expected_quality
        sums[policy, "cheapest"].inc(low)
        sums[policy, "best"].inc(best)
        sums[policy, "served"].inc(served.quality)
        sums[policy, "promised"].inc(low + t * (best - low))

    def _compare(self, model: str, outcome: Outcome, served: CandidateEstimate) -> None:
        serving = outcome.serving
        predicted_usd = served.cost_usd
        realised_usd = 0.0 if serving is None else serving.cost_usd  # of the cache, free
        if predicted_usd is not None and realised_usd is not None:
            self._predicted_cost[(model,)].inc(predicted_usd)
            self._realised_cost[(model,)].inc(realised_usd)
            if predicted_usd > 0:
                self._cost_ratio[(model,)].observe(realised_usd / predicted_usd)
        if served.output_tokens is not None and outcome.usage is not None:
            predicted, realised = (
                served.output_tokens * outcome.n_answers,
                outcome.usage.output_tokens,
            )
            self._predicted_tokens[(model,)].inc(predicted)
            self._realised_tokens[(model,)].inc(realised)
            if predicted > 0:
                self._tokens_ratio[(model,)].observe(realised / predicted)

    def _compare_baselines(
        self, policy: str, facts: PolicyFacts, outcome: Outcome, served: CandidateEstimate
    ) -> None:
        decision, cost_usd = outcome.decision, outcome.cost_usd
        if decision is None or cost_usd is None or served.cost_usd is None:
            return
        cheapest = strongest = default = None
        for each in decision.candidates:
            predicted_usd = each.cost_usd
            if predicted_usd is None:
                continue
            if each.model_id == facts.strongest_model_id:
                strongest = predicted_usd
            if each.model_id == facts.default_model_id:
                default = predicted_usd
            if cheapest is None or predicted_usd < cheapest:
                cheapest = predicted_usd
        if cheapest is None or strongest is None or default is None:
            return  # a price is unknown: there is nothing to compare with
        self._baseline[policy, "strongest"].inc(strongest)
        self._baseline[policy, "default"].inc(default)
        self._baseline[policy, "cheapest"].inc(cheapest)
        self._baseline[policy, "chosen"].inc(served.cost_usd)
        self._compared_cost[(policy,)].inc(max(cost_usd, 0.0))
