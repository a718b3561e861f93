import random
from collections import Counter

import pytest

from app.errors import UpstreamUnavailableError
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.predicted_impact import Line, PredictedImpact
from app.gateway.deployments.whole_times import WholeTimes
from tests.support.providers import ScriptedProvider, deployment

SMALL, LARGE = (
    CallSize(input_tokens=100, output_tokens=20),
    CallSize(input_tokens=4000, output_tokens=400),
)


class World:
    """Two places whose calls a test begins, moves on and ends by hand."""

    def __init__(self, **options):
        self.now = 0.0
        self.balance = PredictedImpact(random.Random(1), slopes=options.pop("slopes", None))
        places = [
            deployment("m", ScriptedProvider(), upstream=name, weight=options.get(name, 1.0))
            for name in "xy"
        ]
        self.pool = DeploymentPool(
            {"m": places},
            clock=lambda: self.now,
            rng=random.Random(2),
            balances={"m": self.balance},
        )
        self.slots = {slot.deployment.upstream: slot for slot in self.pool.slots()}

    def lease(self, size=SMALL, *, at=None):
        avoid = [slot for name, slot in self.slots.items() if at not in (None, name)]
        return self.pool.lease("m", avoid=avoid, size=size)

    def learn(self, *, slower=1.0, n=12):
        """Let each place answer calls of two sizes: x in what is usual, y slower by a factor."""
        for number in range(n):
            for name, factor in (("x", 1.0), ("y", slower)):
                size = (SMALL, LARGE)[number % 2]
                lease = self.lease(size, at=name)
                self.now += factor * 1e-3 * size.input_tokens
                lease.first_token()
                tokens = size.input_tokens + size.output_tokens / 2
                self.now += factor * size.output_tokens * (0.01 + 1e-5 * tokens)
                self.end(lease)

    def end(self, lease):
        lease.succeeded()
        lease.release()

    def where(self, size=SMALL):
        lease = self.lease(size)
        lease.release()
        return lease.deployment.upstream


def test_a_line_finds_what_was_drawn_with_it():
    line = Line()
    for x in range(30):
        line.learn(x, 2.0 + 0.5 * x)
    assert line.fit() == pytest.approx((2.0, 0.5))


@pytest.mark.parametrize(
    ("points", "fit"),
    [
        ([(1, 3.0), (2, 2.0), (3, 1.0)], (2.0, 0.0)),  # a slope below zero: the mean
        ([(10, 0.0), (20, 20.0)], (0.0, 0.8)),  # an intercept below zero: through the origin
        ([(5, 1.0), (5, 3.0)], (2.0, 0.0)),
        ([], (0.0, 0.0)),
    ],
)
def test_a_line_has_no_part_below_zero(points, fit):
    line = Line()
    for x, y in points:
        line.learn(x, y)
    assert line.fit() == pytest.approx(fit, abs=0.02)


def test_a_line_forgets():
    line = Line()
    for factor in (1.0, 10.0):
        for x in range(1, 300):
            line.learn(x % 20, factor * (x % 20))
    assert line.fit()[1] == pytest.approx(10.0, rel=0.05)


def test_until_enough_was_seen_the_least_busy_takes_calls():
    world = World()
    taken = Counter(world.lease(LARGE).deployment.upstream for _ in range(10))
    assert taken == {"x": 5, "y": 5}


def test_a_small_call_goes_where_one_more_call_is_but_less_of_it():
    world = World()
    world.learn()
    large = world.lease(LARGE, at="x")
    small = [world.lease(SMALL, at="y") for _ in range(2)]
    assert world.slots["y"].outstanding > world.slots["x"].outstanding
    assert world.where() == "y"
    for lease in (large, *small):
        world.end(lease)


def test_a_slower_place_takes_calls_only_where_the_faster_one_is_busy():
    world = World()
    world.learn(slower=4.0)
    assert {world.where() for _ in range(20)} == {"x"}
    for _ in range(8):
        world.lease(LARGE, at="x")
    assert world.where() == "y"


def test_a_slow_place_is_asked_now_and_then_and_gets_its_calls_back_when_it_is_fast_again():
    world = World()
    world.learn(slower=4.0)
    assert Counter(world.where() for _ in range(510)) == {"x": 500, "y": 10}
    world.learn(n=100)
    world.lease(LARGE, at="x")
    assert world.where() == "y"


