"""Conversations that Anthropic's servers hold, asked of a model that has no such server."""

import httpx
import pytest

ASK = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    "thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_thread_is_refused_so_that_the_client_goes_on_without(gateway, stub, thread, stream):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.post("/v1/messages", json={**ASK, "thread": thread, "stream": stream})
        assert answer.status_code == 400
        details = answer.json()["error"]["details"]
        assert details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert stub.log() == []
        other = client.post("/v1/messages", json={**ASK, "container": "c_1"})
        assert (other.status_code, "details" in other.json()["error"]) == (400, False)
