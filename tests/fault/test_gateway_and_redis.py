"""A whole gateway whose Redis is taken away and given back in the middle of its traffic."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from loadtest.fault_proxy import FaultProxy, ProxyFault
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import RedisServer, redis_server_path

pytestmark = pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")

DURABLE = ("--appendonly", "yes", "--appendfsync", "no")
"""What was written outlives the process, if not the machine; and waits for no disk."""
ASK = {"model": "sim-nano", "messages": [{"role": "user", "content": "What is a lever?"}]}
BUDGET = {"usd": 100, "period": "month"}
WITHIN_S = 60.0


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path / "redis", *DURABLE) as server:
        yield server


@pytest.fixture
async def proxy(stub):
    async with FaultProxy(upstream=stub.origin) as proxy:
        yield proxy


@pytest.fixture
async def gateway(tmp_path, proxy, redis):
    changes = {
        "store": {"kind": "redis", "timeout_s": 2.0},
        "auth": {"mode": "keys", "fresh_s": 0.1},
    }
    file = write_config(tmp_path / "gateway.yaml", proxy.origin, changes)
    async with gateway_process(file, env={"STEELYARD_REDIS_URL": redis.url}) as gateway:
        yield gateway


@dataclass
class Traffic:
    """Requests of several kinds, one after the other of each, for as long as the block runs."""

    gateway: object
    secrets: dict
    phase: str = "before"
    seen: Counter = field(default_factory=Counter)

    async def __aenter__(self):
        kinds = {
            "free": ("free", {}, ASK),
            "paid": ("paid", {}, ASK),
            "session": ("free", {"x-session-id": "one"}, {**ASK, "model": "auto"}),
            "cached": ("free", {"x-route-cache": "on"}, ASK),
        }
        self.tasks = [asyncio.create_task(self._line(kind, *how)) for kind, how in kinds.items()]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended

    async def _line(self, kind, key, headers, body):
        async with self.gateway.client(token=self.secrets[key]) as client:
            while True:
                phase = self.phase
                answer = await client.post("/v1/chat/completions", json=body, headers=headers)
                code = answer.json()["error"]["code"] if answer.status_code != 200 else ""
                if answer.status_code != 200:
                    assert int(answer.headers["retry-after"]) >= 1
                if phase == self.phase:  # what spans a change belongs to neither
                    self.seen[phase, kind, answer.status_code, code] += 1

    def of(self, phase, kind):
        return {
            (status, code): n
            for (each_phase, each, status, code), n in self.seen.items()
            if (each_phase, each) == (phase, kind)
        }

    async def has_seen(self, phase, *wanted, n=20):
        """Wait until every wanted (kind, status) was seen `n` times in a phase."""
        async with asyncio.timeout(WITHIN_S):
            while not all(
                sum(c for (s, _), c in self.of(phase, kind).items() if s == status) >= n
                for kind, status in wanted
            ):
                assert not any(task.done() for task in self.tasks), self.tasks
                await asyncio.sleep(0.01)


async def make_keys(gateway):
    keys = {}
    async with gateway.client() as admin:
        for name, budgets in (("free", []), ("paid", [BUDGET])):
            made = await admin.post("/admin/keys", json={"name": name, "budgets": budgets})
            keys[name] = made.json()
    return keys


async def budget_of(gateway, key):
    async with gateway.client() as admin:
        answer = await admin.get(f"/admin/keys/{key['key_id']}/standing")
        return answer.json()["scopes"][0]["budgets"][0] if answer.status_code == 200 else None


ALL_SERVED = [(kind, 200) for kind in ("free", "paid", "session", "cached")]


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_budgets_refuse_and_everything_else_goes_on_while_redis_is_gone(gateway, redis, how):
    keys = await make_keys(gateway)
    secrets = {name: key["secret"] for name, key in keys.items()}
    cut, restore = (redis.kill, redis.start) if how == "killed" else (redis.pause, redis.resume)
    async with Traffic(gateway, secrets) as traffic:
        for turn in range(2):  # what recovered once has to recover again
            await traffic.has_seen(traffic.phase, *ALL_SERVED)
            cut()
            traffic.phase = f"gone {turn}"
            await traffic.has_seen(
                traffic.phase, ("free", 200), ("paid", 503), ("session", 200), ("cached", 200)
            )
            await asyncio.to_thread(restore)
            traffic.phase = f"recovering {turn}"
            await traffic.has_seen(traffic.phase, *ALL_SERVED)
            traffic.phase = f"back {turn}"
        await traffic.has_seen("back 1", *ALL_SERVED)
        for phase in ("gone 0", "gone 1"):
            assert set(traffic.of(phase, "paid")) == {(503, "store_unavailable")}
        for phase in {phase for phase, *_ in traffic.seen}:
            for kind in ("free", "session", "cached"):
                assert set(traffic.of(phase, kind)) == {(200, "")}
        for phase in ("before", "back 0", "back 1"):
            assert set(traffic.of(phase, "paid")) == {(200, "")}
    assert gateway.process.returncode is None
    async with gateway.client() as client:
        metrics = (await client.get("/metrics")).text
    failed = set(re.findall(r'gateway_store_errors_total\{feature="(\w+)"', metrics))
    # What is learned is told now and then, maybe not in that time.
    assert failed - {"lessons"} == {"budgets", "keys", "blobs"}


async def test_a_key_that_nobody_knows_opens_nothing_while_redis_is_gone(gateway, redis):
    keys = await make_keys(gateway)
    redis.kill()
    for secret in (keys["free"]["secret"][:-2] + "AA", keys["paid"]["secret"]):  # never seen here
        async with gateway.client(token=secret) as client:
            answer = await client.post("/v1/chat/completions", json=ASK)
        assert answer.status_code in {401, 503}, answer.text


async def test_what_was_used_while_redis_was_gone_is_booked_when_it_is_back(gateway, redis, proxy):
    keys = await make_keys(gateway)
    proxy.shares, proxy.latency_s = {ProxyFault.LATENCY: 1.0}, 0.7
    async with gateway.client(token=keys["paid"]["secret"]) as client:
        running = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
        while not (await budget_of(gateway, keys["paid"]))["reserved_usd"]:
            assert not running.done()
        redis.kill()
        answer = await running
    assert answer.status_code == 200
    await asyncio.to_thread(redis.start)
    async with asyncio.timeout(WITHIN_S):
        while (budget := await budget_of(gateway, keys["paid"])) is None or not budget["spent_usd"]:
            await asyncio.sleep(0.02)
    assert budget["reserved_usd"] == 0
    told_usd = float(answer.headers["x-route-cost-usd"])
    assert budget["spent_usd"] == pytest.approx(told_usd, abs=1e-8)
