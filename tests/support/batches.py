"""Batches in tests: files of requests, and the official client that hands them in."""

import json
import time
from contextlib import ExitStack
from typing import Any

import httpx
import openai
from openai.types import Batch

from tests.support.gateway import RunningGateway
from tests.support.redis_server import RedisServer
from tests.support.stores import new_prefix

ADMIN = "an-admin-token-of-the-tests"
ENV = {"STEELYARD_ADMIN_TOKEN": ADMIN}
CHAT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")


def line(
    custom_id: str, prompt: str, *, model: str = "auto", url: str = CHAT, **body: Any
) -> dict[str, Any]:
    """Return one request of a file."""
    asked = {"model": model, "messages": [{"role": "user", "content": prompt}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    """Return a file of requests."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


class Batches:
    """A running gateway, and clients of it that are closed with it."""

    def __init__(self, gateway: RunningGateway, stack: ExitStack) -> None:
        self.gateway, self._stack = gateway, stack
        self._admin = stack.enter_context(
            httpx.Client(
                base_url=gateway.url,
                trust_env=False,
                headers={"authorization": f"Bearer {ADMIN}"},
            )
        )

    @staticmethod
    def prefix() -> str:
        """Return a prefix of a test's own."""
        return new_prefix()

    def client(self, **terms: Any) -> openai.OpenAI:
        """Return the official client of a new key, where keys are asked for."""
        if not self.gateway.app.state.steelyard.guard.asks_for_keys:
            return self.client_of("sk-anybody")
        answer = self._admin.post("/admin/keys", json={"name": "test", **terms})
        assert answer.status_code == 201, answer.text
        self.key = answer.json()
        return self.client_of(self.key["secret"])

    def client_of(self, secret: str) -> openai.OpenAI:
        """Return the official client of a key."""
        return self._stack.enter_context(
            openai.OpenAI(base_url=self.gateway.openai_url, api_key=secret, max_retries=0)
        )

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        assert self._admin.delete(f"/admin/keys/{key_id}").status_code == 200

    def spend(self, **params: Any) -> Any:
        """Return what was spent."""
        return self.get("/admin/spend", **params)

    def get(self, path: str, **params: Any) -> Any:
        """Ask as the operator."""
        answer = self._admin.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def post(self, path: str) -> None:
        """Have something done as the operator."""
        answer = self._admin.post(path)
        assert answer.status_code == 200, answer.text


def handed_in(client: openai.OpenAI, lines: list[dict[str, Any]], **terms: Any) -> Batch:
    """Hand a batch in."""
    file = client.files.create(file=("requests.jsonl", jsonl(lines)), purpose="batch")
    asked = {"endpoint": CHAT, "completion_window": "24h", **terms}
    return client.batches.create(input_file_id=file.id, **asked)


async def handed_in_async(
    client: openai.AsyncOpenAI, lines: list[dict[str, Any]], **terms: Any
) -> Batch:
    """Hand a batch in with the client that does not block."""
    file = await client.files.create(file=("requests.jsonl", jsonl(lines)), purpose="batch")
    asked = {"endpoint": CHAT, "completion_window": "24h", **terms}
    return await client.batches.create(input_file_id=file.id, **asked)


def end_leases(server: RedisServer, prefix: str) -> None:
    """Let the time of all leases pass, of which Redis keeps count."""
    leases = server.command("KEYS", f"*{prefix}:*:lease:*")
    assert isinstance(leases, list)
    assert leases
    for name in leases:
        server.command("PEXPIRE", name, 1)


def over(client: openai.OpenAI, batch_id: str, *, timeout_s: float = 60.0) -> Batch:
    """Wait until a batch is over."""
    return when(client, batch_id, lambda batch: batch.status in OVER, timeout_s=timeout_s)


def when(client: openai.OpenAI, batch_id: str, condition: Any, *, timeout_s: float = 60.0) -> Batch:
    """Wait until something holds of a batch."""

    def found() -> Batch | None:
        batch = client.batches.retrieve(batch_id)
        return batch if condition(batch) else None

    batch: Batch = waited_for(found, timeout_s=timeout_s)
    return batch


def waited_for(find: Any, *, timeout_s: float = 60.0) -> Any:
    """Wait until something is found, and return it."""
    ends_at = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < ends_at, "it did not come"
        time.sleep(0.02)
    return found


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """Return the lines of a file; none where there is no file."""
    if file_id is None:
        return []
    content = client.files.content(file_id).text
    return [json.loads(each) for each in content.splitlines()]


def beyond(batch: Batch) -> dict[str, Any]:
    """Return what the gateway tells of a batch beyond OpenAI's fields."""
    assert batch.model_extra is not None
    told: dict[str, Any] = batch.model_extra["steelyard"]
    return told
