"""For those who like Locust: short prompts, streams and conversations, against any gateway.

    pip install locust
    STEELYARD_KEY=sk-sy-... locust -f loadtest/locustfile.py --host http://127.0.0.1:8080

The numbers in docs/benchmarks/overhead.md do not come from here: Locust's own cost per request is
higher than the gateway's. It is good for dashboards, ramps and mixed traffic of many users.
STEELYARD_MODEL names the model, `auto` if it is not set.
"""

import os
import random
import time

from locust import HttpUser, between, task

_MODEL = os.environ.get("STEELYARD_MODEL", "auto")
_QUESTIONS = (
    "What is the capital of Australia?",
    "Prove that the square root of two is irrational.",
    "Write a Python function that merges two sorted lists.",
    "Summarize the causes of the French Revolution in three sentences.",
    "Translate 'good morning, where is the station?' into Italian.",
)


class ChatUser(HttpUser):
    """Somebody who asks, reads, and asks on."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Begin without a history."""
        key = os.environ.get("STEELYARD_KEY")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._history: list[dict[str, str]] = []

    def _ask(self, messages: list[dict[str, str]], *, name: str) -> str:
        body = {"model": _MODEL, "messages": messages}
        with self.client.post(
            "/v1/chat/completions",
            json=body,
            headers=self._headers,
            name=name,
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
                return ""
            text: str = answer.json()["choices"][0]["message"]["content"] or ""
            return text

    @task(6)
    def short(self) -> None:
        """Ask one question."""
        self._ask([{"role": "user", "content": random.choice(_QUESTIONS)}], name="short")

    @task(2)
    def conversation(self) -> None:
        """Ask on in a conversation, which grows to eight turns."""
        self._history.append({"role": "user", "content": random.choice(_QUESTIONS)})
        answer = self._ask(self._history, name="conversation")
        self._history.append({"role": "assistant", "content": answer})
        if len(self._history) >= 16:
            self._history = []

    @task(2)
    def stream(self) -> None:
        """Read a stream; the time to its first chunk is an entry of its own."""
        message = {"role": "user", "content": random.choice(_QUESTIONS)}
        body = {"model": _MODEL, "stream": True, "messages": [message]}
        began = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions",
            json=body,
            headers=self._headers,
            name="stream",
            stream=True,
            catch_response=True,
        ) as answer:
            body_parts = answer.iter_content(chunk_size=None)
            first = next(body_parts, b"")
            self.environment.events.request.fire(
                request_type="POST",
                name="stream: first chunk",
                response_time=(time.perf_counter() - began) * 1e3,
                response_length=len(first),
                exception=None,
                context={},
            )
            if b"[DONE]" not in b"".join([first, *body_parts]):
                answer.failure("the stream was cut")
