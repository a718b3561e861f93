import pytest

from app.gateway.deployments.breaker import Circuit, CircuitState


def circuit(*, max_failures=2, cooldown_s=10.0):
    return Circuit(max_failures=max_failures, cooldown_s=cooldown_s)


def opened(now=0.0):
    each = circuit(max_failures=1)
    each.failed(now, began=now)
    assert each.state is CircuitState.OPEN
    return each


def test_only_failures_in_a_row_open_it():
    each = circuit()
    each.failed(0, began=0)
    each.succeeded(began=0)
    each.failed(1, began=1)
    assert each.allows(1)
    each.failed(2, began=2)
    assert each.state is CircuitState.OPEN
    assert not each.allows(2)


def test_after_the_cooldown_exactly_one_call_is_the_probe():
    each = opened()
    assert not each.begin(9.9)
    assert each.allows(10)
    assert each.begin(10)
    assert each.state is CircuitState.HALF_OPEN
    assert not each.allows(10)
    assert not each.begin(10)


def test_a_probe_that_succeeds_closes_it():
    each = opened()
    each.begin(10)
    each.succeeded(began=10)
    assert each.state is CircuitState.CLOSED
    assert each.allows(10)


def test_a_probe_that_fails_opens_it_for_another_cooldown():
    each = opened()
    each.begin(10)
    each.failed(12, began=10)
    assert each.state is CircuitState.OPEN
    assert not each.allows(21.9)
    assert each.allows(22)


def test_a_probe_without_a_verdict_leaves_room_for_the_next():
    each = opened()
    each.begin(10)
    each.abandoned()
    assert each.state is CircuitState.OPEN
    assert each.allows(10)


@pytest.mark.parametrize("verdict", ["succeeded", "failed"])
def test_calls_from_before_the_outage_say_nothing_about_it(verdict):
    each = opened(now=5.0)
    if verdict == "succeeded":
        each.succeeded(began=4)
    else:
        each.failed(14, began=4)
    assert each.state is CircuitState.OPEN
    assert each.allows(15)


def test_a_call_made_all_the_same_that_succeeds_closes_it():
    each = opened(now=5.0)
    assert not each.begin(6)
    each.succeeded(began=6)
    assert each.state is CircuitState.CLOSED
