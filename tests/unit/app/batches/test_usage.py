"""What answers tell of their tokens comes to be told of their batch."""

import json

import pytest

from app.access.guard import ANONYMOUS
from app.api.batch_door import GatewayDoor
from app.batches.door import Asked, BatchLine
from app.batches.lines import result_of
from app.batches.progress import counted
from app.batches.records import Counts

LINE = BatchLine(number=0, custom_id="a", body=b"{}")


def door_to(usage):
    """Return a door to an endpoint that answers with a usage."""
    body = json.dumps({"usage": usage}).encode()

    async def endpoint(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    class Ranks:
        def of(self, *_):
            return None

    class Serving:
        ranks = Ranks()

    return GatewayDoor({"/v1/x": (None, endpoint)}, serving=Serving)


CHAT = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
RESPONSES = {
    "input_tokens": 10,
    "output_tokens": 20,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 4},
}
PLAIN = {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": None}


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [(CHAT, 3, 4), (RESPONSES, 3, 4), (PLAIN, 0, 0)],
    ids=["chat", "responses", "plain"],
)
async def test_cached_and_reasoning_tokens_are_summed(usage, cached, reasoning):
    asked = Asked(caller=ANONYMOUS, endpoint="/v1/x", headers=())
    answer = await door_to(usage).answer(asked, LINE, request_id="r", model=None)
    counts = Counts(total=2)
    for _ in range(2):
        counts = counted(counts, result_of(LINE, "r", answer))
    assert (counts.input_tokens, counts.cached_tokens) == (20, 2 * cached)
    assert (counts.output_tokens, counts.reasoning_tokens) == (40, 2 * reasoning)