def test_slopes_that_are_given_hold_until_calls_have_taught_others():
    world = World(slopes=(1e-3, 1e-5))
    large = world.lease(LARGE, at="x")
    small = [world.lease(SMALL, at="y") for _ in range(2)]
    assert world.where() == "y"
    for lease in (large, *small):
        world.end(lease)
    world.learn(slower=4.0, n=40)
    assert {world.where() for _ in range(20)} == {"x"}


def test_weights_draw_calls_to_a_place():
    world = World(y=3.0)
    world.learn()
    assert {world.where() for _ in range(20)} == {"y"}


def test_where_a_first_token_is_long_overdue_the_least_busy_takes_calls():
    world = World()
    world.learn(slower=4.0)
    world.lease(SMALL, at="x")
    world.now += 1.5
    assert world.where() == "x"
    world.now += 1.0
    assert {world.where() for _ in range(20)} == {"y"}


def test_whatever_becomes_of_calls_nothing_of_them_is_left():
    world = World()
    world.learn()
    for name in "xy":
        begun, failed, cut, whole = (world.lease(LARGE, at=name) for _ in range(4))
        for lease in (cut, whole):
            lease.first_token()
            lease.first_token()  # a second time changes nothing
        failed.failed(UpstreamUnavailableError("down", status=503))
        whole.succeeded()
        for lease in (begun, failed, cut, whole, whole):
            lease.release()
        silent = world.lease(CallSize(input_tokens=10, output_tokens=None, streams=False), at=name)
        world.end(silent)
        undescribed = world.lease(None, at=name)
        world.end(undescribed)
    for picture in world.balance._pictures.values():
        assert (picture.waiting, picture.running) == ({}, {})
        assert (picture.unread_tokens, picture.batch_tokens) == pytest.approx((0, 0))


def test_calls_that_come_whole_count_and_change_nothing_that_streams_taught():
    world = World()
    world.learn()
    before = world.balance._pictures[world.slots["x"].load].fits
    whole = CallSize(input_tokens=4000, output_tokens=400, streams=False)
    leases = [world.lease(whole, at="x") for _ in range(2)]
    leases += [world.lease(SMALL, at="y") for _ in range(3)]
    for lease in leases:
        lease.first_token()
    assert world.where() == "y"  # though it has more calls
    for lease in leases[:2]:
        world.end(lease)
    assert world.balance._pictures[world.slots["x"].load].fits == before


WHOLE = [
    CallSize(input_tokens=input_tokens, output_tokens=output_tokens, streams=False)
    for input_tokens, output_tokens in ((100, 20), (4000, 400), (2500, 30), (200, 600))
]


def learn_whole(world, n, *, slower=3.0):
    for number in range(n):
        for name, factor in (("x", 1.0), ("y", slower)):
            size = WHOLE[number % len(WHOLE)]
            beside = [world.lease(WHOLE[1], at=name) for _ in range(number % 3)]
            lease = world.lease(size, at=name)
            tokens = size.input_tokens + size.output_tokens / 2 + len(beside) * 4200
            world.now += factor * (1e-3 * size.input_tokens)
            world.now += factor * size.output_tokens * (0.01 + 1e-5 * tokens)
            lease.first_token()  # with the last one
            world.end(lease)
            for each in beside:
                each.release()


def test_where_nothing_streams_the_times_of_whole_answers_teach():
    world = World()
    learn_whole(world, 15)
    assert not any(picture.known for picture in world.balance._pictures.values())
    learn_whole(world, 60)
    for name, factor in (("x", 1.0), ("y", 3.0)):
        read_s, *rest = world.balance._pictures[world.slots[name].load].fits
        assert read_s == pytest.approx(0.0, abs=1e-3)
        assert rest == pytest.approx([1e-3 * factor, 0.01 * factor, 1e-5 * factor], rel=0.02)
    busy = [world.lease(WHOLE[0], at="x") for _ in range(2)]
    assert world.where(WHOLE[1]) == "x"  # though it has more calls
    for lease in busy:
        world.end(lease)


def test_sizes_that_never_vary_are_no_trouble():
    times = WholeTimes()
    for number in range(40):
        assert times.learn(500.0, 250.0, 625.0, 2.0) == (number >= 15 and number % 4 == 3)
    read_s, read_s_per_token, step_s, step_s_per_token = times.fits
    took_s = read_s + read_s_per_token * 500.0 + 250.0 * (step_s + step_s_per_token * 625.0)
    assert took_s == pytest.approx(2.0, rel=1e-3)
    assert min(times.fits) >= 0.0
