import pytest

from app.access.guard import ANONYMOUS, Caller
from app.errors import OverloadedError, RateLimitedError
from app.gateway.intake import LEAST_AT_ONCE, Intake
from app.stores.claims import Resource, ScopeKind
from tests.support.keys import DictKeys, SetClock


@pytest.fixture
def clock():
    return SetClock(100.0)


@pytest.fixture
def intake(clock):
    return Intake(max_bytes=1_000, max_requests=20, clock=clock)


def caller():
    record, _ = DictKeys().issue()
    return Caller(record, record.key_id, None)


def begin_many(intake, who, n, *, peer="", at_once=None):
    return [intake.begin(who, peer, at_once=at_once) for _ in range(n)]


@pytest.mark.parametrize(("at_once", "most"), [(None, 20), (1, LEAST_AT_ONCE), (4, 8), (50, 100)])
def test_no_more_come_in_at_once_than_twice_the_limit(intake, at_once, most):
    greedy, other = caller(), caller()
    arrivals = begin_many(intake, greedy, most, at_once=at_once)
    with pytest.raises(RateLimitedError, match="at once") as told:
        intake.begin(greedy, "", at_once=at_once)
    assert told.value.retry_after_s is not None
    intake.begin(other, "", at_once=at_once).leave()
    arrivals.pop().leave()
    intake.begin(greedy, "", at_once=at_once)
    arrivals.pop().arrived()
    intake.begin(greedy, "", at_once=at_once)


def test_who_has_no_key_is_told_by_the_address(intake):
    begin_many(intake, ANONYMOUS, 20, peer="10.0.0.1")
    with pytest.raises(RateLimitedError):
        intake.begin(ANONYMOUS, "10.0.0.1", at_once=None)
    intake.begin(ANONYMOUS, "10.0.0.2", at_once=None)


def test_bytes_are_held_until_their_request_leaves(intake):
    greedy, other, third = caller(), caller(), caller()
    first = intake.begin(greedy, "", at_once=None)
    first.grow(500)
    with pytest.raises(OverloadedError, match="this caller"):
        intake.begin(greedy, "", at_once=None).grow(1)
    intake.begin(other, "", at_once=None).grow(500)
    last = intake.begin(third, "", at_once=None)
    with pytest.raises(OverloadedError, match="all the room"):
        last.grow(1)
    first.arrived()
    with pytest.raises(OverloadedError):
        last.grow(1)
    first.leave()
    last.grow(1)
    assert intake.n_bytes == 501


def test_nothing_is_kept_of_callers_that_have_left(intake):
    for _ in range(100):
        who = caller()
        arrival = intake.begin(who, "", at_once=None)
        arrival.grow(10)
        arrival.arrived()
        arrival.leave()
    assert intake.n_bytes == 0
    assert not intake._inboxes


def test_who_was_refused_is_refused_until_its_time_is_over(intake, clock):
    greedy = caller()
    error = RateLimitedError(
        "too many", scope=ScopeKind.KEY, resource=Resource.REQUESTS, limit=3, retry_after_s=10.0
    )
    intake.refuse(greedy, "", error)
    clock.at += 4
    with pytest.raises(RateLimitedError, match="too many") as told:
        intake.begin(greedy, "", at_once=None)
    assert told.value.retry_after_s == pytest.approx(6)
    assert told.value.limit == 3
    intake.begin(caller(), "", at_once=None)
    clock.at += 6
    intake.begin(greedy, "", at_once=None)
