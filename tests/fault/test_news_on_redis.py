"""Gateways that tell each other their calls over a real Redis, which is killed and comes back."""

import random

import pytest

from app.gateway.deployments.balance import STALE_S
from app.gateway.deployments.news import NewsExchange
from app.gateway.deployments.pool import DeploymentPool
from app.stores.base import StoreError
from app.stores.redis import RedisStore
from tests.support.providers import ScriptedProvider, deployment
from tests.support.redis_server import RedisServer, redis_server_path, until

pytestmark = pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")


class Gateway:
    def __init__(self, url, seed):
        self.now = 0.0
        self.store = RedisStore(url, prefix="news", timeout_s=10.0)
        places = [deployment("m", ScriptedProvider(), upstream=name) for name in "xy"]
        self.pool = DeploymentPool({"m": places}, clock=lambda: self.now, rng=random.Random(seed))
        self.news = NewsExchange(
            self.store.store.board, pool=lambda: self.pool, clock=lambda: self.now
        )

    def hold(self, n):
        _, other = self.pool.slots()
        return [self.pool.lease("m", avoid=[other]) for _ in range(n)]

    def share_of_first(self, n=40):
        leases = [self.pool.lease("m") for _ in range(n)]
        for lease in leases:
            lease.release()
        return sum(lease.deployment.upstream == "x" for lease in leases) / n

    async def tell(self):
        self.now += 0.1
        await self.news.exchange()

    async def tell_if_possible(self):
        try:
            await self.tell()
        except StoreError:
            return False
        return True


async def hears(one, another):
    """Tell until the other has heard; the pipeline's circuit lets some of the first fail."""

    async def heard():
        told = await one.tell_if_possible() and await another.tell_if_possible()
        return told and another.news.n_others == 1

    await until(heard)


async def test_redis_gone_each_goes_on_with_its_own_view_and_hears_again_when_it_returns(tmp_path):
    with RedisServer(tmp_path / "redis") as redis:
        one, another = Gateway(redis.url, 1), Gateway(redis.url, 2)
        one.hold(60)
        assert another.share_of_first() == 0.5
        await hears(one, another)
        assert another.share_of_first() == 0.0
        redis.kill()
        assert not await one.tell_if_possible()
        assert not await another.tell_if_possible()
        another.now += STALE_S
        assert another.news.n_others == 0
        assert another.share_of_first() == 0.5
        redis.start()
        await hears(one, another)
        assert another.share_of_first() == 0.0
        assert redis.command("PTTL", "{news:board}") > 0
        for each in (one, another):
            await each.store.aclose()
