"""What is made of a request's documents before it is decided."""

import pytest

from app.gateway.documents import by_theta, heed_documents
from app.gateway.policy import DocumentsRule, StallRule
from app.gateway.stalls import heed_stalls
from routers.objectives import CostQuality, MaxQualityLoss, MinQuality
from routers.text.housekeeping import Housekeeping
from routers.types import Conversation
from tests.support.policies import policy, routed
from tests.support.transcripts import body, turns_of

HALF = CostQuality(0.5)
TITLE = "Please write a 5-10 word title for the following conversation: ..."


def heeded(message, *, documents=("It was begun in 1173.",), rule=None, stalls=None, **changes):
    fields = body(message)
    if documents is not None:
        fields["documents"] = b"[" + b",".join(b'"%s"' % d.encode() for d in documents) + b"]"
    rule = DocumentsRule(theta=0.02) if rule is None else rule
    request = routed(
        fields,
        policy=policy(documents=rule, stalls=stalls),
        objective=HALF,
        conversation=Conversation.of(message["content"]),
        **changes,
    )
    turns = turns_of(fields)
    return by_theta(heed_stalls(heed_documents(request, turns), turns))


ASK = {"role": "user", "content": "When was it begun?"}


def test_theta_takes_the_place_of_the_policys_knob_where_documents_came():
    assert heeded(ASK).objective == MaxQualityLoss(0.02)
    assert heeded(ASK, documents=None).objective == HALF
    assert heeded(ASK, documents=()).objective == HALF
    assert heeded(ASK, rule=DocumentsRule()).objective == HALF


@pytest.mark.parametrize(
    "changes", [{"objective_param": "x-cost-quality"}, {"pinned_model_id": "small"}]
)
def test_what_the_client_says_stands(changes):
    assert heeded(ASK, **changes).objective == HALF


def test_another_objective_of_the_policy_stands():
    fields = body(ASK)
    fields["documents"] = b'["d"]'
    rule = DocumentsRule(theta=0.02)
    request = routed(fields, policy=policy(documents=rule), objective=MinQuality(0.7))
    assert by_theta(heed_documents(request, turns_of(fields))).objective == MinQuality(0.7)


def test_a_client_made_request_stays_one_whatever_documents_are_told_before_it():
    stalls = StallRule(cost_quality=(0.9,), housekeeping_cost_quality=0.0)
    request = heeded({"role": "user", "content": TITLE}, stalls=stalls)
    assert request.housekeeping is Housekeeping.TITLE
    assert request.objective == CostQuality(0.0)


def test_a_document_cannot_pass_for_a_client_made_request():
    stalls = StallRule(cost_quality=(0.9,), housekeeping_cost_quality=0.0)
    assert heeded(ASK, documents=(TITLE,), stalls=stalls).housekeeping is None


def test_the_router_reads_no_document_and_everybody_else_does():
    request = heeded(ASK)
    assert [message.text for message in request.routed_by.messages] == [ASK["content"]]
    assert request.routed_by.numbers.n == 1
    (told,) = request.conversation.messages
    assert told.text.startswith("<documents>\n<document")
    assert told.text.endswith(ASK["content"])
    assert "1173" in told.text
