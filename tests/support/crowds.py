"""Many clients of one gateway whose upstream answers when the test says so."""

import asyncio
import contextlib

import httpx

from tests.support.gateway import GatewayThread, stub_config
from tests.support.slow_upstream import slow_upstream

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ADMIN = {"authorization": f"Bearer {TOKEN}"}
KEYED = {"auth.mode": "keys", "store.data_dir": "store"}


class Clients:
    """Many clients of one gateway, who all ask at once."""

    def __init__(self, gateway, slow):
        self.gateway, self.slow = gateway, slow
        self._secrets, self._tasks = {}, []
        self._http = httpx.AsyncClient(
            base_url=gateway.url, trust_env=False, timeout=60, limits=httpx.Limits()
        )

    @property
    def places(self):
        return self.gateway.app.state.steelyard.places

    @property
    def n_waiting(self):
        queues = self.gateway.app.state.steelyard.serving.queues.all
        return self.places.waiting + sum(queue.line.n_waiting for queue in queues)

    async def key(self, name, **terms):
        answer = await self._http.post("/admin/keys", json={"name": name, **terms}, headers=ADMIN)
        self._secrets[name] = answer.json()["secret"]

    async def post(
        self, key, text="hello", *, model="sim-nano", path="/v1/chat/completions", **headers
    ):
        if key is not None:
            headers["authorization"] = f"Bearer {self._secrets[key]}"
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return await self._http.post(
            path,
            json=body,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        )

    def ask(self, key, text, **headers):
        task = asyncio.ensure_future(self.post(key, text, **headers))
        self._tasks.append(task)
        return task

    async def waiting(self, n):
        while self.n_waiting != n:
            await asyncio.sleep(0.005)

    async def idle(self):
        """Wait until every place is free: that is a moment after the last answer."""
        while self.places.running:
            await asyncio.sleep(0.005)

    async def queue(self, key, *texts, **headers):
        """Ask, one after the other, by somebody who waits."""
        tasks = []
        for text in texts:
            n = self.n_waiting
            tasks.append(self.ask(key, text, **headers))
            await self.waiting(n + 1)
        return tasks

    async def serve_all(self):
        """Let the upstream answer one question after the other; return who was asked, in order."""
        while self.n_waiting:
            n = len(self.slow.asked)
            self.slow.let_go()
            await self.slow.came(n + 1)
        self.slow.let_go()
        await asyncio.gather(*self._tasks)
        return self.slow.asked

    async def metric(self, name):
        answer = await self._http.get("/metrics", headers=ADMIN)
        found = [line for line in answer.text.splitlines() if line.startswith(name)]
        return [line.removeprefix(name) for line in found]

    async def aclose(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()


@contextlib.asynccontextmanager
async def clients_of(tmp_path, artifacts, **changes):
    async with slow_upstream() as slow:
        config = stub_config(
            tmp_path,
            slow.origin,
            changes={**KEYED, **changes},
            env={"STEELYARD_ADMIN_TOKEN": TOKEN},
        )
        thread = GatewayThread(config, artifacts=artifacts)
        gateway = await asyncio.to_thread(thread.__enter__)
        clients = Clients(gateway, slow)
        try:
            yield clients
        finally:
            await clients.aclose()
            await asyncio.to_thread(thread.__exit__)
