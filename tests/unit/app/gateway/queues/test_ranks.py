import pytest

from app.access.guard import ANONYMOUS, Caller
from app.errors import ForbiddenError, InvalidRequestError
from app.gateway.queues.ranks import QueueTerms, Ranks
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority
from tests.support.keys import new_record

BATCH, BOTH = frozenset({Priority.BATCH}), frozenset(Priority)


def caller(team=None, **fields):
    record, _ = new_record(key_id="key-1", team=team, **fields)
    return Caller(record, record.key_id, team)


def test_callers_without_a_key_are_told_apart_by_their_address():
    ranks = Ranks()
    assert ranks.of(ANONYMOUS, "10.0.0.1", None) == Rank("peer 10.0.0.1")
    assert ranks.of(ANONYMOUS, "10.0.0.2", None).who == "peer 10.0.0.2"


def test_a_keys_own_terms_come_before_its_teams_and_these_before_those_of_all():
    ranks = Ranks(
        key=QueueTerms(BOTH, 2.0), teams={"slow": QueueTerms(BATCH, 0.5), "odd": QueueTerms()}
    )
    assert ranks.of(caller(), "", None) == Rank("key-1", Priority.INTERACTIVE, 2.0)
    assert ranks.of(caller("slow"), "", None) == Rank("key-1", Priority.BATCH, 0.5)
    assert ranks.of(caller("odd"), "", None).weight == 2.0
    own = caller("slow", priorities=BOTH, weight=4.0)
    assert ranks.of(own, "", None) == Rank("key-1", Priority.INTERACTIVE, 4.0)


def test_a_key_that_changes_has_its_new_terms_at_once():
    ranks = Ranks()
    assert ranks.of(caller(), "", None).weight == 1.0
    assert ranks.of(caller(weight=3.0), "", None).weight == 3.0


def test_what_is_asked_for_is_taken_or_refused():
    ranks = Ranks(teams={"slow": QueueTerms(BATCH)})
    assert ranks.of(caller(), "", b" Batch ").priority is Priority.BATCH
    assert ranks.of(caller("slow"), "", b"batch").priority is Priority.BATCH
    with pytest.raises(ForbiddenError, match="it may ask for: batch") as refused:
        ranks.of(caller("slow"), "", b"interactive")
    assert (refused.value.param, refused.value.code) == (
        "x-route-priority", "priority_not_allowed",
    )  # fmt: skip
    with pytest.raises(InvalidRequestError, match="'interactive' or 'batch', not 'urgent'"):
        ranks.of(caller(), "", b"urgent")


def test_who_is_remembered_is_bounded():
    ranks = Ranks()
    for number in range(20_000):
        ranks.of(ANONYMOUS, str(number), None)
    assert len(ranks._usual) <= 10_000
