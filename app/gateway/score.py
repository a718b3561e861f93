"""Asking a model, before a decision by threshold, whether the weak model will do (`causal_llm`).

The question and the reading of the reply are `routers.decision.causal_llm`'s; the call between is
`questions`'.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.gateway.ledger import LedgerEntry
from app.gateway.policy import Policy
from app.gateway.questions import Questions, Silence, question_of, unsent
from app.gateway.request import RouteRequest
from app.outcome import Judgement
from routers.decision.causal_llm import SCORER_MAX_TOKENS, judge, scorer_messages
from routers.decisions import Reason
from routers.models import ModelSpec
from routers.objectives import StrongThreshold
from routers.text.conversation import conversation_text
from routers.text.token_estimate import estimate_tokens_upper
from routers.types import Conversation, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Asks the models that policies name as their scorers."""

    questions: Questions
    specs: Mapping[str, ModelSpec]

    def concerns(self, request: RouteRequest, policy: Policy) -> ModelSpec | None:
        """Return the scorer that a request is to be shown to.

        None where nobody has to be asked: no scorer, another objective than a threshold, or only
        one of the two models allowed.
        """
        model_id, objective = policy.scorer_model_id, request.objective
        if model_id is None or not isinstance(objective, StrongThreshold):
            return None
        allowed = request.allowed_model_ids
        if allowed is not None and not {objective.strong, objective.weak} <= allowed:
            return None
        return self.specs[model_id]

    async def ask(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, payable: bool = True
    ) -> Judgement:
        """Return what the policy's scorer says within its deadline, or how it failed.

        Parameters
        ----------
        payable
            Whether anybody would pay; else nothing is sent.
        """
        model_id = policy.scorer_model_id
        assert model_id is not None  # noqa: S101  (`concerns` said so)
        if not payable:
            call = unsent(model_id, entry, "model_without_price")
            return Judgement(call=call, failure=Reason.ROUTER_ERROR)
        question = question_of(request, _messages(request), max_tokens=SCORER_MAX_TOKENS)
        reply = await self.questions.ask(
            question, model_id, entry, deadline_s=policy.router_deadline_s
        )
        if reply.said is None:
            late = reply.silence is Silence.LATE
            failure = Reason.ROUTER_TIMEOUT if late else Reason.ROUTER_ERROR
            return Judgement(call=reply.call, failure=failure)
        verdict = judge(reply.said)
        return Judgement(call=reply.call, score=verdict.score, strong_chance=verdict.strong_chance)


def price_of_question(request: RouteRequest, spec: ModelSpec) -> tuple[int, float | None]:
    """Return the tokens that a scorer reads and writes at most, and what they cost in US dollars.

    The cost is None where its price is unknown.
    """
    prompt = estimate_tokens_upper(Conversation(_messages(request)))
    cost_usd = spec.prices.cost_usd(input_tokens=prompt, output_tokens=SCORER_MAX_TOKENS)
    return prompt + SCORER_MAX_TOKENS, cost_usd


def _messages(request: RouteRequest) -> tuple[Message, ...]:
    return scorer_messages(conversation_text(request.routed_by).prompt)
