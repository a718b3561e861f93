"""Whether requests, gateways and servers fit together, and whether a run notices where not."""

import math
from collections import Counter

import numpy as np
import pytest

from app.gateway.deployments.balance import LeastOutstanding, RoundRobin
from loadtest.sim.arrivals import bursty, diurnal, poisson, stepped
from loadtest.sim.checks import SimulationError
from loadtest.sim.fleet import Place, Quota
from loadtest.sim.mixes import HEAVY_LIGHT, mixed
from loadtest.sim.servers import BatchServer, SlotServer, Speed
from loadtest.sim.traffic import Traffic
from loadtest.sim.world import World
from routers.models import Prices

SPEED = Speed(prefill_s_per_token=1e-4, decode_s_per_token=1e-6, decode_s=0.01)


def traffic_of(rate=5.0, seconds=60, seed=0):
    rng = np.random.default_rng(seed)
    return mixed(poisson(rate, seconds, rng), HEAVY_LIGHT, rng)


def world(traffic, n=3, *, server=BatchServer, seed=1, **options):
    places = [Place(name=f"p{i}", server=server(traffic, SPEED)) for i in range(n)]
    return World(traffic, places, seed=seed, **options)


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    traffic = traffic_of()
    one, two = world(traffic, n_replicas=2).run(), world(traffic, n_replicas=2).run()
    assert (one.ends_s == two.ends_s).all()
    assert (one.place == two.place).all()
    assert (world(traffic, n_replicas=2, seed=2).run().place != one.place).any()


def test_the_gateways_own_pool_chooses():
    traffic = traffic_of()
    turns = world(traffic, balances={"model": RoundRobin}).run()
    assert max(Counter(turns.place.tolist()).values()) <= len(traffic) // 3 + 1
    busy = world(traffic, balances={"model": LeastOutstanding})
    pools = busy.pools
    assert busy.run().answered.all()
    assert [slot.outstanding for slot in pools[0].slots()] == [0, 0, 0]


def test_a_place_over_its_quota_says_so_and_another_one_takes_the_call():
    traffic = traffic_of(rate=2.0)
    server = BatchServer(traffic, SPEED)
    places = [
        Place(name="small", server=server, quota=Quota(requests_per_min=6)),
        Place(name="large", server=BatchServer(traffic, SPEED)),
    ]
    result = World(traffic, places, seed=0).run()
    assert result.n_throttled > 0
    assert result.answered.all()
    assert 6 <= (result.place == 0).sum() <= 6 + 6 + 1


def test_where_nobody_has_room_a_request_is_refused_or_waits_as_in_the_gateway():
    traffic = traffic_of(rate=2.0)
    place = Place(name="only", server=BatchServer(traffic, SPEED), quota=Quota(requests_per_min=30))
    result = World(traffic, [place], seed=0).run()
    refused = ~result.answered
    assert refused.any()
    waited = result.answered & (result.submitted_s > traffic.arrives_s)
    assert waited.any()
    assert (result.submitted_s - traffic.arrives_s)[waited].max() < 4.0


def test_a_quota_counts_tokens_and_fills_evenly():
    quota = Quota(tokens_per_min=600)
    assert quota.take(0.0, 600) == 0
    assert quota.take(0.0, 100) == pytest.approx(10.0)
    assert quota.take(10.0, 100) == 0
    assert quota.take(100.0, 10_000) == 0  # more than ever fits, into a full bucket


def test_a_place_that_fails_is_left_alone():
    traffic = traffic_of(rate=5.0)
    places = [
        Place(name="broken", server=BatchServer(traffic, SPEED), succeeds=0.0),
        Place(name="well", server=BatchServer(traffic, SPEED)),
    ]
    result = World(traffic, places, seed=0, failures=3).run()
    assert (result.place == 1).all()


def test_costs_are_those_of_tokens_and_hours():
    traffic = Traffic(
        arrives_s=np.array([0.0, 1.0]),
        input_tokens=np.array([1000, 1000]),
        output_tokens=np.array([10, 10]),
    )
    place = Place(
        name="only",
        server=SlotServer([1800.0, 1799.0], slots=2),
        prices=Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=100.0),
        usd_per_hour=2.0,
    )
    result = World(traffic, [place], seed=0).run()
    assert result.cost_usd == pytest.approx(2 * (1e-3 + 1e-3) + 1.0)


class Forgetful(BatchServer):
    """Loses every tenth request."""

    def fire(self, now):
        return [request for request in super().fire(now) if request % 10]


class Miscounting(BatchServer):
    """Counts a token too many for each answer."""

    def fire(self, now):
        done = super().fire(now)
        self.account.written_tokens += len(done)
        return done


class Hasty(BatchServer):
    """Says of answers that they were begun before they were asked for."""

    def fire(self, now):
        done = super().fire(now)
        for request in done:
            self.first_s[request] = -1.0
        return done


class Idle(BatchServer):
    """Does not count who waits for it."""

    def submit(self, now, request):
        super().submit(now, request)
        self.account.request_s *= 0.9


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (Forgetful, "never ended"),
        (Miscounting, "tokens of answers"),
        (Hasty, "before its first token"),
        (Idle, "Little's law"),
    ],
)
def test_a_run_that_contradicts_itself_fails(server, says):
    with pytest.raises(SimulationError, match=says):
        world(traffic_of(), server=server).run()


def test_arrivals_have_the_rates_that_were_asked_for():
    rng = np.random.default_rng(0)
    steps = stepped([(4, 500), (40, 500), (4, 500)], rng)
    assert np.histogram(steps, [0, 500, 1000, 1500])[0] == pytest.approx(
        [2000, 20000, 2000], rel=0.1
    )
    day = diurnal(10.0, 1000.0, rng, swing=0.5, period_s=1000.0)
    assert len(day) == pytest.approx(10_000, rel=0.05)
    first, second = np.histogram(day, [0, 500, 1000])[0]
    assert first / second == pytest.approx((1 + 1 / math.pi) / (1 - 1 / math.pi), rel=0.08)
    jumps = bursty(10.0, 1000.0, rng)
    per_s = np.histogram(jumps, np.arange(1001))[0]
    assert per_s.var() > 3 * per_s.mean()  # of Poisson arrivals they are equal
    for each in (steps, day, jumps):
        assert (np.diff(each) >= 0).all()


@pytest.mark.parametrize(
    "columns",
    [
        {"arrives_s": np.array([1.0, 0.0])},
        {"output_tokens": np.array([0, 1])},
        {"kind": np.array([0])},
    ],
)
def test_traffic_that_makes_no_sense_is_refused(columns):
    plain = {
        "arrives_s": np.array([0.0, 1.0]),
        "input_tokens": np.array([1, 1]),
        "output_tokens": np.array([1, 1]),
    }
    with pytest.raises(ValueError, match=r"order|token|length"):
        Traffic(**{**plain, **columns})
