"""Models that the gateway asks questions of its own, and those that are always late."""

import random

import pytest
from msgspec import structs

from app.gateway.deployments.pool import DeploymentPool
from app.gateway.dispatch import Dispatcher
from app.gateway.ledger import LedgerEntry
from app.gateway.questions import Questions, Silence, question_about, question_of
from app.providers.base import Chunk
from routers.media.tokens import MediaRules
from routers.media.values import Media, Recording
from routers.models import Demand, ModelSpec, Prices
from routers.types import Message, Role
from tests.support.policies import routed
from tests.support.providers import HANG, ScriptedProvider, deployment

pytestmark = pytest.mark.virtual_time
REPLY = Chunk(data=b'{"choices": [{"message": {"content": "4"}}]}')
REQUEST = routed({})
QUESTION = question_of(REQUEST, (Message(Role.USER, "One digit:"),), max_tokens=4)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Asking:
    """Questions to scripted models, on a clock of their own."""

    def __init__(self, **models):
        self.clock = Clock()
        places = {name: [deployment(name, provider)] for name, provider in models.items()}
        dispatcher = Dispatcher(
            pool=DeploymentPool(places, clock=self.clock, rng=random.Random(0)),
            clock=self.clock,
            rng=random.Random(0),
            on_failure=lambda *_: None,
        )
        self.questions = Questions(dispatcher=dispatcher, max_late=2, cooldown_s=10)

    async def ask(self, name="judge"):
        entry = LedgerEntry(
            clock=self.clock, request=REQUEST, policy_version="v", started=self.clock()
        )
        return await self.questions.ask(QUESTION, name, entry, deadline_s=0.001)

    async def silences(self, n, name="judge"):
        return [(await self.ask(name)).silence for _ in range(n)]


async def test_a_model_that_is_late_in_a_row_is_left_alone_until_it_had_time_to_recover():
    provider = ScriptedProvider(HANG)
    asking = Asking(judge=provider)
    assert await asking.silences(3) == [Silence.LATE, Silence.LATE, Silence.LEFT_ALONE]
    assert len(provider.calls) == 2
    asking.clock.now += 10
    # Late once more, and it is left alone at once.
    assert await asking.silences(2) == [Silence.LATE, Silence.LEFT_ALONE]


async def test_a_reply_in_time_forgets_that_others_were_late():
    asking = Asking(judge=ScriptedProvider(in_turn=[[HANG], [REPLY], [HANG]]))
    assert await asking.silences(4) == [Silence.LATE, None, Silence.LATE, Silence.LATE]


async def test_models_are_counted_apart():
    asking = Asking(judge=ScriptedProvider(HANG), other=ScriptedProvider(REPLY))
    await asking.silences(3)
    reply = await asking.ask("other")
    assert reply.said is not None
    assert reply.said.text == "4"


async def test_what_is_not_asked_stands_in_the_account_all_the_same():
    asking = Asking(judge=ScriptedProvider(HANG))
    await asking.silences(2)
    reply = await asking.ask()
    assert (reply.call.error, reply.call.usage, reply.call.upstream) == ("unhealthy", None, "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_is_whole_and_tells_nothing_of_the_request(stream):
    request = routed({"user": b'"alice"'}, stream=stream, headers=((b"x-secret", b"1"),))
    question = question_of(request, (Message(Role.USER, "Well?"),), max_tokens=4)
    assert not question.stream
    assert question.headers == ()
    assert set(question.fields) == {"messages", "temperature", "max_tokens"}
    assert question.demand.max_output_tokens == 4


def test_a_question_about_a_recording_counts_it_as_whoever_is_asked_does():
    media = Media(recordings=(Recording(tokens=50, tokens_upper=80, seconds=10.0),))
    demand = Demand(input_tokens=90, input_tokens_upper=140, media=media)
    asked = structs.replace(REQUEST, demand=demand)
    question = question_about(asked, (), max_tokens=4)
    ear = ModelSpec(
        model_id="ear",
        predicted_as="ear",
        prices=Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0),
        context_window_tokens=1_000,
        media=MediaRules(audio_tokens_per_s=32),
    )
    assert question.demand.audio_of(ear)[0] == 320
    assert question.demand.input_of(ear)[0] == question.demand.input_tokens - 50 + 320
