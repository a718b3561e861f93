"""Every call is reserved before it is made, and settled by what it came to."""

import asyncio
from types import SimpleNamespace

import pytest

from app.access.guard import ANONYMOUS
from app.calls import CallRole
from app.errors import BudgetExceededError, UpstreamTimeoutError
from app.gateway.ledger import LedgerEntry
from app.gateway.money.admission import Admission
from app.gateway.money.allowances import Allowance, Allowances
from app.gateway.money.paid import Paid
from app.gateway.reservations import Reservations
from app.keys import Budget, Period
from app.providers.base import Progress
from app.stores.memory import MemoryCounters
from app.usage import Usage
from routers.models import Demand
from tests.support.policies import decided, policy, routed
from tests.support.stores import FakeClock
from tests.support.transcripts import TASK, body

LONGEST_NUSD = (15 * 10 + 20 * 30) * 1000
"""What an answer of either model costs at most."""
PROMPT_NUSD = 10 * 10 * 1000
"""What its prompt alone costs, by the estimate that is booked."""
REQUEST = routed(
    body(TASK), demand=Demand(input_tokens=10, input_tokens_upper=15, max_output_tokens=20)
)


class World:
    """One request of a caller whose budget is some number of longest answers."""

    def __init__(self, answers):
        clock = FakeClock(1_795_305_600.0)
        usd = answers * LONGEST_NUSD / 1e9
        self.admission = Admission(
            counters=MemoryCounters(clock=clock),
            allowances=Allowances(key=Allowance(budgets=(Budget(usd=usd, period=Period.DAY),))),
            specs={spec.model_id: spec for spec in policy().candidates},
            lifetime_s=600,
            now=clock,
        )
        self.reservations = Reservations(admission=self.admission)
        self.entry = LedgerEntry(
            clock=clock, request=REQUEST, policy_version="v", started=clock(), decision=None
        )

    async def decide(self, model_id="small"):
        self.entry.decision = await self.reservations.answer(REQUEST, decided(model_id), self.entry)

    async def call(self, model_id):
        return await self.reservations.call(REQUEST, model_id, self.entry)

    def ends(self, model_id, error):
        """Have the call to a model end in an error after its prompt was sent."""
        spec = self.admission.specs[model_id]
        place = SimpleNamespace(spec=spec, upstream="stub", name=None)
        self.entry.running.end(model_id)
        self.entry.failed(place, self.entry.clock(), error, progress=Progress())

    async def budget(self):
        (standing,) = await self.admission.standings.of(ANONYMOUS)
        (found,) = standing.budgets
        return found


async def test_a_hedge_is_reserved_beside_the_call_that_runs():
    world = World(answers=2)
    await world.decide()
    assert await world.call("small")
    assert (await world.budget()).reserved_nusd == LONGEST_NUSD
    assert await world.call("large")
    assert (await world.budget()).reserved_nusd == 2 * LONGEST_NUSD


async def test_no_hedge_is_made_that_the_budget_does_not_pay():
    world = World(answers=1)
    await world.decide()
    assert await world.call("small")
    assert not await world.call("large")
    assert (await world.budget()).reserved_nusd == LONGEST_NUSD


async def test_a_fallback_takes_what_the_call_before_it_has_left():
    world = World(answers=2)
    await world.decide()
    assert await world.call("small")
    world.ends("small", UpstreamTimeoutError("slow"))
    assert await world.call("large")
    assert (await world.budget()).reserved_nusd == LONGEST_NUSD + PROMPT_NUSD


async def test_a_request_that_lost_both_calls_pays_both_prompts_and_gives_back_the_rest():
    world = World(answers=2)
    await world.decide()
    for model_id in ("small", "large"):
        assert await world.call(model_id)
    for model_id in ("small", "large"):
        world.ends(model_id, asyncio.CancelledError())
    await world.reservations.settle(world.entry)
    await world.reservations.settle(world.entry)
    found = await world.budget()
    assert (found.reserved_nusd, found.spent_nusd) == (0, 2 * PROMPT_NUSD)


async def test_a_judge_is_settled_also_where_the_answer_is_refused():
    world = World(answers=3)  # enough for the question, and then not for an answer
    scorer = world.admission.specs["small"]
    assert await world.reservations.question(REQUEST, world.entry, scorer)
    paid = Paid(Usage(input_tokens=5, output_tokens=1), 80e-6)
    world.entry.called(CallRole.JUDGE, "small", "stub", duration_s=0.1, paid=paid)
    with pytest.raises(BudgetExceededError):
        await world.decide()
    await world.reservations.settle(world.entry)
    found = await world.budget()
    assert (found.reserved_nusd, found.spent_nusd) == (0, 80_000)


async def test_a_judge_that_no_budget_can_pay_for_is_not_asked():
    world = World(answers=0.001)
    with pytest.raises(BudgetExceededError):
        await world.reservations.question(REQUEST, world.entry, world.admission.specs["small"])
    assert world.entry.ticket is None
