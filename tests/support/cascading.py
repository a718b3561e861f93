"""What policies with a cascade are tested with: models that draft, and what is asked of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from tests.support.scoring_server import answer, pieces

CHEAP, DEAR, DEAREST, JUDGE = "sim-nano", "sim-large", "sim-frontier", "sim-medium"
SURE, UNSURE = (0.9, 0.95, 0.9), (0.9, 0.2, 0.3)
LOGPROBS = {"kind": "logprobs", "least_mean": -0.5}
JUDGED = {"kind": "judge", "model": JUDGE, "deadline_s": 20.0}


def drafted(
    text: str = "The cheap answer.", chances: Sequence[float] = SURE
) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """Return what makes a server answer like a small model."""

    def reply(body: Mapping[str, Any]) -> tuple[int, Any]:
        whole = answer(text, chances=chances if body.get("logprobs") else None)
        return 200, pieces(whole) if body.get("stream") else whole

    return reply


def broken(status: int = 500) -> tuple[int, dict[str, Any]]:
    """Return an answer that is an error."""
    return status, {"error": {"message": "no", "type": "server_error", "code": None}}


def ask(
    client: httpx.Client,
    prompt: str = "What is a steelyard?",
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    """Ask what the cascade answers."""
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}], **fields}
    return client.post(path, json=body, headers=headers)


def count(client: httpx.Client, line: str) -> float:
    """Return a metric, 0 where it is not told."""
    for each in client.get("/metrics").text.splitlines():
        if each.startswith(f"{line} "):
            return float(each.split()[-1])
    return 0.0


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what another thread does; fail where it never does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
