from app.gateway.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_model_is_unhealthy_after_consecutive_failures_and_recovers_by_time():
    clock = Clock()
    breaker = Breaker(clock=clock, failures=2, cooldown_s=10)
    breaker.failed("a")
    assert breaker.unhealthy() == frozenset()
    breaker.failed("a")
    assert breaker.unhealthy() == {"a"}
    clock.now += 10
    assert breaker.unhealthy() == frozenset()


def test_one_more_failure_after_the_cooldown_closes_it_off_at_once():
    clock = Clock()
    breaker = Breaker(clock=clock, failures=3, cooldown_s=10)
    for _ in range(3):
        breaker.failed("a")
    clock.now += 11
    breaker.failed("a")
    assert breaker.unhealthy() == {"a"}


def test_a_success_forgets_earlier_failures():
    breaker = Breaker(clock=Clock(), failures=2, cooldown_s=10)
    breaker.failed("a")
    breaker.succeeded("a")
    breaker.failed("a")
    assert breaker.unhealthy() == frozenset()


def test_models_are_counted_apart():
    breaker = Breaker(clock=Clock(), failures=1, cooldown_s=10)
    breaker.failed("a")
    assert breaker.unhealthy() == {"a"}
