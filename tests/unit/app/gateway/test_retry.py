import random

import pytest

from app.errors import (
    UpstreamBusyError,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.gateway.retry import MAX_RETRY_AFTER_S, may_go_elsewhere, wait_before_repeating_s


def wait_s(error, n_retries=0):
    return wait_before_repeating_s(error, n_retries=n_retries, rng=random.Random(0))


def throttled(retry_after_s):
    return UpstreamThrottledError("429", status=429, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("error", "elsewhere", "again"),
    [
        (UpstreamUnavailableError("refused", sent=False), True, True),
        (UpstreamTimeoutError("no connection", sent=False), True, False),
        (UpstreamBusyError("full", sent=False), True, False),
        (UpstreamUnavailableError("503", status=503), True, True),
        (UpstreamUnavailableError("529", status=529), True, True),
        (UpstreamUnavailableError("500", status=500), True, False),
        (UpstreamMisconfiguredError("401", status=401), True, False),
        (throttled(1.0), True, True),
        (throttled(None), True, False),
        (throttled(MAX_RETRY_AFTER_S + 0.1), True, False),
        # From here on the upstream may have worked for it, or would say the same again.
        (UpstreamTimeoutError("no answer"), False, False),
        (UpstreamTimeoutError("504", status=504), False, False),
        (UpstreamUnavailableError("cut short"), False, False),
        (UpstreamInvalidResponseError("garbage"), False, False),
        (UpstreamThrottledError("an event under 200"), False, False),
        (UpstreamContextLengthError("too long", status=400), False, False),
    ],
)
def test_a_call_is_repeated_only_where_it_cannot_be_paid_twice(error, elsewhere, again):
    assert isinstance(error, UpstreamError)
    assert may_go_elsewhere(error) is elsewhere
    assert (wait_s(error) is not None) is again


def test_waits_grow_and_are_bounded():
    refused = UpstreamUnavailableError("refused", sent=False)
    waits = [wait_s(refused, n) for n in range(8)]
    assert waits[0] < waits[1] < waits[2]
    assert 0.05 <= waits[0] <= 0.1
    assert max(waits) <= 2.0


def test_those_turned_away_together_do_not_come_back_together():
    rng = random.Random(3)
    waits = [wait_before_repeating_s(throttled(1.0), n_retries=0, rng=rng) for _ in range(50)]
    assert len(set(waits)) == 50
    assert min(waits) > 1.0  # never before the upstream said so


def test_an_overloaded_upstream_that_asks_for_long_is_not_waited_for():
    error = UpstreamUnavailableError("503", status=503, retry_after_s=30)
    assert wait_s(error) is None
